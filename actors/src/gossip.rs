//! The gossip actor: owns the gossip machine, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use chorus_protocol::gossip::{Config, Event, Gossip, Input, Known, Output};
use chorus_protocol::ids::{NodeId, Stamp};
use chorus_protocol::membership::topology::Member;
use chorus_protocol::memory::checkpoint::Around;
use chorus_protocol::phase::kuramoto::Phase;
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::units::{Micros, Noise, Seeded};
use chorus_protocol::wire::message::PeerState;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::messages::{Ring, ToCheckpoints, ToDirectory, ToGossip, ToOperations, ToTransport};
use crate::store::{StoreHandle, Write};

/// Between two times that the peers' stamps are written down.
const SAVE_EVERY: Micros = Micros::from_secs(30);

/// What the actor needs.
#[derive(Debug)]
pub struct Arguments {
    /// How to gossip.
    pub config: Config,
    /// Who gossips.
    pub me: Member,
    /// The directory at the start.
    pub known: Known,
    /// Stamps that an earlier run saw.
    pub stamps: Vec<(NodeId, Stamp)>,
    /// The seed of noise and jitter.
    pub seed: u64,
    /// The origin of the monotonic clock.
    pub epoch: Instant,
    /// The other actors.
    pub ring: Arc<Ring>,
    /// Where stamps go.
    pub store: StoreHandle,
    /// Lowered when a tick has been handled, so that ticks never pile up.
    pub ticking: Arc<AtomicBool>,
}

/// The actor.
#[derive(Debug)]
pub struct GossipActor;

/// What it owns.
#[derive(Debug)]
pub struct State {
    machine: Gossip,
    noise: Seeded,
    next_save: Micros,
    /// Who stands around, as the checkpoints were last told.
    around: Around,
    /// How long a word of the parent is on its way, at least.
    delay: Micros,
    /// Who has which name, for the log.
    roster: Arc<Roster>,
    arguments: Arguments,
}

impl Actor for GossipActor {
    type Msg = ToGossip;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<ToGossip>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let now = since(arguments.epoch);
        let mut noise = Seeded::new(arguments.seed);
        let theta = Phase::new(noise.uniform() * std::f64::consts::TAU)?;
        let known = arguments.known.clone();
        let roster = known.roster.clone();
        let mut machine = Gossip::new(arguments.config.clone(), arguments.me, known, theta, now);
        for (node, stamp) in &arguments.stamps {
            machine.restore(*node, *stamp, now);
        }
        let next_save = now + SAVE_EVERY;
        Ok(State {
            machine,
            noise,
            next_save,
            around: Around::default(),
            delay: Micros::ZERO,
            roster,
            arguments,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<ToGossip>,
        message: ToGossip,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = since(state.arguments.epoch);
        match message {
            ToGossip::Arrived(batch) => {
                let mut outputs = Vec::new();
                for (input, incoming) in batch {
                    // A frame counts from when it arrived, not from when its turn came.
                    let now = match &incoming {
                        Some(incoming) => at(state.arguments.epoch, incoming.at),
                        None => now,
                    };
                    outputs.extend(state.machine.handle(input, now, &mut state.noise));
                }
                state.perform(outputs)?;
            }
            ToGossip::Input(input) => {
                let tick = matches!(input, Input::Tick);
                if let Input::Directory(known) = &input {
                    state.roster = known.roster.clone();
                }
                let outputs = state.machine.handle(input, now, &mut state.noise);
                state.perform(outputs)?;
                if tick {
                    state.arguments.ticking.store(false, Ordering::Release);
                    state.tell_around()?;
                    if now >= state.next_save {
                        state.next_save = now + SAVE_EVERY;
                        state.save(Box::new(|_| {}));
                    }
                }
            }
            ToGossip::Cut(epoch, lamport) => {
                let cut = state.machine.cut(lamport, now);
                let cut = ToCheckpoints::Cut(epoch, cut);
                state.arguments.ring.checkpoints(cut)?;
            }
            ToGossip::Inspect(lamport, reply) => {
                let view = state.machine.view(now);
                let _ = reply.send((view, state.machine.peer_views(lamport, now)));
            }
            ToGossip::Save(reply) => {
                state.save(Box::new(move |_| {
                    let _ = reply.send(());
                }));
            }
        }
        Ok(())
    }
}

impl State {
    /// Persist, then send, then say.
    fn perform(&mut self, outputs: Vec<Output>) -> Result<(), ActorProcessingErr> {
        let mut send = Vec::new();
        for output in outputs {
            match output {
                Output::Compare(node, items, digest) => {
                    let compare = ToDirectory::Compare(node, items, digest);
                    self.arguments.ring.directory(compare)?;
                }
                Output::Event(event) => {
                    log(&event, &self.roster);
                    if let Event::Incarnation(node, incarnation) = event {
                        let stamp = Stamp {
                            incarnation,
                            lamport: 0,
                        };
                        let write = vec![Write::Stamps(vec![(node, stamp)])];
                        self.arguments.store.write(write, Box::new(|_| {}));
                    }
                }
                other => send.push(other),
            }
        }
        if !send.is_empty() {
            self.arguments.ring.transport(ToTransport::Perform(send))?;
        }
        Ok(())
    }

