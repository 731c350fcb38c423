//! Nodes with whose keys two processes run, as this one sees it: children of which two speak,
//! and itself when it is told of what it has not said. And whether a later run of this node is
//! told of, so that this home is an older copy.

use std::collections::BTreeMap;

use chorus_protocol::ids::{CurveKey, Incarnation, NodeId, Stamp};
use chorus_protocol::membership::twins::{is_of_a_later_run, is_of_a_twin};
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::PeerNews;

use super::actor::State;
use crate::gossip::since;

/// How long after the last sign of it a child's twin is held to run: there is one with each
/// heartbeat.
const CHILD_RUNS: Micros = Micros::from_secs(60);
/// The same of the own twin: only now and then are the others told of its words, not ours.
const OWN_RUNS: Micros = Micros::from_secs(600);

/// Who has a twin, and what the own one would have to be later than.
#[derive(Debug)]
pub(super) struct Twins {
    /// Until when each is held to run.
    until: BTreeMap<NodeId, Micros>,
    /// The stamp of the last frame that was signed here.
    pub said: Stamp,
    /// The latest run of this node that was told of and is later than this one.
    pub later: Option<Incarnation>,
}

impl Twins {
    /// In a run that has said nothing yet: words of the run before are no twin's.
    pub fn new(incarnation: Incarnation) -> Self {
        let lamport = 0;
        Self {
            until: BTreeMap::new(),
            said: Stamp {
                incarnation,
                lamport,
            },
            later: None,
        }
    }

    /// A sign of it, which counts for so long. Whether it is the first for a while.
    fn notice(&mut self, node: NodeId, runs: Micros, now: Micros) -> bool {
        self.until.retain(|_, until| now < *until);
        self.until.insert(node, now + runs).is_none()
    }

    /// Those of whom there was a sign of late.
    pub fn present(&self, now: Micros) -> Vec<NodeId> {
        let all = self.until.iter();
        let present = all.filter(|(_, until)| now < **until);
        present.map(|(node, _)| *node).collect()
    }
}

impl State {
    /// Two speak to us with the key of one member.
    pub(super) fn has_twin(&mut self, key: CurveKey) {
        let Some(member) = self.a.roster.by_curve(&key) else {
            return;
        };
        let (node, name) = (member.entry.node, member.entry.name);
        if self.twins.notice(node, CHILD_RUNS, since(self.a.epoch)) {
            self.count("twins");
            tracing::error!(
                node = %node.short(), %name,
                "two processes run with this node's keys: its home was copied. Stop one of \
                 them; `chorus join` makes a home of its own"
            );
        }
    }

    /// What a neighbour tells of this very node should not be later than its own last word.
    pub(super) fn told_of_itself(&mut self, teller: NodeId, news: &PeerNews) {
        let (me, said) = (self.a.identity.id(), self.twins.said);
        let runs = news.peers.iter();
        let later = runs.filter(|told| is_of_a_later_run(told, &me, said));
        if let Some(run) = later.map(|told| told.stamp.incarnation).max() {
            self.told_of_later_run(teller, run);
        }
        if !news.peers.iter().any(|told| is_of_a_twin(told, &me, said)) {
            return;
        }
        if self.twins.notice(me, OWN_RUNS, since(self.a.epoch)) {
            self.count("twins");
            tracing::error!(
                told_by = %teller.short(),
                "another process runs with the keys of this node: this home was copied, or is \
                 a copy. Stop one of them; `chorus join` makes a home of its own"
            );
        }
    }
}

impl State {
    fn told_of_later_run(&mut self, teller: NodeId, run: Incarnation) {
        if self.twins.later.is_some_and(|known| run <= known) {
            return;
        }
        if self.twins.later.replace(run).is_none() {
            self.count("rewound");
        }
        tracing::error!(
            told_by = %teller.short(), own = %self.a.incarnation, told = %run,
            "this node has run later than this home knows: an older copy of the home was put \
             back, and who heard the later run refuses this one; `chorus doctor` says what to do"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_is_news_once_and_forgotten_when_there_is_no_sign_of_it() {
        let mut twins = Twins::new(Incarnation(1));
        let (node, at) = (NodeId([1; 32]), Micros::from_secs);
        let runs = Micros::from_secs(60);
        assert!(twins.notice(node, runs, at(100)));
        assert!(!twins.notice(node, runs, at(150)));
        assert_eq!(twins.present(at(209)), [node]);
        assert_eq!(twins.present(at(210)), []);
        assert!(twins.notice(node, runs, at(211)));
    }
}
