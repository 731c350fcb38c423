//! The command line: verbs, flags, and the context that every verb gets.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::error::Failure;

// The paths are said so that the manual, which has this file elsewhere, finds them too.
#[path = "cli/bench.rs"]
pub mod bench;
#[path = "cli/checkpoint.rs"]
pub mod checkpoint;
#[path = "cli/conflicts.rs"]
pub mod conflicts;
#[path = "cli/demo.rs"]
pub mod demo;
#[path = "cli/memory.rs"]
pub mod memory;
#[path = "cli/operations.rs"]
pub mod operations;

/// A peer node for meshes of AI agents.
#[derive(Debug, Parser)]
#[command(name = "chorus", version, propagate_version = true)]
#[command(
    after_help = "Example:\n  chorus --dir ~/mesh/a init --mesh home --name a\n  \
    chorus --dir ~/mesh/a run"
)]
pub struct Cli {
    /// The node's home [default: $CHORUS_DIR, then chorus/ in the XDG state folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print JSON on stdout, also on failure
    #[arg(long, global = true)]
    pub json: bool,
    /// Set one configuration value for this run, above file and environment
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a new mesh and its first node
    #[command(
        after_help = "Example:\n  chorus --dir ~/mesh/a init --mesh home --name a \
        --listen 0.0.0.0:7400 --advertise a.lan"
    )]
    Init(InitArgs),
    /// Print a token by which others may join
    #[command(
        after_help = "Example:\n  chorus --dir ~/mesh/a invite --name b --role agent \
        --sector s1 --cluster c1 --ttl 24h"
    )]
    Invite(InviteArgs),
    /// Join a mesh with a token
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/b join chorus1.Qm9i… \
        --listen 0.0.0.0:7400 --advertise b.lan")]
    Join(JoinArgs),
    /// Run the node of this home until it is told to stop
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a run")]
    Run {
        /// Only for a lost count of starts and nobody to ask: the incarnation that another
        /// node's `chorus peers --json` shows for this one; 0 if none ever saw it
        #[arg(long, value_name = "INCARNATION")]
        above: Option<u64>,
        /// Also end when the process that started this one ends, which has this number
        #[arg(long, value_name = "PID", hide = true)]
        parent: Option<i32>,
    },
    /// Make the home if there is none, then run its node: for containers and services
    ///
    /// The first start keeps --listen and --advertise in the home's chorus.toml, as `init` and
    /// `join` do; where a later start gives them, they count above the file for that run.
    #[command(
        after_help = "Example:\n  chorus --dir /run/chorus/home up --homes /var/lib/chorus \\\n    \
        --token /invites/s1-agents --advertise-hostname"
    )]
    Up(UpArgs),
    /// Show how the running node is
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a status --json")]
    Status,
    /// Show the nodes that the running node knows
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a peers --all")]
    Peers {
        /// Also the members of the roster that nothing has been heard of
        #[arg(long)]
        all: bool,
    },
    /// Write and read what outlives the nodes that wrote it
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a memory put plan '{\"step\": 1}'")]
    Memory {
        #[command(subcommand)]
        what: memory::MemoryVerb,
    },
    /// Shut a node out of the mesh for good
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a revoke b --reason stolen")]
    Revoke {
        /// Its name, or the first hex digits of its key, at least 4
        node: String,
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
        /// Also this node itself, or the one that made the mesh
        #[arg(long)]
        force: bool,
    },
    /// Show, verify or give back the phase vectors that this home holds
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a checkpoint reconstruct")]
    Checkpoint {
        #[command(subcommand)]
        what: checkpoint::CheckpointVerb,
    },
    /// Put one question to all agents here and beneath, to be ready together at a time T
    ///
    /// Slow agents are asked earlier, fast ones hold, and who cannot make it is skipped and counted.
    /// It ends as soon as no answer can change the decision, and at the latest when the window
    /// closes. Who was not asked or has not answered counts all the same.
    #[command(
        after_help = "Example:\n  chorus --dir ~/mesh/op gather 'which version runs?' --window 2s"
    )]
    Gather(operations::GatherArgs),
    /// Ask some of the agents, and group those that say the same
    ///
    /// Of each group the share and its 95 % interval (Wilson) for all that could have been asked.
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/op ask 'which context?' --sample 20")]
    Ask(operations::AskArgs),
    /// Send a message to all agents here and beneath
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/op broadcast 'closed early' --ack")]
    Broadcast(operations::BroadcastArgs),
    /// Take a question through the whole mesh beneath this node
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/op cascade parallel 'reload'")]
    Cascade(operations::CascadeArgs),
    /// Give a task to the best agent, and to the next if that one is lost
    ///
    /// Each step is a record before it is taken; the answer to the newest attempt is the effect, once.
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/op delegate 'sum up' --to class:D")]
    Delegate(operations::DelegateArgs),
    /// Show how operations came out: seven measures with their goals
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/op kpi --json")]
    Kpi,
    /// Show the agents of this node, or all beneath it; or answer for a person
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/op agents --all --up-to 500")]
    Agents(operations::AgentsArgs),
    /// Show what contradicts what, and end it
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a conflicts ls")]
    Conflicts {
        #[command(subcommand)]
        what: conflicts::ConflictsVerb,
    },
    /// Print what was written and who announced itself, as one causal order
    ///
    /// By Lamport time, then by node, so no effect comes before its cause, and nodes that hold the
    /// same print the same; the digest at the end says whether they do. It is what stands on this
    /// node: of a key that was written again the last write, of a node its last announcement.
    /// With a prefix only writes.
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a timeline --last 20")]
    Timeline(memory::TimelineArgs),
    /// Show or check the effective configuration
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a config show")]
    Config {
        #[command(subcommand)]
        what: ConfigVerb,
    },
    /// Measure what this build does on this machine
    #[command(subcommand, after_help = "Example:\n  chorus bench arrival")]
    Bench(bench::BenchVerb),
    /// Look for what is wrong with this machine or this home
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a doctor")]
    Doctor,
    /// Start a real mesh on this machine, break it, and show that it mends
    ///
    /// Every node is a process of its own, with a home of its own. While one is dead, another
    /// imports a small file of JSON lines into memory; the dead one reads it when it is back.
    #[command(after_help = "Example:\n  chorus demo --nodes 12 --keep")]
    Demo(demo::DemoArgs),
}

