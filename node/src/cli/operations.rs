//! The words and flags of what is put to agents: `gather`, `ask`, `broadcast`, `cascade`, `agents`.

use clap::{Args, Subcommand, ValueEnum};

/// To whom.
#[derive(Debug, Clone, Args)]
pub struct Whom {
    /// Only agents that can do this; several times: all of it
    #[arg(long, value_name = "LABEL")]
    pub capability: Vec<String>,
    /// Only agents of this class, A to F; people, F, are asked no other way
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
}

/// How.
#[derive(Debug, Clone, Args)]
pub struct Manner {
    /// 0, background, to 3, critical
    #[arg(long, value_name = "LANE", default_value_t = 2)]
    pub priority: u8,
    /// How much there is to process, 0 to 1000; 1 is the usual
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0)]
    pub weight: f32,
    /// What is wanted of them
    #[arg(long = "to", value_name = "VERB", value_enum, default_value_t = Intent::Observe)]
    pub intent: Intent,
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Intent {
    /// Look, and say what is there
    Observe,
    /// Make sense of it
    Orient,
    /// Choose
    Decide,
    /// Do it
    Act,
    /// Write it down
    Record,
    /// Come to the same state
    Sync,
}

/// A question, and to whom.
#[derive(Debug, Args)]
pub struct GatherArgs {
    /// The question, as the agents get it
    pub question: String,
    #[command(flatten)]
    pub whom: Whom,
    /// The whole window around T: a number and ms, s or m
    #[arg(long, value_name = "SPAN", default_value = "500ms")]
    pub window: String,
    /// When all are to be ready: `auto`, the first T that enough can keep; `now`, each as soon
    /// as it can, the window from now on; or how long from now
    #[arg(long, value_name = "T", default_value = "auto")]
    pub at: String,
    /// The latest T that `--at auto` may choose; who needs longer is skipped
    #[arg(long, value_name = "SPAN", default_value = "5s")]
    pub limit: String,
    /// Which part of the agents must be ready for a success, 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.95)]
    pub minimum: f64,
    /// So much longer than the window late answers are heard and shown
    #[arg(long, value_name = "SPAN")]
    pub late: Option<String>,
    #[command(flatten)]
    pub manner: Manner,
}

/// A question to some.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The question, as the agents get it
    pub question: String,
    #[command(flatten)]
    pub whom: Whom,
    /// How many are asked, chosen by lot
    #[arg(long, value_name = "MANY", default_value_t = 100)]
    pub sample: u32,
    /// How long all their answers are waited for
    #[arg(long, value_name = "SPAN", default_value = "30s")]
    pub window: String,
    #[command(flatten)]
    pub manner: Manner,
}

/// A message to all.
#[derive(Debug, Args)]
pub struct BroadcastArgs {
    /// The message, as the agents get it
    pub message: String,
    #[command(flatten)]
    pub whom: Whom,
    /// Wait for each to acknowledge it, and name those that do not
    #[arg(long)]
    pub ack: bool,
    /// How long that is waited for
    #[arg(long, value_name = "SPAN", default_value = "5s")]
    pub window: String,
    /// 0, background, to 3, critical
    #[arg(long, value_name = "LANE", default_value_t = 2)]
    pub priority: u8,
}

/// Something for the whole mesh.
#[derive(Debug, Args)]
pub struct CascadeArgs {
    /// In which order
    #[arg(value_enum)]
    pub order: CascadeOrder,
    /// The question, as the agents get it
    pub question: String,
    /// How much there is to process, 0 to 1000; 1 is the usual
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0)]
    pub weight: f32,
}

/// How it goes through the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CascadeOrder {
    /// All at once: nine in ten ready within a second
    Parallel,
    /// Tier after tier, each confirmed before the next
    Wave,
    /// Class after class: D, C, B, A, E
    PriorityFirst,
}

/// Which agents are shown.
#[derive(Debug, Args)]
pub struct AgentsArgs {
    #[command(subcommand)]
    pub what: Option<AgentsVerb>,
    /// Also those of the nodes beneath this one, the best first
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub whom: Whom,
    /// With `--all`: only those that may be given work, up to this impedance in milliseconds
    #[arg(long, value_name = "MS", requires = "all")]
    pub up_to: Option<u32>,
    /// With `--all`: so many at most
    #[arg(long, value_name = "MANY", default_value_t = 100, requires = "all",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// The impedance of the last hour, a point every ten seconds
    #[arg(long, conflicts_with = "all")]
    pub history: bool,
}

impl AgentsArgs {
    /// Whether a flag stands before a verb of its own, for which it says nothing. Clap could
    /// refuse that by itself, but `--json` and `--dir` with it.
    pub fn is_flagged(&self) -> bool {
        let Whom { capability, class } = &self.whom;
        let whom = !capability.is_empty() || class.is_some();
        self.all || self.history || self.up_to.is_some() || whom
    }
}

/// What can be asked about agents beyond who they are.
#[derive(Debug, Subcommand)]
pub enum AgentsVerb {
    /// Show the questions that wait for the people of this node
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/op agents inbox")]
    Inbox,
    /// Answer one of them, in place of the person whom it is for
    #[command(
        override_usage = "chorus agents answer [OPTIONS] <NUMBER> <TEXT|--conflict <WHY>|--decline>",
        after_help = "Example:\n  chorus --dir ~/mesh/op agents answer 3 'yes, ship it'\n  \
        chorus --dir ~/mesh/op agents answer 4 --conflict 'it was refused on Monday'"
    )]
    Answer {
        /// Its number in the inbox
        number: u64,
        #[command(flatten)]
        said: SaidArgs,
    },
}

/// What is said to a question: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SaidArgs {
    /// The answer
    pub text: Option<String>,
    /// It contradicts what is known, because of this
    #[arg(long, value_name = "WHY")]
    pub conflict: Option<String>,
    /// There will be no answer
    #[arg(long)]
    pub decline: bool,
}

/// A task for one.
#[derive(Debug, Args)]
pub struct DelegateArgs {
    /// The task, as the agent gets it
    pub task: String,
    /// Who: `best`, `class:D`, `can:LABEL`, or one by name as `NODE/AGENT`
    #[arg(long, value_name = "WHOM", default_value = "best")]
    pub to: String,
    /// And then the answer to whom, as the next task; several times: a chain of stages
    #[arg(long, value_name = "WHOM")]
    pub then: Vec<String>,
    /// The highest impedance that will do, in milliseconds; 0 is any
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub up_to: u32,
    /// How long it may take in all, or each stage of a chain
    #[arg(long, value_name = "SPAN", default_value = "300s")]
    pub timeout: String,
    /// 0, background, to 3, critical
    #[arg(long, value_name = "LANE", default_value_t = 2)]
    pub priority: u8,
}