    /// Tells the checkpoints and the operations who stands around, where that has changed.
    fn tell_around(&mut self) -> Result<(), ActorProcessingErr> {
        let around = self.machine.around();
        let parent = around.parent.map(|it| it.0);
        let delay = parent.map_or(Micros::ZERO, |it| self.machine.one_way(&it));
        if delay != self.delay {
            self.delay = delay;
            let ring = &self.arguments.ring;
            ring.operations(ToOperations::Delay(delay))?;
        }
        if around == self.around {
            return Ok(());
        }
        self.around = around.clone();
        let ring = &self.arguments.ring;
        ring.operations(ToOperations::Around(around.clone()))?;
        ring.checkpoints(ToCheckpoints::Around(around))
    }

    fn save(&self, done: crate::store::Done) {
        let stamps = self.machine.stamps().collect();
        self.arguments
            .store
            .write(vec![Write::Stamps(stamps)], done);
    }
}

/// Says what happened; nodes by key and, where the roster has one, by name.
fn log(event: &Event, roster: &Roster) {
    let name = |node: &NodeId| {
        let member = roster.get(node);
        member.map_or_else(|| "-".to_owned(), |it| it.entry.name.to_string())
    };
    match event {
        Event::Peer(change) => tracing::info!(
            node = %change.node.short(), name = %name(&change.node),
            from = %change.from.map_or("unknown", PeerState::as_str), to = %change.to.as_str(),
            after_ms = change.after.as_millis(), "peer"
        ),
        Event::Incarnation(node, run) => {
            tracing::debug!(
                node = %node.short(), name = %name(node), incarnation = %run, "new run"
            );
        }
        Event::Attached(node) => {
            tracing::info!(parent = %node.short(), name = %name(node), "attached");
        }
        Event::Detached(node, why) => {
            tracing::info!(parent = %node.short(), name = %name(node), why, "detached");
        }
        Event::Orphan(nowhere) if nowhere.is_empty() => {
            tracing::warn!("no parent can be reached; siblings gossip directly");
        }
        Event::Orphan(nowhere) => {
            let nodes: Vec<String> = nowhere.iter().map(name).collect();
            tracing::warn!(
                of = nodes.join(","),
                "no parent can be reached, and of some no address is known: `chorus status` says \
                 what to do; siblings gossip directly"
            );
        }
        Event::Late(span) => tracing::warn!(late_ms = span.as_millis(), "own ticks came late"),
        Event::Crowded(node) => tracing::warn!(
            node = %node.short(), name = %name(node), "refused: too many children"
        ),
    }
}

/// Now, on the node's monotonic clock.
pub fn since(epoch: Instant) -> Micros {
    at(epoch, Instant::now())
}

/// A moment on the node's monotonic clock.
fn at(epoch: Instant, moment: Instant) -> Micros {
    let span = moment.saturating_duration_since(epoch);
    Micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}
