//! The operations' actor: owns the machine by which questions reach agents and answers come
//! back, and the agents of this node.

mod handle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chorus_protocol::ids::{Incarnation, Label, NodeId, Place};
use chorus_protocol::impedance::faults::{Fault, Kind};
use chorus_protocol::op::census::Census;
use chorus_protocol::op::kpi::Kpis;
use chorus_protocol::op::{Agent, Input, Operations, Output};
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::Command;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;

use crate::gossip::since;
use crate::measures::Measures;
use crate::messages::{Ring, ToOperations, ToTransport};
use crate::store::StoreHandle;
use crate::worker::human::Inbox;
use crate::worker::{AgentPlan, Counts, Job, ToWorker, WorkerActor};
pub use handle::{Look, OperationsHandle};

/// So much of what may wait for an asker is left for what matters.
const TOLD_SPARE: usize = 8;
/// Between two echoes to an agent, and how many it is sent at first, so that it is soon measured.
const ECHO_EVERY: Duration = Duration::from_secs(5);
const ECHOES_AT_FIRST: usize = 8;

/// So many echoes lie between two times at which the measures are kept: a minute.
const KEEP_EVERY: u32 = 12;

/// What the actor needs.
#[derive(Debug)]
pub struct Arguments {
    /// This node.
    pub me: NodeId,
    /// This run.
    pub run: Incarnation,
    /// Where it stands.
    pub place: Place,
    /// The agents that it hosts.
    pub agents: Vec<AgentPlan>,
    /// What was measured before.
    pub measures: Measures,
    /// Where that is kept.
    pub store: StoreHandle,
    /// The origin of the monotonic clock.
    pub epoch: Instant,
    /// The other actors.
    pub ring: Arc<Ring>,
}

/// The operations as they stand.
#[derive(Debug, Clone)]
pub struct OperationsView {
    /// This node.
    pub me: NodeId,
    /// When this was, by the clock of the readings.
    pub now: Micros,
    /// The agents here and beneath.
    pub census: Census,
    /// The agents that this node hosts.
    pub agents: Vec<AgentPlan>,
    /// Words of others that were not taken.
    pub refused: u64,
    /// Lines of agents' commands, and streams of models, that are none.
    pub malformed: u64,
    /// Tokens of models' answers.
    pub tokens: u64,
    /// Questions whose window closed before their agent began with them.
    pub expired: u64,
    /// Agents beneath for which the registry has no room.
    pub unlisted: u64,
    /// What operations came to, and how long agents were there.
    pub kpis: Kpis,
    /// What is wrong with agents, as it was last looked at.
    pub faults: Vec<Fault>,
    /// The mean impedance of the agents here and beneath that answer, as it was last taken, ms.
    pub mean_ms: Option<f64>,
}

/// The actor.
#[derive(Debug)]
pub struct OperationsActor;

