//! A home that lost a part of what it must remember (faults 12 and 13, row A5): the count of
//! starts, the journal of used tokens, the node's own entry, the store with its mirror. The
//! node comes back by itself above all that it ever said, or says what it waits for; and no
//! used token is good again.

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{BRANCH, Process, found, mesh, succeed, until, whole};

/// Far beyond what any of it takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn incarnation(node: &Process) -> u64 {
    node.status().unwrap()["incarnation"].as_u64().unwrap()
}

fn forget(node: &Process, parts: &[&str]) {
    for part in parts {
        let path = node.home.join(part);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// Whether all others have heard the run that this node is in: they may be whole with what the
/// run before left behind.
fn is_heard(nodes: &[Process], victim: usize) -> bool {
    let status = nodes[victim].status().unwrap_or_default();
    let (name, run) = (&status["name"], &status["incarnation"]);
    let mut others = nodes.iter().filter(|node| node.name != nodes[victim].name);
    others.all(|node| {
        let peers = node.ask("peers").unwrap_or_default();
        let mut rows = peers["peers"].as_array().into_iter().flatten();
        rows.any(|row| row["name"] == *name && row["incarnation"] == *run)
    })
}

fn log(node: &Process) -> String {
    std::fs::read_to_string(node.home.with_extension("log")).unwrap()
}

/// The JSON of a verb, whatever its exit code.
fn said(node: &Process, words: &[&str]) -> (Option<i32>, Value) {
    let output = node.command().args(words).output().unwrap();
    let answer = serde_json::from_slice(&output.stdout);
    (output.status.code(), answer.unwrap_or_default())
}

/// A node that is started and not waited for.
struct Waiting(Child);

impl Waiting {
    fn start(node: &Process, words: &[&str]) -> Self {
        let mut command = node.command();
        command.arg("run").args(words).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
    fn ends(&mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        let sent = std::process::Command::new("kill").arg(&pid).status();
        assert!(sent.unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_lost_count_comes_back_from_the_peers_above_all_that_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = mesh(dir.path(), &BRANCH);
    // Everyone in turn; the top has no parents, and asks those whom it knows.
    for victim in [3, 2, 0] {
        // A second run, so that there is more to be above than the first.
        nodes[victim].kill();
        nodes[victim].start();
        until("the second run is heard", PATIENCE, || {
            is_heard(&nodes, victim)
        });
        let before = incarnation(&nodes[victim]);
        nodes[victim].kill();
        match victim {
            0 => forget(&nodes[victim], &["identity/boot"]),
            _ => forget(&nodes[victim], &["identity/boot", "db"]),
        }
        nodes[victim].start();
        let name = &nodes[victim].name;
        let took = whole(&nodes, &format!("after {name} lost its count"), PATIENCE);
        let after = incarnation(&nodes[victim]);
        println!("{name}: {before} before, {after} after, whole in {took:.1?}");
        assert!(after > before, "{name}: {before} before, {after} after");
        assert!(log(&nodes[victim]).contains("the peers told how far this node was"));
    }
}

#[test]
fn an_older_copy_of_a_home_is_said_to_be_one_and_what_doctor_says_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = mesh(dir.path(), &BRANCH);
    for victim in [0, 3] {
        let home = nodes[victim].home.clone();
        let older = home.with_extension("older");
        nodes[victim].kill();
        succeed(Command::new("cp").arg("-a").args([&home, &older]));
        // Two runs: the copy's next one is older than what the others have heard.
        for _ in 0..2 {
            nodes[victim].start();
            until("the later run is heard", PATIENCE, || {
                is_heard(&nodes, victim)
            });
            nodes[victim].kill();
        }
        std::fs::remove_dir_all(&home).unwrap();
        std::fs::rename(&older, &home).unwrap();
        nodes[victim].start();
        until("it is told of its later run", PATIENCE, || {
            let status = nodes[victim].status().unwrap_or_default();
            status["later_run"].as_u64() > status["incarnation"].as_u64()
        });
        let (exit, doctor) = said(&nodes[victim], &["doctor"]);
        assert_eq!(exit, Some(1), "{doctor}");
        assert!(doctor.to_string().contains("identity/boot"), "{doctor}");
        nodes[victim].kill();
        forget(&nodes[victim], &["identity/boot", "journal"]);
        nodes[victim].start();
        whole(&nodes, "after it asked its peers", PATIENCE);
        let status = nodes[victim].status().unwrap();
        assert!(status["later_run"].is_null(), "{status}");
    }
}

#[test]
fn with_nobody_to_tell_it_waits_says_so_and_goes_on_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = mesh(dir.path(), &BRANCH);
    let before = incarnation(&nodes[3]);
    nodes.iter_mut().for_each(Process::kill);
    let agent = nodes.pop().unwrap();
    forget(&agent, &["identity/boot"]);
    let mut waiting = Waiting::start(&agent, &[]);
    let status = || said(&agent, &["status"]);
    until("it says what it waits for", Duration::from_secs(20), || {
        status().1["code"] == "waits_for_stamp"
    });
    let (exit, answer) = status();
    assert_eq!(exit, Some(3), "{answer}");
    assert!(
        answer["hint"].as_str().unwrap().contains("--above"),
        "{answer}"
    );
    assert!(
        answer["message"].as_str().unwrap().contains("s1-c1-lead"),
        "{answer}"
    );
    let (exit, doctor) = said(&agent, &["doctor"]);
    assert_eq!(exit, Some(1), "{doctor}");
    assert!(!agent.home.join("identity/boot").exists(), "it has begun");
    nodes[2].start();
    until("it goes on by itself", Duration::from_secs(30), || {
        status().1["incarnation"].as_u64() > Some(before)
    });
    assert_eq!(waiting.ends(), Some(0));

    // A stop is heard while it waits, and a person's word ends the waiting.
    nodes[2].kill();
    let before = before + 2_000;
    forget(&agent, &["identity/boot"]);
    let mut waiting = Waiting::start(&agent, &[]);
    until("it waits again", Duration::from_secs(20), || {
        status().1["code"] == "waits_for_stamp"
    });
    assert_eq!(waiting.ends(), Some(0));
    let _told = Waiting::start(&agent, &["--above", &before.to_string()]);
    until(
        "it begins above what it was told",
        Duration::from_secs(20),
        || status().1["incarnation"].as_u64() > Some(before),
    );
}

#[test]
fn a_lost_journal_makes_no_used_token_good_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut op = Process::new(dir.path(), "operator", None);
    found(&op, "127.0.0.1");
    op.start();
    let invite = |op: &Process, name: &str| {
        let mut invite = op.command();
        invite.args([
            "invite",
            "--name",
            name,
            "--sector",
            "s1",
            "--cluster",
            "c1",
        ]);
        let output = succeed(&mut invite);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["token"].as_str().unwrap().to_owned()
    };
    let join =
        |home: &str, token: &str| said(&Process::new(dir.path(), home, None), &["join", token]);
    let (used, unused) = (invite(&op, "a"), invite(&op, "b"));
    assert_eq!(join("a", &used).0, Some(0));
    assert_eq!(join("a2", &used).1["code"], "token_used");

    op.kill();
    forget(&op, &["journal"]);
    let (exit, refused) = said(&op, &["invite", "--sector", "s1", "--cluster", "c1"]);
    assert_eq!((exit, &refused["code"]), (Some(1), &"no_journal".into()));
    op.start();
    for token in [&used, &unused] {
        let (exit, refused) = join("a2", token);
        assert_eq!((exit, &refused["code"]), (Some(4), &"token_void".into()));
    }
    assert_eq!(join("c", &invite(&op, "c")).0, Some(0));
    assert!(log(&op).contains("every token that was made here before is void"));
    let doctor = said(&op, &["doctor"]).1;
    let rows = doctor["checks"].as_array().unwrap();
    let warned = |row: &Value| row["check"] == "tokens" && row["grade"] == "warn";
    assert!(rows.iter().any(warned), "{doctor}");
}

#[test]
fn a_damaged_entry_is_mended_and_a_lost_directory_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut op = Process::new(dir.path(), "operator", None);
    found(&op, "127.0.0.1");
    let entry = op.home.join("mesh/entry");
    let sound = std::fs::read(&entry).unwrap();
    let grade = |op: &Process, name: &str| {
        let doctor = said(op, &["doctor"]).1;
        let rows = doctor["checks"].as_array().unwrap();
        let row = rows.iter().find(|row| row["check"] == name);
        row.map(|row| row["grade"].as_str().unwrap().to_owned())
    };
    for bad in [&sound[..40], &[0; 300][..]] {
        std::fs::write(&entry, bad).unwrap();
        op.start();
        assert_eq!(std::fs::read(&entry).unwrap(), sound);
        assert_eq!(grade(&op, "entry").as_deref(), Some("warn"));
        op.kill();
    }
    op.start();
    assert_eq!((grade(&op, "entry"), grade(&op, "store")), (None, None));
    until("the mirror is written", Duration::from_secs(10), || {
        op.home.join("mesh/roster").exists()
    });
    op.kill();
    forget(&op, &["db", "mesh/roster"]);
    op.start();
    assert_eq!(grade(&op, "store").as_deref(), Some("warn"));
    assert!(log(&op).contains("the store and mesh/roster are both lost"));
    assert_eq!(op.members(), 1);
}
