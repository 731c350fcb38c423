//! Two nodes that restart at every second for a minute (rows A5, J2, D11): nobody who runs
//! and can be reached is ever evicted by anybody, and when it is over the mesh is whole.

use std::time::{Duration, Instant};

use crate::support::{Post, Process, mesh, until, whole};

const N: usize = 7;
const POSTS: [Post; N] = [
    ("operator", ["orchestrator", "hq", "hq"]),
    ("s1", ["coordinator", "s1", "s1"]),
    ("s1-c1-lead", ["lead", "s1", "c1"]),
    ("s1-c1-a1", ["agent", "s1", "c1"]),
    ("s1-c1-a2", ["agent", "s1", "c1"]),
    ("s1-c1-a3", ["agent", "s1", "c1"]),
    ("s1-c2-lead", ["lead", "s1", "c2"]),
];
/// A lead, whose children lose their parent each time, and one of its agents.
const RESTARTED: [usize; 2] = [2, 3];
const STAY: [usize; N - 2] = [0, 1, 4, 5, 6];

fn id(node: &Process) -> String {
    node.status().unwrap()["node"].as_str().unwrap().to_owned()
}

/// What a node's log says of evictions: each line of it, with whom.
fn evictions(node: &Process) -> Vec<String> {
    let log = std::fs::read_to_string(node.home.with_extension("log")).unwrap();
    let evicted = |line: &&str| line.contains("to=evicted");
    log.lines().filter(evicted).map(String::from).collect()
}

/// Members that this node holds for dead.
fn held_for_dead(node: &Process) -> Vec<String> {
    let peers = node.ask("peers").unwrap_or_default();
    let rows = peers["peers"].as_array().cloned().unwrap_or_default();
    let evicted = rows.iter().filter(|row| row["state"] == "evicted");
    evicted
        .map(|row| row["node"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn two_nodes_that_restart_at_every_second_get_nobody_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = mesh(dir.path(), &POSTS);
    let ids: Vec<String> = nodes.iter().map(id).collect();
    let pids: Vec<u32> = STAY.iter().map(|&n| nodes[n].pid()).collect();
    // Whoever started before the others were there may have missed some at first.
    let at_first: Vec<usize> = nodes.iter().map(|node| evictions(node).len()).collect();

    let span = Duration::from_secs(60);
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < span {
        let next = began + Duration::from_secs(rounds + 1);
        for n in RESTARTED {
            // Killed without a word, and in every third round told to go.
            if rounds % 3 == 2 {
                nodes[n].terminate();
            } else {
                nodes[n].kill();
            }
        }
        RESTARTED.iter().for_each(|&n| nodes[n].spawn());
        RESTARTED.iter().for_each(|&n| nodes[n].listens());
        // The others are asked for as long as this second lasts, at least once.
        loop {
            for n in STAY {
                let dead = held_for_dead(&nodes[n]);
                let wrong = STAY.iter().find(|&&other| dead.contains(&ids[other]));
                assert_eq!(
                    wrong.map(|&other| &nodes[other].name),
                    None,
                    "round {rounds}: {} evicted one that runs",
                    nodes[n].name
                );
            }
            if Instant::now() >= next {
                break;
            }
        }
        rounds += 1;
    }
    let took = whole(&nodes, "after the restarts", Duration::from_secs(10));
    println!("{rounds} restarts of two nodes in {span:?}: whole after {took:.1?}");
    assert!(
        rounds >= 20,
        "only {rounds} rounds: the machine is too busy"
    );
    let same: Vec<u32> = STAY.iter().map(|&n| nodes[n].pid()).collect();
    assert_eq!(same, pids);

    // Between two questions somebody might be evicted and taken back: the logs say so.
    let mut restarted = 0;
    for (at, node) in nodes.iter().enumerate() {
        for line in &evictions(node)[at_first[at]..] {
            let wrong = STAY.iter().find(|&&other| line.contains(&ids[other][..8]));
            assert_eq!(wrong, None, "{} evicted one that runs: {line}", node.name);
            restarted += 1;
        }
    }
    println!("evictions of the two that were down and up: {restarted}");

    // Who restarts is not taken for two.
    for node in &nodes {
        let log = std::fs::read_to_string(node.home.with_extension("log")).unwrap();
        assert!(!log.contains("home was copied"), "{}", node.name);
        assert_eq!(
            node.status().unwrap()["twins"].as_array().map(Vec::len),
            Some(0)
        );
    }

    // The logs do say it when somebody is dead indeed.
    nodes[4].kill();
    let what = "the operator's log says who is dead";
    until(what, Duration::from_secs(20), || {
        evictions(&nodes[0])
            .iter()
            .any(|line| line.contains(&ids[4][..8]))
    });
}