/// What it owns.
#[derive(Debug)]
pub struct State {
    me: NodeId,
    machine: Operations,
    plans: Vec<AgentPlan>,
    workers: BTreeMap<Label, ActorRef<ToWorker>>,
    askers: BTreeMap<u64, mpsc::Sender<Output>>,
    tickets: u64,
    counts: Arc<Counts>,
    /// What waits for people.
    inbox: Inbox,
    /// What is escalated, and was said in the log.
    escalated: BTreeSet<(Kind, Place)>,
    measures: Measures,
    store: StoreHandle,
    /// Echoes since the measures were kept.
    echoes: u32,
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
        let (counts, inbox) = (Arc::new(Counts::default()), Inbox::start());
        let mut workers = BTreeMap::new();
        for plan in &arguments.agents {
            let (ring, inbox) = (arguments.ring.clone(), inbox.clone());
            let start = (plan.clone(), ring, counts.clone(), inbox);
            let worker = Actor::spawn_linked(None, WorkerActor, start, myself.get_cell());
            workers.insert(plan.name, worker.await?.0);
        }
        let mut machine = Operations::new(arguments.me, arguments.run);
        let mut measures = arguments.measures;
        machine.resume(std::mem::take(&mut measures.rows), measures.age);
        let agents = arguments.agents.iter().map(|plan| Agent {
            name: plan.name,
            class: plan.class,
            capabilities: plan.capabilities.clone(),
            context: plan.backend.context(),
        });
        let now = since(arguments.epoch);
        // Nobody stands around it yet, so nothing follows.
        machine.handle(Input::Place(arguments.place), now);
        machine.handle(Input::Agents(agents.collect()), now);
        for _ in 0..ECHOES_AT_FIRST {
            myself.cast(ToOperations::Echo)?;
        }
        myself.send_interval(ECHO_EVERY, || ToOperations::Echo);
        Ok(State {
            me: arguments.me,
            machine,
            plans: arguments.agents,
            workers,
            askers: BTreeMap::new(),
            tickets: 0,
            counts,
            inbox,
            escalated: BTreeSet::new(),
            measures,
            store: arguments.store,
            echoes: 0,
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
            ToOperations::Delay(delay) => Input::Delay(delay),
            ToOperations::Said => {
                let said = state.ring.take_said();
                return state.happened(&myself, said, now);
            }
            ToOperations::Echo => {
                for worker in state.workers.values() {
                    worker.cast(ToWorker::Echo(Instant::now()))?;
                }
                state.escalate();
                state.echoes += 1;
                if state.echoes >= KEEP_EVERY {
                    state.keep(|| ());
                }
                // Where nothing happens the history goes on all the same.
                Input::Tick
            }
            ToOperations::Echoed(agent, sent, ends) => {
                let elapsed = Micros(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
                let echoed = Input::Echoed(agent, elapsed, Micros::ZERO);
                let inputs = [echoed, Input::Crashed(agent, ends)];
                return state.happened(&myself, inputs, now);
            }
            ToOperations::Begin(question, told) => {
                // Who is late is told as long as anybody listens.
                let gone = state.askers.iter().filter(|it| it.1.is_closed());
                for ticket in gone.map(|it| *it.0).collect::<Vec<_>>() {
                    state.askers.remove(&ticket);
                    for output in state.machine.handle(Input::Left(ticket), now) {
                        state.perform(output)?;
                    }
                }
                state.tickets += 1;
                state.askers.insert(state.tickets, told);
                Input::Begin(state.tickets, question)
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
                    me: state.me,
                    now,
                    census: state.machine.census().clone(),
                    agents: state.plans.clone(),
                    refused: state.machine.refused(),
                    malformed: state.counts.malformed.load(Ordering::Relaxed),
                    tokens: state.counts.tokens.load(Ordering::Relaxed),
                    expired: state.counts.expired.load(Ordering::Relaxed),
                    unlisted: state.machine.readings().dropped(),
                    kpis: state.machine.readings().kpis().clone(),
                    faults: state.machine.readings().faults().to_vec(),
                    mean_ms: state.machine.readings().mean_ms(),
                });
                return Ok(());
            }
            ToOperations::Save(reply) => {
                state.keep(|| {
                    let _ = reply.send(());
                });
                return Ok(());
            }
            ToOperations::Census(reply) => {
                let _ = reply.send(state.machine.census().clone());
                return Ok(());
            }
            ToOperations::Inbox(reply) => {
                let _ = reply.send(state.inbox.clone());
                return Ok(());
            }
            ToOperations::Read(look) => {
                (look.0)(state.machine.readings());
                return Ok(());
            }
        };
        state.happened(&myself, [input], now)
    }
}

impl State {
    /// Does what follows from what happened, and comes back when something is due.
    fn happened(
        &mut self,
        myself: &ActorRef<ToOperations>,
        inputs: impl IntoIterator<Item = Input>,
        now: Micros,
    ) -> Result<(), ActorProcessingErr> {
        for output in self.machine.handle_all(inputs, now) {
            self.perform(output)?;
        }
        let due = self.machine.next_deadline();
        if due < self.wakes_at {
            self.wakes_at = due;
            let after = Duration::from_micros(due.since(since(self.epoch)).0);
            myself.send_after(after, || ToOperations::Tick);
        }
        Ok(())
    }

    /// Keeps the measures; calls `done` when they are durable, or could not be kept.
    fn keep(&mut self, done: impl FnOnce() + Send + 'static) {
        self.echoes = 0;
        let kpis = self.machine.readings().kpis();
        let Some(batch) = self.measures.batch(kpis) else {
            return done();
        };
        self.store.update(
            move |_| Ok((batch, ())),
            move |kept| {
                if let Err(why) = kept {
                    tracing::debug!(why, "the measures could not be kept");
                }
                done();
            },
        );
    }

    /// Says in the log what somebody has to know, once.
    fn escalate(&mut self) {
        let faults = self.machine.readings().faults().iter();
        let now: BTreeSet<(Kind, Place)> = faults
            .filter(|it| it.escalated)
            .map(|it| (it.kind, it.place))
            .collect();
        for (kind, place) in now.difference(&self.escalated) {
            let (sector, cluster) = (place.sector, place.cluster);
            tracing::warn!(fault = kind.name(), %sector, %cluster, "a fault is escalated");
        }
        self.escalated = now;
    }

    fn perform(&mut self, output: Output) -> Result<(), ActorProcessingErr> {
        let (ticket, last) = match &output {
            Output::Send(to, order) => {
                let order = Command::Operation(order.clone());
                return self.ring.transport(ToTransport::Deliver(*to, order));
            }
            Output::Run {
                operation,
                agent,
                request,
                within,
            } => {
                if let Some(worker) = self.workers.get(agent) {
                    let given = Instant::now();
                    let job = Job {
                        operation: *operation,
                        request: request.clone(),
                        given,
                        expires: given + Duration::from_micros(within.0),
                    };
                    worker.cast(ToWorker::Ask(job))?;
                }
                return Ok(());
            }
            Output::Refused(ticket, _) => (*ticket, true),
            Output::Began(ticket, ..)
            | Output::Progress(ticket, _)
            | Output::Done(ticket, _)
            | Output::Late(ticket, ..) => (*ticket, false),
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
