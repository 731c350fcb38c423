//! The machine: inputs to outputs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::{Digest, NodeId, Role, Stamp};
use crate::membership::detector::Flow;
use crate::membership::peers::{Change, Peers};
use crate::membership::topology::Member;
use crate::phase::field::{PartialSum, Scope, Sum};
use crate::phase::kuramoto::{self, Oscillator, Phase};
use crate::trust::roster::Roster;
use crate::units::{Micros, Noise};
use crate::wire::message::{
    Command, Echo, Heartbeat, Message, PeerNews, PeerState, PhaseNews, SumNews,
};
use crate::wire::topic::Topic;

use super::bounds::seat_scope;
use super::field::Field;
use super::tree::{Step, Tree};
use super::watch::Watches;
use super::{Config, Counters, Event, Input, Known, Output};

/// Ticks later than this mean that we were asleep.
const LATE: Micros = Micros::from_millis(300);
/// Frames of peer news at once when there is much new to say.
const NEWS_BURST: usize = 4;

/// One node's gossip.
#[derive(Debug, Clone)]
pub struct Gossip {
    pub(super) config: Config,
    pub(super) me: Member,
    pub(super) oscillator: Oscillator,
    pub(super) peers: Peers,
    pub(super) field: Field,
    pub(super) tree: Tree,
    pub(super) counters: Counters,
    /// Children, and whether they are live: those who said that we are their parent.
    pub(super) children: BTreeSet<NodeId>,
    pub(super) watches: Watches,
    pub(super) siblings: BTreeSet<NodeId>,
    /// Other seats of the root that we have opened a link to.
    pub(super) seats: BTreeSet<NodeId>,
    pub(super) roster: Arc<Roster>,
    pub(super) items: u32,
    pub(super) digest: Digest,
    /// Listening to the siblings' phases, because nobody else sums them up.
    pub(super) orphan: bool,
    pub(super) subscribed: (Vec<Vec<u8>>, Vec<Vec<u8>>),
    pub(super) last_tick: Option<Micros>,
    pub(super) next_tick: Micros,
    pub(super) next_heartbeat: Micros,
    pub(super) next_news: Micros,
    pub(super) late: Micros,
}

impl Gossip {
    /// A node that begins at `now` with phase `theta`.
    pub fn new(config: Config, me: Member, known: Known, theta: Phase, now: Micros) -> Self {
        let peers = Peers::new(config.membership_ttl);
        let omega = kuramoto::natural_frequency(&me.node, &config.phase);
        let oscillator = Oscillator::new(theta, omega, now);
        let mut new = Self {
            config,
            me,
            oscillator,
            peers,
            field: Field::default(),
            tree: Tree::new(me.role, me.node.0[31]),
            counters: Counters::default(),
            children: BTreeSet::new(),
            watches: Watches::default(),
            siblings: BTreeSet::new(),
            seats: BTreeSet::new(),
            roster: known.roster.clone(),
            items: 0,
            digest: known.digest,
            orphan: false,
            subscribed: (Vec::new(), Vec::new()),
            last_tick: None,
            next_tick: now,
            next_heartbeat: now,
            next_news: now,
            late: Micros::ZERO,
        };
        // What this would say is said by the first tick.
        new.directory(known, now, &mut Vec::new());
        new
    }

