//! The JSON of a report as tables for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::faults::fault_words;
use super::memory::memory_words;

/// Where a node stands in the tree, in words.
pub(super) fn stands(status: &Value) -> String {
    match (&status["parent"], &status["role"]) {
        _ if status["revoked"] == true => {
            "REVOKED by the mesh's root: join again with new keys, in a new home".into()
        }
        (Value::String(name), _) => match ends_low(status) {
            Some(top) => format!("under {name}; the way up ends at a {top}"),
            None => format!("under {name}"),
        },
        _ if status["orphan"] == true => "no parent can be reached".into(),
        (_, Value::String(role)) if role == "orchestrator" => "at the top".into(),
        _ if status["parents_possible"] == 0 => {
            "at the top: nobody on the roster is above it".into()
        }
        _ => "no parent yet".into(),
    }
}

/// The tier on which the chain of parents ends, where that is lower than it could be.
pub fn ends_low(status: &Value) -> Option<&str> {
    status["top"]
        .as_str()
        .filter(|_| status["cut_off_above"] == true)
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

/// Why the mode is not the best, where it is not.
fn absent(status: &Value) -> Option<String> {
    let count = status["absent"]["count"]
        .as_u64()
        .filter(|count| *count > 0)?;
    let members = status["absent"]["members"].as_array()?;
    let mut named: Vec<String> = members
        .iter()
        .map(|it| format!("{} ({})", words(&it["name"]), words(&it["state"])))
        .collect();
    let others = count.saturating_sub(named.len() as u64);
    if others > 0 {
        named.push(format!("and {others} more"));
    }
    let (named, of) = (named.join(", "), words(&status["members"]));
    let are = if count == 1 { "is" } else { "are" };
    Some(format!(
        "{count} of {of} members {are} not live: {named}; see `chorus peers --all`"
    ))
}

/// Who runs twice.
fn twins(status: &Value) -> Option<String> {
    let nodes: Vec<String> = status["twins"].as_array()?.iter().map(words).collect();
    (!nodes.is_empty()).then(|| {
        format!(
            "two processes run with the keys of {}: a home was copied; stop one of them",
            nodes.join(", ")
        )
    })
}

/// What is wrong with a home that is older than what the node has said.
pub fn rewound(later_run: u64) -> String {
    format!(
        "an older copy of this home was put back: the node has been at incarnation {later_run} \
         before, and who heard that refuses this run"
    )
}

/// What to do then.
pub const REWOUND_HINT: &str = "stop the node, delete identity/boot and journal/ in its home, and \
    start it: it asks its peers how far it was, and tokens made before are void";

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
    if let Some(twins) = twins(status) {
        line("twins", twins);
    }
    if let Some(run) = status["later_run"].as_u64() {
        line("rewound", rewound(run));
    }
    line("key", s("node"));
    line("mode", format!("{}, quorum {}", s("mode"), s("quorum")));
    if let Some(absent) = absent(status) {
        line("absent", absent);
    }
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
                "revoked",
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
    for fault in status["faults"].as_array().into_iter().flatten() {
        line("fault", fault_words(fault));
    }
    line("clock", pairs(status, &["incarnation", "lamport"]));
    let checkpoint = &status["checkpoint"];
    if checkpoint["epoch"].is_u64() {
        let durable = words(&checkpoint["durable_epoch"]);
        let whole = &checkpoint["durable_whole_epoch"];
        let durable = match *whole == checkpoint["durable_epoch"] {
            true => durable,
            false => format!(
                "{durable} (a fragment; the last whole here: {})",
                words(whole)
            ),
        };
        line(
            "memory",
            format!(
                "checkpoint of epoch {}: {} members, {}; the last durable epoch: {durable}",
                words(&checkpoint["epoch"]),
                words(&checkpoint["members"]),
                words(&checkpoint["state"]),
            ),
        );
    }
    line("memory", memory_words(&status["memory"]));
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
        return "no peer has been heard of yet; `chorus peers --all` lists who belongs".into();
    }
    let head = [
        "NAME",
        "ROLE",
        "PLACE",
        "STATE",
        "PHASE rad",
        "HEARD",
        "RTT",
        "KEY",
    ];
    let mut table = vec![head.map(String::from)];
    for row in rows {
        let key: String = words(&row["node"]).chars().take(8).collect();
        table.push([
            words(&row["name"]),
            words(&row["role"]),
            format!("{}/{}", words(&row["sector"]), words(&row["cluster"])),
            words(&row["state"]),
            row["phase"]
                .as_f64()
                .map_or_else(|| "-".into(), |rad| format!("{rad:.2}")),
            span(&row["age_ms"], " ago"),
            span(&row["rtt_ms"], ""),
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

/// A span in milliseconds with three digits at most, in the unit that people would take.
fn span(ms: &Value, after: &str) -> String {
    let Some(ms) = ms.as_f64() else {
        return "-".into();
    };
    let text = match ms {
        ..9.995 => format!("{ms:.2} ms"),
        ..999.5 => format!("{ms:.0} ms"),
        ..59_950.0 => format!("{:.1} s", ms / 1e3),
        ..5_970_000.0 => format!("{:.0} min", ms / 6e4),
        _ => format!("{:.0} h", ms / 3.6e6),
    };
    text + after
}

fn number(value: &Value) -> String {
    value
        .as_f64()
        .map_or_else(|| "-".into(), |n| format!("{n:.3}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_missing_is_said_in_one_line_and_only_then() {
        let members =
            json!([{"name": "s1-a3", "state": "unheard"}, {"name": "s1-a4", "state": "evicted"}]);
        let status =
            |count: u64| json!({"members": 12, "absent": {"count": count, "members": members}});
        let line = "2 of 12 members are not live: s1-a3 (unheard), s1-a4 (evicted); \
                    see `chorus peers --all`";
        assert_eq!(absent(&status(2)).as_deref(), Some(line));
        let more = absent(&status(7)).unwrap_or_default();
        assert!(more.contains("s1-a4 (evicted), and 5 more; "), "{more}");
        assert!(status_words(&status(2)).contains(line));
        assert_eq!(
            absent(&json!({"absent": {"count": 0, "members": []}})),
            None
        );
    }

    #[test]
    fn who_runs_twice_is_said_only_then() {
        let said = twins(&json!({"twins": ["a1", "a2"]})).unwrap_or_default();
        assert!(said.contains("keys of a1, a2: "), "{said}");
        assert!(!status_words(&json!({"twins": []})).contains("twins"));
    }

    #[test]
    fn a_span_has_the_unit_that_fits() {
        let spans = [0.4123, 12.6, 1234.5, 90_000.0, 7_200_000.0].map(|ms| span(&json!(ms), ""));
        assert_eq!(spans, ["0.41 ms", "13 ms", "1.2 s", "2 min", "2 h"]);
        assert_eq!(
            (span(&Value::Null, " ago"), span(&json!(20), " ago")),
            ("-".into(), "20 ms ago".into())
        );
    }
}
