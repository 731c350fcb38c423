//! Hearing: what a frame, a command or a change of the directory does to the machine.

use std::collections::BTreeSet;

use crate::causality::gate::Kind;
use crate::ids::{NodeId, Role};
use crate::membership::detector::Flow;
use crate::membership::topology::{self, CHILDREN_MAX};
use crate::phase::field::{PartialSum, Scope, Sum};
use crate::units::Micros;
use crate::wire::Verified;
use crate::wire::message::{Alive, Command, Echoed, Heartbeat, Message, StampTold, SumNews};
use crate::wire::topic::Topic;

use super::field::Whose;
use super::machine::Gossip;
use super::{Event, Known, Output};

impl Gossip {
    /// A verified frame, first hand from its signer.
    pub(super) fn heard(&mut self, frame: Verified, now: Micros, out: &mut Vec<Output>) {
        let Verified {
            from,
            stamp,
            message,
            ..
        } = frame;
        let kind = match &message {
            Message::Phase(_) | Message::Sums(_) => Some(Kind::Field),
            Message::Heartbeat(_) => Some(Kind::Heartbeat),
            Message::Peers(_) => Some(Kind::News),
            _ => None,
        };
        let known_stamp = self.peers.get(&from).and_then(|peer| peer.heard);
        let known_run = known_stamp.map(|stamp| stamp.incarnation);
        if let Some(kind) = kind
            && !self.peers.admit(from, kind, stamp, now)
        {
            self.counters.stale += 1;
            return;
        }
        if known_run.is_none_or(|known| stamp.incarnation > known) {
            out.push(Output::Event(Event::Incarnation(from, stamp.incarnation)));
            self.peers.begins_anew(&from);
            // A parent that was restarted does not know us.
            if known_run.is_some() && self.tree.parent() == Some(from) {
                out.push(Output::Deliver(from, Command::Attach));
            }
        }
        let phase = match &message {
            Message::Phase(news) => Some((news.theta, Micros(news.age_us.into()))),
            Message::Sums(news) => Some((news.own.part.mean_phase(), news.own.part.age)),
            _ => None,
        };
        let phase = phase.map(|(theta, age)| (theta, age + self.one_way(&from)));
        let flow = kind
            .filter(|kind| *kind == Kind::Field)
            .map(|_| Flow::Phases);
        self.watches.heard(&from, flow, now);
        let change = self.peers.heard(from, stamp, phase, now);
        if kind.is_some() {
            self.peers.published(&from, now);
        }
        self.peer_changed(change, out);
        let top = match &message {
            Message::Sums(news) => Some(news.top),
            _ => None,
        };
        let steps = self.tree.answered(from, top, &self.config, now);
        self.climb(steps, now, out);
        match message {
            Message::Phase(news) => {
                let sum = Sum {
                    scope: Scope::cluster(news.place.sector, news.place.cluster),
                    part: PartialSum::of(news.theta, news.omega, 1.0),
                };
                self.apply(from, sum, Micros(news.age_us.into()), now);
            }
            Message::Sums(news) => self.sums(from, news, now),
            Message::Heartbeat(beat) => self.heartbeat(from, beat, now, out),
            Message::Peers(news) => self.news(from, news, now, out),
            Message::Probe(probe) if probe.target == self.me.node => {
                let alive = Alive {
                    node: self.me.node,
                    stamp: None,
                    nonce: probe.nonce,
                };
                out.push(Output::Publish(Topic::Heartbeat, Message::Alive(alive)));
            }
            Message::ProbeRequest(ask) if ask.via.contains(&self.me.node) => {
                self.watches.relay(ask.target, ask.nonce, now, out);
            }
            Message::Alive(alive) if alive.node == from => {
                self.watches.answered(from, stamp, alive.nonce, out);
            }
            Message::Alive(alive) => self.alive_elsewhere(from, alive, now, out),
            Message::Echo(echo) => {
                let echoed = Echoed {
                    sent_us: echo.sent_us,
                    hold_us: 0,
                };
                out.push(Output::Send(from, Message::Echoed(echoed)));
            }
            Message::StampAsk => {
                // This very question carries a stamp too; what counts is what came before.
                // A node that lost its own state too still holds the announcement.
                let announced = self.roster.address(&from).map(|it| it.stamp);
                let stamp = known_stamp.max(announced);
                let told = StampTold { stamp };
                out.push(Output::Send(from, Message::StampTold(told)));
            }
            Message::Echoed(echoed) => {
                let rtt = now
                    .since(Micros(echoed.sent_us))
                    .since(Micros(echoed.hold_us));
                self.peers.round_trip(&from, rtt);
            }
            _ => {}
        }
    }

    /// Puts a part of the field where it belongs.
    fn apply(&mut self, from: NodeId, mut sum: Sum, age: Micros, now: Micros) {
        let whose = if self.children.contains(&from) {
            Whose::Child
        } else if (self.orphan || self.tree.is_root()) && self.siblings.contains(&from) {
            Whose::Sibling
        } else {
            self.counters.unwanted += 1;
            return;
        };
        if sum.part.check(self.config.phase.velocity_max).is_err() {
            self.counters.absurd += 1;
            return;
        }
        if !self.may_sum(&from, &sum) {
            return;
        }
        sum.scope = self.scope_of(&from).unwrap_or(sum.scope);
        let age = age + self.one_way(&from);
        self.field.put(whose, from, sum, age, now);
        self.counters.applied += 1;
        self.shed();
    }

