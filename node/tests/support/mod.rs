//! Real processes for tests: homes, enrolment, starts, kills and questions.

#![allow(dead_code)] // each test file uses its part

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub const CHORUS: &str = env!("CARGO_BIN_EXE_chorus");

/// One node of a mesh under test.
pub struct Process {
    pub name: String,
    pub home: PathBuf,
    /// The network namespace it runs in, if not the test's own.
    pub space: Option<String>,
    child: Option<Child>,
}

impl Process {
    pub fn new(root: &Path, name: &str, space: Option<String>) -> Self {
        Self {
            name: name.into(),
            home: root.join(name),
            space,
            child: None,
        }
    }

    /// A command of the binary, in this node's home and namespace.
    pub fn command(&self) -> Command {
        let mut command = match &self.space {
            Some(space) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space, CHORUS]);
                command
            }
            None => Command::new(CHORUS),
        };
        command.arg("--dir").arg(&self.home).arg("--json");
        command.env("CHORUS__METRICS__LISTEN", "127.0.0.1:0");
        command
    }

    /// Starts it and waits until it listens.
    pub fn start(&mut self) {
        self.spawn();
        self.listens();
    }

    /// Starts it; its log goes beside its home.
    pub fn spawn(&mut self) {
        self.spawn_as(&["run"]);
    }

    /// Starts it by another verb than `run`.
    pub fn spawn_as(&mut self, words: &[&str]) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home.with_extension("log"))
            .unwrap();
        let mut command = self.command();
        command.args(words).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until it says where it listens.
    pub fn listens(&self) {
        let what = format!("{} listening", self.name);
        until(&what, Duration::from_secs(20), || {
            let text = std::fs::read(self.home.join("run/addresses.json")).unwrap_or_default();
            let said: Value = serde_json::from_slice(&text).unwrap_or_default();
            said["pid"] == self.pid()
        });
    }

    /// SIGKILL: no time for anything.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // `ip netns exec` replaces itself with the program: it is the node.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits until it is gone.
    pub fn terminate(&mut self) {
        self.signal("-TERM");
        let child = self.child.as_mut().unwrap();
        until("it stops", Duration::from_secs(10), || {
            child.try_wait().unwrap().is_some()
        });
        self.child = None;
    }

    /// The code with which it ended by itself, if it has.
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        status.code()
    }

    /// Sends a signal, as `kill -SIGNAL` does.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let done = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(done.success());
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// What `status` says, or nothing while it cannot be asked.
    pub fn status(&self) -> Option<Value> {
        self.ask("status")
    }

    /// What a verb says, or nothing while it cannot be asked.
    pub fn ask(&self, verb: &str) -> Option<Value> {
        let output = self.command().arg(verb).output().unwrap();
        if !output.status.success() {
            return None;
        }
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Members in the widest sum that it couples to.
    pub fn members(&self) -> u64 {
        let status = self.status();
        status.map_or(0, |s| s["phase"]["live"].as_u64().unwrap_or(0))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs to the end and expects success.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Waits until `holds`; fails after `limit`. Returns how long it took.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
    began.elapsed()
}

/// Keeps a fault up for `span`: the span is the fault, not a wait for something.
pub fn hold(span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        std::thread::sleep(span.min(Duration::from_millis(10)));
    }
}

/// Makes the mesh and the home of its first node, which may enrol others.
pub fn found(node: &Process, address: &str) {
    let mut init = node.command();
    init.args(["init", "--mesh", "test", "--name", &node.name]);
    init.args(["--listen", &format!("{address}:0"), "--advertise", address]);
    succeed(&mut init);
}

/// Invites and joins a node; the question goes from the enroller's namespace.
pub fn enrol(enroller: &Process, node: &Process, post: [&str; 3], addresses: &[&str]) {
    let [role, sector, cluster] = post;
    let mut invite = enroller.command();
    invite.args(["invite", "--name", &node.name, "--role", role]);
    invite.args(["--sector", sector, "--cluster", cluster]);
    let output = succeed(&mut invite);
    let text = String::from_utf8(output.stdout).unwrap();
    let token = match serde_json::from_str::<Value>(&text) {
        Ok(json) => json["token"].as_str().unwrap().to_owned(),
        Err(_) => text.trim().to_owned(),
    };
    let from = Process::new(
        node.home.parent().unwrap(),
        &node.name,
        enroller.space.clone(),
    );
    let mut join = from.command();
    join.args(["join", &token, "--listen", "0.0.0.0:0"]);
    for address in addresses {
        join.args(["--advertise", address]);
    }
    succeed(&mut join);
}

/// A name and the role, sector and cluster that go with it. The first of a mesh founds it.
pub type Post = (&'static str, [&'static str; 3]);

/// The smallest mesh with every tier.
pub const BRANCH: [Post; 4] = [
    ("operator", ["orchestrator", "hq", "hq"]),
    ("s1", ["coordinator", "s1", "s1"]),
    ("s1-c1-lead", ["lead", "s1", "c1"]),
    ("s1-c1-a1", ["agent", "s1", "c1"]),
];

/// A mesh on loopback, whole.
pub fn mesh(dir: &Path, posts: &[Post]) -> Vec<Process> {
    let mut nodes: Vec<Process> = Vec::new();
    for (name, post) in posts {
        let mut node = Process::new(dir, name, None);
        match nodes.first() {
            None => found(&node, "127.0.0.1"),
            Some(operator) => enrol(operator, &node, *post, &["127.0.0.1"]),
        }
        node.start();
        nodes.push(node);
    }
    whole(&nodes, "at first", Duration::from_secs(30));
    nodes
}

/// Waits until each of `nodes` sees all of them live.
pub fn whole(nodes: &[Process], when: &str, limit: Duration) -> Duration {
    until(&format!("whole {when}"), limit, || {
        nodes
            .iter()
            .all(|node| node.members() == nodes.len() as u64)
    })
}
