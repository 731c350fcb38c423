//! What the actors of one node say to each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use chorus_protocol::gossip;
use chorus_protocol::ids::{CurveKey, Digest, Incarnation, Label, NodeId};
use chorus_protocol::memory::checkpoint::{self, Around, Coded, Cut, Name, Order, Refusal, What};
use chorus_protocol::op;
use chorus_protocol::op::census::Census;
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::{Command, Enrol, Items, Message};
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, oneshot};

use crate::memory::ToMemory;
use crate::operations::{Look, OperationsView};
use crate::transport::sockets::{DoorReply, Event, Incoming};
use crate::worker::human::Inbox;

/// The actors of one node, by what they own. They know each other in a circle,
/// so each place is filled as its actor starts; a message to one that has not
/// started, or has stopped, is an error that ends the sender.
#[derive(Debug, Default)]
pub struct Ring {
    /// Links.
    pub transport: OnceLock<ActorRef<ToTransport>>,
    /// Phase and peers.
    pub gossip: OnceLock<ActorRef<ToGossip>>,
    /// Who belongs.
    pub directory: OnceLock<ActorRef<ToDirectory>>,
    /// Records.
    pub memory: OnceLock<ActorRef<ToMemory>>,
    /// Checkpoints of the phase vector.
    pub checkpoints: OnceLock<ActorRef<ToCheckpoints>>,
    /// Operations, and the agents of this node.
    pub operations: OnceLock<ActorRef<ToOperations>>,
    /// What agents of this node said, until the operations look at it: of each question that
    /// one was given one thing.
    said: Mutex<Vec<op::Input>>,
    /// The Lamport time, as the transport last said it.
    lamport: AtomicU64,
}

