//! Worker: one hosted agent. It takes questions up to its limits, works on them beside the
//! others, and says what became of each: an answer, or why there is none.

mod exec;
pub mod human;
mod lines;
pub mod openai;
mod sysinfo;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chorus_protocol::ids::{Digest, Label};
use chorus_protocol::impedance::Class;
use chorus_protocol::op::answers::ANSWER_BYTES_MAX;
use chorus_protocol::op::{Input, OperationId, Priority, Request, Said, Took};
use chorus_protocol::units::Micros;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use self::exec::Exec;
use self::human::Inbox;
use self::openai::{Endpoint, OpenAi};
use crate::messages::{Ring, ToOperations};

/// What an agent is and may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPlan {
    /// Its name on this node.
    pub name: Label,
    /// What kind of agent it is.
    pub class: Class,
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
    /// A model behind an OpenAI-compatible endpoint: see `openai/`.
    OpenAi(Endpoint),
    /// A person, who sees in the node's inbox what waits: see `human.rs`.
    Human,
}

/// The same, once it runs; an echo takes nobody's time, so nothing runs for it.
#[derive(Debug, Clone)]
enum Live {
    Sysinfo,
    Exec(Exec),
    OpenAi(OpenAi),
    Human(Label, Inbox),
}

impl Backend {
    /// Its name in a configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Backend::Echo => "echo",
            Backend::Sysinfo => "sysinfo",
            Backend::Exec(_) => "exec",
            Backend::OpenAi(_) => "openai",
            Backend::Human => "human",
        }
    }

    /// The hash of what its answers come from besides the question, where that is known: two
    /// agents of one context are the same model, told the same.
    pub fn context(&self) -> Option<Digest> {
        match self {
            Backend::OpenAi(endpoint) => Some(endpoint.context()),
            _ => None,
        }
    }
}

/// A question to an agent.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which operation it belongs to.
    pub operation: OperationId,
    /// What is asked.
    pub request: Arc<Request>,
    /// When it came.
    pub given: Instant,
    /// When its window closes: by then it is begun with or never.
    pub expires: Instant,
}

/// To a worker.
#[derive(Debug)]
pub enum ToWorker {
    /// A question.
    Ask(Job),
    /// One is done with, and took so long.
    Done(OperationId, Said, Took),
    /// An echo that was sent then.
    Echo(Instant),
}

/// What agents do, counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Lines of their commands, and streams of their endpoints, that are none.
    pub malformed: Arc<AtomicU64>,
    /// Tokens of models' answers.
    pub tokens: Arc<AtomicU64>,
    /// Questions that nobody had begun with when their window closed.
    pub expired: AtomicU64,
}

/// The actor.
#[derive(Debug)]
pub struct WorkerActor;

/// What it owns.
#[derive(Debug)]
pub struct State {
    plan: AgentPlan,
    live: Option<Live>,
    working: usize,
    /// By lane, those of the highest first.
    waiting: [VecDeque<Job>; Priority::LANES],
    counts: Arc<Counts>,
    ring: Arc<Ring>,
}

impl Actor for WorkerActor {
    type Msg = ToWorker;
    type State = State;
    /// What it is, the other actors, and what it shares with the other agents of the node.
    type Arguments = (AgentPlan, Arc<Ring>, Arc<Counts>, Inbox);

    async fn pre_start(
        &self,
        _: ActorRef<ToWorker>,
        (plan, ring, counts, inbox): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let live = Live::start(&plan, &counts, inbox);
        Ok(State {
            plan,
            live,
            working: 0,
            waiting: Default::default(),
            counts,
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
            ToWorker::Ask(job) => {
                state.waiting[job.request.priority.lane()].push_back(job);
            }
            ToWorker::Done(operation, said, took) => {
                state.working -= 1;
                state.tell(operation, said, Some(took))?;
            }
            ToWorker::Echo(sent) => {
                let ends = state.live.as_ref().map_or(0, Live::ends);
                let echoed = ToOperations::Echoed(state.plan.name, sent, ends);
                state.ring.operations(echoed)?;
            }
        }
        let (at_once, beside) = state.plan.limits();
        while state.working < at_once
            && let Some(job) = state.next()
        {
            if Instant::now() >= job.expires {
                state.counts.expired.fetch_add(1, Ordering::Relaxed);
                let why = "EXPIRED: its window closed before its turn came".to_owned();
                state.tell(job.operation, Said::Lost(why), None)?;
                continue;
            }
            let Some(live) = &state.live else {
                let answer = Said::Ready(job.request.question.clone());
                let took = Took {
                    waited: micros(job.given.elapsed()),
                    worked: Micros::ZERO,
                };
                state.tell(job.operation, bounded(answer), Some(took))?;
                continue;
            };
            state.working += 1;
            work(myself.clone(), live.clone(), &state.plan, job);
        }
        if state.waiting.iter().map(VecDeque::len).sum::<usize>() > beside
            && let Some(job) = state.waiting.iter_mut().find_map(VecDeque::pop_back)
        {
            let why = format!("its queue of {} is full", state.plan.queue);
            state.tell(job.operation, Said::Lost(why), None)?;
        }
        Ok(())
    }
}

impl State {
    /// The oldest of the highest lane.
    fn next(&mut self) -> Option<Job> {
        self.waiting.iter_mut().rev().find_map(VecDeque::pop_front)
    }

