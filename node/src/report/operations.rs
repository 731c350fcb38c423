//! Operations and agents as JSON: what is sent over the control socket and printed.

use std::time::Duration;

use chorus_actors::worker::AgentPlan;
use chorus_protocol::arrival::reliability::Table;
use chorus_protocol::ids::{AgentName, Label, NodeId};
use chorus_protocol::impedance::summary::{Mesh, Sector};
use chorus_protocol::impedance::{Reading, Registry};
use chorus_protocol::op::answers::{Answers, Group, Unready, Why};
use chorus_protocol::op::quorum::Tally;
use chorus_protocol::op::readings::Point;
use chorus_protocol::op::{OperationId, Report};
use chorus_protocol::units::Micros;
use data_encoding::BASE64;
use serde_json::{Value, json};

/// Groups of answers in time, late ones, and agents that are not ready, of one answer: a line each.
const GROUPS_MAX: usize = 300;
const NAMED_MAX: usize = 300;
const _: () = assert!(1 + 2 * GROUPS_MAX + NAMED_MAX <= crate::control::LINES_MAX);
/// The longest answer as text, with what JSON puts before some letters.
const TEXT_BYTES_MAX: usize = 48 * 1024;

/// Who answered after the end, as far as that was heard.
#[derive(Debug, Clone, Default)]
pub struct Late {
    /// How many.
    pub many: u32,
    /// What all of them said.
    pub answers: Answers,
}

impl Late {
    /// More of them came.
    pub fn more(&mut self, many: u32, answers: Answers) {
        self.many += many;
        self.answers = answers;
    }
}

/// How an operation ended, and what came after it.
#[derive(Debug)]
pub struct Told<'a> {
    /// How it ended.
    pub report: &'a Report,
    /// The whole window.
    pub window: Micros,
    /// How many could have been asked.
    pub population: u32,
    /// Who answered after the end, as far as that was waited for.
    pub late: &'a Late,
    /// Where it is written who does yet.
    pub late_key: String,
}

impl Told<'_> {
    /// A line of how it ended, then one for each group of answers, then those that are not
    /// ready; nodes by the names that `name` gives them.
    pub fn lines(&self, name: impl Fn(&NodeId) -> String) -> Vec<Value> {
        let report = self.report;
        let outcome = &report.outcome;
        let tally = outcome.tally;
        let (groups, named) = (&report.answers.groups, &report.unready.named);
        let beyond = groups.iter().skip(GROUPS_MAX).map(|it| u64::from(it.many));
        let unready_many = tally.expected() - u64::from(tally.ready);
        let who = |it: &AgentName| format!("{}/{}", name(&it.node), it.agent);
        let mut head = json!({
            "operation": operation(&report.operation),
            "outcome": if outcome.success { "SUCCESS" } else { "PARTIAL" },
            "recommendation": (!outcome.success).then_some("retry_with_larger_window"),
            "decision": outcome.decision.name(),
            "confidence": tally.confidence(),
            "population": self.population,
            "expected": tally.expected(),
            "ready": tally.ready,
            "conflict": tally.conflict,
            "transit": tally.transit,
            "skipped": tally.skipped,
            "late": self.late.many,
            "late_key": (tally.transit > 0).then_some(&self.late_key),
            "elapsed_ms": millis(outcome.elapsed),
            "window_ms": self.window.as_millis(),
            "left_out": u64::from(report.answers.left_out) + beyond.sum::<u64>(),
            "unnamed": unready_many.saturating_sub(named.len().min(NAMED_MAX) as u64),
        });
        merge(&mut head, arrivals(&report.arrivals));
        let line = |kind: &str, group: &Group| {
            let mut row = answer_row(&group.answer);
            row["agents"] = group.many.into();
            row["one"] = who(&group.one).into();
            json!({ kind: row })
        };
        let late = &self.late.answers.groups;
        let groups = groups.iter().take(GROUPS_MAX).map(|it| line("group", it));
        let late = late.iter().take(GROUPS_MAX).map(|it| line("late", it));
        let unready = unready(&report.unready, &who);
        [head]
            .into_iter()
            .chain(groups)
            .chain(late)
            .chain(unready)
            .collect()
    }
}

