//! Lamport clock (paper 2.1): tick before an event, carry the time, and on
//! receipt take max(own, theirs) + 1.
//!
//! Two things are added to the three rules. The clock never goes back over a
//! restart: a block of times is made durable before any of it is used, so after
//! a crash the clock starts above all that it ever said. And others may push the
//! clock by at most [`ADVANCE_MAX`] a second, all together, and one frame the less
//! the further it claims to be beyond that. A liar is attributed and does no harm:
//! nothing is ever refused for the size of a jump; who follows a clock that is
//! pushed keeps up with it; and the end of time is a century away.

use crate::units::Micros;

/// The most by which one frame, and all frames of a second, may advance the clock
/// beyond its own time.
pub const ADVANCE_MAX: u64 = 1 << 32;
/// How far beyond the clock the time of a record may be: as far as others can push a clock in
/// 18 hours. Whoever was cut off for so long from a mesh with a liar in it still takes what
/// that wrote; and nobody writes the last time that there is.
pub const AHEAD_MAX: u64 = 1 << 48;
/// How many times are reserved at once: an hour of a busy node's frames.
pub const BLOCK: u64 = 1 << 20;
/// The most that is reserved at once: a clock that others push as fast as they may is
/// written every sixteen seconds.
const BLOCK_MAX: u64 = 1 << 36;
/// A block that lasted no longer is followed by one of twice its size, else by a [`BLOCK`]. A
/// restart skips what was left of its block and so pushes everybody: what is reserved must
/// not grow with every restart of somebody, but with a stream of pushes alone.
const SHORT: Micros = Micros::from_secs(60);

/// A clock, and how far it may go before more is made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    time: u64,
    reserved: u64,
    /// The size of the latest block, and since when it is there.
    block: Option<(u64, Micros)>,
    /// What is left of [`ADVANCE_MAX`], and since when it grows.
    allowance: u64,
    refilled: Micros,
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
    /// Not further ahead than a frame may be, but the second's advance was used up:
    /// the clock went some of the way.
    Held,
    /// More than [`ADVANCE_MAX`] ahead. The clock went some of the way.
    Jump,
}

