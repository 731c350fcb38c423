//! Two nodes that write the same key apart from each other: nothing is lost, the conflict is
//! said, and the next write resolves it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::node::{Node, until};

/// Far beyond what two nodes need to compare.
const PATIENCE: Duration = Duration::from_secs(60);

fn values(node: &Node, key: &str) -> Vec<String> {
    let (_, got) = node.ask(&["get", key, "--local"]);
    let rows = got["values"].as_array().cloned().unwrap_or_default();
    let mut values: Vec<String> = rows.iter().map(|row| row["value"].to_string()).collect();
    values.sort();
    values
}

/// The rows of `conflicts ls`, also of one that is not known to be there yet.
fn conflicts(node: &Node, words: &[&str]) -> Vec<Value> {
    let said = node.run(&[&["--json", "conflicts"], words].concat()).json();
    said["conflicts"].as_array().cloned().unwrap_or_default()
}

fn open_conflicts(node: &Node) -> u64 {
    let status = node.process.status().unwrap_or_default();
    status["memory"]["conflicts"].as_u64().unwrap_or(u64::MAX)
}

/// Flips a bit of the first entry of the log.
fn flip(dir: &Path) {
    let segments = fs::read_dir(dir)
        .expect("the log")
        .map(|it| it.expect("an entry").path());
    let mut segments = segments.filter(|it| !it.ends_with("mark"));
    let path = segments.next().expect("a segment");
    let mut bytes = fs::read(&path).expect("it reads");
    let at = bytes.len() / 3;
    bytes[at] ^= 4;
    fs::write(&path, bytes).expect("it writes");
}

#[test]
fn what_was_written_apart_is_a_conflict_on_both_until_somebody_writes_again() {
    let [mut op, mut s1] = Node::pair();
    // At first they may not be connected in memory yet.
    until("two copies", PATIENCE, || {
        op.ask(&["put", "plan", "0", "--quorum", "2", "--timeout", "1s"])
            .0
            == 0
    });
    let (exit, put) = op.ask(&["put", "plan", "0", "--quorum", "majority"]);
    assert_eq!((exit, &put["asked"]), (0, &2.into()), "{put}");
    assert_eq!(put["replicas"], 2);
    until("it is there", PATIENCE, || values(&s1, "plan") == ["0"]);

    s1.process.kill();
    let few = [
        "put",
        "plan",
        "1",
        "--quorum",
        "majority",
        "--timeout",
        "300ms",
    ];
    let (exit, put) = op.ask(&few);
    assert_eq!((exit, &put["replicas"]), (5, &1.into()), "{put}");
    op.done(&["put", "kept", "{\"by\":\"op\"}"]);
    op.process.kill();
    s1.process.start();
    s1.done(&["put", "plan", "2"]);
    op.process.start();
    for node in [&op, &s1] {
        until("both have both", PATIENCE, || {
            values(node, "plan") == ["1", "2"] && !values(node, "kept").is_empty()
        });
    }

    let (exit, got) = s1.ask(&["get", "plan"]);
    assert_eq!((exit, &got["conflict"]), (0, &true.into()), "{got}");
    let words = op.done(&["get", "plan"]);
    assert!(words.starts_with("CONFLICT: 2 values"), "{words}");
    assert!(
        words.contains("  op (") && words.contains("  s1 ("),
        "{words}"
    );
    assert!(op.done(&["ls"]).contains("shared/plan CONFLICT"));
    let exported = op.memory(&["export"]);
    assert_eq!(exported.stdout.lines().count(), 3, "{}", exported.stdout);
    assert!(
        exported.stderr.contains("1 keys are in conflict"),
        "{}",
        exported.stderr
    );
    assert_eq!(op.ask(&["verify"]).0, 0);

    for node in [&op, &s1] {
        let rows = conflicts(node, &["ls"]);
        assert_eq!(
            (rows.len(), &rows[0]["kind"]),
            (1, &"DATA_CONTRADICTION".into())
        );
        assert_eq!(
            (&rows[0]["key"], &rows[0]["state"]),
            (&"shared/plan".into(), &"open".into())
        );
        assert_eq!(rows[0]["expected"].as_array().map(Vec::len), Some(1));
        assert_eq!(conflicts(node, &["ls", "--by", "s1"]).len(), 1);
        let nobody = node.run(&["conflicts", "ls", "--by", "s9"]);
        assert_eq!(nobody.exit, 2, "{}", nobody.stderr);
        until("status says so", PATIENCE, || open_conflicts(node) == 1);
    }
    let rows = got["values"].as_array().cloned().unwrap_or_default();
    let two = rows
        .iter()
        .find(|row| row["value"] == 2)
        .expect("it is there");
    let version = two["version"].as_str().expect("a version");
    let unknown = s1.run(&["conflicts", "resolve", "plan", "0@0:0"]);
    assert_eq!(unknown.exit, 2, "{}", unknown.stderr);
    let resolved = s1.run(&["conflicts", "resolve", "plan", version, "--quorum", "2"]);
    assert_eq!(resolved.exit, 0, "{}", resolved.stderr);
    until("it is resolved", PATIENCE, || values(&op, "plan") == ["2"]);
    for node in [&op, &s1] {
        until("it is logged", PATIENCE, || {
            conflicts(node, &["ls", "--all"])[0]["state"] == "resolved"
        });
        assert_eq!(conflicts(node, &["ls"]).len(), 0);
        assert_eq!(open_conflicts(node), 0);
    }
    let verified = s1.run(&["conflicts", "verify"]);
    assert_eq!(verified.exit, 0, "{}", verified.stderr);
    flip(&s1.process.home.join("conflicts"));
    assert_eq!(
        s1.run(&["conflicts", "verify"]).exit,
        1,
        "a flipped bit is found"
    );
    assert_eq!(op.ask(&["get", "plan"]).1["conflict"], false);
    until("both hold the same", PATIENCE, || {
        let digest = |node: &Node| {
            let status = node.process.status().unwrap_or_default();
            (
                status["memory"]["digest"].clone(),
                status["memory"]["behind"] == 0,
            )
        };
        let (one, other) = (digest(&op), digest(&s1));
        one == other && one.1 && one.0.is_string()
    });
}
