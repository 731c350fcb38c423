//! The operations' actor: owns the machine by which questions reach agents and answers come
//! back, and the agents of this node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chorus_protocol::ids::{Incarnation, Label, NodeId};
use chorus_protocol::op::gather::Config;
use chorus_protocol::op::order::Census;
use chorus_protocol::op::{Agent, Input, Operations, Output, Select};
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::Command;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, oneshot};

use crate::gossip::since;
use crate::messages::{Ring, ToOperations, ToTransport};
use crate::worker::{AgentPlan, ToWorker, WorkerActor};

/// What may wait for an asker: of progress only the newest matters, so more is dropped.
const TOLD_MAX: usize = 64;
/// So much of that is left for what matters.
const TOLD_SPARE: usize = 8;

/// What the actor needs.
#[derive(Debug)]
pub struct Arguments {
    /// This node.
    pub me: NodeId,
    /// This run.
    pub run: Incarnation,
    /// The agents that it hosts.
    pub agents: Vec<AgentPlan>,
    /// The origin of the monotonic clock.
    pub epoch: Instant,
    /// The other actors.
    pub ring: Arc<Ring>,
}

/// The operations as they stand.
#[derive(Debug, Clone)]
pub struct OperationsView {
    /// The agents here and beneath.
    pub census: Census,
    /// The agents that this node hosts.
    pub agents: Vec<AgentPlan>,
    /// Words of others that were not taken.
    pub refused: u64,
    /// Lines of agents' commands that are none.
    pub malformed: u64,
}

/// The actor.
#[derive(Debug)]
pub struct OperationsActor;

/// What it owns.
#[derive(Debug)]
pub struct State {
    machine: Operations,
    plans: Vec<AgentPlan>,
    workers: BTreeMap<Label, ActorRef<ToWorker>>,
    askers: BTreeMap<u64, mpsc::Sender<Output>>,
    tickets: u64,
    malformed: Arc<AtomicU64>,
    /// When a tick is on its way to come.
    wakes_at: Micros,
    epoch: Instant,
    ring: Arc<Ring>,
}

impl Actor for OperationsActor {
    type Msg = ToOperations;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ToOperations>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let malformed = Arc::new(AtomicU64::new(0));
        let mut workers = BTreeMap::new();
        for plan in &arguments.agents {
            let start = (plan.clone(), arguments.ring.clone(), malformed.clone());
            let worker = Actor::spawn_linked(None, WorkerActor, start, myself.get_cell());
            workers.insert(plan.name, worker.await?.0);
        }
        let mut machine = Operations::new(arguments.me, arguments.run);
        let agents = arguments.agents.iter().map(|plan| Agent {
            name: plan.name,
            capabilities: plan.capabilities.clone(),
        });
        let now = since(arguments.epoch);
        // Nobody stands around it yet, so nothing follows.
        machine.handle(Input::Agents(agents.collect()), now);
        Ok(State {
            machine,
            plans: arguments.agents,
            workers,
            askers: BTreeMap::new(),
            tickets: 0,
            malformed,
            wakes_at: Micros::NEVER,
            epoch: arguments.epoch,
            ring: arguments.ring,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ToOperations>,
        message: ToOperations,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = since(state.epoch);
        let input = match message {
            ToOperations::Order(from, order) => Input::Order(from, order),
            ToOperations::Around(around) => Input::Around(around.parent, around.children),
            ToOperations::Answered(operation, agent, said) => {
                Input::Answered(operation, agent, said)
            }
            ToOperations::Begin(question, told) => {
                // Who is late is told as long as anybody listens.
                state.askers.retain(|_, asker| !asker.is_closed());
                state.tickets += 1;
                let ticket = state.tickets;
                state.askers.insert(ticket, told);
                Input::Begin {
                    ticket,
                    select: question.select,
                    question: question.text,
                    config: question.config,
                }
            }
            ToOperations::Tick => {
                // One that was overtaken by an earlier one counts as none.
                if now >= state.wakes_at {
                    state.wakes_at = Micros::NEVER;
                }
                Input::Tick
            }
            ToOperations::Inspect(reply) => {
                let _ = reply.send(OperationsView {
                    census: state.machine.census().clone(),
                    agents: state.plans.clone(),
                    refused: state.machine.refused(),
                    malformed: state.malformed.load(Ordering::Relaxed),
                });
                return Ok(());
            }
        };
        for output in state.machine.handle(input, now) {
            state.perform(output)?;
        }
        let due = state.machine.next_deadline();
        if due < state.wakes_at {
            state.wakes_at = due;
            let after = Duration::from_micros(due.since(since(state.epoch)).0);
            myself.send_after(after, || ToOperations::Tick);
        }
        Ok(())
    }
}

impl State {
    fn perform(&mut self, output: Output) -> Result<(), ActorProcessingErr> {
        let (ticket, last) = match &output {
            Output::Send(to, order) => {
                let order = Command::Operation(order.clone());
                return self.ring.transport(ToTransport::Deliver(*to, order));
            }
            Output::Run {
                operation,
                agent,
                question,
                ..
            } => {
                if let Some(worker) = self.workers.get(agent) {
                    worker.cast(ToWorker::Ask(*operation, question.clone()))?;
                }
                return Ok(());
            }
            Output::Refused(ticket, _) => (*ticket, true),
            Output::Began(ticket, ..)
            | Output::Progress(ticket, _)
            | Output::Done(ticket, _)
            | Output::Late(ticket, _) => (*ticket, false),
        };
        if let Some(asker) = self.askers.get(&ticket) {
            let idle = matches!(output, Output::Progress(..)) && asker.capacity() < TOLD_SPARE;
            // Whoever asked may have gone; who reads nothing is told no more.
            let unheard = !idle && asker.try_send(output).is_err();
            if last || unheard {
                self.askers.remove(&ticket);
            }
        }
        Ok(())
    }
}

/// A question, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who is asked.
    pub select: Select,
    /// What.
    pub text: Vec<u8>,
    /// For how long, and what a success is.
    pub config: Config,
}

/// The way to a node's operations.
#[derive(Debug, Clone)]
pub struct OperationsHandle(pub(crate) ActorRef<ToOperations>);

impl OperationsHandle {
    /// Asks; what becomes of it comes in the order in which it happens. Nothing comes from a
    /// node that stops.
    pub fn ask(&self, question: Question) -> mpsc::Receiver<Output> {
        let (told, tells) = mpsc::channel(TOLD_MAX);
        let _ = self.0.cast(ToOperations::Begin(question, told));
        tells
    }

    /// The operations as they stand; `None` when the node is stopping.
    pub async fn view(&self) -> Option<OperationsView> {
        let (reply, answer) = oneshot::channel();
        self.0.cast(ToOperations::Inspect(reply)).ok()?;
        answer.await.ok()
    }
}
