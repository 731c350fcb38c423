//! Single values: what is written is read, to the last digit, and what cannot be is refused
//! with its reason.

use std::time::Duration;

use crate::node::{Node, until};

#[test]
fn a_value_comes_back_as_it_was_written_until_it_is_deleted() {
    let node = Node::start();
    let id = node.process.status().expect("it runs")["node"].clone();
    let id = id.as_str().expect("its key");
    let (exit, put) = node.ask(&[
        "put",
        "plan",
        "{\"b\": 12345678901234567890.10, \"a\": 1.0}",
    ]);
    assert_eq!((exit, &put["key"]), (0, &"shared/plan".into()), "{put}");
    assert_eq!((&put["replicas"], &put["author"]), (&1.into(), &id.into()));
    let version = put["version"].as_str().expect("a version");
    assert!(version.starts_with(&format!("{}@", &id[..8])), "{version}");

    // Not by way of a number: every digit is there.
    let raw = "{\"b\":12345678901234567890.10,\"a\":1.0}";
    assert_eq!(node.done(&["get", "plan"]), format!("{raw}\n"));
    assert_eq!(
        node.done(&["get", "shared/plan", "--local"]),
        format!("{raw}\n")
    );
    let said = node.done(&["--json", "get", "plan"]);
    assert!(said.contains(&format!("\"value\":{raw}")), "{said}");
    let (_, got) = node.ask(&["get", "plan"]);
    assert_eq!(got["schema"], "chorus.memory/1");
    assert_eq!(
        (&got["conflict"], &got["complete"]),
        (&false.into(), &true.into())
    );
    let value = &got["values"][0];
    assert_eq!(
        (&value["author"], &value["author_name"]),
        (&id.into(), &"a".into())
    );
    assert_eq!(
        (&value["version"], &value["lamport"]),
        (&put["version"], &put["lamport"])
    );

    let (exit, gone) = node.ask(&["rm", "plan"]);
    assert_eq!(exit, 0, "{gone}");
    let (exit, missing) = node.ask(&["get", "plan"]);
    assert_eq!((exit, &missing["code"]), (1, &"not_found".into()));
    let message = missing["message"].as_str().expect("words");
    assert!(message.contains("deleted"), "{message}");
    for name in ["plan", "never"] {
        let (exit, missing) = node.ask(&["rm", name]);
        assert_eq!((exit, &missing["code"]), (1, &"not_found".into()), "{name}");
    }
    assert_eq!(node.done(&["ls"]), "");
    assert!(
        node.done(&["ls", "--all"])
            .contains("shared/plan (deleted)")
    );
    let (exit, checked) = node.ask(&["verify"]);
    assert_eq!(
        (exit, &checked["ok"], &checked["keys"]),
        (0, &true.into(), &1.into())
    );
}

#[test]
fn odd_keys_and_values_of_every_kind_are_kept() {
    let node = Node::start();
    let long = "k".repeat(249);
    let keys = [
        "ä ö/日本",
        "\"'\\ %00",
        "/",
        "-",
        "own/ideas",
        "$(x) `y`",
        &long,
    ];
    for key in keys {
        let value = format!("of {key}");
        node.done(&["put", "--", key, &value]);
        let (_, got) = node.ask(&["get", "--local", "--", key]);
        assert_eq!(got["key"], format!("shared/{key}"));
        assert_eq!(got["values"][0]["value"], value);
    }
    let (_, listed) = node.ask(&["ls"]);
    let names = listed["keys"].as_array().expect("keys").iter();
    let names: Vec<_> = names.map(|it| it["key"].as_str().expect("a key")).collect();
    assert_eq!(names.len(), keys.len());
    assert!(names.is_sorted(), "{names:?}");
    let (_, listed) = node.ask(&["ls", "shared/own/"]);
    assert_eq!(listed["keys"][0]["key"], "shared/own/ideas", "{listed}");

    for (given, kept) in [
        ("-5", "-5"),
        ("null", "null"),
        ("1e999", "1e999"),
        ("\"text\"", "\"text\""),
        ("text", "\"text\""),
        ("", "\"\""),
        ("[ 1,\n2 ]", "[1,2]"),
    ] {
        node.done(&["put", "x", given]);
        assert_eq!(node.done(&["get", "x"]), format!("{kept}\n"));
    }
    node.done(&["put", "x", "--text", "1.0"]);
    assert_eq!(node.done(&["get", "x"]), "\"1.0\"\n");
    let said = node.memory_with(&["put", "x", "-"], b"{\"from\": \"stdin\"}\n");
    assert_eq!(said.exit, 0, "{}", said.stderr);
    let file = node.path("value.json");
    std::fs::write(&file, "\u{feff}[1.50]\r\n").expect("a file");
    let file = file.to_str().expect("a path");
    node.done(&["put", "y", "--file", file, "--own", "--ttl", "1h"]);
    let (_, got) = node.ask(&["get", "y", "--own"]);
    assert!(got["key"].as_str().expect("a key").starts_with("own/"));
    assert!(got["values"][0]["expires_s"].is_u64(), "{got}");
    assert_eq!(node.done(&["get", "x"]), "{\"from\":\"stdin\"}\n");
}

