//! What a service manager hears from `chorus run`: a real process, and a datagram socket in
//! the manager's place. A node that does not run any more feeds no watchdog.

mod support;

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Process, found, until};
use tempfile::TempDir;

/// The watchdog's span: the node speaks twice in it.
const SPAN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// A manager, and the node that it has started.
struct Managed {
    socket: UnixDatagram,
    node: Process,
    child: Child,
    _dir: TempDir,
}

impl Managed {
    /// `listens`: whether the manager does.
    fn start(listens: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        if !listens {
            std::fs::remove_file(&path).unwrap();
        }
        let node = Process::new(dir.path(), "op", None);
        found(&node, "127.0.0.1");
        let mut command = node.command();
        command.arg("run").env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", SPAN.as_micros().to_string());
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        Self {
            socket,
            node,
            child,
            _dir: dir,
        }
    }

    /// The next that the manager is told within `limit`.
    fn hears(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Listens until `line` is said; gives all that it heard.
    fn hears_of(&self, line: &str) -> Vec<String> {
        let began = Instant::now();
        let mut heard = Vec::new();
        while began.elapsed() < PATIENCE {
            heard.extend(self.hears(Duration::from_secs(1)));
            if heard.last().is_some_and(|it| it.lines().any(|l| l == line)) {
                return heard;
            }
        }
        panic!("not within {PATIENCE:?}: {line}; heard {heard:?}");
    }

    /// The process that says in `addresses.json` where it listens.
    fn announced(&self) -> Value {
        let text = std::fs::read(self.node.home.join("run/addresses.json"));
        let said: Value = serde_json::from_slice(&text.unwrap_or_default()).unwrap_or_default();
        said["pid"].clone()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let done = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_manager_hears_that_it_listens_that_it_lives_and_that_it_stops() {
    let mut it = Managed::start(true);
    let heard = it.hears_of("READY=1");
    assert!(!heard.concat().contains("WATCHDOG"), "{heard:?}");
    // Who is told that it is ready finds where.
    assert_eq!(it.announced(), it.child.id());

    let began = Instant::now();
    for _ in 0..4 {
        it.hears_of("WATCHDOG=1");
    }
    let took = began.elapsed();
    assert!(took > SPAN, "four in {took:?}: more than it is asked for");

    it.signal("-STOP");
    // What it had said before it stood still.
    while it.hears(Duration::from_millis(100)).is_some() {}
    assert_eq!(it.hears(3 * SPAN), None);
    it.signal("-CONT");
    let heard = it.hears_of("WATCHDOG=1").concat();
    assert!(heard.contains("STATUS=op: 1 in phase"), "{heard}");

    it.signal("-TERM");
    it.hears_of("STOPPING=1");
    until("it stops", PATIENCE, || {
        it.child.try_wait().unwrap().is_some()
    });
}

#[test]
fn a_manager_that_does_not_listen_keeps_no_node_from_running() {
    let it = Managed::start(false);
    until("it listens", PATIENCE, || it.announced() == it.child.id());
    until("it answers", PATIENCE, || it.node.status().is_some());
}
