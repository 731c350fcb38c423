//! Order: what neighbours in the tree say to each other about operations, as commands that must
//! arrive.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::answers::{Answers, Unready};
use super::census::{Census, Select};
use super::gather::Part;
use crate::arrival::reliability::Table;
use crate::ids::{AgentName, Digest, Incarnation, NodeId};
use crate::impedance::{Reading, Weight};

/// Most bytes of a question.
pub const QUESTION_BYTES_MAX: usize = 32 * 1024;
/// An operation: who began it, in which run, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationId {
    /// The node that began it.
    pub origin: NodeId,
    /// The run of that node.
    pub run: Incarnation,
    /// Its number in that run, from 1 on.
    pub number: u64,
}

/// What the sender of a request is after (MESH-30K, 2.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Look, and say what is there.
    #[default]
    Observe,
    /// Make sense of it.
    Orient,
    /// Choose.
    Decide,
    /// Do it.
    Act,
    /// Write it down.
    Record,
    /// Come to the same state.
    Sync,
}

/// 0, background, to 3, critical. A flood of one lane leaves room for those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

/// A priority that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("priority {0} is not 0, background, to 3, critical")]
pub struct BadPriority(pub u8);

impl Priority {
    /// The lanes, from the lowest.
    pub const LANES: usize = 4;
    /// The highest.
    pub const CRITICAL: Priority = Priority(3);

    /// Which lane it is, from 0.
    pub const fn lane(self) -> usize {
        self.0 as usize
    }
}

impl Default for Priority {
    fn default() -> Self {
        Priority(2)
    }
}

impl TryFrom<u8> for Priority {
    type Error = BadPriority;
    fn try_from(lane: u8) -> Result<Self, BadPriority> {
        match lane <= Self::CRITICAL.0 {
            true => Ok(Self(lane)),
            false => Err(BadPriority(lane)),
        }
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> u8 {
        priority.0
    }
}

/// What agents are asked (MESH-30K, 2.4; its id is the operation's).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The operation that this one belongs to: the first of a chain; `None`: itself.
    pub correlation: Option<OperationId>,
    /// The operation that brought it about.
    pub causation: Option<OperationId>,
    /// What is wanted.
    pub verb: Verb,
    /// Which lane it goes on.
    pub priority: Priority,
    /// How much it is to process.
    pub weight: Weight,
    /// SHA-256 of the question, checked where it is put to an agent.
    pub hash: Digest,
    /// The question, at most [`QUESTION_BYTES_MAX`].
    #[serde(with = "serde_bytes")]
    pub question: Vec<u8>,
}

impl Request {
    /// A question of the standard weight on the usual lane.
    pub fn new(question: Vec<u8>) -> Self {
        Self {
            correlation: None,
            causation: None,
            verb: Verb::default(),
            priority: Priority::default(),
            weight: Weight::default(),
            hash: Digest(Sha256::digest(&question).into()),
            question,
        }
    }

    /// Whether it says what its sender said.
    pub fn is_whole(&self) -> bool {
        self.hash.0 == <[u8; 32]>::from(Sha256::digest(&self.question))
    }
}

/// A request on its way down, and for how long it is good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Which operation it is.
    pub operation: OperationId,
    /// Who is asked.
    pub select: Select,
    /// How much of the window is left when this is sent, microseconds.
    pub left_us: u64,
    /// How long it is from then to T, when all are to be READY; `None`: as soon as they are.
    pub arrive_us: Option<u64>,
    /// What they are asked.
    pub request: Request,
}

/// How far the agents beneath the sender, and its own, are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Which operation.
    pub operation: OperationId,
    /// How many agents it is about.
    pub expected: u32,
    /// What they have said.
    pub part: Part,
    /// Their answers.
    pub answers: Answers,
    /// Who of them is not ready.
    pub unready: Unready,
    /// How near to T they were; `None`: nothing was measured.
    pub arrivals: Option<Box<Table>>,
}

impl Said {
    /// That none of so many agents will answer.
    pub(super) fn lost(operation: OperationId, expected: u32) -> Self {
        let lost = expected;
        Self {
            operation,
            expected,
            part: Part {
                lost,
                ..Part::default()
            },
            answers: Answers::default(),
            unready: Unready {
                named: Vec::new(),
                more: lost,
            },
            arrivals: None,
        }
    }
}

/// What is said, and which way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Up: how many agents there are at the sender and beneath it. Said to each new parent, and
    /// again when it changes.
    Have(Census),
    /// Up: what is known of agents there that the parent has not been told, at most 64.
    Readings(Vec<(AgentName, Reading)>),
    /// Down: "ask them".
    Ask(Box<Ask>),
    /// Up: how far they are. The whole of it each time; it only grows.
    Said(Said),
}