    /// A parent's part of the field: for its parent, its children or its siblings.
    fn sums(&mut self, from: NodeId, news: SumNews, now: Micros) {
        if self.tree.parent() != Some(from) {
            let (part, age) = (news.own.part, news.own.part.age);
            let possible = part.check(self.config.phase.velocity_max).is_ok();
            if possible && !self.can_sum(&from) {
                return;
            }
            return self.apply(from, news.own, age, now);
        }
        let sums: Vec<Sum> = std::iter::once(news.own).chain(news.above).collect();
        let nested = sums
            .windows(2)
            .all(|pair| pair[1].scope.contains(&pair[0].scope));
        if !nested
            || sums
                .iter()
                .any(|sum| sum.part.check(self.config.phase.velocity_max).is_err())
        {
            self.counters.absurd += 1;
            return;
        }
        let mut sums_of = sums.iter();
        let own = sums_of.next().is_some_and(|own| self.may_sum(&from, own));
        if !own || !sums_of.all(|sum| self.may_hold(sum)) {
            return;
        }
        let one_way = self.one_way(&from);
        let aged = sums
            .into_iter()
            .map(|sum| (sum, sum.part.age + one_way))
            .collect();
        self.field.put_above(aged, now);
        self.counters.applied += 1;
    }

    /// How long a word of a neighbour is on its way, at least: half of the smallest round trip.
    pub fn one_way(&self, node: &NodeId) -> Micros {
        let rtt = self.peers.get(node).and_then(|peer| peer.rtt());
        Micros(rtt.map_or(0, |rtt| rtt.0 / 2))
    }

    fn heartbeat(&mut self, from: NodeId, beat: Heartbeat, now: Micros, out: &mut Vec<Output>) {
        self.counters.applied += 1;
        match beat.parent {
            Some(parent) if parent == self.me.node => {
                self.adopt(from, now, out);
            }
            _ => self.release(&from),
        }
        let seat = self.me.role == Role::Orchestrator && self.siblings.contains(&from);
        if seat {
            self.watches.begin(from, Flow::Phases, now); // nobody else watches it
        }
        // Every time, or the directory would not know to whom it may pass on what
        // is new; and only where there is a link over which it can.
        if seat || self.children.contains(&from) || self.tree.is_above(&from) {
            out.push(Output::Compare(from, beat.items, beat.digest));
        }
    }

    /// The seats of the root have no parent to meet at. Each opens a link to those
    /// before it by name, to exchange directories and what they have summed up.
    pub(super) fn visit_seats(&mut self, out: &mut Vec<Output>) {
        if self.me.role != Role::Orchestrator {
            return;
        }
        let seats: BTreeSet<NodeId> = self.siblings.range(..self.me.node).copied().collect();
        out.extend(
            self.seats
                .difference(&seats)
                .map(|gone| Output::Hangup(*gone)),
        );
        out.extend(seats.difference(&self.seats).map(|new| Output::Dial(*new)));
        self.seats = seats;
    }

    pub(super) fn command(
        &mut self,
        from: NodeId,
        command: Command,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        match command {
            Command::Attach => {
                let accepted = self.may_parent(&from) && self.adopt(from, now, out);
                out.push(Output::Deliver(from, Command::Attached { accepted }));
            }
            Command::Attached { accepted: false } => {
                let steps = self.tree.refused(from, &self.config, now);
                self.climb(steps, now, out);
            }
            Command::Attached { accepted: true } => {}
            Command::Detach => self.release(&from),
            // The directory's, and those of the checkpoints.
            Command::Pull { .. }
            | Command::Page(_)
            | Command::Checkpoint(_)
            | Command::Operation(_) => {}
        }
    }

    fn may_parent(&self, child: &NodeId) -> bool {
        self.roster
            .get(child)
            .is_some_and(|member| member.entry.role > self.me.role)
    }

    /// Takes a child, unless there are too many. True when it is one now.
    fn adopt(&mut self, child: NodeId, now: Micros, out: &mut Vec<Output>) -> bool {
        if self.children.contains(&child) {
            return true;
        }
        if !self.may_parent(&child) {
            return false;
        }
        let live = self
            .children
            .iter()
            .filter(|child| self.watches.is_live(child))
            .count();
        if live >= CHILDREN_MAX {
            out.push(Output::Event(Event::Crowded(child)));
            return false;
        }
        self.children.insert(child);
        self.watches.begin(child, Flow::Phases, now);
        // It wants to know everybody, and everybody wants to know of it.
        self.peers.repeat_all();
        true
    }

    pub(super) fn release(&mut self, child: &NodeId) {
        if self.children.remove(child) {
            self.watches.end(child);
            self.field.remove(child);
        }
    }

    pub(super) fn directory(&mut self, known: Known, now: Micros, out: &mut Vec<Output>) {
        let changed = (self.items, self.digest) != (known.items, known.digest);
        Known {
            roster: self.roster,
            items: self.items,
            digest: self.digest,
        } = known;
        if changed {
            self.next_heartbeat = now; // a revocation must not wait for the next beat
        }
        let gone: Vec<NodeId> = self
            .peers
            .iter()
            .map(|(node, _)| *node)
            .filter(|n| self.roster.get(n).is_none())
            .collect();
        for node in gone {
            self.release(&node);
            self.watches.end(&node);
            self.field.remove(&node);
            self.peers.remove(&node);
        }
        let members = || self.roster.members().map(|member| member.entry.in_tree());
        let candidates = topology::parents(&self.me, members());
        let role = |node: &NodeId| Some(self.roster.get(node)?.entry.role);
        let highest = candidates.iter().filter_map(role).min();
        let siblings: BTreeSet<NodeId> = topology::siblings(&self.me, members())
            .into_iter()
            .collect();
        let highest = highest.unwrap_or(self.me.role);
        let steps = self.tree.set_candidates(candidates, highest, now);
        if siblings != self.siblings {
            self.siblings = siblings.clone();
            out.push(Output::Siblings(siblings));
        }
        self.climb(steps, now, out);
    }
}
