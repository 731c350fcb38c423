//! The JSON of a report as tables for people.

use std::fmt::Write as _;

use serde_json::Value;

/// Where a node stands in the tree, in words.
pub(super) fn stands(status: &Value) -> String {
    match (&status["parent"], &status["role"]) {
        _ if status["revoked"] == true => {
            "REVOKED by the mesh's root: join again with new keys, in a new home".into()
        }
        (Value::String(name), _) => format!("under {name}"),
        _ if status["orphan"] == true => "no parent can be reached".into(),
        (_, Value::String(role)) if role == "orchestrator" => "at the top".into(),
        _ => "no parent yet".into(),
    }
}

/// What keeps an orphan from its parents, where it is something that people can mend.
fn missing(status: &Value) -> Option<String> {
    let nodes = status["no_address_of"].as_array()?;
    let nodes: Vec<String> = nodes.iter().map(words).collect();
    if status["orphan"] != true || nodes.is_empty() {
        return None;
    }
    Some(format!(
        "no address is known of {}: a node tells its own when it runs with net.advertise set, \
         and others pass it on. Let this one reach any of its possible parents that knows it, \
         or join again (in a new home) with a token that `chorus invite` made on a node that \
         this one can reach",
        nodes.join(", ")
    ))
}

/// A node at a glance, for people.
pub fn status_words(status: &Value) -> String {
    let s = |key: &str| words(&status[key]);
    let (phase, peers, frames) = (&status["phase"], &status["peers"], &status["frames"]);
    let parent = stands(status);
    let mut out = String::new();
    let mut line = |label: &str, text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{label:<8} {text}");
    };
    line(
        "node",
        format!(
            "{}, {} in {}/{}, {parent}",
            s("name"),
            s("role"),
            s("sector"),
            s("cluster")
        ),
    );
    if let Some(missing) = missing(status) {
        line("missing", missing);
    }
    line("key", s("node"));
    line("mode", format!("{}, quorum {}", s("mode"), s("quorum")));
    line(
        "phase",
        format!(
            "θ {} rad, ω {} rad/s",
            number(&phase["theta"]),
            number(&phase["omega"])
        ),
    );
    line(
        "order",
        format!(
            "r {} over {} live (sector {}, cluster {})",
            number(&phase["order"]),
            words(&phase["live"]),
            number(&phase["order_sector"]),
            number(&phase["order_cluster"])
        ),
    );
    line("peers", pairs(peers, &["live", "suspect", "evicted"]));
    line(
        "frames",
        pairs(
            frames,
            &[
                "received",
                "applied",
                "stale",
                "forged",
                "malformed",
                "dropped",
            ],
        ),
    );
    let agents = &status["agents"];
    line(
        "agents",
        format!(
            "{} of {} live",
            words(&agents["active"]),
            words(&agents["total"])
        ),
    );
    line("clock", pairs(status, &["incarnation", "lamport"]));
    line(
        "storage",
        pairs(&status["storage"], &["state", "unwritten"]),
    );
    out.truncate(out.trim_end().len());
    out
}

/// The peers as a table, for people.
pub fn peers_words(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no peer has been heard of yet".into();
    }
    let head = [
        "NAME", "ROLE", "PLACE", "STATE", "PHASE", "AGE ms", "RTT ms", "KEY",
    ];
    let mut table = vec![head.map(String::from)];
    for row in rows {
        let key: String = words(&row["node"]).chars().take(8).collect();
        table.push([
            words(&row["name"]),
            words(&row["role"]),
            format!("{}/{}", words(&row["sector"]), words(&row["cluster"])),
            words(&row["state"]),
            number(&row["phase"]),
            number(&row["age_ms"]),
            number(&row["rtt_ms"]),
            key,
        ]);
    }
    columns(&table)
}

/// Rows under each other, each column as wide as its widest cell.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn pairs(object: &Value, keys: &[&str]) -> String {
    let pairs = keys
        .iter()
        .map(|key| format!("{key} {}", words(&object[*key])));
    pairs.collect::<Vec<_>>().join(", ")
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

fn number(value: &Value) -> String {
    value
        .as_f64()
        .map_or_else(|| "-".into(), |n| format!("{n:.3}"))
}
