//! Memory outlives its nodes (rows C3, C4, C9): real processes are killed with SIGKILL while
//! they write, their disks are destroyed, and nothing that was acknowledged is lost.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::{CHORUS, Post, Process, hold, mesh, until, whole};

/// Two sectors with every tier.
const TREE: [Post; 7] = [
    ("operator", ["orchestrator", "hq", "hq"]),
    ("s1", ["coordinator", "s1", "s1"]),
    ("s2", ["coordinator", "s2", "s2"]),
    ("s1-c1-lead", ["lead", "s1", "c1"]),
    ("s2-c1-lead", ["lead", "s2", "c1"]),
    ("s1-c1-a1", ["agent", "s1", "c1"]),
    ("s2-c1-a1", ["agent", "s2", "c1"]),
];

/// Keys and values that were acknowledged.
type Acknowledged = Mutex<BTreeMap<String, String>>;

fn rounds() -> usize {
    match std::env::var_os("CHORUS_SOAK") {
        Some(_) => 100,
        None => 12,
    }
}

/// A number from a seed that is printed: the n-th.
fn drawn(seed: u64, n: usize) -> u64 {
    let mut x = seed ^ (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn seed() -> u64 {
    let given = std::env::var("CHORUS_SEED")
        .ok()
        .and_then(|it| it.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}: CHORUS_SEED={seed} draws the same again");
    seed
}

/// Writes through a node until it is told to stop; what it acknowledged is kept.
fn write(home: &Path, writer: usize, quorum: Option<&str>, stop: &AtomicBool, done: &Acknowledged) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let key = format!("w{writer}/{n}/{}", std::process::id());
        let value = format!("\"{writer}-{n}\"");
        let mut put = Command::new(CHORUS);
        put.arg("--dir")
            .arg(home)
            .args(["memory", "put", &key, &value]);
        if let Some(quorum) = quorum {
            put.args(["--quorum", quorum, "--timeout", "3s"]);
        }
        let put = put.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if put.is_ok_and(|status| status.success()) {
            let mut done = done.lock().unwrap();
            done.insert(format!("shared/{key}"), value);
        }
    }
}

/// The keys under which a node has a value.
fn keys(node: &Process) -> BTreeSet<String> {
    let output = node.command().args(["memory", "ls"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = listed["keys"].as_array().unwrap().iter();
    rows.map(|row| row["key"].as_str().unwrap().to_owned())
        .collect()
}

fn digest(node: &Process) -> Option<Value> {
    let status = node.status()?;
    Some(status["memory"]["digest"].clone()).filter(|it| it.is_string())
}

/// Waits until all hold the same.
fn alike(nodes: &[Process]) -> Duration {
    until("all hold the same", Duration::from_secs(60), || {
        let first = digest(&nodes[0]);
        first.is_some() && nodes.iter().all(|node| digest(node) == first)
    })
}

/// Waits until all hold the same, then looks for what was acknowledged on each.
fn nothing_is_lost(nodes: &[Process], done: &Acknowledged) {
    let took = alike(nodes);
    let done = done.lock().unwrap();
    println!(
        "{} acknowledged; all hold the same after {took:.1?}",
        done.len()
    );
    assert!(
        !done.is_empty(),
        "nothing was acknowledged: nothing is shown"
    );
    for node in nodes {
        let held = keys(node);
        let lost: Vec<&String> = done.keys().filter(|key| !held.contains(*key)).collect();
        assert!(lost.is_empty(), "{} lost {lost:?}", node.name);
    }
    // One of them whole, value for value, where it was not written.
    let (key, value) = done.iter().next_back().unwrap();
    let mut get = nodes[0].command();
    let got = support::succeed(get.args(["memory", "get", key]));
    let got: Value = serde_json::from_slice(&got.stdout).unwrap();
    assert_eq!(got["values"][0]["value"].to_string(), *value);
}

/// Kills each node in turn at a drawn moment while three nodes write, the victim one of them.
fn kills(quorum: Option<&'static str>, after: impl Fn(usize, &mut Process)) {
    let seed = seed();
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = mesh(dir.path(), &TREE);
    let done = Acknowledged::default();
    for round in 0..rounds() {
        let victim = drawn(seed, 2 * round) as usize % nodes.len();
        let writers = [0, 2, 5].map(|it| (victim + it) % nodes.len());
        let homes = writers.map(|it| nodes[it].home.clone());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (n, home) in homes.iter().enumerate() {
                // With a quorum only the victim writes: its disk is what is destroyed.
                if quorum.is_none() || n == 0 {
                    let (stop, done) = (&stop, &done);
                    scope.spawn(move || write(home, 10 * round + n, quorum, stop, done));
                }
            }
            hold(Duration::from_millis(
                500 + drawn(seed, 2 * round + 1) % 700,
            ));
            nodes[victim].kill();
            after(round, &mut nodes[victim]);
            stop.store(true, Ordering::Relaxed);
        });
        nodes[victim].start();
        if quorum.is_some() {
            // Of seven, four have it. Were the next disks destroyed before this one is filled
            // again, those four might be among them.
            alike(&nodes);
        }
    }
    whole(&nodes, "after the last kill", Duration::from_secs(30));
    nothing_is_lost(&nodes, &done);
}

#[test]
fn killed_while_it_writes_a_node_loses_nothing_that_it_acknowledged() {
    kills(None, |_, _| {});
}

#[test]
fn what_a_majority_has_outlives_the_disk_of_the_node_that_wrote_it() {
    kills(Some("majority"), |_, victim| {
        std::fs::remove_dir_all(victim.home.join("db")).unwrap();
    });
}
