//! `peers`: the nodes that the node of this home knows, itself left out.

use chorus_storage::Home;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::control::{self, Request};
use crate::error::Failure;
use crate::report;

pub async fn run(ctx: Context) -> Result<(), Failure> {
    let rows = rows(&Home::at(&ctx.dir)).await?;
    let words = report::peers_words(&rows);
    ctx.answer(&json!({"schema": "chorus.peers/1", "peers": rows}), &words);
    Ok(())
}

/// The rows of `chorus.peers/1`, by key.
pub async fn rows(home: &Home) -> Result<Vec<Value>, Failure> {
    let mut lines = control::ask(home, &Request::Peers {}).await?;
    let rows = lines
        .iter_mut()
        .filter_map(|line| match line["peers"].take() {
            Value::Array(rows) => Some(rows),
            _ => None,
        });
    Ok(rows.flatten().collect())
}
