//! A task whose agent's node is killed, or only cut off so that it finishes all the same: one effect, of the
//! newest attempt; the other is kept as late; and the timeline tells it.

use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::fabric::here;
use crate::sectors::{Mesh, N};
use crate::support::{Process, until};

/// The two nodes that host an agent, one in each sector.
const HOSTS: [usize; 2] = [4, 8];
/// How long each takes for a task: longer than it takes to notice that a node is gone.
const WORK_S: u64 = 6;

/// A mesh with an agent on two nodes that both can do it.
fn two(test: &str) -> Mesh {
    let mut mesh = Mesh::start(test);
    for host in HOSTS {
        let node = &mut mesh.nodes[host];
        let name = node.name.clone();
        let script = format!(
            r#"while read -r line; do id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/'); sleep {WORK_S}; echo "{{\"id\":$id,\"answer\":\"done at {name}\"}}"; done"#
        );
        let path = node.home.join("chorus.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let table = format!(
            "\n[[agent]]\nname = \"w\"\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n"
        );
        std::fs::write(&path, text + &table).unwrap();
        node.kill();
        node.start();
    }
    mesh.whole("with agents", Duration::from_secs(30));
    until("both are listed", Duration::from_secs(20), || {
        let listed = json(&mesh.nodes[0], &["agents", "--all"]);
        listed["agents"].as_array().map(Vec::len) == Some(2)
    });
    mesh
}

fn json(node: &Process, words: &[&str]) -> Value {
    let output = node.command().args(words).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// The steps of the only task, by their names, as the operator has them.
fn steps(operator: &Process) -> Vec<(String, Value)> {
    let me = operator.status().unwrap()["node"]
        .as_str()
        .unwrap()
        .to_owned();
    let prefix = format!("own/{me}/task/");
    let listed = json(operator, &["memory", "ls", &prefix]);
    let keys = listed["keys"].as_array().cloned().unwrap_or_default();
    let keys = keys.iter().filter_map(|it| it["key"].as_str());
    let step = |key: &str| {
        let got = json(operator, &["memory", "get", key]);
        let name = key.rsplit('/').next().unwrap_or_default().to_owned();
        (name, got["values"][0]["value"].clone())
    };
    keys.map(step).collect()
}

fn step(operator: &Process, name: &str) -> Option<Value> {
    let found = steps(operator).into_iter().find(|it| it.0 == name);
    found.map(|it| it.1)
}

/// Begins a task, and waits until it is given; whose it is.
fn begin(mesh: &Mesh) -> (thread::JoinHandle<Output>, usize) {
    let mut command: Command = mesh.nodes[0].command();
    command.args(["delegate", "sum up", "--timeout", "90s"]);
    let running = thread::spawn(move || command.output().unwrap());
    let mut given = None;
    until("it is given", Duration::from_secs(20), || {
        given = step(&mesh.nodes[0], "attempt-1");
        given.is_some()
    });
    let agent = given.unwrap()["agent"].as_str().unwrap().to_owned();
    let host = (0..N).find(|it| agent == format!("{}/w", mesh.nodes[*it].name));
    (running, host.unwrap())
}

fn effect(running: thread::JoinHandle<Output>) -> Value {
    let output = running.join().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said} {errors}");
    serde_json::from_str(&said).unwrap()
}

#[test]
fn a_task_whose_node_is_killed_is_done_by_the_next_and_has_one_effect() {
    if !here("a_task_whose_node_is_killed_is_done_by_the_next_and_has_one_effect") {
        return;
    }
    let mut mesh = two("kill");
    let (running, host) = begin(&mesh);
    mesh.nodes[host].kill();
    let done = effect(running);
    let other = HOSTS.iter().find(|it| **it != host).unwrap();
    let answer = format!("done at {}", mesh.nodes[*other].name);
    assert_eq!(
        (&done["answer"], &done["attempt"]),
        (&answer.into(), &2.into()),
        "{done}"
    );
    let names = steps(&mesh.nodes[0]).into_iter().map(|it| it.0);
    let mut names: Vec<String> = names.collect();
    names.sort();
    let expected = ["attempt-1", "attempt-1-lost", "attempt-2", "effect", "task"];
    assert_eq!(names, expected);
    let told = json(&mesh.nodes[0], &["timeline"]);
    let lost = told["events"].as_array().unwrap().iter().find(|it| {
        let key = it["key"].as_str();
        key.is_some_and(|it| it.ends_with("/attempt-1-lost"))
    });
    let lost: Value = serde_json::from_str(lost.unwrap()["begins"].as_str().unwrap()).unwrap();
    let agent = format!("{}/w", mesh.nodes[host].name);
    assert_eq!(lost["agent"], agent.as_str(), "{lost}");
    let why = "its node, or one on the way to it, is gone";
    assert_eq!(lost["why"], why, "{lost}");
}

#[test]
fn one_that_is_only_cut_off_finishes_too_and_is_late() {
    if !here("one_that_is_only_cut_off_finishes_too_and_is_late") {
        return;
    }
    let mesh = two("late");
    let (running, host) = begin(&mesh);
    mesh.cut(host, (0..N).filter(|it| *it != host));
    let done = effect(running);
    assert_eq!(done["attempt"], 2, "{done}");
    mesh.heal();
    let mut late = None;
    until("the first answer is kept", Duration::from_secs(40), || {
        late = step(&mesh.nodes[0], "late-1");
        late.is_some()
    });
    let answer = format!("done at {}", mesh.nodes[host].name);
    assert_eq!(late.unwrap()["answer"], answer.as_str());
    let effect = step(&mesh.nodes[0], "effect").unwrap();
    assert_eq!(effect["attempt"], 2, "the effect is not touched: {effect}");

    // The timeline tells it, causes before effects.
    let output = mesh.nodes[0].command().args(["timeline"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let at = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("no {what} in {text}"))
    };
    let order = [
        "/task\"",
        "/attempt-1\"",
        "/attempt-1-lost\"",
        "/attempt-2\"",
        "/effect\"",
        "/late-1\"",
    ];
    assert!(order.map(at).is_sorted(), "{text}");
}
