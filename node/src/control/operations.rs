//! Operations over the control socket: the agents, and a question to them.

use chorus_actors::operations::{OperationsHandle, Question};
use chorus_actors::worker::AgentPlan;
use chorus_protocol::ids::{Label, NodeId};
use chorus_protocol::op::answers::Why;
use chorus_protocol::op::gather::Config;
use chorus_protocol::op::{AgentName, Output, Refusal, Report, Select, WINDOW_MAX};
use chorus_protocol::units::Micros;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::memory::name;
use super::stopping;
use crate::error::Failure;
use crate::live::Live;

/// Agents on one line of an answer.
const ROWS: usize = 64;
/// Groups of answers, and agents that are not ready, of one answer: a line each.
const GROUPS_MAX: usize = 400;
const NAMED_MAX: usize = 400;
/// The longest answer as text, with what JSON puts before some letters.
const TEXT_BYTES_MAX: usize = 48 * 1024;

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
    let page = |page: &[AgentPlan]| {
        let rows: Vec<Value> = page.iter().map(agent_row).collect();
        json!({ "agents": rows })
    };
    let pages = view.agents.chunks(ROWS).map(page);
    Ok([head].into_iter().chain(pages).collect())
}

/// An agent that a node hosts.
pub fn agent_row(agent: &AgentPlan) -> Value {
    let capabilities = agent.capabilities.iter().map(Label::to_string);
    json!({
        "name": agent.name.to_string(),
        "backend": agent.backend.name(),
        "capabilities": capabilities.collect::<Vec<_>>(),
        "concurrency": agent.concurrency,
        "queue": agent.queue,
        "timeout_ms": u64::try_from(agent.timeout.as_millis()).unwrap_or(u64::MAX),
    })
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
    Ok(lines(&report, window, |node| name(&roster, node)))
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

fn lines(report: &Report, window: Micros, name: impl Fn(&NodeId) -> String) -> Vec<Value> {
    let outcome = &report.outcome;
    let tally = outcome.tally;
    let operation = &report.operation;
    let (groups, named) = (&report.answers.groups, &report.unready.named);
    let beyond = groups.iter().skip(GROUPS_MAX).map(|it| u64::from(it.many));
    let agent = |it: &AgentName| format!("{}/{}", name(&it.node), it.agent);
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
        // Nobody is, before it is over.
        "late": 0,
        "elapsed_ms": outcome.elapsed.0 as f64 / 1_000.0,
        "window_ms": window.as_millis(),
        "arrival_error_ms": {"p50": null, "p90": null, "p99": null},
        "hit_rate": null,
        "idle_ms_mean": null,
        "left_out": u64::from(report.answers.left_out) + beyond.sum::<u64>(),
        "unnamed": u64::from(report.unready.more) + named.len().saturating_sub(NAMED_MAX) as u64,
    });
    let groups = groups.iter().take(GROUPS_MAX).map(|group| {
        let mut row = answer_row(&group.answer);
        row["agents"] = group.many.into();
        row["one"] = agent(&group.one).into();
        json!({ "group": row })
    });
    let unready = named.iter().take(NAMED_MAX).map(|(who, why)| {
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

/// An answer as text; as base64 where it is none, or would be too long a line as text.
fn answer_row(answer: &[u8]) -> Value {
    let text = std::str::from_utf8(answer).ok().map(Value::from);
    match text.filter(|it| it.to_string().len() <= TEXT_BYTES_MAX) {
        Some(text) => json!({ "answer": text }),
        None => json!({ "base64": BASE64.encode(answer) }),
    }
}

#[cfg(test)]
mod tests {
    use chorus_protocol::ids::Incarnation;
    use chorus_protocol::op::OperationId;
    use chorus_protocol::op::answers::{ANSWER_BYTES_MAX, Answers, Group, Unready};
    use chorus_protocol::op::gather::Outcome;
    use chorus_protocol::op::quorum::{Decision, Tally};

    use super::super::{LINE_BYTES_MAX, LINES_MAX};
    use super::*;

    #[test]
    fn the_longest_answers_of_very_many_are_lines_that_a_client_takes() {
        let one = AgentName {
            node: NodeId([7; 32]),
            agent: Label::new("e").expect("a name"),
        };
        let group = |n: u16| {
            let mut answer = vec![0; ANSWER_BYTES_MAX];
            answer[..2].copy_from_slice(&n.to_be_bytes());
            Group {
                answer: answer.into(),
                many: 2,
                one,
            }
        };
        let report = Report {
            operation: OperationId {
                origin: NodeId([7; 32]),
                run: Incarnation(1),
                number: 1,
            },
            outcome: Outcome {
                tally: Tally::default(),
                decision: Decision::Retry,
                success: false,
                elapsed: Micros(1),
            },
            answers: Answers {
                groups: (0..1_000).map(group).collect(),
                left_out: 5,
            },
            unready: Unready {
                named: vec![(one, Why::Lost("\u{1}".repeat(120))); 1_000],
                more: 5,
            },
        };
        let lines = lines(&report, Micros(1), NodeId::short);
        assert!(lines.len() < LINES_MAX, "{}", lines.len());
        let longest = lines.iter().map(|it| it.to_string().len()).max();
        assert!(longest < Some(LINE_BYTES_MAX as usize), "{longest:?}");
        let told = [&lines[0]["left_out"], &lines[0]["unnamed"]];
        assert_eq!(told, [&Value::from(1_205), &Value::from(605)]);
        let text = answer_row("ä\n".as_bytes());
        assert_eq!(text, json!({"answer": "ä\n"}));
    }
}
