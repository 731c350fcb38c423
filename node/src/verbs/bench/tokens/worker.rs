//! The stand-in for a language model: tokens that take 290 ms in the mean, drawn from a seed.

use chorus_protocol::units::{Micros, Noise, Seeded};

/// Spread of the logarithm of a token's time: one token in twenty takes 1.4 times the median. A
/// guess; the slowest of sixteen such workers takes 1.4 times the mean, which is what a barrier
/// waits for even where nothing is lost.
pub const SPREAD: f64 = 0.2;

/// One worker, with one token in flight.
#[derive(Debug)]
pub struct Worker {
    /// Logarithm of the median in microseconds.
    middle: f64,
    noise: Seeded,
}

impl Worker {
    pub fn new(mean: Micros, seed: u64) -> Self {
        Self {
            middle: (mean.0 as f64).ln() - SPREAD * SPREAD / 2.0,
            noise: Seeded::new(seed),
        }
    }

    /// How long the next token takes.
    pub fn next(&mut self) -> Micros {
        Micros((self.middle + SPREAD * self.noise.gaussian()).exp().round() as u64)
    }

    /// What it says, for the log.
    pub fn word(&mut self) -> u64 {
        self.noise.bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_take_what_was_asked_for_in_the_mean() {
        let mut worker = Worker::new(Micros::from_millis(290), 5);
        let times: Vec<f64> = (0..20_000).map(|_| worker.next().0 as f64 / 1e3).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        assert!((mean - 290.0).abs() < 2.0, "{mean}");
        let slow = times.iter().filter(|it| **it > 1.4 * 284.0).count();
        assert!((600..1_300).contains(&slow), "{slow}");
    }
}
