//! What goes wrong at the command line, and what its user is told then.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::chorus::{Homes, until};

/// A member that joins and is left where it is.
fn member(homes: &Homes, name: &str) -> Value {
    let words = ["invite", "--name", name, "--sector", "s", "--cluster", "c"];
    let token = homes.run("a", &words).stdout;
    let said = homes.run(name, &["join", token.trim(), "--json"]);
    said.json("chorus.join/1")
}

#[test]
fn revoke_spares_the_meshs_pillars_unless_forced_and_knows_whom_it_has_revoked() {
    let homes = Homes::new();
    homes.init("a");
    let running = homes.start("a", &[]);
    member(&homes, "b");
    let revoke = |words: &[&str]| homes.run("a", &[&["revoke", "--json"], words].concat());

    let why = revoke(&["a"]).failure(4, "needs_force");
    let message = why["message"].as_str().unwrap();
    assert!(
        message.contains("this node itself") && message.contains("root key"),
        "{why}"
    );
    assert!(why["hint"].as_str().unwrap().contains("--force"), "{why}");

    let done = revoke(&["b"]).json("chorus.revoke/1");
    assert_eq!((&done["running"], &done["live"]), (&true.into(), &0.into()));
    revoke(&["b"]).failure(4, "revoked_already");
    revoke(&["nobody"]).failure(1, "no_such_node");
    // `c` never ran either: nobody is there to be told.
    member(&homes, "c");
    let said = homes.run("a", &["revoke", "c"]);
    assert!(
        said.stdout.contains("nobody is connected now"),
        "{}",
        said.stdout
    );
    running.stop();
    // The same where nobody runs.
    revoke(&["a"]).failure(4, "needs_force");
    revoke(&["b"]).failure(4, "revoked_already");

    let forced = revoke(&["a", "--force"]).json("chorus.revoke/1");
    assert_eq!(forced["name"], "a");
    homes.run("a", &["run", "--json"]).failure(4, "revoked");
}

#[test]
fn a_usage_error_in_json_says_all_that_is_allowed() {
    let homes = Homes::new();
    let why = homes
        .run("a", &["demo", "--nodes", "99", "--json"])
        .failure(2, "usage");
    assert!(why["message"].as_str().unwrap().contains("2..=60"), "{why}");
    let why = homes.run("a", &["join", "--json"]).failure(2, "usage");
    assert!(
        why["message"].as_str().unwrap().contains("<TOKEN>"),
        "{why}"
    );
}

#[test]
fn a_control_socket_that_was_removed_is_told_from_a_node_that_does_not_run() {
    let homes = Homes::new();
    homes.init("a");
    homes
        .run("a", &["status", "--json"])
        .failure(3, "not_running");
    let running = homes.start("a", &[]);
    until("it answers", || homes.run("a", &["status"]).exit == 0);
    fs::remove_dir_all(homes.path("a").join("run")).unwrap();
    let why = homes
        .run("a", &["status", "--json"])
        .failure(3, "no_control_socket");
    let pid = running.pid().to_string();
    assert!(why["message"].as_str().unwrap().contains(&pid), "{why}");
    assert!(
        why["hint"]
            .as_str()
            .unwrap()
            .contains(&format!("kill {pid}")),
        "{why}"
    );
    let said = homes.run("a", &["doctor", "--json"]);
    assert_eq!(said.exit, 1, "{}", said.stdout);
    running.stop();
    homes
        .run("a", &["status", "--json"])
        .failure(3, "not_running");
}

#[test]
fn idle_connections_keep_nobody_from_being_answered() {
    let homes = Homes::new();
    homes.init("a");
    let _running = homes.start("a", &["--set", "metrics.listen=127.0.0.1:0"]);
    let file = homes.path("a").join("run/addresses.json");
    let addresses: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let url = addresses["metrics"].as_str().unwrap();
    let address = url
        .trim_start_matches("http://")
        .trim_end_matches("/metrics");
    // Silent while others ask.
    let dial = |_| TcpStream::connect(address).unwrap();
    let mut idle: Vec<TcpStream> = (0..25).map(dial).collect();
    let mut asking = dial(0);
    asking.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");
    // The oldest of the idle is still there: nobody had to wait for it to be over.
    let oldest = idle.first_mut().unwrap();
    oldest.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    answer.clear();
    oldest.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");

    let socket = homes.path("a").join("run/control.sock");
    let mut idle: Vec<UnixStream> = (0..25)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    assert_eq!(homes.run("a", &["status"]).exit, 0);
    let oldest = idle.first_mut().unwrap();
    oldest.write_all(b"{\"do\":\"status\"}\n").unwrap();
    answer.clear();
    oldest.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("{\"end\":true}\n"), "{answer}");
}

