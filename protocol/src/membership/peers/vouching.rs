//! Vouching: for how long a node is held live by the word of others, and when the TTL ends that.
//!
//! What is told has come over up to five links. Where these lose packets, TCP is silent for up
//! to half a minute, and a sighting may be older than the TTL when it arrives although
//! everybody lives. So the time counts in which nobody vouches. Who told the word that holds,
//! and is nearer, vouches each time that it says the same; and while it is not given up but all
//! that it publishes is stuck, its silence is none. Only that one vouches, and not after a
//! restart, when it may know no more than we told it: so no two nodes keep a dead one alive for
//! each other. And nobody is kept for longer than [`VOUCHED_MAX`].

use std::collections::BTreeSet;

use super::{Change, Peer, Peers};
use crate::ids::NodeId;
use crate::units::Micros;
use crate::wire::message::{PEER_NEWS_MAX, PeerEntry, PeerState};

/// How long an evicted node stays in the table, so that people can see it.
const KEEP_EVICTED: Micros = Micros::from_secs(3_600);
/// Who publishes some frames a second and was not heard for this long is stuck, and for as long
/// again, until its news have come as well.
const STUCK: Micros = Micros::from_secs(3);
/// For so many TTLs after it was seen a node is kept at most.
const VOUCHED_MAX: u64 = 3;

impl Peer {
    /// Whether what it publishes does not come through, or has only just begun to.
    fn is_stuck(&self, now: Micros) -> bool {
        now.since(self.published) > STUCK || now.since(self.flows_since) <= STUCK
    }
}

impl Peers {
    /// A published frame came from the node itself.
    pub fn published(&mut self, node: &NodeId, now: Micros) {
        if let Some(peer) = self.peers.get_mut(node) {
            if now.since(peer.published) > STUCK {
                peer.flows_since = now;
            }
            peer.published = now;
        }
    }

    /// A node has restarted: it vouches for nobody until it has told something new of him.
    pub fn begins_anew(&mut self, teller: &NodeId) {
        for peer in self.peers.values_mut() {
            peer.teller = peer.teller.filter(|by| by != teller);
        }
    }

    /// An entry that says nothing new: it may still be the teller's word that the node lives.
    /// `follows`: whether its word counts in place of this teller's, or of one's own.
    pub fn vouch(
        &mut self,
        teller: NodeId,
        entry: &PeerEntry,
        follows: impl Fn(Option<NodeId>) -> bool,
        now: Micros,
    ) {
        let Some(peer) = self.peers.get_mut(&entry.node) else {
            return;
        };
        if (peer.stamp, PeerState::Live) != (entry.stamp, entry.state) {
            return;
        }
        if peer.teller != Some(teller) {
            if !follows(peer.teller) {
                return;
            }
            peer.teller = peer.teller.and(Some(teller));
        }
        peer.vouched = now;
    }

    /// Applies the TTL to those for whom nobody vouches any longer, except the ones that
    /// `watched` says have a detector of their own. `kept`: neighbours that are watched and not
    /// given up. `parent`: who would tell of those whom we heard ourselves.
    pub fn expire(
        &mut self,
        now: Micros,
        watched: impl Fn(&NodeId) -> bool,
        kept: impl Iterator<Item = NodeId>,
        parent: Option<NodeId>,
    ) -> Vec<Change> {
        let ttl = self.ttl_now();
        self.peers.retain(|_, peer| {
            peer.state != PeerState::Evicted || now.since(peer.since) < KEEP_EVICTED
        });
        let is_stuck = |node: &NodeId| self.get(node).is_some_and(|peer| peer.is_stuck(now));
        let stuck: BTreeSet<NodeId> = kept.filter(is_stuck).collect();
        let expired = |peer: &Peer| {
            let teller = peer.teller.or(parent);
            let stuck = teller.is_some_and(|teller| stuck.contains(&teller));
            let silent = now.since(peer.seen.max(peer.vouched)) > ttl && !stuck;
            peer.state != PeerState::Evicted
                && (silent || now.since(peer.seen) > ttl.times(VOUCHED_MAX))
        };
        self.peers
            .iter_mut()
            .filter(|(node, peer)| expired(peer) && !watched(node))
            .filter_map(|(node, peer)| peer.set(*node, (true, peer.was()), PeerState::Evicted, now))
            .collect()
    }

