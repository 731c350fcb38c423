//! The step against foreign vectors and against theory, and the same checks on steps that are wrong.
//!
//! Every check takes the step as an argument. It must pass with the one that
//! nodes use and fail with the usual mistakes: a check that cannot fail shows nothing.

use std::f64::consts::TAU;

use chorus_protocol::phase::kuramoto::{self, Config};
use chorus_protocol::phase::{Complex, PartialSum};
use chorus_protocol::units::{Noise, Seeded, wrap};

/// One step: phase, natural frequency, mean field, configuration, standard normal.
type Step = fn(f64, f64, Complex, &Config, f64) -> f64;

/// A step whose noise is σ·`noise`.
fn with_noise(theta: f64, omega: f64, z: Complex, config: &Config, noise: f64) -> f64 {
    let quiet = Config {
        sigma: 0.0,
        ..*config
    };
    wrap(kuramoto::step(theta, omega, z, &quiet, 0.0) + config.sigma * noise)
}
/// Wrong: noise grows with dt instead of √dt.
fn noise_with_dt(theta: f64, omega: f64, z: Complex, config: &Config, xi: f64) -> f64 {
    with_noise(theta, omega, z, config, config.dt_s * xi)
}
/// Wrong: noise does not know dt.
fn noise_without_dt(theta: f64, omega: f64, z: Complex, config: &Config, xi: f64) -> f64 {
    with_noise(theta, omega, z, config, xi)
}
/// Wrong: it couples to the sum of the phases instead of their difference.
fn wrong_sign(theta: f64, omega: f64, z: Complex, config: &Config, xi: f64) -> f64 {
    let conjugate = Complex {
        re: z.re,
        im: -z.im,
    };
    kuramoto::step(theta, omega, conjugate, config, xi)
}

/// a − b in (−π, π].
fn difference(a: f64, b: f64) -> f64 {
    let d = wrap(a - b);
    if d > TAU / 2.0 { d - TAU } else { d }
}

fn sum_of(thetas: &[f64]) -> PartialSum {
    let mut sum = PartialSum::zero();
    thetas
        .iter()
        .for_each(|theta| sum.add(&PartialSum::of(*theta, 0.0, 1.0)));
    sum
}

/// Moves everybody by one step under the field of the step's beginning.
fn advance(
    step: Step,
    thetas: &mut [f64],
    omegas: &[f64],
    config: &Config,
    mut xi: impl FnMut(usize) -> f64,
) {
    let z = sum_of(thetas).mean_field().expect("somebody");
    for (i, theta) in thetas.iter_mut().enumerate() {
        *theta = step(*theta, omegas[i], z, config, xi(i));
    }
}

/// The least-squares slope of ln y over ln x.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mx = logs.iter().map(|p| p.0).sum::<f64>() / n;
    let my = logs.iter().map(|p| p.1).sum::<f64>() / n;
    let xy: f64 = logs.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let xx: f64 = logs.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    xy / xx
}

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../tests/vectors/kuramoto.json")).expect("JSON")
}
fn rows(value: &serde_json::Value) -> &[serde_json::Value] {
    value.as_array().expect("an array")
}
fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().expect("a number")
}
fn numbers(value: &serde_json::Value) -> Vec<f64> {
    rows(value).iter().map(number).collect()
}

/// The largest distance from diffrax' Euler path, at step 10 and at the end.
fn distance_from_diffrax(step: Step) -> f64 {
    let em = &vectors()["em"];
    let config = Config {
        coupling: number(&em["K"]),
        sigma: number(&em["sigma"]),
        dt_s: number(&em["dt"]),
        ..Config::default()
    };
    let (mut thetas, omegas) = (numbers(&em["theta0"]), numbers(&em["omega"]));
    let mut worst = 0.0f64;
    for (k, increments) in rows(&em["dW"]).iter().enumerate() {
        // dW = √dt·ξ in the vectors.
        let dw = numbers(increments);
        advance(step, &mut thetas, &omegas, &config, |i| {
            dw[i] / config.dt_s.sqrt()
        });
        let expected = match k + 1 {
            10 => numbers(&em["theta_step10"]),
            50 => numbers(&em["theta_final"]),
            _ => continue,
        };
        for (theta, expected) in thetas.iter().zip(expected) {
            worst = worst.max(difference(*theta, expected).abs());
        }
    }
    worst
}

