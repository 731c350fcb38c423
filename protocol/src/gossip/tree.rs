//! Looking for a parent, and keeping to the best that lives.
//!
//! A node tries its candidates in order. One that answers becomes the parent;
//! one that does not is hung up after [`Config::patience`]. Over a slow link a connection
//! takes six round trips, so after a round in vain one candidate is given more time, in
//! the next round the next one: to wait so long for each would take too long where most
//! of them are dead. When the parent is lost the next candidate is tried at once. A node whose parent is not its
//! first choice looks every [`Config::retry_better`] whether a better one is
//! back, and keeps the old until the better one has answered.

use crate::ids::NodeId;
use crate::units::Micros;

use super::Config;

/// The search.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    candidates: Vec<NodeId>,
    parent: Option<NodeId>,
    attached_at: Micros,
    /// The candidate that has been dialled and has not answered yet.
    trying: Option<(NodeId, Micros)>,
    /// Where in `candidates` the next try begins.
    next: usize,
    /// Not before this.
    try_at: Micros,
    /// Rounds of candidates tried in vain since the last parent.
    vain: u64,
    /// How often the parent has said in a row that it does not hear us.
    doubts: u8,
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

/// What that one candidate is given, as a fraction of the patience. Three dead ones before
/// a live one then cost 5 + 2 + 2 s of the 10 that a heal may take.
const MORE: (u64, u64) = (5, 2);

impl Tree {
    pub fn new() -> Self {
        Self {
            candidates: Vec::new(),
            parent: None,
            attached_at: Micros::ZERO,
            trying: None,
            next: 0,
            try_at: Micros::ZERO,
            vain: 0,
            doubts: 0,
        }
    }

    pub fn parent(&self) -> Option<NodeId> {
        self.parent
    }