    fn tell(
        &self,
        operation: OperationId,
        said: Said,
        took: Option<Took>,
    ) -> Result<(), ActorProcessingErr> {
        let agent = self.plan.name;
        self.ring
            .said(Input::Answered(operation, agent, said, took))
    }
}

impl AgentPlan {
    /// How many questions it works on at once, and how many may wait beside those. A person
    /// sees all that wait, and chooses; the inbox has the limit.
    fn limits(&self) -> (usize, usize) {
        match self.backend {
            Backend::Human => (usize::MAX, 0),
            _ => (self.concurrency, self.queue),
        }
    }
}

impl Live {
    fn start(plan: &AgentPlan, counts: &Counts, inbox: Inbox) -> Option<Self> {
        let (agent, malformed) = (plan.name, counts.malformed.clone());
        Some(match plan.backend.clone() {
            Backend::Echo => return None,
            Backend::Sysinfo => Live::Sysinfo,
            Backend::Exec(command) => Live::Exec(Exec::start(agent, command, malformed)),
            Backend::OpenAi(endpoint) => {
                let tokens = counts.tokens.clone();
                Live::OpenAi(OpenAi::new(agent, endpoint, malformed, tokens))
            }
            Backend::Human => Live::Human(agent, inbox),
        })
    }

    /// How often what answers has ended without an answer in between.
    fn ends(&self) -> u32 {
        match self {
            Live::Exec(exec) => exec.ends(),
            Live::Sysinfo | Live::OpenAi(_) | Live::Human(..) => 0,
        }
    }

    async fn answer(self, room: usize, request: &Request, within: Duration) -> Said {
        let question = &request.question;
        match self {
            Live::Sysinfo => Said::Ready(sysinfo::read().await),
            Live::Exec(exec) => exec.ask(question).await,
            Live::OpenAi(model) => model.ask(question, within).await,
            Live::Human(agent, inbox) => inbox.ask(agent, request, room, within).await,
        }
    }
}

/// Works on a question, away from the actor, that takes others meanwhile.
fn work(worker: ActorRef<ToWorker>, live: Live, plan: &AgentPlan, job: Job) {
    let began = Instant::now();
    let Job {
        operation,
        request,
        given,
        expires,
    } = job;
    let room = plan.queue;
    let timeout = match live {
        // Nobody shall think about what no answer can change any more.
        Live::Human(..) => plan.timeout.min(expires - began),
        _ => plan.timeout,
    };
    let answer = tokio::spawn(async move { live.answer(room, &request, timeout).await });
    tokio::spawn(async move {
        let stop = answer.abort_handle();
        let said = match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(said)) => bounded(said),
            Ok(Err(_)) => Said::Lost("it crashed".into()),
            Err(_) => {
                stop.abort();
                Said::Lost(format!("no answer within {} ms", timeout.as_millis()))
            }
        };
        let took = Took {
            waited: micros(began - given),
            worked: micros(began.elapsed()),
        };
        // Of a node that stops nobody waits for it.
        let _ = worker.cast(ToWorker::Done(operation, said, took));
    });
}

fn micros(it: Duration) -> Micros {
    Micros(u64::try_from(it.as_micros()).unwrap_or(u64::MAX))
}

/// What is said, if it is not too long.
fn bounded(said: Said) -> Said {
    match said {
        Said::Ready(answer) if answer.len() > ANSWER_BYTES_MAX => Said::Lost(format!(
            "its answer has {} bytes, at most {ANSWER_BYTES_MAX} are taken",
            answer.len()
        )),
        said => said,
    }
}

#[cfg(test)]
mod tests;
