//! The words and flags of `memory`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be asked of memory.
#[derive(Debug, Subcommand)]
pub enum MemoryVerb {
    /// Write a value under a key
    ///
    /// The value is on this node's disk when this returns, and spreads from there; with --quorum
    /// also on so many others. In a part of the mesh that is cut off, reads and writes go on,
    /// quorum writes are refused (exit 5) where too few nodes can be reached, nothing is lost
    /// when it heals, and values written on both sides stay beside each other until somebody
    /// writes the key again.
    #[command(
        after_help = "Example:\n  chorus --dir ~/mesh/a memory put plan '{\"step\": 1}' --quorum majority\n  \
        date | chorus --dir ~/mesh/a memory put --ttl 24h seen -"
    )]
    Put(PutArgs),
    /// Print what stands under a key
    ///
    /// The value is printed as JSON. Where several were written without knowing of each other,
    /// all are, as a CONFLICT; writing the key again resolves it.
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a memory get plan --json")]
    Get {
        #[command(flatten)]
        name: NameArgs,
        /// Only what this node holds; others are not asked
        #[arg(long)]
        local: bool,
        /// How long to wait for other nodes: a number and ms, s or m
        #[arg(long, default_value = "5s")]
        timeout: String,
    },
    /// Delete what stands under a key
    ///
    /// Where nothing does, it fails (exit 1). Values that somebody writes elsewhere without
    /// knowing of the deletion stay.
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a memory rm plan --quorum 2")]
    Rm {
        #[command(flatten)]
        name: NameArgs,
        #[command(flatten)]
        quorum: QuorumArgs,
    },
    /// List the keys that this node holds
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a memory ls plan")]
    Ls {
        #[command(flatten)]
        prefix: PrefixArgs,
        /// Also keys whose value was deleted, or whose time is over
        #[arg(long)]
        all: bool,
    },
    /// Write each line of a file that is a JSON object under a key of its own
    ///
    /// The key is shared/ and what the field --key says (text or a number), else
    /// shared/sha256/ and the hash of the object without the white space between its parts. A
    /// bad line is told by its number, and the others are written. What is there already is
    /// not written again, so a file that was cut short, or an import that was interrupted, is
    /// simply repeated. Of lines with the same key each is a write, and the last one stays.
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a memory import memory.jsonl --key id")]
    Import {
        /// The file, one JSON object a line; - reads stdin
        file: PathBuf,
        /// The field that names the object
        #[arg(long, value_name = "FIELD")]
        key: Option<String>,
    },
    /// Print the values that this node holds, one a line, in the order of writing
    ///
    /// An object that was imported comes back as it was, but for white space. Of a conflict
    /// every value is a line.
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a memory export --out memory.jsonl")]
    Export {
        #[command(flatten)]
        prefix: PrefixArgs,
        /// Write into this file, which is only replaced when all is there
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Open every record that this node holds again, and say what is damaged
    #[command(after_help = "Example:\n  chorus --dir ~/mesh/a memory verify")]
    Verify {
        /// Only this key: NAME means shared/NAME
        key: Option<String>,
        /// NAME means own/THIS NODE/NAME
        #[arg(long, requires = "key")]
        own: bool,
    },
}

/// Flags of `memory put`.
#[derive(Debug, Args)]
pub struct PutArgs {
    #[command(flatten)]
    pub name: NameArgs,
    /// JSON, or else a text; - reads it from stdin
    #[arg(
        required_unless_present = "file",
        conflicts_with = "file",
        allow_negative_numbers = true
    )]
    pub value: Option<String>,
    /// The value is a text, even if it reads as JSON
    #[arg(long)]
    pub text: bool,
    /// Take the value from this file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub quorum: QuorumArgs,
    /// How long it counts: a number and s, m, h or d [default: for ever]
    #[arg(long)]
    pub ttl: Option<String>,
}

/// A key.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// NAME means shared/NAME; a whole key is taken as it is
    pub key: String,
    /// NAME means own/THIS NODE/NAME, which only this node may write
    #[arg(long)]
    pub own: bool,
}

/// How keys begin.
#[derive(Debug, Args)]
pub struct PrefixArgs {
    /// Only keys that begin so: NAME means shared/NAME [default: all]
    pub prefix: Option<String>,
    /// NAME means own/THIS NODE/NAME
    #[arg(long)]
    pub own: bool,
}

/// How many copies are waited for.
#[derive(Debug, Args)]
pub struct QuorumArgs {
    /// Wait until so many nodes, this one included, have it on disk: a number, or majority (of
    /// those that should hold the key); fewer in time is exit 5, and the copy here stays
    #[arg(long, value_name = "N")]
    pub quorum: Option<String>,
    /// How long to wait for them: a number and ms, s or m
    #[arg(long, default_value = "10s")]
    pub timeout: String,
}

/// Flags of `timeline`.
#[derive(Debug, Args)]
pub struct TimelineArgs {
    #[command(flatten)]
    pub prefix: PrefixArgs,
    /// Only what has this Lamport time or a later one
    #[arg(long, value_name = "LAMPORT", default_value_t = 0)]
    pub since: u64,
    /// Only the last so many
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}
