//! The memory actor: the shell around the replication machine.
//!
//! What others give is checked on the runtime's blocking threads, goes from there to the
//! store's to be merged, and only then is the machine told, which says who hears of it. Nothing
//! is read from the disk on the runtime.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use chorus_protocol::causality::version::Replica;
use chorus_protocol::conflict;
use chorus_protocol::ids::{Digest, Incarnation, Label, MeshId, NodeId};
use chorus_protocol::memory::key::Position;
use chorus_protocol::memory::replication::{self, Change, Input};
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::Identity;
use chorus_storage::store::Tree;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Semaphore, mpsc};

use super::asking::{Gets, Then};
use super::ingress::{MemoryView, ToMemory};
use super::neighbours::Neighbours;
use super::own::Own;
use super::realm::{Event, Order, Realms, Reply};
use super::writing::Writer;
use crate::conflicts::ConflictLog;
use crate::gossip::since;
use crate::messages::Ring;
use crate::store::StoreHandle;

/// Events between nodes that are handled at once; of more none is taken from the channel.
const EVENTS_MAX: usize = 64;
/// How long a question of another node may wait for its answer.
const ANSWER_WITHIN: Micros = Micros::from_secs(10);

/// What the actor needs.
#[derive(Debug)]
pub struct Arguments {
    /// The mesh.
    pub mesh: MeshId,
    /// Signs what is written here.
    pub identity: Arc<Identity>,
    /// As whom it writes.
    pub replica: Replica,
    /// This run.
    pub run: Incarnation,
    /// How to replicate.
    pub config: replication::Config,
    /// Most bytes of memory in the store.
    pub bytes_max: u64,
    /// What stands in the store.
    pub standing: Vec<(Position, Digest)>,
    /// Who belongs.
    pub roster: Arc<Roster>,
    /// The realms that this node is in, its sector's first.
    pub realms: Vec<Label>,
    /// The thread between the nodes.
    pub network: Realms,
    /// What comes from it.
    pub events: mpsc::Receiver<Event>,
    /// Where records are kept.
    pub store: StoreHandle,
    /// Where conflicts are kept.
    pub conflicts: ConflictLog,
    /// The other actors.
    pub ring: Arc<Ring>,
    /// The origin of the monotonic clock.
    pub epoch: Instant,
}

/// The actor.
#[derive(Debug)]
pub struct MemoryActor;

/// What it owns.
#[derive(Debug)]
pub struct State {
    pub(super) myself: ActorRef<ToMemory>,
    pub(super) machine: replication::State,
    pub(super) writer: Writer,
    pub(super) roster: Arc<Roster>,
    pub(super) network: Realms,
    pub(super) store: StoreHandle,
    pub(super) ring: Arc<Ring>,
    conflicts: ConflictLog,
    pub(super) own: Own,
    pub(super) gets: Gets,
    pub(super) realms: Vec<Label>,
    pub(super) run: Incarnation,
    pub(super) neighbours: Neighbours,
    epoch: Instant,
    /// Questions of others, and since when they wait.
    pub(super) tickets: BTreeMap<u64, (Reply, Micros)>,
    next: u64,
    /// What a comparison asked for: with whom, and whether it was pushed or fetched.
    pub(super) moves: BTreeMap<u64, NodeId>,
    /// How many answers a comparison waits for, what has moved, and whether nothing differed.
    pub(super) rounds: BTreeMap<NodeId, (usize, usize, bool)>,
    /// Orders to the network's thread that nobody gives again, while it has no room: the
    /// members, and those that one look at who is dialled gave.
    pub(super) unsent: VecDeque<Order>,
    counters: BTreeMap<&'static str, u64>,
}

