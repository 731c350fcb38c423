//! The token clock: token number n belongs to the moment n/f, whatever the phases do (row B3).
//!
//! Each token takes dt = 1/f and advances the token phase by ω·dt. The clock has
//! no reference to a field, an oscillator or a peer, so no barrier, no loss and
//! no coupling can hold it: that independence is the whole point of it.

use std::f64::consts::TAU;

use crate::units::{Micros, wrap};

/// Counts tokens at a frequency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenClock {
    frequency_hz: f64,
    omega: f64,
    tokens: u64,
}

/// A rate that no clock can run at. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a token clock cannot run at {frequency_hz} tokens/s and {omega} rad/s")]
pub struct BadRate {
    /// Tokens each second, as asked for.
    pub frequency_hz: f64,
    /// Phase velocity in rad/s, as asked for.
    pub omega: f64,
}

impl TokenClock {
    /// A clock of `frequency_hz` tokens each second (above 0, at most 1e6) whose
    /// phase moves at `omega` rad/s, the node's natural frequency.
    pub fn new(frequency_hz: f64, omega: f64) -> Result<Self, BadRate> {
        if !(frequency_hz > 0.0 && frequency_hz <= 1e6 && omega.is_finite()) {
            return Err(BadRate {
                frequency_hz,
                omega,
            });
        }
        Ok(Self {
            frequency_hz,
            omega,
            tokens: 0,
        })
    }

    /// dt = 1/f in seconds.
    pub fn dt_s(&self) -> f64 {
        1.0 / self.frequency_hz
    }
    /// Tokens so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }
    /// The token phase in [0, 2π): ω·dt for each token, computed from the count
    /// so that a million small additions do not add up their errors.
    pub fn phase(&self) -> f64 {
        let turns = self.omega / TAU / self.frequency_hz;
        wrap(TAU * (self.tokens as f64 * turns).fract())
    }

    /// One token left. Returns its number, from 1.
    pub fn tick(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// When the next token is due, as a span after the first one's beginning.
    pub fn next_due(&self) -> Micros {
        Micros(((self.tokens + 1) as f64 * 1e6 / self.frequency_hz).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phase::kuramoto::{Config, Oscillator, Phase};
    use crate::phase::{Complex, Field};
    use crate::units::Seeded;

    #[test]
    fn each_token_advances_the_phase_by_omega_dt() {
        let mut clock = TokenClock::new(50.0, 3.0).expect("a rate");
        for n in 1..=1_000 {
            let before = clock.phase();
            assert_eq!(clock.tick(), n);
            let moved = wrap(clock.phase() - before);
            assert!((moved - 3.0 / 50.0).abs() < 1e-9, "{n}: {moved}");
        }
        assert!((clock.phase() - wrap(3.0 * 1_000.0 * clock.dt_s())).abs() < 1e-9);
    }

    #[test]
    fn tokens_are_due_at_multiples_of_dt_without_drift() {
        let mut clock = TokenClock::new(3.0, TAU).expect("a rate");
        assert_eq!(clock.next_due(), Micros(333_333));
        while clock.tokens() < 3_000_000 {
            clock.tick();
        }
        assert_eq!(clock.next_due(), Micros(1_000_000_333_333));
    }

    /// Tokens that leave in ten seconds beside an oscillator with this coupling and field.
    fn tokens_beside(coupling: f64, field: Option<Field>) -> (u64, f64, f64) {
        let config = Config {
            coupling,
            ..Config::default()
        };
        let mut oscillator = Oscillator::new(Phase::default(), 6.0, Micros::ZERO);
        let mut clock = TokenClock::new(20.0, 6.0).expect("a rate");
        let mut noise = Seeded::new(2);
        for ms in 1..=10_000 {
            let now = Micros::from_millis(ms);
            oscillator.advance(now, field.as_ref(), &config, &mut noise);
            while clock.next_due() <= now {
                clock.tick();
            }
        }
        (
            clock.tokens(),
            clock.phase(),
            oscillator.phase(Micros::from_secs(10)),
        )
    }

    #[test]
    fn the_phase_loop_never_holds_a_token() {
        // A field that stands still stops a strongly coupled oscillator; tokens go on.
        let still = Field {
            z: Complex::polar(1.0, 1.0),
            omega: 0.0,
            at: Micros::ZERO,
        };
        let free = tokens_beside(0.0, None);
        let held = tokens_beside(50.0, Some(still));
        assert_eq!((free.0, free.1), (held.0, held.1));
        assert_eq!(free.0, 200);
        assert!((free.2 - held.2).abs() > 0.1, "the oscillators did differ");
    }

    #[test]
    fn a_rate_that_is_none_is_refused() {
        for (hz, omega) in [
            (0.0, 1.0),
            (-1.0, 1.0),
            (f64::NAN, 1.0),
            (1e7, 1.0),
            (1.0, f64::NAN),
        ] {
            assert!(TokenClock::new(hz, omega).is_err(), "{hz} {omega}");
        }
    }
}