#[test]
fn follows_the_path_that_diffrax_took() {
    let tolerance = number(&vectors()["em"]["abs_tol"]);
    let distance = distance_from_diffrax(kuramoto::step);
    println!("distance from diffrax: {distance:e}");
    assert!(distance <= tolerance, "{distance:e}");
    for wrong in [noise_with_dt, noise_without_dt, wrong_sign] {
        assert!(distance_from_diffrax(wrong) > 1e-3);
    }
}

#[test]
fn converges_to_the_ode_of_scipy_with_slope_one() {
    let vectors = vectors();
    let ode = &vectors["ode"];
    let omegas = numbers(&ode["omega"]);
    let mut points = Vec::new();
    for dt_s in [0.02, 0.01, 0.005, 0.0025] {
        let coupling = number(&ode["K"]);
        let config = Config {
            coupling,
            sigma: 0.0,
            dt_s,
            ..Config::default()
        };
        let mut thetas = numbers(&ode["theta0"]);
        let (mut error, mut done) = (0.0, 0);
        for (end, expected) in numbers(&ode["t"]).iter().zip(rows(&ode["theta"])) {
            let steps = (end / dt_s).round() as usize;
            for _ in done..steps {
                advance(kuramoto::step, &mut thetas, &omegas, &config, |_| 0.0);
            }
            done = steps;
            for (theta, expected) in thetas.iter().zip(numbers(expected)) {
                error += difference(*theta, expected).abs();
            }
        }
        points.push((dt_s, error));
    }
    let slope = slope(&points);
    println!("slope towards the ODE: {slope:.3}");
    assert!((0.9..=1.1).contains(&slope), "{slope} {points:?}");
}

#[test]
fn order_and_mean_phase_are_those_of_scipy() {
    let vectors = vectors();
    let ode = &vectors["ode"];
    let (orders, means) = (numbers(&ode["r"]), numbers(&ode["psi"]));
    for (i, thetas) in rows(&ode["theta"]).iter().enumerate() {
        let sum = sum_of(&numbers(thetas));
        assert!((sum.order() - orders[i]).abs() < 1e-12, "{}", sum.order());
        assert!(difference(sum.mean_phase(), means[i]).abs() < 1e-12);
    }
}

/// The strong order: how the mean distance from a fine path of the right step
/// falls with dt (T = 1, N = 4, K = 2, σ = 0.5, 1,000 paths).
fn strong_order(step: Step) -> f64 {
    const FINE: usize = 2_048;
    const COARSE: [usize; 5] = [8, 16, 32, 64, 128];
    let mut noise = Seeded::new(11);
    let mut errors = [0.0; COARSE.len()];
    for _ in 0..1_000 {
        let start: [f64; 4] = std::array::from_fn(|_| TAU * noise.uniform());
        let omegas: [f64; 4] = std::array::from_fn(|_| TAU + 0.5 * noise.gaussian());
        let dw: Vec<[f64; 4]> = (0..FINE)
            .map(|_| std::array::from_fn(|_| noise.gaussian() / (FINE as f64).sqrt()))
            .collect();
        let path = |step: Step, steps: usize| {
            let dt_s = 1.0 / steps as f64;
            let config = Config {
                coupling: 2.0,
                sigma: 0.5,
                dt_s,
                ..Config::default()
            };
            let mut thetas = start;
            for increments in dw.chunks(FINE / steps) {
                let xi = |i: usize| increments.iter().map(|dw| dw[i]).sum::<f64>() / dt_s.sqrt();
                advance(step, &mut thetas, &omegas, &config, xi);
            }
            thetas
        };
        let exact = path(kuramoto::step, FINE);
        for (error, steps) in errors.iter_mut().zip(COARSE) {
            let thetas = path(step, steps);
            let distances = thetas
                .iter()
                .zip(&exact)
                .map(|(a, b)| difference(*a, *b).abs());
            *error += distances.sum::<f64>();
        }
    }
    let points: Vec<(f64, f64)> = COARSE
        .iter()
        .zip(errors)
        .map(|(n, e)| (1.0 / *n as f64, e))
        .collect();
    slope(&points)
}

