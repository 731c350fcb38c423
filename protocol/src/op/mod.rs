//! Operations: a question or a task for many agents, and what one answer is made of theirs.
//!
//! | file | what |
//! |---|---|
//! | `quorum.rs` | what a count of three states decides |
//! | `gather.rs` | the count, until it is certain or the window closes |
//! | `answers.rs` | equal answers together, and who is not ready |
//! | `order.rs` | what nodes say to each other about it |
//! | `machine.rs` | one node's part in it: down to the agents, and up again; `running.rs`: in one of them |

pub mod answers;
pub mod gather;
pub mod machine;
pub mod order;
pub mod quorum;
mod running;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use machine::Operations;
pub use order::{AgentName, OperationId, Order, Select};

use self::answers::{Answers, Unready};
use self::gather::Outcome;
use self::order::QUESTION_BYTES_MAX;
use self::quorum::Tally;
use crate::ids::{Incarnation, Label, NodeId};
use crate::units::Micros;

/// Operations under way at one node at once.
pub const RUNNING_MAX: usize = 64;
/// The longest window.
pub const WINDOW_MAX: Micros = Micros::from_secs(300);

/// An agent that this node hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name here.
    pub name: Label,
    /// What it can do.
    pub capabilities: Vec<Label>,
}

/// What an agent said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It is ready, and this is its answer, at most [`answers::ANSWER_BYTES_MAX`].
    Ready(Vec<u8>),
    /// It contradicts, because of this.
    Conflict(String),
    /// It will not answer, because of this.
    Lost(String),
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed. Due at [`Operations::next_deadline`].
    Tick,
    /// Who stands around this node in the tree: its parent and the run of it that was heard
    /// last, and its children that live.
    Around(Option<(NodeId, Incarnation)>, BTreeSet<NodeId>),
    /// The agents that this node hosts.
    Agents(Vec<Agent>),
    /// Somebody asks here; the ticket comes back with the answer.
    Begin {
        /// The asker's own number.
        ticket: u64,
        /// Who is asked.
        select: Select,
        /// What is asked.
        question: Vec<u8>,
        /// For how long, and what a success is.
        config: gather::Config,
    },
    /// A neighbour in the tree said this.
    Order(NodeId, Order),
    /// An agent of this node said this.
    Answered(OperationId, Label, Said),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// To a neighbour in the tree.
    Send(NodeId, Order),
    /// An agent of this node is asked, and has so long to answer in time.
    Run {
        /// Which operation.
        operation: OperationId,
        /// Which agent.
        agent: Label,
        /// What.
        question: Arc<[u8]>,
        /// How much of the window is left.
        within: Micros,
    },
    /// To whoever asked: so many agents are asked.
    Began(u64, OperationId, u64),
    /// To whoever asked: it was not begun.
    Refused(u64, Refusal),
    /// To whoever asked: how far it is.
    Progress(u64, Tally),
    /// To whoever asked: how it ended.
    Done(u64, Box<Report>),
    /// To whoever asked: so many more answered after that.
    Late(u64, u32),
}

/// Why an operation was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no agent that could be asked.
    #[error("no agent beneath this node can be asked that")]
    Nobody,
    /// Too many are under way.
    #[error("{RUNNING_MAX} operations are under way already")]
    Busy,
    /// The question is too long.
    #[error("a question has at most {QUESTION_BYTES_MAX} bytes, this one has {0}")]
    TooLarge(usize),
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which it was.
    pub operation: OperationId,
    /// How it ended.
    pub outcome: Outcome,
    /// What was said.
    pub answers: Answers,
    /// Who is not ready, as far as they are known by name.
    pub unready: Unready,
}
