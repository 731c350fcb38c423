//! One worker: each question has one outcome, whatever waits before it.

use std::collections::BTreeSet;

use chorus_protocol::ids::{Incarnation, NodeId};
use tokio::sync::mpsc;

use super::openai::stub::{Reply, Stub};
use super::*;

type Told = (u64, Said, Option<Took>);

/// In the place of the operations: hands on what it is told.
struct Probe;

impl Actor for Probe {
    type Msg = ToOperations;
    type State = (mpsc::UnboundedSender<Told>, Arc<Ring>);
    type Arguments = Self::State;

    async fn pre_start(
        &self,
        _: ActorRef<ToOperations>,
        state: Self::State,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<ToOperations>,
        _: ToOperations,
        (tell, ring): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        for said in ring.take_said() {
            if let Input::Answered(operation, _, said, took) = said {
                tell.send((operation.number, said, took))?;
            }
        }
        Ok(())
    }
}

/// A worker that does one thing at a time, and what it says.
async fn start(
    backend: Backend,
    queue: usize,
    timeout: Duration,
) -> (
    ActorRef<ToWorker>,
    mpsc::UnboundedReceiver<Told>,
    Arc<Counts>,
) {
    start_at(Inbox::start(), backend, queue, timeout).await
}

/// The same, of a node with this inbox.
async fn start_at(
    inbox: Inbox,
    backend: Backend,
    queue: usize,
    timeout: Duration,
) -> (
    ActorRef<ToWorker>,
    mpsc::UnboundedReceiver<Told>,
    Arc<Counts>,
) {
    let (tell, told) = mpsc::unbounded_channel();
    let ring = Arc::new(Ring::default());
    let probe = Actor::spawn(None, Probe, (tell, ring.clone())).await;
    let probe = probe.expect("it starts").0;
    ring.operations.set(probe).expect("nobody else did");
    let plan = AgentPlan {
        name: Label::new("e").expect("a name"),
        class: Class::Edge,
        capabilities: Vec::new(),
        backend,
        concurrency: 1,
        queue,
        timeout,
    };
    let counts = Arc::new(Counts::default());
    let start = (plan, ring, counts.clone(), inbox);
    let worker = Actor::spawn(None, WorkerActor, start).await;
    (worker.expect("it starts").0, told, counts)
}

