//! Carries replicated memory between nodes that can dial each other: one libp2p swarm on a
//! thread of its own, with a Kademlia for each realm the node is in (a sector's bridge, the
//! backbone; a coordinator is in two).
//!
//! It knows nothing of records: a key is 32 bytes, a value is opaque. It holds nothing
//! either: what a peer asks for is looked up in what the node has on disk, and what a peer
//! puts is handed up. Nobody but members has a connection, nobody is dialled at an address
//! that the node itself did not give, and nothing goes from one realm into the other.
//!
//! | file | is |
//! |---|---|
//! | `traffic.rs` | orders in, events out: all that the rest of the node sees |
//! | `settings.rs` | what a start needs, and the limits |
//! | `start.rs` | transport, behaviour and listener, put together |
//! | `runner.rs` | the loop of the thread; `orders.rs`, `queries.rs`, `asks.rs`, `links.rs`: its parts |
//! | `behaviour.rs` | the protocols spoken; `booked.rs` guards whom they dial, `gate.rs` the crowd at the door |
//! | `book.rs` | addresses, and when to dial again |
//! | `outbox.rs` | what happens when nobody takes the events |
//! | `codec.rs`, `ids.rs`, `store.rs` | bytes, names, the look into what is on disk |
//!
//! Only this folder names libp2p.

mod asks;
mod behaviour;
mod book;
mod booked;
mod codec;
mod counters;
mod gate;
mod ids;
mod links;
mod orders;
mod outbox;
mod queries;
mod runner;
mod settings;
mod start;
mod store;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::{self, error::TrySendError};

use counters::{Counters, count};
pub use settings::{Limits, Lookup, Settings};
pub use start::StartError;
pub use traffic::{Event, Order, Refused, Reply, Why};

/// What the libraries beneath call themselves in the log.
pub const LOGGED: [&str; 3] = ["libp2p", "yamux", "multistream_select"];

/// The thread of the swarm. Dropping it closes every connection and frees the port.
#[derive(Debug)]
pub struct Realms {
    orders: Option<mpsc::Sender<Order>>,
    address: Option<SocketAddr>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Realms {
    /// Listens where `settings` says and starts the thread. Events come out of the receiver;
    /// see [`Event`] for what is lost if nobody reads it.
    pub fn start(settings: Settings) -> Result<(Self, mpsc::Receiver<Event>), StartError> {
        let counters = Arc::new(Counters::default());
        let (orders, taken) = mpsc::channel(settings.limits.orders_max);
        let (told, events) = mpsc::channel(settings.limits.events_max);
        let (address, thread) = start::start(settings, taken, told, counters.clone())?;
        let realms = Self {
            orders: Some(orders),
            address,
            counters,
            thread: Some(thread),
        };
        Ok((realms, events))
    }

    /// Where it listens, the port as it is; none if it does not.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Hands an order over without waiting. It comes back if the queue is full (counted) or
    /// the thread has ended; nothing has happened then.
    pub fn order(&self, order: Order) -> Result<(), Refused> {
        let Some(orders) = &self.orders else {
            return Err(Refused::Stopped(Box::new(order)));
        };
        orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(order) => {
                count(&self.counters.orders_refused);
                Refused::Full(Box::new(order))
            }
            TrySendError::Closed(order) => Refused::Stopped(Box::new(order)),
        })
    }

    /// Every counter with its name, since the start.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters.snapshot()
    }
}

impl Drop for Realms {
    fn drop(&mut self) {
        // The loop ends when the last sender is gone, after the orders that are in the queue.
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; there is nobody to hand it to.
            let _ = thread.join();
        }
    }
}
