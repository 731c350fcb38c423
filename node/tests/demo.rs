//! The demo from end to end: real processes, one killed with SIGKILL, the mesh whole again.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn fresh_dir(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let dir = dir.join(format!("demo-{name}-{}", std::process::id()));
    // A run that was killed may have left it.
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn chorus(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chorus"));
    command.args(words).output().expect("it starts")
}

fn demo(nodes: &str, killed: &str) {
    let dir = fresh_dir(nodes);
    let path = dir.to_str().expect("a path of text");
    let output = chorus(&["--dir", path, "--json", "demo", "--nodes", nodes]);
    let words = String::from_utf8_lossy(&output.stderr);
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{answer}\n{words}");
    let told: Value = serde_json::from_str(&answer).expect("one JSON object");
    assert_eq!(told["schema"], "chorus.demo/1");
    assert_eq!(told["nodes"].to_string(), nodes);
    assert_eq!(told["killed"], killed);
    assert_eq!(told["dir"], path);
    assert!(told["detect_ms"].is_u64() && told["recover_ms"].is_u64());
    assert!(told["order"].as_f64() >= Some(0.95), "{told}");

    // It has stopped all it started, so nobody answers and every home is free.
    let home = dir.join(killed);
    let home = home.to_str().expect("a path of text");
    let status = chorus(&["--dir", home, "--json", "status"]);
    assert_eq!(status.status.code(), Some(3));
    let error: Value = serde_json::from_slice(&status.stdout).expect("one JSON object");
    assert_eq!(error["code"], "not_running");
    std::fs::remove_dir_all(&dir).expect("it is removed");
}

#[test]
fn two_nodes_become_whole_again() {
    demo("2", "s1-c1-a1");
}

#[test]
fn six_nodes_become_whole_again_after_their_lead_was_killed() {
    demo("6", "s1-c1-lead");
}

#[test]
fn a_home_that_is_used_is_refused() {
    let dir = fresh_dir("used");
    let operator = dir.join("operator");
    let home = operator.to_str().expect("a path of text");
    let made = chorus(&["--dir", home, "init", "--mesh", "m", "--name", "n"]);
    assert!(made.status.success(), "{made:?}");
    let path = dir.to_str().expect("a path of text");
    let refused = chorus(&["--dir", path, "--json", "demo", "--nodes", "2"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    std::fs::remove_dir_all(&dir).expect("it is removed");
}
