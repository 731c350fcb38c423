//! The trinary quorum, cell by cell: against decisions made outside Rust, against the seed's own
//! function, and what is certain before everybody has answered.

use chorus_protocol::op::quorum::{Decision, NobodyExpected, Tally};
use serde_json::Value;

fn rows() -> Vec<(Tally, String)> {
    let text = include_str!("../../tests/vectors/quorum.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    let columns = ["ready", "conflict", "transit", "skipped", "decision"];
    assert_eq!(vectors["columns"], serde_json::json!(columns));
    let rows = vectors["rows"].as_array().unwrap();
    let count = |cell: &Value| u32::try_from(cell.as_u64().unwrap()).unwrap();
    rows.iter()
        .map(|row| {
            let tally = Tally {
                ready: count(&row[0]),
                conflict: count(&row[1]),
                transit: count(&row[2]),
                skipped: count(&row[3]),
            };
            (tally, row[4].as_str().unwrap().to_owned())
        })
        .collect()
}

/// Every tally of `expected` agents.
fn tallies(expected: u32) -> impl Iterator<Item = Tally> {
    (0..=expected).flat_map(move |ready| {
        (0..=expected - ready).flat_map(move |conflict| {
            (0..=expected - ready - conflict).map(move |transit| Tally {
                ready,
                conflict,
                transit,
                skipped: expected - ready - conflict - transit,
            })
        })
    })
}

/// The function of the seed (MESH-30K, 5.2), line by line: it counts those that answered.
fn of_the_seed(tally: &Tally) -> Option<Decision> {
    let total = f64::from(tally.ready + tally.conflict + tally.transit);
    if total == 0.0 {
        return None; // it divides by zero
    }
    let [ready, conflict, transit] =
        [tally.ready, tally.conflict, tally.transit].map(|count| f64::from(count) / total);
    let enough = ready >= 0.95;
    Some(if enough && conflict <= 0.05 {
        Decision::Proceed
    } else if !enough && transit > 0.10 {
        Decision::Wait
    } else if conflict > 0.05 {
        Decision::ResolveConflicts
    } else {
        Decision::Retry
    })
}

#[test]
fn decisions_made_outside_rust_are_the_same() {
    let rows = rows();
    assert!(rows.len() > 800, "{}", rows.len());
    for (tally, expected) in rows {
        let decided = tally.decide().map_or("REFUSED", Decision::name);
        assert_eq!(decided, expected, "{tally:?}");
    }
}

#[test]
fn each_decision_is_written_as_it_is_named() {
    for decision in [
        Decision::ResolveConflicts,
        Decision::Proceed,
        Decision::Wait,
        Decision::Retry,
    ] {
        let written = serde_json::to_value(decision).unwrap();
        assert_eq!(written, decision.name());
    }
}

#[test]
fn nobody_expected_is_refused() {
    assert_eq!(Tally::default().decide(), Err(NobodyExpected));
    assert_eq!(Tally::default().certain(9), None);
}

#[test]
fn bounds_are_exact_where_fractions_are_not() {
    // In floating point 0.05 of many sizes is a hair more or less than it should be.
    for twenties in 1..=1_500u32 {
        let all = twenties * 20;
        let tally = |ready, conflict| Tally {
            ready,
            conflict,
            transit: 0,
            skipped: all - ready - conflict,
        };
        let decided = |ready, conflict| tally(ready, conflict).decide().unwrap();
        assert_eq!(decided(all - twenties, twenties), Decision::Proceed);
        assert_eq!(decided(all - twenties - 1, twenties), Decision::Retry);
        assert_eq!(
            decided(all - twenties - 1, twenties + 1),
            Decision::ResolveConflicts
        );
    }
}

#[test]
fn the_seeds_function_differs_where_it_forgets_who_was_skipped_and_who_contradicts() {
    let (mut skipped, mut contradicted) = (0, 0);
    for tally in (1..=20).flat_map(tallies) {
        let ours = tally.decide().unwrap();
        if of_the_seed(&tally) == Some(ours) {
            continue;
        }
        // It differs nowhere else: without skipped agents only where it waits although too
        // many contradict already.
        if tally.skipped > 0 {
            skipped += 1;
        } else {
            assert_eq!(ours, Decision::ResolveConflicts, "{tally:?}");
            assert_eq!(of_the_seed(&tally), Some(Decision::Wait), "{tally:?}");
            contradicted += 1;
        }
    }
    assert!(skipped > 100 && contradicted > 100);
    let one_of_a_thousand = Tally {
        ready: 1,
        skipped: 999,
        ..Tally::default()
    };
    assert_eq!(of_the_seed(&one_of_a_thousand), Some(Decision::Proceed));
    assert_eq!(one_of_a_thousand.decide(), Ok(Decision::Retry));
}

#[test]
fn what_is_certain_holds_in_every_future_and_nothing_else_is() {
    let sizes = (1..=12).chain([20, 25]);
    for tally in sizes.flat_map(tallies) {
        for open in 0..=tally.transit {
            let futures = (0..=open).flat_map(|ready| {
                (0..=open - ready).map(move |conflict| Tally {
                    ready: tally.ready + ready,
                    conflict: tally.conflict + conflict,
                    transit: tally.transit - ready - conflict,
                    skipped: tally.skipped,
                })
            });
            let now = tally.decide().unwrap();
            let fixed = futures.map(|it| it.decide().unwrap()).all(|it| it == now);
            assert_eq!(
                tally.certain(open),
                fixed.then_some(now),
                "{tally:?} {open}"
            );
        }
        assert_eq!(tally.certain(u32::MAX), tally.certain(tally.transit));
    }
}

#[test]
fn the_seeds_confidence_is_kept_over_all_that_are_expected() {
    let tally = Tally {
        ready: 90,
        conflict: 4,
        transit: 2,
        skipped: 4,
    };
    assert!((tally.confidence() - 0.88).abs() < 1e-12);
    assert!(tally.reaches(900) && !tally.reaches(901));
    let twice = tally.and(&tally);
    assert_eq!((twice.ready, twice.expected()), (180, 200));
    assert!((twice.confidence() - tally.confidence()).abs() < 1e-12);
}
