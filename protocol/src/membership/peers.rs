//! Peers: what a node knows of every other one, first hand or told.
//!
//! A node's parent detects its loss and says so; the word travels over the tree.
//! An entry is applied only if its (stamp, state) is greater than the cached
//! one: newer stamps win, and of two words with one stamp the worse is believed,
//! so a death is heard before the next sign of life undoes it. Where nobody
//! vouches any longer (`vouching`), the membership TTL is the backstop.
//!
//! What the node itself has said is kept apart from what others say of it: a
//! stamp that was only told is no more than the order among words. A sighting
//! that is clearly later undoes a word whatever its stamp, so a lie does not
//! outlive the way it came.

mod outcomes;
mod vouching;

use std::collections::BTreeMap;

use crate::causality::gate::{Gate, Kind};
use crate::ids::{NodeId, Stamp};
use crate::phase::field::PartialSum;
use crate::units::Micros;
use crate::wire::message::{PEER_NEWS_MAX, PeerEntry, PeerState};
pub use outcomes::{Change, Drift};

/// A sighting later by this much outweighs a greater stamp: more than the way
/// of a word and the roundness of its age can make of one sighting.
pub(crate) const LATER: Micros = Micros::from_secs(5);
/// How old a phase may be to be turned to now. The noise alone makes it wander by σ·√t, .3 rad
/// after this with the default σ: later it says nothing any more.
const PHASE_KEPT: Micros = Micros::from_secs(10);
/// Round trips of which the smallest counts.
const RTT_WINDOW: usize = 64;

/// What is known of one node.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The stamp of the word that holds, first hand or told.
    pub stamp: Stamp,
    /// The newest stamp of the node's own frames, in this run of ours or one before.
    pub heard: Option<Stamp>,
    /// Whether it lives, as far as is known here.
    pub state: PeerState,
    /// The last phase known of it, radians, its age when it came, and when that was: it may be
    /// from before the local clock began, and, as not every sign tells one, before `seen`.
    phase: Option<(f64, Micros, Micros)>,
    /// When the stamp was seen, on the local clock.
    pub seen: Micros,
    /// Since when the state is what it is.
    pub since: Micros,
    /// Who told it; `None` when it was heard first hand.
    pub teller: Option<NodeId>,
    /// The newest stamps applied first hand.
    pub gate: Gate,
    rtts: Vec<u32>,
    rtt_next: usize,
    changed: bool,
    /// Known from an earlier run alone: no word of ours about it.
    restored: bool,
    /// When the teller last stood by its word that it lives.
    vouched: Micros,
    /// When it last published anything that came here, and since when without a long pause.
    published: Micros,
    flows_since: Micros,
    /// How much of its silence was our own sleep, which is not told as if it were news.
    forgiven: Micros,
}

/// The table.
#[derive(Debug, Clone)]
pub struct Peers {
    peers: BTreeMap<NodeId, Peer>,
    ttl: Micros,
    cursor: Option<NodeId>,
}

impl Peer {
    fn new(now: Micros) -> Self {
        Self {
            stamp: Stamp::default(),
            heard: None,
            state: PeerState::Evicted,
            phase: None,
            seen: now,
            since: now,
            teller: None,
            gate: Gate::default(),
            rtts: Vec::new(),
            rtt_next: 0,
            changed: false,
            restored: false,
            vouched: now,
            published: now,
            flows_since: now,
            forgiven: Micros::ZERO,
        }
    }

    /// The smallest of the last round trips.
    pub fn rtt(&self) -> Option<Micros> {
        self.rtts.iter().min().map(|&us| Micros(us.into()))
    }

    /// Its phase at `when`, radians in [0, 2π): the last that is known, turned on with
    /// `omega`, rad/s, the mean frequency of all. Locked nodes move with that, not with
    /// their own. `None` when none is known or it is older than [`PHASE_KEPT`].
    pub fn phase(&self, when: Micros, omega: f64) -> Option<f64> {
        let (theta, age, came) = self.phase?;
        let age = age + when.since(came) - came.since(when);
        let known = PartialSum::of(theta, omega, 1.0).aged(age);
        (age <= PHASE_KEPT).then(|| known.rotated(age).mean_phase())
    }

