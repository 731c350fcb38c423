//! Commands that answer, crash, are not there, do not read, and say too much.

use super::*;

fn start(script: &str) -> (Exec, Arc<AtomicU64>) {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let malformed = Arc::new(AtomicU64::new(0));
    let agent = Label::new("x").expect("a name");
    (Exec::start(agent, command, malformed.clone()), malformed)
}

async fn ask(exec: &Exec, question: &str) -> Said {
    let asked = exec.ask(question.as_bytes());
    let said = tokio::time::timeout(Duration::from_secs(20), asked).await;
    said.expect("each question has an outcome")
}

#[tokio::test]
async fn a_command_answers_contradicts_and_fails_line_by_line() {
    let (exec, malformed) = start(
        r#"while read -r line; do
             id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
             case $line in
             *blue*) echo "{\"id\":$id,\"conflict\":\"it was red\"}" ;;
             *fail*) echo "{\"id\":$id,\"error\":\"429\"}" ;;
             *) echo 'no JSON'; echo '{"id":999,"answer":"whose?"}'
                echo "{\"id\":$id,\"answer\":\"yes\"}" ;;
             esac
           done"#,
    );
    assert_eq!(
        ask(&exec, "a \"question\"").await,
        Said::Ready(b"yes".to_vec())
    );
    assert_eq!(
        ask(&exec, "blue?").await,
        Said::Conflict("it was red".into())
    );
    assert_eq!(ask(&exec, "fail").await, Said::Lost("429".into()));
    assert_eq!(malformed.load(Ordering::Relaxed), 2);
    let said = exec.ask(&[0xff]).await;
    assert_eq!(said, Said::Lost("the question is no text".into()));
}

#[tokio::test]
async fn a_crash_is_told_to_who_waits_and_the_command_comes_back() {
    let (exec, _) = start("read -r line; exit 3");
    let Said::Lost(why) = ask(&exec, "one").await else {
        panic!("it crashed");
    };
    assert!(why.contains("crashed") && why.contains('3'), "{why}");
    // Each run answers the first question that it gets, and ends.
    let (exec, _) = start(r#"read -r line; echo '{"id":1,"answer":"up"}'"#);
    assert_eq!(ask(&exec, "one").await, Said::Ready(b"up".to_vec()));
    let began = Instant::now();
    loop {
        match ask(&exec, "two").await {
            Said::Ready(answer) => break assert_eq!(answer, b"up"),
            Said::Lost(why) => assert!(why.contains("crashed"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it never came back"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_that_does_not_exist_or_never_reads_loses_its_questions_alone() {
    let agent = Label::new("x").expect("a name");
    let command = vec!["/nonexistent/agent".to_owned()];
    let exec = Exec::start(agent, command, Arc::default());
    let Said::Lost(why) = ask(&exec, "one").await else {
        panic!("there is none");
    };
    assert!(why.contains("does not start"), "{why}");
    let (exec, _) = start("sleep 60");
    let long = "x".repeat(30_000);
    let asks = (0..200).map(|_| exec.ask(long.as_bytes()));
    let mut unread = 0;
    for asked in asks {
        let said = tokio::time::timeout(Duration::from_millis(20), asked).await;
        unread += usize::from(said == Ok(Said::Lost("it does not read its questions".into())));
    }
    assert!(unread > 0, "the queue has an end");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_lost_alone() {
    let (exec, malformed) = start(
        r#"read -r one; read -r two
           printf '{"id":1,"answer":"'; head -c 300000 /dev/zero | tr '\0' x; echo '"}'
           echo '{"id":2,"answer":"short"}'
           read -r three; echo '{"id":3,"answer":"the same run"}'"#,
    );
    let (one, two) = tokio::join!(ask(&exec, "one"), ask(&exec, "two"));
    let Said::Lost(why) = one else {
        panic!("{one:?}");
    };
    assert!(why.contains("a line of more than 99328 bytes"), "{why}");
    assert_eq!(two, Said::Ready(b"short".to_vec()));
    let three = ask(&exec, "three").await;
    assert_eq!(three, Said::Ready(b"the same run".to_vec()));
    assert_eq!(malformed.load(Ordering::Relaxed), 1);
}
