//! The words and flags of `bench`.

use chorus_protocol::impedance::Class;
use clap::{Args, Subcommand};

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum BenchVerb {
    /// How many messages are READY at T, by each way of choosing when to send
    ///
    /// In virtual time, over a model of agents whose legs drift, queue and spike: with and without
    /// the hold, beside the seed's formula and everyone at once. Also what each confidence
    /// promised, against what was kept.
    #[command(after_help = "Example:\n  chorus bench arrival --messages 100000 --json")]
    Arrival(ArrivalArgs),
    /// The same on real nodes, with agents whose processing follows the model
    ///
    /// Each agent is a command of its own, in the model's mix of classes A to E; the way there and
    /// back and the queues are real. How near to what was expected they are before anything is
    /// known of them and after, and how near to T when they are to be ready together.
    #[command(after_help = "Example:\n  chorus bench agents --agents 100")]
    Agents(AgentsArgs),
    /// Tokens a second: a phase barrier before each token against a phase loop that holds none
    ///
    /// Each node is a process of its own and speaks real ZeroMQ over loopback; loss and delay are
    /// put in where a frame arrives. Some ways run at the same time, so that they meet the same
    /// machine. At the end the nodes are cut in two halves, and healed. It takes five minutes.
    #[command(after_help = "Example:\n  chorus bench tokens --nodes 16 --seconds 20")]
    Tokens(TokensArgs),
    /// Live agents in a few processes, all asked at once and together at T
    ///
    /// Real nodes over loopback, an operator above as many hosts as are wanted, with zero-delay
    /// agents dealt round. How long a question takes that all answer, what it costs, and what an
    /// agent takes in memory.
    #[command(after_help = "Example:\n  chorus bench mesh --agents 30000")]
    Mesh(MeshArgs),
    /// One node of `bench tokens`, which starts it and speaks with it
    #[command(hide = true)]
    TokenNode,
    /// One agent of `bench agents`, whose node starts it and speaks with it
    #[command(hide = true)]
    Agent(AgentArgs),
}

/// How many agents are asked how often.
#[derive(Debug, Args)]
pub struct AgentsArgs {
    /// How many agents
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub agents: u32,
    /// In how many processes beside the operator's
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub hosts: u32,
    /// How many questions each way
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// What draws the agents' delays and the weights of the questions
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Which agent of the model it is.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Its class
    #[arg(long)]
    pub class: Class,
    /// What draws its delays
    #[arg(long)]
    pub seed: u64,
}

/// How much of the model is run.
#[derive(Debug, Args)]
pub struct ArrivalArgs {
    /// At least how many messages count; those of the burn-in do not
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub messages: u32,
    /// What draws the agents and their delays: the same seed gives the same table
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// How large the mesh is.
#[derive(Debug, Args)]
pub struct MeshArgs {
    /// How many agents
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub agents: u32,
    /// In how many processes beside the operator's
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub hosts: u32,
    /// How many questions of each kind
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
}

/// How much is measured, and with what.
#[derive(Debug, Clone, Args)]
pub struct TokensArgs {
    /// How many nodes each way has
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=64))]
    pub nodes: u32,
    /// How long each cell is measured
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// How long the two halves are cut apart; 0 leaves that out
    #[arg(long, default_value_t = 62, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub cut_seconds: u32,
    /// Only with so much percent of all frames lost [default: 0 and 1]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=50))]
    pub loss: Option<u32>,
    /// Only with such a round trip, in milliseconds [default: 0 and 50]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=2_000))]
    pub rtt: Option<u32>,
    /// What a token takes in the mean, in milliseconds
    #[arg(long, default_value_t = 290, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub token_ms: u32,
    /// What draws the times of tokens and the frames that are lost
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}
