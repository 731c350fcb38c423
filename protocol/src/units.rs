//! Quantities: time in microseconds, phases in radians, and the randomness that comes in.

use std::f64::consts::TAU;
use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A point on, or a span of, the local monotonic clock, in microseconds.
///
/// The origin is the caller's own (a process's start, the beginning of a
/// simulated world): two nodes' values are never compared.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// No time at all.
    pub const ZERO: Micros = Micros(0);
    /// Later than anything.
    pub const NEVER: Micros = Micros(u64::MAX);

    /// Whole milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }
    /// Whole seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000))
    }
    /// In milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }
    /// In seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
    /// How long after `earlier` this is; zero when it is before.
    pub const fn since(self, earlier: Micros) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }
    /// `self` times `n`.
    pub const fn times(self, n: u64) -> Micros {
        Micros(self.0.saturating_mul(n))
    }
}

impl Add for Micros {
    type Output = Micros;
    fn add(self, rhs: Micros) -> Micros {
        Micros(self.0.saturating_add(rhs.0))
    }
}
impl Sub for Micros {
    type Output = Micros;
    fn sub(self, rhs: Micros) -> Micros {
        self.since(rhs)
    }
}
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.as_secs_f64())
    }
}

/// An angle brought into [0, 2π).
pub fn wrap(theta: f64) -> f64 {
    let wrapped = theta.rem_euclid(TAU);
    // `rem_euclid` of a tiny negative number rounds up to 2π itself.
    if wrapped >= TAU { 0.0 } else { wrapped }
}

/// Where a machine's randomness comes from. A world passes a seeded source, a
/// node one that was seeded by its operating system.
pub trait Noise {
    /// The next 64 uniformly random bits.
    fn bits(&mut self) -> u64;

    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box-Muller, the cosine branch).
    fn gaussian(&mut self) -> f64 {
        let u = 1.0 - self.uniform();
        (-2.0 * u.ln()).sqrt() * (TAU * self.uniform()).cos()
    }
}

/// xoshiro256++ seeded by SplitMix64 (Blackman and Vigna): small and repeatable.
/// It drives noise and jitter; it never makes a key.
#[derive(Debug, Clone)]
pub struct Seeded([u64; 4]);

impl Seeded {
    /// The source that `seed` names.
    pub fn new(seed: u64) -> Self {
        let mut x = seed;
        Self(std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }
}

impl Noise for Seeded {
    fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_angles_are_never_two_pi() {
        for theta in [-1e-300, -TAU, TAU, 3.0 * TAU + 1.0, -0.5] {
            let w = wrap(theta);
            assert!((0.0..TAU).contains(&w), "{theta} -> {w}");
        }
    }

    #[test]
    fn gaussian_has_unit_variance_and_no_mean() {
        let mut noise = Seeded::new(1);
        let n = 200_000;
        let xs: Vec<f64> = (0..n).map(|_| noise.gaussian()).collect();
        let mean = xs.iter().sum::<f64>() / n as f64;
        let var = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(
            mean.abs() < 0.01 && (var - 1.0).abs() < 0.02,
            "{mean} {var}"
        );
    }
}
