//! The timeline: one order on both nodes, no effect before its cause, and nothing in it that
//! does not stand.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::node::{Node, until};

/// Far beyond what two nodes need to compare.
const PATIENCE: Duration = Duration::from_secs(60);

fn events(node: &Node, words: &[&str]) -> (Vec<Value>, Value) {
    let mut said = node.run(&[&["--json", "timeline"], words].concat()).json();
    let Value::Array(events) = said["events"].take() else {
        panic!("no events: {said}");
    };
    (events, said)
}

fn keys<'e>(events: &'e [Value], what: &str) -> Vec<&'e str> {
    let those = events.iter().filter(|it| it["what"] == what);
    those.filter_map(|it| it["key"].as_str()).collect()
}

#[test]
fn two_nodes_print_the_same_order_and_no_effect_before_its_cause() {
    let nodes @ [op, s1] = &Node::pair();
    // Each answers what the other has written, so each is the cause of the next.
    for round in 0..6 {
        let (writer, reader) = (&nodes[round % 2], &nodes[(round + 1) % 2]);
        let (name, value) = (format!("step-{round}"), round.to_string());
        writer.done(&["put", &name, &value]);
        until("the other has read it", PATIENCE, || {
            reader.memory(&["get", &name]).stdout.trim() == value
        });
    }
    s1.done(&["put", "step-2", "22"]);
    until("op has it", PATIENCE, || {
        op.memory(&["get", "step-2"]).stdout.trim() == "22"
    });
    op.done(&["rm", "step-0"]);
    until("both print the same", PATIENCE, || {
        let digest = |node| events(node, &[]).1["digest"].clone();
        digest(op) == digest(s1) && !keys(&events(s1, &[]).0, "deleted").is_empty()
    });

    let (all, said) = events(op, &[]);
    assert_eq!(
        (&said["whole"], &said["damaged"]),
        (&true.into(), &0.into())
    );
    let times: Vec<_> = all.iter().map(|it| it["lamport"].as_u64()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let step = |n: u8| format!("shared/step-{n}");
    let wanted = [1, 3, 4, 5, 2].map(step);
    assert_eq!(keys(&all, "wrote"), wanted, "each write in its turn");
    assert_eq!(keys(&all, "deleted"), [step(0)]);
    let announced = all.iter().filter(|it| it["what"] == "announced");
    let mut announced: Vec<_> = announced.map(|it| it["name"].as_str()).collect();
    announced.sort_unstable();
    assert_eq!(announced, [Some("op"), Some("s1")]);

    let words = s1.run(&["timeline", "--last", "2"]);
    let lines: Vec<&str> = words.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "a head and two: {}", words.stdout);
    assert!(lines[1].contains("s1  ") && lines[1].ends_with("wrote shared/step-2, 2 bytes: 22"));
    assert!(lines[2].contains("op  ") && lines[2].ends_with("deleted shared/step-0"));
    let short = said["digest"].as_str().map(|it| &it[..16]);
    assert!(
        words.stderr.contains(short.expect("a digest")),
        "{}",
        words.stderr
    );

    let since = all.last().map(|it| it["lamport"].to_string());
    let (late, _) = events(op, &["--since", &since.expect("an event")]);
    assert_eq!(keys(&late, "deleted"), [step(0)]);
    assert_eq!(late.len(), 1);
    assert_eq!(
        events(op, &["step-4"]).0.len(),
        1,
        "by prefix, without announcements"
    );
}

/// A process that is killed when it is no longer needed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A library that makes `fdatasync` slow.
fn slow_sync(dir: &Path) -> Option<PathBuf> {
    let (source, library) = (dir.join("slow.c"), dir.join("slow.so"));
    let text = "#define _GNU_SOURCE\n#include <poll.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
        int fdatasync(int fd) {\n  poll(0, 0, 300);\n  return syscall(SYS_fdatasync, fd);\n}\n";
    fs::write(&source, text).expect("it writes");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source);
    cc.status().is_ok_and(|it| it.success()).then_some(library)
}

#[test]
fn what_was_read_before_it_was_on_disk_is_before_what_its_reader_writes() {
    let [op, mut s1] = Node::pair();
    let Some(library) = slow_sync(&op.path("")) else {
        let _ = writeln!(std::io::stderr(), "skipped: a slow disk SKIPPED (needs cc)");
        return;
    };
    s1.process.terminate();
    let mut command = s1.process.command();
    command.arg("run").env("LD_PRELOAD", &library);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _running = Running(command.spawn().expect("it starts"));
    until("it is back", PATIENCE, || {
        s1.process.members() == 2 && op.process.members() == 2
    });
    let lines: Vec<String> = (0..500).map(|n| format!("{{\"n\":{n}}}")).collect();
    let file = op.path("file");
    fs::write(&file, lines.join("\n")).expect("it writes");
    let lamport = |put: Value| put["lamport"].as_u64().expect("a time");
    for round in 0..10 {
        // What is there already costs times all the same: this clock is now far ahead.
        op.done(&["import", file.to_str().expect("a path")]);
        let cause = lamport(op.ask(&["put", &format!("cause-{round}"), "1"]).1);
        until("it is read", PATIENCE, || {
            let read = s1.memory(&["get", &format!("cause-{round}"), "--local"]);
            read.exit == 0
        });
        let effect = lamport(s1.ask(&["put", &format!("effect-{round}"), "1"]).1);
        assert!(cause < effect, "round {round}: {cause} and then {effect}");
    }
}
