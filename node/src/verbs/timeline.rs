//! `timeline`: what stands on this node, as one causal order: by Lamport time, then by node.
//!
//! A write's Lamport time is above those of all writes that it had seen, so no effect comes
//! before its cause, and nodes that hold the same print the same.

use std::collections::VecDeque;

use chorus_storage::Home;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::memory::ls::unsorted;
use super::memory::output::Output;
use super::memory::sorted::Sorter;
use super::memory::{names, pages};
use crate::cli::Context;
use crate::cli::memory::TimelineArgs;
use crate::control::memory::{Ask, Of};
use crate::control::{self, Request};
use crate::error::Failure;

pub async fn run(ctx: Context, args: TimelineArgs) -> Result<(), Failure> {
    let home = Home::at(&ctx.dir);
    let prefix = names::prefix(&ctx, &args.prefix)?;
    let mut sorter = Sorter::new(&std::env::temp_dir());
    let mut push = |row: Value| {
        if row["lamport"].as_u64() < Some(args.since) {
            return Ok(());
        }
        let line = row.to_string().into_bytes();
        sorter.push(order(&row), line).map_err(unsorted)
    };
    if prefix.is_empty() {
        for mut line in control::ask(&home, &Request::Announced {}).await? {
            if let Value::Array(rows) = line["rows"].take() {
                rows.into_iter().try_for_each(&mut push)?;
            }
        }
    }
    let damaged = pages::each(&ctx, Of::Writes, &prefix, push).await?.len();
    let digest = Request::Memory {
        ask: Ask::Digest {},
    };
    let held = control::ask(&home, &digest).await?;
    let whole = held.first().is_some_and(|it| it["whole"] == true);

    let mut sorted = sorter.sorted().map_err(unsorted)?;
    let mut print = Print::new(&ctx, args.last)?;
    while let Some((by, row)) = sorted.next().map_err(unsorted)? {
        print.push(&by, row)?;
    }
    print.end(whole, damaged)
}

/// What an event is sorted by; of two nodes that hold the same it is the same.
fn order(row: &Value) -> Vec<u8> {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let lamport = row["lamport"].as_u64().unwrap_or_default();
    let rest = [text("node"), text("what"), text("version"), text("key")];
    [&lamport.to_be_bytes()[..], rest.join("\0").as_bytes()].concat()
}

/// Prints events as they come, the last ones when all have.
struct Print {
    out: Output,
    json: bool,
    last: Option<usize>,
    held: VecDeque<Vec<u8>>,
    printed: u64,
    /// Over what all events were sorted by, those that are not printed too.
    digest: Sha256,
    events: u64,
}

impl Print {
    fn new(ctx: &Context, last: Option<usize>) -> Result<Self, Failure> {
        let mut out = Output::stdout();
        out.write(match ctx.json {
            true => b"{\"schema\":\"chorus.timeline/1\",\"events\":[",
            false => b"",
        })?;
        Ok(Self {
            out,
            json: ctx.json,
            last,
            held: VecDeque::new(),
            printed: 0,
            digest: Sha256::new(),
            events: 0,
        })
    }

    fn push(&mut self, by: &[u8], row: Vec<u8>) -> Result<(), Failure> {
        self.digest.update((by.len() as u64).to_be_bytes());
        self.digest.update(by);
        self.events += 1;
        let Some(last) = self.last else {
            return self.print(&row);
        };
        self.held.push_back(row);
        if self.held.len() > last {
            self.held.pop_front();
        }
        Ok(())
    }

    fn print(&mut self, row: &[u8]) -> Result<(), Failure> {
        let is_first = self.printed == 0;
        self.printed += 1;
        if self.json {
            self.out.write(if is_first { b"" } else { b"," })?;
            return self.out.write(row);
        }
        if is_first {
            let head = columns("LAMPORT", "NODE", "WHAT");
            self.out.write(format!("{head}\n").as_bytes())?;
        }
        let row = serde_json::from_slice(row).unwrap_or_default();
        self.out.write(format!("{}\n", words(&row)).as_bytes())
    }

