//! Barriers: all wait until all are there, over links that lose and repeat.
//!
//! Each node says "I am at barrier n" to every other one, and repeats it to each that has not
//! acknowledged within the round trip and [`PATIENCE`]. It passes when all others have said n. A node is at most
//! one barrier ahead of any other, for nobody passes n before all have entered it. How much a lost
//! frame costs hangs on the [`Kind`] of barrier, so there are three.

use chorus_protocol::units::Micros;
use serde::{Deserialize, Serialize};

/// How much longer than a round trip an acknowledgement is waited for: Linux's TCP repeats after
/// the round trip and its spread, which it takes for 200 ms at least (`TCP_RTO_MIN`). It waits
/// twice as long each time, which is left out in favour of the barrier.
pub const PATIENCE: Micros = Micros::from_millis(200);

/// What is waited for, from the strictest to the kindest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Also for the acknowledgement of each own word: a synchronous call to every other node. A
    /// lost frame costs a repetition, whichever it was.
    Answered,
    /// For the others' words alone, in order, as TCP delivers: a word waits for the lost one
    /// before it. Losses of two barriers in a row are waited for at the same time.
    Heard,
    /// For the others' newest word: who is at n + 1 has been at n.
    Newest,
}

/// One of the others.
#[derive(Debug, Clone, Default)]
struct Other {
    /// The barrier that it is known to have entered.
    entered: u64,
    /// It has said the one after the next already, and the next was lost.
    early: bool,
    /// What of ours it has not acknowledged, and when that is said again: two at most.
    unacknowledged: Vec<(u64, Micros)>,
}

impl Other {
    fn has_to_answer(&self, number: u64) -> bool {
        self.unacknowledged.iter().any(|(it, _)| *it == number)
    }
}

/// One node's side of all barriers.
#[derive(Debug, Clone)]
pub struct Barrier {
    kind: Kind,
    /// The others by their number; at its own place stands one that counts for nothing.
    others: Vec<Other>,
    me: usize,
    repeat_after: Micros,
    number: u64,
    repeats: u64,
}

impl Barrier {
    /// Of node `me` among `nodes`, before the first barrier.
    pub fn new(me: usize, nodes: usize, kind: Kind, round_trip: Micros) -> Self {
        Self {
            kind,
            others: vec![Other::default(); nodes],
            me,
            repeat_after: round_trip + PATIENCE,
            number: 0,
            repeats: 0,
        }
    }

    /// Enters the next barrier and gives its number, to be said to all.
    pub fn enter(&mut self, now: Micros) -> u64 {
        self.number += 1;
        let me = self.me;
        let others = self.others.iter_mut().enumerate();
        for (_, other) in others.filter(|(at, _)| *at != me) {
            if self.kind == Kind::Newest {
                other.unacknowledged.clear();
            }
            other
                .unacknowledged
                .push((self.number, now + self.repeat_after));
        }
        self.number
    }

    /// `from` says that it is at barrier `number`; whether that is to be acknowledged.
    pub fn heard(&mut self, from: usize, number: u64) -> bool {
        let Some(other) = self.others.get_mut(from) else {
            return false;
        };
        match number.checked_sub(other.entered) {
            None | Some(0) => true,
            Some(1) => {
                other.entered += 1 + u64::from(std::mem::take(&mut other.early));
                true
            }
            Some(_) if self.kind == Kind::Newest => {
                other.entered = number;
                true
            }
            Some(2) => {
                other.early = true;
                true
            }
            // Two ahead of what it has not said: no honest node is.
            Some(_) => false,
        }
    }

    /// `from` has heard that we are at `number`.
    pub fn acknowledged(&mut self, from: usize, number: u64) {
        if let Some(other) = self.others.get_mut(from) {
            other.unacknowledged.retain(|(it, _)| *it != number);
        }
    }

    /// Whether all others are at the barrier that this node has entered.
    pub fn is_passed(&self) -> bool {
        let others = self.others.iter().enumerate();
        let mut others = others.filter(|(at, _)| *at != self.me);
        let answers = self.kind == Kind::Answered;
        others.all(|(_, other)| {
            other.entered >= self.number && !(answers && other.has_to_answer(self.number))
        })
    }

    /// What is to be said again now, and to whom.
    pub fn due(&mut self, now: Micros) -> Vec<(usize, u64)> {
        let mut again = Vec::new();
        for (at, other) in self.others.iter_mut().enumerate() {
            for (number, due) in &mut other.unacknowledged {
                if *due <= now {
                    *due = now + self.repeat_after;
                    again.push((at, *number));
                }
            }
        }
        self.repeats += again.len() as u64;
        again
    }

