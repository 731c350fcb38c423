//! `ask`: a question to some of the agents, chosen by lot, and the shares of what they say.

use serde_json::{Value, json};

use super::{Ask, bad_flag, counts, manner, put, shown, span_ms, unready, whom};
use crate::cli::Context;
use crate::cli::operations::AskArgs;
use crate::error::{Failure, exit};

/// The quantile of the normal distribution for an interval of 95 %.
const Z: f64 = 1.959_964;

pub async fn ask(ctx: Context, args: AskArgs) -> Result<(), Failure> {
    if args.sample == 0 {
        return Err(bad_flag("--sample", "0", "1 and more"));
    }
    let mut ask = Ask::new(args.question);
    ask.sample = Some(args.sample);
    ask.window_ms = span_ms("--window", &args.window)?;
    ask.patient = true;
    whom(&mut ask, &args.whom)?;
    manner(&mut ask, &args.manner)?;
    let mut report = put(&ctx, "chorus.ask/1", ask).await?;
    let answered = report["ready"].as_u64().unwrap_or_default();
    for group in report["answers"].as_array_mut().into_iter().flatten() {
        let many = group["agents"].as_u64().unwrap_or_default();
        let (low, high) = wilson(many, answered);
        group["share"] = (many as f64 / answered.max(1) as f64).into();
        group["interval"] = json!([low, high]);
    }
    let words = words(&report);
    if answered > 0 {
        return ctx.answer(&report, &words);
    }
    let failure = Failure::new(exit::PARTIAL, "partial", "nobody has answered")
        .hint("ask again with a larger --window");
    ctx.answer_failed(&report, &words, failure)
}

/// The interval in which the share of all lies in 95 of 100 cases, when `many` of `all` that were
/// chosen by lot say so (Wilson 1927).
fn wilson(many: u64, all: u64) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (all as f64, many as f64 / all as f64);
    let middle = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    let bound = |it: f64| (it / scale).clamp(0.0, 1.0);
    (bound(middle - spread), bound(middle + spread))
}

fn words(report: &Value) -> String {
    let mut words = format!("{} of {} asked", report["expected"], report["population"]);
    for group in report["answers"].as_array().into_iter().flatten() {
        let percent = |it: &Value| it.as_f64().unwrap_or_default() * 100.0;
        let many = group["agents"].to_string();
        words += &format!(
            "\n{many:>8}  {:>5.1} % ({:.1} to {:.1})  {}",
            percent(&group["share"]),
            percent(&group["interval"][0]),
            percent(&group["interval"][1]),
            shown(group),
        );
    }
    format!("{words}{}\n{}", unready(report), counts(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        // Of scipy.stats.binomtest(7, 10).proportion_ci(0.95, "wilson").
        let (low, high) = wilson(7, 10);
        assert!((low - 0.396_778).abs() < 1e-5 && (high - 0.892_209).abs() < 1e-5);
        let (low, high) = wilson(0, 10);
        assert!(low == 0.0 && (high - 0.277_533).abs() < 1e-5, "{high}");
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }
}
