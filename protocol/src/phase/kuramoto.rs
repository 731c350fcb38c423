//! One oscillator: the Euler-Maruyama step, its natural frequency, and catching up with a clock.
//!
//! dθ = v dt + σ dW with v = ω + K·Im(z·e^{−iθ}), held to ±`velocity_max`
//! (rows B1, B2, B7; Kuramoto 1975, Euler-Maruyama after Kloeden and Platen).
//! One step is θ ← θ + v·dt + σ·√dt·ξ with ξ standard normal: noise grows with
//! the *root* of dt, so that the variance after t is σ²t whatever dt is.
//!
//! Invariants: a phase is finite and in [0, 2π). An oscillator steps on a tick,
//! never on a frame, and no tick makes more than [`PAUSE_MAX`] worth of steps.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::field::{Complex, Field};
use super::normal;
use crate::ids::NodeId;
use crate::units::{Micros, Noise, wrap};

/// After a longer pause than this an oscillator does not step through what it
/// missed: the field of that time is gone, and a tick must stay short (100 steps
/// at the default dt). One second is the phase TTL: nobody counted it any more.
pub const PAUSE_MAX: Micros = Micros::from_secs(1);

/// How the oscillators of a mesh move. All nodes of a mesh should agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// K, rad/s, 0 to 100, default 4. The critical coupling for the default
    /// spread is 0.8; K times the age of the field in seconds should stay below 4.6.
    pub coupling: f64,
    /// σ, rad/√s, 0 to 10, default 0.1.
    pub sigma: f64,
    /// Length of a step in seconds, 0.0001 to 0.1, default 0.01; K·dt is well below 1.
    pub dt_s: f64,
    /// Standard deviation of the natural frequencies, rad/s, 0 to 10, default 0.5.
    pub spread: f64,
    /// f0, the mean natural frequency, Hz, above 0 to 100, default 1.
    pub base_hz: f64,
    /// Bound on |dθ/dt| without noise, rad/s; at least 2π·`base_hz`. The default
    /// is 4·2π·1 Hz: a wild guess, twice what any honest node reaches with the
    /// other defaults (2π + 8.3·spread + K = 14.4), so that it stops only faults.
    pub velocity_max: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            coupling: 4.0,
            sigma: 0.1,
            dt_s: 0.01,
            spread: 0.5,
            base_hz: 1.0,
            velocity_max: 4.0 * TAU,
        }
    }
}

/// What was refused, and what would be allowed. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Error {
    /// A setting of `[phase]` is out of its range.
    #[error("phase.{key} = {value} is not allowed: {allowed}")]
    Setting {
        /// Which setting.
        key: &'static str,
        /// What it was.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// A phase that is NaN or infinite; whoever sent it is at fault.
    #[error("{0} is not a phase: a finite number of radians")]
    Phase(f64),
}

impl Config {
    /// Checks every setting, alone and against the others.
    pub fn validate(&self) -> Result<(), Error> {
        let turn = TAU * self.base_hz;
        // NaN is in no range, so it is refused by each of these.
        for (key, value, is_allowed, allowed) in [
            (
                "coupling",
                self.coupling,
                (0.0..=100.0).contains(&self.coupling),
                "0 to 100 rad/s",
            ),
            (
                "sigma",
                self.sigma,
                (0.0..=10.0).contains(&self.sigma),
                "0 to 10 rad/√s",
            ),
            (
                "dt_s",
                self.dt_s,
                (1e-4..=0.1).contains(&self.dt_s),
                "0.0001 to 0.1 s",
            ),
            (
                "spread",
                self.spread,
                (0.0..=10.0).contains(&self.spread),
                "0 to 10 rad/s",
            ),
            (
                "base_hz",
                self.base_hz,
                self.base_hz > 0.0 && self.base_hz <= 100.0,
                "above 0 to 100 Hz",
            ),
            (
                "velocity_max",
                self.velocity_max,
                (turn..=1e4).contains(&self.velocity_max),
                "2π·base_hz to 10000 rad/s",
            ),
            (
                "coupling",
                self.coupling,
                self.coupling * self.dt_s < 1.0,
                "coupling · dt_s below 1, else a step overshoots",
            ),
        ] {
            if !is_allowed {
                return Err(Error::Setting {
                    key,
                    value,
                    allowed,
                });
            }
        }
        Ok(())
    }

