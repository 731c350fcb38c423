//! Z on the scale of 0 to 1,000, what a message weighs, and what is flagged (seed 2.3, 4.2; F1, F13).

use std::fmt;

use serde::{Deserialize, Serialize};

/// An agent's impedance: min(1000, Z in ms at weight 1). Lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u16")]
pub struct Score(u16);

impl Score {
    /// The highest: a second and more.
    pub const MAX: Score = Score(1_000);
    /// Above this an agent is slow (seed 4.2).
    pub const SLOW: Score = Score(800);
    /// The cap of a search mesh-wide unless another is asked for (seed 4.3, `max_impedance`).
    pub const CAP: Score = Score(500);

    /// The score of `z` milliseconds, to the nearest; what is no number is the worst.
    pub fn of_millis(z: f32) -> Self {
        let z = if z.is_nan() { f32::INFINITY } else { z };
        Self(z.round().clamp(0.0, 1_000.0) as u16)
    }

    /// 0 to 1,000.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl From<u16> for Score {
    fn from(score: u16) -> Self {
        Self(score).min(Self::MAX)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How complex a message is to process (seed 2.4, `payload_weight`): processing takes
/// u·(1 + weight/2). 0 to 1,000; the standard message weighs 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Weight(f32);

/// A weight that is none. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("payload weight {0} is not allowed: 0 to 1000, 1 is the standard message")]
pub struct BadWeight(pub f32);

impl Weight {
    /// The standard message.
    pub const STANDARD: Weight = Weight(1.0);

    /// Checks and takes a weight.
    pub fn new(weight: f32) -> Result<Self, BadWeight> {
        let allowed = (0.0..=1_000.0).contains(&weight);
        if allowed {
            Ok(Self(weight))
        } else {
            Err(BadWeight(weight))
        }
    }

    /// The factor 1 + weight/2 (seed 3.1).
    pub fn factor(self) -> f32 {
        1.0 + 0.5 * self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::STANDARD
    }
}

impl TryFrom<f32> for Weight {
    type Error = BadWeight;
    fn try_from(weight: f32) -> Result<Self, BadWeight> {
        Self::new(weight)
    }
}

impl From<Weight> for f32 {
    fn from(weight: Weight) -> f32 {
        weight.0
    }
}

/// What is to be noticed of an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// Its score is above [`Score::SLOW`].
    pub slow: bool,
    /// It varies by more than half of its mean. No reason to route around it: it is led by its
    /// own spread.
    pub unstable: bool,
    /// It takes more than twice what it took over the last hour.
    pub spiking: bool,
    /// Its command ended, was started again, and ended again before it answered anything.
    #[serde(default)]
    pub crashing: bool,
}

/// Whether an agent is given work (seed 2.3, `operational_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Heard, and as fast as it was.
    Active,
    /// Heard, but slow, spiking or crashing: routed around.
    Degraded,
    /// Not heard for longer than the detector's word stands.
    Offline,
    /// Set aside until it is released, whatever it does.
    Quarantined,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_whole_milliseconds_up_to_a_second() {
        let scores = [-1.0, 0.4, 0.6, 999.6, 60_000.0, f32::NAN, f32::INFINITY];
        let expected = [0, 0, 1, 1_000, 1_000, 1_000, 1_000];
        assert_eq!(scores.map(|z| Score::of_millis(z).get()), expected);
        assert_eq!(Score::from(2_000), Score::MAX);
    }

    #[test]
    fn a_weight_from_outside_is_checked() {
        for bad in [f32::NAN, -0.1, 1_000.5, f32::INFINITY] {
            assert!(Weight::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Weight::new(2.0).map(Weight::factor), Ok(2.0));
        assert!(serde_json::from_str::<Weight>("-3.0").is_err());
    }
}
