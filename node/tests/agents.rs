//! Agents that are a model behind an endpoint and a person at a console, as processes: both are
//! counted, and what becomes of one is nothing to the others.

#[path = "../../actors/tests/support/stub.rs"]
mod stub;
mod support;

use std::fs;
use std::process::Stdio;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;
use stub::{Reply, Stub};
use support::{Process, enrol, found, until, whole};

const PATIENCE: Duration = Duration::from_secs(30);

/// What a verb of a node prints as JSON, and its exit code.
fn ask(node: &Process, words: &[&str]) -> (i32, Value) {
    let output = node.command().args(words).output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap_or(-1), said)
}

fn counts(it: &Value) -> [u64; 5] {
    let fields = ["expected", "ready", "conflict", "transit", "skipped"];
    fields.map(|field| it[field].as_u64().unwrap_or(u64::MAX))
}

/// The texts of the answers, in order.
fn texts(it: &Value) -> Vec<&str> {
    let groups = it["answers"].as_array().into_iter().flatten();
    let mut texts: Vec<&str> = groups.filter_map(|it| it["answer"].as_str()).collect();
    texts.sort_unstable();
    texts
}

/// An orchestrator, and a coordinator that hosts these agents.
fn hosting(dir: &std::path::Path, tables: &str, many: u64) -> [Process; 2] {
    let mut nodes = ["operator", "s1"].map(|name| Process::new(dir, name, None));
    let [operator, host] = &mut nodes;
    found(operator, "127.0.0.1");
    operator.start();
    enrol(operator, host, ["coordinator", "s1", "s1"], &["127.0.0.1"]);
    let path = host.home.join("chorus.toml");
    let text = fs::read_to_string(&path).unwrap() + tables;
    fs::write(&path, text).unwrap();
    host.start();
    whole(&nodes, "at first", PATIENCE);
    until("all agents are known", PATIENCE, || {
        ask(&nodes[0], &["agents"]).1["total"] == many
    });
    nodes
}

