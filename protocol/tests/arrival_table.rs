//! The table of arrival: how many of all messages are READY at T, by each way of choosing when to send.
//!
//! The model and the expected figures are those of `tests/vectors/arrival.json`: 448 agents of
//! classes A to E, 320 messages each, of which the first 120 are burn-in. Two seeds are 179,200
//! messages; `CHORUS_SOAK=1` takes ten. What is accepted of the right way must not be accepted of
//! the wrong ones.

use std::sync::OnceLock;

use chorus_protocol::arrival::Aim;
use chorus_protocol::arrival::reliability::Table;
use chorus_protocol::arrival::trial::chain::{self, Chain, Config};
use chorus_protocol::arrival::trial::model::Population;
use chorus_protocol::arrival::trial::{Trial, Way};
use chorus_protocol::impedance::Class;
use chorus_protocol::units::Micros;
use serde_json::Value;

/// Of each agent, after the burn-in.
const MESSAGES: usize = 200;

/// The file.
fn vectors() -> Value {
    let text = include_str!("../../tests/vectors/arrival.json");
    serde_json::from_str(text).expect("JSON")
}

fn population() -> Population {
    serde_json::from_value(vectors()["classes"].take()).expect("classes")
}

/// All of them, simulated once.
fn trial() -> &'static Trial {
    static TRIAL: OnceLock<Trial> = OnceLock::new();
    TRIAL.get_or_init(|| {
        let is_soak = std::env::var_os("CHORUS_SOAK").is_some();
        let mut trial = Trial::default();
        for seed in 0..if is_soak { 10 } else { 2 } {
            trial.add(&population(), MESSAGES, seed);
        }
        trial
    })
}

fn number(file: &Value, row: &str, name: &str) -> Option<f64> {
    file["results_percent"][row][name].as_f64()
}

#[test]
fn each_row_is_within_a_point_of_the_files() {
    let file = vectors();
    let mut off = Vec::new();
    println!(
        "way | within 50 ms, % (file) | in the 500 ms window, % (file) | mean idle, ms (file)"
    );
    for way in Way::ALL {
        let tally = trial().pooled(way);
        assert!(tally.messages >= 100_000, "{tally:?}");
        let expected = |name| way.row().map(|row| number(&file, row, name));
        let near = tally.near_percent();
        let inside = tally.inside_percent();
        let show = |name| match expected(name) {
            Some(Some(figure)) => format!("({figure})"),
            _ => "(-)".into(),
        };
        let (near_file, inside_file) = (show("within_50"), show("window"));
        let (idle, idle_file) = (tally.idle_ms(), show("idle_ms"));
        println!(
            "{way:?} | {near:.2} {near_file} | {inside:.2} {inside_file} | {idle:.1} {idle_file}"
        );
        for (measured, name) in [(near, "within_50"), (inside, "window")] {
            let figure = expected(name).map(|figure| figure.expect("a figure"));
            if figure.is_some_and(|figure| (measured - figure).abs() > 1.0) {
                off.push(format!("{way:?} {name}: {measured:.2}, {figure:?}"));
            }
        }
        if let Some(Some(figure)) = expected("idle_ms") {
            assert!(
                (idle - figure).abs() <= 0.1 * figure,
                "{way:?}: {idle} {figure}"
            );
        }
    }
    assert!(off.is_empty(), "{off:?}");
}

#[test]
fn the_right_way_is_accepted() {
    for way in [Way::Unheld, Way::Held95, Way::Held99] {
        let tally = trial().pooled(way);
        assert!(tally.is_accepted(way), "{way:?}: {tally:?}");
    }
}

#[test]
fn the_wrong_ways_are_not() {
    for way in [
        Way::AtOnce,
        Way::Seed,
        Way::WithoutQueue,
        Way::HeldInTheMiddle,
    ] {
        let tally = trial().pooled(way);
        assert!(!tally.is_accepted(way), "{way:?}: {tally:?}");
    }
}

/// The file's figures of a class are of few agents, D's of 32, so they bind from below only.
#[test]
fn no_class_pays_for_the_others() {
    let file = vectors();
    for class in Class::ALL {
        let tally = trial().tally(Way::Held99, |it| it == class);
        let figure = &file["per_class_hold_q99_within_50"][class.to_string()];
        let figure = 100.0 * figure.as_f64().expect("a figure");
        let near = tally.near_percent();
        println!("{class}: {near:.2} ({figure:.1}) % within 50 ms by q99 and hold");
        assert!(near >= figure - 1.0, "{class}: {near} {figure}");
    }
}

/// 320 messages to each of the file's 448 agents, all to be READY `notice` after they are thought
/// of.
fn run(aim: Aim, notice: Micros) -> Chain {
    let config = Config {
        aim,
        notice,
        messages: MESSAGES,
        seed: 77,
    };
    let chain = chain::run(&population(), &config);
    assert_eq!(
        chain.expected,
        448 * MESSAGES,
        "who is skipped stays in the denominator"
    );
    chain
}

fn show(what: &str, table: &Table) {
    let percent = |share: Option<f64>| 100.0 * share.unwrap_or_default();
    let (near, inside) = (percent(table.near_rate()), percent(table.hit_rate()));
    let errors = [0.5, 0.9, 0.99].map(|q| table.error(q).unwrap_or_default().0 as f64 / 1e3);
    let idle = table.mean_idle().map(|idle| idle.as_millis());
    println!("{what}: {near:.2} % within 50 ms, {inside:.2} % in the window");
    println!("  error p50, p90, p99: {errors:.1?} ms; mean idle {idle:?} ms");
    println!(
        "  promised and kept differ by {:.2} points",
        percent(table.miscalibration())
    );
    for decile in table.deciles().iter().filter(|decile| decile.messages > 0) {
        let (promised, kept) = (percent(decile.promised()), percent(decile.kept()));
        println!(
            "  {:>6} messages: promised {promised:.1} %, kept {kept:.1} %",
            decile.messages
        );
    }
}

/// Honest: on the whole within two points, and no decile of a thousand messages off by five.
fn is_calibrated(table: &Table) -> bool {
    let large = table
        .deciles()
        .iter()
        .filter(|decile| decile.messages >= 1_000);
    let mut off = large.filter_map(|it| Some((it.promised()? - it.kept()?).abs()));
    off.all(|off| off < 0.05) && table.miscalibration().is_some_and(|off| off < 0.02)
}

#[test]
fn confidence_is_kept_through_the_whole_chain() {
    for (aim, near, inside) in [(Aim::HELD_95, 0.98, 0.99), (Aim::Unheld, 0.75, 0.975)] {
        let chain = run(aim, Micros::from_secs(60));
        show(&format!("{aim:?}"), &chain.table);
        assert_eq!((chain.skipped, chain.table.messages()), (0, 89_600));
        assert!(chain.table.near_rate().is_some_and(|rate| rate >= near));
        assert!(chain.table.hit_rate().is_some_and(|rate| rate >= inside));
        assert!(is_calibrated(&chain.table));
        assert!(
            !is_calibrated(&chain.by_the_seed),
            "the check above tells it apart"
        );
    }
}

#[test]
fn who_cannot_make_it_is_skipped_and_who_is_sent_to_still_arrives() {
    let chain = run(Aim::HELD_95, Micros::from_millis(300));
    show("300 ms of notice", &chain.table);
    // Classes C and D, and what E has of slow ones: a third of all.
    assert!(
        (20_000..45_000).contains(&chain.skipped),
        "{}",
        chain.skipped
    );
    assert!(chain.table.near_rate().is_some_and(|rate| rate >= 0.98));
}
