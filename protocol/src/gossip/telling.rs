//! Telling: what a node takes from others about third ones, and from whom.
//!
//! Only who stands on the way to a node may tell of it, so a member can harm
//! nobody but those beneath it. Everybody says everything on one topic, up and
//! down; what comes by another way is the echo of what is known, or no truth.

use crate::ids::NodeId;
use crate::membership::peers::LATER;
use crate::membership::topology;
use crate::units::Micros;
use crate::wire::message::{Alive, PeerEntry, PeerNews, PeerState};

use super::Output;
use super::machine::Gossip;

impl Gossip {
    pub(super) fn news(
        &mut self,
        from: NodeId,
        news: PeerNews,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        self.counters.applied += 1;
        for entry in &news.peers {
            if entry.node == self.me.node {
                if self.tree.parent() == Some(from) {
                    let hears = entry.state != PeerState::Evicted;
                    let steps = self.tree.heard_by_parent(hears, &self.config, now);
                    self.climb(steps, now, out);
                }
                continue;
            }
            if self.roster.get(&entry.node).is_none() {
                continue; // the directory will say, or it is no member
            }
            if !self.peers.is_news(entry, now) {
                // A new parent for the one before, but never one who only says what we did.
                let may_follow = self.tree.parent() == Some(from)
                    && !self.may_hang_beneath(&entry.node, &self.me.node);
                let watches = &self.watches;
                let is_gone = |by: Option<NodeId>| by.is_none_or(|by| !watches.is_kept(&by));
                let follows = |by| may_follow && is_gone(by);
                self.peers.vouch(from, entry, follows, now);
                continue;
            }
            if !self.may_tell(&from, &entry.node, now) {
                // An echo may be newer and agrees; what contradicts is worth a count.
                let known = self.peers.get(&entry.node).map(|peer| peer.state);
                self.counters.not_its_to_tell += u64::from(known != Some(entry.state));
                continue;
            }
            // Our own watch decides, unless it has lost the node and somebody has not.
            if self.watches.is_live(&entry.node)
                || (self.watches.is_watched(&entry.node) && entry.state != PeerState::Live)
            {
                continue;
            }
            let change = self
                .peers
                .told(from, &self.softened(*entry, &from, now), now);
            let age = Micros::from_millis(entry.age_ms.into());
            if let Some(theta) = entry.theta {
                self.peers.phase_told(&entry.node, theta, age, now);
            }
            self.peer_changed(change, out);
            if entry.state == PeerState::Live {
                // We hear nothing of it, and who told us has later word: it is another's child
                // by now, who watches over it. Should it be ours after all, it says so.
                self.release(&entry.node);
            }
        }
    }

    /// A parent that is cut off itself takes all for dead who are not beneath it. For as
    /// long as somebody else may reach higher, that is a suspicion of ours and no more.
    fn softened(&self, entry: PeerEntry, by: &NodeId, now: Micros) -> PeerEntry {
        let is_dead = entry.state == PeerState::Evicted;
        let parents = self.tree.parent() == Some(*by) && !self.may_hang_beneath(&entry.node, by);
        let state = match is_dead && parents && self.tree.may_reach_higher(now) {
            true => PeerState::Suspect,
            false => entry.state,
        };
        PeerEntry { state, ..entry }
    }

    /// Whether `teller` stands on the way from here to `node`.
    fn may_tell(&self, teller: &NodeId, node: &NodeId, now: Micros) -> bool {
        if self.tree.parent() == Some(*teller) {
            // Of those beneath us it knows no more than we said, unless they have left.
            let below = self.peers.get(node).is_some_and(|peer| {
                peer.state == PeerState::Live
                    && now.since(peer.seen) < LATER
                    && peer.teller.is_some_and(|by| self.children.contains(&by))
            });
            return !below;
        }
        // With nobody above, siblings tell each other what each has beneath it.
        let alone = self.orphan || self.tree.is_root();
        let near = self.children.contains(teller) || (alone && self.siblings.contains(teller));
        near && self.may_hang_beneath(node, teller)
    }

    /// Whether `node` may be beneath `above`, as its child or further down.
    fn may_hang_beneath(&self, node: &NodeId, above: &NodeId) -> bool {
        let member = |node| Some(self.roster.get(node)?.entry.in_tree());
        match (member(node), member(above)) {
            (Some(node), Some(above)) => topology::may_hang_beneath(&node, &above),
            _ => false,
        }
    }

    /// A node that we asked to probe another one has heard it, later than we.
    pub(super) fn alive_elsewhere(
        &mut self,
        teller: NodeId,
        alive: Alive,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        let Some(stamp) = alive.stamp else { return };
        let Some(peer) = self.peers.get(&alive.node) else {
            return;
        };
        if peer.heard.is_some_and(|heard| stamp <= heard)
            || !self.watches.vouched(&alive.node, alive.nonce, &teller)
        {
            return;
        }
        self.watches.heard(&alive.node, None, now);
        let entry = PeerEntry {
            node: alive.node,
            stamp,
            state: PeerState::Live,
            theta: None, // it tells none
            age_ms: 0,
        };
        let change = self.peers.told(teller, &entry, now);
        self.peer_changed(change, out);
    }
}

#[cfg(test)]
pub(super) mod tests;
