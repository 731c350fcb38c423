//! What a start needs, and the limits with where they come from.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::ids::{Label, MeshId};

/// Gives the value that is durable under a key. It is called on the swarm's thread, once for
/// each question of a peer, and holds up everything else there: one read, no more.
pub type Lookup = Arc<dyn Fn(&[u8; 32]) -> Option<Vec<u8>> + Send + Sync>;

/// What a start needs.
#[derive(Clone)]
pub struct Settings {
    /// The node's Ed25519 seed: its libp2p key is its own key.
    pub seed: [u8; 32],
    pub mesh: MeshId,
    /// The realms the node is in: one, or two.
    pub realms: Vec<Label>,
    /// Where others dial this node; port 0 lets the system choose. None: nobody does, and it
    /// holds nothing for others.
    pub listen: Option<SocketAddr>,
    pub lookup: Lookup,
    pub limits: Limits,
}

impl fmt::Debug for Settings {
    /// Without the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("mesh", &self.mesh)
            .field("realms", &self.realms)
            .field("listen", &self.listen)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What is taken at most. The defaults are for a realm of some hundred nodes on a small board.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Orders that wait for the thread.
    pub orders_max: usize,
    /// Events that wait for the node; with values of [`VALUE_BYTES_MAX`] 32 MiB at worst.
    pub events_max: usize,
    /// Connections in all. A peer has one, or two where both sides dialled at once.
    pub connections_max: u32,
    /// Handshakes of one address that are under way at once, of [`HANDSHAKES_MAX`] in all: a
    /// stranger on one machine leaves room for members on others.
    pub handshakes_per_address: usize,
    /// Puts that one peer may send in a second, saved up for one second at most: what one
    /// agent can write that waits for each write's copies. The peer hears nothing of those that
    /// are dropped (counted), which come by the next comparison, seconds later.
    pub puts_per_second: u32,
    /// Longest question and longest answer, bytes.
    pub ask_bytes_max: usize,
    /// How long an ask may take, and how long an asker is waited for.
    pub ask_timeout: Duration,
    /// Questions of one peer that are with this node at once.
    pub asks_per_peer: usize,
    /// A connection without a sign of life for this long is cut. A sign is asked for four
    /// times in it.
    pub silence_max: Duration,
    /// Orders of each kind (put, get, ask) that are under way at once.
    pub under_way_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            orders_max: 1024,
            events_max: 256,
            connections_max: 512,
            handshakes_per_address: 48,
            puts_per_second: 500,
            ask_bytes_max: 1024 * 1024,
            ask_timeout: Duration::from_secs(10),
            asks_per_peer: 8,
            silence_max: Duration::from_secs(16),
            under_way_max: 256,
        }
    }
}

/// Largest value, bytes: a packet carries it with its key and, in an answer, with the
/// addresses of twenty peers.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;
/// Largest Kademlia packet, bytes.
pub(super) const PACKET_BYTES_MAX: usize = 160 * 1024;
/// A put or a get ends after this at the latest, with what has come by then.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// TCP, Noise and Yamux together. Three round trips and two signatures on a small board.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes of others that are under way at once.
pub const HANDSHAKES_MAX: u32 = 128;
/// Dials of our own that are under way at once.
pub(super) const DIALS_MAX: u32 = 64;
/// Connections of one peer: one from each side when both dial at once.
pub(super) const CONNECTIONS_PER_PEER: u32 = 2;
/// Streams of one connection. Each may cost a window of 256 KiB that is not read yet.
pub(super) const STREAMS_MAX: usize = 256;
/// The kernel gives a connection up, too, when what was sent is not confirmed for this long:
/// a cut first sends what waits, and that may wait for ever.
pub(super) const UNCONFIRMED_MAX: Duration = Duration::from_secs(20);
