//! `chorus up` (row D8): a mesh of containers begins by itself. The operator makes it and
//! keeps tokens for coordinators in files, they keep tokens for their sector; each member
//! waits for its token, takes a home that no other has, and comes back to it.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use support::{Process, succeed, until, whole};

const NET: [&str; 4] = ["--listen", "127.0.0.1:0", "--advertise", "127.0.0.1"];

fn up(node: &mut Process, words: &[&str]) {
    node.spawn_as(&[&["up"], words, &NET].concat());
}

fn agent(dir: &Path, name: &str) -> Process {
    let mut node = Process::new(dir, name, None);
    let (homes, token) = (dir.join("homes"), dir.join("agent"));
    let (homes, token) = (homes.to_str().unwrap(), token.to_str().unwrap());
    up(&mut node, &["--homes", homes, "--token", token]);
    node
}

fn id(node: &Process) -> String {
    node.status().unwrap()["node"].as_str().unwrap().to_owned()
}

#[test]
fn a_mesh_begins_by_itself_through_a_coordinator_s_door_and_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let file = |name: &str| dir.join(name).display().to_string();
    // The youngest first: each waits for what the one above it has yet to make.
    let mut nodes = vec![agent(dir, "a"), agent(dir, "b")];
    let mut coordinator = Process::new(dir, "s1", None);
    let invite = format!(
        "--invite=file={},role=agent,sector=s1,cluster=c1,name=x,uses=9",
        file("agent")
    );
    up(
        &mut coordinator,
        &["--token", &file("coordinator"), &invite],
    );
    let mut operator = Process::new(dir, "operator", None);
    let invite = format!(
        "--invite=file={},role=coordinator,sector=s1,cluster=s1,name=s1,cap=enrol",
        file("coordinator")
    );
    up(
        &mut operator,
        &["--mesh", "test", "--name", "operator", &invite],
    );
    nodes.extend([coordinator, operator]);
    whole(&nodes, "from nothing", Duration::from_secs(60));
    let before: BTreeSet<String> = nodes[..2].iter().map(id).collect();
    assert_eq!(before.len(), 2);

    // A delegation is the root's word alone, and the coordinator has no root key.
    let mut further = nodes[2].command();
    further.args(["invite", "--sector", "s1", "--cluster", "c1"]);
    further.args(["--cap", "enrol"]);
    let refused = further.output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let said = String::from_utf8(refused.stdout).unwrap();
    assert!(said.contains("no_root_key"), "{said}");

    // Others in the same folder: they take the homes, not new ones.
    nodes.drain(..2).for_each(drop);
    nodes.extend([agent(dir, "c"), agent(dir, "d")]);
    whole(&nodes, "again", Duration::from_secs(60));
    let after: BTreeSet<String> = nodes[2..].iter().map(id).collect();
    assert_eq!(after, before);

    // A token that went is made anew.
    std::fs::remove_file(file("agent")).unwrap();
    until("a new token", Duration::from_secs(10), || {
        dir.join("agent").exists()
    });
}

#[test]
fn a_join_that_was_cut_short_goes_on_with_its_keys_though_the_token_is_used_up() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let token = dir.join("token").display().to_string();
    let mut operator = Process::new(dir, "operator", None);
    let invite = format!("--invite=file={token},role=agent,sector=s1,cluster=c1,name=x");
    up(
        &mut operator,
        &["--mesh", "test", "--name", "operator", &invite],
    );
    until("a token", Duration::from_secs(30), || {
        Path::new(&token).exists()
    });
    // The one in the file is made anew each minute.
    let used = dir.join("used").display().to_string();
    std::fs::copy(&token, &used).unwrap();
    let mut member = Process::new(dir, "x", None);
    up(&mut member, &["--token", &used]);
    let mut nodes = vec![operator, member];
    whole(&nodes, "at first", Duration::from_secs(30));
    let before = id(&nodes[1]);
    nodes[1].kill();

    // As a kill leaves it after the door's answer: the keys are kept aside, and all is there
    // but what makes it a home.
    let home = nodes[1].home.clone();
    std::fs::create_dir(home.join("making")).unwrap();
    for key in ["node.key", "curve.key"] {
        let kept = home.join("making").join(key);
        std::fs::copy(home.join("identity").join(key), kept).unwrap();
    }
    std::fs::remove_file(home.join("identity/node.key")).unwrap();
    up(&mut nodes[1], &["--token", &used]);
    whole(&nodes, "again", Duration::from_secs(30));
    assert_eq!(id(&nodes[1]), before);
    assert!(!home.join("making").exists());

    // For anybody else it is used up.
    let mut other = Process::new(dir, "y", None).command();
    let refused = other.args(["up", "--token", &used]).output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
}

