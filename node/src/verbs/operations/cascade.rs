//! `cascade`: a question through the whole mesh, all at once, tier after tier, or class after class.

use chorus_protocol::impedance::Class;
use serde_json::{Value, json};

use super::{Ask, counts, end, gather, put, series, unready, weight};
use crate::cli::Context;
use crate::cli::operations::{CascadeArgs, CascadeOrder};
use crate::error::{Failure, exit};

/// All at once (MESH-30K, 3.3): the window in ms, and of a thousand how many must be ready.
pub const PARALLEL: (u64, u32) = (1_000, 900);
/// Tier after tier: its name, the window in ms, and of a thousand how many must confirm.
const WAVE: [(&str, Option<u8>, u64, u32); 3] = [
    ("sectors", Some(1), 200, 980),
    ("clusters", Some(2), 1_000, 950),
    ("agents", None, 2_000, 950),
];
/// Class after class, and of a thousand how many must be ready.
const PRIORITY_FIRST: [(Class, u32); 5] = [
    (Class::Gpu, 990),
    (Class::Persistent, 980),
    (Class::Serverless, 950),
    (Class::Edge, 900),
    (Class::Local, 850),
];
const SCHEMA: &str = "chorus.cascade/1";

pub async fn cascade(ctx: Context, args: CascadeArgs) -> Result<(), Failure> {
    let mut ask = Ask::new(args.question);
    ask.weight = weight(args.weight)?;
    match args.order {
        CascadeOrder::Parallel => parallel(&ctx, ask).await,
        CascadeOrder::Wave => wave(&ctx, ask).await,
        CascadeOrder::PriorityFirst => priority_first(&ctx, ask).await,
    }
}

async fn parallel(ctx: &Context, mut ask: Ask) -> Result<(), Failure> {
    (ask.window_ms, ask.minimum) = PARALLEL;
    let mut report = put(ctx, SCHEMA, ask).await?;
    report["order"] = "parallel".into();
    end(ctx, &report, &gather::words(&report))
}

/// Each tier confirms that it is there before the next is asked.
async fn wave(ctx: &Context, ask: Ask) -> Result<(), Failure> {
    let mut phases = Vec::new();
    let mut failed = None;
    for (name, tier, window_ms, minimum) in WAVE {
        let phase = Ask {
            tier,
            window_ms,
            minimum,
            ..ask.clone()
        };
        match put(ctx, SCHEMA, phase).await {
            // A tree without that tier has nothing to confirm there.
            Err(failure) if failure.code == "nobody" && tier.is_some() => continue,
            Err(failure) => return Err(failure),
            Ok(mut report) => {
                report["phase"] = name.into();
                let success = report["outcome"] == "SUCCESS";
                phases.push(report);
                if !success {
                    failed = Some(name);
                    break;
                }
            }
        }
    }
    let status = match failed {
        None => "SUCCESS",
        Some("sectors") => "FAILED_AT_SECTOR",
        Some("clusters") => "FAILED_AT_CLUSTER",
        Some(_) => "FAILED_AT_AGENT",
    };
    finish(ctx, "wave", status, phases)
}

/// A class that fails is noted, and the next is asked all the same.
async fn priority_first(ctx: &Context, ask: Ask) -> Result<(), Failure> {
    let mut phases = Vec::new();
    for (class, minimum) in PRIORITY_FIRST {
        let phase = Ask {
            class: Some(class),
            minimum,
            ..ask.clone()
        };
        match put(ctx, SCHEMA, phase).await {
            Err(failure) if failure.code == "nobody" => {}
            Err(failure) => return Err(failure),
            Ok(mut report) => {
                report["phase"] = format!("class {class}").into();
                phases.push(report);
            }
        }
    }
    if phases.is_empty() {
        let message = "no agent beneath this node can be asked that";
        return Err(Failure::usage("nobody", message).hint("`chorus agents` counts them"));
    }
    let failed = phases.iter().any(|it| it["outcome"] != "SUCCESS");
    let status = if failed { "DEGRADED" } else { "SUCCESS" };
    finish(ctx, "priority-first", status, phases)
}

fn finish(ctx: &Context, order: &str, status: &str, phases: Vec<Value>) -> Result<(), Failure> {
    let rows = phases.iter().map(|it| {
        let name = it["phase"].as_str().unwrap_or_default();
        format!("\n{name:<9} {}{}", counts(it), unready(it))
    });
    let words = format!("{status}{}", rows.collect::<String>());
    let mut report = series(SCHEMA, phases);
    report["order"] = order.into();
    report["status"] = status.into();
    total(&mut report);
    if status == "SUCCESS" {
        return ctx.answer(&report, &words);
    }
    let failure = Failure::new(exit::PARTIAL, "partial", format!("the cascade is {status}"))
        .hint("each phase says who was not ready and why");
    ctx.answer_failed(&report, &words, failure)
}

/// The counts of all phases that were about agents, and how long all of them took.
fn total(report: &mut Value) {
    let phases = report["phases"].as_array().cloned().unwrap_or_default();
    let of_agents =
        |it: &&Value| !["sectors", "clusters"].contains(&it["phase"].as_str().unwrap_or_default());
    for name in [
        "expected", "ready", "conflict", "transit", "skipped", "late",
    ] {
        let of = phases
            .iter()
            .filter(of_agents)
            .filter_map(|it| it[name].as_u64());
        report[name] = of.sum::<u64>().into();
    }
    for name in [
        "operation",
        "recommendation",
        "window_ms",
        "arrival_error_ms",
        "hit_rate",
        "idle_ms_mean",
    ] {
        let last = phases.last().map(|it| it[name].clone());
        report[name] = last.unwrap_or_default();
    }
    let failed = phases.iter().find(|it| it["outcome"] != "SUCCESS");
    let deciding = failed.or(phases.last()).cloned().unwrap_or_default();
    report["outcome"] = deciding["outcome"].clone();
    report["decision"] = deciding["decision"].clone();
    let elapsed = phases.iter().filter_map(|it| it["elapsed_ms"].as_f64());
    report["elapsed_ms"] = json!(elapsed.sum::<f64>());
}
