//! Operations over the control socket: the agents, and a question to them.

use chorus_actors::operations::OperationsHandle;
use chorus_actors::worker::AgentPlan;
use chorus_protocol::ids::{AgentName, Label, NodeId};
use chorus_protocol::impedance::{Class, Need, Reading, Weight};
use chorus_protocol::op::census::Census;
use chorus_protocol::op::gather::Config;
use chorus_protocol::op::{
    Output, Priority, Question, Refusal, Request, Select, Verb, WINDOW_MAX, When,
};
use chorus_protocol::units::Micros;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout_at};

use super::late::{self, Decided};
use super::memory::name;
use super::stopping;
use super::story::Story;
use crate::error::Failure;
use crate::live::Live;
use crate::report::operations::Late;
use crate::report::{kpi as report_kpi, operations as report};

/// Agents on one line of an answer, and most of one answer.
const ROWS: usize = 64;
const AGENTS_MAX: usize = 60_000;
/// Capabilities in one hint.
const NAMED_MAX: usize = 32;

/// A question, as it crosses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// What.
    pub question: String,
    /// Only agents that can do all of this.
    pub capabilities: Vec<Label>,
    /// Only agents of this class.
    pub class: Option<Class>,
    /// So many of them, by lot.
    pub sample: Option<u32>,
    /// Not agents but the nodes so many steps down.
    pub tier: Option<u8>,
    /// The whole window.
    pub window_ms: u64,
    /// When all are to be ready.
    pub at: At,
    /// How many of a thousand must be ready.
    pub minimum: u32,
    /// Whether it goes on when the decision is certain.
    pub patient: bool,
    /// Whether it does not wait for anybody.
    pub only_sent: bool,
    /// So much longer late answers are heard.
    pub late_ms: u64,
    /// How much there is to process.
    pub weight: Weight,
    /// Which lane.
    pub priority: Priority,
    /// What is wanted.
    pub verb: Verb,
}

/// When all are to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// Each as soon as it can.
    Now,
    /// In so many milliseconds.
    InMs(u64),
    /// At the first T at which most can, no later than in so many milliseconds.
    AutoWithinMs(u64),
}

impl Ask {
    /// A question to all agents, as `gather` asks it when nothing else is said.
    pub fn new(question: String) -> Self {
        Self {
            question,
            capabilities: Vec::new(),
            class: None,
            sample: None,
            tier: None,
            window_ms: 500,
            at: At::Now,
            minimum: 950,
            patient: false,
            only_sent: false,
            late_ms: 0,
            weight: Weight::STANDARD,
            priority: Priority::default(),
            verb: Verb::default(),
        }
    }

    fn question(self) -> Question {
        let millis = Micros::from_millis;
        Question {
            select: Select {
                capabilities: self.capabilities,
                class: self.class,
                sample: self.sample,
                agent: None,
                tier: self.tier,
            },
            request: Request {
                priority: self.priority,
                weight: self.weight,
                verb: self.verb,
                ..Request::new(self.question.into_bytes())
            },
            config: Config {
                window: millis(self.window_ms).min(WINDOW_MAX),
                minimum: self.minimum,
                patient: self.patient,
            },
            when: match self.at {
                At::Now => When::Now,
                At::InMs(ms) => When::In(millis(ms)),
                At::AutoWithinMs(ms) => When::Auto { limit: millis(ms) },
            },
        }
    }
}

/// Which agents are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agents {
    /// Also those beneath, best first; else those of this node.
    pub all: bool,
    /// Only those that can do all of this.
    pub capabilities: Vec<Label>,
    /// Only those of this class.
    pub class: Option<Class>,
    /// Only those that may be given work, up to this impedance.
    pub up_to_ms: Option<u32>,
    /// So many at most.
    pub limit: usize,
    /// The last hour instead.
    pub history: bool,
}