fn unready(unready: &Unready, who: &impl Fn(&AgentName) -> String) -> Vec<Value> {
    let named = unready.named.iter().take(NAMED_MAX).map(|(agent, why)| {
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
        json!({ "unready": {"agent": who(agent), "state": state, "why": why} })
    });
    named.collect()
}

/// How near to T agents were: `arrival_error_ms`, `hit_rate`, `within_50_ms` and `idle_ms_mean`;
/// with what confidence in a hit they were asked is `confidence_mean`.
pub fn arrivals(table: &Table) -> Value {
    let error = |q: f64| table.error(q).map(millis);
    json!({
        "arrival_error_ms": {"p50": error(0.5), "p90": error(0.9), "p99": error(0.99)},
        "confidence_mean": table.promised(),
        "hit_rate": table.hit_rate(),
        "within_50_ms": table.near_rate(),
        "idle_ms_mean": table.mean_idle().map(millis),
    })
}

/// Puts the fields of one object into another.
pub fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn millis(span: Micros) -> f64 {
    span.0 as f64 / 1_000.0
}

fn operation(id: &OperationId) -> String {
    format!("{}@{}:{}", id.origin.short(), id.run.0, id.number)
}

/// It was sent to so many, and nobody is waited for.
pub fn sent(id: &OperationId, many: u64) -> Value {
    json!({
        "operation": operation(id),
        "outcome": "PARTIAL",
        "decision": "WAIT",
        "sent": many,
        "expected": many,
        "ready": 0,
        "conflict": 0,
        "transit": many,
        "skipped": 0,
        "late": 0,
    })
}

/// How far it is.
pub fn progress(tally: &Tally, expected: u64) -> Value {
    json!({
        "expected": expected,
        "ready": tally.ready,
        "conflict": tally.conflict,
        "skipped": tally.skipped,
        "transit": tally.transit,
    })
}

/// An answer as text; as base64 where it is none, or would be too long a line as text.
fn answer_row(answer: &[u8]) -> Value {
    let text = std::str::from_utf8(answer).ok().map(Value::from);
    match text.filter(|it| it.to_string().len() <= TEXT_BYTES_MAX) {
        Some(text) => json!({ "answer": text }),
        None => json!({ "base64": BASE64.encode(answer) }),
    }
}

/// An agent as it is configured.
pub fn plan(agent: &AgentPlan) -> Value {
    let capabilities = agent.capabilities.iter().map(Label::to_string);
    json!({
        "name": agent.name.to_string(),
        "class": agent.class.to_string(),
        "backend": agent.backend.name(),
        "capabilities": capabilities.collect::<Vec<_>>(),
        "concurrency": agent.concurrency,
        "queue": agent.queue,
        "timeout_ms": u64::try_from(agent.timeout.as_millis()).unwrap_or(u64::MAX),
    })
}

/// An agent as it is known, and as it is configured if it is this node's.
pub fn agent(node: &str, agent: &AgentName, reading: &Reading, here: Option<&AgentPlan>) -> Value {
    let capabilities = reading.capabilities.iter().map(Label::to_string);
    let flags = [
        ("slow", reading.flags.slow),
        ("unstable", reading.flags.unstable),
        ("spiking", reading.flags.spiking),
        ("crashing", reading.flags.crashing),
    ];
    let flags = flags.iter().filter(|it| it.1).map(|it| it.0);
    let mut row = here.map_or_else(|| json!({}), plan);
    let context = here.and_then(|it| it.backend.context()).or(reading.context);
    let known = json!({
        "name": agent.agent.to_string(),
        "node": node,
        "sector": reading.place.sector.to_string(),
        "cluster": reading.place.cluster.to_string(),
        "class": reading.class.to_string(),
        "state": reading.state,
        "impedance_ms": reading.z_ms,
        "score": reading.score().get(),
        "queued": reading.queue,
        "reliability": reading.reliability,
        "drift": reading.drift,
        "flags": flags.collect::<Vec<_>>(),
        "context": context.map(|it| it.to_string()),
        "capabilities": capabilities.collect::<Vec<_>>(),
    });
    merge(&mut row, known);
    row
}

