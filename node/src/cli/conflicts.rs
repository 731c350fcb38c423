//! The words and flags of `conflicts`.

use clap::Subcommand;

use super::memory::{NameArgs, QuorumArgs};

/// What can be asked of conflicts.
#[derive(Debug, Subcommand)]
pub enum ConflictsVerb {
    /// List what contradicts what, oldest first
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a conflicts ls --all --since 24h")]
    Ls {
        /// Also those that are resolved
        #[arg(long)]
        all: bool,
        /// Only of the last while: a number and s, m, h or d
        #[arg(long, value_name = "SPAN")]
        since: Option<String>,
        /// Only where a value of this node is on either side: its name, or the first hex digits
        /// of its key
        #[arg(long, value_name = "NODE")]
        by: Option<String>,
    },
    /// Show one with all that the log knows of it
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a conflicts show 3")]
    Show {
        /// Its number in `conflicts ls`
        id: u64,
    },
    /// End the conflict of a key by writing one of its values again
    ///
    /// For another value, write it with `chorus memory put`, and to have none, delete the key with
    /// `chorus memory rm`: each ends the conflict too.
    #[command(
        after_help = "Example:\n  chorus --dir ~/mesh/a conflicts resolve plan 81397b0e@4294967297:118"
    )]
    Resolve {
        #[command(flatten)]
        name: NameArgs,
        /// Which value: its version, as `memory get` and `conflicts show` print it
        #[arg(value_name = "VERSION")]
        which: String,
        #[command(flatten)]
        quorum: QuorumArgs,
    },
    /// Check the log: the sum of each entry, and that each names the one before
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a conflicts verify")]
    Verify,
}
