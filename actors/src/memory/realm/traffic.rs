//! What goes in and out of the thread: orders and events.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use chorus_protocol::ids::{Label, NodeId};
use libp2p::request_response::InboundRequestId;

/// What the thread is to do. An `id` is the caller's own and comes back in the events.
#[derive(Debug)]
pub enum Order {
    /// Who may have a connection, in full. Who is no longer named is cut off and forgotten,
    /// its addresses with it. Until the first of these nobody is let in.
    Members(BTreeSet<NodeId>),
    /// `node` is in `realm` and listens at `addrs`, which replace those it had. It is dialled
    /// when something is to be sent to it, or when Kademlia looks around because somebody is
    /// new; a connection that is lost is not made again for this alone. Only members: refused
    /// (counted) otherwise. To say it again costs nothing.
    Peer {
        realm: Label,
        node: NodeId,
        addrs: Vec<SocketAddr>,
    },
    /// `node` is no longer in `realm`. When it is in none, its addresses are forgotten and it
    /// is not dialled again; a connection that stands is left alone.
    Forget { realm: Label, node: NodeId },
    /// Keep a connection to `node`: dial it now, and again whenever there is none. Only
    /// members: refused (counted) otherwise.
    Dial {
        node: NodeId,
        addrs: Vec<SocketAddr>,
    },
    /// Send a value to these nodes. Ends with [`Event::PutDone`], always.
    Put {
        id: u64,
        realm: Label,
        key: [u8; 32],
        value: Vec<u8>,
        to: Vec<NodeId>,
    },
    /// Look for what peers of `realm` have under `key` until `want` of them have answered
    /// with a value or nobody is left to ask. What this node has itself is not among it.
    /// Ends with [`Event::GetDone`], always.
    Get {
        id: u64,
        realm: Label,
        key: [u8; 32],
        want: usize,
    },
    /// Ask one node. Ends with [`Event::Answered`], always.
    Ask { id: u64, to: NodeId, bytes: Vec<u8> },
    /// Answer what was [`Event::Asked`]. Too late, it is dropped and counted.
    Answer { reply: Reply, bytes: Vec<u8> },
    /// Close everything and end the thread.
    Stop,
}

/// What has come to pass. When nobody takes them, at most as many as the channel holds wait
/// there, and after that:
/// - `Put` and `Asked` are dropped and counted, the asker hears that there is no room; a
///   `Got` is dropped when those that wait have grown too large. All of these are sent or
///   asked for again by whoever misses them.
/// - the others are kept: they are bounded by the orders under way and the connections.
#[derive(Debug)]
pub enum Event {
    /// The first connection to this node stands.
    Connected(NodeId),
    /// The last one is gone.
    Disconnected(NodeId),
    /// A peer sends a value. It is stored nowhere; `from` has had its receipt already.
    Put {
        from: NodeId,
        realm: Label,
        key: [u8; 32],
        value: Vec<u8>,
    },
    /// A put is over. `reached` had the bytes in their process and no more: Kademlia answers
    /// before anything is judged, kept, or on a disk. Durable is only what the other side
    /// says it is, in an answer.
    PutDone {
        id: u64,
        reached: Vec<NodeId>,
        failed: Vec<NodeId>,
    },
    /// One peer's value for a get.
    Got {
        id: u64,
        from: NodeId,
        value: Vec<u8>,
    },
    /// A get is over.
    GetDone { id: u64 },
    /// A peer asks. [`Order::Answer`] within ten seconds, or it hears nothing.
    Asked {
        from: NodeId,
        bytes: Vec<u8>,
        reply: Reply,
    },
    /// An ask is over.
    Answered {
        id: u64,
        from: NodeId,
        result: Result<Vec<u8>, Why>,
    },
}

/// Which question an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reply(pub(super) InboundRequestId);

/// Why an ask has no answer. Whether the other side acted on it is unknown unless it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not sent.
    #[error("no connection, and none could be made")]
    Unreachable,
    /// Perhaps acted on.
    #[error("no answer in time")]
    Timeout,
    /// Perhaps acted on.
    #[error("the connection broke, or the other side refused the bytes")]
    Broken,
    /// Not acted on; later it may be taken.
    #[error("the other side has no room for another question")]
    Busy,
    /// Not sent: too many questions are under way from here.
    #[error("too many questions are under way")]
    TooMany,
    /// Not sent.
    #[error("the question is too large")]
    TooLarge,
    /// Not sent.
    #[error("the other node is no member")]
    NoMember,
}

/// An order that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Try again later.
    #[error("the queue of orders is full: try again")]
    Full(Box<Order>),
    /// Start anew.
    #[error("the thread of the realms has ended")]
    Stopped(Box<Order>),
}
