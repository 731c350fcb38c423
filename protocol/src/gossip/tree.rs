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
//! A parent is worth what stands above it: who is cut off itself takes all beneath it out of
//! the mesh. So everybody says on which tier its chain of parents ends (its top), nobody goes
//! to a parent with a lower one, and who is beneath one whose top is lower than it could be
//! looks among all candidates for a higher one (`tree/wider.rs`).
//!
//! The link to a parent that was left stays for [`FAREWELL`], or the farewell could not be
//! said again: one that never hears it counts us until the TTL and then tells of our death.

mod wider;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::ids::{NodeId, Role};
use crate::units::Micros;

use super::Config;
use wider::Wider;

/// The search.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    role: Role,
    candidates: Vec<NodeId>,
    /// The highest tier that a candidate stands on.
    highest: Role,
    parent: Option<NodeId>,
    /// The parent's top, once it has said it.
    parents_top: Option<Role>,
    /// The search for a parent with a higher top, while there is one to be looked for.
    wider: Option<Wider>,
    /// Its pauses are longer by so many 512th parts, so that not all who lose the same parent
    /// dial the same node at once.
    jitter: u8,
    /// Who had no room for one more child, and until when that is believed.
    full: BTreeMap<NodeId, Micros>,
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

/// How long it is believed that a node has no room for one more child.
const FULL: Micros = Micros::from_secs(60);

/// Candidates that are tried at once, at most.
const TRIES_MAX: usize = 2;

/// What that one candidate is given, as a fraction of the patience. Seven dead ones before
/// a live one then cost at most 9.5 s of the 10 that a heal may take.
const MORE: (u64, u64) = (5, 2);

impl Tree {
    pub fn new(role: Role, jitter: u8) -> Self {
        Self {
            role,
            candidates: Vec::new(),
            highest: role,
            parent: None,
            parents_top: None,
            wider: None,
            jitter,
            full: BTreeMap::new(),
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
    pub fn set_candidates(
        &mut self,
        candidates: Vec<NodeId>,
        highest: Role,
        now: Micros,
    ) -> Vec<Step> {
        self.highest = highest;
        if candidates == self.candidates {
            return Vec::new();
        }
        self.candidates = candidates;
        self.next = 0;
        if self.wider.is_none() {
            self.try_at = now; // else a mesh without a root would search with every newcomer
        }
        let mut steps = Vec::new();
        let gone = |(trying, _): &mut (NodeId, Micros)| !self.candidates.contains(trying);
        let gone = self.trying.extract_if(.., gone);
        steps.extend(gone.map(|(trying, _)| Step::Hangup(trying)));
        if let Some(parent) = self
            .parent
            .filter(|parent| !self.candidates.contains(parent))
        {
            self.set_parent(None);
            self.try_at = now;
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
        self.full.retain(|_, until| *until > now);
        self.look_wider(config, now);
        if now < self.try_at || !self.may_try_another(config, now) {
            return steps;
        }
        // A round is over when the last of it has been given up.
        if self.trying.is_empty() && self.next_candidate().is_none() {
            self.next = 0;
        }
        if let Some((at, node)) = self.next_candidate() {
            self.next = at + 1;
            self.left.remove(&node);
            self.trying.push((node, now));
            steps.push(Step::Dial(node));
        }
        steps
    }

    /// The next one that is worth a try in this round: with a parent only better ones, or all
    /// others if its top is low.
    fn next_candidate(&self) -> Option<(usize, NodeId)> {
        let worse = |node: &NodeId| self.wider.is_none() && self.parent == Some(*node);
        let worth = self.candidates.iter().take_while(|node| !worse(node));
        let rest = worth.enumerate().skip(self.next);
        let full = |node: &NodeId| self.parent.is_some() && self.full.contains_key(node);
        rest.map(|(at, node)| (at, *node))
            .find(|(_, node)| !self.is_above(node) && !full(node))
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
        if !self.trying.is_empty() || self.next_candidate().is_some() {
            return steps;
        }
        // All that are worth it have been tried: again in a while.
        self.next = 0;
        if self.parent.is_some() {
            self.try_at = now + self.pause(config);
        } else {
            self.try_at = now + config.period.times(5);
            self.vain += 1;
            steps.push(Step::Orphan);
        }
        steps
    }

    /// How long a candidate that is being tried may take.
    fn patience(&self, node: &NodeId, config: &Config) -> Micros {
        let count = self.candidates.len().max(1) as u64;
        let rounds = self.wider.map_or(self.vain, |wider| wider.rounds.into());
        let favoured = rounds.checked_sub(1).map(|round| round % count);
        let favoured = favoured.and_then(|at| self.candidates.get(at as usize));
        if favoured == Some(node) {
            return Micros(config.patience.times(MORE.0).0 / MORE.1);
        }
        config.patience
    }

    /// A node spoke, and if it was of the field said its top. One that is being tried is the
    /// parent now, and no other is tried on; if there is a parent, it must offer more. A
    /// candidate that was restarted answers before it has a parent, and who went to it would
    /// leave the mesh's sum.
    pub fn answered(
        &mut self,
        node: NodeId,
        top: Option<Role>,
        config: &Config,
        now: Micros,
    ) -> Vec<Step> {
        if self.parent == Some(node) {
            self.parents_top = top.or(self.parents_top);
            return Vec::new();
        }
        let offered = match (self.parents_top, top) {
            (None, _) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(has), Some(offered)) => offered.cmp(&has),
        };
        let better = self.is_better(&node);
        if !self.is_tried(&node) || offered.is_gt() || (offered.is_eq() && !better) {
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
        if let Some(old) = self.set_parent(Some(node)) {
            self.left.insert(old, now + FAREWELL);
            let why = match better {
                true => "a better parent is back",
                false => "it is cut off from those above it",
            };
            steps.push(Step::Detach(old, why));
        }
        self.parents_top = top;
        steps.push(Step::Attach(node));
        steps
    }

    /// Whether it comes before the parent in the order of candidates.
    fn is_better(&self, node: &NodeId) -> bool {
        let mut order = self.candidates.iter();
        order.find(|it| *it == node || self.parent == Some(**it)) == Some(node)
    }

    /// Who was it before.
    fn set_parent(&mut self, parent: Option<NodeId>) -> Option<NodeId> {
        (self.parents_top, self.wider) = (None, None);
        std::mem::replace(&mut self.parent, parent)
    }

    /// The parent has no room: it is no better than another for a while.
    pub fn refused(&mut self, node: NodeId, config: &Config, now: Micros) -> Vec<Step> {
        self.full.insert(node, now + FULL);
        self.lost(node, "it takes no more children", config, now)
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
        self.set_parent(None);
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
        if let Some(wider) = &mut self.wider {
            wider.since = wider.since + span;
        }
        self.left
            .values_mut()
            .chain(self.full.values_mut())
            .for_each(|until| *until = *until + span);
    }
}

#[cfg(test)]
mod tests;
