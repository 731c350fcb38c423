//! A home that was copied: two processes with the keys and the incarnation of one node. Real
//! processes; whoever takes them for its child says so, and a node that restarts is none.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Process, enrol, found, succeed, until};

/// Three turns of heartbeats, which are 5 s apart, with room for a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// An orchestrator with one child, which has been stopped again.
fn parent_and_child(dir: &Path) -> (Process, Process) {
    let mut parent = Process::new(dir, "op", None);
    found(&parent, "127.0.0.1");
    parent.start();
    let child = Process::new(dir, "a1", None);
    enrol(&parent, &child, ["agent", "s1", "c1"], &[]);
    (parent, child)
}

fn twins(node: &Process) -> Value {
    node.status()
        .map_or(Value::Null, |said| said["twins"].clone())
}

/// The grade of the doctor's line about twins, if there is one.
fn doctor(node: &Process) -> Option<Value> {
    let said = node.command().arg("doctor").output().unwrap().stdout;
    let said: Value = serde_json::from_slice(&said).unwrap_or_default();
    let mut rows = said["checks"].as_array()?.iter();
    let row = rows.find(|row| row["check"] == "twins")?;
    Some(row["grade"].clone())
}

fn errors(node: &Process) -> usize {
    let log = std::fs::read_to_string(node.home.with_extension("log")).unwrap();
    let said = |line: &&str| line.contains("ERROR") && line.contains("two processes run");
    log.lines().filter(said).count()
}

#[test]
fn a_parent_notices_that_two_run_with_one_home() {
    let dir = tempfile::tempdir().unwrap();
    let (parent, mut child) = parent_and_child(dir.path());
    let mut copy = Process::new(dir.path(), "copy", None);
    succeed(Command::new("cp").arg("-a").args([&child.home, &copy.home]));
    child.start();
    let attached = |node: &Process| node.status().is_some_and(|it| it["parent"] == "op");
    until("the child is attached", PATIENCE, || attached(&child));
    copy.start();
    let runs = |node: &Process| node.status().map(|said| said["incarnation"].clone());
    let run = runs(&child).expect("it answers");
    assert_eq!(Some(run), runs(&copy));

    let took = until("the parent says it", PATIENCE, || {
        twins(&parent) == json!(["a1"])
    });
    println!("a copied home was noticed after {took:.1?}");
    assert_eq!(doctor(&parent), Some(json!("fail")));
    assert_eq!(errors(&parent), 1);

    if std::env::var_os("CHORUS_SOAK").is_none() {
        return; // a minute until it is forgotten
    }
    // The later start of one of them makes it a later run than the other: still two.
    copy.kill();
    until("it is forgotten", Duration::from_secs(90), || {
        twins(&parent) == json!([])
    });
    copy.start();
    assert_ne!(runs(&child), runs(&copy));
    until("the parent says it again", PATIENCE, || {
        twins(&parent) == json!(["a1"])
    });
    assert_eq!(errors(&parent), 2);
}

#[test]
fn a_node_that_restarts_is_no_twin() {
    let dir = tempfile::tempdir().unwrap();
    let (parent, mut child) = parent_and_child(dir.path());

    for _ in 0..5 {
        child.start();
        let attached = || child.status().is_some_and(|said| said["parent"] == "op");
        until("it is attached", PATIENCE, attached);
        child.kill();
    }
    child.start();
    // As long as it takes to notice one that is.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(16) {
        assert_eq!((twins(&parent), errors(&parent)), (json!([]), 0));
        assert_ne!(twins(&child), json!(["a1"]));
        std::thread::sleep(Duration::from_millis(200));
    }
}
