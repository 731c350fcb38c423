//! A running node as its owner meets it: the control socket, the fields that scripts rely
//! on, metrics, `doctor`, revocation, and how it stops.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A folder of homes, and what runs in them.
struct Homes {
    dir: TempDir,
    running: Vec<Child>,
}

impl Homes {
    fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        Self {
            dir,
            running: Vec::new(),
        }
    }

    fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chorus"));
        command.env_clear().arg("--dir").arg(self.home(name));
        command.args(["--set", "metrics.listen=127.0.0.1:0"]);
        command.args(words);
        command
    }

    fn run(&self, name: &str, words: &[&str]) -> Output {
        self.command(name, words).output().expect("it starts")
    }

    /// The JSON answer of a verb, and its exit code.
    fn ask(&self, name: &str, words: &[&str]) -> (Option<i32>, Value) {
        let output = self.run(name, &[&["--json"], words].concat());
        let answer = serde_json::from_slice(&output.stdout);
        (output.status.code(), answer.expect("one JSON object"))
    }

    fn done(&self, name: &str, words: &[&str]) -> String {
        let output = self.run(name, words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn init(&self) {
        let words = ["init", "--mesh", "m", "--name", "a"];
        let net = ["--listen", "127.0.0.1:0", "--advertise", "127.0.0.1"];
        self.done("a", &[&words[..], &net].concat());
    }

    /// Starts a node and waits until it answers; its place in `running`.
    fn start(&mut self, name: &str) -> usize {
        let mut command = self.command(name, &["run"]);
        let log = self.dir.path().join(format!("{name}.log"));
        let file = std::fs::File::create(&log).expect("a log");
        command.stdout(Stdio::null()).stderr(file);
        self.running.push(command.spawn().expect("it starts"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.run(name, &["status"]).status.success() {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "{name} does not answer: {}",
                said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        self.running.len() - 1
    }

    /// SIGTERM; the exit code.
    fn stop(&mut self, at: usize) -> Option<i32> {
        let pid = self.running[at].id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
        self.running[at].wait().expect("it ends").code()
    }
}

impl Drop for Homes {
    fn drop(&mut self) {
        for child in &mut self.running {
            // It may have ended long ago.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn a_running_node_answers_its_owner_and_leaves_nothing_behind() {
    let mut homes = Homes::new();
    homes.init();
    let node = homes.start("a");
    let run = homes.home("a").join("run");
    let mode = std::fs::metadata(run.join("control.sock")).expect("the socket");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    let (exit, status) = homes.ask("a", &["status"]);
    assert_eq!(
        (exit, &status["schema"]),
        (Some(0), &"chorus.status/1".into())
    );
    for key in [
        "node",
        "name",
        "role",
        "sector",
        "cluster",
        "incarnation",
        "lamport",
        "mode",
        "phase",
        "peers",
        "quorum",
        "frames",
        "memory",
        "agents",
    ] {
        assert!(!status[key].is_null(), "{key} in {status}");
    }
    assert_eq!(
        (&status["mode"], &status["phase"]["live"]),
        (&"FULL".into(), &1.into())
    );
    let (_, peers) = homes.ask("a", &["peers"]);
    assert_eq!(
        (&peers["schema"], &peers["peers"]),
        (&"chorus.peers/1".into(), &Value::Array(vec![]))
    );
    let (exit, checks) = homes.ask("a", &["doctor"]);
    assert_eq!((exit, &checks["failed"]), (Some(0), &0.into()), "{checks}");
    let (exit, second) = homes.ask("a", &["run"]);
    assert_eq!((exit, &second["code"]), (Some(4), &"home_busy".into()));

    let addresses = std::fs::read(run.join("addresses.json")).expect("the addresses");
    let addresses: Value = serde_json::from_slice(&addresses).expect("JSON");
    let url = addresses["metrics"].as_str().expect("metrics are served");
    let address = url
        .trim_start_matches("http://")
        .trim_end_matches("/metrics");
    let metrics = get(address, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("chorus_phase_members{sector=\"ops\",cluster=\"ops\"} 1.0\n"));
    assert!(metrics.ends_with("# EOF\n"));
    assert!(get(address, "/healthz").ends_with("ok\n"));
    assert!(get(address, "/").starts_with("HTTP/1.1 404 "));

    assert_eq!(homes.stop(node), Some(0));
    assert!(!run.join("control.sock").exists(), "nobody answers there");
    let (exit, gone) = homes.ask("a", &["status"]);
    assert_eq!((exit, &gone["code"]), (Some(3), &"not_running".into()));
}

#[test]
fn a_key_that_others_can_read_fails_the_doctor_in_one_object() {
    let homes = Homes::new();
    homes.init();
    let key = homes.home("a").join("identity/node.key");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(key, open).expect("its mode");
    let (exit, checks) = homes.ask("a", &["doctor"]);
    assert_eq!(exit, Some(1));
    let rows = checks["checks"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["check"] == "node key");
    assert_eq!(row.map(|row| &row["grade"]), Some(&"fail".into()));
}

#[test]
fn a_revocation_made_while_nobody_runs_holds_from_the_next_start() {
    let mut homes = Homes::new();
    homes.init();
    let first = homes.start("a");
    let invite = ["invite", "--name", "b", "--sector", "s", "--cluster", "c"];
    let token = homes.done("a", &invite);
    homes.done("b", &["join", token.trim()]);
    assert_eq!(homes.ask("a", &["status"]).1["members"], 2);
    assert_eq!(homes.stop(first), Some(0));

    let (exit, refused) = homes.ask("b", &["revoke", "a"]);
    assert_eq!((exit, &refused["code"]), (Some(4), &"no_root_key".into()));
    let (exit, missing) = homes.ask("a", &["revoke", "nobody"]);
    assert_eq!((exit, &missing["code"]), (Some(1), &"no_such_node".into()));
    let (exit, done) = homes.ask("a", &["revoke", "b", "--reason", "lost"]);
    assert_eq!((exit, &done["running"]), (Some(0), &false.into()), "{done}");

    homes.start("a");
    assert_eq!(homes.ask("a", &["status"]).1["members"], 1);
    let key = done["node"].as_str().expect("its key");
    let (exit, again) = homes.ask("a", &["revoke", key]);
    assert_eq!((exit, &again["code"]), (Some(4), &"revoked_already".into()));
}
