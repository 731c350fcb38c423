//! An import whose node is killed in the middle: it says how far it came, and repeated it goes
//! on and loses nothing.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use crate::node::{Node, until};

#[test]
fn an_import_that_lost_its_node_says_how_far_it_was_and_goes_on_when_repeated() {
    const MANY: usize = 3_000;
    let mut node = Node::start();
    let line = |n: usize| format!("{{\"id\":{n},\"text\":\"{}\"}}\n", "x".repeat(n % 200));
    let text: String = (0..MANY).map(line).collect();
    let mut command = node.command(&["--json", "import", "-", "--key", "id"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::null());
    let mut import = command.spawn().expect("it starts");
    let mut pipe = import.stdin.take().expect("a pipe");
    // Half of it, and the rest only when the node is gone: so it is in the middle for sure.
    let half = text.len() / 2;
    pipe.write_all(&text.as_bytes()[..half]).expect("it reads");
    // Batches are of 500 lines, and the second is sent when the first is acknowledged.
    until("a batch is acknowledged", Duration::from_secs(60), || {
        node.memory(&["get", "--local", "600"]).exit == 0
    });
    node.process.kill();
    // It may end before it has read all.
    let _ = pipe.write_all(&text.as_bytes()[half..]);
    drop(pipe);
    let output = import.wait_with_output().expect("it ends");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(
        (output.status.code(), &report["exit"]),
        (Some(3), &3.into()),
        "{report}"
    );
    assert_eq!(report["complete"], false);
    let done = report["line"].as_u64().expect("how far");
    assert!((1..MANY as u64).contains(&done), "{done}");
    assert_eq!(report["imported"], done);
    assert!(
        report["hint"]
            .as_str()
            .is_some_and(|it| it.contains("repeat the same"))
    );

    node.process.start();
    let again = node.memory_with(&["--json", "import", "-", "--key", "id"], text.as_bytes());
    let report = again.json();
    assert_eq!(
        (again.exit, &report["failed_total"]),
        (0, &0.into()),
        "{report}"
    );
    let skipped = report["skipped"].as_u64().expect("a count");
    assert!(
        skipped >= done,
        "{skipped} of the {done} that were acknowledged are there"
    );
    let lines: String = node
        .export()
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(lines == text, "the same objects in the same order");
}
