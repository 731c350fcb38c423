//! The words and flags of `checkpoint`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be asked of the checkpoints.
#[derive(Debug, Clone, Subcommand)]
pub enum CheckpointVerb {
    /// List them, and say of each whether it is durable
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a checkpoint show --json")]
    Show,
    /// Check every byte of them, or of one member's proof
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a checkpoint verify")]
    Verify {
        #[command(flatten)]
        which: EpochArgs,
        /// A file that `chorus --json checkpoint proof` made
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
    },
    /// Give the phase vector of an epoch back, verified against its signed root
    #[command(
        after_help = "Example:\n  chorus --dir ~/mesh/a checkpoint reconstruct --epoch last --out vector.csv"
    )]
    Reconstruct {
        #[command(flatten)]
        which: EpochArgs,
        /// Use what these homes, or folders with their files, hold too: it may be in fragments
        #[arg(long, value_name = "DIR", num_args = 1..)]
        from: Vec<PathBuf>,
        /// Write the vector there, as CSV: node, phase, omega, lamport
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Prove what one member was, without the others
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a --json checkpoint proof b > b.json")]
    Proof {
        /// Its name, or the first hex digits of its key, at least 4
        node: String,
        #[command(flatten)]
        which: EpochArgs,
    },
}

/// Which epoch.
#[derive(Debug, Clone, Args)]
pub struct EpochArgs {
    /// Its number, or `last`: the last durable one
    #[arg(long, value_name = "E|last", default_value = "last")]
    pub epoch: String,
    /// Of a side that was cut off from the mesh's root
    #[arg(long)]
    pub branch: bool,
}
