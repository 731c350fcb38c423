//! What can be asked of a node's memory.

use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::causality::version::Dot;
use chorus_protocol::ids::{Digest, NodeId};
use chorus_protocol::memory::key::{Key, Position};
use chorus_protocol::memory::parcel::Answer;
use chorus_protocol::memory::record::Record;
use chorus_protocol::memory::replication::Want;
use chorus_protocol::memory::siblings::Siblings;
use chorus_protocol::trust::roster::Roster;
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::mending::Mended;
use super::reading::{Bad, ToMove};
use super::realm::Event;
use super::writing::{Took, Wrote};

/// Most writes of one import batch: what one step on the store's thread may take.
pub const BATCH_MAX: usize = 500;
/// Most keys of one listed page.
pub const PAGE_MAX: usize = 500;

/// Why memory did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The value, or the record around it, is over its limit. Nothing changed.
    #[error("a value has at most {max} bytes, this one has {bytes}; nothing was written")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The key is another node's own. Nothing changed.
    #[error("only the node {0} writes under own/{0}/; nothing was written")]
    Foreign(String),
    /// The store holds as many bytes of memory as it may. Nothing changed.
    #[error("memory is full: {bytes} of {max} bytes; nothing was written")]
    Quota {
        /// What it holds.
        bytes: u64,
        /// What it may.
        max: u64,
    },
    /// This node was shut out of the mesh: nobody would take what it writes. Nothing changed.
    #[error("this node has been revoked: nobody would take what it writes; nothing was written")]
    Revoked,
    /// The disk did not take it. Nothing is acknowledged.
    #[error("not written: {0}")]
    Disk(String),
    /// What stands there on this node's disk is damaged and no other copy has come yet.
    #[error("what stands there is damaged on this node's disk, and no copy has come yet")]
    Damaged,
    /// Too much is under way. Nothing changed.
    #[error("too much is under way here; ask again")]
    Busy,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// How a write is to be made.
#[derive(Debug, Clone, Copy)]
pub struct PutOptions {
    /// How many nodes must have it on disk before it is acknowledged; `None`: this one.
    pub want: Option<Want>,
    /// How long to wait for them.
    pub within: Duration,
    /// The second since 1970 from which on it counts no more.
    pub expires_s: Option<u64>,
}

/// A write that is durable here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its name.
    pub dot: Dot,
    /// How many copies were wanted.
    pub asked: usize,
    /// On how many distinct nodes it is known to be on disk: of a majority those among the
    /// nodes that should hold the key.
    pub replicas: usize,
}

impl Put {
    /// Whether that is what was wanted.
    pub fn is_enough(&self) -> bool {
        self.replicas >= self.asked
    }
}

/// What stands under a key.
#[derive(Debug, Clone)]
pub struct Got {
    /// All writes that no other has seen, deletions and expired ones too. Empty: the key was
    /// never written, as far as could be found.
    pub siblings: Siblings,
    /// How many nodes hold exactly these, this one included, as far as they answered.
    pub replicas: usize,
    /// Whether everybody that was asked answered.
    pub answered: bool,
    /// The same; and where nothing was found, whether that was everybody who should hold it.
    pub complete: bool,
}

/// How a batch of an import went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Written, and durable here.
    pub written: usize,
    /// The key had this very value already.
    pub unchanged: usize,
}

/// A page of the store, in the order of positions (which is no order that people know).
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// The sets of siblings.
    pub sets: Vec<Siblings>,
    /// Where what stands is damaged on this disk. It is mended from what others have.
    pub damaged: Vec<Position>,
    /// Where keys cannot be read, nor how many they are: the position before each such place.
    pub gaps: Vec<Vec<u8>>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<Position>,
}

