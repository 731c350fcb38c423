//! What is put to agents: `gather`, `ask`, `broadcast`, `cascade`, `delegate`; `agents`, who they
//! are, and `kpi`, how it all came out.

mod agents;
mod ask;
mod broadcast;
pub mod cascade;
mod delegate;
mod gather;
mod kpi;
mod progress;

use std::time::Duration;

use chorus_protocol::ids::Label;
use chorus_protocol::impedance::{Class, Weight};
use chorus_protocol::op::{Priority, Verb};
use chorus_storage::Home;
use serde_json::{Value, json};

pub use self::agents::agents;
pub use self::ask::ask;
pub use self::broadcast::broadcast;
pub use self::cascade::cascade;
pub use self::delegate::delegate;
pub use self::gather::gather;
pub use self::kpi::{Kpis, kpi};
use self::progress::Bar;
use super::{bad_flag, read};
use crate::cli::Context;
use crate::cli::operations::{Intent, Manner, Whom};
use crate::control::operations::{Ask, At};
use crate::control::{self, Request};
use crate::error::{Failure, exit};

/// How much longer than the window the node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most letters of an answer in a table; `--json` has all of it.
const SHOWN: usize = 200;

/// Puts a question to agents; how it ended, with `schema` and what its lines say gathered.
async fn put(ctx: &Context, schema: &str, ask: Ask) -> Result<Value, Failure> {
    let at = match ask.at {
        At::Now => 0,
        At::InMs(ms) | At::AutoWithinMs(ms) => ms,
    };
    let longest = ask.window_ms.saturating_add(at).saturating_add(ask.late_ms);
    let within = Duration::from_millis(longest) + PATIENCE;
    let home = Home::at(&ctx.dir);
    let request = Request::Gather { ask };
    let mut bar = Bar::new(ctx.json);
    let lines = control::ask_seeing(&home, &request, within, |it| bar.show(it)).await;
    bar.done();
    let lines = lines?;
    let (head, rest) = lines
        .split_first()
        .ok_or_else(|| Failure::failed("bad_answer", "the node's answer is not understood"))?;
    let mut report = head.clone();
    report["schema"] = schema.into();
    let all = |name: &str| -> Vec<Value> {
        let rows = rest.iter().filter_map(|line| line.get(name));
        rows.cloned().collect()
    };
    report["answers"] = all("group").into();
    report["late_answers"] = all("late").into();
    report["unready"] = all("unready").into();
    Ok(report)
}

/// Prints how an operation ended; it fails where that is no success.
fn end(ctx: &Context, report: &Value, words: &str) -> Result<(), Failure> {
    if report["outcome"] == "SUCCESS" {
        return ctx.answer(report, words);
    }
    let message = format!(
        "{} of {} agents are ready",
        report["ready"], report["expected"]
    );
    let some = |state: &str| report[state].as_u64() > Some(0);
    let hint = match (some("skipped"), some("conflict"), some("transit")) {
        (true, ..) => "who was skipped needs a later T (--at, --limit), or none (--at now)",
        (_, true, _) => "see who contradicts, and why, above",
        (.., true) => "who is in transit may need more time (--window), or has failed: see above",
        _ => "see above",
    };
    let failure = Failure::new(exit::PARTIAL, "partial", message).hint(hint);
    ctx.answer_failed(report, words, failure)
}

/// Sets who is asked.
fn whom(ask: &mut Ask, whom: &Whom) -> Result<(), Failure> {
    (ask.capabilities, ask.class) = whom_of(whom)?;
    Ok(())
}

fn whom_of(whom: &Whom) -> Result<(Vec<Label>, Option<Class>), Failure> {
    let able = whom.capability.iter();
    let able = able.map(|it| read::<Label>("--capability", it));
    let able = able.collect::<Result<_, _>>()?;
    let class = whom.class.as_deref();
    let class = class.map(|it| read::<Class>("--class", it)).transpose()?;
    Ok((able, class))
}

/// Sets how they are asked.
fn manner(ask: &mut Ask, manner: &Manner) -> Result<(), Failure> {
    ask.priority = lane(manner.priority)?;
    ask.weight = weight(manner.weight)?;
    ask.verb = match manner.intent {
        Intent::Observe => Verb::Observe,
        Intent::Orient => Verb::Orient,
        Intent::Decide => Verb::Decide,
        Intent::Act => Verb::Act,
        Intent::Record => Verb::Record,
        Intent::Sync => Verb::Sync,
    };
    Ok(())
}

fn lane(priority: u8) -> Result<Priority, Failure> {
    let bad = |_| bad_flag("--priority", &priority.to_string(), "0 to 3");
    priority.try_into().map_err(bad)
}

fn weight(weight: f32) -> Result<Weight, Failure> {
    let bad = |_| bad_flag("--weight", &weight.to_string(), "0 to 1000");
    Weight::new(weight).map_err(bad)
}

fn span_ms(flag: &str, text: &str) -> Result<u64, Failure> {
    let span = super::memory::span_of(flag, text)?;
    Ok(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// The counts of an operation in one line.
fn counts(report: &Value) -> String {
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    format!(
        "{}, {}: {} expected = {} ready + {} conflict + {} transit + {} skipped, after {:.1} ms",
        text("outcome"),
        text("decision"),
        number("expected"),
        number("ready"),
        number("conflict"),
        number("transit"),
        number("skipped"),
        report["elapsed_ms"].as_f64().unwrap_or_default(),
    )
}

/// Who is not ready, a line each.
fn unready(report: &Value) -> String {
    let mut words = String::new();
    for row in report["unready"].as_array().into_iter().flatten() {
        let text = |name: &str| plain(row[name].as_str().unwrap_or_default());
        let [agent, state, why] = ["agent", "state", "why"].map(text);
        words += &format!("\n{state:>8}  {agent}: {why}");
    }
    if report["unnamed"].as_u64() > Some(0) {
        words += &format!("\n{:>8}  and {} more", "", report["unnamed"]);
    }
    words
}

/// A text of somebody else's, on one line and without what moves a terminal.
pub fn plain(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(plain).collect()
}

/// An answer for a table.
fn shown(row: &Value) -> String {
    match row["answer"].as_str() {
        Some(answer) => plain(&answer.chars().take(SHOWN).collect::<String>()),
        None => format!("in base64: {}", row["base64"].as_str().unwrap_or_default()),
    }
}

/// A report of several operations.
fn series(schema: &str, phases: Vec<Value>) -> Value {
    json!({ "schema": schema, "phases": phases })
}
