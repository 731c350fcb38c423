//! The flags of `demo`.

use std::path::PathBuf;

use clap::Args;

/// How large the mesh is, and what it hosts.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The folder in which the nodes' homes are made [default: a new one for temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Leave it running until interrupted
    #[arg(long)]
    pub keep: bool,
    /// How many nodes, all counted
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(2..=60))]
    pub nodes: u32,
    /// How many agents they host together
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub agents: u32,
    /// How often all of them are asked at the end
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    pub questions: u32,
    /// An OpenAI-compatible endpoint for a quarter of them, such as http://127.0.0.1:8000/v1
    #[arg(long, value_name = "URL")]
    pub openai: Option<String>,
}
