//! What becomes of a question, with a server of our own that does what endpoints do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, mpsc};

use super::stub::{Reply, Stub};
use super::*;

const LONG: Duration = Duration::from_secs(60);

fn endpoint(url: &str) -> Endpoint {
    Endpoint {
        url: url.parse().expect("a URL"),
        model: "m".into(),
        key_file: None,
        api: Api::Chat,
        max_tokens: None,
        system: None,
    }
}

fn model(endpoint: Endpoint) -> OpenAi {
    let agent = Label::new("a").expect("a name");
    OpenAi::new(agent, endpoint, Arc::default(), Arc::default())
}

fn to(replies: Vec<Reply>) -> (OpenAi, Stub) {
    let stub = Stub::start(replies);
    (model(endpoint(&stub.url)), stub)
}

fn ready(text: &str) -> Said {
    Said::Ready(text.as_bytes().to_vec())
}

async fn lost(model: &OpenAi) -> String {
    match model.ask(b"?", LONG).await {
        Said::Lost(why) => why,
        other => panic!("{other:?}"),
    }
}

fn counts(model: &OpenAi) -> (u64, u64) {
    let read = |it: &AtomicU64| it.load(Ordering::Relaxed);
    (read(&model.tokens), read(&model.malformed))
}

#[tokio::test]
async fn a_stream_is_one_text_whose_tokens_are_counted() {
    let tokens = &["gr\u{fc}n", " ", "tea"];
    let (model, stub) = to(vec![Reply::Tokens(tokens), Reply::ByteByByte(tokens)]);
    for so_many in [3, 6] {
        assert_eq!(model.ask(b"which?", LONG).await, ready("gr\u{fc}n tea"));
        assert_eq!(counts(&model), (so_many, 0));
    }
    let asked = &stub.asked()[0];
    assert!(asked.head.starts_with("POST /v1/chat/completions HTTP/1.1"));
    let expected = serde_json::json!({
        "model": "m", "stream": true, "messages": [{"role": "user", "content": "which?"}],
    });
    assert_eq!(asked.body, expected);
    assert!(!asked.head.to_lowercase().contains("authorization"));
    let said = model.ask(&[0xff], LONG).await;
    assert_eq!(said, Said::Lost("the question is no text".into()));
}

#[tokio::test]
async fn what_a_configuration_says_is_what_the_endpoint_gets() {
    let stub = Stub::start(vec![Reply::Tokens(&["yes"])]);
    let dir = tempfile::tempdir().expect("a folder");
    let key = dir.path().join("key");
    fs::write(&key, "sk-1\n").expect("it is written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its mode");
    let asking = Endpoint {
        key_file: Some(key.clone()),
        api: Api::Completions,
        max_tokens: Some(7),
        system: Some("Be short.".into()),
        ..endpoint(&stub.url)
    };
    let model = model(asking.clone());
    assert_eq!(model.ask(b"?", LONG).await, ready("yes"));
    // A new key counts at once.
    fs::write(&key, "sk-2\n").expect("it is written");
    assert_eq!(model.ask(b"?", LONG).await, ready("yes"));
    let asked = stub.asked();
    assert!(asked[0].head.starts_with("POST /v1/completions HTTP/1.1"));
    let expected = serde_json::json!({
        "model": "m", "stream": true, "max_tokens": 7, "prompt": "Be short.\n\n?",
    });
    assert_eq!(asked[0].body, expected);
    for (asked, key) in asked.iter().zip(["Bearer sk-1", "Bearer sk-2"]) {
        assert!(asked.head.contains(key), "{}", asked.head);
    }
    fs::remove_file(&key).expect("it is removed");
    assert!(lost(&model).await.contains("key file"));
    assert!(stub.asked().is_empty(), "without its key nobody is asked");

    let other = |change: fn(&mut Endpoint)| {
        let mut other = asking.clone();
        change(&mut other);
        other.context() == asking.context()
    };
    assert!(other(|it| it.max_tokens = None));
    assert!(!other(|it| it.model = "n".into()));
    assert!(!other(|it| it.system = None));
    // SHA-256 of `m`, a zero byte and `Be short.`, made elsewhere.
    let golden = "ab7108a561b3d1801ae913620d9ec2475a297dc867df826dbff6b7ed61f66449";
    assert_eq!(asking.context().to_string(), golden);
}

#[tokio::test]
async fn a_slow_answer_is_whole_only_when_its_last_token_is_there() {
    let (tell, told) = mpsc::channel();
    let told = Arc::new(Mutex::new(told));
    let (model, _stub) = to(vec![Reply::WhenTold(&["a", "b"], told)]);
    let asked = model.ask(b"?", LONG);
    tokio::pin!(asked);
    for _ in 0..2 {
        tell.send(()).expect("it listens");
        let soon = tokio::time::timeout(Duration::from_millis(50), &mut asked).await;
        assert!(soon.is_err(), "the end was not said: {soon:?}");
    }
    tell.send(()).expect("it listens");
    assert_eq!(asked.await, ready("ab"));
}

