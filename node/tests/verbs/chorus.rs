//! Runs the binary in a home, and reads what it says.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A folder for homes.
pub struct Homes(TempDir);

/// Far beyond what a start takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// `chorus run` in a home, killed when it goes.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Its exit code once it has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap()?.code()
    }

    /// SIGTERM, and its end.
    pub fn stop(mut self) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and the test has failed then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `holds`.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// What a run of the binary gave.
pub struct Said {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Homes {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `chorus --dir NAME words…`, with nothing of this process's own settings.
    pub fn run(&self, name: &str, words: &[&str]) -> Said {
        self.run_with(name, words, &[])
    }

    pub fn run_with(&self, name: &str, words: &[&str], environment: &[(&str, &str)]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chorus"));
        command.env_clear().arg("--dir").arg(self.path(name));
        command.args(words).envs(environment.iter().copied());
        Said::of(&command.output().unwrap())
    }

    /// Starts the node of a home, with these words after `run`, and waits until it says
    /// where it listens.
    pub fn start(&self, name: &str, words: &[&str]) -> Running {
        let log = self.path(&format!("{name}.log"));
        let addresses = self.path(name).join("run/addresses.json");
        // Those of an earlier run would be taken for this one's.
        let _ = std::fs::remove_file(&addresses);
        let mut command = Command::new(env!("CARGO_BIN_EXE_chorus"));
        command.env_clear().arg("--dir").arg(self.path(name));
        command
            .args(["run", "--set", "metrics.listen="])
            .args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).unwrap());
        let mut running = Running {
            child: command.spawn().unwrap(),
            log,
        };
        until("it says where it listens", || {
            assert_eq!(running.child.try_wait().unwrap(), None, "it ended");
            addresses.exists()
        });
        running
    }

    /// A mesh of one node that listens on loopback, wherever there is room.
    pub fn init(&self, name: &str) -> Value {
        let words = ["init", "--mesh", "m", "--name", name, "--json"];
        let said = self.run(name, &[&words[..], &["--listen", "127.0.0.1:0"]].concat());
        assert_eq!(said.exit, 0, "{}", said.stderr);
        said.json("chorus.init/1")
    }
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            exit: output.status.code().unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The one JSON object on stdout, of this schema.
    pub fn json(&self, schema: &str) -> Value {
        let value: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!(value["schema"], schema, "{value}");
        value
    }

    /// The failure's JSON, whose exit code is the process's.
    pub fn failure(&self, exit: i32, code: &str) -> Value {
        let value = self.json("chorus.error/1");
        assert_eq!((self.exit, &value["exit"]), (exit, &exit.into()), "{value}");
        assert_eq!(value["code"], code, "{value}");
        value
    }
}

/// The names in a folder, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