/// The agents beneath a node in a few numbers: all, and by sector.
pub fn summary(registry: &Registry) -> Value {
    let clusters = registry.clusters();
    let mut names: Vec<_> = clusters.iter().map(|it| it.place.sector).collect();
    names.dedup();
    let sectors = names.into_iter().map(|it| Sector::of(it, &clusters));
    let sectors: Vec<Sector> = sectors.collect();
    let mesh = Mesh::of(&sectors);
    let rows = sectors.iter().map(|sector| {
        let standing = |it: &Option<chorus_protocol::impedance::summary::Standing>| {
            it.map(|it| json!({"cluster": it.cluster.to_string(), "mean_ms": it.mean}))
        };
        let mut row = tally(&sector.tally);
        row["sector"] = sector.sector.to_string().into();
        row["clusters"] = sector.clusters.into();
        row["healthy"] = sector.is_healthy().into();
        row["healthiest"] = standing(&sector.healthiest).into();
        row["sickest"] = standing(&sector.sickest).into();
        row
    });
    let mut all = tally(&mesh.tally);
    all["sectors_healthy"] = mesh.sectors_healthy.into();
    all["sectors_degraded"] = mesh.sectors_degraded.into();
    all["sectors"] = rows.collect();
    all
}

fn tally(tally: &chorus_protocol::impedance::summary::Tally) -> Value {
    json!({
        "count": tally.count,
        "active": tally.active,
        "mean_ms": tally.mean(),
        "p95_ms": tally.p95().map(|it| it.get()),
        "fastest_ms": tally.fastest.map(|it| it.score.get()),
        "slowest_ms": tally.slowest.map(|it| it.score.get()),
    })
}

/// A point of the history; `now` is when it was looked at, `since` ago.
pub fn point(point: &Point, now: Micros, since: Duration) -> Value {
    let age = now.since(point.at).as_millis() as u128 + since.as_millis();
    json!({
        "age_ms": u64::try_from(age).unwrap_or(u64::MAX),
        "count": point.count,
        "active": point.active,
        "mean_ms": point.mean,
    })
}

#[cfg(test)]
mod tests {
    use chorus_protocol::ids::Incarnation;
    use chorus_protocol::op::answers::ANSWER_BYTES_MAX;
    use chorus_protocol::op::gather::Outcome;
    use chorus_protocol::op::quorum::Decision;

    use super::*;
    use crate::control::{LINE_BYTES_MAX, LINES_MAX};

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
                tally: Tally {
                    transit: 1_005,
                    ..Tally::default()
                },
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
            arrivals: Box::default(),
        };
        let told = Told {
            report: &report,
            window: Micros(1),
            population: 9,
            late: &Late {
                many: 2_005,
                answers: report.answers.clone(),
            },
            late_key: "own/op/operation/1-1/late".into(),
        };
        let lines = told.lines(NodeId::short);
        assert!(lines.len() < LINES_MAX, "{}", lines.len());
        let longest = lines.iter().map(|it| it.to_string().len()).max();
        assert!(longest < Some(LINE_BYTES_MAX as usize), "{longest:?}");
        let told = [&lines[0]["left_out"], &lines[0]["unnamed"]];
        assert_eq!(told, [&Value::from(1_405), &Value::from(705)]);
        let text = answer_row("ä\n".as_bytes());
        assert_eq!(text, json!({"answer": "ä\n"}));
    }
}
