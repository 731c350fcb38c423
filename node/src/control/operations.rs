//! Operations over the control socket: the agents, and a question to them.

use chorus_actors::operations::{OperationsHandle, Question};
use chorus_protocol::ids::Label;
use chorus_protocol::op::answers::Why;
use chorus_protocol::op::gather::Config;
use chorus_protocol::op::{Output, Refusal, Report, Select, WINDOW_MAX};
use chorus_protocol::trust::Roster;
use chorus_protocol::units::Micros;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::memory::name;
use super::stopping;
use crate::error::Failure;
use crate::live::Live;

/// A question, as it crosses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// What.
    pub question: String,
    /// Only agents that can do this.
    pub capability: Option<Label>,
    /// How long answers are waited for.
    pub window_ms: u64,
    /// How many of a thousand must be ready.
    pub minimum: u32,
}

/// The agents that this node hosts, a line each, after one that counts those beneath it too.
pub async fn agents(live: &Live) -> Result<Vec<Value>, Failure> {
    let view = handle(live)?.view().await.ok_or_else(stopping)?;
    let capabilities = view.census.by_capability.iter();
    let capabilities: serde_json::Map<String, Value> = capabilities
        .map(|(name, many)| (name.to_string(), (*many).into()))
        .collect();
    let head = json!({
        "total": view.census.agents,
        "by_capability": capabilities,
        "refused": view.refused,
    });
    let row = |agent: &chorus_actors::worker::AgentPlan| {
        json!({
            "name": agent.name.to_string(),
            "backend": agent.backend.name(),
            "capabilities": agent.capabilities.iter().map(Label::to_string).collect::<Vec<_>>(),
            "concurrency": agent.concurrency,
            "queue": agent.queue,
            "timeout_ms": u64::try_from(agent.timeout.as_millis()).unwrap_or(u64::MAX),
        })
    };
    let pages = view.agents.chunks(64);
    let pages = pages.map(|page| json!({ "agents": page.iter().map(row).collect::<Vec<_>>() }));
    Ok([head].into_iter().chain(pages).collect())
}

/// Asks, and waits for the end: a line of how it ended, then one for each group of answers, then
/// those that are not ready.
pub async fn gather(ask: Ask, live: &Live) -> Result<Vec<Value>, Failure> {
    let window = Micros::from_millis(ask.window_ms).min(WINDOW_MAX);
    let question = Question {
        select: Select {
            capability: ask.capability,
        },
        text: ask.question.into_bytes(),
        config: Config {
            window,
            minimum: ask.minimum,
        },
    };
    let mut told = handle(live)?.ask(question);
    let report = loop {
        match told.recv().await {
            None => return Err(stopping()),
            Some(Output::Done(_, report)) => break report,
            Some(Output::Refused(_, why)) => return Err(refused(why)),
            Some(_) => {}
        }
    };
    let roster = live.snapshot().await.ok_or_else(stopping)?.roster;
    Ok(lines(&report, window, &roster))
}

fn handle(live: &Live) -> Result<&OperationsHandle, Failure> {
    live.operations().ok_or_else(stopping)
}

fn refused(why: Refusal) -> Failure {
    let message = why.to_string();
    match why {
        Refusal::Nobody => Failure::usage("nobody", message).hint(
            "`chorus agents` counts them; an agent is a [[agent]] table in the chorus.toml of \
             this node or of one beneath it",
        ),
        Refusal::TooLarge(_) => Failure::usage("too_large", message),
        Refusal::Busy => Failure::refused("busy", message).hint("ask again when some are over"),
    }
}

fn lines(report: &Report, window: Micros, roster: &Roster) -> Vec<Value> {
    let outcome = &report.outcome;
    let tally = outcome.tally;
    let operation = &report.operation;
    let head = json!({
        "operation": format!("{}@{}:{}", operation.origin.short(), operation.run.0, operation.number),
        "outcome": if outcome.success { "SUCCESS" } else { "PARTIAL" },
        "recommendation": (!outcome.success).then_some("retry_with_larger_window"),
        "decision": outcome.decision.name(),
        "confidence": tally.confidence(),
        "expected": tally.expected(),
        "ready": tally.ready,
        "conflict": tally.conflict,
        "transit": tally.transit,
        "skipped": tally.skipped,
        "late": 0,
        "elapsed_ms": outcome.elapsed.0 as f64 / 1_000.0,
        "window_ms": window.as_millis(),
        "arrival_error_ms": {"p50": null, "p90": null, "p99": null},
        "hit_rate": null,
        "idle_ms_mean": null,
        "left_out": report.answers.left_out,
        "unnamed": report.unready.more,
    });
    let agent =
        |it: &chorus_protocol::op::AgentName| format!("{}/{}", name(roster, &it.node), it.agent);
    let groups = report.answers.groups.iter().map(|group| {
        let mut row = json!({"agents": group.many, "one": agent(&group.one)});
        match std::str::from_utf8(&group.answer) {
            Ok(text) => row["answer"] = text.into(),
            Err(_) => row["base64"] = BASE64.encode(&group.answer).into(),
        }
        json!({ "group": row })
    });
    let unready = report.unready.named.iter().map(|(who, why)| {
        let (state, why) = match why {
            Why::Conflict(why) => ("conflict", why.clone()),
            Why::Lost(why) => ("transit", why.clone()),
            Why::Skipped {
                would_need_ms,
                available_ms,
            } => (
                "skipped",
                format!("would need {would_need_ms} ms, {available_ms} ms are left"),
            ),
        };
        json!({ "unready": {"agent": agent(who), "state": state, "why": why} })
    });
    [head].into_iter().chain(groups).chain(unready).collect()
}