#[test]
fn a_model_answers_beside_the_others_and_its_failure_is_its_own() {
    let stub = Stub::start(vec![
        Reply::Tokens(&["gr\u{fc}n", " ", "tea"]),
        Reply::Status("500 Internal Server Error", "", "oh"),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let tables = format!(
        "\n[[agent]]\nname = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\ncount = 3\n\
         [[agent]]\nname = \"llm\"\nkind = \"openai\"\nurl = \"{}\"\nmodel = \"m\"\n\
         capabilities = [\"words\"]\n",
        stub.url
    );
    let [operator, host] = hosting(dir.path(), &tables, 4);
    let (exit, all) = ask(
        &operator,
        &["gather", "which?", "--at", "now", "--window", "20s"],
    );
    assert_eq!((exit, counts(&all)), (0, [4, 4, 0, 0, 0]), "{all}");
    assert_eq!(texts(&all), ["gr\u{fc}n tea", "which?"]);
    assert_eq!(stub.asked()[0].body["messages"][0]["content"], "which?");

    let (exit, broken) = ask(
        &operator,
        &["gather", "again?", "--at", "now", "--window", "20s"],
    );
    assert_eq!((exit, counts(&broken)), (5, [4, 3, 0, 1, 0]), "{broken}");
    assert_eq!(texts(&broken), ["again?"]);
    let unready = &broken["unready"][0];
    assert_eq!(unready["agent"], "s1/llm");
    assert_eq!(
        unready["why"],
        "its endpoint says 500 Internal Server Error"
    );

    let (_, agents) = ask(&host, &["agents"]);
    let rows = agents["agents"].as_array().unwrap();
    let model = rows.iter().find(|it| it["name"] == "llm").unwrap();
    assert_eq!(model["backend"], "openai");
    assert_eq!(model["context"].as_str().map(str::len), Some(64));
    assert_eq!(rows[0]["context"], Value::Null);
}

#[test]
fn a_person_answers_from_the_inbox_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let tables = "\n[[agent]]\nname = \"anna\"\nkind = \"human\"\n";
    let [operator, host] = hosting(dir.path(), tables, 1);
    let (exit, none) = ask(&host, &["agents", "inbox"]);
    assert_eq!((exit, &none["waiting"]), (0, &0.into()), "{none}");

    for (said, expected) in [
        (vec!["yes, ship it"], [1, 1, 0, 0, 0]),
        (vec!["--conflict", "it was no on Monday"], [1, 0, 1, 0, 0]),
        (vec!["--decline"], [1, 0, 0, 1, 0]),
    ] {
        let mut gather = operator.command();
        gather.args(["gather", "ship it?", "--class", "F"]);
        gather.args(["--at", "now", "--window", "60s"]);
        let gather = gather.stdout(Stdio::piped()).stderr(Stdio::null());
        let gather = gather.spawn().unwrap();
        let mut number = String::new();
        until("the question is in the inbox", PATIENCE, || {
            let (_, inbox) = ask(&host, &["agents", "inbox"]);
            let question = &inbox["questions"][0];
            number = question["number"].to_string();
            question["question"] == "ship it?" && question["agent"] == "anna"
        });
        let words = [vec!["agents", "answer", &number], said].concat();
        let (exit, done) = ask(&host, &words);
        assert_eq!((exit, &done["question"]), (0, &"ship it?".into()), "{done}");
        let output = gather.wait_with_output().unwrap();
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(counts(&all), expected, "{all}");

        let (exit, over) = ask(&host, &words);
        assert_eq!((exit, &over["code"]), (1, &"over".into()), "{over}");
    }
    let (exit, none) = ask(&host, &["agents", "answer", "99", "yes"]);
    assert_eq!((exit, &none["code"]), (1, &"no_question".into()), "{none}");
    let (exit, _) = ask(&host, &["agents", "answer", "1", "yes", "--decline"]);
    assert_eq!(exit, 2, "one thing is said");
    let (exit, _) = ask(&host, &["agents", "answer", "1"]);
    assert_eq!(exit, 2, "something is said");
    let (exit, refused) = ask(&host, &["agents", "--all", "inbox"]);
    assert_eq!((exit, &refused["code"]), (2, &"bad_flag".into()));
    for limit in [&["--limit", "1"][..], &["--all", "--limit", "0"]] {
        let (exit, refused) = ask(&host, &[&["agents"], limit].concat());
        assert_eq!((exit, &refused["code"]), (2, &"usage".into()), "{limit:?}");
    }
}

#[test]
fn what_comes_late_is_kept_and_whose_world_was_another_is_said() {
    let (go, waits) = mpsc::channel();
    let waits = Arc::new(Mutex::new(waits));
    let quick = Stub::start(vec![Reply::Tokens(&["Paris"])]);
    let slow = Stub::start(vec![Reply::WhenTold(&["Lyon"], waits)]);
    let dir = tempfile::tempdir().unwrap();
    let table = |name: &str, stub: &Stub, model: &str| {
        format!(
            "\n[[agent]]\nname = \"{name}\"\nkind = \"openai\"\nurl = \"{}\"\nmodel = \"{model}\"\n",
            stub.url
        )
    };
    let tables = table("quick", &quick, "new") + &table("slow", &slow, "old");
    let [operator, _host] = hosting(dir.path(), &tables, 2);
    let words = ["gather", "the capital?", "--at", "now", "--window", "2s"];
    let (_, decided) = ask(&operator, &words);
    assert_eq!(counts(&decided), [2, 1, 0, 1, 0], "{decided}");
    assert_eq!(
        (&decided["late"], texts(&decided)),
        (&0.into(), vec!["Paris"])
    );
    let key = decided["late_key"].as_str().unwrap();
    let (_, nothing) = ask(&operator, &["memory", "get", key]);
    assert!(nothing["values"][0].is_null(), "{nothing}");
    drop(go);
    let mut kept = Value::Null;
    until("the late answer is kept", PATIENCE, || {
        let (_, got) = ask(&operator, &["memory", "get", key]);
        kept = got["values"][0]["value"].clone();
        kept["late"] == 1
    });
    let row = &kept["answers"][0];
    assert_eq!(
        (&row["answer"], &row["one"]),
        (&"Lyon".into(), &"s1/slow".into())
    );
    assert_eq!(
        row["kind"], "CONTEXT_DIVERGENCE",
        "another model, another answer: {kept}"
    );
    assert_eq!(
        (&kept["question"], kept["answers"][1].is_null()),
        (&"the capital?".into(), true)
    );
}

#[test]
fn a_command_that_ends_again_and_again_is_a_fault_that_is_escalated_and_gets_no_work() {
    let dir = tempfile::tempdir().unwrap();
    let tables = "\n[[agent]]\nname = \"bad\"\nkind = \"exec\"\ncommand = [\"false\"]\nclass = \"A\"\n\
                  [[agent]]\nname = \"good\"\nkind = \"builtin\"\nrun = \"echo\"\nclass = \"E\"\n";
    let [operator, _host] = hosting(dir.path(), tables, 2);
    until("the fault is known at the top", PATIENCE, || {
        let (_, status) = ask(&operator, &["status"]);
        let faults = status["faults"].as_array();
        faults.into_iter().flatten().any(|it| {
            it["class"] == "AGENT_CRASH" && it["escalated"] == true && it["agents"][0] == "s1/bad"
        })
    });
    until("its log says so", PATIENCE, || {
        let log = fs::read_to_string(operator.home.with_extension("log"));
        log.is_ok_and(|it| it.contains("a fault is escalated"))
    });
    // By its class alone it would be the best.
    let (exit, done) = ask(&operator, &["delegate", "do it"]);
    assert_eq!((exit, &done["agent"]), (0, &"s1/good".into()), "{done}");
    assert_eq!(done["attempt"], 1, "it was not tried: {done}");
}

#[test]
fn what_was_measured_outlives_an_orderly_restart() {
    let dir = tempfile::tempdir().unwrap();
    let tables = "\n[[agent]]\nname = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\ncount = 3\n";
    let [mut operator, _host] = hosting(dir.path(), tables, 3);
    let words = ["gather", "who?", "--at", "now", "--window", "10s"];
    for _ in 0..4 {
        let (exit, all) = ask(&operator, &words);
        assert_eq!((exit, counts(&all)), (0, [3, 3, 0, 0, 0]), "{all}");
    }
    let measured = |operator: &Process| {
        let (exit, kpi) = ask(operator, &["kpi"]);
        assert_eq!(exit, 0, "{kpi}");
        let rows = kpi["kpis"].as_array().unwrap();
        let of = |name| rows.iter().find(|it| it["name"] == name).unwrap()["of"].clone();
        (of("coordination_success"), of("window_hits"))
    };
    assert_eq!(measured(&operator), (4.into(), 12.into()));
    operator.terminate();
    operator.start();
    assert_eq!(measured(&operator), (4.into(), 12.into()));
    until("its agents are known again", PATIENCE, || {
        ask(&operator, &["agents"]).1["total"] == 3
    });
    ask(&operator, &words);
    assert_eq!(measured(&operator), (5.into(), 15.into()));
}
