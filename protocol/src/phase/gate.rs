//! The weight of a peer between fresh and expired: it decays while silent and recovers when heard.
//!
//! First-order kinetics (row B11): with A_f = 1.5 gossip periods,
//! τ_d = (TTL − A_f)/ln 100 and τ_r = 1 s, over a span Δ
//!
//! - age ≤ A_f: w ← 1 − (1 − w)·e^{−Δ/τ_r}
//! - A_f < age ≤ TTL: w ← w·e^{−Δ/τ_d}, so one silence of a whole TTL ends at 1/100
//! - older: the entry goes (row B5).
//!
//! Without the recovery every lost frame would cost weight for ever: at a TTL of
//! 5 s and 50 % loss 5e-9 is left after a minute. Invariants: 0 < w ≤ 1; how often a gate is asked does
//! not change its weight. Age is the receiver's: how long since it heard.

use crate::units::Micros;

/// τ_r, the time constant of recovery.
const RECOVERY_S: f64 = 1.0;

/// The pace of the gates of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How often peers speak; default 100 ms.
    pub gossip_period: Micros,
    /// After this silence an entry is removed; more than 1.5 gossip periods,
    /// default 1 s: ten periods, so that a loss of 20 % expires one in ten million.
    pub ttl: Micros,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gossip_period: Micros::from_millis(100),
            ttl: Micros::from_secs(1),
        }
    }
}

/// A pace that makes no sense. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("gossip.{key} = {value} is not allowed: {allowed}")]
pub struct Error {
    /// Which setting.
    pub key: &'static str,
    /// What it was.
    pub value: Micros,
    /// What it may be.
    pub allowed: &'static str,
}

impl Config {
    /// Checks the settings, alone and against each other.
    pub fn validate(&self) -> Result<(), Error> {
        let error = |key, value, allowed| {
            Err(Error {
                key,
                value,
                allowed,
            })
        };
        if self.gossip_period == Micros::ZERO {
            return error("gossip_period", self.gossip_period, "above 0");
        }
        if self.ttl <= self.fresh() {
            return error("ttl", self.ttl, "more than 1.5 gossip periods");
        }
        Ok(())
    }

    /// A_f: up to this age an entry counts as fresh.
    pub fn fresh(&self) -> Micros {
        Micros(self.gossip_period.times(3).0 / 2)
    }

    /// τ_d in seconds.
    fn decay_s(&self) -> f64 {
        self.ttl.since(self.fresh()).as_secs_f64() / 100f64.ln()
    }
}

/// How much a peer's word counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    weight: f64,
}

impl Default for Gate {
    /// A peer heard for the first time counts in full: its frame is as fresh as
    /// can be, and with less a node would report an order near 1 of itself alone
    /// while the weights of its peers still rise.
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

impl Gate {
    /// The weight after the last step, in (0, 1].
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Lets `delta` pass for an entry that was last heard `age` ago, by the
    /// receiver's clock; false when it has expired and must be removed.
    ///
    /// A delta that crosses from fresh to stale is taken in its two parts, so
    /// that a late tick does not make decay of the time when all was well.
    #[must_use]
    pub fn step(&mut self, config: &Config, age: Micros, delta: Micros) -> bool {
        if age > config.ttl {
            return false;
        }
        let stale = delta.min(age.since(config.fresh()));
        let recovery = (-delta.since(stale).as_secs_f64() / RECOVERY_S).exp();
        let decay = (-stale.as_secs_f64() / config.decay_s()).exp();
        self.weight = (1.0 - (1.0 - self.weight) * recovery) * decay;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Noise, Seeded};

    const TICK: Micros = Micros::from_millis(10);

    /// One way to let a weight go on: weight, config, age, delta.
    type Step = fn(f64, &Config, Micros, Micros) -> f64;

    fn right(weight: f64, config: &Config, age: Micros, delta: Micros) -> f64 {
        let mut gate = Gate { weight };
        if gate.step(config, age, delta) {
            gate.weight()
        } else {
            0.0
        }
    }
    /// What is lost never comes back.
    fn without_recovery(weight: f64, config: &Config, age: Micros, delta: Micros) -> f64 {
        right(weight, config, age, delta).min(weight)
    }
    /// Fresh or expired and nothing between.
    fn without_decay(_: f64, config: &Config, age: Micros, _: Micros) -> f64 {
        if age <= config.ttl { 1.0 } else { 0.0 }
    }

