//! The lines of an answer about checkpoints, and the CSV of a vector.

use chorus_protocol::ids::NodeId;
use chorus_protocol::memory::checkpoint::{Copy, Part, Row};
use chorus_protocol::trust::roster::Roster;
use serde_json::{Value, json};

use super::found::Found;

/// Rows of one line: of at most 130 bytes each, below the limit of a line.
pub const PER_LINE: usize = 128;
/// The first line of a vector.
const HEAD: &str = "node,phase,omega,lamport\n";

/// One checkpoint at a glance.
pub fn row(found: &Found, roster: &Roster) -> Value {
    let mut row = json!({
        "epoch": found.epoch(),
        "state": found.state().map(|state| state.as_str()),
        "verified": found.copy.is_ok(),
        "damage": found.copy.as_ref().err(),
    });
    let Ok(copy) = &found.copy else { return row };
    let header = copy.header();
    let (holders, held) = match copy {
        Copy::Whole(whole) => (whole.part().holders().count(), json!("whole")),
        Copy::Fragment(it) => (it.seal.plan.of, json!("fragment")),
    };
    let fragment = match copy {
        Copy::Whole(_) => Value::Null,
        Copy::Fragment(it) => json!({"number": it.number, "needed": it.seal.plan.needed}),
    };
    for (key, value) in [
        ("root", json!(header.root.to_string())),
        ("members", json!(copy.members())),
        ("holders", json!(holders)),
        ("held", held),
        ("fragment", fragment),
        ("live", json!(header.live)),
        ("signer", json!(header.signer.to_string())),
        ("signer_name", json!(name(roster, &header.signer))),
        ("parent", json!(header.parent.to_string())),
        ("roster", json!(header.roster.to_string())),
        ("bytes", json!(copy.bytes().len())),
    ] {
        row[key] = value;
    }
    row
}

/// The vector, in lines.
pub fn vector(part: &Part) -> Vec<Value> {
    let rows: Vec<String> = part.members().iter().map(Row::to_csv).collect();
    let lines = rows.chunks(PER_LINE);
    lines.map(|rows| json!({ "rows": rows })).collect()
}

/// The rows of several lines.
pub fn joined(lines: Vec<Value>) -> Vec<Value> {
    let rows = lines
        .into_iter()
        .filter_map(|mut it| match it["rows"].take() {
            Value::Array(rows) => Some(rows),
            _ => None,
        });
    rows.flatten().collect()
}

/// The whole file of a vector.
pub fn csv(rows: &[Value]) -> String {
    let mut text = HEAD.to_owned();
    for row in rows.iter().filter_map(Value::as_str) {
        text.push_str(row);
        text.push('\n');
    }
    text
}

/// What a node is called, where the roster still knows.
pub fn name(roster: &Roster, node: &NodeId) -> String {
    let member = roster.get(node);
    member.map_or_else(|| node.short(), |member| member.entry.name.to_string())
}
