//! Examples and properties of partial sums.

use std::f64::consts::{FRAC_PI_2, PI};

use proptest::prelude::*;

use super::*;
use crate::units::{Noise, Seeded};

const OMEGA_MAX: f64 = 25.0;

fn close(a: Complex, b: Complex, tolerance: f64) -> bool {
    (a.re - b.re).hypot(a.im - b.im) <= tolerance
}

#[test]
fn nobody_has_no_field_and_no_order() {
    let zero = PartialSum::zero();
    assert_eq!(zero.mean_field(), None);
    assert_eq!(zero.field(Micros(7)), None);
    assert_eq!((zero.order(), zero.mean_omega()), (0.0, 0.0));
    assert_eq!(zero.check(OMEGA_MAX), Ok(()));
}

/// The drift by the definition: (1/N) Σ_j sin(θ_j − θ_i).
fn double_sum(thetas: &[f64], i: usize) -> f64 {
    let sum: f64 = thetas.iter().map(|other| (other - thetas[i]).sin()).sum();
    sum / thetas.len() as f64
}

#[test]
fn any_tree_of_sums_is_the_double_sum() {
    let mut noise = Seeded::new(6);
    let n = 1_000;
    let thetas: Vec<f64> = (0..n).map(|_| 2.0 * PI * noise.uniform()).collect();
    let leaves: Vec<PartialSum> = thetas
        .iter()
        .map(|theta| PartialSum::of(*theta, 6.0, 1.0))
        .collect();
    for (first, second) in [(1, 1), (30, 10), (7, 3), (1_000, 1)] {
        let clusters: Vec<PartialSum> = leaves.chunks(first).map(PartialSum::merged).collect();
        let sectors: Vec<PartialSum> = clusters.chunks(second).map(PartialSum::merged).collect();
        let root = PartialSum::merged(&sectors);
        assert_eq!(root.members as usize, n);
        let z = root.mean_field().expect("a thousand members");
        for i in 0..n {
            let error = z.turned(-thetas[i]).im - double_sum(&thetas, i);
            assert!(error.abs() <= 2e-15, "{error:e} in ({first}, {second})");
        }
    }
}

#[test]
fn a_late_sum_is_turned_to_now_by_its_mean_frequency() {
    let mut late = PartialSum::of(1.0, 2.0, 1.0);
    late.add(&PartialSum::of(1.2, 4.0, 1.0));
    let late = late.aged(Micros::from_millis(500));
    let now = late.rotated(late.age);
    assert_eq!(now.age, Micros::ZERO);
    assert!((now.vector().arg() - (1.1 + 3.0 * 0.5)).abs() < 1e-12);
    assert!((now.order() - late.order()).abs() < 1e-15);
    // What does not turn is a different vector: the lag that this removes is real.
    assert!(!close(now.vector(), late.vector(), 1.0));
}

#[test]
fn parts_of_different_ages_meet_at_one_moment() {
    // Two nodes that move as one, seen at different times: the whole has r = 1.
    let omega = 2.0 * PI;
    let fresh = PartialSum::of(3.0, omega, 1.0);
    let old = PartialSum::of(3.0 - omega * 0.25, omega, 1.0).aged(Micros::from_millis(250));
    let merged = PartialSum::merged(&[fresh, old]);
    let mut added = PartialSum::zero();
    added.add(&old);
    added.add(&fresh);
    for whole in [merged, added] {
        assert!((whole.order() - 1.0).abs() < 1e-12);
        assert_eq!((whole.age, whole.members), (Micros::ZERO, 2));
    }
    // A sum that is itself old takes others back to its own moment.
    let mut back = old;
    back.add(&fresh);
    assert_eq!(back.age, old.age);
    assert!((back.order() - 1.0).abs() < 1e-12);
}

#[test]
fn locked_nodes_turn_with_the_whole_and_not_each_with_its_own() {
    // Locked at one phase although their natural frequencies differ.
    let parts = [1.0, -1.0].map(|d| PartialSum::of(0.5, 6.0 + d, 1.0).aged(Micros::from_secs(1)));
    let whole = PartialSum::merged(&parts);
    assert!((whole.order() - 1.0).abs() < 1e-12);
    let mut each = PartialSum::zero();
    parts.iter().for_each(|part| each.add(part));
    assert!(each.order() < 0.6, "turning each by its own ω spreads them");
}

