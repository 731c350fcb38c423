//! The trinary quorum: what a count of three states, and of those that were never asked, decides.
//!
//! Of `expected` agents each is ready (+1), in conflict (-1), in transit (0, no outcome known
//! yet) or skipped (it could not arrive in time and was not asked). Skipped agents count in the
//! denominator, so that asking fewer never looks like agreement. The seed's own function
//! (MESH-30K, 5.2) divides by those that answered, so there one answer out of a thousand proceeds;
//! and it waits for those in transit where contradictions already forbid to go on.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// More than one in so many in conflict: they are resolved first.
const CONFLICT_PART: u64 = 20;
/// At least so many of [`READY_OF`] ready: on.
const READY_PARTS: u64 = 19;
const READY_OF: u64 = 20;
/// More than one in so many in transit: it is worth waiting.
const TRANSIT_PART: u64 = 10;

/// How many agents are in which state, of an operation or a part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Arrived, and in agreement.
    pub ready: u32,
    /// Arrived, and in contradiction.
    pub conflict: u32,
    /// No outcome known.
    pub transit: u32,
    /// Not asked, with a reason.
    pub skipped: u32,
}

/// Nobody is expected, so there is nothing to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("nobody is expected: an operation needs at least one agent")]
pub struct NobodyExpected;

/// What to do with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Decision {
    /// More than 5 % contradict: look at that first.
    ResolveConflicts,
    /// At least 95 % are ready.
    Proceed,
    /// More than 10 % are still on the way.
    Wait,
    /// Too few are ready, and few are on the way: ask again.
    Retry,
}

impl Decision {
    /// Its name outside.
    pub const fn name(self) -> &'static str {
        match self {
            Decision::ResolveConflicts => "RESOLVE_CONFLICTS",
            Decision::Proceed => "PROCEED",
            Decision::Wait => "WAIT",
            Decision::Retry => "RETRY",
        }
    }
}

impl Tally {
    /// All of them.
    pub fn expected(&self) -> u64 {
        [self.ready, self.conflict, self.transit, self.skipped]
            .into_iter()
            .map(u64::from)
            .sum()
    }

    /// With those of another part. Parts have no agent in common.
    #[must_use]
    pub fn and(&self, other: &Tally) -> Tally {
        Tally {
            ready: self.ready.saturating_add(other.ready),
            conflict: self.conflict.saturating_add(other.conflict),
            transit: self.transit.saturating_add(other.transit),
            skipped: self.skipped.saturating_add(other.skipped),
        }
    }

    /// Which part of all is ready, in [0, 1]; of nobody, 0.
    pub fn ready_rate(&self) -> f64 {
        self.rate(self.ready)
    }

    /// Ready rate less half the conflict rate, in [-0.5, 1].
    pub fn confidence(&self) -> f64 {
        self.ready_rate() - self.rate(self.conflict) / 2.0
    }

    fn rate(&self, part: u32) -> f64 {
        match self.expected() {
            0 => 0.0,
            all => f64::from(part) / all as f64,
        }
    }

    /// Decides, in whole numbers, so that 95 of 100 is exactly enough.
    ///
    /// # Errors
    /// When nobody is expected.
    pub fn decide(&self) -> Result<Decision, NobodyExpected> {
        let all = self.expected();
        let [ready, conflict, transit] = [self.ready, self.conflict, self.transit].map(u64::from);
        Ok(if all == 0 {
            return Err(NobodyExpected);
        } else if conflict * CONFLICT_PART > all {
            Decision::ResolveConflicts
        } else if ready * READY_OF >= all * READY_PARTS {
            Decision::Proceed
        } else if transit * TRANSIT_PART > all {
            Decision::Wait
        } else {
            Decision::Retry
        })
    }

    /// The decision that stands whatever the `open` among those in transit still answer (any
    /// of them may become ready or contradict, or stay on the way); `None` while it depends on them.
    /// More open ones than are in transit are counted as all of those.
    pub fn certain(&self, open: u32) -> Option<Decision> {
        let open = open.min(self.transit);
        let with = |ready, conflict| Tally {
            ready: self.ready + ready,
            conflict: self.conflict + conflict,
            transit: self.transit - ready - conflict,
            skipped: self.skipped,
        };
        // Each bound is on one count alone, so the ends of the counts show every decision
        // there can be.
        let now = self.decide().ok()?;
        let ends = [with(open, 0), with(0, open)];
        ends.iter()
            .all(|end| end.decide() == Ok(now))
            .then_some(now)
    }

    /// Whether at least `per_mille` of a thousand are ready.
    pub fn reaches(&self, per_mille: u32) -> bool {
        u64::from(self.ready) * 1_000 >= self.expected() * u64::from(per_mille)
    }
}
