//! `memory ls`: the keys that this node holds, by name.

use serde_json::{Value, json};

use super::output::Output;
use super::sorted::Sorter;
use super::{names, pages};
use crate::cli::Context;
use crate::cli::memory::PrefixArgs;
use crate::control::memory::Of;
use crate::error::Failure;

pub async fn run(ctx: Context, args: PrefixArgs, all: bool) -> Result<(), Failure> {
    let prefix = names::prefix(&ctx, &args)?;
    let mut sorter = Sorter::new(&std::env::temp_dir());
    let damaged = pages::each(&ctx, Of::Keys, &prefix, |row| {
        let wanted = all || row["values"] != 0;
        let key = row["key"].as_str().unwrap_or_default().as_bytes().to_vec();
        match wanted {
            true => sorter
                .push(key, row.to_string().into_bytes())
                .map_err(unsorted),
            false => Ok(()),
        }
    });
    let damaged = damaged.await?.len();
    let mut sorted = sorter.sorted().map_err(unsorted)?;
    let mut out = Output::stdout();
    if ctx.json {
        let head = json!({"schema": "chorus.memory_ls/1", "prefix": prefix, "damaged": damaged});
        // Open at its end: the rows are not held to be put in.
        let head = head.to_string();
        out.write(format!("{},\"keys\":[", &head[..head.len() - 1]).as_bytes())?;
    }
    let mut many = 0;
    while let Some((_, row)) = sorted.next().map_err(unsorted)? {
        if ctx.json {
            out.write(if many > 0 { b"," } else { b"" })?;
            out.write(&row)?;
        } else {
            if many == 0 {
                out.write(format!("{}\n", columns("BYTES", "BY", "KEY")).as_bytes())?;
            }
            let row = serde_json::from_slice(&row).unwrap_or_default();
            out.write(format!("{}\n", words(&row)).as_bytes())?;
        }
        many += 1;
    }
    if ctx.json {
        out.write(b"]}\n")?;
    }
    out.end()?;
    if !ctx.json && many == 0 {
        eprintln!(
            "this node holds nothing{}",
            match prefix.as_str() {
                "" => String::new(),
                prefix => format!(" whose key begins with {prefix}"),
            }
        );
    }
    if damaged > 0 {
        eprintln!("{damaged} keys are damaged on this disk and not listed: chorus memory verify");
    }
    Ok(())
}

/// What cannot be sorted, and where there may be more room.
pub fn unsorted(why: std::io::Error) -> Failure {
    Failure::failed("no_room", format!("no room to sort what was read: {why}"))
        .hint("set TMPDIR to a folder on a disk with room")
}

fn columns(bytes: &str, by: &str, key: &str) -> String {
    format!("{bytes:>8}  {by:<16}  {key}")
}

fn words(row: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let writers = row["writers"].as_array();
    let writers: Vec<String> = writers.into_iter().flatten().map(text).collect();
    let mark = match (row["conflict"] == true, row["values"] == 0) {
        (true, _) => " CONFLICT",
        (_, true) => " (deleted)",
        _ => "",
    };
    let key = text(&row["key"]) + mark;
    columns(&row["bytes"].to_string(), &writers.join(","), &key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_size_writers_key_and_what_is_odd() {
        let row = |values: u32, writers: &[&str]| {
            words(&json!({"key": "shared/plan", "bytes": 12, "values": values,
                "conflict": values > 1, "writers": writers}))
        };
        assert_eq!(row(1, &["a"]), "      12  a                 shared/plan");
        assert!(row(2, &["a", "b"]).ends_with("a,b               shared/plan CONFLICT"));
        assert!(row(0, &[]).ends_with("shared/plan (deleted)"));
    }
}