/// The agents, some on a line, after one that counts all.
pub async fn agents(ask: Agents, live: &Live) -> Result<Vec<Value>, Failure> {
    let operations = handle(live)?;
    let view = operations.view().await.ok_or_else(stopping)?;
    let now = Instant::now();
    let roster = live.snapshot().await.ok_or_else(stopping)?.roster;
    let me = view.me;
    let plans = view.agents.clone();
    let look = move |readings: &chorus_protocol::op::readings::Readings| {
        let registry = readings.registry();
        let summary = report::summary(registry);
        let row = |agent: &AgentName, reading: &Reading| (*agent, reading.clone());
        let meets = |reading: &Reading| {
            let class = ask.class.is_none_or(|it| it == reading.class);
            let can = |it: &Label| reading.capabilities.contains(it);
            class && ask.capabilities.iter().all(can)
        };
        let mut rows: Vec<(AgentName, Reading)> = match (ask.all, ask.up_to_ms) {
            (true, Some(up_to)) => {
                let need = Need {
                    capabilities: &ask.capabilities,
                    class: ask.class,
                    z_ms_max: Some(up_to),
                };
                let best = registry.best(ask.limit, need).into_iter();
                let row = |it: chorus_protocol::impedance::registry::Candidate| {
                    Some(row(&it.agent, registry.get(&it.agent)?))
                };
                best.filter_map(row).collect()
            }
            (true, None) => {
                let all = registry.iter().filter(|it| meets(it.1));
                let mut all: Vec<_> = all.map(|it| row(it.0, it.1)).collect();
                all.sort_by_key(|(agent, it)| (it.z_ms, *agent));
                all
            }
            (false, _) => {
                let here = registry.iter().filter(|it| it.0.node == me && meets(it.1));
                here.map(|it| row(it.0, it.1)).collect()
            }
        };
        if ask.all {
            rows.truncate(ask.limit.min(AGENTS_MAX));
        }
        let history = readings.history().filter(|_| ask.history);
        (summary, rows, history.copied().collect::<Vec<_>>())
    };
    let (summary, rows, history) = operations.read(look).await.ok_or_else(stopping)?;
    let capabilities = view.census.by_capability();
    let names = |it: (&Label, &u32)| (it.0.to_string(), Value::from(*it.1));
    let by_capability: serde_json::Map<String, Value> = capabilities.iter().map(names).collect();
    let by_class = view.census.by_class();
    let by_class = by_class.iter().map(|it| (it.0.to_string(), (*it.1).into()));
    let by_class: serde_json::Map<String, Value> = by_class.collect();
    let head = json!({
        "total": view.census.agents(),
        "by_capability": by_capability,
        "by_class": by_class,
        "refused": view.refused,
        "summary": summary,
    });
    let rows: Vec<Value> = rows
        .iter()
        .map(|(agent, reading)| {
            let plan = plans
                .iter()
                .find(|it| agent.node == me && it.name == agent.agent);
            report::agent(&name(&roster, &agent.node), agent, reading, plan)
        })
        .collect();
    let pages = rows.chunks(ROWS).map(|page| json!({ "agents": page }));
    let points: Vec<Value> = history
        .iter()
        .map(|it| report::point(it, view.now, now.elapsed()))
        .collect();
    let points = points.chunks(ROWS).map(|page| json!({ "history": page }));
    Ok([head].into_iter().chain(pages).chain(points).collect())
}

