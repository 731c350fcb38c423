//! One question to agents on several nodes, as processes: whoever answers, is slow to be found or
//! dies, the count is whole.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Post, Process, enrol, found, until, whole};

const TREE: [Post; 5] = [
    ("operator", ["orchestrator", "hq", "hq"]),
    ("s1", ["coordinator", "s1", "s1"]),
    ("s1-c1-lead", ["lead", "s1", "c1"]),
    ("s1-c1-a1", ["agent", "s1", "c1"]),
    ("s2", ["coordinator", "s2", "s2"]),
];
const PATIENCE: Duration = Duration::from_secs(30);

/// What a verb of a node prints as JSON, and its exit code.
fn ask(node: &Process, words: &[&str]) -> (i32, Value) {
    let output = node.command().args(words).output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap_or(-1), said)
}

fn agents(node: &Process) -> u64 {
    let (_, said) = ask(node, &["agents"]);
    said["total"].as_u64().unwrap_or_default()
}

/// Speaks one JSON object a line, as an agent that somebody plugs in does.
const SCRIPT: &str = r#"while read -r line; do
  id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
  echo "{\"id\":$id,\"answer\":\"from a command\"}"
done"#;

/// Three echoes on each node but the operator's, and on one of them a sysinfo and a command.
fn hosting(dir: &std::path::Path) -> Vec<Process> {
    let mut nodes: Vec<Process> = Vec::new();
    for (name, post) in TREE {
        let mut node = Process::new(dir, name, None);
        match nodes.first() {
            None => found(&node, "127.0.0.1"),
            Some(operator) => {
                enrol(operator, &node, post, &["127.0.0.1"]);
                let path = node.home.join("chorus.toml");
                let mut text = fs::read_to_string(&path).unwrap();
                text += "\n[[agent]]\nname = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\ncount = 3\n\
                         capabilities = [\"text\"]\n";
                if name == "s1-c1-a1" {
                    text += "[[agent]]\nname = \"m\"\nkind = \"builtin\"\nrun = \"sysinfo\"\n";
                    text += "[[agent]]\nname = \"x\"\nkind = \"exec\"\n";
                    text += &format!("command = [\"sh\", \"-c\", '''{SCRIPT}''']\n");
                }
                fs::write(&path, text).unwrap();
            }
        }
        node.start();
        nodes.push(node);
    }
    whole(&nodes, "at first", PATIENCE);
    nodes
}

#[test]
fn a_question_reaches_all_agents_and_the_count_is_whole_when_a_node_dies() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = hosting(dir.path());
    until("all agents are known", PATIENCE, || agents(&nodes[0]) == 14);
    let words = |more: &[&'static str]| -> Vec<&'static str> {
        [&["gather", "ping", "--window", "5s"], more].concat()
    };

    let counts = |it: &Value| {
        let fields = ["expected", "ready", "conflict", "transit", "skipped"];
        fields.map(|field| it[field].as_u64().unwrap_or(u64::MAX))
    };
    // At first some may still be on their way to the parent that is nearest, and who moves while
    // it is asked counts as in transit.
    let mut all = Value::Null;
    until("all answer", PATIENCE, || {
        all = ask(&nodes[0], &words(&[])).1;
        counts(&all) == [14, 14, 0, 0, 0]
    });
    assert_eq!(
        (&all["outcome"], &all["decision"]),
        (&"SUCCESS".into(), &"PROCEED".into())
    );
    let groups = all["answers"].as_array().unwrap();
    assert_eq!(
        (&groups[0]["answer"], &groups[0]["agents"]),
        (&"ping".into(), &12.into())
    );
    let texts = groups.iter().filter_map(|it| it["answer"].as_str());
    let texts: Vec<&str> = texts.collect();
    assert!(texts.contains(&"from a command"), "{all}");
    let machine = texts.iter().find(|it| it.starts_with('{')).unwrap();
    let machine: Value = serde_json::from_str(machine).unwrap();
    assert!(machine["memory_kb"].as_u64() > Some(0), "{machine}");

    // Where nobody is owed nobody is waited for, and what no agent could be given is no task.
    let began = Instant::now();
    let (exit, _) = ask(&nodes[0], &words(&["--late", "100s"]));
    assert_eq!(exit, 0);
    assert!(
        began.elapsed() < Duration::from_secs(50),
        "all had answered"
    );
    let (exit, long) = ask(&nodes[0], &["delegate", &"x".repeat(40_000)]);
    assert_eq!((exit, &long["code"]), (2, &"too_large".into()), "{long}");
    let (_, status) = ask(&nodes[0], &["status"]);
    let tasks = format!("own/{}/task/", status["node"].as_str().unwrap());
    let (_, tasks) = ask(&nodes[0], &["memory", "ls", &tasks]);
    assert_eq!(tasks["keys"].as_array().map(Vec::len), Some(0), "{tasks}");

    // Only those that can; only those beneath; nobody.
    let (exit, text) = ask(&nodes[0], &words(&["--capability", "text"]));
    assert_eq!((exit, counts(&text)[0]), (0, 12), "{text}");
    until("s1 asks its sector", PATIENCE, || {
        let (exit, sector) = ask(&nodes[1], &words(&[]));
        exit == 0 && counts(&sector) == [11, 11, 0, 0, 0]
    });
    let (exit, nobody) = ask(&nodes[0], &words(&["--capability", "cooking"]));
    assert_eq!((exit, &nobody["code"]), (2, &"nobody".into()), "{nobody}");
    let hint = nobody["hint"].as_str().unwrap_or_default();
    assert!(
        hint.contains("text") && hint.contains("the classes A"),
        "{hint}"
    );

    // Frozen, it cannot answer and is not known to be gone: in transit, and counted.
    nodes[3].signal("-STOP");
    let (exit, frozen) = ask(&nodes[0], &["gather", "ping", "--window", "1500ms"]);
    nodes[3].signal("-CONT");
    assert_eq!(exit, 5, "{frozen}");
    assert_eq!(counts(&frozen), [14, 9, 0, 5, 0], "{frozen}");
    assert_eq!(frozen["decision"], "WAIT");
    assert_eq!(frozen["recommendation"], "retry_with_larger_window");

    // Dead, it is out of the next count as soon as its parent knows.
    nodes[4].kill();
    until("its agents are gone", PATIENCE, || agents(&nodes[0]) == 11);
    let (exit, rest) = ask(&nodes[0], &words(&[]));
    assert_eq!((exit, counts(&rest)), (0, [11, 11, 0, 0, 0]), "{rest}");
    nodes[4].start();
    until("they are back", PATIENCE, || agents(&nodes[0]) == 14);
    until("they answer again", PATIENCE, || {
        counts(&ask(&nodes[0], &words(&[])).1) == [14, 14, 0, 0, 0]
    });
}
