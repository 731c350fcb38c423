//! Plan: everything that a node needs to run, and why it does not start.

use std::net::IpAddr;

use chorus_protocol::gossip;
use chorus_protocol::ids::NodeId;
use chorus_protocol::memory::checkpoint;
use chorus_protocol::wire::Identity;
use chorus_storage::boot;
use chorus_storage::home::{Home, HomeError};

use crate::memory::MemoryPlan;
use crate::memory::realm;
use crate::transport::sockets::{self, CurveKeys, Ports};
use crate::worker::AgentPlan;

/// Everything that a node needs to run.
#[derive(Debug)]
pub struct Plan {
    /// Its home; [`crate::Node::start`] locks it.
    pub home: Home,
    /// Its signing key.
    pub identity: Identity,
    /// Its link keys.
    pub curve: CurveKeys,
    /// The mesh's root public key.
    pub root: NodeId,
    /// The mesh's root secret key, where it is kept in this home.
    pub root_key: Option<Identity>,
    /// Address to listen on.
    pub host: IpAddr,
    /// Ports to listen on; 0 is any.
    pub ports: Ports,
    /// Host names or addresses under which others reach it; empty: outward only.
    pub advertise: Vec<String>,
    /// How to gossip.
    pub gossip: gossip::Config,
    /// How to keep records.
    pub memory: MemoryPlan,
    /// How to make checkpoints.
    pub checkpoints: checkpoint::Config,
    /// The agents that it hosts.
    pub agents: Vec<AgentPlan>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The home could not be locked or read.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The count of starts is gone.
    #[error("{0}")]
    Boot(#[from] boot::BootError),
    /// The store or the journal cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] chorus_storage::Error),
    /// The roster does not name this node.
    #[error("the roster does not name this node; join the mesh with a token first")]
    NotAMember,
    /// This node has been revoked.
    #[error("this node has been revoked; join with new keys, in a new home")]
    Revoked,
    /// The link key of the roster is another.
    #[error("the roster names another link key; restore identity/curve.key or join again")]
    OtherLinkKey,
    /// The sockets did not start.
    #[error(transparent)]
    Sockets(#[from] sockets::Error),
    /// What carries memory did not start.
    #[error(transparent)]
    Memory(#[from] realm::StartError),
    /// A thread or an actor did not start.
    #[error("could not start {0}: look at the limits on threads and memory, then start it again")]
    Spawn(String),
}
