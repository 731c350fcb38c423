//! What goes between a node and its socket thread: commands down, messages and events up, and
//! the bounded lanes that they come up on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::keys::Key;

/// Events that may wait to be taken; more are dropped and counted.
const EVENTS_MAX: usize = 256;
/// Messages of a lane between the socket and the end of their processing.
const GOSSIP_PERMITS: usize = 1024;
/// As many of them as one sender may have: a lead's hundred children say ten things a second.
pub(super) const GOSSIP_SHARE: usize = GOSSIP_PERMITS / 4;
const LINK_PERMITS: usize = 1024;
const DOOR_PERMITS: usize = 64;

/// An order to the socket thread.
#[derive(Debug, Clone)]
pub enum Command {
    /// To every subscriber, those that dialled us and those that we dialled. May be lost.
    Publish { topic: Vec<u8>, frame: Arc<[u8]> },
    /// To one peer: over the link dialled to it, else over the link it dialled to us. Not
    /// acknowledged; without a way the frame is counted as `unroutable`.
    SendTo { to: Key, frame: Arc<[u8]> },
    /// Opens, or opens anew, the link to `key`: its ROUTER and, where given, its PUB (to hear
    /// it) and its SUB (to be heard).
    Dial {
        key: Key,
        router: String,
        publisher: Option<String>,
        subscriber: Option<String>,
    },
    /// Closes the link to `key`.
    Hangup { key: Key },
    /// Listens to a sibling's PUB.
    DialSibling { key: Key, publishers: Vec<String> },
    /// Stops listening to a sibling.
    HangupSibling { key: Key },
    /// Replaces the topic prefixes taken from parents and children (`sub`) and from siblings
    /// (`sib`). None at first.
    Subscribe {
        sub: Vec<Vec<u8>>,
        sib: Vec<Vec<u8>>,
    },
    /// Replaces the allow-list. A removed key's connections end: links to it are closed, and
    /// if it was let in, the listening sockets are rebuilt (members come back by themselves).
    Allow(Arc<BTreeSet<Key>>),
    /// Asks at another node's door; the answer is [`Event::DoorAnswer`] with this ticket.
    AskDoor {
        ticket: u64,
        key: Key,
        endpoint: String,
        frame: Arc<[u8]>,
        within: Duration,
    },
    /// Answers a message that came through our door.
    AnswerDoor { to: DoorReply, frame: Arc<[u8]> },
    /// Closes every socket and ends the thread.
    Shutdown,
}

/// The way back to whoever spoke at the door. Good until that connection closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorReply(pub(crate) Vec<u8>);

/// The way a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// PUB/SUB: may be lost.
    Gossip,
    /// ROUTER/DEALER.
    Link,
    /// From anybody.
    Door,
}

/// One message from outside. Keep it until it is processed: it holds a permit of its lane.
#[derive(Debug)]
pub struct Incoming {
    pub lane: Lane,
    /// The CURVE key that the handshake proved.
    pub peer: Key,
    /// On the gossip lane.
    pub topic: Option<Vec<u8>>,
    pub bytes: Vec<u8>,
    /// On the door lane.
    pub reply: Option<DoorReply>,
    /// When it came to its socket, as nearly as is known: what waits behind other work is no
    /// younger for it.
    pub at: Instant,
    pub(super) _permit: OwnedSemaphorePermit,
    /// On the gossip lane: the place in its sender's share.
    pub(super) _share: Option<OwnedSemaphorePermit>,
}

impl Incoming {
    /// Just read, without a topic or a way back.
    pub(super) fn now(lane: Lane, peer: Key, bytes: Vec<u8>, permit: OwnedSemaphorePermit) -> Self {
        Self {
            lane,
            peer,
            topic: None,
            bytes,
            reply: None,
            at: Instant::now(),
            _permit: permit,
            _share: None,
        }
    }
}

/// What happened at the sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The ROUTER link to a dialled key.
    Link { key: Key, state: LinkState },
    DoorAnswer {
        ticket: u64,
        result: Result<Vec<u8>, DoorError>,
    },
    /// Two processes speak to our ROUTER with one key, by turns.
    Twins { key: Key },
    /// Somebody was let in without an admitted key. Every socket is closed; the process must
    /// stop.
    FailOpen,
}

/// State of an outward link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    Up,
    /// It is being tried again.
    Down,
    /// Our key is not on the other side's allow-list. Tried again after `redial_after`.
    Refused,
}

/// Why a door gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    #[error("the door gave no answer in time: check its address and key, or ask another")]
    Timeout,
    #[error("too many questions are waiting at doors: ask again later")]
    Busy,
    #[error("the door's address is not of the form tcp://host:port")]
    Endpoint,
}

/// The lanes as the thread holds them; the receiving ends are [`Upward`].
#[derive(Debug)]
pub(super) struct Lanes {
    pub gossip: LaneSender,
    pub link: LaneSender,
    pub door: LaneSender,
    pub events: mpsc::Sender<Event>,
}

/// One lane: the channel has no bound of its own, since each message in it holds a permit.
#[derive(Debug)]
pub(super) struct LaneSender {
    pub permits: Arc<Semaphore>,
    pub sender: mpsc::UnboundedSender<Incoming>,
}

/// Where messages and events come out.
#[derive(Debug)]
pub struct Upward {
    pub gossip: mpsc::UnboundedReceiver<Incoming>,
    pub link: mpsc::UnboundedReceiver<Incoming>,
    pub door: mpsc::UnboundedReceiver<Incoming>,
    pub events: mpsc::Receiver<Event>,
}

fn lane(permits: usize) -> (LaneSender, mpsc::UnboundedReceiver<Incoming>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let permits = Arc::new(Semaphore::new(permits));
    (LaneSender { permits, sender }, receiver)
}

/// All lanes, and their receiving ends.
pub(super) fn lanes() -> (Lanes, Upward) {
    let (gossip, gossip_up) = lane(GOSSIP_PERMITS);
    let (link, link_up) = lane(LINK_PERMITS);
    let (door, door_up) = lane(DOOR_PERMITS);
    let (events, events_up) = mpsc::channel(EVENTS_MAX);
    let lanes = Lanes {
        gossip,
        link,
        door,
        events,
    };
    let upward = Upward {
        gossip: gossip_up,
        link: link_up,
        door: door_up,
        events: events_up,
    };
    (lanes, upward)
}
