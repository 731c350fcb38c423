//! Origins: the way back of "it is on disk here" to who wrote.

use std::collections::{BTreeMap, BTreeSet};

use super::{Output, State};
use crate::causality::version::Dot;
use crate::ids::NodeId;
use crate::memory::parcel::{DOTS_MAX, Question};
use crate::units::Micros;

/// Writes of others whose way back is remembered. Of more the oldest are forgotten, and their
/// writers count fewer copies than there are.
pub const ORIGINS_MAX: usize = 8 * 1024;

/// The way back to who wrote.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    from: NodeId,
    /// Of which nodes it was told, the first bytes of each. What was told is not told again:
    /// after a disk was lost origins can name each other in a circle.
    pub(super) told: BTreeSet<u64>,
}

/// What one neighbour is told: one question at a time, and what comes meanwhile goes together
/// in the next. Else many writes at once would take all the questions that two nodes may have
/// under way, and those that found no place would be counted seconds later.
#[derive(Debug, Clone, Default)]
pub(super) struct Telling {
    /// The question under way, and since when.
    under_way: Option<(u64, Micros)>,
    /// Where writes are, by the nodes.
    next: BTreeMap<Vec<NodeId>, Vec<Dot>>,
}

impl State {
    /// Tells a neighbour where writes are on disk, now or with the next.
    pub(super) fn tell(
        &mut self,
        to: NodeId,
        dots: Vec<Dot>,
        nodes: Vec<NodeId>,
        now: Micros,
    ) -> Option<Output> {
        let telling = &mut self.neighbours.get_mut(&to)?.telling;
        let waiting: usize = telling.next.values().map(Vec::len).sum();
        // What finds no room is told to those who ask for it.
        if waiting + dots.len() <= ORIGINS_MAX {
            telling.next.entry(nodes).or_default().extend(dots);
        }
        let patience = self.config.patience;
        let is_under_way = |(_, since): (u64, Micros)| now.since(since) <= patience;
        match telling.under_way.is_some_and(is_under_way) {
            true => None,
            false => self.tell_more(to, now),
        }
    }

    /// Whether a question is what this neighbour is being told.
    pub(super) fn is_telling(&self, node: &NodeId, ask: u64) -> bool {
        let telling = self.neighbours.get(node).map(|it| &it.telling);
        telling.is_some_and(|it| it.under_way.is_some_and(|(number, _)| number == ask))
    }

    /// The last question is over: tells what has come since.
    pub(super) fn tell_more(&mut self, to: NodeId, now: Micros) -> Option<Output> {
        let ask = self.ask_number();
        let telling = &mut self.neighbours.get_mut(&to)?.telling;
        telling.under_way = None;
        let (nodes, mut dots) = telling.next.pop_first()?;
        let rest = dots.split_off(dots.len().min(DOTS_MAX));
        if !rest.is_empty() {
            telling.next.insert(nodes.clone(), rest);
        }
        telling.under_way = Some((ask, now));
        let question = Question::Stored { dots, nodes };
        Some(Output::Ask { to, ask, question })
    }

    pub(super) fn remember(&mut self, dot: Dot, from: NodeId) {
        let told = BTreeSet::new();
        if self.origins.insert(dot, Origin { from, told }).is_none() {
            self.order.push_back(dot);
        }
        while self.order.len() > ORIGINS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.origins.remove(&oldest);
            }
        }
    }

    /// A neighbour says where writes are durable: count them, and tell who gave them to us
    /// what is new of it.
    pub(super) fn told(
        &mut self,
        from: &NodeId,
        dots: &[Dot],
        nodes: &[NodeId],
        now: Micros,
    ) -> Vec<Output> {
        let nodes = self.speaks_for(from, nodes.iter().copied());
        let mut outputs = Vec::new();
        let mut on: BTreeMap<(NodeId, Vec<NodeId>), Vec<Dot>> = BTreeMap::new();
        for dot in dots.iter().take(DOTS_MAX) {
            outputs.extend(self.has_it(dot, &nodes));
            let Some(origin) = self.origins.get_mut(dot) else {
                continue;
            };
            let is_new = |it: &&NodeId| **it != origin.from && origin.told.insert(first(it));
            let new: Vec<NodeId> = nodes.iter().filter(is_new).copied().collect();
            if !new.is_empty() {
                on.entry((origin.from, new)).or_default().push(*dot);
            }
        }
        for ((origin, nodes), dots) in on {
            outputs.extend(self.tell(origin, dots, nodes, now));
        }
        outputs
    }
}

impl State {
    /// Of the nodes that `from` names those for which it may speak: carriers pass on what
    /// they were told, everybody else knows of itself alone.
    pub(super) fn speaks_for(
        &self,
        from: &NodeId,
        nodes: impl IntoIterator<Item = NodeId>,
    ) -> Vec<NodeId> {
        let passes_on = self.carriers.contains(from);
        let nodes = nodes.into_iter();
        let nodes = nodes.filter(|it| it == from || passes_on && self.members.contains(it));
        nodes.collect()
    }
}

/// The first bytes of a node's name.
fn first(node: &NodeId) -> u64 {
    let bytes = node.0.first_chunk();
    bytes.map_or(0, |it| u64::from_be_bytes(*it))
}