/// Asks, and waits for the end: a line of how it ended, then one for each group of answers, then
/// those that are not ready.
pub async fn gather(
    ask: Ask,
    live: &Live,
    tell: mpsc::Sender<Value>,
) -> Result<Vec<Value>, Failure> {
    let operations = handle(live)?;
    let (late_ms, only_sent) = (ask.late_ms, ask.only_sent);
    let asked = ask.question.clone();
    let question = ask.question();
    let window = question.config.window;
    let census = operations.census().await.ok_or_else(stopping)?;
    let population = census.count(&question.select);
    let mut told = operations.ask(question);
    let mut expected = 0;
    let report = loop {
        match told.recv().await {
            None => return Err(stopping()),
            Some(Output::Done(_, report)) => break report,
            Some(Output::Refused(_, why)) => return Err(refused(why, &census)),
            Some(Output::Began(_, operation, many)) => {
                if only_sent {
                    return Ok(vec![report::sent(&operation, many)]);
                }
                expected = many;
            }
            Some(Output::Progress(_, tally)) => {
                // Whoever reads slowly sees less.
                let _ = tell.try_send(report::progress(&tally, expected));
            }
            Some(_) => {}
        }
    };
    let mut late = Late::default();
    let until = Instant::now() + Duration::from_millis(late_ms);
    // Who has contradicted or was not asked is not late.
    while late_ms > 0
        && late.many < report.outcome.tally.transit
        && let Ok(Some(word)) = timeout_at(until, told.recv()).await
    {
        if let Output::Late(_, many, answers) = word {
            late.more(many, answers);
        }
    }
    let roster = live.roster().await.ok_or_else(stopping)?;
    let decided = Decided {
        question: asked,
        story: Story {
            memory: live.memory().ok_or_else(stopping)?.clone(),
            me: report.operation.origin,
            kind: "operation",
            id: format!("{}-{}", report.operation.run.0, report.operation.number),
        },
        operations: operations.clone(),
        roster,
        report,
    };
    let lines = report::Told {
        report: &decided.report,
        window,
        population,
        late: &late,
        late_key: decided.story.key("late"),
    };
    let lines = lines.lines(|node: &NodeId| name(&decided.roster, node));
    late::keep(decided, late, told);
    Ok(lines)
}

/// What agents there are, for whoever asked for others.
fn there(census: &Census) -> String {
    let classes: Vec<String> = census.by_class().keys().map(|it| it.to_string()).collect();
    let capabilities = census.by_capability();
    let mut names: Vec<String> = capabilities.keys().map(Label::to_string).collect();
    if names.len() > NAMED_MAX {
        names.truncate(NAMED_MAX);
        names.push("and others".into());
    }
    let can = match names.is_empty() {
        true => "no agent has a capability".to_owned(),
        false => format!("there are the capabilities {}", names.join(", ")),
    };
    format!(
        "{can}, and the classes {}; people (F) are asked by --class F only",
        classes.join(", ")
    )
}

/// The measures of operations, a line each, and what predictions were worth.
pub async fn kpi(live: &Live) -> Result<Vec<Value>, Failure> {
    let operations = handle(live)?;
    let now = operations.view().await.ok_or_else(stopping)?.now;
    let kpis = operations.read(|it| it.kpis().clone()).await;
    let kpis = kpis.ok_or_else(stopping)?;
    let mut rows = report_kpi::kpis(&kpis, now);
    rows.push(json!({ "reliability": report_kpi::reliability(&kpis, now) }));
    Ok(rows)
}

/// An agent that a node hosts, as it is configured.
pub fn agent_row(agent: &AgentPlan) -> Value {
    report::plan(agent)
}

pub(super) fn handle(live: &Live) -> Result<&OperationsHandle, Failure> {
    live.operations().ok_or_else(stopping)
}

pub fn refused(why: Refusal, census: &Census) -> Failure {
    let message = why.to_string();
    match why {
        Refusal::Nobody if census.agents() == 0 => Failure::usage("nobody", message).hint(
            "there is no agent yet: one is a [[agent]] table in the chorus.toml of this node or \
             of one beneath it",
        ),
        Refusal::Nobody => Failure::usage("nobody", message).hint(there(census)),
        Refusal::TooLarge(_) => Failure::usage("too_large", message),
        Refusal::BadTime(_) => Failure::usage("bad_time", message)
            .hint("leave --at out, and the mesh chooses the first T that most can keep"),
        Refusal::Busy(_) => Failure::refused("busy", message).hint("ask again when some are over"),
    }
}
