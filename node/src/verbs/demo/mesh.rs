//! The mesh of the demo: one home and one process for each node.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use chorus_storage::Home;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::agents::{self, Wanted};
use super::cast::Seat;
use crate::control::{self, Request};
use crate::error::Failure;
use crate::verbs::{peers, run};

/// How long a node may take until it listens.
const START_MAX: Duration = Duration::from_secs(20);
/// How long the nodes may take to stop before they are killed.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Bytes of a log's end that a failure shows.
const TAIL_BYTES: usize = 800;

/// Loopback, and ports that the system chooses: so that demos do not meet.
const ANYWHERE: &str = "127.0.0.1:0";

/// A node of the demo.
#[derive(Debug)]
pub struct Player {
    /// Where it stands.
    pub seat: Seat,
    home: Home,
    child: Option<Child>,
}

impl Player {
    fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }
}

/// All of them, the operator first. Dropping it kills them.
#[derive(Debug)]
pub struct Mesh {
    /// The folder that holds the homes.
    pub dir: PathBuf,
    /// The nodes.
    pub players: Vec<Player>,
    /// What agents there are.
    pub wanted: Wanted,
    /// How far it has come, in words.
    pub progress: String,
    /// This very program, which the nodes run: it may be on nobody's `PATH`.
    pub program: PathBuf,
}

