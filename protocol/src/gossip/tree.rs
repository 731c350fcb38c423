//! Looking for a parent, and keeping to the best that lives.
//!
//! A node tries its candidates in order. One that answers becomes the parent;
//! one that does not is hung up after [`Config::patience`]. Over a slow link a connection
//! takes six round trips, so after a round in vain one candidate is given more time, in
//! the next round the next one: to wait so long for each would take too long where most
//! of them are dead. After the first try in vain the next ones overlap, so that many dead
//! candidates cost half. When the parent is lost the next candidate is tried at once. A node
//! whose parent is not its first choice looks every [`Config::retry_better`] whether a better one is
//! back, and keeps the old until the better one has answered.
//!
//! The link to a parent that was left stays for [`FAREWELL`], or the farewell could not be
//! said again: one that never hears it counts us until the TTL and then tells of our death.

use std::collections::BTreeMap;

use crate::ids::NodeId;
use crate::units::Micros;

use super::Config;

/// The search.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    candidates: Vec<NodeId>,
    parent: Option<NodeId>,
    attached_at: Micros,
    /// The candidates that have been dialled and have not answered yet, and when, in order.
    trying: Vec<(NodeId, Micros)>,
    /// Where in `candidates` the next try begins.
    next: usize,
    /// Not before this.
    try_at: Micros,
    /// Whether a candidate was tried in vain since the last parent.
    failed: bool,
    /// Rounds of candidates tried in vain since the last parent.
    vain: u64,
    /// How often the parent has said in a row that it does not hear us.
    doubts: u8,
    /// Parents that were left, and until when their link stays.
    left: BTreeMap<NodeId, Micros>,
}

/// What the search asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Dial(NodeId),
    Hangup(NodeId),
    /// This one is the parent now.
    Attach(NodeId),
    /// This one is the parent no longer.
    Detach(NodeId, &'static str),
    /// A whole round of candidates was tried in vain.
    Orphan,
}

/// So often in a row must a parent say that it does not hear us before we
/// believe it rather than take it for old news.
const DOUBTS_MAX: u8 = 3;

/// How long the link to a parent that was left stays: five tries of a command, and our
/// heartbeat that names the new one.
const FAREWELL: Micros = Micros::from_secs(4);

/// Candidates that are tried at once, at most.
const TRIES_MAX: usize = 2;

/// What that one candidate is given, as a fraction of the patience. Seven dead ones before
/// a live one then cost at most 9.5 s of the 10 that a heal may take.
const MORE: (u64, u64) = (5, 2);

impl Tree {
    pub fn new() -> Self {
        Self {
            candidates: Vec::new(),
            parent: None,
            attached_at: Micros::ZERO,
            trying: Vec::new(),
            next: 0,
            try_at: Micros::ZERO,
            failed: false,
            vain: 0,
            doubts: 0,
            left: BTreeMap::new(),
        }
    }

    pub fn parent(&self) -> Option<NodeId> {
        self.parent
    }

    /// The parent, and those that may become it: whom we listen to as a child.
    pub fn is_above(&self, node: &NodeId) -> bool {
        self.parent == Some(*node) || self.is_tried(node)
    }

    fn is_tried(&self, node: &NodeId) -> bool {
        self.trying.iter().any(|(trying, _)| trying == node)
    }

    /// Whether anybody could be a parent at all. The root has no candidates.
    pub fn is_root(&self) -> bool {
        self.candidates.is_empty()
    }

    pub fn candidates(&self) -> &[NodeId] {
        &self.candidates
    }

    /// The list has changed. Whoever is not on it any longer is let go.
    pub fn set_candidates(&mut self, candidates: Vec<NodeId>, now: Micros) -> Vec<Step> {
        if candidates == self.candidates {
            return Vec::new();
        }
        self.candidates = candidates;
        self.next = 0;
        self.try_at = now;
        let mut steps = Vec::new();
        let gone = |(trying, _): &mut (NodeId, Micros)| !self.candidates.contains(trying);
        let gone = self.trying.extract_if(.., gone);
        steps.extend(gone.map(|(trying, _)| Step::Hangup(trying)));
        if let Some(parent) = self
            .parent
            .filter(|parent| !self.candidates.contains(parent))
        {
            self.parent = None;
            steps.extend([
                Step::Detach(parent, "no longer a member"),
                Step::Hangup(parent),
            ]);
        }
        steps
    }

