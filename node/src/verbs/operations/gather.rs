//! `gather`: one question to many agents, ready together at T.

use serde_json::Value;

use super::{Ask, At, bad_flag, counts, end, manner, put, shown, span_ms, unready, whom};
use crate::cli::Context;
use crate::cli::operations::GatherArgs;
use crate::error::Failure;

pub async fn gather(ctx: Context, args: GatherArgs) -> Result<(), Failure> {
    if !(0.0..=1.0).contains(&args.minimum) {
        return Err(bad_flag("--minimum", &args.minimum.to_string(), "0 to 1"));
    }
    let mut ask = Ask::new(args.question);
    ask.window_ms = span_ms("--window", &args.window)?;
    ask.minimum = (args.minimum * 1_000.0).round() as u32;
    ask.at = match args.at.as_str() {
        "now" => At::Now,
        "auto" => At::AutoWithinMs(span_ms("--limit", &args.limit)?),
        span => At::InMs(span_ms("--at", span)?),
    };
    if let Some(late) = &args.late {
        ask.late_ms = span_ms("--late", late)?;
    }
    whom(&mut ask, &args.whom)?;
    manner(&mut ask, &args.manner)?;
    let report = put(&ctx, "chorus.gather/1", ask).await?;
    end(&ctx, &report, &words(&report))
}

/// The counts, the answers, and who is not ready.
pub fn words(report: &Value) -> String {
    let mut words = counts(report);
    if let Some(rate) = report["hit_rate"].as_f64() {
        let to = match report["idle_ms_mean"].is_null() {
            true => "what was expected of each",
            false => "to T",
        };
        words += &format!("\nnear {to}: {:.1} % within the window", rate * 100.0);
        let error = |name: &str| report["arrival_error_ms"][name].as_f64();
        if let (Some(half), Some(most)) = (error("p50"), error("p99")) {
            words +=
                &format!(", half within {half:.1} ms, 99 of 100 that came within {most:.1} ms");
        }
        if let Some(idle) = report["idle_ms_mean"].as_f64() {
            words += &format!("; held for {idle:.1} ms on average");
        }
    }
    for (rows, late) in [("answers", ""), ("late_answers", "late: ")] {
        for row in report[rows].as_array().into_iter().flatten() {
            let one = row["one"].as_str().unwrap_or_default();
            let many = row["agents"].to_string();
            words += &format!("\n{many:>8}  {late}{}  ({one})", shown(row));
        }
    }
    if report["left_out"].as_u64() > Some(0) {
        let many = report["left_out"].to_string();
        words += &format!("\n{many:>8}  others, whose answers did not find room");
    }
    words += &unready(report);
    if let Some(key) = report["late_key"].as_str() {
        words += &format!("\nwho answers yet is kept, for an hour: chorus memory get {key}");
    }
    words
}