    /// When [`Barrier::due`] has something.
    pub fn next_deadline(&self) -> Micros {
        let all = self.others.iter().flat_map(|it| &it.unacknowledged);
        all.map(|(_, due)| *due).min().unwrap_or(Micros::NEVER)
    }

    /// Nobody waits any longer: nothing is said again.
    pub fn rest(&mut self) {
        for other in &mut self.others {
            other.unacknowledged.clear();
        }
    }

    /// How often something was said again.
    pub fn repeats(&self) -> u64 {
        self.repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Micros = Micros::from_secs(1);
    const AGAIN: Micros = Micros::from_millis(250);

    fn three(kind: Kind) -> Barrier {
        Barrier::new(1, 3, kind, Micros::from_millis(50))
    }

    #[test]
    fn nobody_passes_before_all_are_there() {
        let mut barrier = three(Kind::Heard);
        assert_eq!(barrier.enter(T), 1);
        assert!(!barrier.is_passed());
        assert!(barrier.heard(0, 1));
        assert!(!barrier.is_passed(), "2 is missing");
        assert!(barrier.heard(2, 1));
        assert!(barrier.is_passed());
        // Who is ahead counts for the one it is at only when this node is there too.
        assert!(barrier.heard(0, 2));
        assert_eq!(barrier.enter(T), 2);
        assert!(!barrier.is_passed());
        assert!(barrier.heard(2, 2));
        assert!(barrier.is_passed());
    }

    #[test]
    fn a_call_is_over_when_it_is_answered() {
        let mut barrier = three(Kind::Answered);
        barrier.enter(T);
        assert!(barrier.heard(0, 1) && barrier.heard(2, 1));
        assert!(
            !barrier.is_passed(),
            "all are there, and nobody has answered"
        );
        barrier.acknowledged(0, 1);
        assert!(!barrier.is_passed());
        barrier.acknowledged(2, 1);
        assert!(barrier.is_passed());
    }

    #[test]
    fn what_is_not_acknowledged_is_said_again_to_that_one_alone() {
        let mut barrier = three(Kind::Heard);
        barrier.enter(T);
        barrier.acknowledged(0, 1);
        assert_eq!(barrier.next_deadline(), T + AGAIN);
        assert_eq!(barrier.due(T), []);
        assert_eq!(barrier.due(T + AGAIN), [(2, 1)]);
        assert_eq!(barrier.due(T + AGAIN), [], "not twice at once");
        assert_eq!(barrier.due(T + AGAIN.times(2)), [(2, 1)]);
        barrier.acknowledged(2, 1);
        assert_eq!(barrier.next_deadline(), Micros::NEVER);
        assert_eq!(barrier.repeats(), 2);
    }

    #[test]
    fn a_lost_word_holds_up_the_next_on_an_ordered_link_and_not_on_the_other() {
        for (kind, at_once) in [(Kind::Heard, false), (Kind::Newest, true)] {
            let mut barrier = three(kind);
            barrier.enter(T);
            assert!(barrier.heard(0, 1));
            assert!(barrier.heard(2, 2), "its word of barrier 1 was lost");
            assert_eq!(barrier.is_passed(), at_once, "{kind:?}");
            // Now it comes, and both count.
            assert!(barrier.heard(2, 1));
            assert!(barrier.is_passed());
            barrier.enter(T);
            assert!(barrier.heard(0, 2));
            assert!(barrier.is_passed(), "{kind:?}");
        }
    }

    #[test]
    fn on_an_ordered_link_each_word_needs_its_own_acknowledgement() {
        for (kind, said_again) in [
            (Kind::Heard, vec![(0, 1), (2, 1), (2, 2)]),
            (Kind::Newest, vec![(2, 2)]),
        ] {
            let mut barrier = three(kind);
            barrier.enter(T);
            barrier.enter(T);
            barrier.acknowledged(0, 2);
            assert_eq!(barrier.due(T + AGAIN), said_again, "{kind:?}");
        }
    }

    #[test]
    fn repeated_and_impossible_words_change_nothing() {
        let mut barrier = three(Kind::Heard);
        barrier.enter(T);
        assert!(barrier.heard(0, 1) && barrier.heard(0, 1));
        assert!(!barrier.heard(2, 7), "five ahead of what it said");
        assert!(!barrier.heard(9, 1), "there is no such node");
        assert!(!barrier.is_passed());
        barrier.acknowledged(9, 1);
        barrier.rest();
        assert_eq!(barrier.next_deadline(), Micros::NEVER);
    }
}
