//! The phase of one node of the bench, drawn to those that it heard of within the last second.

use chorus_protocol::ids::NodeId;
use chorus_protocol::phase::kuramoto::{Config, natural_frequency};
use chorus_protocol::phase::{Oscillator, PartialSum, Phase};
use chorus_protocol::units::{Micros, Noise, Seeded};

use super::frame::Moving;

/// Who was not heard for so long has no part in the mean any longer.
const TTL: Micros = Micros::from_secs(1);

/// The own oscillator, and what the others last said.
#[derive(Debug)]
pub struct Phases {
    config: Config,
    oscillator: Oscillator,
    noise: Seeded,
    heard: Vec<Option<(PartialSum, Micros)>>,
}

impl Phases {
    /// Anywhere on the circle.
    pub fn new(me: usize, nodes: usize, seed: u64, now: Micros) -> Self {
        let config = Config::default();
        let mut noise = Seeded::new(seed);
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(me as u64).to_be_bytes());
        let omega = natural_frequency(&NodeId(id), &config);
        let anywhere = Phase::new(std::f64::consts::TAU * noise.uniform()).unwrap_or_default();
        Self {
            oscillator: Oscillator::new(anywhere, omega, now),
            config,
            noise,
            heard: vec![None; nodes],
        }
    }

    /// What is said of the own phase.
    pub fn own(&self, now: Micros) -> Moving {
        Moving {
            theta: self.oscillator.phase(now),
            omega: self.oscillator.omega(),
        }
    }

    /// `from` was there `age` ago. What is no phase is not taken.
    pub fn heard(&mut self, from: usize, at: Moving, age: Micros, now: Micros) -> bool {
        let sum = PartialSum::of(at.theta, at.omega, 1.0).aged(age);
        let is_sound = sum.check(self.config.velocity_max).is_ok();
        if let Some(place) = self.heard.get_mut(from).filter(|_| is_sound) {
            *place = Some((sum, now));
        }
        is_sound
    }

    /// Steps on to `now`.
    pub fn advance(&mut self, now: Micros) {
        let field = self.mean(now).field(now);
        self.oscillator
            .advance(now, field.as_ref(), &self.config, &mut self.noise);
    }

    /// The order parameter r of all that are fresh.
    pub fn order(&self, now: Micros) -> f64 {
        self.mean(now).order()
    }

    fn mean(&self, now: Micros) -> PartialSum {
        let fresh = self.heard.iter().flatten();
        let fresh = fresh.filter(|(_, at)| now.since(*at) <= TTL);
        let mut parts: Vec<PartialSum> = fresh.map(|(sum, at)| sum.aged(now.since(*at))).collect();
        let Moving { theta, omega } = self.own(now);
        parts.push(PartialSum::of(theta, omega, 1.0));
        PartialSum::merged(&parts)
    }
}
