//! Worker: one hosted agent. It takes questions up to its limits, works on them beside the
//! others, and says what became of each: an answer, or why there is none.

mod exec;
mod sysinfo;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chorus_protocol::ids::Label;
use chorus_protocol::op::answers::ANSWER_BYTES_MAX;
use chorus_protocol::op::{OperationId, Said};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use self::exec::Exec;
use crate::messages::{Ring, ToOperations};

/// What an agent is and may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPlan {
    /// Its name on this node.
    pub name: Label,
    /// What it can do.
    pub capabilities: Vec<Label>,
    /// What answers.
    pub backend: Backend,
    /// Questions that it works on at once.
    pub concurrency: usize,
    /// Questions that may wait beside those.
    pub queue: usize,
    /// How long it may take for one.
    pub timeout: Duration,
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// The question itself.
    Echo,
    /// This machine's load, memory and temperature, as JSON.
    Sysinfo,
    /// A command with its arguments, that stays running: see `exec.rs`.
    Exec(Vec<String>),
}

/// The same, once it runs.
#[derive(Debug, Clone)]
enum Live {
    Echo,
    Sysinfo,
    Exec(Exec),
}

impl Backend {
    /// Its name in a configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Backend::Echo => "echo",
            Backend::Sysinfo => "sysinfo",
            Backend::Exec(_) => "exec",
        }
    }
}

/// To a worker.
#[derive(Debug)]
pub enum ToWorker {
    /// A question.
    Ask(OperationId, Arc<[u8]>),
    /// One is done with.
    Done(OperationId, Said),
}

/// The actor.
#[derive(Debug)]
pub struct WorkerActor;

/// What it owns.
#[derive(Debug)]
pub struct State {
    plan: AgentPlan,
    live: Live,
    working: usize,
    waiting: VecDeque<(OperationId, Arc<[u8]>)>,
    ring: Arc<Ring>,
}

impl Actor for WorkerActor {
    type Msg = ToWorker;
    type State = State;
    /// What it is; where lines are counted that its command says and that are none.
    type Arguments = (AgentPlan, Arc<Ring>, Arc<AtomicU64>);

    async fn pre_start(
        &self,
        _: ActorRef<ToWorker>,
        (plan, ring, malformed): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let live = match &plan.backend {
            Backend::Echo => Live::Echo,
            Backend::Sysinfo => Live::Sysinfo,
            Backend::Exec(command) => {
                Live::Exec(Exec::start(plan.name, command.clone(), malformed))
            }
        };
        Ok(State {
            plan,
            live,
            working: 0,
            waiting: VecDeque::new(),
            ring,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ToWorker>,
        message: ToWorker,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToWorker::Ask(operation, question) => state.waiting.push_back((operation, question)),
            ToWorker::Done(operation, said) => {
                state.working -= 1;
                state.tell(operation, said)?;
            }
        }
        while state.working < state.plan.concurrency
            && let Some((operation, question)) = state.waiting.pop_front()
        {
            state.working += 1;
            let live = state.live.clone();
            work(
                myself.clone(),
                live,
                state.plan.timeout,
                operation,
                question,
            );
        }
        if state.waiting.len() > state.plan.queue
            && let Some((operation, _)) = state.waiting.pop_back()
        {
            let why = format!("its queue of {} is full", state.plan.queue);
            state.tell(operation, Said::Lost(why))?;
        }
        Ok(())
    }
}

impl State {
    fn tell(&self, operation: OperationId, said: Said) -> Result<(), ActorProcessingErr> {
        let agent = self.plan.name;
        let answered = ToOperations::Answered(operation, agent, said);
        self.ring.operations(answered)
    }
}

/// Works on a question, away from the actor, that takes others meanwhile.
fn work(
    worker: ActorRef<ToWorker>,
    live: Live,
    timeout: Duration,
    operation: OperationId,
    question: Arc<[u8]>,
) {
    let answer = tokio::spawn(async move {
        match live {
            Live::Echo => Said::Ready(question.to_vec()),
            Live::Sysinfo => Said::Ready(sysinfo::read().await),
            Live::Exec(exec) => exec.ask(&question).await,
        }
    });
    tokio::spawn(async move {
        let stop = answer.abort_handle();
        let said = match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(Said::Ready(answer))) if answer.len() > ANSWER_BYTES_MAX => Said::Lost(format!(
                "its answer has {} bytes, at most {ANSWER_BYTES_MAX} are taken",
                answer.len()
            )),
            Ok(Ok(said)) => said,
            Ok(Err(_)) => Said::Lost("it crashed".into()),
            Err(_) => {
                stop.abort();
                Said::Lost(format!("no answer within {} ms", timeout.as_millis()))
            }
        };
        // Of a node that stops nobody waits for it.
        let _ = worker.cast(ToWorker::Done(operation, said));
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chorus_protocol::ids::{Incarnation, NodeId};
    use tokio::sync::mpsc;

    use super::*;

    /// In the place of the operations: hands on what it is told.
    struct Probe;

    impl Actor for Probe {
        type Msg = ToOperations;
        type State = mpsc::UnboundedSender<(u64, Said)>;
        type Arguments = Self::State;

        async fn pre_start(
            &self,
            _: ActorRef<ToOperations>,
            tell: Self::State,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(tell)
        }

        async fn handle(
            &self,
            _: ActorRef<ToOperations>,
            message: ToOperations,
            tell: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            if let ToOperations::Answered(operation, _, said) = message {
                tell.send((operation.number, said))?;
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn each_question_has_one_outcome_also_where_there_is_no_room_for_it() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let ring = Arc::new(Ring::default());
        let (probe, _) = Actor::spawn(None, Probe, tell).await.expect("it starts");
        ring.operations.set(probe).expect("nobody else did");
        let plan = AgentPlan {
            name: Label::new("e").expect("a name"),
            capabilities: Vec::new(),
            backend: Backend::Echo,
            concurrency: 1,
            queue: 2,
            timeout: Duration::from_secs(5),
        };
        let start = (plan, ring, Arc::default());
        let worker = Actor::spawn(None, WorkerActor, start).await;
        let (worker, _) = worker.expect("it starts");
        for number in 0..200 {
            let operation = OperationId {
                origin: NodeId([1; 32]),
                run: Incarnation(1),
                number,
            };
            let question = number.to_string().into_bytes().into();
            let asked = worker.cast(ToWorker::Ask(operation, question));
            asked.expect("it lives");
        }
        let (mut numbers, mut lost) = (BTreeSet::new(), 0);
        for _ in 0..200 {
            let (number, said) = told.recv().await.expect("each has an outcome");
            assert!(numbers.insert(number), "{number} has two");
            match said {
                Said::Ready(answer) => assert_eq!(answer, number.to_string().into_bytes()),
                Said::Lost(why) => {
                    assert_eq!(why, "its queue of 2 is full");
                    lost += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(lost > 0 && lost < 200, "{lost}: who fits is answered");
        worker.stop(None);
    }
}
