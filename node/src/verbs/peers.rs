//! `peers`: the nodes that the node of this home knows, itself left out; with `--all` also
//! those of the roster that it knows nothing of.

use chorus_storage::Home;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::control::{self, Request};
use crate::error::Failure;
use crate::report;

pub async fn run(ctx: Context, all: bool) -> Result<(), Failure> {
    let rows = rows(&Home::at(&ctx.dir), all).await?;
    let words = report::peers_words(&rows);
    ctx.answer(&json!({"schema": "chorus.peers/1", "peers": rows}), &words)
}

/// The rows of `chorus.peers/1`, by name.
pub async fn rows(home: &Home, all: bool) -> Result<Vec<Value>, Failure> {
    let mut lines = control::ask(home, &Request::Peers { all }).await?;
    let rows = lines
        .iter_mut()
        .filter_map(|line| match line["peers"].take() {
            Value::Array(rows) => Some(rows),
            _ => None,
        });
    Ok(rows.flatten().collect())
}