    /// The parent, and the one that may become it: whom we listen to as a child.
    pub fn is_above(&self, node: &NodeId) -> bool {
        self.parent == Some(*node) || self.trying.is_some_and(|(trying, _)| trying == *node)
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
        if let Some((trying, _)) = self.trying.filter(|(t, _)| !self.candidates.contains(t)) {
            self.trying = None;
            steps.push(Step::Hangup(trying));
        }
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
        let mut steps = Vec::new();
        if let Some((node, since)) = self.trying {
            if now.since(since) < self.patience(config) {
                return steps;
            }
            steps.extend(self.give_up(node, config, now));
        }
        if self.trying.is_some() || now < self.try_at {
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
        if end == 0 {
            return steps;
        }
        if self.next >= end {
            self.next = 0;
        }
        let node = self.candidates[self.next];
        self.trying = Some((node, now));
        steps.push(Step::Dial(node));
        steps
    }

    /// A candidate that is being tried has not answered, or cannot.
    pub fn give_up(&mut self, node: NodeId, config: &Config, now: Micros) -> Vec<Step> {
        if self.trying.map(|(trying, _)| trying) != Some(node) {
            return Vec::new();
        }
        self.trying = None;
        let mut steps = vec![Step::Hangup(node)];
        self.next += 1;
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

    /// How long the candidate that is being tried may take.
    fn patience(&self, config: &Config) -> Micros {
        let count = self.candidates.len().max(1) as u64;
        match self.vain.checked_sub(1) {
            Some(round) if round % count == self.next as u64 => {
                Micros(config.patience.times(MORE.0).0 / MORE.1)
            }
            _ => config.patience,
        }
    }

    /// A candidate spoke: if it is the one being tried, it is the parent now.
    pub fn answered(&mut self, node: NodeId, config: &Config, now: Micros) -> Vec<Step> {
        if self.trying.map(|(trying, _)| trying) != Some(node) {
            return Vec::new();
        }
        self.trying = None;
        self.next = 0;
        self.vain = 0;
        self.try_at = now + config.retry_better;
        self.attached_at = now;
        self.doubts = 0;
        let mut steps = Vec::new();
        if let Some(old) = self.parent.replace(node) {
            steps.extend([
                Step::Detach(old, "a better parent is back"),
                Step::Hangup(old),
            ]);
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
        if self.trying.is_none() {
            self.try_at = now;
        }
        vec![Step::Detach(node, why), Step::Hangup(node)]
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
        if let Some((_, since)) = &mut self.trying {
            *since = *since + span;
        }
        self.attached_at = self.attached_at + span;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);

    fn ms(ms: u64) -> Micros {
        Micros::from_millis(ms)
    }

    #[test]
    fn the_first_that_answers_is_the_parent_and_the_next_is_tried_when_it_is_lost() {
        let (mut tree, config) = (Tree::new(), Config::default());
        tree.set_candidates(vec![A, B], ms(0));
        assert_eq!(tree.tick(&config, ms(0)), [Step::Dial(A)]);
        assert_eq!(tree.tick(&config, ms(1_900)), []);
        assert_eq!(
            tree.tick(&config, ms(2_000)),
            [Step::Hangup(A), Step::Dial(B)]
        );
        assert_eq!(tree.answered(A, &config, ms(2_050)), [], "too late");
        assert_eq!(tree.answered(B, &config, ms(2_100)), [Step::Attach(B)]);
        // A is better: it is tried again after a while, beside B.
        assert_eq!(tree.tick(&config, ms(7_100)), [Step::Dial(A)]);
        let moved = [
            Step::Detach(B, "a better parent is back"),
            Step::Hangup(B),
            Step::Attach(A),
        ];
        assert_eq!(tree.answered(A, &config, ms(7_200)), moved);
        assert_eq!(
            tree.tick(&config, ms(60_000)),
            [],
            "nobody is better than the first"
        );
        tree.lost(A, "silent", &config, ms(60_000));
        assert_eq!(tree.tick(&config, ms(60_000)), [Step::Dial(B)]);
    }

    #[test]
    fn every_better_candidate_is_tried_again_and_not_the_first_alone() {
        const C: NodeId = NodeId([3; 32]);
        let (mut tree, config) = (Tree::new(), Config::default());
        tree.set_candidates(vec![A, B, C], ms(0));
        for s in 0..3 {
            tree.tick(&config, ms(2_000 * s));
        }
        assert_eq!(tree.answered(C, &config, ms(4_100)), [Step::Attach(C)]);
        assert_eq!(tree.tick(&config, ms(9_100)), [Step::Dial(A)]);
        assert_eq!(
            tree.tick(&config, ms(11_100)),
            [Step::Hangup(A), Step::Dial(B)]
        );
        assert_eq!(tree.tick(&config, ms(13_100)), [Step::Hangup(B)]);
        assert_eq!(tree.tick(&config, ms(18_100)), [Step::Dial(A)]);
    }

    #[test]
    fn a_round_in_vain_makes_an_orphan_that_goes_on_trying() {
        let (mut tree, config) = (Tree::new(), Config::default());
        tree.set_candidates(vec![A], ms(0));
        tree.tick(&config, ms(0));
        assert_eq!(
            tree.tick(&config, ms(2_000)),
            [Step::Hangup(A), Step::Orphan]
        );
        assert_eq!(tree.tick(&config, ms(2_500)), [Step::Dial(A)]);
    }

    #[test]
    fn after_a_round_in_vain_one_candidate_after_the_other_gets_more_time() {
        let (mut tree, config) = (Tree::new(), Config::default());
        tree.set_candidates(vec![A, B], ms(0));
        let (given, now) = in_vain(&mut tree, &config, 8);
        let expected = [2_000, 2_000, 5_000, 2_000, 2_000, 5_000, 5_000, 2_000];
        assert_eq!(given, expected);
        tree.tick(&config, now + ms(500));
        tree.answered(A, &config, now + ms(600));
        tree.lost(A, "silent", &config, now + ms(700));
        tree.tick(&config, now + ms(700));
        let steps = tree.tick(&config, now + ms(2_700));
        assert_eq!(steps[0], Step::Hangup(B), "as patient as at first");
    }

    /// How long each of the next `count` candidates is given, ms, and when that ends.
    fn in_vain(tree: &mut Tree, config: &Config, count: usize) -> (Vec<u64>, Micros) {
        let mut given = Vec::new();
        let (mut began, mut now) = (ms(0), ms(0));
        tree.tick(config, now);
        while given.len() < count {
            now = now + ms(100);
            let steps = tree.tick(config, now);
            if matches!(steps[..], [Step::Hangup(_), ..]) {
                given.push(now.since(began).as_millis());
            }
            if matches!(steps[..], [.., Step::Dial(_)]) {
                began = now;
            }
        }
        (given, now)
    }

    #[test]
    fn three_dead_candidates_cost_no_more_than_a_heal_may_take() {
        let (mut tree, config) = (Tree::new(), Config::default());
        let dead: Vec<NodeId> = (0..3).map(|n| NodeId([n; 32])).collect();
        let live = NodeId([9; 32]);
        tree.set_candidates([dead, vec![live]].concat(), ms(0));
        // Healed just when the live one had been given up: when is it dialled again?
        let (mut healed, mut waits) = (None, Vec::new());
        for tick in 0..2_000 {
            let steps = tree.tick(&config, ms(100 * tick));
            if steps.contains(&Step::Hangup(live)) {
                healed = Some(tick);
            }
            if steps.contains(&Step::Dial(live)) {
                waits.extend(healed.map(|since| 100 * (tick - since)));
            }
        }
        assert_eq!(waits.iter().max(), Some(&9_500));
    }

    #[test]
    fn a_parent_that_keeps_saying_it_is_deaf_to_us_is_left_unless_it_is_the_only_one() {
        let (mut tree, config) = (Tree::new(), Config::default());
        tree.set_candidates(vec![A, B], ms(0));
        tree.tick(&config, ms(0));
        tree.answered(A, &config, ms(100));
        assert_eq!(
            tree.heard_by_parent(false, &config, ms(200)),
            [],
            "old news"
        );
        for s in 3..5 {
            assert_eq!(tree.heard_by_parent(false, &config, ms(s * 1_000)), []);
        }
        assert!(
            tree.heard_by_parent(false, &config, ms(5_000))
                .contains(&Step::Hangup(A))
        );
        tree.set_candidates(vec![A], ms(6_000));
        tree.tick(&config, ms(6_000));
        tree.answered(A, &config, ms(6_100));
        for s in 9..20 {
            assert_eq!(tree.heard_by_parent(false, &config, ms(s * 1_000)), []);
        }
    }
}
