//! Part: what a source of answers knows of the agents that it answers for.

use serde::{Deserialize, Serialize};

/// What a source knows of its agents. But for the lost it only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Ready.
    pub ready: u32,
    /// In contradiction.
    pub conflict: u32,
    /// Without an outcome, and there will be none: lost, crashed, refused.
    pub lost: u32,
    /// Not asked, because they could not arrive in time.
    pub skipped: u32,
}

impl Part {
    /// One agent that is ready.
    pub const READY: Part = Part {
        ready: 1,
        conflict: 0,
        lost: 0,
        skipped: 0,
    };
    /// One agent that contradicts.
    pub const CONFLICT: Part = Part {
        ready: 0,
        conflict: 1,
        lost: 0,
        skipped: 0,
    };
    /// One agent that will not answer.
    pub const LOST: Part = Part {
        ready: 0,
        conflict: 0,
        lost: 1,
        skipped: 0,
    };
    /// One agent that was not asked.
    pub const SKIPPED: Part = Part {
        ready: 0,
        conflict: 0,
        lost: 0,
        skipped: 1,
    };

    /// With those of another source.
    #[must_use]
    pub fn and(&self, other: &Part) -> Part {
        Part {
            ready: self.ready.saturating_add(other.ready),
            conflict: self.conflict.saturating_add(other.conflict),
            lost: self.lost.saturating_add(other.lost),
            skipped: self.skipped.saturating_add(other.skipped),
        }
    }

    /// How many have answered.
    pub(super) fn answered(&self) -> u64 {
        u64::from(self.ready) + u64::from(self.conflict)
    }

    /// How many say no more.
    pub(super) fn settled(&self) -> u64 {
        self.answered() + u64::from(self.lost) + u64::from(self.skipped)
    }

    /// Whether this can be what came after `before`. Who was lost may be found and answer yet.
    pub(super) fn follows(&self, before: &Part) -> bool {
        self.ready >= before.ready
            && self.conflict >= before.conflict
            && self.skipped >= before.skipped
    }
}
