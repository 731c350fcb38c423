//! `agents inbox` and `agents answer`: what waits for the people of a node, and their answers.

use chorus_storage::Home;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::operations::{AgentsArgs, AgentsVerb, SaidArgs};
use crate::control::inbox::{Ask, Word};
use crate::control::{self, Request};
use crate::error::Failure;

/// Most letters of a question in the table; `--json` has all of it.
const SHOWN: usize = 400;

/// `agents` with or without a verb of its own.
pub async fn run(ctx: Context, args: AgentsArgs) -> Result<(), Failure> {
    let flagged = args.is_flagged();
    match args.what {
        None => super::operations::agents(ctx, args).await,
        Some(_) if flagged => {
            let message = "flags of `agents` itself say nothing to `agents inbox` and `answer`";
            Err(Failure::usage("bad_flag", message))
        }
        Some(AgentsVerb::Inbox) => inbox(ctx).await,
        Some(AgentsVerb::Answer { number, said }) => answer(ctx, number, said).await,
    }
}

async fn inbox(ctx: Context) -> Result<(), Failure> {
    let lines = control::ask(&Home::at(&ctx.dir), &Request::Inbox { ask: Ask::List }).await?;
    let (head, rows) = lines.split_first().ok_or_else(not_understood)?;
    let words = match rows {
        [] => "no question waits for a person of this node".to_owned(),
        rows => rows.iter().map(line).collect::<Vec<_>>().join("\n"),
    };
    let report = json!({
        "schema": "chorus.inbox/1",
        "waiting": head["waiting"],
        "questions": rows,
    });
    ctx.answer(&report, &words)
}

async fn answer(ctx: Context, number: u64, said: SaidArgs) -> Result<(), Failure> {
    let said = match (said.text, said.conflict) {
        (Some(text), _) => Word::Answer(text),
        (None, Some(why)) => Word::Conflict(why),
        (None, None) => Word::Decline,
    };
    let request = Request::Inbox {
        ask: Ask::Answer(number, said),
    };
    let lines = control::ask(&Home::at(&ctx.dir), &request).await?;
    let row = lines.first().ok_or_else(not_understood)?;
    let mut report = row.clone();
    report["schema"] = "chorus.answer/1".into();
    let words = format!("answered {}", line(row).trim_start());
    ctx.answer(&report, &words)
}

fn not_understood() -> Failure {
    Failure::failed("bad_answer", "the node's answer is not understood")
}

fn line(row: &Value) -> String {
    let seconds = |name: &str| row[name].as_u64().unwrap_or_default() / 1_000;
    let question = match row["question"].as_str() {
        Some(text) => text.chars().take(SHOWN).collect(),
        None => format!("in base64: {}", row["base64"]),
    };
    format!(
        "{:>5}  for {}, {} s old, {} s left: {question}",
        row["number"].to_string(),
        row["agent"].as_str().unwrap_or_default(),
        seconds("age_ms"),
        seconds("left_ms"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_line_that_says_how_long_there_is() {
        let row = json!({
            "number": 3, "agent": "anna", "question": "ship it?", "age_ms": 2_500, "left_ms": 57_000,
        });
        let expected = "    3  for anna, 2 s old, 57 s left: ship it?";
        assert_eq!(line(&row), expected);
    }
}