impl Ring {
    /// The Lamport time here, some messages old at most.
    pub fn lamport(&self) -> u64 {
        self.lamport.load(Ordering::Relaxed)
    }
    /// The Lamport time is this now. Whoever has the clock says so.
    pub(crate) fn set_lamport(&self, time: u64) {
        self.lamport.store(time, Ordering::Relaxed);
    }
    /// To the transport.
    pub fn transport(&self, message: ToTransport) -> Result<(), ActorProcessingErr> {
        cast(&self.transport, message)
    }
    /// To gossip.
    pub fn gossip(&self, message: ToGossip) -> Result<(), ActorProcessingErr> {
        cast(&self.gossip, message)
    }
    /// To the directory.
    pub fn directory(&self, message: ToDirectory) -> Result<(), ActorProcessingErr> {
        cast(&self.directory, message)
    }
    /// To memory.
    pub fn memory(&self, message: ToMemory) -> Result<(), ActorProcessingErr> {
        cast(&self.memory, message)
    }
    /// To the operations.
    pub fn operations(&self, message: ToOperations) -> Result<(), ActorProcessingErr> {
        cast(&self.operations, message)
    }
    /// To the operations, from an agent of this node. What comes together is one message.
    pub fn said(&self, said: op::Input) -> Result<(), ActorProcessingErr> {
        let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(said);
        match all.len() {
            1 => self.operations(ToOperations::Said),
            _ => Ok(()),
        }
    }
    /// What agents of this node said since the last time.
    pub fn take_said(&self) -> Vec<op::Input> {
        std::mem::take(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
    /// To the checkpoints.
    pub fn checkpoints(&self, message: ToCheckpoints) -> Result<(), ActorProcessingErr> {
        cast(&self.checkpoints, message)
    }
}

fn cast<M: ractor::Message>(
    to: &OnceLock<ActorRef<M>>,
    message: M,
) -> Result<(), ActorProcessingErr> {
    let actor = to.get().ok_or("an actor was spoken to before it started")?;
    Ok(actor.cast(message)?)
}

/// To the transport actor.
#[derive(Debug)]
pub enum ToTransport {
    /// Frames came in on one lane, in this order.
    Incoming(Vec<Incoming>),
    /// Something happened at the sockets.
    Socket(Event),
    /// What the gossip machine wants done.
    Perform(Vec<gossip::Output>),
    /// Deliver a command for certain.
    Deliver(NodeId, Command),
    /// The pull that this node sent has been answered, by the commands before this.
    Answered(NodeId),
    /// The roster is another; these items introduce us at a door.
    Roster(Arc<Roster>, Items),
    /// Answer at our door.
    AnswerDoor(DoorReply, NodeId, Message),
    /// So many Lamport times in a row for a job of memory's.
    TickFor(u64, usize),
    /// Memory met this Lamport time.
    Observe(u64),
    /// Lamport times up to this one are durable, or are not.
    Reserved(Result<u64, String>),
    /// What time is it, for the phases of this epoch?
    Cut(u64),
    /// Time has passed.
    Tick,
    /// An acknowledgement that could wait is due.
    Acknowledge,
    /// What does it look like?
    Inspect(oneshot::Sender<TransportView>),
}

/// The transport as it stands.
#[derive(Debug, Clone)]
pub struct TransportView {
    /// The own run.
    pub incarnation: Incarnation,
    /// The own Lamport time.
    pub lamport: u64,
    /// Frames refused, by reason.
    pub refusals: Vec<(&'static str, u64)>,
    /// Other counters.
    pub counters: Vec<(&'static str, u64)>,
    /// Nodes with whose keys two processes run.
    pub twins: Vec<NodeId>,
    /// A run of this node later than this one, if one was told of: its home is an older copy.
    pub later_run: Option<Incarnation>,
    /// Nodes that do not acknowledge what they are sent, and how often it was sent in vain.
    pub unheard: Vec<(NodeId, u32)>,
}

/// To the gossip actor.
// Frames come many at a time; of the inputs there are a few a second, each not worth a box.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum ToGossip {
    /// Something happened.
    Input(gossip::Input),
    /// This came from outside, in this order.
    Arrived(Vec<Arrived>),
    /// The phases of this epoch, at this Lamport time.
    Cut(u64, u64),
    /// What does it look like, at this Lamport time?
    Inspect(u64, oneshot::Sender<(gossip::View, Vec<gossip::PeerView>)>),
    /// Write down what should survive a restart; answer when it is durable.
    Save(oneshot::Sender<()>),
}

/// To the checkpoints' actor.
#[derive(Debug)]
pub enum ToCheckpoints {
    /// A neighbour in the tree said this.
    Order(NodeId, Order),
    /// Others stand around this node.
    Around(Around),
    /// The phases of an epoch.
    Cut(u64, Cut),
    /// Another roster, and the directory's digest.
    Roster(Arc<Roster>, Digest),
    /// A file is on disk, or why not.
    Persisted(Name, What, Result<(), String>),
    /// A checkpoint is cut into fragments.
    Coded(Name, Result<Coded, Refusal>),
    /// Time has passed.
    Tick,
    /// What does it look like?
    Inspect(oneshot::Sender<checkpoint::View>),
}

/// To the operations' actor.
#[derive(Debug)]
pub enum ToOperations {
    /// A neighbour in the tree said this.
    Order(NodeId, op::Order),
    /// Others stand around this node.
    Around(Around),
    /// How long a word of the parent is on its way, at least.
    Delay(Micros),
    /// Agents of this node said something: [`Ring::take_said`].
    Said,
    /// Time to send each agent an echo.
    Echo,
    /// An agent of this node gave back the echo that was sent then; what answers for it has
    /// ended so often without an answer in between.
    Echoed(Label, Instant, u32),
    /// Somebody asks, and is told there.
    Begin(Box<op::Question>, mpsc::Sender<op::Output>),
    /// Looks at what is known of agents.
    Read(Look),
    /// Time has passed.
    Tick,
    /// What does it look like?
    Inspect(oneshot::Sender<OperationsView>),
    /// The node stops: keep what was measured, and say when that is done.
    Save(oneshot::Sender<()>),
    /// What agents are there?
    Census(oneshot::Sender<Census>),
    /// What waits for people?
    Inbox(oneshot::Sender<Inbox>),
}

/// What came from outside for gossip: a frame, with the permit that is held until it has
/// been handled; or a command that a frame brought.
pub type Arrived = (gossip::Input, Option<Incoming>);

/// To the directory actor.
#[derive(Debug)]
pub enum ToDirectory {
    /// A neighbour's heartbeat told of another digest.
    Compare(NodeId, u32, Digest),
    /// A command of the directory's kind arrived.
    Command(NodeId, Command),
    /// Items made on this node.
    Own(Vec<Vec<u8>>),
    /// A stranger with a token stands at the door.
    Enrol {
        /// The key that signed.
        key: NodeId,
        /// The key that the link's handshake proved.
        link: CurveKey,
        /// The question.
        enrol: Enrol,
        /// The way back.
        reply: DoorReply,
    },
    /// A member introduces itself or another at the door.
    Introduce {
        /// The key that signed.
        key: NodeId,
        /// The key that the link's handshake proved.
        link: CurveKey,
        /// The items.
        items: Items,
        /// The way back.
        reply: DoorReply,
    },
    /// The writes are durable: go on with the rest, or say why not.
    Durable(u64, Result<(), String>),
    /// Time has passed.
    Tick,
    /// What does it look like?
    Inspect(oneshot::Sender<DirectoryView>),
}

/// The directory as it stands.
#[derive(Debug, Clone)]
pub struct DirectoryView {
    /// Who belongs.
    pub roster: Arc<Roster>,
    /// How many items.
    pub items: u32,
    /// Their digest.
    pub digest: Digest,
    /// Items and pulls that were not taken.
    pub rejected: u64,
    /// Announcements that came too soon after others of their issuer.
    pub held: u64,
    /// Writes under way, and those that the disk did not take and that are tried again.
    pub unwritten: u64,
    /// Of these, those that the disk has refused at least once.
    pub refused: u64,
    /// Such writes that were given up for newer ones; a restart asks for them again.
    pub dropped: u64,
    /// The neighbours whose items are waited for.
    pub waiting_on: Vec<NodeId>,
}

impl DirectoryView {
    /// What it counts, by name.
    pub fn counters(&self) -> [(&'static str, u64); 6] {
        [
            ("announcements_held", self.held),
            ("items_rejected", self.rejected),
            ("items_unwritten", self.unwritten),
            ("items_refused", self.refused),
            ("items_dropped", self.dropped),
            ("items_waited_for", self.waiting_on.len() as u64),
        ]
    }
}
