//! What a node says of itself: its state as the JSON objects that scripts rely on, and as
//! tables for people. The tables are made from the JSON, so both always say the same.

use std::collections::BTreeMap;

use chorus_actors::Snapshot;
use chorus_protocol::ids::NodeId;
use chorus_protocol::wire::Signer;
use serde_json::{Value, json};

mod faults;
pub mod kpi;
mod members;
mod memory;
pub mod operations;
mod words;
pub use faults::{CLASSES, faults};
pub use members::{announced, live_members, peers};
pub use memory::{LOSSES, memory, memory_words};
pub use words::{REWOUND_HINT, columns, ends_low, peers_words, rewound, status_words};

/// Refusals that mean somebody signed what he may not. What is neither one of them nor
/// [`REVOKED`] is malformed.
const FORGERIES: [&str; 5] = [
    "wrong_mesh",
    "unknown_signer",
    "forged",
    "old_enrolment",
    "wrong_audience",
];

/// The refusal of frames in the name of a member that was shut out.
const REVOKED: &str = "revoked_signer";

/// `chorus.status/1`.
pub fn status(snapshot: &Snapshot) -> Value {
    let view = &snapshot.view;
    let place = snapshot.me.place;
    let [live, suspect, evicted] = view.peers;
    let counter = |names: &[&str]| sum(&snapshot.counters, |name| names.contains(&name));
    let refused = |wanted: &dyn Fn(&str) -> bool| sum(&snapshot.refusals, wanted);
    let forged = |name: &str| FORGERIES.contains(&name);
    let revoked = |name: &str| name == REVOKED;
    let operations = &snapshot.operations;
    let (total, active) = operations.kpis.agents();
    json!({
        "schema": "chorus.status/1",
        "node": snapshot.me.node.to_string(),
        "name": snapshot.name.as_str(),
        "role": snapshot.me.role.as_str(),
        "sector": place.sector.as_str(),
        "cluster": place.cluster.as_str(),
        "incarnation": snapshot.incarnation.0,
        "lamport": snapshot.lamport,
        "mode": mode(snapshot),
        "absent": members::absent(snapshot),
        "phase": {
            "theta": view.theta,
            "omega": view.omega,
            "order": view.order,
            "order_cluster": view.order_cluster,
            "order_sector": view.order_sector,
            "live": view.members,
        },
        "peers": {"live": live, "suspect": suspect, "evicted": evicted},
        "quorum": "none",
        "frames": {
            "received": counter(&["gossip_received", "link_received", "door_received"]),
            "applied": view.counters.applied,
            "stale": view.counters.stale,
            "forged": refused(&forged),
            "revoked": refused(&revoked),
            "malformed": refused(&|name| !forged(name) && !revoked(name)) + counter(&["malformed"]),
            "dropped": counter(&["gossip_over_share", "gossip_dropped", "door_dropped", "door_limited"]),
        },
        "memory": memory::memory(&snapshot.memory, live_members(snapshot)),
        "checkpoint": checkpoint(snapshot),
        "agents": {"active": active, "total": total, "mean_impedance_ms": operations.mean_ms},
        "faults": faults(snapshot),
        "kpi": kpi::kpis(&operations.kpis, operations.now),
        "storage": storage(snapshot),
        "members": snapshot.roster.len(),
        "parent": view.parent.map(|node| name_of(snapshot, &node)),
        "parents_possible": view.candidates,
        "top": view.top.as_str(),
        "cut_off_above": view.is_low,
        "orphan": view.orphan,
        "no_address_of": names(snapshot, &view.nowhere),
        "revoked": is_revoked(snapshot),
        "twins": names(snapshot, &snapshot.twins),
        "later_run": snapshot.later_run.map(|run| run.0),
        "uptime_ms": snapshot.started.elapsed().as_millis() as u64,
    })
}

/// The newest checkpoint here, and the last durable one.
fn checkpoint(snapshot: &Snapshot) -> Value {
    let view = &snapshot.checkpoints;
    let (epoch, members, state) = match view.last {
        Some((epoch, members, state)) => (Some(epoch), Some(members), Some(state.as_str())),
        None => (None, None, None),
    };
    json!({
        "epoch": epoch,
        "durable_epoch": view.durable,
        "durable_whole_epoch": view.durable_whole,
        "members": members,
        "state": state,
    })
}