    /// The step's length on the clock, at least one microsecond.
    fn dt(&self) -> Micros {
        Micros(((self.dt_s * 1e6).round() as u64).max(1))
    }
}

/// A phase in radians, finite and in [0, 2π). The only way in for what a peer says.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Phase(f64);

impl Phase {
    /// Takes an angle in radians and wraps it.
    pub fn new(theta: f64) -> Result<Self, Error> {
        if !theta.is_finite() {
            return Err(Error::Phase(theta));
        }
        Ok(Self(wrap(theta)))
    }
    /// In [0, 2π).
    pub fn radians(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Phase {
    type Error = Error;
    fn try_from(theta: f64) -> Result<Self, Error> {
        Self::new(theta)
    }
}
impl From<Phase> for f64 {
    fn from(phase: Phase) -> f64 {
        phase.0
    }
}

/// ω + K·Im(z·e^{−iθ}) in rad/s, held to ±`velocity_max`.
pub fn velocity(theta: f64, omega: f64, z: Complex, config: &Config) -> f64 {
    let pull = config.coupling * z.turned(-theta).im;
    (omega + pull).clamp(-config.velocity_max, config.velocity_max)
}

/// The phase one `dt_s` later, in [0, 2π): Euler-Maruyama with `xi` standard normal.
///
/// `z` is the mean field at the beginning of the step. The bound is on the
/// drift: bounding the noise too would change its distribution.
pub fn step(theta: f64, omega: f64, z: Complex, config: &Config, xi: f64) -> f64 {
    let drift = velocity(theta, omega, z, config) * config.dt_s;
    wrap(theta + drift + config.sigma * config.dt_s.sqrt() * xi)
}

/// A node's own frequency in rad/s: 2π·f0 + spread·Φ⁻¹(u(SHA-256(node id))).
///
/// u is the hash's first 53 bits, centred in their cell so that it is never 0
/// or 1. Everybody computes the same value for a node without being told.
pub fn natural_frequency(node: &NodeId, config: &Config) -> f64 {
    let hash = Sha256::digest(node.as_bytes());
    let first = hash
        .iter()
        .take(8)
        .fold(0u64, |bits, byte| (bits << 8) | u64::from(*byte));
    let u = ((first >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    TAU * config.base_hz + config.spread * normal::quantile(u)
}

/// A node's own phase, kept up with its clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Oscillator {
    theta: Phase,
    omega: f64,
    at: Micros,
    pauses: u64,
}

impl Oscillator {
    /// Stands at `theta` at the moment `now`; `omega` in rad/s.
    pub fn new(theta: Phase, omega: f64, now: Micros) -> Self {
        Self {
            theta,
            omega,
            at: now,
            pauses: 0,
        }
    }

    /// Its natural frequency in rad/s.
    pub fn omega(&self) -> f64 {
        self.omega
    }
    /// How often it was paused for longer than [`PAUSE_MAX`] and ran free over the gap.
    pub fn pauses(&self) -> u64 {
        self.pauses
    }
    /// The moment up to which it has stepped: at most one dt behind the last `advance`.
    pub fn at(&self) -> Micros {
        self.at
    }
    /// Its phase at `now`: the last step's, carried on by ω over the rest of a dt.
    pub fn phase(&self, now: Micros) -> f64 {
        wrap(self.theta.0 + self.omega * now.since(self.at).as_secs_f64())
    }

    /// Steps as far as whole steps go before `now`; returns how many were made.
    ///
    /// The field is turned to the beginning of each step. Without a field (nobody
    /// is heard, or what was heard expired) it runs free, with noise. A `now` in
    /// the past does nothing.
    pub fn advance(
        &mut self,
        now: Micros,
        field: Option<&Field>,
        config: &Config,
        noise: &mut (impl Noise + ?Sized),
    ) -> u32 {
        if now.since(self.at) > PAUSE_MAX {
            self.theta = Phase(self.phase(now));
            self.at = now;
            self.pauses += 1;
            return 0;
        }
        let dt = config.dt();
        let mut steps = 0;
        while now.since(self.at) >= dt {
            let z = field.map_or(Complex::ZERO, |field| field.at(self.at));
            let xi = noise.gaussian();
            self.theta = Phase(step(self.theta.0, self.omega, z, config, xi));
            self.at = self.at + dt;
            steps += 1;
        }
        steps
    }
}

#[cfg(test)]
#[path = "kuramoto_tests.rs"]
mod tests;
