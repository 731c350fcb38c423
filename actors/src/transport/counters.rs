//! What the socket thread counts: numbers that others read while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Monotonic counters of one socket thread since its start; shared behind an `Arc`.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Counters {
            /// Every counter with its name, in the order of declaration.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), read(&self.$name)),)*]
            }
        }
    };
}

counters! {
    /// Gossip messages handed up.
    gossip_received,
    /// Link messages handed up.
    link_received,
    /// Door messages handed up.
    door_received,
    /// Gossip messages discarded because their sender's share of the lane was full.
    gossip_over_share,
    /// Gossip messages discarded because every permit was out.
    gossip_dropped,
    /// Rounds in which the link sockets were not read because every permit was out.
    link_paused,
    /// Times that some socket could not be waited for: it was looked at twice a second instead.
    unwatched,
    /// Door messages discarded because every permit was out.
    door_dropped,
    /// Door messages turned away by the rate limit: not the first of their connection.
    door_limited,
    /// Connections to the door ended by us: they said too much or stayed too long, or their
    /// room, or their place in the line before it, was needed.
    door_cut,
    /// Connections to the door that found nothing behind it: its socket was removed.
    no_door,
    /// Frames published (once for each publish, however many subscribers).
    published,
    /// Publishes discarded because the command queue was full.
    publish_dropped,
    /// Frames given to a link or to the door's client.
    sent,
    /// Frames for a key that no link and no routing id leads to.
    unroutable,
    /// Frames refused because the link's queue was full.
    link_full,
    /// Handshakes let in.
    zap_admitted,
    /// Handshakes turned away (strangers, wrong mechanism), the probe's own not included.
    zap_refused,
    /// Wrong-key probes that were turned away, as they must be.
    probe_refused,
    /// Times that something came in without an admitted key. Must stay 0.
    fail_open,
    /// Messages from a key that is no longer on the allow-list.
    not_allowed,
    /// Messages with a wrong number of parts.
    malformed,
    /// Connections to a socket of the mesh that ended without having shaken hands.
    unshaken,
    /// Times that a socket of the mesh let no further connection come, since too many had
    /// not shaken hands, or too many there were.
    gate_shut,
    /// Members that asked for too many topics: they are not let in for a while.
    topics_refused,
    /// Times that the listening sockets were rebuilt because a key was removed.
    rebuilt,
    /// Attempts to listen again that found the address still in use.
    rebind_retried,
    /// Outward connections opened anew after being down for too long.
    redialled,
    /// Outward connections that the other side's allow-list refused.
    refused_by_peer,
    /// Dial commands refused: too many links, or an endpoint that is none.
    dial_failed,
    /// Events that nobody took in time.
    events_dropped,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The present value.
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