/// How the disk is, in one word, and how many writes wait for it.
fn storage(snapshot: &Snapshot) -> Value {
    let unwritten = sum(&snapshot.counters, |it| it == "items_unwritten");
    json!({"state": storage_state(&snapshot.counters), "unwritten": unwritten})
}

/// How the disk is, in one word. `OK` means that everything which must be kept is on it.
pub fn storage_state(counters: &[(&'static str, u64)]) -> &'static str {
    let counter = |name: &str| sum(counters, |it| it == name);
    let [broken, full, unwritten] =
        ["store_broken", "disk_full", "items_unwritten"].map(|name| counter(name) > 0);
    match () {
        () if broken => "BROKEN",
        () if full => "STORAGE_FULL",
        () if unwritten => "UNWRITTEN",
        () => "OK",
    }
}

/// What the node has checked of itself, for `doctor`.
pub fn health(snapshot: &Snapshot) -> Value {
    let names = snapshot.roster.duplicate_names();
    let table = |counters: &[(&'static str, u64)]| -> BTreeMap<&'static str, u64> {
        counters.iter().copied().collect()
    };
    json!({
        "role": snapshot.me.role.as_str(),
        "parent": snapshot.view.parent.map(|node| name_of(snapshot, &node)),
        "orphan": snapshot.view.orphan,
        "top": snapshot.view.top.as_str(),
        "cut_off_above": snapshot.view.is_low,
        "members": snapshot.roster.len(),
        "live": live_members(snapshot),
        "order": snapshot.view.order,
        "memory": memory::memory(&snapshot.memory, live_members(snapshot)),
        "locked_groups": snapshot.view.locking.locked_groups,
        "missing_revocations": snapshot.roster.missing_revocations(),
        "revoked": revoked(snapshot),
        "twins": self::names(snapshot, &snapshot.twins),
        "later_run": snapshot.later_run.map(|run| run.0),
        "duplicate_names": names.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "counters": table(&snapshot.counters),
        "refusals": table(&snapshot.refusals),
    })
}

/// How many keys were revoked, how many of them are shut out in every respect that this node
/// judges by, and how many of their frames it has refused.
fn revoked(snapshot: &Snapshot) -> Value {
    let roster = &snapshot.roster;
    let shut_out = roster.revoked().iter().filter(|node| {
        let signs = !matches!(roster.signer(node), Signer::Revoked);
        let linked = roster.members().any(|member| member.entry.node == **node);
        !signs && !linked
    });
    json!({
        "self": is_revoked(snapshot),
        "count": roster.revoked().len(),
        "shut_out": shut_out.count(),
        "refused": sum(&snapshot.refusals, |name| name == REVOKED),
    })
}

/// The mode that holds here. A node that was shut out is in no scope any more.
pub fn mode(snapshot: &Snapshot) -> &'static str {
    if is_revoked(snapshot) {
        return "EMERGENCY";
    }
    mode_of(live_members(snapshot), snapshot.roster.len())
}

/// The mode of a scope (seed J11): by the share of its members that live.
fn mode_of(live: usize, members: usize) -> &'static str {
    let at_least = |hundredths: usize| live * 100 >= members * hundredths;
    match () {
        () if at_least(95) => "FULL",
        () if at_least(80) => "DEGRADED_LIGHT",
        () if at_least(60) => "DEGRADED_MODERATE",
        () if at_least(30) => "DEGRADED_SEVERE",
        () => "EMERGENCY",
    }
}

/// Whether the mesh's root has shut this very node out.
pub fn is_revoked(snapshot: &Snapshot) -> bool {
    snapshot.roster.is_revoked(&snapshot.me.node)
}

/// Whether the disk takes what it is given. A write that is under way for the first time says
/// nothing of that.
fn keeps(counters: &[(&'static str, u64)]) -> bool {
    let refusing = ["store_broken", "disk_full", "items_refused"];
    sum(counters, |it| refusing.contains(&it)) == 0
}

/// Whether it is where it belongs (a member, beneath a parent or at the top), is heard there,
/// and keeps what it is told.
pub fn is_ready(snapshot: &Snapshot) -> bool {
    let view = &snapshot.view;
    let placed = view.parent.is_some() || view.candidates == 0;
    let heard = snapshot.later_run.is_none();
    !is_revoked(snapshot) && placed && heard && keeps(&snapshot.counters)
}

/// Where it stands in the tree, and how its disk is where that is not well, in words.
pub fn stands(snapshot: &Snapshot) -> String {
    let stands = words::stands(&status(snapshot));
    match keeps(&snapshot.counters) {
        true => stands,
        false => format!("{stands}; storage {}", storage_state(&snapshot.counters)),
    }
}

fn names(snapshot: &Snapshot, nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(|node| name_of(snapshot, node)).collect()
}

fn name_of(snapshot: &Snapshot, node: &NodeId) -> String {
    let member = snapshot.roster.get(node);
    member.map_or_else(|| node.short(), |member| member.entry.name.to_string())
}

fn sum(counters: &[(&'static str, u64)], wanted: impl Fn(&str) -> bool) -> u64 {
    let counters = counters.iter().filter(|(name, _)| wanted(name));
    counters.map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_begins_at_its_threshold() {
        let modes = [100, 95, 94, 80, 79, 60, 59, 30, 29].map(|live| mode_of(live, 100));
        assert_eq!(
            modes,
            [
                "FULL",
                "FULL",
                "DEGRADED_LIGHT",
                "DEGRADED_LIGHT",
                "DEGRADED_MODERATE",
                "DEGRADED_MODERATE",
                "DEGRADED_SEVERE",
                "DEGRADED_SEVERE",
                "EMERGENCY",
            ]
        );
        assert_eq!(mode_of(1, 1), "FULL");
    }

    #[test]
    fn storage_is_ok_only_when_nothing_waits_for_the_disk() {
        let names = ["store_broken", "disk_full", "items_unwritten"];
        let state = |values: [u64; 3]| storage_state(&[0, 1, 2].map(|n| (names[n], values[n])));
        assert_eq!(state([0, 0, 0]), "OK");
        assert_eq!(state([0, 0, 1]), "UNWRITTEN");
        assert_eq!(state([0, 1, 1]), "STORAGE_FULL");
        assert_eq!(state([1, 1, 1]), "BROKEN");
        // A first try that is under way says nothing of the disk; one that was refused does.
        assert!(keeps(&[("items_unwritten", 1), ("items_refused", 0)]));
        assert!(!keeps(&[("items_unwritten", 1), ("items_refused", 1)]));
        assert!(!keeps(&[("disk_full", 1)]) && !keeps(&[("store_broken", 1)]));
    }

    #[test]
    fn every_forgery_is_a_counter_that_a_refusal_has() {
        use chorus_protocol::wire::envelope::Refusal::*;
        let refusals = [WrongMesh, Unknown, Forged, Floor, Audience];
        assert_eq!(refusals.map(|refusal| refusal.counter()), FORGERIES);
        assert!(refusals.iter().all(|refusal| refusal.is_forgery()));
        // Shown from the start.
        let shown = chorus_protocol::wire::envelope::Refusal::COUNTERS;
        assert!(
            FORGERIES
                .iter()
                .chain([&REVOKED])
                .all(|it| shown.contains(it))
        );
        assert_eq!((Revoked.counter(), Revoked.is_forgery()), (REVOKED, false));
    }

    #[test]
    fn only_an_orchestrator_stands_at_the_top() {
        let stands = |status: Value| words::stands(&status);
        assert_eq!(stands(json!({"role": "orchestrator"})), "at the top");
        assert_eq!(stands(json!({"role": "agent"})), "no parent yet");
        let first = json!({"role": "coordinator", "parents_possible": 0});
        assert_eq!(
            stands(first),
            "at the top: nobody on the roster is above it"
        );
        assert_eq!(stands(json!({"role": "agent", "parent": "l"})), "under l");
        let orphan = stands(json!({"role": "agent", "orphan": true}));
        assert_eq!(orphan, "no parent can be reached");
        let lost = json!({"role": "agent", "orphan": true, "no_address_of": ["l", "s1"]});
        let words = status_words(&lost);
        assert!(
            words.contains("no address is known of l, s1: ") && words.contains("chorus invite")
        );
        assert!(!status_words(&json!({"no_address_of": []})).contains("no address"));
        let revoked = stands(json!({"role": "agent", "orphan": true, "revoked": true}));
        assert!(revoked.starts_with("REVOKED"));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "bb"], ["ccc", "d"]].map(|row| row.map(String::from));
        assert_eq!(columns(&rows), "a    bb\nccc  d");
    }
}
