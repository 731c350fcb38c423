//! Real processes killed with SIGKILL while they gossip (rows A5, C9, D11): the
//! clock never goes back, every start is a new incarnation, the store opens, and
//! the node couples again, also after its store was deleted.

mod support;

use std::time::Duration;

use support::{BRANCH, Process, hold, mesh, until, whole};

const N: u64 = BRANCH.len() as u64;

/// The node's run and Lamport time, as it says itself.
fn stamp(node: &Process) -> (u64, u64) {
    let status = node.status().unwrap();
    let number = |field: &str| status[field].as_u64().unwrap();
    (number("incarnation"), number("lamport"))
}

#[test]
fn killed_nodes_come_back_later_in_time_and_couple_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = mesh(dir.path(), &BRANCH);
    let rounds = if std::env::var_os("CHORUS_SOAK").is_some() {
        100
    } else {
        12
    };
    for round in 0..rounds {
        // Every node in turn, at a moment that differs from round to round.
        let victim = round % nodes.len();
        let before = stamp(&nodes[victim]);
        hold(Duration::from_millis(37 * (round as u64 % 11)));
        nodes[victim].kill();
        let without_store = round % 5 == 4;
        if without_store && victim != 0 {
            std::fs::remove_dir_all(nodes[victim].home.join("db")).unwrap();
            // Its roster went with the store: what it needs is beside the keys.
        }
        nodes[victim].start();
        whole(
            &nodes,
            &format!("after kill {round} of {}", nodes[victim].name),
            Duration::from_secs(30),
        );
        let after = stamp(&nodes[victim]);
        assert!(
            after.0 > before.0,
            "not a new incarnation: {before:?} {after:?}"
        );
        assert!(
            after.1 > before.1,
            "the clock went back: {before:?} {after:?}"
        );
    }
}

#[test]
fn a_revoked_member_is_refused_by_all_and_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = mesh(dir.path(), &BRANCH);
    let mut revoke = nodes[0].command();
    revoke.args(["revoke", "s1-c1-a1"]);
    support::succeed(&mut revoke);
    let took = until(
        "the revoked one is out of every sum",
        Duration::from_secs(10),
        || nodes[..3].iter().all(|node| node.members() == N - 1),
    );
    println!("revoked: out of the mesh after {took:.1?}");
    for node in &nodes[..3] {
        let peers = node.ask("peers").unwrap();
        let listed = peers["peers"].as_array().unwrap();
        assert!(
            listed.iter().all(|peer| peer["name"] != "s1-c1-a1"),
            "{peers}"
        );
        assert_eq!(listed.len(), 2, "{peers}");
    }
}

#[test]
fn the_children_of_a_revoked_lead_find_another_parent() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = mesh(dir.path(), &BRANCH);
    let parent = |name: &str| {
        nodes[3]
            .status()
            .is_some_and(|status| status["parent"] == name)
    };
    until("the agent is its lead's", Duration::from_secs(20), || {
        parent("s1-c1-lead")
    });
    let mut revoke = nodes[0].command();
    revoke.args(["revoke", "s1-c1-lead"]);
    support::succeed(&mut revoke);
    let stay = [0, 1, 3];
    let took = until(
        "the agent is the coordinator's",
        Duration::from_secs(10),
        || parent("s1") && stay.iter().all(|&n| nodes[n].members() == N - 1),
    );
    println!("lead revoked: its agent is the coordinator's after {took:.1?}");
}
