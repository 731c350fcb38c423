//! A model of agents and their delays: the parameters are those of `tests/vectors/arrival.json`, its formulas are here.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::impedance::Class;
use crate::units::{Noise, Seeded};

/// The file's `classes`: by class, how many agents there are and how they behave.
pub type Population = BTreeMap<Class, Parameters>;

/// One class of agents; times in milliseconds, spreads of logarithms.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Parameters {
    /// How many of them.
    pub agents: usize,
    /// The median round trip of an agent is drawn from here …
    pub rtt_median_ms_low: f64,
    /// … to here.
    pub rtt_median_ms_high: f64,
    /// Spread of one leg around the level of the moment.
    pub leg_sigma_log: f64,
    /// Spread of that level, which drifts from message to message.
    pub drift_sd_log: f64,
    /// Processing of a message of weight 0.
    pub processing_base_ms: f64,
    /// Its spread.
    pub processing_sigma_log: f64,
    /// Mean length of the queue.
    pub queue_mean: f64,
    /// What each message in the queue costs, in units of the processing time.
    pub wait_per_item_in_services: f64,
    /// How often something takes much longer, and …
    pub spike_probability: f64,
    /// … by about how much.
    pub spike_scale_ms: f64,
}

/// One agent: what it is, and the two levels that drift.
#[derive(Debug, Clone)]
pub struct Agent {
    its: Parameters,
    rtt_median: f64,
    forward_share: f64,
    service: f64,
    /// Of the network and of the queue, AR(1).
    x: f64,
    y: f64,
}

/// What one message to it met; times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// Its payload's, 0 to 2.
    pub weight: f64,
    /// What the sender knew of the queue.
    pub queue: u16,
    /// The round trip that an echo would have taken.
    pub rtt: f64,
    /// In the queue.
    pub wait: f64,
    /// Its own processing.
    pub processing: f64,
    /// From sending to READY.
    pub delay: f64,
    /// What who knows all but chance would expect of it.
    pub oracle: f64,
}

impl Agent {
    /// An agent of a class.
    pub fn new(class: Class, its: Parameters, noise: &mut Seeded) -> Self {
        let u = noise.uniform();
        let rtt_median = match class {
            Class::Local => {
                its.rtt_median_ms_low * (its.rtt_median_ms_high / its.rtt_median_ms_low).powf(u)
            }
            _ => its.rtt_median_ms_low + (its.rtt_median_ms_high - its.rtt_median_ms_low) * u,
        };
        Self {
            its,
            rtt_median,
            forward_share: 0.5 + (0.08 * noise.gaussian()).clamp(-0.2, 0.2),
            service: its.processing_base_ms * (0.3 * noise.gaussian()).exp(),
            x: its.drift_sd_log * noise.gaussian(),
            y: noise.gaussian(),
        }
    }

    /// The next message to it, of any weight; two levels drift on.
    pub fn next(&mut self, noise: &mut Seeded) -> Message {
        self.meets(None, noise)
    }

    /// The same of a message whose weight is known.
    pub fn next_of(&mut self, weight: f64, noise: &mut Seeded) -> Message {
        self.meets(Some(weight), noise)
    }

    fn meets(&mut self, weight: Option<f64>, noise: &mut Seeded) -> Message {
        let its = self.its;
        let a = (-1.0f64 / 60.0).exp();
        let fresh = (1.0 - a * a).sqrt();
        self.x = a * self.x + its.drift_sd_log * fresh * noise.gaussian();
        self.y = a * self.y + fresh * noise.gaussian();
        let level = self.rtt_median * self.x.exp();
        let (forward, back) = (
            level * self.forward_share,
            level * (1.0 - self.forward_share),
        );

        let lambda = its.queue_mean * (0.5 * self.y - 0.125).exp();
        let queue = poisson(lambda, noise);
        let left = (0..queue).filter(|_| noise.uniform() < 0.8).count() as u16;
        let found = left + poisson(0.2 * lambda, noise);
        let item = its.wait_per_item_in_services * self.service;
        let wait = if found == 0 {
            0.0
        } else {
            item * gamma(4.0 * f64::from(found), noise) / 4.0
        };

        let weight = weight.unwrap_or_else(|| 2.0 * noise.uniform());
        let factor = 1.0 + 0.5 * weight;
        let mut processing =
            self.service * factor * (its.processing_sigma_log * noise.gaussian()).exp();
        if noise.uniform() < its.spike_probability / 2.0 {
            processing += its.spike_scale_ms * (0.5 * noise.gaussian()).exp();
        }
        let sent = leg(forward, &its, noise);
        Message {
            weight,
            queue,
            rtt: sent + leg(back, &its, noise),
            wait,
            processing,
            delay: sent + wait + processing,
            oracle: forward
                + item * (0.8 * f64::from(queue) + 0.2 * lambda)
                + self.service * factor,
        }
    }
}

fn leg(level: f64, its: &Parameters, noise: &mut Seeded) -> f64 {
    let time = level * (its.leg_sigma_log * noise.gaussian()).exp();
    if noise.uniform() >= its.spike_probability / 2.0 {
        return time;
    }
    // What numpy calls Pareto begins at 0.
    let pareto = (1.0 - noise.uniform()).powf(-1.0 / 2.5) - 1.0;
    time + 0.5 * its.spike_scale_ms * pareto.min(20.0)
}

/// By counting exponential gaps (Knuth): the means here are small.
fn poisson(mean: f64, noise: &mut Seeded) -> u16 {
    let (limit, mut product, mut n) = ((-mean).exp(), 1.0 - noise.uniform(), 0);
    while product > limit {
        product *= 1.0 - noise.uniform();
        n += 1;
    }
    n
}

/// Marsaglia and Tsang (2000); `shape` is at least 1.
fn gamma(shape: f64, noise: &mut Seeded) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = noise.gaussian();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - noise.uniform();
        if v > 0.0 && u.ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
            return d * v;
        }
    }
}