impl Actor for MemoryActor {
    type Msg = ToMemory;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ToMemory>,
        a: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let me = a.identity.id();
        let mut machine = replication::State::new(me, a.config);
        let now = since(a.epoch);
        for (at, digest) in a.standing {
            let change = Change {
                was: None,
                is: Some(digest),
            };
            machine.handle(Input::Stands(at, change), now);
        }
        carry(myself.clone(), a.events);
        let mut state = State {
            myself,
            machine,
            writer: Writer {
                identity: a.identity,
                mesh: a.mesh,
                replica: a.replica,
                bytes_max: a.bytes_max,
            },
            roster: a.roster.clone(),
            network: a.network,
            store: a.store,
            ring: a.ring,
            conflicts: a.conflicts,
            own: Own::default(),
            gets: Gets::default(),
            run: a.run,
            neighbours: Neighbours::new(me, a.realms.clone()),
            realms: a.realms,
            epoch: a.epoch,
            tickets: BTreeMap::new(),
            next: 0,
            moves: BTreeMap::new(),
            rounds: BTreeMap::new(),
            unsent: VecDeque::new(),
            counters: BTreeMap::new(),
        };
        state.belongs(a.roster);
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<ToMemory>,
        message: ToMemory,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToMemory::Put {
                key,
                value,
                options,
                looked,
                reply,
            } => state.put(key, value, options, looked, reply)?,
            ToMemory::Import {
                batch,
                looked,
                reply,
            } => state.import(batch, looked, reply)?,
            ToMemory::Get(key, within, reply) => state.get(key, within, Then::Tell(reply)),
            ToMemory::List(from, limit, reply) => state.list(from, limit, reply),
            ToMemory::Inspect(reply) => {
                let _ = reply.send(state.view());
            }
            ToMemory::Roster(roster) => state.belongs(roster),
            ToMemory::Realm(event, permit) => state.event(event, permit),
            ToMemory::Ticked(job, first) => state.ticked(job, first),
            ToMemory::Wrote(job, result) => state.wrote(job, result)?,
            ToMemory::Arrived(from, records) => {
                for record in records {
                    state.input(Input::Arrived { from, record });
                }
            }
            ToMemory::Took(given, bad, result) => state.took(*given, bad, result)?,
            ToMemory::Compared(with, to_move) => state.compared(with, to_move),
            ToMemory::Answer(ticket, answer) => state.reply(ticket, &answer),
            ToMemory::Held(look, found) => state.input(Input::Holds { look, found }),
            ToMemory::Read(get, found) => state.read(get, found),
            ToMemory::Damaged(positions) => state.mend(positions),
            ToMemory::Mended(result) => state.mended(result),
            ToMemory::Tick => state.tick()?,
        }
        Ok(())
    }
}

/// Carries events to the actor, as many at once as may be handled.
fn carry(to: ActorRef<ToMemory>, mut events: mpsc::Receiver<Event>) {
    let permits = Arc::new(Semaphore::new(EVENTS_MAX));
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return;
            };
            if to.cast(ToMemory::Realm(event, permit)).is_err() {
                return;
            }
        }
    });
}

impl State {
    pub(super) fn now(&self) -> Micros {
        since(self.epoch)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn count(&mut self, name: &'static str, many: u64) {
        if many > 0 {
            *self.counters.entry(name).or_default() += many;
        }
    }

    /// What is logged stands in the store too: a full queue loses a line, and no value.
    pub(super) fn log_conflict(&mut self, entry: Option<Box<conflict::Entry>>) {
        let lost = entry.is_some_and(|entry| !self.conflicts.log(*entry));
        self.count("conflicts_unlogged", u64::from(lost));
    }

    fn belongs(&mut self, roster: Arc<Roster>) {
        self.roster = roster;
        let (nodes, carriers) = self.neighbours.members(&self.roster);
        let mut allowed = nodes.clone();
        allowed.remove(&self.writer.identity.id());
        self.must(Order::Members(allowed));
        self.input(Input::Members { nodes, carriers });
        self.dial();
    }

    /// Dials who should be connected and is not, where that has changed.
    fn dial(&mut self) {
        if !self.send_unsent() {
            return;
        }
        let now = self.now();
        for order in self.neighbours.orders(&self.roster, now) {
            self.must(order);
        }
    }

    fn tick(&mut self) -> Result<(), ActorProcessingErr> {
        let now = self.now();
        self.tickets
            .retain(|_, (_, since)| now.since(*since) < ANSWER_WITHIN);
        self.input(Input::Tick);
        self.dial();
        self.ask_times()
    }

    fn view(&self) -> MemoryView {
        let sum = self.machine.sum();
        let (copies, agree) = self.machine.copies();
        let usage = self.store.reader().usage_of(Tree::Memory);
        let usage = usage.unwrap_or_default();
        let mut counters: Vec<_> = self.counters.iter().map(|(n, c)| (*n, *c)).collect();
        counters.extend(self.network.counters());
        counters.extend(self.conflicts.counters());
        MemoryView {
            records: usage.records,
            bytes: usage.bytes,
            bytes_max: self.writer.bytes_max,
            digest: Some(sum.digest()),
            whole: self.machine.holds_all(),
            members: self.machine.placement().members(),
            copies,
            neighbours: self.machine.neighbours().count(),
            agree,
            behind: self.machine.behind(),
            conflicts: self.conflicts.open(),
            counters,
        }
    }
}
