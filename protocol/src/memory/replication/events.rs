//! Events: what happens to the machine, and what is to be done.

use std::collections::BTreeSet;

use super::{Found, Reached, Want};
use crate::causality::version::Dot;
use crate::ids::{Digest, NodeId};
use crate::memory::key::Position;
use crate::memory::parcel::{Answer, Question};
use crate::memory::record::Record;
use crate::units::Micros;

/// Something happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Who holds memory, and which of these carry it from realm to realm.
    Members {
        /// All that hold.
        nodes: BTreeSet<NodeId>,
        /// Those that hold everything.
        carriers: BTreeSet<NodeId>,
    },
    /// A neighbour can be spoken to.
    Connected(NodeId),
    /// It cannot any more.
    Disconnected(NodeId),
    /// A fresh write of somebody else is new here and on its way to the disk. Its writer has it
    /// on another, so passing it on waits for neither.
    Arrived {
        /// Who gave it.
        from: NodeId,
        /// The write.
        record: Record,
    },
    /// A write went through the store: it, or what made it obsolete, is durable here.
    Merged {
        /// Who gave it; `None` when it was made here.
        from: Option<NodeId>,
        /// Whether it is fresh, and not one that a comparison found.
        fresh: bool,
        /// The write.
        record: Record,
        /// The digest of the siblings before and after, where that changed.
        change: Option<Change>,
    },
    /// Siblings that stand here since before the start, or do not any more.
    Stands(Position, Change),
    /// Count the copies of a write that is being made here.
    Count {
        /// The caller's number.
        put: u64,
        /// The write.
        dot: Dot,
        /// Where its key stands.
        at: Position,
        /// How many are wanted.
        want: Want,
        /// When to give up.
        until: Micros,
    },
    /// Ask everybody who may have it what stands at a position.
    Look {
        /// The caller's number.
        look: u64,
        /// Where.
        at: Position,
        /// The digest of what stands here.
        has: Digest,
        /// When to give up.
        until: Micros,
    },
    /// A neighbour asks; `ticket` is the way back.
    Asked {
        /// Who.
        from: NodeId,
        /// What.
        question: Question,
        /// The way back.
        ticket: u64,
    },
    /// The answer to [`Output::Ask`]; `None` when there was none.
    Answered {
        /// Who was asked.
        from: NodeId,
        /// The number of the question.
        ask: u64,
        /// The answer.
        answer: Option<Answer>,
    },
    /// Our heads of the leaves of [`Output::Compare`] have been read: this differs.
    Compared {
        /// The neighbour.
        with: NodeId,
        /// What was sent to it and asked of it, records and keys.
        moved: usize,
        /// Whether nothing differed. Nothing moved is not enough to know that: a question may
        /// have been lost, or a disk be full.
        alike: bool,
    },
    /// What stands here for [`Output::Holds`].
    Holds {
        /// The number of the look.
        look: u64,
        /// The digest of the siblings here, and their bytes where it is another than asked.
        found: Option<(Digest, Vec<u8>)>,
    },
    /// Time has passed.
    Tick,
}

/// The digest of the siblings at one position before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Before; `None` when none stood there.
    pub was: Option<Digest>,
    /// After.
    pub is: Option<Digest>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Give a fresh write to these neighbours.
    Spread(Vec<NodeId>, Record),
    /// Ask, and bring the answer as [`Input::Answered`].
    Ask {
        /// Whom.
        to: NodeId,
        /// Number of the question.
        ask: u64,
        /// What.
        question: Question,
    },
    /// Answer a question.
    Reply(u64, Answer),
    /// Answer with the heads of these leaves, from the store.
    ReplyHeads(u64, Vec<u16>),
    /// Answer with what stands at these positions, from the store.
    ReplyRecords(u64, Vec<Position>),
    /// Merge records that a neighbour gave, then answer with [`Answer::Taken`].
    Merge {
        /// Who gave them.
        from: NodeId,
        /// The records' bytes.
        records: Vec<Vec<u8>>,
        /// The way back, if an answer is owed.
        ticket: Option<u64>,
    },
    /// Read our heads of these leaves, compare, fetch and push; then [`Input::Compared`].
    Compare(NodeId, Vec<(u16, Vec<u8>)>),
    /// The same with what stands here but should not: only that is fetched of which
    /// something stands here too ([`Difference::keep`]).
    ///
    /// [`Difference::keep`]: crate::memory::parcel::Difference::keep
    Offer(NodeId, Vec<(u16, Vec<u8>)>),
    /// Say what stands at a position, as [`Input::Holds`].
    Holds {
        /// Number of the look.
        look: u64,
        /// Where.
        at: Position,
        /// What the asker has.
        has: Digest,
        /// Or the write that is asked for alone: whoever has seen it has the same.
        dot: Option<Dot>,
    },
    /// A count came to its end.
    Reached(Reached),
    /// A look came to its end.
    Found(Found),
}