#[test]
fn limits_and_mistakes_have_their_exit_codes_and_change_nothing() {
    let node = Node::start();
    let fits = "x".repeat(12 * 1024 - 2);
    node.done(&["put", "big", &fits]);
    let (exit, over) = node.ask(&["put", "big", &format!("{fits}y")]);
    assert_eq!((exit, &over["code"]), (2, &"too_large".into()));
    let message = over["message"].as_str().expect("words");
    assert!(
        message.contains("12289") && message.contains("12288"),
        "{message}"
    );
    assert_eq!(node.done(&["get", "big"]).len(), 12 * 1024 + 1);

    let other = format!("own/{}/x", "ab".repeat(32));
    for (words, exit, code) in [
        (&["put", "", "1"][..], 2, "bad_key"),
        (&["put", "a\nb", "1"], 2, "bad_key"),
        (&["put", &"k".repeat(250), "1"], 2, "bad_key"),
        (&["put", "x", "1", "--quorum", "0"], 2, "bad_flag"),
        (&["put", "x", "1", "--timeout", "6m"], 2, "bad_flag"),
        (&["put", "x", "1", "--ttl", "soon"], 2, "bad_flag"),
        (&["put", "x", "--file", "/nonexistent"], 2, "unreadable"),
        (&["put", "x"], 2, "usage"),
        (&["put", &other, "1"], 4, "foreign_key"),
        (&["get", "x"], 1, "not_found"),
        (&["verify", "x"], 1, "not_found"),
        (&["import", "/nonexistent"], 2, "unreadable"),
        (&["import", "/"], 2, "unreadable"),
        (&["export", "--out", "/nonexistent/a"], 1, "output_lost"),
    ] {
        let (was, failure) = node.ask(words);
        assert_eq!(
            (was, &failure["code"]),
            (exit, &code.into()),
            "{words:?} {failure}"
        );
        assert_eq!(
            (&failure["exit"], &failure["schema"]),
            (&exit.into(), &"chorus.error/1".into())
        );
    }
    let said = node.memory_with(&["--json", "put", "x", "-"], b"\xff\xfe");
    assert_eq!((said.exit, &said.json()["code"]), (2, &"not_text".into()));
    assert_eq!(
        node.ask(&["ls"]).1["keys"].as_array().map(Vec::len),
        Some(1)
    );

    // Two copies cannot be had in a mesh of one, a majority of one can.
    let (exit, few) = node.ask(&["put", "x", "1", "--quorum", "2", "--timeout", "100ms"]);
    assert_eq!((exit, &few["code"]), (5, &"too_few_copies".into()), "{few}");
    assert_eq!((&few["asked"], &few["replicas"]), (&2.into(), &1.into()));
    assert_eq!(node.done(&["get", "x"]), "1\n", "the copy here stays");
    let (exit, most) = node.ask(&["put", "x", "2", "--quorum", "majority"]);
    assert_eq!((exit, &most["asked"]), (0, &1.into()), "{most}");
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let mut node = Node::start();
    for round in 0..3 {
        node.done(&["put", &format!("k{round}"), &round.to_string()]);
        node.process.kill();
        let (exit, failure) = node.ask(&["get", "k0"]);
        assert_eq!((exit, &failure["code"]), (3, &"not_running".into()));
        node.process.start();
        for before in 0..=round {
            let got = node.done(&["get", &format!("k{before}")]);
            assert_eq!(got, format!("{before}\n"));
        }
    }
    let (exit, checked) = node.ask(&["verify"]);
    assert_eq!((exit, &checked["keys"]), (0, &3.into()), "{checked}");
}

#[test]
fn odd_keys_are_names_like_others_or_are_refused_with_the_reason() {
    let node = Node::start();
    // A key is no path.
    node.done(&["put", "a/../b", "1"]);
    assert_eq!(node.ask(&["get", "b"]).0, 1);
    assert_eq!(node.done(&["get", "a/../b"]), "1\n");
    let other = "ab".repeat(32);
    let (exit, foreign) = node.ask(&["put", &format!("own/{other}/x"), "1"]);
    let message = foreign["message"].as_str().expect("words");
    assert_eq!(exit, 4);
    assert!(message.contains(&other), "whose it is: {message}");
    for key in ["a\u{7f}b", "a\u{1b}[2Jb", "a\u{85}b"] {
        let (exit, failure) = node.ask(&["put", key, "1"]);
        let message = failure["message"].as_str().expect("words");
        assert_eq!((exit, &failure["code"]), (2, &"bad_key".into()), "{key:?}");
        assert!(message.contains("control"), "{key:?}: {message}");
    }
    use std::os::unix::ffi::OsStrExt;
    let mut command = node.command(&["put"]);
    let bytes = std::ffi::OsStr::from_bytes(b"a\xffb");
    let output = command.arg(bytes).arg("1").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");

    // Longer than any argument may be, and lines that are none.
    let lines = format!(
        "{{\"id\":\"{}\"}}\n{{\"id\":\"good\"}}\n{{\"id\":\"x\"\n[1]\n{{\"id\":\"\\u0000\"}}\n{{\"id\":\"\"}}\n",
        "k".repeat(1 << 20)
    );
    let said = node.memory_with(&["--json", "import", "-", "--key", "id"], lines.as_bytes());
    let report = said.json();
    assert_eq!((said.exit, &report["imported"]), (5, &1.into()), "{report}");
    assert_eq!(report["failed_total"], 5, "{report}");
    assert_eq!(node.done(&["get", "good"]), "{\"id\":\"good\"}\n");

    node.done(&["put", "brief", "1", "--ttl", "1s"]);
    until("its time is over", Duration::from_secs(20), || {
        node.ask(&["get", "brief"]).0 == 1
    });
    let (_, failure) = node.ask(&["get", "brief"]);
    let message = failure["message"].as_str().expect("words");
    assert!(message.contains("its time is over"), "{message}");
    assert!(!node.done(&["ls"]).contains("brief"));
    node.done(&["put", "brief", "2"]);
    assert_eq!(node.done(&["get", "brief"]), "2\n");
}