/// Memory as it stands.
#[derive(Debug, Clone, Default)]
pub struct MemoryView {
    /// Keys held, deleted ones too.
    pub records: u64,
    /// Bytes of them on disk, without the files' overhead.
    pub bytes: u64,
    /// What it may hold.
    pub bytes_max: u64,
    /// What all of it comes to: equal on two nodes that hold the same.
    pub digest: Option<Digest>,
    /// Whether this node should hold every key of the mesh.
    pub whole: bool,
    /// Members that hold memory.
    pub members: usize,
    /// How many of them hold each key: k, or all where there are fewer.
    pub copies: usize,
    /// Nodes that can be spoken to.
    pub neighbours: usize,
    /// Of these, those that agreed at the last comparison.
    pub agree: usize,
    /// Of these, those that did not, or were not compared yet: repair debt.
    pub behind: usize,
    /// Keys whose values contradict each other, as far as the conflict log knows.
    pub conflicts: u64,
    /// Counters.
    pub counters: Vec<(&'static str, u64)>,
}

/// To the memory actor, from a handle.
#[derive(Debug)]
pub enum ToMemory {
    /// Write one key; `None` deletes.
    Put {
        /// What.
        key: Key,
        /// The value.
        value: Option<Vec<u8>>,
        /// How.
        options: PutOptions,
        /// Whether all is here that could be found under the key.
        looked: bool,
        /// The way back.
        reply: oneshot::Sender<Result<Put, MemoryError>>,
    },
    /// Write many, durable here; neighbours get them by comparing.
    Import {
        /// Keys and values, in order.
        batch: Vec<(Key, Vec<u8>)>,
        /// Whether all is here that could be found under the keys.
        looked: bool,
        /// The way back.
        reply: oneshot::Sender<Result<Imported, MemoryError>>,
    },
    /// Read one key; with a time also from others, and take what is newer there.
    Get(
        Key,
        Option<Duration>,
        oneshot::Sender<Result<Got, MemoryError>>,
    ),
    /// Read a page, from this position on.
    List(
        Option<Position>,
        usize,
        oneshot::Sender<Result<Listed, MemoryError>>,
    ),
    /// What does it look like?
    Inspect(oneshot::Sender<MemoryView>),
    /// Who belongs.
    Roster(Arc<Roster>),
    /// Something happened between nodes; the permit is held until it has been handled.
    Realm(Event, Permit),
    /// Lamport times for a job: the first of as many as were asked for, if there are any.
    Ticked(u64, Option<u64>),
    /// A step of our own writes came to its end.
    Wrote(u64, Result<Wrote, String>),
    /// Fresh records of others that are new here go to the disk now, and may go on to others.
    Arrived(NodeId, Vec<Record>),
    /// Records of others were checked, and those that are good went through the store.
    Took(Box<Given>, Bad, Result<Took, String>),
    /// Our heads were compared with a neighbour's.
    Compared(NodeId, Option<ToMove>),
    /// An answer for a question, read from the store.
    Answer(u64, Answer),
    /// What stands here, for a look of somebody.
    Held(u64, Option<(Digest, Vec<u8>)>),
    /// What stands here, for a question of our own.
    Read(u64, Result<Option<(Digest, Siblings)>, MemoryError>),
    /// What stands at these positions was found to be damaged.
    Damaged(Vec<Position>),
    /// What was damaged is gone, and this is what stands now.
    Mended(Result<Mended, String>),
    /// Time has passed.
    Tick,
}

/// Holds a place among the events that are being handled.
pub type Permit = tokio::sync::OwnedSemaphorePermit;

/// Records that somebody gave, on their way into the store.
#[derive(Debug)]
pub struct Given {
    /// Who.
    pub from: NodeId,
    /// Whether they are fresh writes, and not what a comparison or a look found.
    pub fresh: bool,
    /// The question that is answered when they are durable.
    pub ticket: Option<u64>,
    /// What waits for them here.
    pub waiting: Waiting,
    /// Held until they are through.
    pub permit: Option<Permit>,
}

/// What goes on here once records are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing.
    Nothing,
    /// The comparison with who gave them.
    Comparison,
    /// A get, by its number.
    Get(u64),
}

/// The way to a node's memory.
#[derive(Debug, Clone)]
pub struct MemoryHandle(pub(crate) ActorRef<ToMemory>);

impl MemoryHandle {
    /// Writes a key, or deletes it; back when it is durable as wanted, or the time is over:
    /// then [`Put::is_enough`] says no, and the write stays.
    pub async fn put(
        &self,
        key: Key,
        value: Option<Vec<u8>>,
        options: PutOptions,
    ) -> Result<Put, MemoryError> {
        let put = |reply| ToMemory::Put {
            key,
            value,
            options,
            looked: false,
            reply,
        };
        self.ask(put).await
    }

    /// Writes at most [`BATCH_MAX`] keys; back when they are durable here. What is there
    /// already is not written again, so an import that was cut short is simply repeated.
    pub async fn import(&self, batch: Vec<(Key, Vec<u8>)>) -> Result<Imported, MemoryError> {
        let import = |reply| ToMemory::Import {
            batch,
            looked: false,
            reply,
        };
        self.ask(import).await
    }

    /// What stands under a key; with `within` also asks the others for so long.
    pub async fn get(&self, key: Key, within: Option<Duration>) -> Result<Got, MemoryError> {
        self.ask(|reply| ToMemory::Get(key, within, reply)).await
    }

    /// A page of at most [`PAGE_MAX`] keys of this node's store, from `from` on.
    pub async fn list(&self, from: Option<Position>, limit: usize) -> Result<Listed, MemoryError> {
        self.ask(|reply| ToMemory::List(from, limit, reply)).await
    }

    /// Memory as it stands.
    pub async fn view(&self) -> Result<MemoryView, MemoryError> {
        let (reply, answer) = oneshot::channel();
        self.cast(ToMemory::Inspect(reply))?;
        answer.await.map_err(|_| MemoryError::Stopping)
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, MemoryError>>) -> ToMemory,
    ) -> Result<T, MemoryError> {
        let (reply, answer) = oneshot::channel();
        self.cast(question(reply))?;
        answer.await.unwrap_or(Err(MemoryError::Stopping))
    }

    fn cast(&self, message: ToMemory) -> Result<(), MemoryError> {
        self.0.cast(message).map_err(|_| MemoryError::Stopping)
    }
}