/// What can be asked of the configuration.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigVerb {
    /// Print every effective value and where it comes from
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a config show --json")]
    Show,
    /// Say whether the configuration is valid
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a config check")]
    Check,
}

/// Flags of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The mesh's name
    #[arg(long)]
    pub mesh: String,
    /// This node's name
    #[arg(long)]
    pub name: String,
    /// The sector it stands in
    #[arg(long, default_value = "ops")]
    pub sector: String,
    /// The cluster it stands in
    #[arg(long, default_value = "ops")]
    pub cluster: String,
    /// orchestrator, coordinator or lead: the top of the mesh, for good
    #[arg(long, default_value = "orchestrator")]
    pub role: String,
    #[command(flatten)]
    pub net: NetArgs,
}

/// Flags that `init`, `join` and the first `up` write into the new configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct NetArgs {
    /// Address and first port to listen on; port 0 chooses
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Name or address by which others reach this node; may be repeated
    #[arg(long, value_name = "HOST")]
    pub advertise: Vec<String>,
}

/// Flags of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// If there is no node yet, make a mesh of this name
    #[arg(long, value_name = "NAME", conflicts_with = "token")]
    pub mesh: Option<String>,
    /// If there is no node yet, join with the token in this file; wait for it
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
    /// The new node's name
    #[arg(long)]
    pub name: Option<String>,
    /// With --mesh: the sector it stands in
    #[arg(long, default_value = "ops")]
    pub sector: String,
    /// With --mesh: the cluster it stands in
    #[arg(long, default_value = "ops")]
    pub cluster: String,
    /// With --mesh: orchestrator, coordinator or lead: the top of the mesh, for good
    #[arg(long, default_value = "orchestrator")]
    pub role: String,
    /// Take the first home below this folder that is free, and make --dir a link to it
    #[arg(long, value_name = "FOLDER")]
    pub homes: Option<PathBuf>,
    /// Keep a fresh token in a file: file=F,role=R,sector=S,cluster=C[,name=N][,uses=N][,ttl=T][,cap=V]; may be repeated
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub invite: Vec<String>,
    /// Others reach this node by this machine's host name
    #[arg(long)]
    pub advertise_hostname: bool,
    /// As for `run`: only for a lost count of starts and nobody to ask
    #[arg(long, value_name = "INCARNATION")]
    pub above: Option<u64>,
    #[command(flatten)]
    pub net: NetArgs,
}

