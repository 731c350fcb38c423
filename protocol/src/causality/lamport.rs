//! Lamport clock (paper 2.1): tick before an event, carry the time, and on
//! receipt take max(own, theirs) + 1.
//!
//! Two things are added to the three rules. The clock never goes back over a
//! restart: a block of times is made durable before any of it is used, so after
//! a crash the clock starts above all that it ever said. And one frame may push
//! the clock by at most [`ADVANCE_MAX`], and the less the further it claims to be
//! beyond that: a liar at 2^63 is attributed and does no harm, because no state
//! is ever refused for the size of a jump, and because the clocks that it pushes
//! do not run so fast that their honest neighbours take *them* for liars.

/// The most by which one frame may advance the clock beyond its own time.
pub const ADVANCE_MAX: u64 = 1 << 32;
/// How many times are reserved at once: an hour of a busy node's frames.
pub const BLOCK: u64 = 1 << 20;
/// The block after a capped jump, so that a stream of lies costs no write each.
const BLOCK_AFTER_JUMP: u64 = 1 << 38;

/// A clock, and how far it may go before more is made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    time: u64,
    reserved: u64,
    jumped: bool,
}

/// No time is reserved: the frame must wait for [`Clock::reserved`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no Lamport time is reserved on disk beyond {0}")]
pub struct Unreserved(pub u64);

/// How a received time compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Taken as it was.
    Within,
    /// More than [`ADVANCE_MAX`] ahead. The clock went some of the way; the
    /// sender's state is applied all the same, its commands are not.
    Jump,
}

impl Clock {
    /// A clock that starts at `from`, the highest time that any earlier run may
    /// have used, with nothing reserved yet.
    pub fn new(from: u64) -> Self {
        Self {
            time: from,
            reserved: from,
            jumped: false,
        }
    }

    /// The time of the latest event.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Counts an event of our own and gives its time.
    pub fn tick(&mut self) -> Result<u64, Unreserved> {
        let next = self.time.saturating_add(1);
        if next > self.reserved {
            return Err(Unreserved(self.reserved));
        }
        self.time = next;
        Ok(next)
    }

    /// Takes notice of a received time.
    pub fn observe(&mut self, theirs: u64) -> Observed {
        let ahead = theirs.saturating_sub(self.time);
        if ahead <= ADVANCE_MAX {
            self.time = self.time.max(theirs).saturating_add(1);
            return Observed::Within;
        }
        // ADVANCE_MAX²/ahead: an honest mesh a little beyond the cap is caught up
        // with in a few frames; the end of time moves us by 2.
        let step = ((1u128 << 64) / u128::from(ahead)) as u64;
        self.time = self.time.saturating_add(step).saturating_add(1);
        self.jumped = true;
        Observed::Jump
    }

    /// What should be reserved now, if anything: when less than half a block is
    /// left, so that no frame ever waits for the disk in ordinary times.
    pub fn wants(&mut self) -> Option<u64> {
        if self.reserved.saturating_sub(self.time) > BLOCK / 2 {
            return None;
        }
        let block = if std::mem::take(&mut self.jumped) {
            BLOCK_AFTER_JUMP
        } else {
            BLOCK
        };
        Some(self.time.saturating_add(block))
    }

    /// Everything up to `upto` is durable.
    pub fn reserved(&mut self, upto: u64) {
        self.reserved = self.reserved.max(upto);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(from: u64) -> Clock {
        let mut clock = Clock::new(from);
        clock.reserved(from + BLOCK);
        clock
    }

    #[test]
    fn the_three_rules() {
        let mut clock = clock(0);
        assert_eq!(clock.tick(), Ok(1));
        assert_eq!(clock.observe(10), Observed::Within);
        assert_eq!(clock.time(), 11);
        assert_eq!(clock.observe(3), Observed::Within);
        assert_eq!(clock.time(), 12);
        assert_eq!(clock.tick(), Ok(13));
    }

    #[test]
    fn nothing_is_said_that_is_not_reserved() {
        let mut clock = Clock::new(5);
        assert_eq!(clock.tick(), Err(Unreserved(5)));
        let upto = clock.wants();
        assert_eq!(upto, Some(5 + BLOCK));
        clock.reserved(5 + BLOCK);
        assert_eq!(clock.tick(), Ok(6));
        assert_eq!(clock.wants(), None);
    }

    #[test]
    fn a_jump_to_the_end_of_time_hardly_moves_the_clock() {
        let mut clock = clock(0);
        for _ in 0..1_000 {
            assert_eq!(clock.observe(1 << 63), Observed::Jump);
        }
        assert_eq!(clock.time(), 3_000, "2 and a tick for each frame");
        assert_eq!(clock.wants(), None, "a stream of lies costs no write each");
        assert!(clock.tick().is_ok());
    }

    #[test]
    fn an_honest_mesh_beyond_the_cap_is_caught_up_with() {
        let (mut clock, mut theirs) = (clock(0), 20 * ADVANCE_MAX);
        let frames = (1..).find(|_| {
            theirs += 100;
            clock.observe(theirs) == Observed::Within
        });
        assert!(frames.is_some_and(|frames| frames < 250), "{frames:?}");
        assert!(clock.time() > theirs);
        assert!(clock.tick().is_err(), "must be reserved first");
        let upto = clock.wants();
        assert_eq!(upto, Some(clock.time() + BLOCK_AFTER_JUMP));
    }

    #[test]
    fn the_end_of_time_is_not_an_overflow() {
        let mut clock = Clock::new(u64::MAX - 1);
        assert_eq!(clock.observe(u64::MAX), Observed::Within);
        assert_eq!(clock.observe(u64::MAX), Observed::Within);
        assert_eq!(clock.wants(), Some(u64::MAX));
    }
}
