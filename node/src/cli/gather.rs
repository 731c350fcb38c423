//! The words and flags of `gather`.

use clap::Args;

/// A question, and to whom.
#[derive(Debug, Args)]
pub struct GatherArgs {
    /// The question, as the agents get it
    pub question: String,
    /// Only agents that can do this
    #[arg(long, value_name = "LABEL")]
    pub capability: Option<String>,
    /// How long answers are waited for: a number and ms, s or m
    #[arg(long, value_name = "SPAN", default_value = "500ms")]
    pub window: String,
    /// Which part of the agents must be ready for a success, 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.95)]
    pub minimum: f64,
}
