//! Gossip: what one node says and hears ten times a second. It joins causality
//! (who said it when), membership (who lives, who is whose parent) and phase
//! (the field) into one machine.
//!
//! | file | what |
//! |---|---|
//! | `machine.rs` | the machine: its ticks, and what it says on them |
//! | `hearing.rs` | what a frame, a command or a change of the directory does to it |
//! | `telling.rs` | whose word counts about whom |
//! | `tree.rs` | looking for a parent, and keeping to the best that lives |
//! | `bounds.rs` | for how many others a node may speak |
//! | `cut.rs` | what a checkpoint takes of it |
//! | `field.rs` | the parts of the field that were heard, and their sums |
//! | `watch.rs` | detecting loss: probes, direct and over others |
//! | `view.rs` | what it all looks like now, for people |
//!
//! Invariants: what a peer says of itself is applied only if its stamp is newer
//! than the cached one, and for no other reason refused; what is said of others
//! counts from those on the way to them alone, and never as their stamp; freshness is judged by the local
//! monotonic clock; a step of the oscillator is taken on a tick, never on a
//! frame; no input makes it wait.

mod bounds;
mod cut;
mod field;
mod hearing;
mod machine;
mod telling;
mod tree;
mod view;
mod watch;

pub use machine::Gossip;
pub use view::{PeerView, View};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::{Digest, Incarnation, NodeId};
use crate::membership::detector;
use crate::membership::peers::Change;
use crate::phase::{gate, kuramoto};
use crate::trust::roster::Roster;
use crate::units::Micros;
use crate::wire::Verified;
use crate::wire::message::{Command, Message};
use crate::wire::topic::Topic;

/// How a node gossips. Every node of a mesh should use the same values.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Between two frames of phase. Default 100 ms (mathematics §1).
    pub period: Micros,
    /// A phase or a sum not renewed for this long leaves the field. Default 1 s:
    /// ten periods.
    pub phase_ttl: Micros,
    /// Between two heartbeats. Default 5 s (seed 5.1).
    pub heartbeat: Micros,
    /// Between two rounds of peer exchange. Default 1 s.
    pub news: Micros,
    /// A node of whom nothing is heard for this long is evicted where no
    /// detector watches it. Default 30 s (seed 5.1).
    pub membership_ttl: Micros,
    /// How long a candidate may take to answer before the next is tried.
    /// Default 2 s: the slowest reconnection of a link.
    pub patience: Micros,
    /// Between two tries to get back to a better parent. Default 5 s.
    pub retry_better: Micros,
    /// When silence counts.
    pub detector: detector::Config,
    /// The oscillator.
    pub phase: kuramoto::Config,
    /// The weight of a part going stale.
    pub gate: gate::Config,
}

impl Default for Config {
    fn default() -> Self {
        let (period, phase_ttl) = (Micros::from_millis(100), Micros::from_secs(1));
        Self {
            period,
            phase_ttl,
            heartbeat: Micros::from_secs(5),
            news: Micros::from_secs(1),
            membership_ttl: Micros::from_secs(30),
            patience: Micros::from_secs(2),
            retry_better: Micros::from_secs(5),
            detector: detector::Config::default(),
            phase: kuramoto::Config::default(),
            gate: gate::Config {
                gossip_period: period,
                ttl: phase_ttl,
            },
        }
    }
}

/// The directory as gossip needs it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Who belongs.
    pub roster: Arc<Roster>,
    /// How many items the directory holds.
    pub items: u32,
    /// Its digest.
    pub digest: Digest,
}

/// What happens to the machine.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed. Due at [`Gossip::next_deadline`].
    Tick,
    /// A verified gossip or link frame, first hand from its signer.
    Heard(Verified),
    /// A command that arrived in order.
    Command(NodeId, Command),
    /// The directory has changed.
    Directory(Known),
    /// A node that was to be dialled has no known address.
    Unreachable(NodeId),
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Publish to everybody who listens.
    Publish(Topic, Message),
    /// Send over the link to one node; it may be lost.
    Send(NodeId, Message),
    /// Deliver to one node for certain.
    Deliver(NodeId, Command),
    /// Open a link to a possible parent.
    Dial(NodeId),
    /// Close it.
    Hangup(NodeId),
    /// Listen to exactly these siblings.
    Siblings(BTreeSet<NodeId>),
    /// Subscribe to these topics of children and parent, and to these of siblings.
    Subscribe {
        /// Prefixes wanted of children and parents.
        tree: Vec<Vec<u8>>,
        /// Prefixes wanted of siblings.
        siblings: Vec<Vec<u8>>,
    },
    /// Tell the directory what a neighbour's holds.
    Compare(NodeId, u32, Digest),
    /// For people and their logs.
    Event(Event),
}

/// What an operator may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A node's state changed as seen from here.
    Peer(Change),
    /// A node runs in a new incarnation; gates should remember it over restarts.
    Incarnation(NodeId, Incarnation),
    /// The node has a parent now.
    Attached(NodeId),
    /// It has lost it, and why.
    Detached(NodeId, &'static str),
    /// No parent can be reached; siblings gossip directly meanwhile. Of these possible
    /// ones no address is known.
    Orphan(Vec<NodeId>),
    /// Own ticks came late by this much: the machine was asleep or starved.
    Late(Micros),
    /// One more child than a node may have.
    Crowded(NodeId),
}

/// What was done with the frames that were heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// State applied.
    pub applied: u64,
    /// State not newer than what was applied before: late, repeated or replayed.
    pub stale: u64,
    /// Frames that made no sense here: a phase from no child, a sum of no use.
    pub unwanted: u64,
    /// Values out of range (a sum larger than its weight, an absurd frequency).
    pub absurd: u64,
    /// Words about a third node from one that does not stand on the way to it, newer
    /// than what is known here and of another state.
    pub not_its_to_tell: u64,
    /// Sums, possible in themselves, from a node that can have nobody beneath it.
    pub not_its_to_sum: u64,
    /// Sums over more nodes than the roster knows where their sender stands.
    pub beyond_roster: u64,
    /// Parts of the field that left it by the TTL.
    pub expired: u64,
}
