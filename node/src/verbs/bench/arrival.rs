//! `bench arrival`: how many messages are READY at T, by each way of choosing when to send, in virtual time over the model of `tests/vectors/arrival.json`.

use chorus_protocol::arrival::Aim;
use chorus_protocol::arrival::reliability::Table;
use chorus_protocol::arrival::trial::chain::{self, Chain, Config};
use chorus_protocol::arrival::trial::model::Population;
use chorus_protocol::arrival::trial::{Tally, Trial, Way};
use chorus_protocol::units::Micros;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::say;
use crate::cli::Context;
use crate::cli::bench::ArrivalArgs;
use crate::error::Failure;

/// Most messages of one population to each agent: its levels drift, so that many agents say
/// more than long runs.
const EACH_MAX: usize = 200;
/// Longer than any lead: in the table of reliability nobody is skipped.
const NOTICE: Micros = Micros::from_secs(60);

/// The model's parameters, and what other code than this found by it.
#[derive(Deserialize)]
struct File {
    classes: Population,
    results_percent: BTreeMap<String, Figures>,
}

/// One row of the file's results.
#[derive(Clone, Copy, Deserialize)]
struct Figures {
    within_50: f64,
    window: f64,
    idle_ms: Option<f64>,
}

fn file() -> Result<File, Failure> {
    let text = include_str!("../../../../tests/vectors/arrival.json");
    serde_json::from_str(text)
        .map_err(|why| Failure::failed("bad_model", format!("the built-in model: {why}")))
}

/// The model's agents, by class.
pub fn population() -> Result<Population, Failure> {
    file().map(|it| it.classes)
}

pub fn run(ctx: &Context, args: &ArrivalArgs) -> Result<(), Failure> {
    let file = file()?;
    let sizes = Sizes::of(&file.classes, args.messages as usize);
    let mut trial = Trial::default();
    for n in 0..sizes.populations {
        say(&format!("population {} of {}", n + 1, sizes.populations));
        trial.add(&file.classes, sizes.each, args.seed.wrapping_add(n as u64));
    }
    let rows: Vec<Row> = Way::ALL
        .into_iter()
        .map(|way| Row {
            way,
            tally: trial.pooled(way),
            figures: way
                .row()
                .and_then(|it| file.results_percent.get(it))
                .copied(),
        })
        .collect();
    say("what was promised, against what was kept");
    let kept = [Way::Held95, Way::Unheld].map(|way| {
        let config = Config {
            aim: way.aim(),
            notice: NOTICE,
            messages: sizes.each,
            seed: args.seed,
        };
        (way, chain::run(&file.classes, &config))
    });
    ctx.answer(
        &report(args.seed, &rows, &kept),
        &words(args.seed, &rows, &kept),
    )
}

/// How many messages are simulated so that enough are counted.
#[derive(Debug, PartialEq)]
struct Sizes {
    populations: usize,
    /// Messages to each agent after its burn-in.
    each: usize,
}

impl Sizes {
    fn of(population: &Population, messages: usize) -> Self {
        let counted = population.iter().filter(|(class, _)| !class.is_human());
        let agents = counted.map(|(_, it)| it.agents).sum::<usize>().max(1);
        let populations = messages.div_ceil(agents * EACH_MAX).max(1);
        Self {
            populations,
            each: messages.div_ceil(agents * populations).max(1),
        }
    }
}

/// A mode of the table.
struct Row {
    way: Way,
    tally: Tally,
    figures: Option<Figures>,
}

fn title(way: Way) -> &'static str {
    match way {
        Way::AtOnce => "everyone at once",
        Way::Seed => "the seed's formula",
        Way::Unheld => "structured, no hold",
        Way::Oracle => "oracle, no hold",
        Way::Held95 => "structured q95 + hold",
        Way::Held99 => "structured q99 + hold",
        Way::WithoutQueue => "wrong: as if nobody queued",
        Way::HeldInTheMiddle => "wrong: hold, aimed at the middle",
    }
}

/// What the design asks of the right ways; of the others nothing.
fn asked(way: Way) -> Option<&'static str> {
    match way {
        Way::Unheld => Some("97.5 % in the window"),
        Way::Held95 | Way::Held99 => Some("98 % within 50 ms, 99 % in the window"),
        _ => None,
    }
}

fn held(way: Way) -> bool {
    matches!(way.aim(), Aim::Held { .. })
}