#[test]
fn a_second_run_ends_with_one_word_and_a_taken_metrics_port_is_no_failure() {
    let homes = Homes::new();
    homes.init("a");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("metrics.listen={}", taken.local_addr().unwrap());
    let doctor = homes.run("a", &["doctor", "--json", "--set", &listen]);
    assert_eq!(doctor.exit, 0, "{}", doctor.stdout);
    let running = homes.start("a", &["--set", &listen]);
    until("it says so", || {
        running.log().contains("metrics.listen is taken")
    });
    let second = homes.run("a", &["run", "--set", &listen]);
    assert_eq!(second.exit, 4, "{}", second.stderr);
    assert!(
        !second.stderr.contains("metrics.listen"),
        "{}",
        second.stderr
    );
}

#[test]
fn an_advertised_name_that_means_nothing_is_warned_of() {
    let homes = Homes::new();
    let words = [
        "init",
        "--mesh",
        "m",
        "--name",
        "a",
        "--listen",
        "127.0.0.1:0",
    ];
    // A domain that never exists (RFC 2606).
    let made = homes.run("a", &[&words[..], &["--advertise", "a.invalid"]].concat());
    assert_eq!(made.exit, 0, "{}", made.stderr);
    let doctor = homes.run("a", &["doctor", "--json"]);
    let told = doctor.json("chorus.doctor/1");
    let rows = told["checks"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|row| row["check"] == "advertised names")
        .unwrap();
    assert_eq!(row["grade"], "warn", "{row}");
    assert!(
        row["detail"].as_str().unwrap().contains("a.invalid"),
        "{row}"
    );
    let running = homes.start("a", &[]);
    until("it warns", || running.log().contains("a.invalid"));
}

#[test]
fn a_node_raises_its_limit_on_open_files() {
    let homes = Homes::new();
    homes.init("a");
    // Below what the test itself may have, so that raising it shows.
    let limited = format!(
        "ulimit -Sn 200; exec {} --dir {} run --set metrics.listen=",
        env!("CARGO_BIN_EXE_chorus"),
        homes.path("a").display()
    );
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &limited])
        .stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    until("it answers", || homes.run("a", &["status"]).exit == 0);
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
    assert_ne!(numbers[0], "200", "{line}");
}

#[test]
fn four_digits_of_a_key_mean_its_node_and_three_are_too_few() {
    let homes = Homes::new();
    homes.init("a");
    let _running = homes.start("a", &[]);
    let revoke = |words: &[&str]| homes.run("a", &[&["revoke", "--json"], words].concat());
    let b = member(&homes, "b");
    let key = b["node"].as_str().unwrap();
    let why = revoke(&[&key[..3]]).failure(1, "no_such_node");
    assert!(
        why["hint"].as_str().unwrap().contains("first 4 hex digits"),
        "{why}"
    );
    let done = revoke(&[&key[..4]]).json("chorus.revoke/1");
    assert_eq!(done["node"], key);
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure_and_a_closed_pipe_is_none() {
    let homes = Homes::new();
    homes.init("a");
    let _running = homes.start("a", &[]);
    let invite = ["invite", "--sector", "s1", "--cluster", "c1"];
    let json = |words: &[&'static str]| [words, &["--json"]].concat();
    for words in [
        invite.to_vec(),
        json(&invite),
        vec!["peers"],
        vec!["status"],
        vec!["config", "show"],
        vec!["config", "check"],
        vec!["--help"],
    ] {
        let ended = |stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_chorus"));
            command.env_clear().arg("--dir").arg(homes.path("a"));
            let output = command.args(&words).stdout(stdout).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            (output.status.code(), said)
        };
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let (exit, said) = ended(full.unwrap().into());
        assert_eq!(exit, Some(1), "{words:?}: {said}");
        assert!(said.contains("could not be written"), "{words:?}: {said}");
        let errors = said.lines().filter(|line| !line.starts_with("note:"));
        assert_eq!(errors.count(), 1, "{words:?}: {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (exit, said) = ended(writer.into());
        assert_eq!(exit, Some(0), "{words:?}: {said}");
        assert!(!said.contains("error"), "{words:?}: {said}");
    }
}

#[test]
fn a_mistyped_home_is_told_as_such_at_once() {
    let homes = Homes::new();
    homes.init("a");
    for words in [
        &["status"][..],
        &["peers"],
        &["invite", "--sector", "s", "--cluster", "c"],
    ] {
        let said = homes.run("b", &[words, &["--json"]].concat());
        let why = said.failure(2, "no_node");
        let dir = homes.path("b").display().to_string();
        assert!(why["message"].as_str().unwrap().contains(&dir), "{why}");
    }
    homes
        .run("a", &["status", "--json"])
        .failure(3, "not_running");
    // A service checks before its first start, which makes the home.
    let check = |name: &str| homes.run(name, &["config", "check"]);
    let told = check("b");
    assert!(told.stdout.contains("no node in"), "{}", told.stdout);
    assert_eq!((told.exit, check("a").exit), (0, 0));
    let node = |name: &str| {
        let said = homes.run(name, &["config", "check", "--json"]);
        said.json("chorus.config/1")["node"].clone()
    };
    assert_eq!((node("a"), node("b")), (true.into(), false.into()));
}
