//! Examples of the step, its bounds, and catching up with a clock.

use super::*;
use crate::units::Seeded;

/// The distance of two angles.
fn apart(a: f64, b: f64) -> f64 {
    let d = wrap(a - b);
    d.min(TAU - d)
}
fn quiet() -> Config {
    Config {
        sigma: 0.0,
        ..Config::default()
    }
}

#[test]
fn each_setting_is_checked_by_name() {
    assert_eq!(Config::default().validate(), Ok(()));
    type Change = fn(&mut Config);
    let cases: [(&str, Change); 9] = [
        ("coupling", |c| c.coupling = -1.0),
        ("coupling", |c| c.coupling = f64::NAN),
        ("coupling", |c| (c.coupling, c.dt_s) = (20.0, 0.05)),
        ("sigma", |c| c.sigma = f64::INFINITY),
        ("dt_s", |c| c.dt_s = 0.0),
        ("spread", |c| c.spread = -0.1),
        ("base_hz", |c| c.base_hz = 0.0),
        ("velocity_max", |c| c.velocity_max = 1.0),
        ("velocity_max", |c| c.base_hz = 10.0),
    ];
    for (i, (expected, change)) in cases.into_iter().enumerate() {
        let mut config = Config::default();
        change(&mut config);
        match config.validate() {
            Err(Error::Setting { key, .. }) => assert_eq!(key, expected, "case {i}"),
            other => panic!("case {i} gave {other:?}"),
        }
    }
}

#[test]
fn what_is_no_angle_is_refused() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(matches!(Phase::new(bad), Err(Error::Phase(_))));
    }
    assert!(serde_json::from_str::<Phase>("1e999").is_err());
    assert_eq!(Phase::new(TAU).map(Phase::radians), Ok(0.0));
    assert_eq!(Phase::new(-0.5).map(Phase::radians), Ok(TAU - 0.5));
}

#[test]
fn no_field_pulls_faster_than_the_bound() {
    let config = quiet();
    for (omega, z) in [(1e9, 0.0), (-1e9, 0.0), (6.0, 1e6), (6.0, -1e6)] {
        let z = Complex { re: 0.0, im: z };
        let v = velocity(0.0, omega, z, &config);
        assert_eq!(v.abs(), config.velocity_max);
        let moved = apart(step(0.0, omega, z, &config, 0.0), 0.0);
        assert!(moved <= config.velocity_max * config.dt_s + 1e-12);
    }
    // The bound does not touch an honest node at its fastest.
    let fastest = TAU + 8.3 * config.spread;
    let z = Complex { re: 0.0, im: 1.0 };
    assert_eq!(
        velocity(0.0, fastest, z, &config),
        fastest + config.coupling
    );
}

#[test]
fn natural_frequencies_are_normal_and_fixed() {
    let config = Config::default();
    let n = 20_000u32;
    let deviates: Vec<f64> = (0..n)
        .map(|i| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&i.to_le_bytes());
            (natural_frequency(&NodeId(id), &config) - TAU) / config.spread
        })
        .collect();
    let moment = |k: i32| deviates.iter().map(|x| x.powi(k)).sum::<f64>() / f64::from(n);
    assert!(moment(1).abs() < 0.03, "{}", moment(1));
    assert!((moment(2) - 1.0).abs() < 0.05, "{}", moment(2));
    assert!((moment(4) - 3.0).abs() < 0.3, "{}", moment(4));
    // Every implementation must agree: SHA-256 of 32 zero bytes is 66687aad….
    let zero = natural_frequency(&NodeId([0; 32]), &config);
    let u = (f64::from(0x6668_7aad_u32) + f64::from(0xf862_bd77_u32) / 4_294_967_296.0)
        / 4_294_967_296.0;
    assert!((zero - (TAU + 0.5 * normal::quantile(u))).abs() < 1e-12);
}

#[test]
fn catching_up_is_the_same_as_stepping() {
    let config = Config::default();
    let start = Phase::new(1.0).expect("finite");
    let field = Field {
        z: Complex::polar(0.8, 2.0),
        omega: 6.0,
        at: Micros::ZERO,
    };
    let mut by_one = Oscillator::new(start, 6.3, Micros::ZERO);
    let mut at_once = by_one;
    let (mut noise, mut same) = (Seeded::new(3), Seeded::new(3));
    for i in 1..=500 {
        by_one.advance(Micros::from_millis(i), Some(&field), &config, &mut noise);
    }
    let steps = at_once.advance(Micros::from_millis(500), Some(&field), &config, &mut same);
    assert_eq!((steps, by_one), (50, at_once));
    assert_eq!(
        at_once.advance(Micros::ZERO, Some(&field), &config, &mut same),
        0
    );
    assert_eq!(by_one, at_once, "time that goes back changes nothing");
}

#[test]
fn the_field_turns_while_an_oscillator_catches_up() {
    // Locked to a field that moves at 2π: after half a second it is on the other side.
    let config = quiet();
    let field = Field {
        z: Complex::polar(1.0, 0.0),
        omega: TAU,
        at: Micros::ZERO,
    };
    let now = Micros::from_millis(500);
    let start = Phase::default();
    let mut right = Oscillator::new(start, TAU, Micros::ZERO);
    right.advance(now, Some(&field), &config, &mut Seeded::new(1));
    assert!(apart(right.phase(now), TAU / 2.0) < 1e-9);
    let still = Field {
        omega: 0.0,
        ..field
    };
    let mut wrong = Oscillator::new(start, TAU, Micros::ZERO);
    wrong.advance(now, Some(&still), &config, &mut Seeded::new(1));
    assert!(
        apart(wrong.phase(now), TAU / 2.0) > 0.3,
        "a field held still drags"
    );
}

#[test]
fn the_phase_between_steps_goes_on_with_omega() {
    let oscillator = Oscillator::new(Phase::default(), TAU, Micros::ZERO);
    assert!((oscillator.phase(Micros::from_millis(4)) - TAU * 0.004).abs() < 1e-12);
}

#[test]
fn a_long_pause_runs_free_and_is_counted() {
    let config = Config::default();
    let field = Field {
        z: Complex::polar(1.0, 3.0),
        omega: 0.0,
        at: Micros::ZERO,
    };
    let mut oscillator = Oscillator::new(Phase::default(), 6.0, Micros::ZERO);
    let day = Micros::from_secs(86_400);
    assert_eq!(
        oscillator.advance(day, Some(&field), &config, &mut Seeded::new(1)),
        0
    );
    assert!(apart(oscillator.phase(day), wrap(6.0 * 86_400.0)) < 1e-6);
    assert_eq!((oscillator.pauses(), oscillator.at()), (1, day));
    let next = day + PAUSE_MAX;
    assert_eq!(
        oscillator.advance(next, None, &config, &mut Seeded::new(1)),
        100
    );
    assert_eq!(
        oscillator.pauses(),
        1,
        "a pause of exactly the bound is stepped through"
    );
}