/// `chorus.bench-arrival/1`.
fn report(seed: u64, rows: &[Row], kept: &[(Way, Chain)]) -> Value {
    let modes = rows.iter().map(|row| {
        json!({
            "mode": title(row.way),
            "within_50_percent": row.tally.near_percent(),
            "window_percent": row.tally.inside_percent(),
            "idle_ms_mean": held(row.way).then(|| row.tally.idle_ms()),
            "expected": row.figures.map(|it| json!({
                "within_50_percent": it.within_50,
                "window_percent": it.window,
                "idle_ms_mean": it.idle_ms,
            })),
            "asked": asked(row.way),
            "accepted": asked(row.way).map(|_| row.tally.is_accepted(row.way)),
        })
    });
    let reliability = kept.iter().map(|(way, chain)| {
        json!({
            "mode": title(*way),
            "structured": table(&chain.table),
            "seed_formula": table(&chain.by_the_seed),
        })
    });
    json!({
        "schema": "chorus.bench-arrival/1",
        "seed": seed,
        "messages": rows.first().map_or(0, |row| row.tally.messages),
        "modes": modes.collect::<Vec<_>>(),
        "reliability": reliability.collect::<Vec<_>>(),
    })
}

fn table(table: &Table) -> Value {
    let ms = |q| table.error(q).map(|it| it.0 as f64 / 1e3);
    let deciles = table.deciles().iter().enumerate().map(|(at, it)| {
        json!({
            "from": at as f64 / 10.0,
            "messages": it.messages,
            "promised": it.promised(),
            "kept": it.kept(),
        })
    });
    json!({
        "messages": table.messages(),
        "near_rate": table.near_rate(),
        "hit_rate": table.hit_rate(),
        "error_ms": {"p50": ms(0.5), "p90": ms(0.9), "p99": ms(0.99)},
        "off_mean": table.miscalibration(),
        "deciles": deciles.collect::<Vec<_>>(),
    })
}

fn words(seed: u64, rows: &[Row], kept: &[(Way, Chain)]) -> String {
    let messages = rows.first().map_or(0, |row| row.tally.messages);
    let mut words = format!(
        "{messages} messages to agents of classes A to E, after the burn-in; T ± 250 ms; seed \
         {seed};\nin brackets what the model's own file says\n\n"
    );
    words += &line("mode", ["within 50 ms", "in the window", "mean idle"], "");
    for row in rows {
        let percent = |measured: f64, figure: Option<f64>| {
            let figure = figure.map(|it| format!(" ({it:.1})")).unwrap_or_default();
            format!("{measured:.1} %{figure}")
        };
        let idle = row.figures.and_then(|it| it.idle_ms);
        let idle = idle.map(|it| format!(" ({it:.0})")).unwrap_or_default();
        let idle = match held(row.way) {
            true => format!("{:.0} ms{idle}", row.tally.idle_ms()),
            false => String::new(),
        };
        let verdict = match asked(row.way) {
            Some(asked) if row.tally.is_accepted(row.way) => format!("meets {asked}"),
            Some(asked) => format!("MISSES {asked}"),
            None => String::new(),
        };
        let near = percent(row.tally.near_percent(), row.figures.map(|it| it.within_50));
        let inside = percent(row.tally.inside_percent(), row.figures.map(|it| it.window));
        words += &line(title(row.way), [&near, &inside, &idle], &verdict);
    }
    for (way, chain) in kept {
        words += &format!(
            "\n{}: confidence of READY in the window, against what came\n",
            title(*way)
        );
        words += &decile_lines("structured", &chain.table);
        words += &decile_lines("the seed's formula", &chain.by_the_seed);
    }
    words.trim_end().to_owned()
}

fn line(title: &str, cells: [&str; 3], verdict: &str) -> String {
    let [near, inside, idle] = cells;
    let line = format!("{title:<32}  {near:<15}  {inside:<15}  {idle:<12}  {verdict}");
    format!("{}\n", line.trim_end())
}

fn decile_lines(by: &str, table: &Table) -> String {
    let percent = |share: Option<f64>| 100.0 * share.unwrap_or_default();
    let mut lines = format!(
        "  promised by {by}: off by {:.1} points in the mean\n",
        percent(table.miscalibration())
    );
    for (at, decile) in table.deciles().iter().enumerate() {
        if decile.messages > 0 {
            lines += &format!(
                "    {:.1} to {:.1}: {:>8} messages, promised {:5.1} %, kept {:5.1} %\n",
                at as f64 / 10.0,
                (at + 1) as f64 / 10.0,
                decile.messages,
                percent(decile.promised()),
                percent(decile.kept()),
            );
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_as_many_are_counted_as_were_asked_for() {
        let classes = file().unwrap().classes;
        for (asked, populations, each) in [
            (1, 1, 1),
            (1_000, 1, 3),
            (89_600, 1, 200),
            (100_000, 2, 112),
            (1_000_000, 12, 187),
        ] {
            let sizes = Sizes::of(&classes, asked);
            assert_eq!(sizes, Sizes { populations, each }, "{asked}");
            assert!(448 * sizes.populations * sizes.each >= asked);
        }
    }

    #[test]
    fn every_mode_of_the_file_has_its_row() {
        let file = file().unwrap();
        let rows: Vec<&str> = Way::ALL.into_iter().filter_map(Way::row).collect();
        assert_eq!(rows.len(), file.results_percent.len());
        assert!(
            rows.iter()
                .all(|row| file.results_percent.contains_key(*row))
        );
    }
}
