//! The model of agents and their delays in `tests/vectors/arrival.json`: its parameters are read, its formulas are here.

use chorus_protocol::impedance::Class;
use chorus_protocol::units::{Noise, Seeded};
use serde_json::Value;

/// The file.
pub fn vectors() -> Value {
    let text = include_str!("../../../tests/vectors/arrival.json");
    serde_json::from_str(text).expect("JSON")
}

/// A row of its classes; times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    pub agents: usize,
    rtt_low: f64,
    rtt_high: f64,
    leg_sigma: f64,
    drift_sd: f64,
    processing: f64,
    processing_sigma: f64,
    queue_mean: f64,
    wait_per_item: f64,
    spike_probability: f64,
    spike_scale: f64,
}

impl Parameters {
    pub fn of(file: &Value, class: Class) -> Self {
        let row = &file["classes"][class.to_string()];
        let number = |name: &str| {
            row[name]
                .as_f64()
                .unwrap_or_else(|| panic!("{class}: {name}"))
        };
        Self {
            agents: number("agents") as usize,
            rtt_low: number("rtt_median_ms_low"),
            rtt_high: number("rtt_median_ms_high"),
            leg_sigma: number("leg_sigma_log"),
            drift_sd: number("drift_sd_log"),
            processing: number("processing_base_ms"),
            processing_sigma: number("processing_sigma_log"),
            queue_mean: number("queue_mean"),
            wait_per_item: number("wait_per_item_in_services"),
            spike_probability: number("spike_probability"),
            spike_scale: number("spike_scale_ms"),
        }
    }
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
    pub weight: f64,
    /// What the sender knew of the queue.
    pub queue: u16,
    pub rtt: f64,
    pub wait: f64,
    pub processing: f64,
    /// From sending to READY.
    pub delay: f64,
    /// What who knows all but chance would expect of it.
    pub oracle: f64,
}

impl Agent {
    pub fn new(class: Class, its: Parameters, noise: &mut Seeded) -> Self {
        let u = noise.uniform();
        let rtt_median = match class {
            Class::Local => its.rtt_low * (its.rtt_high / its.rtt_low).powf(u),
            _ => its.rtt_low + (its.rtt_high - its.rtt_low) * u,
        };
        Self {
            its,
            rtt_median,
            forward_share: 0.5 + (0.08 * noise.gaussian()).clamp(-0.2, 0.2),
            service: its.processing * (0.3 * noise.gaussian()).exp(),
            x: its.drift_sd * noise.gaussian(),
            y: noise.gaussian(),
        }
    }

    pub fn next(&mut self, noise: &mut Seeded) -> Message {
        let its = self.its;
        let a = (-1.0f64 / 60.0).exp();
        let fresh = (1.0 - a * a).sqrt();
        self.x = a * self.x + its.drift_sd * fresh * noise.gaussian();
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
        let item = its.wait_per_item * self.service;
        let wait = if found == 0 {
            0.0
        } else {
            item * gamma(4.0 * f64::from(found), noise) / 4.0
        };

        let weight = 2.0 * noise.uniform();
        let factor = 1.0 + 0.5 * weight;
        let mut processing =
            self.service * factor * (its.processing_sigma * noise.gaussian()).exp();
        if noise.uniform() < its.spike_probability / 2.0 {
            processing += its.spike_scale * (0.5 * noise.gaussian()).exp();
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
    let time = level * (its.leg_sigma * noise.gaussian()).exp();
    if noise.uniform() >= its.spike_probability / 2.0 {
        return time;
    }
    // What numpy calls Pareto begins at 0.
    let pareto = (1.0 - noise.uniform()).powf(-1.0 / 2.5) - 1.0;
    time + 0.5 * its.spike_scale * pareto.min(20.0)
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
