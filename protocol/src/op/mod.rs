//! Operations: a question or a task for many agents, and what one answer is made of theirs.
//!
//! | file | what |
//! |---|---|
//! | `quorum.rs` | what a count of three states decides |
//! | `gather.rs` | the count, until it is certain or the window closes; `part.rs`: what one source says |
//! | `answers.rs` | equal answers together, and who is not ready; `heard.rs`: those of one operation |
//! | `order.rs` | what nodes say to each other about it |
//! | `census.rs` | how many agents of which kind there are, and who of them is asked |
//! | `machine.rs` | one node's part in it: down to the agents, and up again; `running.rs`: in one of them; `kept.rs`: all of them, by when they have something to do |
//! | `carrying.rs` | a question at one node: whom it asks, and what its agents say |
//! | `around.rs` | who stands around the node, and what it has beneath it |
//! | `readings.rs` | what is known of each agent here and beneath |
//! | `kpi.rs` | what operations came to, and how long agents were there |
//! | `task.rs` | one piece of work for one agent after another, with one effect |
//! | `hosted.rs` | its own agents, and what was measured of each |
//! | `arriving.rs` | when each of them is asked, so that all are READY at T |

pub mod answers;
mod around;
mod arriving;
mod carrying;
pub mod census;
pub mod gather;
mod heard;
mod hosted;
mod kept;
pub mod kpi;
pub mod machine;
pub mod order;
mod part;
pub mod quorum;
pub mod readings;
mod running;
pub mod task;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use self::census::Select;
pub use self::machine::Operations;
pub use self::order::{OperationId, Order, Priority, Request, Verb};
pub use crate::ids::AgentName;

use self::answers::{Answers, Unready};
use self::gather::Outcome;
use self::order::QUESTION_BYTES_MAX;
use self::quorum::Tally;
use crate::arrival::reliability::Table;
use crate::ids::{Digest, Incarnation, Label, NodeId, Place};
use crate::impedance::Class;
use crate::units::Micros;

/// Operations under way at one node at once.
pub const RUNNING_MAX: usize = 64;
/// How many operations may be under way for one more of this priority to begin.
pub const fn room_on(priority: Priority) -> usize {
    RUNNING_MAX * (priority.lane() + 1) / Priority::LANES
}

/// The longest window.
pub const WINDOW_MAX: Micros = Micros::from_secs(300);

/// An agent that this node hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name here.
    pub name: Label,
    /// What kind of agent it is.
    pub class: Class,
    /// What it can do.
    pub capabilities: Vec<Label>,
    /// The hash of what its answers come from besides the question, where that is known.
    pub context: Option<Digest>,
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

/// What an agent took for a question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Took {
    /// Until it began.
    pub waited: Micros,
    /// From then on.
    pub worked: Micros,
}

/// When all are to be READY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Each as soon as it can; the window is from now on.
    Now,
    /// At T, so long from now; the window is around it.
    In(Micros),
    /// At the first T that leaves time for as many as [`gather::share_in_time`] says, no later than
    /// this.
    Auto {
        /// From now.
        limit: Micros,
    },
}

/// What is asked, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Who is asked.
    pub select: Select,
    /// What.
    pub request: Request,
    /// The whole window, and what a success is.
    pub config: gather::Config,
    /// When they are to be READY.
    pub when: When,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Time has passed. Due at [`Operations::next_deadline`].
    Tick,
    /// Who stands around this node in the tree: its parent and the run of it that was heard
    /// last, and its children that live.
    Around(Option<(NodeId, Incarnation)>, BTreeSet<NodeId>),
    /// How long a word of the parent is on its way, at least.
    Delay(Micros),
    /// Where this node stands.
    Place(Place),
    /// The agents that this node hosts.
    Agents(Vec<Agent>),
    /// Somebody asks here; the number, the asker's own, comes back with the answer.
    Begin(u64, Box<Question>),
    /// Whoever asked with this number waits no more.
    Left(u64),
    /// A neighbour in the tree said this.
    Order(NodeId, Order),
    /// An agent of this node said this, and took so long, if it worked on it.
    Answered(OperationId, Label, Said, Option<Took>),
    /// An agent of this node gave back an echo after the first span, of which it held it for the
    /// second.
    Echoed(Label, Micros, Micros),
    /// The command of an agent of this node has ended so often without an answer in between.
    Crashed(Label, u32),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
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
        request: Arc<Request>,
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
    /// To whoever asked: so many more answered after that, and what all who did have said.
    Late(u64, u32, Answers),
}

/// Why an operation was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no agent that could be asked.
    #[error("no agent beneath this node can be asked that")]
    Nobody,
    /// Too many are under way for the lane.
    #[error("{} operations are under way, and priority {} has room for no more", room_on(*.0), .0.lane())]
    Busy(Priority),
    /// Nobody can arrive then.
    #[error("all are to be ready in {} ms: 10 ms at the soonest, and 300 s at the latest with half the window", .0.as_millis())]
    BadTime(Micros),
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
    /// How near to T they were; where there was no T, to what was expected of each.
    pub arrivals: Box<Table>,
}