    /// Whether a word says more than the one that holds. `seen`: when the node was
    /// heard by whoever says so, on the local clock.
    fn is_news(&self, entry: &PeerEntry, seen: Micros) -> bool {
        if self.heard.is_some_and(|heard| entry.stamp < heard) {
            return false;
        }
        (entry.stamp, entry.state) > (self.stamp, self.state)
            || (self.restored && entry.stamp == self.stamp)
            || (entry.stamp < self.stamp && seen > self.seen + LATER)
    }

    /// Where its state came from: `None` while nobody has said or shown it in this run.
    fn was(&self) -> Option<PeerState> {
        (!self.restored && self.stamp != Stamp::default()).then_some(self.state)
    }

    /// Changes the state; `was`: what it was before the word or the frame that changes it,
    /// `in_table`: whether there was a row for it at all.
    fn set(
        &mut self,
        node: NodeId,
        (in_table, was): (bool, Option<PeerState>),
        to: PeerState,
        now: Micros,
    ) -> Option<Change> {
        if in_table && self.state == to {
            return None;
        }
        let after = now.since(if to == PeerState::Live {
            self.since
        } else {
            self.seen
        });
        self.state = to;
        self.since = now;
        self.changed = true;
        self.restored = false;
        Some(Change {
            node,
            from: was,
            to,
            after,
        })
    }
}

impl Peers {
    /// An empty table with the membership TTL that is the backstop.
    pub fn new(ttl: Micros) -> Self {
        Self {
            peers: BTreeMap::new(),
            ttl,
            cursor: None,
        }
    }

    /// Takes what an earlier run knew: nobody is live until heard, and runs
    /// before these are refused. Until then nothing is said of them: a parent that
    /// was restarted would tell its children that everybody is dead.
    pub fn restore(&mut self, node: NodeId, stamp: Stamp, now: Micros) {
        let peer = self.peers.entry(node).or_insert_with(|| Peer::new(now));
        peer.stamp = stamp;
        peer.heard = Some(stamp);
        peer.gate = Gate::from(stamp.incarnation);
        peer.restored = true;
    }

    /// Whether there is a row for a node, and the state that it is known in.
    fn before(&self, node: &NodeId) -> (bool, Option<PeerState>) {
        let peer = self.peers.get(node);
        (peer.is_some(), peer.and_then(Peer::was))
    }

    /// One node, if known.
    pub fn get(&self, node: &NodeId) -> Option<&Peer> {
        self.peers.get(node)
    }

