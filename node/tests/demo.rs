//! The demo from end to end: real processes, one killed with SIGKILL, the mesh whole again.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

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
fn a_demo_that_is_killed_leaves_no_node_behind() {
    let dir = fresh_dir("killed");
    let path = dir.to_str().expect("a path of text");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chorus"));
    command.args(["--dir", path, "demo", "--keep", "--nodes", "2"]);
    let mut keeps = command.spawn().expect("it starts");
    let pid_of = |name: &str| {
        let text = std::fs::read(dir.join(name).join("run/addresses.json")).ok()?;
        serde_json::from_slice::<Value>(&text).ok()?["pid"].as_u64()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        while !holds() {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let names = ["operator", "s1-c1-a1"];
    until("both run", &|| {
        names.iter().all(|name| pid_of(name).is_some())
    });
    let pids = names.map(|name| pid_of(name).expect("it was there"));
    keeps.kill().expect("SIGKILL");
    keeps.wait().expect("it is gone");
    // Whoever takes in orphans may be slow to bury them: a zombie has no command line.
    until("no node is left", &|| {
        pids.iter().all(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline"));
            line.unwrap_or_default().is_empty()
        })
    });
    std::fs::remove_dir_all(&dir).expect("it is removed");
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
    let dir = fresh_dir("kept");
    let path = dir.to_str().expect("a path of text");
    let log = dir.with_extension("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chorus"));
    command.args(["demo", "--dir", path, "--keep", "--nodes", "2"]);
    command.stderr(std::fs::File::create(&log).expect("a log"));
    let mut keeps = command.spawn().expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    let said = || std::fs::read_to_string(&log).expect("its log");
    while !said().contains("it keeps running") {
        assert!(Instant::now() < deadline, "never: {}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = said();
    let looks = text.split('`').nth(1).expect("a command");
    // Nobody has it on his `PATH`.
    let looked = Command::new("sh").env_clear().args(["-c", looks]).output();
    keeps.kill().expect("SIGKILL");
    keeps.wait().expect("it is gone");
    let looked = looked.expect("a shell");
    assert!(looked.status.success(), "{looks}: {looked:?}");
    assert!(String::from_utf8_lossy(&looked.stdout).contains("s1-c1-a1"));
    std::fs::remove_file(&log).expect("it is removed");
    std::fs::remove_dir_all(&dir).expect("it is removed");
}