    /// A node that was deaf for `span` cannot hold that silence against anyone.
    pub fn forgive(&mut self, span: Micros) {
        for peer in self
            .peers
            .values_mut()
            .filter(|peer| peer.state != PeerState::Evicted)
        {
            for at in [
                &mut peer.seen,
                &mut peer.vouched,
                &mut peer.published,
                &mut peer.flows_since,
                &mut peer.forgiven,
            ] {
                *at = *at + span;
            }
        }
    }

    /// The backstop, never shorter than six rounds of refreshing the whole table.
    pub(super) fn ttl_now(&self) -> Micros {
        let rounds = self.peers.len() as u64 / PEER_NEWS_MAX as u64;
        self.ttl.max(Micros::from_secs(6 * rounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, Stamp};

    const A: NodeId = NodeId([1; 32]);
    const PARENT: NodeId = NodeId([9; 32]);
    const OTHER: NodeId = NodeId([8; 32]);

    fn secs(s: u64) -> Micros {
        Micros::from_secs(s)
    }

    fn stamp(lamport: u64) -> Stamp {
        Stamp {
            incarnation: Incarnation(1),
            lamport,
        }
    }

    fn word(state: PeerState) -> PeerEntry {
        PeerEntry {
            node: A,
            stamp: stamp(5),
            state,
            theta: None,
            age_ms: 0,
        }
    }

    /// The parent publishes: it is a row of the table too.
    fn hears(peers: &mut Peers, s: u64) {
        peers.heard(PARENT, stamp(s), None, secs(s));
        peers.published(&PARENT, secs(s));
    }

    /// When the TTL ends A, of which its parent told at 10 s, in a world where this happens each
    /// second and the parent is given up then, if ever.
    fn ends(given_up: u64, each: impl Fn(&mut Peers, u64)) -> Option<u64> {
        let mut peers = Peers::new(secs(30));
        for s in 1..=10 {
            hears(&mut peers, s);
        }
        peers.told(PARENT, &word(PeerState::Live), secs(10));
        (11..=300).find(|&s| {
            each(&mut peers, s);
            let kept = [PARENT].into_iter().filter(|_| s < given_up);
            let expired = peers.expire(secs(s), |node| *node == PARENT, kept, Some(PARENT));
            !expired.is_empty()
        })
    }

    #[test]
    fn a_node_for_which_its_teller_stands_lives_on_but_not_for_ever() {
        let says = |teller: NodeId, state: PeerState| {
            ends(999, |peers, s| {
                hears(peers, s);
                peers.vouch(teller, &word(state), |_| false, secs(s));
            })
        };
        assert_eq!(says(PARENT, PeerState::Live), Some(101));
        assert_eq!(says(PARENT, PeerState::Suspect), Some(41));
        assert_eq!(says(OTHER, PeerState::Live), Some(41), "an echo");
    }

    #[test]
    fn who_takes_the_tellers_place_vouches_for_the_same() {
        let says = |follows: bool| {
            ends(11, |peers, s| {
                let live = word(PeerState::Live);
                peers.vouch(OTHER, &live, |by| follows && by == Some(PARENT), secs(s));
            })
        };
        // Once it has, it is the teller itself.
        assert_eq!(says(true), Some(101));
        assert_eq!(says(false), Some(41));
    }

    #[test]
    fn a_teller_that_was_restarted_vouches_for_nobody() {
        let restarted = ends(999, |peers, s| {
            hears(peers, s);
            if s == 11 {
                peers.begins_anew(&PARENT);
            }
            peers.vouch(PARENT, &word(PeerState::Live), |_| false, secs(s));
        });
        assert_eq!(restarted, Some(41));
    }

    #[test]
    fn the_silence_of_a_teller_is_none_of_those_of_whom_it_tells_until_it_is_given_up() {
        assert_eq!(ends(999, |_, _| ()), Some(101));
        assert_eq!(ends(45, |_, _| ()), Some(45));
        assert_eq!(ends(11, |_, _| ()), Some(41));
        // It is back, and does not tell of the node.
        let back = ends(999, |peers, s| {
            if s >= 60 {
                hears(peers, s);
            }
        });
        assert_eq!(back, Some(64));
        // It is heard all along, and has nothing to tell.
        assert_eq!(ends(999, hears), Some(41));
    }
}
