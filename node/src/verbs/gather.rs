//! `gather`: one question to many agents, and what they said; and `agents`, who they are.

use std::time::Duration;

use chorus_protocol::ids::Label;
use chorus_storage::Home;
use serde_json::{Value, json};

use super::{bad_flag, read};
use crate::cli::Context;
use crate::cli::gather::GatherArgs;
use crate::control::operations::Ask;
use crate::control::{self, Request};
use crate::error::{Failure, exit};

/// How much longer than the window the node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most letters of an answer in the table; `--json` has all of it.
const SHOWN: usize = 200;

pub async fn run(ctx: Context, args: GatherArgs) -> Result<(), Failure> {
    let window = super::memory::span_of("--window", &args.window)?;
    if !(0.0..=1.0).contains(&args.minimum) {
        return Err(bad_flag("--minimum", &args.minimum.to_string(), "0 to 1"));
    }
    let capability = args.capability.as_deref();
    let ask = Ask {
        capability: capability
            .map(|it| read::<Label>("--capability", it))
            .transpose()?,
        question: args.question,
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        minimum: (args.minimum * 1_000.0).round() as u32,
    };
    let home = Home::at(&ctx.dir);
    let lines = control::ask_within(&home, &Request::Gather { ask }, window + PATIENCE).await?;
    let report = report(&lines)
        .ok_or_else(|| Failure::failed("bad_answer", "the node's answer is not understood"))?;
    let words = words(&report);
    if report["outcome"] == "SUCCESS" {
        return ctx.answer(&report, &words);
    }
    let message = format!(
        "{} of {} agents are ready",
        report["ready"], report["expected"]
    );
    let failure = Failure::new(exit::PARTIAL, "partial", message)
        .hint("ask again with a larger --window, or with a smaller --minimum");
    ctx.answer_failed(&report, &words, failure)
}

/// `chorus.gather/1`.
fn report(lines: &[Value]) -> Option<Value> {
    let (head, rest) = lines.split_first()?;
    let mut report = head.clone();
    report["schema"] = "chorus.gather/1".into();
    let all = |name: &str| -> Vec<Value> {
        let rows = rest.iter().filter_map(|line| line.get(name));
        rows.cloned().collect()
    };
    report["answers"] = all("group").into();
    report["unready"] = all("unready").into();
    Some(report)
}

fn words(report: &Value) -> String {
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut words = format!(
        "{}, {}: {} expected = {} ready + {} conflict + {} transit + {} skipped, after {:.1} ms\n",
        text(&report["outcome"]),
        text(&report["decision"]),
        number("expected"),
        number("ready"),
        number("conflict"),
        number("transit"),
        number("skipped"),
        report["elapsed_ms"].as_f64().unwrap_or_default(),
    );
    for row in report["answers"].as_array().into_iter().flatten() {
        let answer = match row["answer"].as_str() {
            Some(answer) => answer.chars().take(SHOWN).collect(),
            None => format!("in base64: {}", text(&row["base64"])),
        };
        words += &format!(
            "{:>7}  {answer}  ({})\n",
            row["agents"].to_string(),
            text(&row["one"])
        );
    }
    if number("left_out") > 0 {
        words += &format!(
            "{:>7}  others, whose answers did not find room\n",
            number("left_out")
        );
    }
    for row in report["unready"].as_array().into_iter().flatten() {
        let [agent, state, why] = ["agent", "state", "why"].map(|name| text(&row[name]));
        words += &format!("{state:>8}  {agent}: {why}\n");
    }
    words.pop();
    words
}

pub async fn agents(ctx: Context) -> Result<(), Failure> {
    let lines = control::ask(&Home::at(&ctx.dir), &Request::Agents {}).await?;
    let head = lines.first().cloned().unwrap_or_default();
    let pages = lines.iter().filter_map(|line| line["agents"].as_array());
    let rows: Vec<Value> = pages.flatten().cloned().collect();
    let mut words = format!(
        "{} agents here and beneath, {} of them here",
        head["total"],
        rows.len()
    );
    for row in &rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let can = row["capabilities"].as_array().into_iter().flatten();
        let can: Vec<&str> = can.filter_map(Value::as_str).collect();
        words += &format!(
            "\n  {:<24}  {:<8}  {}",
            text("name"),
            text("backend"),
            can.join(",")
        );
    }
    let report = json!({
        "schema": "chorus.agents/1",
        "total": head["total"],
        "by_capability": head["by_capability"],
        "agents": rows,
    });
    ctx.answer(&report, &words)
}
