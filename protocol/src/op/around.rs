//! Around: who stands around this node in the tree, and how many agents of which kind it answers for.
//!
//! How many there are is told to the parent at once when it changes; how soon they are READY,
//! which changes with each answer, four times a second at most.

use std::collections::{BTreeMap, BTreeSet};

use super::Order;
use super::census::Census;
use crate::ids::{Incarnation, NodeId};
use crate::membership::topology::CHILDREN_MAX;
use crate::units::Micros;

/// Nodes of whom it is known what they have beneath them: the children, and as many that were
/// or will be.
const BELOW_MAX: usize = 2 * CHILDREN_MAX;
/// Between two words on how soon agents are READY: over the three hops of the tree less than
/// the second that a summary may lag.
const PACE: Micros = Micros::from_millis(250);

/// The neighbours, and what they have.
#[derive(Debug, Clone, Default)]
pub(super) struct Around {
    parent: Option<(NodeId, Incarnation)>,
    /// How long a word of the parent is on its way, at least.
    delay: Micros,
    children: BTreeSet<NodeId>,
    below: BTreeMap<NodeId, Census>,
    own: Census,
    /// The sum of own and below.
    census: Census,
    /// To whom that was said last, and to which run of it: a new one has forgotten it.
    said: Option<(NodeId, Incarnation)>,
    said_at: Micros,
    /// Something was measured since it was summed up.
    stale: bool,
}

impl Around {
    /// The agents here and beneath, as far as is known.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// The children that have agents, and what they have.
    pub fn below(&self) -> impl Iterator<Item = (NodeId, &Census)> {
        let children = self.children.iter();
        children.filter_map(|child| Some((*child, self.below.get(child)?)))
    }

    /// How long a word of the parent is on its way, at least.
    pub fn delay(&self) -> Micros {
        self.delay
    }

    /// How far the parent is.
    pub fn set_delay(&mut self, delay: Micros) {
        self.delay = delay;
    }

    pub fn is_parent(&self, node: &NodeId) -> bool {
        self.parent.is_some_and(|(parent, _)| parent == *node)
    }

    pub fn is_child(&self, node: &NodeId) -> bool {
        self.children.contains(node)
    }

    /// Others stand around it; gives the children that are gone.
    pub fn stand(
        &mut self,
        parent: Option<(NodeId, Incarnation)>,
        children: BTreeSet<NodeId>,
    ) -> Vec<NodeId> {
        let gone = self.children.difference(&children).copied().collect();
        self.parent = parent;
        self.children = children;
        self.count();
        gone
    }

    /// What a node has beneath it. It may say so before it is known here that it is a child.
    /// False when that is not taken.
    pub fn have(&mut self, from: NodeId, census: Census) -> bool {
        if !census.is_sound() || !self.has_room_for(&from) {
            return false;
        }
        let before = self.below.insert(from, census);
        let alike = before.zip(self.below.get(&from));
        match alike.is_some_and(|(before, it)| numbers(&before) == numbers(it)) {
            true => self.stale = true,
            false => self.count(),
        }
        true
    }

    /// The agents of this node.
    pub fn set_own(&mut self, own: Census) {
        self.own = own;
        self.count();
    }

    /// Something was measured of an agent of this node.
    pub fn measured(&mut self) {
        self.stale = true;
    }

    /// The agents of this node as they are measured now.
    pub fn refresh(&mut self, own: Census, now: Micros) {
        self.said_at = now;
        self.set_own(own);
    }

    /// Whether it is time for [`Self::refresh`].
    pub fn is_due(&self, now: Micros) -> bool {
        self.stale && now >= self.said_at + PACE
    }

    /// When that is so.
    pub fn next_deadline(&self) -> Micros {
        match self.stale {
            true => self.said_at + PACE,
            false => Micros::NEVER,
        }
    }

    /// Tells the parent how many agents there are, if it does not know.
    pub fn say(&mut self, now: Micros) -> Option<(NodeId, Order)> {
        if self.said == self.parent {
            return None;
        }
        self.said = self.parent;
        self.said_at = now;
        let have = |it: (NodeId, _)| (it.0, Order::Have(self.census.clone()));
        self.parent.map(have)
    }

    /// Whether what this node has beneath it is kept. Of those that are no children some are
    /// forgotten for one that is.
    fn has_room_for(&mut self, node: &NodeId) -> bool {
        if self.below.contains_key(node) || self.below.len() < BELOW_MAX {
            return true;
        }
        if !self.children.contains(node) {
            return false;
        }
        self.below.retain(|it, _| self.children.contains(it));
        self.below.len() < BELOW_MAX
    }

    /// Counts the agents anew. Where that comes to something else the parent has to know.
    fn count(&mut self) {
        self.stale = false;
        let below = self.below.iter();
        let below = below.filter(|(child, _)| self.children.contains(child));
        let census = Census::with_below(&self.own, below.map(|it| it.1));
        if census != self.census {
            self.census = census;
            self.said = None;
        }
    }
}

fn numbers(census: &Census) -> impl PartialEq {
    let kinds = census.kinds.iter();
    let numbers = kinds.map(|(kind, group)| (kind.clone(), group.many));
    (census.nodes.clone(), numbers.collect::<Vec<_>>())
}
