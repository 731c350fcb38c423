//! Message: the one enum of everything that nodes say to each other.

use serde::{Deserialize, Serialize};

use crate::ids::{CurveKey, Digest, Incarnation, Label, NodeId, Place, Role, Stamp};
use crate::memory::checkpoint::Order;
use crate::op;
use crate::phase::field::Sum;
use crate::wire::topic::Topic;

/// Most entries of one [`PeerNews`]: they fit a gossip frame with room to spare.
pub const PEER_NEWS_MAX: usize = 32;

/// Which sockets a message may come over. It is part of what is signed, so a
/// frame taken from one channel is forged on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// PUB/SUB: may be lost, at most 4 KiB.
    Gossip,
    /// ROUTER/DEALER between members, at most 60 KiB.
    Link,
    /// The ROUTER that strangers may speak to.
    Door,
}

impl Channel {
    /// The byte that is signed.
    pub const fn byte(self) -> u8 {
        match self {
            Channel::Gossip => 0,
            Channel::Link => 1,
            Channel::Door => 2,
        }
    }
}

/// Everything that is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    // Gossip, `phase/S/C`
    /// One node's phase.
    Phase(PhaseNews),
    // Gossip, `sum…`
    /// A parent's part of the field, for its parent and for its children.
    Sums(SumNews),
    // Gossip, `hb`
    /// A sign of life, with what tells two nodes that their rosters differ.
    Heartbeat(Heartbeat),
    /// What the sender knows of other nodes.
    Peers(PeerNews),
    /// "Are you there?", to one node, perhaps on behalf of another.
    Probe(Probe),
    /// "Would you ask them for me?"
    ProbeRequest(ProbeRequest),
    /// "I am" or "I have just heard them".
    Alive(Alive),

    // Link
    /// Asks for an [`Message::Echoed`]; measures the round trip.
    Echo(Echo),
    /// The answer, with how long it was held.
    Echoed(Echoed),
    /// "Which is the highest stamp you saw from me?" (a node that lost its boot counter)
    StampAsk,
    /// The answer; `None` when nothing was seen.
    StampTold(StampTold),
    /// A command that must arrive.
    Deliver(Deliver),
    /// How far commands have arrived.
    Delivered(Delivered),

    // Door
    /// A stranger with a token asks to belong.
    Enrol(Enrol),
    /// The roster items that make it a member.
    Welcome(Items),
    /// A member shows items to a parent that may not have heard of it.
    Introduce(Items),
    /// The items make the link's key a member's.
    Introduced,
    /// Asked for something that is not given.
    Refused(Refused),
}

/// One node's phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseNews {
    /// Where the node stands; must be the topic's.
    pub place: Place,
    /// Phase at the time of sending, radians in [0, 2π).
    pub theta: f64,
    /// Natural frequency, rad/s.
    pub omega: f64,
    /// How old the phase was when it was sent, microseconds.
    pub age_us: u32,
}

/// A parent's part of the field.
///
/// `own` is the sum over its subtree, for its parent; `above` are the sums of
/// the wider scopes that it has heard from *its* parent, for its children.
/// Scopes in one message nest; they are never added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SumNews {
    /// The sum over the sender's own subtree.
    pub own: Sum,
    /// Sums of wider scopes, widest last.
    pub above: Vec<Sum>,
    /// On which tier the sender's chain of parents ends: its own if it has none. Those who
    /// choose a parent prefer the one whose chain ends higher.
    pub top: Role,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// How many items the sender's directory holds.
    pub items: u32,
    /// The digest of the directory.
    pub digest: Digest,
    /// The parent it is attached to, if any.
    pub parent: Option<NodeId>,
    /// How late its own ticks were at worst since the last heartbeat,
    /// microseconds: a node that is starved says so.
    pub late_us: u32,
}

/// What the sender knows of other nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerNews {
    /// At most [`PEER_NEWS_MAX`] nodes.
    pub peers: Vec<PeerEntry>,
}

/// A node as another one sees it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PeerEntry {
    /// Whom it is about.
    pub node: NodeId,
    /// The newest stamp of that node that was seen.
    pub stamp: Stamp,
    /// Whether it lives.
    pub state: PeerState,
    /// Its phase, radians, when the stamp was seen, if that is known.
    pub theta: Option<f64>,
    /// How long ago the stamp was seen, milliseconds, over all hops so far.
    pub age_ms: u32,
}

/// Whether a node lives, as its parent (the node that detects its loss) says.
/// The order matters: of two words with one stamp the worse is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Heard lately.
    Live,
    /// Silent, being probed.
    Suspect,
    /// Silent through all probes. Its next authentic frame undoes this.
    Evicted,
}

impl PeerState {
    /// The word for it, in logs and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            PeerState::Live => "live",
            PeerState::Suspect => "suspect",
            PeerState::Evicted => "evicted",
        }
    }
}

/// "Are you there?"
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Who should answer.
    pub target: NodeId,
    /// Repeated in the answer.
    pub nonce: u64,
}

/// "Would you ask them for me?"
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// Whom to ask.
    pub target: NodeId,
    /// Who should ask.
    pub via: Vec<NodeId>,
    /// Repeated in the answer.
    pub nonce: u64,
}

