//! Cut: what a checkpoint takes of this node, its neighbours in the tree and their phases.

use crate::ids::{NodeId, Role};
use crate::memory::checkpoint::{Around, Cut, Record};
use crate::units::Micros;

use super::Gossip;

impl Gossip {
    /// The parent, and the children that live.
    pub fn around(&self) -> Around {
        let run = |parent: &NodeId| {
            let heard = self.peers.get(parent).and_then(|peer| peer.heard);
            heard.unwrap_or_default().incarnation
        };
        let live = self.children.iter().filter(|it| self.watches.is_live(it));
        Around {
            parent: self.tree.parent().map(|parent| (parent, run(&parent))),
            children: live.copied().collect(),
        }
    }

    /// The phases as they stand: the own one at Lamport time `lamport`, and those of live leaf
    /// children, turned to now, with the newest stamp that was heard of each.
    pub fn cut(&self, lamport: u64, now: Micros) -> Cut {
        let widest = self.widest(now).part;
        let is_leaf = |node: &NodeId| {
            let member = self.roster.get(node);
            member.is_some_and(|it| it.entry.role == Role::Agent) && self.watches.is_live(node)
        };
        let leaf = |node: &NodeId| {
            let peer = self.peers.get(node)?;
            let record = Record {
                phase: peer.phase(now, widest.mean_omega())?,
                omega: self.field.omega_of(node)?,
                lamport: peer.heard?.lamport,
            };
            Some((*node, record))
        };
        let leaves = self.children.iter().filter(|node| is_leaf(node));
        Cut {
            own: Record {
                phase: self.oscillator.phase(now),
                omega: self.oscillator.omega(),
                lamport,
            },
            leaves: leaves.filter_map(leaf).collect(),
            live: widest.members,
        }
    }
}
