//! What a node knows, for people: everything that `status` and `peers` show.

use crate::ids::{NodeId, Role, Stamp};
use crate::membership::peers::Drift;
use crate::phase::field::Locking;
use crate::units::Micros;
use crate::wire::message::PeerState;

use super::{Counters, Gossip};

/// A node at a glance.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Phase, radians in [0, 2π).
    pub theta: f64,
    /// Natural frequency, rad/s.
    pub omega: f64,
    /// Order parameter of the widest scope that is known, in [0, 1].
    pub order: f64,
    /// Of the own cluster and sector, where they are known.
    pub order_cluster: Option<f64>,
    /// See `order_cluster`.
    pub order_sector: Option<f64>,
    /// Mean natural frequency of the widest scope, rad/s.
    pub mean_omega: f64,
    /// Live members of the widest scope, with oneself.
    pub members: u32,
    /// Whether the parts below are several groups, each locked in itself.
    pub locking: Locking,
    /// The parent, if there is one.
    pub parent: Option<NodeId>,
    /// On which tier the chain of parents ends, as the parent says: the own one without one.
    pub top: Role,
    /// Whether that is lower than it could be: somebody above is down or cut off.
    pub is_low: bool,
    /// Whether a parent is possible, looked for and not found.
    pub orphan: bool,
    /// How many members could be its parent; 0 at the top.
    pub candidates: usize,
    /// Without a parent: the possible ones that have told no address that is known here,
    /// best first.
    pub nowhere: Vec<NodeId>,
    /// Children, live or not.
    pub children: Vec<NodeId>,
    /// How many peers are live, suspect, evicted.
    pub peers: [usize; 3],
    /// How often the oscillator went on without coupling after a sleep.
    pub pauses: u64,
    /// What was done with frames.
    pub counters: Counters,
}

/// One peer at a glance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerView {
    /// Who.
    pub node: NodeId,
    /// Whether it lives.
    pub state: PeerState,
    /// The newest stamp known, first hand or told.
    pub stamp: Stamp,
    /// Its phase, radians in [0, 2π), turned to the moment of the view, so that all are of
    /// one moment. For a node with others beneath it: their mean phase with its own, which is
    /// what it tells. `None` when none is known that is young enough.
    pub theta: Option<f64>,
    /// How long ago the stamp was seen.
    pub age: Micros,
    /// Smallest round trip, where one was measured.
    pub rtt: Option<Micros>,
    /// Who told of it; `None` when it was heard first hand.
    pub teller: Option<NodeId>,
    /// How its clock and link compare: information, never a gate.
    pub drift: Drift,
}

impl Gossip {
    /// The node as it stands at `now`.
    pub fn view(&self, now: Micros) -> View {
        let widest = self.widest(now);
        let subtree = self.subtree(now);
        let place = self.me.place;
        let mut order_cluster = None;
        let mut order_sector = None;
        for sum in self.field.above(now).chain([subtree, widest]) {
            let of_sector = sum.scope.sector == Some(place.sector);
            if of_sector && sum.scope.cluster.is_none() {
                order_sector.get_or_insert(sum.part.order());
            }
            let leaf_alone = self.me.role == Role::Agent && sum.part.members < 2;
            if of_sector && sum.scope.cluster == Some(place.cluster) && !leaf_alone {
                order_cluster.get_or_insert(sum.part.order());
            }
        }
        View {
            theta: self.oscillator.phase(now),
            omega: self.oscillator.omega(),
            order: widest.part.order(),
            order_cluster,
            order_sector,
            mean_omega: widest.part.mean_omega(),
            members: widest.part.members,
            locking: Locking::of(&self.field.children(now)),
            parent: self.tree.parent(),
            top: self.tree.top(),
            is_low: self.tree.is_low(),
            orphan: self.orphan,
            candidates: self.candidates().len(),
            nowhere: self.nowhere(),
            children: self.children.iter().copied().collect(),
            peers: self.peers.counts(),
            pauses: self.oscillator.pauses(),
            counters: self.counters,
        }
    }

    /// What was done with the frames that were heard.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// All peers, by key; `lamport` is the own Lamport time.
    pub fn peer_views(&self, lamport: u64, now: Micros) -> Vec<PeerView> {
        let omega = self.mean_omega(now);
        let view = |(node, peer): (&NodeId, &crate::membership::peers::Peer)| {
            Some(PeerView {
                node: *node,
                state: peer.state,
                stamp: peer.stamp,
                theta: peer.phase(now, omega),
                age: now.since(peer.seen),
                rtt: peer.rtt(),
                teller: peer.teller,
                drift: self.peers.drift(node, lamport, now)?,
            })
        };
        self.peers.iter().filter_map(view).collect()
    }

    /// The newest stamp of every peer's own frames, to be kept over a restart.
    pub fn stamps(&self) -> impl Iterator<Item = (NodeId, Stamp)> + '_ {
        let heard = self.peers.iter();
        heard.filter_map(|(node, peer)| Some((*node, peer.heard?)))
    }

    /// The newest stamp known of one node, first hand or told.
    pub fn stamp_of(&self, node: &NodeId) -> Option<Stamp> {
        self.peers.get(node).map(|peer| peer.stamp)
    }

    /// Possible parents that cannot be dialled for want of an address; none while there
    /// is a parent.
    pub(super) fn nowhere(&self) -> Vec<NodeId> {
        if self.tree.parent().is_some() {
            return Vec::new();
        }
        let told = |node: &&NodeId| {
            let address = self.roster.address(node);
            address.is_none_or(|it| it.addresses.is_empty())
        };
        self.candidates().iter().filter(told).copied().collect()
    }

    /// The nodes that may be this one's parents, best first.
    pub fn candidates(&self) -> &[NodeId] {
        self.tree.candidates()
    }
}