/// The answer to a probe, first hand or passed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alive {
    /// Who lives.
    pub node: NodeId,
    /// Its stamp when it answered; `None` when it answers itself, because then
    /// it is the frame's own.
    pub stamp: Option<Stamp>,
    /// The probe's.
    pub nonce: u64,
}

/// Asks for an echo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Echo {
    /// The asker's clock, which only the asker reads.
    pub sent_us: u64,
}

/// An echo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Echoed {
    /// The asker's own number.
    pub sent_us: u64,
    /// How long the echo was held before it was answered, microseconds.
    pub hold_us: u64,
}

/// The highest stamp seen from the asker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StampTold {
    /// `None` when nothing was seen.
    pub stamp: Option<Stamp>,
}

/// A command on its way.
///
/// A session is one incarnation of the sender towards one of the receiver (the
/// frame's audience). Sequence numbers start at 1 in each session and have no
/// gaps; ids stay with the command over sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deliver {
    /// Position in the session.
    pub seq: u64,
    /// The command's own id, unique in the sender's incarnation.
    pub id: u64,
    /// What to do.
    pub command: Command,
    /// How long it had waited when it was sent, in whole milliseconds: what it says of times is
    /// older by that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub age_ms: u32,
}

fn is_zero(age_ms: &u32) -> bool {
    *age_ms == 0
}

/// Everything up to `seq` has arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivered {
    /// The sender's incarnation whose session this is about.
    pub session: Incarnation,
    /// The last sequence number that arrived without a gap before it.
    pub seq: u64,
}

/// What must arrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// "Be my parent."
    Attach,
    /// "You are my child now", or not.
    Attached {
        /// False when the parent is full or may not have this child.
        accepted: bool,
    },
    /// "You are my parent no longer."
    Detach,
    /// "Send what I lack": the digest of each bucket of the asker's directory.
    Pull {
        /// [`crate::trust::directory::BUCKETS`] digests of 8 bytes each.
        #[serde(with = "serde_bytes")]
        buckets: Vec<u8>,
    },
    /// Directory items.
    Page(Items),
    /// About checkpoints of the phase vector.
    Checkpoint(Order),
    /// About an operation: a question to agents, and what they said.
    Operation(op::Order),
}

/// Signed items of the directory, each as `trust::item` encodes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Items {
    /// The items.
    pub items: Vec<serde_bytes::ByteBuf>,
}

/// A stranger with a token asks to belong. The frame is signed with the very
/// key that asks, which proves that the stranger holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrol {
    /// The token's bytes (what follows `chorus1.`, decoded).
    #[serde(with = "serde_bytes")]
    pub token: Vec<u8>,
    /// The link key that the stranger made.
    pub curve: CurveKey,
    /// The name it would like, where the token leaves that open.
    pub name: Option<Label>,
}

/// A refusal at the door.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// A word for programs: `token_used`, `token_expired`, `wrong_mesh`, …
    pub code: String,
    /// A sentence for people.
    pub reason: String,
}

impl Message {
    /// The channel it belongs on.
    pub const fn channel(&self) -> Channel {
        use Message::*;
        match self {
            Phase(_) | Sums(_) | Heartbeat(_) | Peers(_) | Probe(_) | ProbeRequest(_)
            | Alive(_) => Channel::Gossip,
            Echo(_) | Echoed(_) | StampAsk | StampTold(_) | Deliver(_) | Delivered(_) => {
                Channel::Link
            }
            Enrol(_) | Welcome(_) | Introduce(_) | Introduced | Refused(_) => Channel::Door,
        }
    }

    /// Whether it may stand on this topic.
    pub fn belongs_on(&self, topic: &Topic) -> bool {
        match (self, topic) {
            (Message::Phase(news), Topic::Phase(place)) => news.place == *place,
            (Message::Sums(news), Topic::ClusterSum(s, c)) => {
                news.own.scope.sector == Some(*s) && news.own.scope.cluster == Some(*c)
            }
            (Message::Sums(news), Topic::SectorSum(s)) => {
                news.own.scope.sector == Some(*s) && news.own.scope.cluster.is_none()
            }
            (Message::Sums(news), Topic::MeshSum) => news.own.scope.sector.is_none(),
            (
                Message::Heartbeat(_)
                | Message::Peers(_)
                | Message::Probe(_)
                | Message::ProbeRequest(_)
                | Message::Alive(_),
                Topic::Heartbeat,
            ) => true,
            _ => false,
        }
    }

    /// A word for logs and counters.
    pub const fn name(&self) -> &'static str {
        use Message::*;
        match self {
            Phase(_) => "phase",
            Sums(_) => "sums",
            Heartbeat(_) => "heartbeat",
            Peers(_) => "peers",
            Probe(_) => "probe",
            ProbeRequest(_) => "probe_request",
            Alive(_) => "alive",
            Echo(_) => "echo",
            Echoed(_) => "echoed",
            StampAsk => "stamp_ask",
            StampTold(_) => "stamp_told",
            Deliver(_) => "deliver",
            Delivered(_) => "delivered",
            Enrol(_) => "enrol",
            Welcome(_) => "welcome",
            Introduce(_) => "introduce",
            Introduced => "introduced",
            Refused(_) => "refused",
        }
    }
}