#[test]
fn a_token_that_nobody_writes_into_its_pipe_keeps_no_signal_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("token");
    succeed(std::process::Command::new("mkfifo").arg(&pipe));
    for signal in ["-TERM", "-INT"] {
        let node = Process::new(dir.path(), "x", None);
        let mut up = node.command();
        up.args(["up", "--token"]).arg(&pipe);
        let mut child = up.spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        // Both signals are taken over just before it looks for the token: 2 and 15.
        let both = 1 << 1 | 1 << 14;
        until("it heeds signals", Duration::from_secs(20), || {
            let text = std::fs::read_to_string(&status).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
            caught & both == both
        });
        let pid = child.id().to_string();
        succeed(std::process::Command::new("kill").args([signal, &pid]));
        let mut ended = None;
        let began = std::time::Instant::now();
        while ended.is_none() && began.elapsed() < Duration::from_secs(20) {
            ended = child.try_wait().unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        assert_eq!(ended.and_then(|it| it.code()), Some(0), "{signal}");
    }
}

#[test]
fn what_up_is_told_of_the_net_is_kept_in_the_new_home() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut operator = Process::new(dir, "operator", None);
    let token = dir.join("token").display().to_string();
    let invite = format!("--invite=file={token},role=agent,sector=s1,cluster=c1,name=x");
    up(
        &mut operator,
        &["--mesh", "test", "--name", "operator", &invite],
    );
    let mut member = Process::new(dir, "x", None);
    up(&mut member, &["--token", &token, "--advertise-hostname"]);
    let mut nodes = vec![operator, member];
    whole(&nodes, "at first", Duration::from_secs(30));
    for node in &mut nodes {
        let file = std::fs::read_to_string(node.home.join("chorus.toml")).unwrap();
        assert!(file.contains("listen = \"127.0.0.1:0\""), "{file}");
        // Not the host's name, which may be another at the next start.
        assert!(file.contains("advertise = [\"127.0.0.1\"]"), "{file}");
        node.terminate();
        // Neither is told again.
        node.spawn_as(&["up"]);
    }
    whole(&nodes, "again", Duration::from_secs(30));
    let said = |node: &Process| {
        let text = std::fs::read(node.home.join("run/addresses.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()
    };
    for node in &nodes {
        let said = said(node);
        assert_eq!(said["advertise"], serde_json::json!(["127.0.0.1"]));
        assert!(
            said["router"].as_str().unwrap().contains("127.0.0.1:"),
            "{said}"
        );
    }
    // What a later start is told counts above the file, for that run alone.
    nodes[1].terminate();
    nodes[1].spawn_as(&["up", "--advertise", "localhost"]);
    nodes[1].listens();
    assert_eq!(
        said(&nodes[1])["advertise"],
        serde_json::json!(["localhost"])
    );
    let file = std::fs::read_to_string(nodes[1].home.join("chorus.toml")).unwrap();
    assert!(!file.contains("localhost"), "{file}");
}

#[test]
fn a_home_whose_node_was_revoked_is_set_aside_and_the_next_start_takes_another() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut operator = Process::new(dir, "operator", None);
    let file = dir.join("agent").display().to_string();
    let invite = format!("--invite=file={file},role=agent,sector=s1,cluster=c1,name=x,uses=9");
    up(
        &mut operator,
        &["--mesh", "test", "--name", "operator", &invite],
    );
    let mut nodes = vec![operator, agent(dir, "a")];
    whole(&nodes, "at first", Duration::from_secs(60));
    let was = id(&nodes[1]);
    let mut revoke = nodes[0].command();
    succeed(revoke.args(["revoke", &was, "--reason", "lost"]));
    until("it knows", Duration::from_secs(20), || {
        let status = nodes[1].command().arg("status").output().unwrap();
        status.status.code() == Some(4)
    });
    nodes[1].kill();

    // Its next start is the last in this home.
    let mut last = nodes[1].command();
    let homes = dir.join("homes").display().to_string();
    last.args(["up", "--homes", &homes, "--token", &file])
        .args(NET);
    let mut last = last.stdout(Stdio::null()).spawn().unwrap();
    until("it is refused", Duration::from_secs(20), || {
        last.try_wait().unwrap().is_some()
    });
    assert_eq!(last.wait().unwrap().code(), Some(4));
    nodes[1] = agent(dir, "b");
    whole(&nodes, "with another member", Duration::from_secs(60));
    assert_ne!(id(&nodes[1]), was);
}
