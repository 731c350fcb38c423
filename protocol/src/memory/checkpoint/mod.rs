//! Checkpoint: the phase vector of an epoch, signed up the tree and given to all who can hold
//! it, whole or in fragments (mathematics §4; the seeds' "posterity").
//!
//! | file | what |
//! |---|---|
//! | `merkle.rs` | the tree of RFC 6962 |
//! | `vector.rs` `header.rs` `part.rs` | the exact bytes of a record, a signed header, a part |
//! | `standing.rs` | who may sign which part of it, by the roster |
//! | `proof.rs` | one member's record, proven without the others |
//! | `coding.rs` | a whole cut into pieces, some of which give it back |
//! | `fragment.rs` `copy.rs` | one holder's piece with its proof; a whole, or that |
//! | `certificate.rs` | that all of an epoch's holders have it on disk |
//! | `order.rs` `chunks.rs` | what nodes say to each other about it |
//! | `machine.rs` | the machine; `gather.rs`: up the tree, `spread.rs`: down it, `cutting.rs`: in fragments |
//! | `kept.rs` | what is on disk, and what may be given up |
//!
//! The node that has nobody above it opens an epoch. Each parent takes the phases of itself and
//! of its leaf children as they stand when the question reaches it, signs them with the parts
//! of the parents beneath it, and passes that up. The top's part is the checkpoint: it goes
//! to everybody beneath, each writes it down and says so, and where all of its holders
//! have, the top signs a certificate. Where the top is not the mesh's root it is a *branch*.
//!
//! Up to [`WHOLE_MAX`] members everybody gets all of it. Of more, only every tenth epoch; of the
//! others an agent gets a fragment, which its parent makes of the whole that it holds itself.
//!
//! Invariants: nothing is acknowledged before it is on disk; a checkpoint is *durable* only when
//! each of its holders has acknowledged it in time, and the last durable one is never given up;
//! bytes that do not verify are neither kept nor passed on.
//!
//! Absent: more than [`MEMBERS_MAX`] members (larger meshes make none and say so); a check that
//! a parent gives each agent that one's own fragment; the agents' own signatures on their records (a parent has checked the frames that they
//! came in, and is believed about its children); a correction for how long the question
//! travels.

pub mod certificate;
pub mod chunks;
pub mod coding;
pub mod copy;
mod cutting;
pub mod fragment;
mod gather;
pub mod header;
mod kept;
mod machine;
pub mod merkle;
pub mod order;
pub mod part;
pub mod proof;
mod spread;
pub mod standing;
pub mod vector;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use certificate::Certificate;
pub use coding::{Coded, Plan};
pub use copy::{Copy, Whole};
pub use fragment::{Fragment, Seal};
pub use header::{Header, Kind};
pub use kept::{Name, State, What};
pub use machine::{Checkpoints, Setting};
pub use order::{Chunk, Order};
pub use part::{Part, Row, Stem};
pub use proof::Proof;
pub use vector::{Record, exact};

use crate::ids::{Digest, Incarnation, NodeId};
use crate::trust::roster::Roster;
use crate::units::Micros;

/// Most members of a checkpoint that is copied whole to everybody (architecture, Memory).
pub const WHOLE_MAX: usize = 3_000;
/// Most members of any.
pub const MEMBERS_MAX: usize = 32_768;
/// Most bytes of one: that many rows, and a signed header for each ten of them.
pub const BYTES_MAX: usize =
    MEMBERS_MAX * part::ROW_BYTES + MEMBERS_MAX / 10 * header::SIGNED_BYTES;
/// Most bytes of what a node holds of one: all of it, and the seal of its fragments.
pub const COPY_BYTES_MAX: usize = BYTES_MAX + fragment::SEAL_BYTES;

/// How checkpoints are made. Every node of a mesh should use the same values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Between two epochs, at least. Default 60 s (mathematics §4: "one epoch a minute").
    pub period: Micros,
    /// How long the parts may take to reach the top. Default 4 s; a third of `period` if that
    /// is less.
    pub gather: Micros,
    /// How long the holders may take to acknowledge. Default 30 s (architecture, Memory). The
    /// next epoch is not opened before the last one is durable or this has passed.
    pub acknowledge: Micros,
    /// How many are kept. Default 8.
    pub keep: usize,
    /// Up to so many members everybody gets the whole. Default [`WHOLE_MAX`].
    pub whole_up_to: usize,
    /// Of more, each epoch that this divides goes whole to everybody all the same. Default 10.
    pub whole_every: u64,
    /// How many fragments give a larger one back. Default 150 (mathematics §4).
    pub needed: usize,
}