    /// Takes the stamp of a peer that an earlier run of this node saw.
    pub fn restore(&mut self, node: NodeId, stamp: Stamp, now: Micros) {
        self.peers.restore(node, stamp, now);
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Micros {
        self.next_tick
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input, now: Micros, noise: &mut dyn Noise) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Tick => self.tick(now, noise, &mut out),
            Input::Heard(frame) => self.heard(frame, now, &mut out),
            Input::Command(from, command) => self.command(from, command, now, &mut out),
            Input::Directory(known) => self.directory(known, now, &mut out),
            Input::Unreachable(node) => {
                self.seats.remove(&node); // tried again with the next heartbeat
                let steps = self.tree.give_up(node, &self.config, now);
                self.climb(steps, now, &mut out);
            }
        }
        out
    }

    fn tick(&mut self, now: Micros, noise: &mut dyn Noise, out: &mut Vec<Output>) {
        let elapsed = self
            .last_tick
            .map_or(self.config.period, |last| now.since(last));
        let late = now.since(self.next_tick);
        if self.last_tick.is_some() && late > LATE {
            self.forgive(late, out);
        }
        self.late = self.late.max(late);
        self.last_tick = Some(now);
        self.next_tick = now + self.config.period;

        let steps = self.tree.tick(&self.config, now);
        self.climb(steps, now, out);
        self.listen(out);
        self.detect(now, noise, out);
        let before = self.field.expired;
        self.field.step(&self.config, elapsed, now);
        self.counters.expired += self.field.expired - before;
        self.couple(now, noise);
        self.say_phase(now, out);
        if now >= self.next_heartbeat {
            self.say_heartbeat(now, noise, out);
        }
        if now >= self.next_news {
            self.next_news = now + self.config.news;
            self.say_news(now, out);
        }
    }

    /// We were deaf and mute for `span`: hold that against nobody.
    fn forgive(&mut self, span: Micros, out: &mut Vec<Output>) {
        self.watches.forgive(span);
        self.field.forgive(span);
        self.peers.forgive(span);
        self.tree.forgive(span);
        out.push(Output::Event(Event::Late(span)));
    }

    /// Moves the oscillator to now under the widest fresh sum.
    fn couple(&mut self, now: Micros, noise: &mut dyn Noise) {
        let field = self.widest(now).part.field(now);
        self.oscillator
            .advance(now, field.as_ref(), &self.config.phase, noise);
    }

    /// Own phase as a part of one.
    pub(super) fn own_part(&self, now: Micros) -> PartialSum {
        PartialSum::of(self.oscillator.phase(now), self.oscillator.omega(), 1.0)
    }

    /// The sum over the own subtree, under the name that it goes by.
    pub(super) fn subtree(&self, now: Micros) -> Sum {
        Sum {
            scope: self.scope(),
            part: self.field.subtree(self.own_part(now), now),
        }
    }

    /// The widest fresh sum: from above, else over the siblings, else one's own.
    pub(super) fn widest(&self, now: Micros) -> Sum {
        if let Some(widest) = self.field.above(now).next_back() {
            return widest;
        }
        let subtree = self.subtree(now);
        if !self.field.has_siblings() {
            return subtree;
        }
        Sum {
            scope: wider(self.me),
            part: self.field.with_siblings(subtree.part, now),
        }
    }

    /// The mean natural frequency of the widest scope, rad/s.
    pub(super) fn mean_omega(&self, now: Micros) -> f64 {
        self.widest(now).part.mean_omega()
    }

    /// The scope of the own subtree's sum.
    pub(super) fn scope(&self) -> Scope {
        seat_scope(&self.me)
    }

    fn say_phase(&self, now: Micros, out: &mut Vec<Output>) {
        if self.me.role == Role::Agent {
            let news = PhaseNews {
                place: self.me.place,
                theta: self.oscillator.phase(now),
                omega: self.oscillator.omega(),
                age_us: 0,
            };
            out.push(Output::Publish(
                Topic::Phase(self.me.place),
                Message::Phase(news),
            ));
            return;
        }
        let own = self.subtree(now);
        let mut above = self.field.relay(now);
        if above.is_empty() && self.field.has_siblings() {
            above.push(self.widest(now));
        }
        let place = self.me.place;
        let topic = match self.me.role {
            Role::Orchestrator => Topic::MeshSum,
            Role::Coordinator => Topic::SectorSum(place.sector),
            _ => Topic::ClusterSum(place.sector, place.cluster),
        };
        out.push(Output::Publish(
            topic,
            Message::Sums(SumNews {
                own,
                above,
                top: self.tree.top(),
            }),
        ));
    }

    fn say_heartbeat(&mut self, now: Micros, noise: &mut dyn Noise, out: &mut Vec<Output>) {
        // A little early at random, so that a mesh started at once does not beat at once.
        let jitter = (self.config.heartbeat.0 as f64 * 0.1 * noise.uniform()) as u64;
        self.next_heartbeat = now + self.config.heartbeat - Micros(jitter);
        self.visit_seats(out);
        let heartbeat = Heartbeat {
            items: self.items,
            digest: self.digest,
            parent: self.tree.parent(),
            late_us: u32::try_from(std::mem::take(&mut self.late).0).unwrap_or(u32::MAX),
        };
        out.push(Output::Publish(
            Topic::Heartbeat,
            Message::Heartbeat(heartbeat),
        ));
        let echo = Message::Echo(Echo { sent_us: now.0 });
        out.extend(
            self.tree
                .parent()
                .map(|parent| Output::Send(parent, echo.clone())),
        );
        out.extend(
            self.children
                .iter()
                .map(|child| Output::Send(*child, echo.clone())),
        );
    }

    fn say_news(&mut self, now: Micros, out: &mut Vec<Output>) {
        if self.children.is_empty() && !self.orphan {
            return; // nobody learns anything from a leaf that its parent does not know
        }
        for burst in 0..NEWS_BURST {
            if burst > 0 && !self.peers.has_changes() {
                break;
            }
            let omega = self.mean_omega(now);
            let peers = self.peers.news(now, omega);
            if !peers.is_empty() {
                out.push(Output::Publish(
                    Topic::Heartbeat,
                    Message::Peers(PeerNews { peers }),
                ));
            }
        }
    }

    /// Performs what the search for a parent asks for.
    pub(super) fn climb(&mut self, steps: Vec<Step>, now: Micros, out: &mut Vec<Output>) {
        for step in steps {
            match step {
                Step::Dial(node) => out.push(Output::Dial(node)),
                Step::Hangup(node) => out.push(Output::Hangup(node)),
                Step::Attach(node) => {
                    self.watches.begin(node, Flow::Phases, now);
                    self.next_heartbeat = now; // says whose child we are
                    out.push(Output::Deliver(node, Command::Attach));
                    out.push(Output::Event(Event::Attached(node)));
                    self.end_orphanhood();
                }
                Step::Detach(node, why) => {
                    self.watches.end(&node);
                    self.field.clear_above();
                    out.push(Output::Deliver(node, Command::Detach));
                    out.push(Output::Event(Event::Detached(node, why)));
                    self.begin_orphanhood(now);
                }
                Step::Orphan => {
                    if !self.orphan {
                        out.push(Output::Event(Event::Orphan(self.nowhere())));
                    }
                    self.begin_orphanhood(now);
                }
            }
        }
    }

    /// Without a parent the siblings' own phases are all that there is, and
    /// nobody else watches over them.
    fn begin_orphanhood(&mut self, now: Micros) {
        self.orphan = true;
        for sibling in &self.siblings {
            // Only those that were there: one that never spoke is not lost.
            if self
                .peers
                .get(sibling)
                .is_some_and(|peer| peer.state == PeerState::Live)
            {
                self.watches.begin(*sibling, Flow::Heartbeats, now);
            }
        }
    }

    fn end_orphanhood(&mut self) {
        self.orphan = false;
        for sibling in &self.siblings {
            self.watches.end(sibling);
            self.field.remove(sibling);
        }
    }

    /// Says which topics are wanted, when that has changed.
    fn listen(&mut self, out: &mut Vec<Output>) {
        if self.last_tick.is_none() || self.subscribed.0.is_empty() {
            out.push(Output::Siblings(self.siblings.clone()));
        }
        // The root too: with several seats, each hears what the others sum up.
        let alone = self.orphan || self.tree.is_root();
        let heartbeats = Topic::HEARTBEATS.to_vec();
        let leaf = self.me.role == Role::Agent;
        let tree = if leaf {
            vec![heartbeats.clone(), Topic::SUMS.to_vec()]
        } else {
            vec![
                heartbeats.clone(),
                Topic::SUMS.to_vec(),
                Topic::PHASES.to_vec(),
            ]
        };
        let siblings = match (alone, leaf) {
            (false, _) => vec![heartbeats],
            (true, true) => vec![heartbeats, Topic::Phase(self.me.place).to_bytes()],
            (true, false) => vec![heartbeats, Topic::SUMS.to_vec()],
        };
        if (&tree, &siblings) != (&self.subscribed.0, &self.subscribed.1) {
            self.subscribed = (tree.clone(), siblings.clone());
            out.push(Output::Subscribe { tree, siblings });
        }
    }

    pub(super) fn peer_changed(&mut self, change: Option<Change>, out: &mut Vec<Output>) {
        let Some(change) = change else { return };
        out.push(Output::Event(Event::Peer(change)));
        self.next_news = Micros::ZERO; // a change is said with the next tick
    }
}

/// The scope that a node and its siblings make up.
pub(super) fn wider(me: Member) -> Scope {
    match me.role {
        Role::Agent => Scope::cluster(me.place.sector, me.place.cluster),
        Role::Lead => Scope::sector(me.place.sector),
        Role::Coordinator | Role::Orchestrator => Scope::MESH,
    }
}
