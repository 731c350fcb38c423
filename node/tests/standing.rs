//! What a node says of itself and its mesh when not all is well: who is missing, that it has
//! no parent, that it was shut out. Real processes, asked as people and managers ask.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Process, enrol, found, succeed, until};

/// Far beyond what any of it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The status code and the body of an answer at the metrics address.
fn get(node: &Process, path: &str) -> (u16, String) {
    let text = std::fs::read(node.home.join("run/addresses.json")).unwrap();
    let addresses: Value = serde_json::from_slice(&text).unwrap();
    let url = addresses["metrics"].as_str().unwrap();
    let address = url
        .trim_start_matches("http://")
        .trim_end_matches("/metrics");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.into())
}

/// What a person reads: the verb without `--json`.
fn words(node: &Process, verb: &[&str]) -> String {
    let mut command = std::process::Command::new(support::CHORUS);
    command.arg("--dir").arg(&node.home).args(verb);
    String::from_utf8(succeed(&mut command).stdout).unwrap()
}

/// Name and state of each row of `peers`, in order.
fn rows(node: &Process, flags: &[&str]) -> Vec<[String; 2]> {
    let mut peers = node.command();
    let said = succeed(peers.arg("peers").args(flags)).stdout;
    let said: Value = serde_json::from_slice(&said).unwrap();
    let rows = said["peers"].as_array().unwrap();
    rows.iter()
        .map(|row| ["name", "state"].map(|key| row[key].as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn a_member_that_never_ran_is_named_where_the_mesh_is_called_degraded() {
    let dir = tempfile::tempdir().unwrap();
    let mut top = Process::new(dir.path(), "op", None);
    found(&top, "127.0.0.1");
    top.start();
    let agents = ["a10", "a2", "a1"].map(|name| {
        let agent = Process::new(dir.path(), name, None);
        enrol(&top, &agent, ["agent", "s1", "c1"], &["127.0.0.1"]);
        agent
    });
    let [_, mut second, _] = agents;
    second.start();
    until("one of them is there", PATIENCE, || top.members() == 2);

    let status = top.status().unwrap();
    assert_eq!(status["mode"], "DEGRADED_SEVERE");
    let unheard = |name: &str| json!({"name": name, "state": "unheard"});
    let absent = json!({"count": 2, "members": [unheard("a1"), unheard("a10")]});
    assert_eq!(status["absent"], absent);
    let line = "2 of 4 members are not live: a1 (unheard), a10 (unheard); see `chorus peers --all`";
    assert!(words(&top, &["status"]).contains(line));

    let live = ["a2", "live"].map(String::from);
    let gone = |name: &str| [name, "unheard"].map(String::from);
    assert_eq!(rows(&top, &[]), std::slice::from_ref(&live));
    assert_eq!(rows(&top, &["--all"]), [gone("a1"), live, gone("a10")]);
    assert!(words(&top, &["peers", "--all"]).contains("unheard"));
    assert_eq!(get(&top, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(&top, "/readyz"), (200, "ok\n".into()));
}

#[test]
fn who_has_no_parent_lives_and_is_not_ready_and_who_was_shut_out_is_neither() {
    let dir = tempfile::tempdir().unwrap();
    let mut top = Process::new(dir.path(), "op", None);
    let mut agent = Process::new(dir.path(), "a", None);
    found(&top, "127.0.0.1");
    top.start();
    enrol(&top, &agent, ["agent", "s1", "c1"], &["127.0.0.1"]);
    agent.start();
    let ok = (200, "ok\n".to_owned());
    until("it is ready", PATIENCE, || get(&agent, "/readyz") == ok);

    top.kill();
    let alone = (503, "no parent can be reached\n".to_owned());
    until("it is no longer", PATIENCE, || {
        get(&agent, "/readyz") == alone
    });
    let (code, body) = get(&agent, "/healthz");
    assert_eq!(code, 200, "a restart would not help: {body}");
    assert!(body.contains("no parent can be reached"), "{body}");

    top.start();
    until("it is ready again", PATIENCE, || {
        get(&agent, "/readyz") == ok
    });
    agent.kill();
    succeed(top.command().args(["revoke", "a", "--reason", "lost"]));
    agent.start();
    until("it is told", PATIENCE, || {
        get(&agent, "/healthz").1.starts_with("REVOKED")
    });
    assert_eq!(get(&agent, "/healthz").0, 503);
    assert_eq!(get(&agent, "/readyz").0, 503);
    let metrics = get(&agent, "/metrics").1;
    assert!(metrics.contains("chorus_revoked{"));
    // What never happened is there as well.
    for never in [
        "reason=\"forged\"} 0",
        "event=\"second_hand\"} 0",
        "state=\"OK\"} 1",
    ] {
        assert!(metrics.contains(never), "{never}: {metrics}");
    }
    // What a container's health is taken from: refused, and still one object.
    let output = agent.command().arg("status").output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let put = ["memory", "put", "x", "1", "--quorum", "1"];
    let refused = agent.command().args(put).output().unwrap();
    let said: Value = serde_json::from_slice(&refused.stdout).unwrap();
    let answer = (refused.status.code(), &said["code"]);
    assert_eq!(answer, (Some(4), &"revoked".into()), "{said}");
    let told = (&status["mode"], &status["revoked"]);
    assert_eq!(output.status.code(), Some(4), "{status}");
    assert_eq!(told, (&"EMERGENCY".into(), &true.into()), "{status}");
}
