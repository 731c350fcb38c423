//! The members of the mesh as this node knows them: the rows of `peers`, and who is missing.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use chorus_actors::Snapshot;
use chorus_protocol::gossip::PeerView;
use chorus_protocol::ids::NodeId;
use chorus_protocol::trust::item::{Announcement, Entry};
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::PeerState;
use serde_json::{Value, json};

use super::name_of;

/// Rows of peers on one line of the control socket; far below its limit.
const ROWS_A_LINE: usize = 64;
/// Members that `status` calls absent by name; it counts the others.
const ABSENT_NAMED_MAX: usize = 8;

/// The rows of `chorus.peers/1` by name, on lines that hold some each; with `all` also the
/// members of the roster of whom nothing is known.
pub fn peers(snapshot: &Snapshot, all: bool) -> Vec<Value> {
    let mut rows: Vec<(&Entry, Option<&PeerView>)> = others(snapshot)
        .into_iter()
        .filter(|(_, peer)| all || peer.is_some())
        .collect();
    rows.sort_by(|(a, _), (b, _)| by_name(a, b));
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|(entry, peer)| row(snapshot, entry, peer))
        .collect();
    rows.chunks(ROWS_A_LINE)
        .map(|rows| json!({"peers": rows}))
        .collect()
}

/// What the members announced of themselves, as rows of `chorus.timeline/1`.
pub fn announced(snapshot: &Snapshot) -> Vec<Value> {
    let named = |node: &NodeId| snapshot.roster.get(node).map(|it| it.entry.name.as_str());
    let row = |it: &Announcement| {
        json!({
            "lamport": it.stamp.lamport,
            "node": it.node.to_string(),
            "name": named(&it.node),
            "what": "announced",
            "version": format!("{}@{}", it.node.short(), it.stamp.incarnation.0),
            "addresses": it.addresses.iter().map(|at| at.host.as_str()).collect::<Vec<_>>(),
        })
    };
    snapshot.roster.announcements().map(row).collect()
}

/// Members of the roster that live as far as this node knows, with itself.
pub fn live_members(snapshot: &Snapshot) -> usize {
    let own = usize::from(snapshot.roster.get(&snapshot.me.node).is_some());
    let others = others(snapshot);
    own + others.iter().filter(|(_, peer)| is_live(*peer)).count()
}

/// Why the mode is what it is: the members that do not live as far as this node knows.
pub fn absent(snapshot: &Snapshot) -> Value {
    let mut absent = others(snapshot);
    absent.retain(|(_, peer)| !is_live(*peer));
    absent.sort_by(|(a, _), (b, _)| by_name(a, b));
    let named: Vec<Value> = absent
        .iter()
        .take(ABSENT_NAMED_MAX)
        .map(|(entry, peer)| json!({"name": entry.name.as_str(), "state": state(*peer)}))
        .collect();
    json!({"count": absent.len(), "members": named})
}

/// Everyone on the roster but this node, with what is known of him.
fn others(snapshot: &Snapshot) -> Vec<(&Entry, Option<&PeerView>)> {
    let peers = snapshot.peers.iter().map(|peer| (peer.node, peer));
    let peers: BTreeMap<NodeId, &PeerView> = peers.collect();
    let members = snapshot.roster.members().map(|member| &*member.entry);
    members
        .filter(|entry| entry.node != snapshot.me.node)
        .map(|entry| (entry, peers.get(&entry.node).copied()))
        .collect()
}

fn row(snapshot: &Snapshot, entry: &Entry, peer: Option<&PeerView>) -> Value {
    json!({
        "node": entry.node.to_string(),
        "name": entry.name.as_str(),
        "role": entry.role.as_str(),
        "sector": entry.place.sector.as_str(),
        "cluster": entry.place.cluster.as_str(),
        "state": state(peer),
        "incarnation": peer.map(|peer| peer.stamp.incarnation.0),
        "lamport": peer.map(|peer| peer.stamp.lamport),
        "phase": peer.and_then(|peer| peer.theta),
        "age_ms": peer.map(|peer| millis(peer.age)),
        "rtt_ms": peer.and_then(|peer| peer.rtt).map(millis),
        "teller": peer.and_then(|peer| peer.teller).map(|node| name_of(snapshot, &node)),
        "drift": peer.map(|peer| json!({
            "lamport_gap": peer.drift.lamport_gap,
            "latency_ms": peer.drift.latency.map(millis),
            "lags": peer.drift.lags,
        })),
    })
}

fn is_live(peer: Option<&PeerView>) -> bool {
    peer.is_some_and(|peer| peer.state == PeerState::Live)
}

/// The name that commands and JSON use. `unheard`: neither it nor word of it has come, since
/// this node was started or for an hour.
fn state(peer: Option<&PeerView>) -> &'static str {
    match peer.map(|peer| peer.state) {
        Some(state) => state.as_str(),
        None => "unheard",
    }
}

fn millis(span: Micros) -> f64 {
    span.0 as f64 / 1e3
}

fn by_name(a: &Entry, b: &Entry) -> Ordering {
    let (of_a, of_b) = (natural(a.name.as_str()), natural(b.name.as_str()));
    of_a.cmp(&of_b).then_with(|| a.node.cmp(&b.node))
}

/// A name as people sort it: a2 before a10. Numbers that begin at the same place are compared
/// by their length and then by their digits; a label is at most 63 bytes.
fn natural(name: &str) -> Vec<(usize, &str)> {
    let same = |a: &u8, b: &u8| a.is_ascii_digit() == b.is_ascii_digit();
    let runs = name.as_bytes().chunk_by(same);
    let mut at = 0;
    runs.map(|run| {
        let text = &name[at..at + run.len()];
        at += run.len();
        match text.trim_start_matches('0') {
            number if run[0].is_ascii_digit() => (number.len(), number),
            _ => (usize::MAX, text),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_that_people_expect() {
        let mut names = ["s1-a10", "s10-a1", "s1-a2", "op", "s1", "s2-a1", "s1-a1"];
        names.sort_by_key(|name| natural(name));
        let expected = ["op", "s1", "s1-a1", "s1-a2", "s1-a10", "s2-a1", "s10-a1"];
        assert_eq!(names, expected);
        let long = format!("a{}", "1".repeat(40));
        assert!(natural("a9") < natural(&long), "no number is too long");
    }
}
