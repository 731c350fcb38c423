//! What the table gives out: changes of state, and how a peer's clock and link compare.

use crate::ids::NodeId;
use crate::units::Micros;
use crate::wire::message::PeerState;

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Of whom.
    pub node: NodeId,
    /// `None` when it was not known before.
    pub from: Option<PeerState>,
    /// What it is now.
    pub to: PeerState,
    /// How long it had been silent, for a loss; how long it had been away, for a return.
    pub after: Micros,
}

/// How one peer's clock and link compare with ours: information, never a gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Our Lamport time less the newest seen of the peer; negative when it is ahead.
    pub lamport_gap: i64,
    /// Half the smallest round trip, where one was measured.
    pub latency: Option<Micros>,
    /// Whether its newest stamp is older than the membership TTL.
    pub lags: bool,
}