#[tokio::test]
async fn who_has_too_much_to_do_is_asked_again_as_long_as_there_is_time() {
    const BUSY: &str = "429 Too Many Requests";
    let soon = Reply::Status(BUSY, "retry-after: 0\r\n", "");
    let (model, stub) = to(vec![soon.clone(), Reply::Tokens(&["at last"])]);
    assert_eq!(model.ask(b"?", LONG).await, ready("at last"));
    assert_eq!(stub.asked().len(), 2);

    let (model, stub) = to(vec![soon]);
    let why = lost(&model).await;
    assert!(why.contains(BUSY) && why.contains("4 times"), "{why}");
    assert_eq!(stub.asked().len(), 4);

    for seconds in ["3600", "18446744073709551615"] {
        let after = Box::leak(format!("retry-after: {seconds}\r\n").into_boxed_str());
        let (model, stub) = to(vec![Reply::Status(BUSY, after, "")]);
        let why = lost(&model).await;
        assert!(
            why.contains(BUSY) && why.contains(&format!("{seconds} s")),
            "{why}"
        );
        assert_eq!(stub.asked().len(), 1, "it was not asked in vain");
    }

    let (model, _stub) = to(vec![Reply::Status("503 Service Unavailable", "", "")]);
    let said = model.ask(b"?", Duration::from_millis(100)).await;
    let why = "its endpoint says 503 Service Unavailable, and its time is up";
    assert_eq!(said, Said::Lost(why.into()));
}

#[tokio::test]
async fn each_failure_has_its_name() {
    let refusal = r#"{"error":{"message":"no model \"m\" for k"}}"#;
    for (reply, name, malformed) in [
        (
            Reply::Status("500 Internal Server Error", "", "oh"),
            "its endpoint says 500 Internal Server Error",
            0,
        ),
        (
            Reply::Status("404 Not Found", "", refusal),
            "its endpoint says 404 Not Found: no model \"m\" for k",
            0,
        ),
        (
            Reply::HalfOf(&["a", "b"]),
            "its stream was cut after 2 tokens",
            0,
        ),
        (
            Reply::Unended(&["a"]),
            "its stream was cut after 1 tokens",
            0,
        ),
        (Reply::HangUp, "its endpoint hung up before it answered", 0),
        (Reply::Tokens(&[]), "it said nothing", 0),
        (
            Reply::Broken("data: {\"choices\n\n"),
            "its stream is broken after 1 tokens: an event of it is not the JSON that it should be",
            1,
        ),
        (
            Reply::Broken("<html>\n"),
            "its stream is broken after 1 tokens: a line of it is no event",
            1,
        ),
        (
            Reply::Broken("data: {\"error\":\"out of memory\"}\n\n"),
            "it failed after 1 tokens: out of memory",
            0,
        ),
        (
            Reply::Status("200 OK", "content-type: text/html\r\n", "<html>"),
            "it does not stream its answer",
            1,
        ),
        (
            Reply::Status("no HTTP", "", ""),
            "it does not speak HTTP/1",
            1,
        ),
        (
            Reply::Endless("again and again "),
            "its answer has more than 16384 bytes",
            0,
        ),
    ] {
        let (model, _stub) = to(vec![reply]);
        assert_eq!(lost(&model).await, name);
        assert_eq!(counts(&model), (0, malformed), "{name}");
    }
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("its address");
    drop(free);
    let nobody = model(endpoint(&format!("http://{address}/v1")));
    let name = format!("its endpoint {address} refuses the connection");
    assert_eq!(lost(&nobody).await, name);
}

#[tokio::test]
async fn a_key_that_the_endpoint_says_again_goes_no_further() {
    let refusal = r#"{"error":{"message":"bad key sk-secret"}}"#;
    let stub = Stub::start(vec![Reply::Status("401 Unauthorized", "", refusal)]);
    let dir = tempfile::tempdir().expect("a folder");
    let key = dir.path().join("key");
    fs::write(&key, "sk-secret").expect("it is written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its mode");
    let model = model(Endpoint {
        key_file: Some(key),
        ..endpoint(&stub.url)
    });
    let name = "its endpoint says 401 Unauthorized: bad key …";
    assert_eq!(lost(&model).await, name);
}

/// The endpoint of demonstrations, a process of Python's.
struct Script(std::process::Child);

impl Script {
    /// Starts it; its base is what it says first. `None` where there is no Python.
    fn start(arguments: &[&str]) -> Option<(Self, String)> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/stub_openai.py");
        let mut command = std::process::Command::new("python3");
        command.arg(script).args(arguments);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().ok()?;
        let mut url = String::new();
        let mut said = BufReader::new(child.stdout.take()?);
        said.read_line(&mut url).expect("it says where it is");
        Some((Self(child), url.trim().to_owned()))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_endpoint_of_demonstrations_answers_and_fails_as_it_is_told() {
    for (arguments, name) in [
        (
            &["--fail", "429", "--times", "1", "--answer", "a b"][..],
            None,
        ),
        (&["--fail", "500"], Some("500 Internal Server Error")),
        (&["--fail", "cut"], Some("cut after 1 tokens")),
        (&["--fail", "broken"], Some("broken after 1 tokens")),
        (&["--fail", "endless"], Some("more than 16384 bytes")),
    ] {
        let Some((_script, url)) = Script::start(arguments) else {
            return println!("skipped: the_endpoint_of_demonstrations there is no python3");
        };
        for api in [Api::Chat, Api::Completions] {
            let model = model(Endpoint {
                api,
                ..endpoint(&url)
            });
            match name {
                None => assert_eq!(model.ask(b"?", LONG).await, ready("a b")),
                Some(name) => {
                    let why = lost(&model).await;
                    assert!(why.contains(name), "{name}: {why}");
                }
            }
        }
    }
}
