//! Reads all of a node's store, page by page.

use std::time::Duration;

use serde_json::Value;

use super::ask;
use crate::cli::Context;
use crate::control::memory::{Ask, Of};
use crate::error::Failure;

/// How long a page may take on a slow disk, beside what every question may.
const PAGE_MAX: Duration = Duration::from_secs(20);

/// Gives every row of the keys that begin with `prefix`, in no order that people know. Returns
/// where keys are damaged on this node's disk, whatever they are called: each is a position
/// in hex, or the one behind which an unknown number cannot be read.
pub async fn each(
    ctx: &Context,
    of: Of,
    prefix: &str,
    mut take: impl FnMut(Value) -> Result<(), Failure>,
) -> Result<Vec<String>, Failure> {
    let (mut from, mut damaged) = (None, Vec::new());
    loop {
        let prefix = prefix.to_owned();
        let page = Ask::Page { of, prefix, from };
        let mut lines = ask(ctx, page, PAGE_MAX).await?;
        let last = lines.pop().unwrap_or_default();
        for mut line in lines {
            if let Value::Array(rows) = line["rows"].take() {
                rows.into_iter().try_for_each(&mut take)?;
            }
        }
        let places = last["damaged"].as_array().into_iter().flatten();
        damaged.extend(places.filter_map(|it| it.as_str().map(str::to_owned)));
        match last["next"].as_str() {
            Some(next) => from = Some(next.to_owned()),
            None => return Ok(damaged),
        }
    }
}