    /// Everyone, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.peers.iter()
    }

    /// How many are live, suspect, evicted.
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for peer in self.peers.values() {
            counts[peer.state as usize] += 1;
        }
        counts
    }

    /// Whether state of this kind and stamp is newer than what was applied.
    pub fn admit(&mut self, node: NodeId, kind: Kind, stamp: Stamp, now: Micros) -> bool {
        self.peers
            .entry(node)
            .or_insert_with(|| Peer::new(now))
            .gate
            .admit(kind, stamp)
    }

    /// An authentic frame came from the node itself; `phase`: where it tells one, and its age.
    pub fn heard(
        &mut self,
        node: NodeId,
        stamp: Stamp,
        phase: Option<(f64, Micros)>,
        now: Micros,
    ) -> Option<Change> {
        let before = self.before(&node);
        let peer = self.peers.entry(node).or_insert_with(|| Peer::new(now));
        let newest = peer.heard.map_or(stamp, |heard| heard.max(stamp));
        // A frame may have been overtaken by another that said more.
        if stamp < newest && peer.state == PeerState::Live {
            return None;
        }
        peer.heard = Some(newest);
        peer.stamp = newest;
        peer.forgiven = Micros::ZERO;
        peer.phase = phase.map(|(theta, age)| (theta, age, now)).or(peer.phase);
        peer.seen = now;
        peer.teller = None;
        peer.set(node, before, PeerState::Live, now)
    }

    /// The node's own watcher, here, has come to a verdict.
    pub fn judge(&mut self, node: NodeId, to: PeerState, now: Micros) -> Option<Change> {
        let before = self.before(&node);
        let peer = self.peers.get_mut(&node)?;
        peer.teller = None;
        peer.set(node, before, to, now)
    }

    /// Whether an entry would be applied.
    pub fn is_news(&self, entry: &PeerEntry, now: Micros) -> bool {
        let seen = now.since(Micros::from_millis(entry.age_ms.into()));
        self.peers
            .get(&entry.node)
            .is_none_or(|peer| peer.is_news(entry, seen))
    }

    /// Another node said so. Ignored unless it says more than what is cached.
    pub fn told(&mut self, teller: NodeId, entry: &PeerEntry, now: Micros) -> Option<Change> {
        let before = self.before(&entry.node);
        let peer = self
            .peers
            .entry(entry.node)
            .or_insert_with(|| Peer::new(now));
        let seen = now.since(Micros::from_millis(entry.age_ms.into()));
        if before.0 && !peer.is_news(entry, seen) {
            return None;
        }
        peer.restored = false;
        if entry.stamp != peer.stamp {
            peer.stamp = entry.stamp;
            peer.seen = peer.seen.max(seen);
            peer.forgiven = Micros::ZERO;
        }
        peer.teller = Some(teller);
        if entry.state == PeerState::Live {
            peer.vouched = now;
        }
        peer.set(entry.node, before, entry.state, now)
    }

    /// What was told of a node's phase, radians, and how old that is `now`.
    pub fn phase_told(&mut self, node: &NodeId, theta: f64, age: Micros, now: Micros) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.phase = Some((theta, age, now));
        }
    }

    /// Notes a round trip to an adjacent node.
    pub fn round_trip(&mut self, node: &NodeId, rtt: Micros) {
        let Some(peer) = self.peers.get_mut(node) else {
            return;
        };
        let us = u32::try_from(rtt.0).unwrap_or(u32::MAX);
        if peer.rtts.len() < RTT_WINDOW {
            peer.rtts.push(us);
        } else {
            peer.rtts[peer.rtt_next] = us;
            peer.rtt_next = (peer.rtt_next + 1) % RTT_WINDOW;
        }
    }

    /// Forgets a node, which belongs no longer.
    pub fn remove(&mut self, node: &NodeId) {
        self.peers.remove(node);
    }

    /// Says everything again soon, because somebody new listens.
    pub fn repeat_all(&mut self) {
        self.peers.values_mut().for_each(|peer| peer.changed = true);
    }

    /// Whether a change waits to be said.
    pub fn has_changes(&self) -> bool {
        self.peers.values().any(|peer| peer.changed)
    }

    /// The next entries to say: changes first, then the others round and round.
    /// So the cost per second does not grow with the mesh. `omega`: see [`Peer::phase`].
    pub fn news(&mut self, now: Micros, omega: f64) -> Vec<PeerEntry> {
        let mut chosen: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.changed)
            .map(|(node, _)| *node)
            .take(PEER_NEWS_MAX)
            .collect();
        let room = PEER_NEWS_MAX - chosen.len();
        if room > 0 {
            let after = self.cursor.unwrap_or(NodeId([0; 32]));
            let round: Vec<NodeId> = self
                .peers
                .range(after..)
                .chain(self.peers.range(..after))
                .map(|(node, _)| *node)
                .filter(|node| Some(*node) != self.cursor && !chosen.contains(node))
                .take(room)
                .collect();
            self.cursor = round.last().copied().or(self.cursor);
            chosen.extend(round);
        }
        chosen
            .iter()
            .filter_map(|node| self.say(node, now, omega))
            .collect()
    }

    fn say(&mut self, node: &NodeId, now: Micros, omega: f64) -> Option<PeerEntry> {
        let peer = self.peers.get_mut(node)?;
        peer.changed = false;
        if peer.restored || peer.stamp == Stamp::default() {
            return None;
        }
        let sighted = peer.seen - peer.forgiven;
        Some(PeerEntry {
            node: *node,
            stamp: peer.stamp,
            state: peer.state,
            // Age and phase are those of one moment.
            theta: peer.phase(sighted, omega),
            age_ms: u32::try_from(now.since(sighted).as_millis()).unwrap_or(u32::MAX),
        })
    }

    /// How a peer compares, when our Lamport time is `lamport`.
    pub fn drift(&self, node: &NodeId, lamport: u64, now: Micros) -> Option<Drift> {
        let peer = self.peers.get(node)?;
        let gap = lamport as i128 - peer.stamp.lamport as i128;
        Some(Drift {
            lamport_gap: gap.clamp(i64::MIN.into(), i64::MAX.into()) as i64,
            latency: peer.rtt().map(|rtt| Micros(rtt.0 / 2)),
            lags: now.since(peer.seen) > self.ttl_now(),
        })
    }
}

#[cfg(test)]
mod tests;
