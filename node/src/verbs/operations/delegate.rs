//! `delegate`: a task for the best agent, and for the next if that one is lost.

use std::io::IsTerminal;
use std::time::Duration;

use chorus_protocol::ids::Label;
use chorus_protocol::impedance::Class;
use chorus_storage::Home;
use serde_json::Value;

use super::{PATIENCE, bad_flag, lane, read, shown, span_ms};
use crate::cli::Context;
use crate::cli::operations::DelegateArgs;
use crate::control::delegate::{Delegate, To};
use crate::control::{self, Request};
use crate::error::Failure;

pub async fn delegate(ctx: Context, args: DelegateArgs) -> Result<(), Failure> {
    let timeout_ms = span_ms("--timeout", &args.timeout)?;
    let stages = [&args.to].into_iter().chain(&args.then);
    let stages: Vec<To> = stages.map(|it| to(it)).collect::<Result<_, _>>()?;
    let mut ask = Delegate {
        task: args.task,
        to: To::Best,
        up_to_ms: Some(args.up_to).filter(|it| *it > 0),
        timeout_ms,
        priority: lane(args.priority)?,
        after: None,
    };
    let mut done: Vec<Value> = Vec::new();
    for stage in stages {
        ask.to = stage;
        let mut report = one(&ctx, ask.clone()).await?;
        ask.task = report["answer"].as_str().unwrap_or_default().to_owned();
        // For the next stage, and for nobody else.
        ask.after = serde_json::from_value(report["after"].take()).unwrap_or_default();
        report.as_object_mut().map(|it| it.remove("after"));
        // What was cut for the record is no task.
        let cut = report["cut_from_bytes"].is_u64();
        done.push(report);
        if cut && done.len() <= args.then.len() {
            let message = format!(
                "the answer of stage {} is longer than a task of the next may be",
                done.len()
            );
            return Err(Failure::failed("too_long", message)
                .hint("let that stage say less; its answer is kept as the effect of its task"));
        }
    }
    let words: Vec<String> = done.iter().map(words).collect();
    let mut report = done.last().cloned().unwrap_or_default();
    report["schema"] = "chorus.delegate/1".into();
    report["stages"] = done.into();
    ctx.answer(&report, &words.join("\n"))
}

/// One stage.
async fn one(ctx: &Context, ask: Delegate) -> Result<Value, Failure> {
    let within = Duration::from_millis(ask.timeout_ms) + PATIENCE;
    let home = Home::at(&ctx.dir);
    let told = !ctx.json && std::io::stderr().is_terminal();
    let see = |step: &Value| {
        let text = |name: &str| step[name].as_str().unwrap_or_default();
        match text("why") {
            _ if !told => {}
            "" => eprintln!("given to {}", text("agent")),
            why => eprintln!("{}: {why}", text("agent")),
        }
    };
    let lines = control::ask_seeing(&home, &Request::Delegate { ask }, within, see).await?;
    Ok(lines.into_iter().next().unwrap_or_default())
}

fn words(report: &Value) -> String {
    let key = report["key"].as_str().unwrap_or_default();
    format!(
        "{}\nby {}, attempt {}, after {:.1} s; the story: chorus timeline {}",
        shown(report),
        report["agent"].as_str().unwrap_or_default(),
        report["attempt"],
        report["elapsed_ms"].as_f64().unwrap_or_default() / 1e3,
        key.trim_end_matches("effect"),
    )
}

fn to(text: &str) -> Result<To, Failure> {
    let allowed = "`best`, `class:D`, `can:LABEL` or `NODE/AGENT`";
    let bad = || bad_flag("--to", text, allowed);
    if text == "best" {
        return Ok(To::Best);
    }
    if let Some(class) = text.strip_prefix("class:") {
        return Ok(To::Class(read::<Class>("--to", class)?));
    }
    if let Some(capability) = text.strip_prefix("can:") {
        return Ok(To::Capability(read::<Label>("--to", capability)?));
    }
    let (node, agent) = text.split_once('/').ok_or_else(bad)?;
    Ok(To::Agent(read("--to", node)?, read("--to", agent)?))
}
