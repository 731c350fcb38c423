//! Phases of real nodes, measured from outside.

#![allow(dead_code)] // each test file uses its part

use std::f64::consts::{PI, TAU};
use std::time::{Duration, Instant};

use crate::support::{Process, hold};

/// K, as the nodes have it.
pub const COUPLING: f64 = 4.0;

/// Follows one node for twenty seconds: its frequency in rad/s, and the mean r.
pub fn follow(node: &Process) -> (f64, f64) {
    // Let a transient pass first.
    let mut turned = 0.0;
    let mut last: Option<(Instant, f64)> = None;
    let mut first = None;
    let settle = Instant::now() + Duration::from_secs(3);
    let end = settle + Duration::from_secs(20);
    let mut orders = Vec::new();
    while Instant::now() < end {
        // Each question is a process: asked without a pause they would keep a core
        // busy, and what is measured here is how late the nodes' frames come.
        hold(Duration::from_millis(50));
        let status = node.status().unwrap();
        let at = Instant::now();
        if at < settle {
            continue;
        }
        let theta = status["phase"]["theta"].as_f64().unwrap();
        orders.push(status["phase"]["order"].as_f64().unwrap());
        if let Some((before, angle)) = last {
            // Samples are much closer than one turn: unwrap around a turn a second.
            let expected = TAU * at.duration_since(before).as_secs_f64();
            turned += expected + (theta - angle - expected + PI).rem_euclid(TAU) - PI;
        }
        first.get_or_insert(at);
        last = Some((at, theta));
    }
    let (began, ended) = (first.unwrap(), last.unwrap().0);
    let frequency = turned / ended.duration_since(began).as_secs_f64();
    (frequency, orders.iter().sum::<f64>() / orders.len() as f64)
}

/// The order parameter of these frequencies when all are locked at K = 4:
/// r = mean cos(asin((ω − mean) / K r)). Keys are new in each run, and with them
/// the frequencies, so that one fixed bound would fail now and then: .98 holds for
/// 99 runs in 100 of this size.
pub fn locked_order(omegas: &[f64], mean: f64) -> f64 {
    let mut r: f64 = 1.0;
    for _ in 0..50 {
        let lag = |omega: &f64| ((omega - mean) / (COUPLING * r)).clamp(-1.0, 1.0).asin();
        r = omegas.iter().map(|omega| lag(omega).cos()).sum::<f64>() / omegas.len() as f64;
    }
    r
}

/// How far each node stands before (+) or behind (-) the mean phase, rad, averaged over
/// some rounds of questions, and the order parameter that these phases have. `frequency`
/// is the common one: it turns what was asked at different moments to the same one.
pub fn offsets(nodes: &[Process], frequency: f64, rounds: u32) -> (Vec<f64>, f64) {
    let mut sums = vec![0.0; nodes.len()];
    let mut orders = 0.0;
    for _ in 0..rounds {
        let began = Instant::now();
        let turned = |node: &Process| {
            let asked = began.elapsed().as_secs_f64();
            let theta = node.status().unwrap()["phase"]["theta"].as_f64().unwrap();
            // In the middle of asking, near enough.
            theta - frequency * (asked + began.elapsed().as_secs_f64()) / 2.0
        };
        let phases: Vec<f64> = nodes.iter().map(turned).collect();
        let (im, re) = phases.iter().fold((0.0, 0.0), |(im, re), theta| {
            (im + theta.sin(), re + theta.cos())
        });
        let mean = f64::atan2(im, re);
        for (sum, theta) in sums.iter_mut().zip(&phases) {
            *sum += (theta - mean + PI).rem_euclid(TAU) - PI;
        }
        orders += f64::hypot(im, re) / nodes.len() as f64;
    }
    let rounds = f64::from(rounds);
    let means = sums.iter().map(|sum| sum / rounds).collect();
    (means, orders / rounds)
}