impl Config {
    /// The defaults for epochs that are `period` apart.
    pub fn every(period: Micros) -> Self {
        Self {
            period,
            gather: Micros(period.0 / 3).min(Micros::from_secs(4)),
            acknowledge: Micros::from_secs(30),
            keep: 8,
            whole_up_to: WHOLE_MAX,
            whole_every: 10,
            needed: 150,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::every(Micros::from_secs(60))
    }
}

/// Who stands around a node in the tree, as gossip knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// Its parent, and the run of it that was heard last.
    pub parent: Option<(NodeId, Incarnation)>,
    /// Its children that live.
    pub children: BTreeSet<NodeId>,
}

/// The phases at the cut-off, as gossip knows them.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// The node's own.
    pub own: Record,
    /// Those of its leaf children that live.
    pub leaves: Vec<(NodeId, Record)>,
    /// How many nodes live in the widest sum that is known.
    pub live: u32,
}

/// What happens to the machine.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed. Due at [`Checkpoints::next_deadline`].
    Tick,
    /// A neighbour in the tree said this.
    Order(NodeId, Order),
    /// Others stand around it.
    Around(Around),
    /// The phases that [`Output::Cut`] asked for.
    Cut(u64, Cut),
    /// The fragments that [`Output::Code`] asked for.
    Coded(Name, Result<Coded, Refusal>),
    /// Another roster, and the directory's digest.
    Roster(Arc<Roster>, Digest),
    /// A file is on disk, or could not be written.
    Persisted(Name, What, bool),
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Take the phases of this epoch now.
    Cut(u64),
    /// Cut these bytes into fragments ([`coding::encode`]), and keep those of these numbers. It
    /// takes a second and more at 30,000 members: not to be waited for.
    Code(Name, Plan, Arc<[u8]>, BTreeSet<u32>),
    /// Write this down, and say when it is on disk.
    Persist(Name, What, Arc<[u8]>),
    /// Both files of this one are needed no more.
    Forget(Name),
    /// Deliver to one neighbour for certain.
    Send(NodeId, Order),
    /// For people and their logs.
    Event(Event),
}

/// What an operator may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A checkpoint was made here, of so many members.
    Made(Name, Kind, usize),
    /// All of its holders have it on disk, and the certificate is on this one.
    Durable(Name, usize),
    /// Not all of them said so in time; these did not.
    Partial(Name, Vec<NodeId>),
    /// The parts of an epoch did not all come; these parents' are missing.
    Missing(u64, Vec<NodeId>),
    /// Somebody sent what does not count.
    Refused(NodeId, Refusal),
    /// More members than a checkpoint can hold: none is made.
    TooLarge(usize),
}

/// A node's checkpoints at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The newest one here: its epoch, members and state.
    pub last: Option<(u64, usize, State)>,
    /// The epoch of the last durable one.
    pub durable: Option<u64>,
    /// The epoch of the last durable one that is whole here, and not a fragment.
    pub durable_whole: Option<u64>,
    /// How many messages were refused.
    pub refused: u64,
    /// How often a file could not be written.
    pub unwritten: u64,
}

/// Why bytes are not taken for what they claim to be. State has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// Too long, too short, or out of order; what of it is named.
    #[error("not a checkpoint: its {0} is not as it must be")]
    Malformed(&'static str),
    /// A phase or a frequency that is NaN or infinite.
    #[error("a number that is not finite")]
    NotFinite,
    /// A signature does not fit: altered, or made for another mesh.
    #[error("forged or damaged: a signature does not fit")]
    Forged,
    /// Not enough fragments to give the whole back.
    #[error("{have} of the {needed} fragments that are needed")]
    TooFew {
        /// How many different ones there are.
        have: usize,
        /// How many it takes.
        needed: usize,
    },
    /// A hash does not fit what it stands for.
    #[error("altered: the contents are not what was signed")]
    Altered,
    /// A part of another epoch than the one that it is in.
    #[error("a part of another epoch")]
    OtherEpoch,
    /// Signed by a node that may not: not a member, or not where it would have to stand.
    #[error("signed by a node that may not sign it")]
    WrongSigner,
    /// A member is listed that cannot be beneath the signer.
    #[error("it lists a node that cannot stand beneath its signer")]
    WrongMember,
}
