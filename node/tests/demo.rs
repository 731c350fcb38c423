//! The demo from end to end: real processes, one killed with SIGKILL, the mesh whole again.

mod support;

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::until;

const PATIENCE: Duration = Duration::from_secs(60);

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
    // Who was dead while it was written has read it.
    let memory = &told["memory"];
    assert_eq!(memory["read_on"], killed);
    assert!(
        memory["read_ms"].is_u64() && memory["written_on"] != killed,
        "{told}"
    );
    let file = std::fs::read_to_string(dir.join("memory.jsonl")).expect("its file");
    assert_eq!(memory["lines"], file.lines().count());

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

/// A demo of two nodes that is kept, until it is killed.
struct Kept {
    demo: Child,
    dir: PathBuf,
}

impl Kept {
    fn start(name: &str, log: Stdio) -> Self {
        let dir = fresh_dir(name);
        let path = dir.to_str().expect("a path of text");
        let mut command = Command::new(env!("CARGO_BIN_EXE_chorus"));
        command.args(["demo", "--keep", "--nodes", "2"]);
        command.arg("--dir").arg(path).stderr(log);
        let demo = command.spawn().expect("it starts");
        Self { demo, dir }
    }

    /// The processes of its nodes, once all of them run.
    fn pids(&self) -> Option<Vec<u64>> {
        let pid_of = |name: &str| {
            let addresses = self.dir.join(name).join("run/addresses.json");
            let text = std::fs::read(addresses).ok()?;
            serde_json::from_slice::<Value>(&text).ok()?["pid"].as_u64()
        };
        ["operator", "s1-c1-a1"].into_iter().map(pid_of).collect()
    }

    /// SIGKILL; its nodes end by themselves, and nothing of it stays.
    fn kill(mut self) {
        let pids = self.pids().expect("all run");
        self.demo.kill().expect("SIGKILL");
        self.demo.wait().expect("it is gone");
        // Whoever takes in orphans may be slow to bury them: a zombie has no command line.
        until("no node is left", PATIENCE, || {
            pids.iter().all(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline"));
                line.unwrap_or_default().is_empty()
            })
        });
        std::fs::remove_dir_all(&self.dir).expect("it is removed");
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It is gone already, where the test has not failed.
        let _ = self.demo.kill();
        let _ = self.demo.wait();
    }
}

#[test]
fn a_demo_that_is_killed_leaves_no_node_behind() {
    let kept = Kept::start("killed", Stdio::inherit());
    until("both run", PATIENCE, || kept.pids().is_some());
    kept.kill();
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

#[test]
fn a_demo_that_is_kept_says_by_which_program_to_look_at_it() {
    let help = chorus(&["demo", "--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(
        help.contains("nodes' homes are made") && !help.contains("The node's home"),
        "{help}"
    );
    let log = fresh_dir("kept").with_extension("log");
    let kept = Kept::start("kept", File::create(&log).expect("a log").into());
    let said = || std::fs::read_to_string(&log).expect("its log");
    until("it is whole and kept", PATIENCE, || {
        said().contains("it keeps running")
    });
    let text = said();
    let looks = text.split('`').nth(1).expect("a command");
    // Nobody has it on his `PATH`.
    let looked = Command::new("sh").env_clear().args(["-c", looks]).output();
    kept.kill();
    let looked = looked.expect("a shell");
    assert!(looked.status.success(), "{looks}: {looked:?}");
    assert!(String::from_utf8_lossy(&looked.stdout).contains("s1-c1-a1"));
    std::fs::remove_file(&log).expect("it is removed");
}
