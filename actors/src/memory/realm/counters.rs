//! What the thread counts: numbers that others read while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Monotonic counters of one swarm since its start; shared behind an `Arc`.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Counters {
            /// Every counter with its name, in the order of declaration.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Connections opened, in and out.
    connections_opened,
    /// Connections refused because the other side is no member.
    strangers_refused,
    /// Connections refused because there were too many.
    connections_over_limit,
    /// Inward connections that ended before the handshake did: noise, strangers of another
    /// mesh, time.
    handshakes_failed,
    /// Dials that came to nothing.
    dials_failed,
    /// Connections cut because the other side gave no sign of life.
    silent_cut,
    /// Orders not taken because the queue was full.
    orders_refused,
    /// Orders that could not be carried out: no such realm, no member, too large, too many.
    orders_invalid,
    /// Peers that found no place in the routing table: twenty of their distance are in it.
    table_full,
    /// Puts of peers handed up.
    puts_received,
    /// Puts of peers dropped because they came too fast.
    puts_over_rate,
    /// Puts and values of peers dropped because of a wrong key or size.
    values_malformed,
    /// Provider records refused.
    providers_refused,
    /// Looks of peers into what is on disk.
    gets_received,
    /// Those that found something.
    gets_found,
    /// Questions of peers handed up.
    asks_received,
    /// Questions of peers turned away because too many of theirs were with this node.
    asks_over_slots,
    /// Questions of peers that broke off: too large, cut off, or not answered in time.
    asks_broken,
    /// Answers for which nobody waited any more.
    answers_late,
    /// Bytes of questions and answers that were read, theirs and ours.
    ask_bytes_in,
    /// Bytes of questions and answers that were written.
    ask_bytes_out,
    /// Events dropped because nobody took them.
    events_dropped,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    count_many(counter, 1);
}

/// Adds so many.
pub fn count_many(counter: &AtomicU64, many: u64) {
    counter.fetch_add(many, Ordering::Relaxed);
}
