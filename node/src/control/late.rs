//! Late: what agents say of a question that was decided without them. It is kept as one record of
//! this node's own, `own/NODE/operation/RUN-NUMBER/late`, that grows as they come.

use std::sync::Arc;
use std::time::Duration;

use chorus_actors::operations::OperationsHandle;
use chorus_protocol::ids::{AgentName, Digest};
use chorus_protocol::op::answers::Group;
use chorus_protocol::op::{Output, Report};
use chorus_protocol::trust::roster::Roster;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::hearing::Newest;
use super::memory::name;
use super::story::{Story, answer_row_within, beginning_within};
use crate::report::operations::Late;

/// How long they are heard, and of which questions.
const LATE: Duration = Duration::from_secs(3_600);
static HEARD: Newest = Newest::new();
/// Bytes of answers in one record, which holds 12 KiB.
const ROWS_BYTES_MAX: usize = 9 * 1024;
/// What is left of each, with what is said of it beside.
const ROW_BYTES_MIN: usize = 512;
/// Bytes of the question there.
const QUESTION_BYTES: usize = 256;

/// A question that was decided.
pub struct Decided {
    /// What was asked.
    pub question: String,
    /// How it ended.
    pub report: Box<Report>,
    /// Where that is written.
    pub story: Story,
    /// What is known of agents.
    pub operations: OperationsHandle,
    /// Who is called what.
    pub roster: Arc<Roster>,
}

/// Hears on, and writes down who is late, those too that were heard before.
pub fn keep(decided: Decided, mut late: Late, mut told: mpsc::Receiver<Output>) {
    let tally = decided.report.outcome.tally;
    let owed = tally.transit;
    if owed == 0 {
        return;
    }
    let hearing = tokio::spawn(async move {
        let until = Instant::now() + LATE;
        let mut written = 0;
        loop {
            if late.many > written {
                written = late.many;
                let row = decided.row(&late).await;
                if let Err(why) = decided.story.write("late", row).await {
                    tracing::warn!(why = why.message, "late answers could not be kept");
                }
            }
            if late.many >= owed {
                return;
            }
            match timeout_at(until, told.recv()).await {
                Ok(Some(Output::Late(_, many, answers))) => late.more(many, answers),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    });
    HEARD.add(hearing.abort_handle());
}

impl Decided {
    async fn row(&self, late: &Late) -> Value {
        let counted = &self.report.answers.groups;
        let groups = &late.answers.groups;
        let ones: Vec<AgentName> = groups
            .iter()
            .chain(counted.first())
            .map(|it| it.one)
            .collect();
        let asked = ones.clone();
        let contexts = self.operations.read(move |readings| {
            let context = |it| readings.registry().get(it)?.context;
            asked.iter().map(context).collect::<Vec<Option<Digest>>>()
        });
        let contexts = contexts.await.unwrap_or_default();
        let of = |one: &AgentName| {
            let at = ones.iter().position(|it| it == one)?;
            contexts.get(at).copied().flatten()
        };
        let usual = counted.first().and_then(|it| of(&it.one));
        // All have their share of the room, and at least what tells them apart.
        let share = (ROWS_BYTES_MAX / groups.len().max(1)).clamp(ROW_BYTES_MIN, ROWS_BYTES_MAX)
            - ROW_BYTES_MIN / 2;
        let row = |group: &Group| {
            let mut row = answer_row_within(&group.answer, share);
            let known = counted.iter().any(|it| it.answer == group.answer);
            let (node, agent) = (name(&self.roster, &group.one.node), group.one.agent);
            row["agents"] = group.many.into();
            row["one"] = format!("{node}/{agent}").into();
            row["differs"] = (!known).into();
            if diverges(!known, of(&group.one), usual) {
                row["kind"] = "CONTEXT_DIVERGENCE".into();
            }
            row
        };
        let (mut rows, mut bytes, mut left_out) = (Vec::new(), 0, late.answers.left_out);
        for group in groups {
            let row = row(group);
            bytes += row.to_string().len();
            match bytes <= ROWS_BYTES_MAX {
                true => rows.push(row),
                false => left_out += group.many,
            }
        }
        json!({
            "question": beginning_within(&self.question, QUESTION_BYTES),
            "decision": self.report.outcome.decision.name(),
            "late": late.many,
            "answers": rows,
            "left_out": left_out,
        })
    }
}

/// Whether somebody who says something else than all who counted does so from another context
/// than most of them: two incompatible models of the world.
fn diverges(differs: bool, its: Option<Digest>, usual: Option<Digest>) -> bool {
    differs && its.zip(usual).is_some_and(|(its, usual)| its != usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_answer_of_another_context_is_a_divergence() {
        let (one, two) = (Some(Digest([1; 32])), Some(Digest([2; 32])));
        assert!(diverges(true, one, two));
        for (differs, its, usual) in [
            (false, one, two),
            (true, one, one),
            (true, None, two),
            (true, one, None),
        ] {
            assert!(!diverges(differs, its, usual));
        }
    }
}
