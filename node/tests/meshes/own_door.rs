//! A sector on a bridge of its own, which no node of the backbone is on but its coordinator:
//! who joins there is invited by the coordinator, knocks at its door and needs nothing else.

use std::time::Duration;

use crate::fabric::{Fabric, here};
use crate::support::{Process, found, succeed, until, whole};
use serde_json::Value;

const WAY_UP: [&str; 2] = ["10.0.0.2", "10.1.0.2"];

/// A token of `enroller`, asked for where it stands.
fn invite(enroller: &Process, words: &[&str]) -> String {
    let output = succeed(enroller.command().arg("invite").args(words));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

fn join(node: &Process, token: &str, addresses: &[&str]) {
    let mut join = node.command();
    join.args(["join", token, "--listen", "0.0.0.0:0"]);
    for address in addresses {
        join.args(["--advertise", address]);
    }
    succeed(&mut join);
}

#[test]
fn a_sector_on_its_own_bridge_is_joined_at_its_coordinators_door() {
    if !here("a_sector_on_its_own_bridge_is_joined_at_its_coordinators_door") {
        return;
    }
    let mut fabric = Fabric::new("own", &["backbone", "sector"]);
    let mut machine = |name: &str, legs: &[(&str, &str)]| Some(fabric.machine(name, legs, None));
    let dir = tempfile::tempdir().unwrap();
    let place = machine("operator", &[("backbone", "10.0.0.1")]);
    let mut operator = Process::new(dir.path(), "operator", place);
    let place = machine("s1", &[("backbone", WAY_UP[0]), ("sector", WAY_UP[1])]);
    let mut s1 = Process::new(dir.path(), "s1", place);
    let place = machine("agent", &[("sector", "10.1.0.3")]);
    let mut agent = Process::new(dir.path(), "agent", place);

    found(&operator, "10.0.0.1");
    operator.start();
    let post = ["--name", "s1", "--role", "coordinator", "--sector", "s1"];
    let post = [&post[..], &["--cluster", "s1", "--cap", "enrol"]].concat();
    join(&s1, &invite(&operator, &post), &WAY_UP);
    s1.start();
    let token = invite(
        &s1,
        &["--name", "agent", "--sector", "s1", "--cluster", "c1"],
    );
    join(&agent, &token, &[]);
    agent.start();
    let mut nodes = vec![operator, s1, agent];
    whole(&nodes, "over two bridges", Duration::from_secs(30));
    assert_eq!(nodes[2].status().unwrap()["parent"], "s1");

    for node in &mut nodes[..2] {
        node.kill();
        node.start();
    }
    whole(&nodes, "after both came back", Duration::from_secs(30));

    // Without its only way up the agent says that it has none.
    nodes[1].kill();
    until("it says so", Duration::from_secs(30), || {
        nodes[2].status().is_some_and(|it| it["orphan"] == true)
    });
}