    /// Mean and last weight over `seconds`, one frame each period but for `loss`.
    fn run(step: Step, loss: f64, config: &Config, seconds: u64) -> (f64, f64) {
        let mut noise = Seeded::new(4);
        let (mut weight, mut age, mut sum) = (1.0, Micros::ZERO, 0.0);
        let ticks = Micros::from_secs(seconds).0 / TICK.0;
        for tick in 1..=ticks {
            age = age + TICK;
            if (tick * TICK.0).is_multiple_of(config.gossip_period.0) && noise.uniform() >= loss {
                age = Micros::ZERO;
            }
            weight = step(weight, config, age, TICK);
            sum += weight;
        }
        (sum / ticks as f64, weight)
    }

    /// Whether the mean weights at these losses are within 0.02 of the table's.
    fn agrees(step: Step, config: &Config, table: &[(f64, f64)]) -> bool {
        table.iter().all(|(loss, expected)| {
            let (mean, _) = run(step, *loss, config, 5_000);
            (mean - expected).abs() < 0.02
        })
    }

    #[test]
    fn mean_weights_under_loss() {
        // The table of the design is that of a TTL of 5 s; the default of 1 s decays faster.
        let slow = Config {
            ttl: Micros::from_secs(5),
            ..Config::default()
        };
        let table = [(0.0, 1.0), (0.05, 0.980), (0.2, 0.901), (0.5, 0.662)];
        assert!(agrees(right, &slow, &table));
        assert!(!agrees(without_recovery, &slow, &table));
        assert!(!agrees(without_decay, &slow, &table));
        let table = [(0.0, 1.0), (0.05, 0.907), (0.2, 0.656), (0.5, 0.301)];
        assert!(agrees(right, &Config::default(), &table));
    }

    #[test]
    fn without_recovery_nothing_is_left_after_a_minute() {
        let slow = Config {
            ttl: Micros::from_secs(5),
            ..Config::default()
        };
        assert!(run(without_recovery, 0.5, &slow, 60).1 < 1e-6);
        assert!(run(right, 0.5, &slow, 60).1 > 0.1);
    }

    #[test]
    fn a_whole_silence_ends_at_one_hundredth_and_then_the_entry_goes() {
        let config = Config::default();
        let mut gate = Gate::default();
        assert!(gate.step(&config, config.fresh(), config.fresh()));
        assert_eq!(gate.weight(), 1.0);
        assert!(gate.step(&config, config.ttl, config.ttl.since(config.fresh())));
        assert!((gate.weight() - 0.01).abs() < 1e-12, "{}", gate.weight());
        assert!(!gate.step(&config, config.ttl + Micros(1), Micros(1)));
    }

    #[test]
    fn how_often_it_is_asked_does_not_matter() {
        let config = Config::default();
        let (mut rarely, mut often) = (Gate { weight: 0.5 }, Gate { weight: 0.5 });
        for ms in 1..=850 {
            assert!(often.step(&config, Micros::from_millis(ms), Micros::from_millis(1)));
        }
        let silence = Micros::from_millis(850);
        assert!(rarely.step(&config, silence, silence));
        assert!((often.weight() - rarely.weight()).abs() < 1e-12);
        // Heard again, it recovers with τ_r = 1 s.
        let before = rarely.weight();
        assert!(rarely.step(&config, Micros::ZERO, Micros::from_millis(100)));
        assert!((rarely.weight() - (1.0 - (1.0 - before) * (-0.1f64).exp())).abs() < 1e-12);
    }

    #[test]
    fn settings_are_checked_against_each_other() {
        assert_eq!(Config::default().validate(), Ok(()));
        let zero = Micros::ZERO;
        let default = Config::default();
        for (key, config) in [
            (
                "gossip_period",
                Config {
                    gossip_period: zero,
                    ..default
                },
            ),
            (
                "ttl",
                Config {
                    ttl: Micros::from_millis(150),
                    ..default
                },
            ),
        ] {
            assert_eq!(config.validate().map_err(|e| e.key), Err(key));
        }
    }
}