#[test]
fn the_strong_order_is_one() {
    let accepts = |slope: f64| (0.9..=1.1).contains(&slope);
    let right = strong_order(kuramoto::step);
    let with_dt = strong_order(noise_with_dt);
    println!("strong order: {right:.3}; noise with dt {with_dt:.3}");
    assert!(accepts(right), "{right}");
    assert!(!accepts(with_dt), "{with_dt}");
}

/// Var[θ − ωt]/(σ²t) of 2,000 uncoupled oscillators after 4 s.
fn variance_ratio(step: Step, dt_s: f64) -> f64 {
    let config = Config {
        coupling: 0.0,
        dt_s,
        ..Config::default()
    };
    let mut noise = Seeded::new(21);
    let steps = (4.0 / dt_s).round() as usize;
    let drift = TAU * dt_s;
    let mut squares = 0.0;
    for _ in 0..2_000 {
        let (mut theta, mut deviation) = (0.0, 0.0);
        for _ in 0..steps {
            let next = step(theta, TAU, Complex::ZERO, &config, noise.gaussian());
            deviation += difference(next - drift, theta);
            theta = next;
        }
        squares += deviation * deviation;
    }
    squares / 2_000.0 / (config.sigma.powi(2) * 4.0)
}

#[test]
fn without_coupling_the_variance_is_sigma_squared_t() {
    let accepts = |ratio: f64| (0.882..=1.128).contains(&ratio);
    for dt_s in [0.1, 0.02] {
        let right = variance_ratio(kuramoto::step, dt_s);
        let with_dt = variance_ratio(noise_with_dt, dt_s);
        let no_dt = variance_ratio(noise_without_dt, dt_s);
        println!("variance, dt {dt_s}: {right:.3}; with dt {with_dt:.3}; no dt {no_dt:.2}");
        assert!(accepts(right), "{right}");
        assert!(!accepts(with_dt) && !accepts(no_dt), "{with_dt} {no_dt}");
    }
}

/// The long-run E cos(θ2 − θ1) of two equal oscillators: K = 1, σ = 0.7, dt = 0.05.
fn mean_cosine(step: Step) -> f64 {
    let config = Config {
        coupling: 1.0,
        sigma: 0.7,
        dt_s: 0.05,
        ..Config::default()
    };
    let mut noise = Seeded::new(31);
    let (mut thetas, omegas) = ([0.0, 1.0], [TAU, TAU]);
    let steps = 1_000_000;
    let mut sum = 0.0;
    for _ in 0..steps {
        advance(step, &mut thetas, &omegas, &config, |_| noise.gaussian());
        sum += (thetas[1] - thetas[0]).cos();
    }
    sum / f64::from(steps)
}

#[test]
fn two_oscillators_stand_apart_as_von_mises_says() {
    // I1(κ)/I0(κ) at κ = K/σ² is 0.70436; dt takes a little of it.
    let accepts = |mean: f64| (0.685..=0.715).contains(&mean);
    let right = mean_cosine(kuramoto::step);
    let with_dt = mean_cosine(noise_with_dt);
    println!("two oscillators: {right:.4}; noise with dt {with_dt:.4}");
    assert!(accepts(right), "{right}");
    assert!(!accepts(with_dt), "{with_dt}");
    assert!(!accepts(mean_cosine(wrong_sign)));
}