impl Clock {
    /// A clock that starts at `from`, the highest time that any earlier run may
    /// have used, with nothing reserved yet.
    pub fn new(from: u64) -> Self {
        Self {
            time: from,
            reserved: from,
            block: None,
            allowance: ADVANCE_MAX,
            refilled: Micros::ZERO,
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

    /// Takes notice of a time that was received at `now`. Whatever it returns, what
    /// the frame says is to be applied.
    pub fn observe(&mut self, theirs: u64, now: Micros) -> Observed {
        self.refill(now);
        let ahead = theirs.saturating_sub(self.time);
        let wanted = if ahead <= ADVANCE_MAX {
            ahead
        } else {
            // ADVANCE_MAX²/ahead: an honest mesh a little beyond the cap is caught up
            // with in a few frames; the end of time moves us by 2.
            ((1u128 << 64) / u128::from(ahead)) as u64
        };
        let step = wanted.min(self.allowance);
        self.allowance -= step;
        self.time = self.time.saturating_add(step).saturating_add(1);
        match ahead {
            _ if ahead > ADVANCE_MAX => Observed::Jump,
            _ if step < wanted => Observed::Held,
            _ => Observed::Within,
        }
    }

    fn refill(&mut self, now: Micros) {
        let passed = (now - self.refilled).0.min(1_000_000);
        self.refilled = self.refilled.max(now);
        let more = ADVANCE_MAX * passed / 1_000_000;
        self.allowance = (self.allowance + more).min(ADVANCE_MAX);
    }

    /// What should be reserved now, if anything: when less than half a block is
    /// left, so that no frame ever waits for the disk in ordinary times.
    pub fn wants(&self) -> Option<u64> {
        if self.reserved.saturating_sub(self.time) > BLOCK / 2 {
            return None;
        }
        Some(self.time.saturating_add(self.next_block()))
    }

    /// Everything up to `upto` is durable.
    pub fn reserved(&mut self, upto: u64) {
        self.block = Some((self.next_block(), self.refilled));
        self.reserved = self.reserved.max(upto);
    }

    fn next_block(&self) -> u64 {
        match self.block {
            Some((block, since)) if self.refilled.since(since) < SHORT => {
                block.saturating_mul(2).min(BLOCK_MAX)
            }
            _ => BLOCK,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros::ZERO;

    fn clock(from: u64) -> Clock {
        let mut clock = Clock::new(from);
        clock.reserved(from + BLOCK);
        clock
    }

    #[test]
    fn the_three_rules() {
        let mut clock = clock(0);
        assert_eq!(clock.tick(), Ok(1));
        assert_eq!(clock.observe(10, NOW), Observed::Within);
        assert_eq!(clock.time(), 11);
        assert_eq!(clock.observe(3, NOW), Observed::Within);
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
            assert_eq!(clock.observe(1 << 63, NOW), Observed::Jump);
        }
        assert_eq!(clock.time(), 3_000, "2 and a tick for each frame");
        assert_eq!(clock.wants(), None, "a stream of lies costs no write each");
        assert!(clock.tick().is_ok());
    }

    #[test]
    fn an_honest_mesh_beyond_the_cap_is_caught_up_with() {
        let (mut clock, mut theirs) = (clock(0), 20 * ADVANCE_MAX);
        let frames = (1..).find(|n| {
            theirs += 100;
            clock.observe(theirs, Micros::from_millis(100 * n)) == Observed::Within
        });
        assert!(frames.is_some_and(|frames| frames < 250), "{frames:?}");
        assert!(clock.time() > theirs);
        assert!(clock.tick().is_err(), "must be reserved first");
        let upto = clock.wants();
        assert_eq!(upto, Some(clock.time() + 2 * BLOCK));
    }

    /// Whatever a crowd of liars pushes it by, who hears it ten times a second stays at
    /// its heels, and what is reserved costs a write every sixteen seconds and not each frame.
    #[test]
    fn a_clock_that_is_pushed_without_end_has_a_speed_and_is_followed() {
        let (mut pushed, mut follower, mut writes) = (clock(0), clock(0), 0);
        let seconds = 1_000;
        for ms in (0..seconds * 1_000).step_by(10) {
            let now = Micros::from_millis(ms);
            pushed.observe(pushed.time() + ADVANCE_MAX - 4_000, now);
            if let Some(upto) = pushed.wants() {
                pushed.reserved(upto);
                writes += 1;
            }
            if ms % 100 == 0 {
                assert_ne!(follower.observe(pushed.time(), now), Observed::Jump, "{ms}");
            }
        }
        assert!(pushed.time() < (seconds + 2) * ADVANCE_MAX);
        assert!(writes < seconds / 16 + 20, "{writes}");
        let over = Micros::from_secs(seconds + 1);
        assert_eq!(follower.observe(pushed.time(), over), Observed::Within);
    }

    /// Each restart begins above the block of the run before it, and the others follow.
    #[test]
    fn restarts_by_turns_move_the_mesh_by_a_block_each() {
        let mut clocks = [clock(0), clock(0), clock(0)];
        for n in 0..300 {
            let now = Micros::from_secs(90 * n);
            let at = n as usize % 3;
            clocks[at] = Clock::new(clocks[at].reserved);
            for clock in &mut clocks {
                clock.refill(now);
                if let Some(upto) = clock.wants() {
                    clock.reserved(upto);
                }
            }
            let said = clocks[at].tick().expect("reserved");
            for clock in &mut clocks {
                assert_eq!(clock.observe(said, now), Observed::Within);
            }
        }
        assert!(clocks[0].time() < 301 * 2 * BLOCK, "{}", clocks[0].time());
    }

    #[test]
    fn the_end_of_time_is_not_an_overflow() {
        let mut clock = Clock::new(u64::MAX - 1);
        assert_eq!(clock.observe(u64::MAX, NOW), Observed::Within);
        assert_eq!(clock.observe(u64::MAX, NOW), Observed::Within);
        assert_eq!(clock.wants(), Some(u64::MAX));
    }
}
