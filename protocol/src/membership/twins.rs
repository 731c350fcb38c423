//! Twins: two processes that run with the keys of one node, as when a home was copied.
//!
//! Each is let in and each is believed, so the mesh hears one node that contradicts itself.
//! Two things give them away. Who accepts their connections: one process leaves a connection
//! for the next and never speaks over the old one again, two speak over theirs by turns. And
//! the node itself, where others tell of frames of it that it has not signed.
//!
//! Invariant: no restart and no reconnection is taken for a twin. What a process wrote before
//! it ended may still arrive after its successor's first words, so only several turns count,
//! each well after the one before; and what a former run said is below all that this one says.

use crate::ids::{NodeId, Stamp};
use crate::units::Micros;
use crate::wire::message::{PeerEntry, PeerState};

/// Connections of one key that are remembered: as many copies of a home are told apart.
const WAYS_MAX: usize = 4;
/// Turns that prove it: the left one spoke, the newer, and the left one again.
const TURNS: u8 = 3;
/// How long after the turn before a turn counts, and after the begin of a connection. What is
/// left of an ended one comes in a burst, or at most once more after a loss.
const APART: Micros = Micros::from_secs(2);
/// How old a sighting may be at most that speaks for a twin that runs now.
const FRESH_MS: u32 = 10_000;

/// Over which connections one key's messages came, the latest last.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    ways: Vec<Vec<u8>>,
    turns: u8,
    /// When the last turn was counted, or the newest connection began.
    turned: Micros,
}

impl Ways {
    /// The connection that spoke last; `None` before any did.
    pub fn latest(&self) -> Option<&[u8]> {
        self.ways.last().map(Vec::as_slice)
    }

    /// A message came over `way`, a name that no other connection has or had. Whether it
    /// proves that two processes speak; each further turn proves it again.
    pub fn heard(&mut self, way: &[u8], now: Micros) -> bool {
        if self.latest() == Some(way) {
            return false;
        }
        let Some(at) = self.ways.iter().position(|known| known == way) else {
            if self.ways.len() == WAYS_MAX {
                self.ways.remove(0);
            }
            self.ways.push(way.to_vec());
            (self.turns, self.turned) = (0, now);
            return false;
        };
        self.ways[at..].rotate_left(1);
        if now.since(self.turned) < APART {
            return false;
        }
        self.turned = now;
        self.turns = self.turns.saturating_add(1);
        self.turns >= TURNS
    }
}

/// Whether what is told of node `me`, which has signed nothing later than `said`, is the doing
/// of another process that runs now with the same key.
pub fn is_of_a_twin(told: &PeerEntry, me: &NodeId, said: Stamp) -> bool {
    let now = told.state == PeerState::Live && told.age_ms <= FRESH_MS;
    told.node == *me && now && told.stamp > said
}