#[test]
fn a_field_is_a_function_of_time_in_both_directions() {
    let sum = PartialSum::of(0.0, FRAC_PI_2, 1.0);
    let field = sum.field(Micros::from_secs(10)).expect("one member");
    assert!((field.at(Micros::from_secs(11)).arg() - FRAC_PI_2).abs() < 1e-12);
    assert!((field.at(Micros::from_secs(9)).arg() + FRAC_PI_2).abs() < 1e-12);
}

#[test]
fn weight_changes_the_voice_and_not_the_head_count() {
    let mut whole = PartialSum::of(0.0, 1.0, 1.0);
    whole.add(&PartialSum::of(PI, 3.0, 1.0).scaled(0.5));
    assert_eq!((whole.members, whole.weight), (2, 1.5));
    assert!((whole.order() - 0.5 / 1.5).abs() < 1e-15);
    assert!((whole.mean_omega() - 2.5 / 1.5).abs() < 1e-15);
}

#[test]
fn members_saturate_and_lamport_is_the_newest() {
    let mut whole = PartialSum {
        members: u32::MAX,
        lamport: 9,
        ..PartialSum::zero()
    };
    whole.add(&PartialSum {
        lamport: u64::MAX,
        ..PartialSum::of(0.0, 0.0, 1.0)
    });
    assert_eq!((whole.members, whole.lamport), (u32::MAX, u64::MAX));
}

#[test]
fn what_no_honest_node_sends_is_refused() {
    let good = PartialSum::of(1.0, 6.0, 0.5);
    assert_eq!(good.check(OMEGA_MAX), Ok(()));
    let bad = |change: fn(&mut PartialSum)| {
        let mut sum = good;
        change(&mut sum);
        sum.check(OMEGA_MAX).expect_err("refused")
    };
    assert_eq!(bad(|s| s.re = f64::NAN), BadSum::NotFinite("re"));
    assert_eq!(
        bad(|s| s.sum_omega = f64::INFINITY),
        BadSum::NotFinite("sum_omega")
    );
    assert!(matches!(bad(|s| s.weight = -1.0), BadSum::Weight { .. }));
    assert!(matches!(bad(|s| s.weight = 1.1), BadSum::Weight { .. }));
    assert!(matches!(bad(|s| s.members = 0), BadSum::Weight { .. }));
    assert!(matches!(bad(|s| s.re = 0.9), BadSum::Length { .. }));
    assert!(matches!(bad(|s| s.im = -1e200), BadSum::Length { .. }));
    assert!(matches!(bad(|s| s.sum_omega = 13.0), BadSum::Omega { .. }));
    let hollow = PartialSum {
        sum_omega: 1.0,
        ..PartialSum::zero()
    };
    assert!(hollow.check(OMEGA_MAX).is_err());
}

#[test]
fn the_wire_form_names_its_fields() {
    let sum = PartialSum {
        lamport: 3,
        ..PartialSum::of(1.0, 6.0, 0.5)
    };
    let bytes = rmp_serde::to_vec_named(&sum.aged(Micros(42))).expect("encodes");
    for name in [
        "weight",
        "re",
        "im",
        "sum_omega",
        "members",
        "age_us",
        "lamport",
    ] {
        assert!(
            bytes.windows(name.len()).any(|w| w == name.as_bytes()),
            "{name}"
        );
    }
    let back: PartialSum = rmp_serde::from_slice(&bytes).expect("decodes");
    assert_eq!(back, sum.aged(Micros(42)));
}

proptest! {
    #[test]
    fn honest_sums_pass_the_check_in_any_order(
        nodes in prop::collection::vec((0.0..6.3f64, -25.0..25.0f64, 0.0..=1.0f64, 0u64..2_000_000), 0..40),
    ) {
        let parts: Vec<PartialSum> = nodes
            .iter()
            .map(|(theta, omega, w, age)| PartialSum::of(*theta, *omega, *w).aged(Micros(*age)))
            .collect();
        let whole = PartialSum::merged(&parts);
        prop_assert_eq!(whole.check(OMEGA_MAX), Ok(()));
        prop_assert!((0.0..=1.0).contains(&whole.order()));
        let backwards: Vec<PartialSum> = parts.iter().rev().copied().collect();
        prop_assert!(close(PartialSum::merged(&backwards).vector(), whole.vector(), 1e-11));
    }
}