fn job(number: u64, priority: u8, within: Duration) -> ToWorker {
    let request = Request {
        priority: priority.try_into().expect("a lane"),
        ..Request::new(number.to_string().into_bytes())
    };
    let given = Instant::now();
    ToWorker::Ask(Job {
        operation: OperationId {
            origin: NodeId([1; 32]),
            run: Incarnation(1),
            number,
        },
        request: Arc::new(request),
        given,
        expires: given + within,
    })
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn each_question_has_one_outcome_also_where_there_is_no_room_for_it() {
    let words = ["sed", "-u", "s/\"question\"/\"answer\"/"];
    let command = Backend::Exec(words.map(str::to_owned).to_vec());
    for (backend, has_room) in [(command, false), (Backend::Echo, true)] {
        let (worker, mut told, _) = start(backend, 2, LONG).await;
        for number in 0..200 {
            worker.cast(job(number, 2, LONG)).expect("it lives");
        }
        let (mut numbers, mut lost) = (BTreeSet::new(), 0);
        for _ in 0..200 {
            let (number, said, took) = told.recv().await.expect("each has an outcome");
            assert!(numbers.insert(number), "{number} has two");
            match said {
                Said::Ready(answer) => assert_eq!(answer, number.to_string().into_bytes()),
                Said::Lost(why) => {
                    assert_eq!((why.as_str(), took), ("its queue of 2 is full", None));
                    lost += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(lost < 200, "who fits is answered");
        assert_eq!(lost == 0, has_room, "{lost}: an echo never waits");
        worker.stop(None);
    }
}

#[tokio::test]
async fn a_critical_question_overtakes_a_flood_and_costs_the_lowest_their_places() {
    // It never answers: each question takes its whole 50 ms.
    let silent = Backend::Exec(["sleep", "60"].map(str::to_owned).to_vec());
    let (worker, mut told, _) = start(silent, 3, Duration::from_millis(50)).await;
    for number in 0..5 {
        worker.cast(job(number, 0, LONG)).expect("it lives");
    }
    worker.cast(job(9, 3, LONG)).expect("it lives");
    let mut order = Vec::new();
    while order.len() < 6 {
        order.push(told.recv().await.expect("each has an outcome").0);
    }
    // One was begun with, three wait, so two of the flood found no place, the newest of it.
    assert_eq!(order, [4, 3, 0, 9, 1, 2]);
    worker.stop(None);
}

#[tokio::test]
async fn what_is_not_begun_within_its_window_is_expired_and_counted() {
    let (worker, mut told, counts) = start(Backend::Echo, 3, LONG).await;
    worker.cast(job(1, 2, Duration::ZERO)).expect("it lives");
    worker.cast(job(2, 2, LONG)).expect("it lives");
    let (_, said, took) = told.recv().await.expect("an outcome");
    assert!(
        matches!(&said, Said::Lost(why) if why.starts_with("EXPIRED")),
        "{said:?}"
    );
    assert_eq!((took, counts.expired.load(Ordering::Relaxed)), (None, 1));
    let (number, said, took) = told.recv().await.expect("an outcome");
    assert_eq!((number, said), (2, Said::Ready(b"2".to_vec())));
    assert!(took.is_some());
    worker.stop(None);
}

#[tokio::test]
async fn a_person_sees_what_waits_up_to_the_queue_and_answers_in_any_order() {
    let inbox = Inbox::start();
    let (worker, mut told, _) = start_at(inbox.clone(), Backend::Human, 2, LONG).await;
    for number in 10..13 {
        worker.cast(job(number, 2, LONG)).expect("it lives");
    }
    // Two wait; the third found no room, and is told so at once.
    let (number, said, _) = told.recv().await.expect("an outcome");
    let full = Said::Lost("its queue of 2 is full".into());
    assert_eq!((number, said), (12, full));
    let mut waiting = Vec::new();
    while waiting.len() < 2 {
        waiting = inbox.list().await.expect("it is there");
    }
    let asked: Vec<_> = waiting.iter().map(|it| &*it.question).collect();
    assert_eq!(asked, ["10", "11"]);
    let yes = Said::Ready(b"yes".to_vec());
    let done = inbox.answer(waiting[1].number, yes.clone()).await;
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
    let (number, said, _) = told.recv().await.expect("an outcome");
    assert_eq!((number, said), (11, yes));
    // There is room again; what is of no use any more leaves by itself.
    let soon = Duration::from_millis(200);
    worker.cast(job(13, 2, soon)).expect("it lives");
    let (number, said, _) = told.recv().await.expect("an outcome");
    assert_eq!(number, 13);
    assert!(
        matches!(&said, Said::Lost(why) if why.starts_with("no answer within") || why.starts_with("EXPIRED")),
        "{said:?}"
    );
    while waiting.len() != 1 {
        waiting = inbox.list().await.expect("it is there");
    }
    assert_eq!(&*waiting[0].question, "10");
    worker.stop(None);
}

#[tokio::test]
async fn a_model_that_says_nothing_holds_up_its_question_until_its_time_is_up() {
    let stub = Stub::start(vec![Reply::Nothing, Reply::Tokens(&["yes"])]);
    let model = Backend::OpenAi(Endpoint {
        url: stub.url.parse().expect("a URL"),
        model: "m".into(),
        key_file: None,
        api: openai::Api::Chat,
        max_tokens: None,
        system: None,
    });
    let (worker, mut told, counts) = start(model, 2, Duration::from_millis(300)).await;
    worker.cast(job(1, 2, LONG)).expect("it lives");
    let (_, said, _) = told.recv().await.expect("an outcome");
    assert_eq!(said, Said::Lost("no answer within 300 ms".into()));
    // The next one is none the worse for it, however long it takes on a busy machine.
    let mut said = said;
    for number in 2..20 {
        worker.cast(job(number, 2, LONG)).expect("it lives");
        said = told.recv().await.expect("an outcome").1;
        if said == Said::Ready(b"yes".to_vec()) {
            break;
        }
    }
    assert_eq!(said, Said::Ready(b"yes".to_vec()));
    assert_eq!(counts.tokens.load(Ordering::Relaxed), 1);
    worker.stop(None);
}
