//! Quorums: on how many distinct nodes a write is on disk, as far as they have told.

use std::collections::BTreeSet;

use super::{Output, State};
use crate::causality::version::Dot;
use crate::ids::NodeId;
use crate::memory::key::Position;
use crate::units::Micros;

/// How many copies are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// On so many distinct nodes, whichever they are.
    Nodes(usize),
    /// On more than half of those that should hold the key, be they reachable or not.
    Majority,
}

/// How a count ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The caller's number.
    pub put: u64,
    /// How many were wanted.
    pub asked: usize,
    /// Which nodes have it on disk; of a majority only those that should hold it.
    pub nodes: BTreeSet<NodeId>,
}

impl Reached {
    /// Whether it is as many as were wanted.
    pub fn is_enough(&self) -> bool {
        self.nodes.len() >= self.asked
    }
}

/// A count under way.
#[derive(Debug, Clone)]
pub(super) struct Count {
    dot: Dot,
    asked: usize,
    /// Only these count.
    among: Option<BTreeSet<NodeId>>,
    nodes: BTreeSet<NodeId>,
    until: Micros,
    at: Position,
    /// When it is asked who has it: what was told on the way may have been lost.
    ask_at: Micros,
    /// How long until it is asked again: twice as long each time.
    ask_after: Micros,
}

/// How soon it is asked who has a write that is being counted.
const ASK_AFTER: Micros = Micros::from_secs(1);

impl State {
    pub(super) fn count(
        &mut self,
        put: u64,
        dot: Dot,
        at: &Position,
        want: Want,
        until: Micros,
        now: Micros,
    ) -> Vec<Output> {
        let (asked, among) = match want {
            Want::Nodes(many) => (many, None),
            Want::Majority => {
                let holders = self.placement.holders(at.leaf());
                (self.placement.majority(), Some(holders))
            }
        };
        let count = Count {
            dot,
            asked,
            among,
            nodes: BTreeSet::new(),
            until,
            at: *at,
            ask_at: now + ASK_AFTER,
            ask_after: ASK_AFTER,
        };
        self.counts.insert(put, count);
        self.give_up_counts(now)
    }

    /// Asks who has the writes that are still being counted.
    pub(super) fn count_again(&mut self, now: Micros) -> Vec<Output> {
        let due = self.counts.values_mut().filter(|it| now >= it.ask_at);
        let due: Vec<(Dot, Position)> = due
            .map(|it| {
                it.ask_after = it.ask_after + it.ask_after;
                it.ask_at = now + it.ask_after;
                (it.dot, it.at)
            })
            .collect();
        let asked = due.into_iter();
        asked
            .flat_map(|(dot, at)| self.look_for(dot, at, now))
            .collect()
    }

    /// These nodes have the write on disk.
    pub(super) fn has_it(&mut self, dot: &Dot, nodes: &[NodeId]) -> Vec<Output> {
        for count in self.counts.values_mut().filter(|it| it.dot == *dot) {
            let among = |node: &NodeId| count.among.as_ref().is_none_or(|it| it.contains(node));
            let known = |node: &NodeId| *node == self.me || self.members.contains(node);
            let counts = |node: &&NodeId| known(node) && among(node);
            count.nodes.extend(nodes.iter().filter(counts));
        }
        self.end_counts(|count| count.nodes.len() >= count.asked)
    }

    pub(super) fn give_up_counts(&mut self, now: Micros) -> Vec<Output> {
        self.end_counts(|count| now >= count.until)
    }

    fn end_counts(&mut self, is_over: impl Fn(&Count) -> bool) -> Vec<Output> {
        let over = self.counts.extract_if(.., |_, count| is_over(count));
        over.map(|(put, count)| {
            Output::Reached(Reached {
                put,
                asked: count.asked,
                nodes: count.nodes,
            })
        })
        .collect()
    }
}
