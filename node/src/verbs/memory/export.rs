//! `memory export`: the values that this node holds, one a line, in the order of writing:
//! by Lamport time, then by author. So a file that was imported comes out in its order.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ls::unsorted;
use super::output::Output;
use super::sorted::Sorter;
use super::{names, pages};
use crate::cli::Context;
use crate::cli::memory::PrefixArgs;
use crate::control::memory::Of;
use crate::error::{Failure, exit};

/// Damaged keys that are told one by one; all are counted.
const TOLD_MAX: usize = 100;

/// What came out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    exported: u64,
    conflicts: u64,
    /// Values that another program wrote, and that are no lines of JSON.
    not_json: u64,
    /// Keys whose value is damaged on this disk.
    damaged: u64,
}

pub async fn run(ctx: Context, args: PrefixArgs, out: Option<PathBuf>) -> Result<(), Failure> {
    let prefix = names::prefix(&ctx, &args)?;
    let out = out.filter(|path| path != Path::new("-"));
    let folder = out.as_deref().and_then(Path::parent);
    let folder = folder.filter(|it| !it.as_os_str().is_empty() && it.is_dir());
    // Beside a file there is room for the file; what goes to stdout is sorted elsewhere.
    let mut sorter = match (folder, &out) {
        (Some(folder), _) => Sorter::new(folder),
        (None, Some(_)) => Sorter::new(Path::new(".")),
        (None, None) => Sorter::new(&std::env::temp_dir()),
    };
    let mut output = match &out {
        Some(path) => Output::file(path)?,
        None => Output::stdout(),
    };
    let mut count = Count::default();
    let damaged = pages::each(&ctx, Of::Values, &prefix, |row| {
        if row["conflict"] == 0 {
            count.conflicts += 1;
        }
        let Some(text) = row["text"].as_str() else {
            count.not_json += 1;
            return Ok(());
        };
        count.exported += 1;
        let line = format!("{text}\n").into_bytes();
        sorter.push(order(&row), line).map_err(unsorted)
    });
    let damaged = damaged.await?;
    count.damaged = damaged.len() as u64;
    let mut sorted = sorter.sorted().map_err(unsorted)?;
    while let Some((_, line)) = sorted.next().map_err(unsorted)? {
        output.write(&line)?;
    }
    output.end()?;
    for at in damaged.iter().take(TOLD_MAX) {
        eprintln!("damaged: {at}");
    }
    tell(&ctx, out.as_deref(), count)
}

/// What a line is sorted by.
fn order(row: &Value) -> Vec<u8> {
    let lamport = row["lamport"].as_u64().unwrap_or_default();
    let author = row["author"].as_str().unwrap_or_default();
    let version = row["version"].as_str().unwrap_or_default();
    [
        &lamport.to_be_bytes()[..],
        author.as_bytes(),
        version.as_bytes(),
    ]
    .concat()
}

/// On stdout only where the lines are not there.
fn tell(ctx: &Context, out: Option<&Path>, count: Count) -> Result<(), Failure> {
    let words = words(&count);
    let mut report = json!({
        "schema": "chorus.memory_export/1",
        "exported": count.exported,
        "conflicts": count.conflicts,
        "not_json": count.not_json,
        "damaged": count.damaged,
        "out": out,
    });
    let failure = Failure::new(
        exit::PARTIAL,
        "damaged",
        format!(
            "{} keys or stretches of keys are damaged on this disk and left out",
            count.damaged
        ),
    )
    .hint("see `chorus memory verify`; they come back from other nodes that hold them");
    let is_whole = count.damaged == 0;
    if let (false, Some(fields)) = (is_whole, report.as_object_mut()) {
        fields.insert("code".into(), failure.code.clone().into());
        fields.insert("exit".into(), failure.exit.into());
    }
    match (out.is_some(), is_whole) {
        (true, true) => ctx.answer(&report, &words),
        (true, false) => ctx.answer_failed(&report, &words, failure),
        (false, _) => {
            eprintln!("{words}");
            if is_whole { Ok(()) } else { stop(ctx, failure) }
        }
    }
}

/// Behind lines on stdout there is no room for a failure in JSON.
fn stop(ctx: &Context, failure: Failure) -> Result<(), Failure> {
    if ctx.json {
        eprintln!("error: {}", failure.message);
        std::process::exit(i32::from(failure.exit));
    }
    Err(failure)
}

fn words(count: &Count) -> String {
    let mut words = format!("{} values exported", count.exported);
    if count.conflicts > 0 {
        words += &format!(
            "; {} keys are in conflict, and each of their values is a line",
            count.conflicts
        );
    }
    if count.not_json > 0 {
        words += &format!("; {} values are no JSON and left out", count.not_json);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_lamports_and_then_the_authors() {
        let at = |lamport: u64, author: &str| {
            order(&json!({"lamport": lamport, "author": author, "version": "v"}))
        };
        let mut keys = [at(256, "a"), at(2, "b"), at(2, "a"), at(255, "z")];
        keys.sort();
        assert_eq!(keys, [at(2, "a"), at(2, "b"), at(255, "z"), at(256, "a")]);
    }

    #[test]
    fn what_is_odd_is_counted() {
        let mut count = Count {
            exported: 3,
            ..Count::default()
        };
        assert_eq!(words(&count), "3 values exported");
        (count.conflicts, count.not_json) = (1, 2);
        let words = words(&count);
        assert!(words.contains("1 keys are in conflict") && words.contains("2 values are no"));
    }
}
