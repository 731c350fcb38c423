//! The seven measures of MESH-30K 11.1, as JSON.

use chorus_protocol::arrival::reliability::Decile;
use chorus_protocol::op::kpi::{Counts, HOUR, Kpis};
use chorus_protocol::units::Micros;
use serde_json::{Value, json};

use super::operations::{arrivals, merge};

/// What a measure is.
struct Measure {
    name: &'static str,
    definition: &'static str,
    goal: &'static str,
    unit: &'static str,
    window: (&'static str, Micros),
    /// The value and of how many things it is, in a window.
    of: fn(&Counts) -> (Option<f64>, u64),
    is_met: fn(f64) -> bool,
}

const HOURLY: (&str, Micros) = ("hour", HOUR);
const DAILY: (&str, Micros) = ("day", Micros::from_secs(86_400));
const MONTHLY: (&str, Micros) = ("month", Micros::from_secs(30 * 86_400));

/// Fewer things than this say nothing about a share of one in a hundred.
const ENOUGH: u64 = 100;

const MEASURES: [Measure; 8] = [
    Measure {
        name: "coordination_success",
        definition: "operations that had as many agents ready as they asked for, of all",
        goal: ">= 99 %",
        unit: "share",
        window: HOURLY,
        of: |it| (share(it.successes, it.operations), it.operations),
        is_met: |it| it >= 0.99,
    },
    Measure {
        name: "window_hits",
        definition: "messages ready within half the window of T (without T: of what was \
                     expected of the agent), of all that were sent but those that still had \
                     time when it was decided",
        goal: ">= 95 %",
        unit: "share",
        window: HOURLY,
        of: |it| (it.arrivals.hit_rate(), it.arrivals.sent()),
        is_met: |it| it >= 0.95,
    },
    Measure {
        name: "prediction_50ms",
        definition: "messages ready within 50 ms of T (without T: of what was expected), of \
                     the same messages",
        goal: ">= 90 %",
        unit: "share",
        window: DAILY,
        of: |it| (it.arrivals.near_rate(), it.arrivals.sent()),
        is_met: |it| it >= 0.9,
    },
    Measure {
        name: "conflicts",
        definition: "answers that contradict, of all answers",
        goal: "<= 1 %",
        unit: "share",
        window: HOURLY,
        of: |it| (share(it.conflicts, it.answers), it.answers),
        is_met: |it| it <= 0.01,
    },
    Measure {
        name: "availability",
        definition: "time in which 95 % of the agents beneath this node were there, of all time \
                     in which it knew of any; `of` is in seconds",
        goal: ">= 99.9 %",
        unit: "share",
        window: MONTHLY,
        of: |it| {
            (
                share(it.available.0, it.observed.0),
                it.observed.0 / 1_000_000,
            )
        },
        is_met: |it| it >= 0.999,
    },
    Measure {
        name: "cascade_p95",
        definition: "95th percentile of the time of operations without T to all agents",
        goal: "<= 1000 ms",
        unit: "ms",
        window: DAILY,
        of: |it| (it.cascade_p95().map(millis), it.cascades.total()),
        is_met: |it| it <= 1_000.0,
    },
    Measure {
        name: "recovery_cluster",
        definition: "longest time in which under 95 % of a cluster's agents were there",
        goal: "<= 5 min",
        unit: "ms",
        window: MONTHLY,
        of: |it| (longest(it.clusters), it.clusters.0),
        is_met: |it| it <= 300_000.0,
    },
    Measure {
        name: "recovery_sector",
        definition: "longest time in which under 95 % of a sector's agents were there",
        goal: "<= 15 min",
        unit: "ms",
        window: MONTHLY,
        of: |it| (longest(it.sectors), it.sectors.0),
        is_met: |it| it <= 900_000.0,
    },
];

/// Each measure in its window.
pub fn kpis(kpis: &Kpis, now: Micros) -> Vec<Value> {
    let row = |measure: &Measure| {
        let (window, span) = measure.window;
        let counts = kpis.window(span, now);
        let (value, of) = (measure.of)(&counts);
        let timed = ["availability", "recovery_cluster", "recovery_sector"].contains(&measure.name);
        // A share needs some cases, and a month nine tenths of one, for a node that is down counts
        // nothing; what has gone wrong is said at once.
        let enough = match timed {
            true => counts.observed.times(10) >= span.times(9),
            false => of >= ENOUGH,
        };
        let state = match value.map(measure.is_met) {
            Some(false) => "missed",
            Some(true) if enough => "met",
            _ => "insufficient window",
        };
        json!({
            "name": measure.name,
            "definition": measure.definition,
            "value": value,
            "unit": measure.unit,
            "goal": measure.goal,
            "window": window,
            "of": of,
            "state": state,
        })
    };
    MEASURES.iter().map(row).collect()
}

/// What was promised of the messages of the last day, and what came of it: by tenths of the
/// confidence with which they were sent.
pub fn reliability(kpis: &Kpis, now: Micros) -> Value {
    let (window, span) = DAILY;
    let table = &kpis.window(span, now).arrivals;
    let tenths = table.deciles().iter().filter(|it| it.messages > 0);
    let tenth = |it: &Decile| json!({"messages": it.messages, "promised": it.promised(), "kept": it.kept()});
    let mut row = json!({
        "window": window,
        "messages": table.messages(),
        "miscalibration": table.miscalibration(),
        "tenths": tenths.map(tenth).collect::<Vec<_>>(),
    });
    merge(&mut row, arrivals(table));
    row
}

fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

fn longest((many, longest): (u64, Micros)) -> Option<f64> {
    (many > 0).then(|| millis(longest))
}

fn millis(span: Micros) -> f64 {
    span.0 as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use chorus_protocol::ids::{Label, Place};

    use super::*;

    #[test]
    fn what_was_not_measured_long_enough_is_said_to_be_so() {
        let rows = kpis(&Kpis::default(), HOUR);
        assert_eq!(rows.len(), 8, "the seventh is of clusters and of sectors");
        for row in rows {
            assert_eq!(row["state"], "insufficient window", "{row}");
            assert!(row["value"].is_null() && row["of"] == 0, "{row}");
        }
    }

    #[test]
    fn a_month_is_judged_by_the_time_in_which_something_was_counted() {
        let mut counted = Kpis::default();
        let label = |text| Label::new(text).unwrap();
        let place = Place {
            sector: label("s1"),
            cluster: label("c1"),
        };
        counted.changed(place, None, Some(true), Micros::ZERO);
        let state = |kpis_of: &Kpis, days: u64| {
            let rows = kpis(kpis_of, Micros::from_secs(86_400 * days));
            rows.iter().find(|it| it["name"] == "availability").unwrap()["state"].clone()
        };
        assert_eq!(state(&counted, 26), "insufficient window");
        assert_eq!(state(&counted, 28), "met");
        // Down for all of it but a day.
        let mut after = Kpis::default();
        let rows = counted.rows(1).map(|(span, it)| (span, it.clone()));
        after.resume(rows.collect::<Vec<_>>(), Micros::from_secs(86_400 * 28));
        after.changed(place, None, Some(true), Micros::ZERO);
        assert_eq!(state(&after, 1), "insufficient window");
    }
}