impl Mesh {
    /// Nothing runs yet.
    pub fn new(dir: PathBuf, seats: Vec<Seat>, wanted: Wanted) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|why| Failure::failed("no_program", format!("this program's path: {why}")))?;
        let player = |seat: Seat| Player {
            home: Home::at(dir.join(&seat.name)),
            seat,
            child: None,
        };
        Ok(Self {
            players: seats.into_iter().map(player).collect(),
            dir,
            wanted,
            progress: "no node runs yet".into(),
            program,
        })
    }

    /// Makes the mesh in the operator's home and starts the operator.
    pub async fn found(&mut self) -> Result<(), Failure> {
        let name = self.players[0].seat.name.clone();
        let init = ["init", "--mesh", "demo", "--name", &name];
        self.chorus(0, &init, true).await?;
        self.start(0).await
    }

    /// Invites a node, lets it join, and starts it.
    pub async fn enrol(&mut self, at: usize) -> Result<(), Failure> {
        let Seat {
            name,
            role,
            sector,
            cluster,
        } = self.players[at].seat.clone();
        let invite = [
            "invite",
            "--name",
            &name,
            "--role",
            role,
            "--sector",
            &sector,
            "--cluster",
            &cluster,
        ];
        let token = self.chorus(0, &invite, false).await?;
        self.chorus(at, &["join", token.trim()], true).await?;
        let home = &self.players[at].home;
        agents::equip(&self.wanted, home, at, self.players.len())?;
        self.start(at).await
    }

    /// Starts a node and waits until it listens.
    pub async fn start(&mut self, at: usize) -> Result<(), Failure> {
        let log = self.log(at);
        let name = self.players[at].seat.name.clone();
        let failed = |why: std::io::Error| Failure::failed("not_started", format!("{name}: {why}"));
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(failed)?;
        let mut command = self.command(at);
        // Above the environment, which may say something else for the user's own nodes.
        for (key, value) in [
            ("net.listen", ANYWHERE),
            ("net.advertise", "127.0.0.1"),
            ("metrics.listen", ANYWHERE),
        ] {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        // Should this process be killed, nobody else would stop them.
        let parent = std::process::id().to_string();
        command
            .args(["run", "--parent", &parent])
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().map_err(failed)?;
        let pid = child.id();
        self.players[at].child = Some(child);
        let deadline = Instant::now() + START_MAX;
        loop {
            // An older run may have left its addresses behind.
            let addresses = run::addresses(&self.players[at].home);
            let listens = addresses.and_then(|it| it["pid"].as_u64());
            if listens.is_some() && listens == pid.map(u64::from) {
                return Ok(());
            }
            self.all_run()?;
            if Instant::now() > deadline {
                let message = format!("{name} does not listen after 20 s{}", self.tail(at));
                return Err(Failure::failed("not_started", message));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills a node with SIGKILL; returns when the process is gone.
    pub async fn kill(&mut self, at: usize) -> Result<(), Failure> {
        if let Some(mut child) = self.players[at].child.take() {
            child.kill().await.map_err(|why| {
                Failure::failed(
                    "not_killed",
                    format!("{}: {why}", self.players[at].seat.name),
                )
            })?;
        }
        Ok(())
    }

    /// Fails when a node ended that nobody stopped.
    pub fn all_run(&mut self) -> Result<(), Failure> {
        for at in 0..self.players.len() {
            let ended = match &mut self.players[at].child {
                // A child that cannot be asked will not answer its socket either.
                Some(child) => child.try_wait().ok().flatten(),
                None => None,
            };
            if let Some(status) = ended {
                let name = &self.players[at].seat.name;
                let message = format!("{name} ended by itself ({status}){}", self.tail(at));
                return Err(Failure::failed("node_ended", message)
                    .hint(format!("see {}", self.log(at).display())));
            }
        }
        Ok(())
    }

    /// CPU time that all nodes have used.
    pub fn cpu(&self) -> Duration {
        let used = |player: &Player| {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", player.pid()?)).ok()?;
            let of = |task: std::fs::DirEntry| {
                let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
                text.split_whitespace().next()?.parse::<u64>().ok()
            };
            Some(tasks.flatten().filter_map(of).sum::<u64>())
        };
        Duration::from_nanos(self.players.iter().filter_map(used).sum())
    }

    /// Resident memory of a node.
    pub fn memory_kb(&self, at: usize) -> Option<u64> {
        let status = format!("/proc/{}/status", self.players[at].pid()?);
        let status = std::fs::read_to_string(status).ok()?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// The home of a node.
    pub fn home(&self, at: usize) -> &Home {
        &self.players[at].home
    }

    /// `chorus.status/1` of a node.
    pub async fn status(&self, at: usize) -> Result<Value, Failure> {
        let lines = control::ask(&self.players[at].home, &Request::Status {}).await?;
        Ok(lines.into_iter().next().unwrap_or_default())
    }

    /// What the operator's `peers` says of a node.
    pub async fn seen_by_operator(&self, name: &str) -> Result<Value, Failure> {
        let rows = peers::rows(&self.players[0].home, false).await?;
        let row = rows.into_iter().find(|row| row["name"] == name);
        Ok(row.unwrap_or_default())
    }

    /// Stops every node: asked first, killed after five seconds.
    pub async fn stop(&mut self) {
        for player in &self.players {
            let pid = player
                .pid()
                .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
            if let Some(pid) = pid {
                // It may have ended a moment ago.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let deadline = Instant::now() + STOP_MAX;
        for player in &mut self.players {
            let Some(mut child) = player.child.take() else {
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if timeout(left, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }

    fn command(&self, at: usize) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--dir").arg(self.players[at].home.dir());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a verb in a node's home to its end; what it printed.
    pub async fn chorus(&self, at: usize, words: &[&str], net: bool) -> Result<String, Failure> {
        let mut command = self.command(at);
        command.args(words);
        if net {
            command.args(["--listen", ANYWHERE, "--advertise", "127.0.0.1"]);
        }
        let name = &self.players[at].seat.name;
        let verb = words.first().copied().unwrap_or_default();
        let failed =
            |why: String| Failure::failed("verb_failed", format!("{verb} of {name}: {why}"));
        let output = command
            .output()
            .await
            .map_err(|why| failed(why.to_string()))?;
        if !output.status.success() {
            let mut failure = failed(String::from_utf8_lossy(&output.stderr).trim().to_owned());
            // A used --dir is refused here as it is everywhere.
            failure.exit = output.status.code().map_or(failure.exit, |code| code as u8);
            return Err(failure);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn log(&self, at: usize) -> PathBuf {
        self.dir.join(format!("{}.log", self.players[at].seat.name))
    }

    /// The end of a node's log, for a failure's message.
    fn tail(&self, at: usize) -> String {
        let log = std::fs::read(self.log(at)).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(TAIL_BYTES)..];
        match String::from_utf8_lossy(tail).trim() {
            "" => String::new(),
            text => format!("; its log ends with:\n{text}"),
        }
    }
}
