//! A node, and what its verbs say.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

#[path = "../support/mod.rs"]
mod support;

pub use support::until;
use support::{Post, Process, found, mesh};

/// Two that are enough for a majority only together.
const PAIR: [Post; 2] = [
    ("op", ["orchestrator", "hq", "hq"]),
    ("s1", ["coordinator", "s1", "s1"]),
];

/// A node, made and running.
pub struct Node {
    pub process: Process,
    dir: PathBuf,
    /// The folder goes with the last of its nodes that has it.
    _folder: Option<TempDir>,
}

/// What a verb said.
pub struct Said {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Node {
    /// A mesh of one.
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut process = Process::new(folder.path(), "a", None);
        found(&process, "127.0.0.1");
        process.start();
        let path = folder.path().to_owned();
        Self::of(process, &path, Some(folder))
    }

    /// A mesh of two that hear each other.
    pub fn pair() -> [Self; 2] {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().to_owned();
        let mut folder = Some(folder);
        let nodes = mesh(&path, &PAIR).into_iter();
        let nodes: Vec<Self> = nodes
            .map(|process| Self::of(process, &path, folder.take()))
            .collect();
        nodes.try_into().ok().expect("two")
    }

    fn of(process: Process, dir: &Path, folder: Option<TempDir>) -> Self {
        Self {
            process,
            dir: dir.to_owned(),
            _folder: folder,
        }
    }

    /// A path beside the home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// `chorus memory WORDS`.
    pub fn command(&self, words: &[&str]) -> Command {
        self.chorus(&[&["memory"], words].concat())
    }

    /// `chorus WORDS`.
    fn chorus(&self, words: &[&str]) -> Command {
        let mut command = Command::new(support::CHORUS);
        command.arg("--dir").arg(&self.process.home);
        command.env("TMPDIR", &self.dir);
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Runs `chorus WORDS`.
    pub fn run(&self, words: &[&str]) -> Said {
        Said::of(self.chorus(words).output().expect("it starts"))
    }

    /// Runs it.
    pub fn memory(&self, words: &[&str]) -> Said {
        Said::of(self.command(words).output().expect("it starts"))
    }

    /// Runs it with this on stdin.
    pub fn memory_with(&self, words: &[&str], stdin: &[u8]) -> Said {
        let mut command = self.command(words);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        let stdin = stdin.to_vec();
        // It may have had enough before it was given all.
        let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
        let said = Said::of(child.wait_with_output().expect("it ends"));
        writer.join().expect("it writes");
        said
    }

    /// Runs it with `--json`; its exit code and the one object that it prints.
    pub fn ask(&self, words: &[&str]) -> (i32, Value) {
        let said = self.memory(&[&["--json"], words].concat());
        (said.exit, said.json())
    }

    /// Runs it and expects success.
    pub fn done(&self, words: &[&str]) -> String {
        let said = self.memory(words);
        assert_eq!(said.exit, 0, "{words:?}: {}", said.stderr);
        said.stdout
    }

    /// The lines of an export.
    pub fn export(&self) -> Vec<String> {
        let lines = self.done(&["export"]);
        lines.lines().map(str::to_owned).collect()
    }
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self {
            exit: output.status.code().expect("it was not killed"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|why| panic!("{why}: {} {}", self.stdout, self.stderr))
    }
}
