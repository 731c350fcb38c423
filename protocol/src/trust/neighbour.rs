//! Neighbour: what a directory remembers of another one that it exchanges items with,
//! and how patient it is with it.

use crate::ids::Digest;
use crate::units::Micros;

/// An unanswered pull is asked again after this long: many round trips of a slow
/// link, and less than a heartbeat's 5 s.
pub const ASK_AGAIN: Micros = Micros::from_secs(3);
/// After answers that brought nothing new (we are ahead, or do not take what the other has)
/// the time doubles, up to so many times: 48 s. A digest that changes ends that.
const AGAIN_TIMES_MAX: u64 = 16;
/// Most pages of one answer: 192 KiB, a tenth of a link's queue.
pub const PAGES_MAX: usize = 4;

/// A node that we exchange items with.
#[derive(Debug, Clone, Default)]
pub(super) struct Neighbour {
    pub heard: Micros,
    /// The last digest heard and the number of items under it.
    pub told: Option<(Digest, u32)>,
    /// When it began to differ, and when it was last asked for items.
    pub asked: Option<Asked>,
    /// The last item of an answer that did not fit.
    pub answered_upto: Option<(u8, Digest)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub since: Micros,
    pub at: Micros,
    pub pages: usize,
    pub news: bool,
    /// How much longer than [`ASK_AGAIN`] the next question waits.
    pub times: u64,
}

impl Asked {
    /// When to ask again.
    pub fn again(&self) -> Micros {
        self.at + ASK_AGAIN.times(self.times)
    }

    /// How patient the question after this one is. A cut answer goes on with the next.
    pub fn times_after(&self) -> u64 {
        match self.pages > 0 && self.pages < PAGES_MAX && !self.news {
            true => (self.times * 2).min(AGAIN_TIMES_MAX),
            false => 1,
        }
    }
}
