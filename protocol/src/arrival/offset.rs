//! Offset: what another node's clock shows when this one's shows something, so that T can travel (H5; mathematics of arrival).
//!
//! A node's monotonic clock begins anywhere, and no wall clock is believed. Each echo has four
//! times: sent and back by this clock, got and answered by the other's. Half of what is left of
//! the round trip without the hold is how far off the offset from that echo can be, if it all
//! went into one leg; so of the last 64 echoes the one with the shortest round trip is believed
//! (NTP's clock filter, RFC 5905 §10). An old echo loses: two clocks may part by 100 ppm.
//!
//! The floor is the asymmetry of the path, which no echo shows. The other node's restart begins
//! a new clock: its offset starts anew with the incarnation.

use crate::units::Micros;

/// How many echoes are kept.
pub const ECHOES: usize = 64;
/// How much two clocks may part, in millionths: both of a quartz's usual 50.
const DRIFT_PPM: u64 = 100;

/// One echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Sent, by this clock.
    pub sent: Micros,
    /// Got, by the other's.
    pub got: Micros,
    /// Answered, by the other's.
    pub answered: Micros,
    /// Back, by this clock.
    pub back: Micros,
}

impl Echo {
    /// How long it was away.
    pub fn elapsed(&self) -> Micros {
        self.back - self.sent
    }

    /// How long the other side held it.
    pub fn held(&self) -> Micros {
        self.answered - self.got
    }

    /// Whether no time runs backwards in it and the hold fits into what it was away.
    pub fn is_sound(&self) -> bool {
        self.sent <= self.back && self.got <= self.answered && self.held() <= self.elapsed()
    }
}

/// What one echo says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    /// The other clock less this one, µs.
    ahead_us: i64,
    /// How far that may be off, when it was taken.
    error: Micros,
    at: Micros,
}

/// The offset of one other clock. 1.6 KB: one for each link, not for each agent.
#[derive(Debug, Clone)]
pub struct Offset {
    samples: [Option<Sample>; ECHOES],
    next: usize,
}

impl Default for Offset {
    fn default() -> Self {
        Self {
            samples: [None; ECHOES],
            next: 0,
        }
    }
}

impl Offset {
    /// Takes an echo; one that is not sound is not taken, which the answer says.
    pub fn echoed(&mut self, echo: &Echo) -> bool {
        let signed = |at: Micros| i128::from(at.0);
        let there = signed(echo.got) + signed(echo.answered);
        let here = signed(echo.sent) + signed(echo.back);
        let Ok(ahead_us) = i64::try_from((there - here) / 2) else {
            return false;
        };
        if !echo.is_sound() {
            return false;
        }
        self.samples[self.next] = Some(Sample {
            ahead_us,
            error: Micros((echo.elapsed() - echo.held()).0 / 2),
            at: echo.back,
        });
        self.next = (self.next + 1) % ECHOES;
        true
    }

    /// What the other clock shows when this one shows `at`, and how far that may be off, both as
    /// known at `now`; `None` without an echo, or for a time before the other clock began.
    pub fn theirs(&self, at: Micros, now: Micros) -> Option<(Micros, Micros)> {
        let samples = self.samples.iter().flatten();
        let (error, ahead_us) = samples
            .map(|sample| {
                let parted = now.since(sample.at).0 / 1_000_000 * DRIFT_PPM;
                (sample.error + Micros(parted), sample.ahead_us)
            })
            .min()?;
        let theirs = i128::from(at.0) + i128::from(ahead_us);
        Some((Micros(u64::try_from(theirs).ok()?), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Noise, Seeded};

    /// The other clock shows 7,000 s less, as one that began later.
    const BEHIND: u64 = 7_000_000_000;

    fn echo(sent: u64, forward: u64, held: u64, return_us: u64) -> Echo {
        let got = sent + forward - BEHIND;
        Echo {
            sent: Micros(sent),
            got: Micros(got),
            answered: Micros(got + held),
            back: Micros(sent + forward + held + return_us),
        }
    }

    fn at(s: u64) -> Micros {
        Micros::from_secs(s)
    }

    #[test]
    fn a_symmetric_path_gives_the_offset_whatever_the_hold() {
        for held in [0, 3_000_000] {
            let mut offset = Offset::default();
            assert_eq!(offset.theirs(at(9_000), at(9_000)), None);
            assert!(offset.echoed(&echo(8_000_000_000, 20_000, held, 20_000)));
            let theirs = offset.theirs(at(9_000), at(8_000));
            assert_eq!(theirs, Some((at(2_000), Micros(20_000))));
            assert_eq!(offset.theirs(at(6_999), at(8_000)), None, "before it began");
        }
    }

    #[test]
    fn the_quickest_of_many_echoes_is_believed() {
        let (mut noise, mut offset) = (Seeded::new(3), Offset::default());
        let (mut plain_us, mut n) = (0.0, 0.0);
        for s in 0..ECHOES as u64 {
            // A symmetric path of 2 · 10 ms with queues of 30 ms on average on one leg or other.
            let mut leg = || 10_000 + (-30_000.0 * (1.0 - noise.uniform()).ln()) as u64;
            let (forward, back) = (leg(), leg());
            offset.echoed(&echo(8_000_000_000 + s * 1_000_000, forward, 500, back));
            plain_us += (forward as f64 - back as f64).abs() / 2.0;
            n += 1.0;
        }
        let theirs = offset.theirs(at(9_000), at(8_064)).unwrap_or_default();
        let off_us = theirs.0.0.abs_diff(2_000_000_000) as f64;
        assert!(off_us * 5.0 < plain_us / n, "{off_us} {}", plain_us / n);
        assert!(off_us <= theirs.1.0 as f64, "the bound holds");
    }

    #[test]
    fn clocks_that_part_make_old_echoes_worse_than_slow_ones() {
        let mut offset = Offset::default();
        offset.echoed(&echo(8_000_000_000, 1_000, 0, 1_000));
        // An hour later the clock that is ahead by 50 ppm has gained 180 ms.
        let mut late = echo(11_600_000_000, 20_000, 0, 20_000);
        (late.got, late.answered) = (late.got + Micros(180_000), late.answered + Micros(180_000));
        offset.echoed(&late);
        let theirs = offset.theirs(at(11_600), at(11_600)).unwrap_or_default();
        assert_eq!(theirs, (Micros(4_600_180_000), Micros(20_000)));
        let before = Offset {
            samples: std::array::from_fn(|n| offset.samples[n].filter(|_| n == 0)),
            next: 1,
        };
        let (theirs, error) = before.theirs(at(11_600), at(11_600)).unwrap_or_default();
        assert!(theirs.0.abs_diff(4_600_180_000) <= error.0, "{error}");
    }

    #[test]
    fn an_echo_whose_times_make_no_sense_is_not_taken() {
        let sound = echo(8_000_000_000, 20_000, 100, 20_000);
        let bad = [
            Echo {
                answered: Micros(sound.got.0 - 1),
                ..sound
            },
            Echo {
                back: Micros(sound.sent.0 - 1),
                ..sound
            },
            Echo {
                answered: sound.got + at(9),
                ..sound
            },
            Echo {
                got: Micros::NEVER,
                answered: Micros::NEVER,
                ..sound
            },
        ];
        let mut offset = Offset::default();
        for echo in bad {
            assert!(!offset.echoed(&echo), "{echo:?}");
        }
        assert_eq!(offset.theirs(at(9_000), at(9_000)), None);
        (0..200).for_each(|_| assert!(offset.echoed(&sound)));
    }
}