    fn end(mut self, whole: bool, damaged: usize) -> Result<(), Failure> {
        for row in std::mem::take(&mut self.held) {
            self.print(&row)?;
        }
        let digest = HEXLOWER.encode(&self.digest.clone().finalize());
        if self.json {
            let tail = json!({
                "digest": digest,
                "all": self.events,
                "whole": whole && damaged == 0,
                "damaged": damaged,
            });
            // Its opening brace is that of the head.
            let tail = tail.to_string();
            self.out.write(format!("],{}\n", &tail[1..]).as_bytes())?;
            return self.out.end();
        }
        self.out.end()?;
        eprintln!("{}", summary(self.events, &digest, whole, damaged));
        Ok(())
    }
}

fn summary(events: u64, digest: &str, whole: bool, damaged: usize) -> String {
    let short = &digest[..digest.len().min(16)];
    let mut words = format!("{events} events, digest {short}");
    if damaged > 0 {
        words += &format!("; in {damaged} places keys are damaged on this disk and left out");
    }
    if !whole {
        words += "; this node does not hold every key of the mesh: a coordinator does";
    }
    words
}

fn columns(lamport: &str, node: &str, what: &str) -> String {
    format!("{lamport:>12}  {node:<16}  {what}")
}

fn words(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let node = match row["name"].as_str() {
        Some(name) => name.to_owned(),
        None => text("node").chars().take(8).collect(),
    };
    let what = match text("what") {
        "announced" => {
            let hosts = row["addresses"].as_array();
            let hosts: Vec<&str> = hosts
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            match hosts.is_empty() {
                true => "announced itself".into(),
                false => format!("announced itself at {}", hosts.join(", ")),
            }
        }
        what => {
            let bytes = row["bytes"].as_u64();
            let bytes = bytes.map_or_else(String::new, |it| format!(", {it} bytes"));
            let begins = row["begins"].as_str().map(|it| format!(": {it}"));
            let begins = begins.unwrap_or_default();
            let mark = if row["conflict"] == true {
                " CONFLICT"
            } else {
                ""
            };
            format!("{what} {}{bytes}{mark}{begins}", text("key"))
        }
    };
    columns(&row["lamport"].to_string(), &node, &what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(lamport: u64, node: &str, conflict: bool) -> Value {
        json!({"lamport": lamport, "node": node, "name": "a", "what": "wrote",
            "key": "shared/plan", "version": "v", "bytes": 12, "begins": "{\"step\":1",
            "conflict": conflict})
    }

    #[test]
    fn the_order_is_lamports_and_then_the_nodes() {
        let mut all = [
            wrote(256, "a", false),
            wrote(2, "b", false),
            wrote(2, "a", false),
        ];
        all.sort_by_key(order);
        let times: Vec<_> = all
            .iter()
            .map(|it| (it["lamport"].clone(), it["node"].clone()))
            .collect();
        assert_eq!(
            times,
            [
                (2.into(), "a".into()),
                (2.into(), "b".into()),
                (256.into(), "a".into())
            ]
        );
    }

    #[test]
    fn an_event_says_when_who_and_what() {
        assert_eq!(
            words(&wrote(118, "aa", true)),
            "         118  a                 wrote shared/plan, 12 bytes CONFLICT: {\"step\":1"
        );
        let up = json!({"lamport": 3, "node": "0123456789", "name": null, "what": "announced",
            "addresses": ["a.lan", "10.0.0.1"]});
        assert_eq!(
            words(&up),
            "           3  01234567          announced itself at a.lan, 10.0.0.1"
        );
        assert!(summary(2, "00", false, 0).contains("a coordinator does"));
        assert!(summary(2, "00", true, 1).contains("in 1 places"));
        assert_eq!(summary(2, "00", true, 0), "2 events, digest 00");
    }
}