    /// Time has passed.
    pub fn tick(&mut self, config: &Config, now: Micros) -> Vec<Step> {
        let over = self.left.extract_if(.., |_, until| *until <= now);
        let mut steps: Vec<Step> = over.map(|(node, _)| Step::Hangup(node)).collect();
        for (node, since) in self.trying.clone() {
            if now.since(since) >= self.patience(&node, config) {
                steps.extend(self.give_up(node, config, now));
            }
        }
        if now < self.try_at || !self.may_try_another(config, now) {
            return steps;
        }
        // With a parent, only better candidates are worth a try.
        let end = match self.parent {
            Some(parent) => self
                .candidates
                .iter()
                .position(|&c| c == parent)
                .unwrap_or(0),
            None => self.candidates.len(),
        };
        // A round is over when the last of it has been given up.
        if self.next >= end && self.trying.is_empty() {
            self.next = 0;
        }
        let rest = self.candidates.iter().enumerate().take(end).skip(self.next);
        let next = rest.map(|(at, node)| (at, *node));
        if let Some((at, node)) = next.into_iter().find(|(_, node)| !self.is_tried(node)) {
            self.next = at + 1;
            self.left.remove(&node);
            self.trying.push((node, now));
            steps.push(Step::Dial(node));
        }
        steps
    }

    /// Whether one more may be dialled beside those that have not answered yet. The first of a
    /// search has its time alone: it lives as a rule, and another that answers sooner would
    /// only have to be left for it.
    fn may_try_another(&self, config: &Config, now: Micros) -> bool {
        let Some((_, last)) = self.trying.last() else {
            return true;
        };
        let apart = Micros(config.patience.0 / TRIES_MAX as u64);
        let room = self.trying.len() < TRIES_MAX && now.since(*last) >= apart;
        room && self.failed && self.parent.is_none()
    }

    /// A candidate that is being tried has not answered, or cannot.
    pub fn give_up(&mut self, node: NodeId, config: &Config, now: Micros) -> Vec<Step> {
        if !self.is_tried(&node) {
            return Vec::new();
        }
        self.trying.retain(|(trying, _)| *trying != node);
        self.failed = true;
        let mut steps = vec![Step::Hangup(node)];
        if !self.trying.is_empty() {
            return steps;
        }
        let round_over = self.next >= self.candidates.len();
        if let Some(parent) = self.parent {
            // All that are better have been tried: again in a while.
            if self.candidates.get(self.next) == Some(&parent) || round_over {
                self.next = 0;
                self.try_at = now + config.retry_better;
            }
        } else if round_over {
            self.next = 0;
            self.try_at = now + config.period.times(5);
            self.vain += 1;
            steps.push(Step::Orphan);
        }
        steps
    }

    /// How long a candidate that is being tried may take.
    fn patience(&self, node: &NodeId, config: &Config) -> Micros {
        let count = self.candidates.len().max(1) as u64;
        let favoured = self.vain.checked_sub(1).map(|round| round % count);
        let favoured = favoured.and_then(|at| self.candidates.get(at as usize));
        if favoured == Some(node) {
            return Micros(config.patience.times(MORE.0).0 / MORE.1);
        }
        config.patience
    }

    /// A candidate spoke: if it is being tried, it is the parent now, and no other is tried on.
    pub fn answered(&mut self, node: NodeId, config: &Config, now: Micros) -> Vec<Step> {
        if !self.is_tried(&node) {
            return Vec::new();
        }
        let others = self.trying.drain(..).filter(|(other, _)| *other != node);
        let mut steps: Vec<Step> = others.map(|(other, _)| Step::Hangup(other)).collect();
        self.next = 0;
        self.failed = false;
        self.vain = 0;
        self.try_at = now + config.retry_better;
        self.attached_at = now;
        self.doubts = 0;
        if let Some(old) = self.parent.replace(node) {
            self.left.insert(old, now + FAREWELL);
            steps.push(Step::Detach(old, "a better parent is back"));
        }
        steps.push(Step::Attach(node));
        steps
    }

    /// The parent is lost; the candidate after it is tried first.
    pub fn lost(
        &mut self,
        node: NodeId,
        why: &'static str,
        config: &Config,
        now: Micros,
    ) -> Vec<Step> {
        if self.parent != Some(node) {
            return self.give_up(node, config, now);
        }
        self.parent = None;
        self.doubts = 0;
        self.next = self
            .candidates
            .iter()
            .position(|&c| c == node)
            .map_or(0, |at| at + 1);
        if self.trying.is_empty() {
            self.try_at = now;
        }
        self.left.insert(node, now + FAREWELL);
        vec![Step::Detach(node, why)]
    }

    /// The parent says that it hears us, or that it does not.
    pub fn heard_by_parent(&mut self, hears: bool, config: &Config, now: Micros) -> Vec<Step> {
        if hears || now.since(self.attached_at) < config.patience {
            self.doubts = 0;
            return Vec::new();
        }
        self.doubts += 1;
        match self.parent {
            Some(parent) if self.doubts >= DOUBTS_MAX && self.candidates.len() > 1 => {
                self.lost(parent, "it does not hear us", config, now)
            }
            _ => Vec::new(),
        }
    }

    /// We were asleep: nobody had time to answer.
    pub fn forgive(&mut self, span: Micros) {
        for (_, since) in &mut self.trying {
            *since = *since + span;
        }
        self.attached_at = self.attached_at + span;
        self.left
            .values_mut()
            .for_each(|until| *until = *until + span);
    }
}

#[cfg(test)]
mod tests;