/// Whether what is told of node `me`, which has signed nothing later than `said`, is of a later
/// run of it that is over: its home was put back as an older copy had it, and who heard that
/// run refuses what this one says.
pub fn is_of_a_later_run(told: &PeerEntry, me: &NodeId, said: Stamp) -> bool {
    told.node == *me && told.stamp.incarnation > said.incarnation && !is_of_a_twin(told, me, said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;

    fn ms(millis: u64) -> Micros {
        Micros::from_millis(millis)
    }

    /// Whether any of these messages, at these milliseconds, proves it.
    fn proves(said: &[(&str, u64)]) -> bool {
        let mut ways = Ways::default();
        let mut heard = |(way, at): &(&str, u64)| ways.heard(way.as_bytes(), ms(*at));
        said.iter().any(&mut heard)
    }

    #[test]
    fn two_that_speak_by_turns_are_told_within_three_heartbeats() {
        let said = [("a", 0), ("b", 2_500), ("a", 5_000), ("b", 7_500)];
        assert!(!proves(&said));
        assert!(proves(&[&said[..], &[("a", 10_000)]].concat()));
        // Their heartbeats may fall together.
        let pairs = (0..4).flat_map(|n| [("a", 5_000 * n), ("b", 5_000 * n + 200)]);
        assert!(proves(&pairs.collect::<Vec<_>>()));
    }

    #[test]
    fn four_copies_are_still_told() {
        let rounds = (0..12).map(|n| (["a", "b", "c", "d"][n as usize % 4], 1_250 * n));
        assert!(proves(&rounds.collect::<Vec<_>>()));
    }

    #[test]
    fn restarts_and_reconnections_are_none() {
        let ways: Vec<String> = (0..100).map(|n| format!("way {n}")).collect();
        let flapping = ways.iter().zip((0..).step_by(700));
        let flapping = flapping.map(|(way, at)| (way.as_str(), at));
        assert!(!proves(&flapping.collect::<Vec<_>>()));
        // What was under way when it ended comes in between, and once more much later.
        let burst = (0..200).map(|n| (["b", "a"][n as usize % 2], 10 * n));
        let burst: Vec<_> = [("a", 0)].into_iter().chain(burst).collect();
        assert!(!proves(&burst));
        let late = [("a", 0), ("b", 1_000), ("a", 20_000), ("b", 22_500)];
        let long = (5..500).map(|n| ("b", 5_000 * n));
        let late: Vec<_> = late.into_iter().chain(long).collect();
        assert!(!proves(&late));
        // Five restarts in a row with such a remnant each.
        let rows = ways.windows(2).take(5).zip((0..).step_by(10_000));
        let rows = rows.flat_map(|(two, at)| {
            let [old, new] = [0, 1].map(|n| two[n].as_str());
            [
                (old, at),
                (new, at + 500),
                (old, at + 4_000),
                (new, at + 6_500),
            ]
        });
        assert!(!proves(&rows.collect::<Vec<_>>()));
    }

    #[test]
    fn what_is_kept_of_a_key_is_bounded() {
        let mut ways = Ways::default();
        for n in 0..1_000_u32 {
            ways.heard(&n.to_be_bytes(), ms(n.into()));
        }
        assert_eq!(ways.ways.len(), WAYS_MAX);
        assert_eq!(ways.latest(), Some(&999_u32.to_be_bytes()[..]));
    }

    #[test]
    fn only_a_later_word_of_oneself_that_is_fresh_speaks_of_a_twin() {
        let me = NodeId([1; 32]);
        let stamp = |boot, lamport| Stamp {
            incarnation: Incarnation::new(0, boot),
            lamport,
        };
        let said = stamp(8, 100);
        let told = |node: NodeId, stamp: Stamp| PeerEntry {
            node,
            stamp,
            state: PeerState::Live,
            theta: None,
            age_ms: 20,
        };
        let is = |entry: PeerEntry| is_of_a_twin(&entry, &me, said);
        assert!(is(told(me, stamp(8, 101))));
        assert!(is(told(me, stamp(9, 3))));
        // Its own last word, and a former run's, whatever its time was.
        assert!(!is(told(me, said)));
        assert!(!is(told(me, stamp(7, 5_000))));
        assert!(!is(told(NodeId([2; 32]), stamp(9, 3))));
        // A home from an old backup: the later run of then is no process of now.
        let mut old = told(me, stamp(9, 3));
        old.age_ms = FRESH_MS + 1;
        assert!(!is(old));
        assert!(is_of_a_later_run(&old, &me, said));
        (old.age_ms, old.state) = (0, PeerState::Evicted);
        assert!(!is(old));
        assert!(is_of_a_later_run(&old, &me, said));
        // Later words of this run are none of a later one, and a twin's run is not over.
        let later = |entry: PeerEntry| is_of_a_later_run(&entry, &me, said);
        assert!(!later(told(me, stamp(8, 101))));
        assert!(!later(told(me, stamp(9, 3))));
        assert!(!later(told(me, stamp(7, 5_000))));
    }
}