/// Flags of `invite`.
#[derive(Debug, Clone, Args)]
pub struct InviteArgs {
    /// The joiner's name; with several uses it becomes NAME-1, NAME-2, …
    #[arg(long)]
    pub name: Option<String>,
    /// agent, lead or coordinator: below the node that the mesh was made with
    #[arg(long, default_value = "agent")]
    pub role: String,
    /// The sector it will stand in
    #[arg(long)]
    pub sector: String,
    /// The cluster it will stand in
    #[arg(long)]
    pub cluster: String,
    /// What it may do beyond its role; there is one: enrol, to let others in
    #[arg(long, value_name = "V")]
    pub cap: Vec<String>,
    /// How many nodes may join with it
    #[arg(long, default_value = "1")]
    pub uses: String,
    /// How long it is valid: a number and s, m, h or d
    #[arg(long, default_value = "24h")]
    pub ttl: String,
}

/// Flags of `join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// What `chorus invite` printed
    pub token: String,
    /// This node's name, where the token leaves it open
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub net: NetArgs,
}

/// What every verb is told.
#[derive(Debug, Clone)]
pub struct Context {
    /// The node's home, an absolute path.
    pub dir: PathBuf,
    /// Whether `--dir` named it: `demo` uses no home that was not given by hand.
    pub dir_given: bool,
    /// Whether to print JSON.
    pub json: bool,
    /// `--set` pairs: key (`section.key`) and the value's text, in order.
    pub overrides: Vec<(String, String)>,
}

impl Context {
    /// From the flags and the environment.
    pub fn of(cli: &Cli) -> Result<Self, Failure> {
        let dir_given = cli.dir.is_some();
        let named = cli.dir.clone().or_else(|| variable("CHORUS_DIR"));
        let dir = named.or_else(default_dir).ok_or_else(|| {
            Failure::usage("no_home", "there is no folder for a home: $HOME is not set")
                .hint("name one with --dir DIR")
        })?;
        let dir = std::path::absolute(&dir)
            .map_err(|why| Failure::usage("bad_dir", format!("--dir {}: {why}", dir.display())))?;
        let pair = |text: &String| match text.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_string(), value.trim().to_string())),
            None => Err(Failure::usage(
                "bad_set",
                format!("--set {text}: allowed is SECTION.KEY=VALUE"),
            )),
        };
        let overrides = cli.set.iter().map(pair).collect::<Result<_, _>>()?;
        Ok(Self {
            dir,
            dir_given,
            json: cli.json,
            overrides,
        })
    }

    /// Prints the answer: `json` with `--json`, otherwise `words` and a line end.
    pub fn answer(&self, json: &serde_json::Value, words: &str) -> Result<(), Failure> {
        self.answer_text(&json.to_string(), words)
    }

    /// The same of JSON that is text already.
    pub fn answer_text(&self, json: &str, words: &str) -> Result<(), Failure> {
        let printed = print_line(if self.json { json } else { words });
        printed.map_err(|why| Failure::failed("output_lost", lost(&why)))
    }

    /// Prints an answer that is itself the bad news, and fails with what it comes to.
    pub fn answer_failed(
        &self,
        json: &serde_json::Value,
        words: &str,
        failure: Failure,
    ) -> Result<(), Failure> {
        self.answer(json, words)?;
        if self.json {
            // The object above says it all; a second one would break whoever parses stdout.
            std::process::exit(i32::from(failure.exit));
        }
        Err(failure)
    }
}

/// One JSON object on stdout, on a line of its own.
pub fn print_json(value: &serde_json::Value) -> io::Result<()> {
    print_line(&value.to_string())
}

/// A line of data on stdout. Whoever closed the pipe wanted no more of it; anything else that
/// keeps it from being written is a failure, for the answer is lost.
pub fn print_line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// What is said of an answer that could not be written.
pub fn lost(why: &io::Error) -> String {
    format!("the answer could not be written to stdout: {why}")
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn default_dir() -> Option<PathBuf> {
    let state = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(variable("HOME")?.join(".local/state")));
    Some(state?.join("chorus"))
}
