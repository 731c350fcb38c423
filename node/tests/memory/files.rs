//! Files in and out: the same objects in the same order, whatever the lines are like.

use std::fmt::Write as _;

use serde_json::json;

use crate::node::Node;

/// A file of so many objects of different shapes, about 500 bytes each.
fn objects(many: usize) -> String {
    let mut text = String::new();
    for n in 0..many {
        let pad = "lorem ipsum \\\" ä ".repeat(n * 7 % 50);
        let _ = match n % 4 {
            0 => writeln!(text, "{{\"id\":{n},\"text\":\"{pad}\"}}"),
            1 => writeln!(
                text,
                "{{\"z\":[1.0,2e5,{{}}],\"id\":\"k/{n}\",\"a\":null,\"t\":\"{pad}\"}}"
            ),
            2 => writeln!(text, "{{\"id\":{n}.0,\"big\":12345678901234567890}}"),
            _ => writeln!(
                text,
                "{{\"t\":{{\"id\":0}},\"id\":\"{n}\",\"u\":\"\\u00e4\\n{pad}\"}}"
            ),
        };
    }
    text
}

#[test]
fn a_large_file_comes_out_as_it_went_in_and_a_second_time_changes_nothing() {
    let many = match std::env::var_os("CHORUS_SOAK") {
        Some(_) => 200_000,
        None => 20_000,
    };
    let node = Node::start();
    let (file, out) = (node.path("in.jsonl"), node.path("out.jsonl"));
    std::fs::write(&file, objects(many)).expect("a file");
    let [file, out] = [&file, &out].map(|path| path.to_str().expect("a path").to_owned());
    let (exit, report) = node.ask(&["import", &file, "--key", "id"]);
    assert_eq!((exit, &report["imported"]), (0, &many.into()), "{report}");
    assert_eq!(
        (&report["skipped"], &report["failed"]),
        (&0.into(), &json!([]))
    );
    let (exit, told) = node.ask(&["export", "--out", &out]);
    assert_eq!((exit, &told["exported"]), (0, &many.into()), "{told}");
    let same = std::fs::read(&file).ok() == std::fs::read(&out).ok();
    assert!(same, "{file} and {out} differ");
    let (exit, again) = node.ask(&["import", &file, "--key", "id"]);
    assert_eq!(
        (exit, &again["imported"], &again["skipped"]),
        (0, &0.into(), &many.into())
    );
    println!(
        "{many} lines: in {} ms, again in {} ms",
        report["elapsed_ms"], again["elapsed_ms"]
    );
    let (exit, checked) = node.ask(&["verify"]);
    assert_eq!((exit, &checked["values"]), (0, &many.into()), "{checked}");
    let left = std::fs::read_dir(node.path("")).expect("the folder");
    assert_eq!(
        left.count(),
        4,
        "home, log and two files: nothing else stays"
    );
}

#[test]
fn bad_lines_are_told_by_number_and_the_others_are_there() {
    let node = Node::start();
    let long = "x".repeat(13_000);
    let endless = "y".repeat(3 << 20);
    let text = format!(
        "\u{feff}{{\"id\":1}}\r\n\n[2]\n{{\"id\":\"{long}\"}}\n{endless}\n{{\"id\" : 3 }}\r\n\
         {{\"no\":1}}\n{{\"id\":\"ä /\\\"\"}}\n{{\"id\":1,\"again\":true}}\n{{\"id\":4"
    );
    let said = node.memory_with(&["--json", "import", "-", "--key", "id"], text.as_bytes());
    let report = said.json();
    assert_eq!((said.exit, &report["imported"]), (5, &4.into()), "{report}");
    assert_eq!(
        (&report["failed_total"], &report["complete"]),
        (&5.into(), &true.into())
    );
    let failed = report["failed"].as_array().expect("rows");
    let lines: Vec<_> = failed
        .iter()
        .map(|it| it["line"].as_u64().expect("a number"))
        .collect();
    assert_eq!(lines, [3, 4, 5, 7, 10]);
    assert!(
        failed
            .iter()
            .all(|it| it["why"].as_str().is_some_and(|why| !why.is_empty()))
    );
    // Of two lines with one key both were written, and the last one stays, in its place.
    let lines = [
        "{\"id\":3}",
        "{\"id\":\"ä /\\\"\"}",
        "{\"id\":1,\"again\":true}",
    ];
    assert_eq!(node.export(), lines);

    // Mended, and the rest is skipped.
    let text = text.replace("{\"id\":4", "{\"id\":4}");
    let said = node.memory_with(&["import", "-", "--key", "id"], text.as_bytes());
    assert_eq!(said.exit, 5);
    assert!(
        said.stderr.contains("line 7: it has no field \"id\""),
        "{}",
        said.stderr
    );
    assert_eq!(node.done(&["get", "4"]), "{\"id\":4}\n");
}

#[test]
fn objects_without_a_name_are_named_by_what_they_are() {
    let node = Node::start();
    let text = "{\"a\": 1}\n{\"a\":1}\n{\"a\":1.0}\n";
    let said = node.memory_with(&["--json", "import", "-"], text.as_bytes());
    let report = said.json();
    assert_eq!(
        (&report["imported"], &report["skipped"]),
        (&2.into(), &1.into()),
        "{report}"
    );
    assert_eq!(node.export(), ["{\"a\":1}", "{\"a\":1.0}"]);
    let name = "sha256/015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862";
    assert_eq!(node.done(&["get", name]), "{\"a\":1}\n");
    // Only what begins so, and without what was deleted.
    node.done(&["put", "other", "{\"b\":2}"]);
    assert_eq!(node.done(&["export", "oth"]), "{\"b\":2}\n");
    node.done(&["rm", name]);
    assert_eq!(node.export(), ["{\"a\":1.0}", "{\"b\":2}"]);
    assert_eq!(
        node.memory_with(&["import", "-"], b"").exit,
        0,
        "an empty file is no mistake"
    );
}
