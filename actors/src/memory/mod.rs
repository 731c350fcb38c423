//! Memory: owns the replication machine, and what of the store is memory.
//!
//! | file | what it is |
//! |---|---|
//! | `ingress.rs` | what can be asked of it: a typed [`MemoryHandle`] |
//! | `actor.rs` | the shell around the machine |
//! | `performing.rs` | the machine's outputs, done in their order |
//! | `between.rs` | what comes from other nodes, through the checks and the store |
//! | `own.rs` | writes that are made here, and those who wait for their copies |
//! | `asking.rs` | gets, and what others said of a key |
//! | `mending.rs` | what is done about damage that is found while the node runs |
//! | `neighbours.rs` | who is dialled, and in which realm |
//! | `writing.rs` | the steps on the store's thread: sign, merge, make durable |
//! | `reading.rs` | what is read from the store, away from the runtime |
//! | `realm/` | libp2p: who is connected, and the bytes between them |

pub mod actor;
mod asking;
mod between;
pub mod ingress;
mod mending;
mod neighbours;
mod own;
mod performing;
pub mod reading;
pub mod realm;
pub mod writing;

use std::sync::Arc;

use chorus_protocol::memory::key::KeyId;
use chorus_protocol::memory::placement::K;
use chorus_storage::Reader;

pub use ingress::{
    Got, Imported, Listed, MemoryError, MemoryHandle, MemoryView, Put, PutOptions, ToMemory,
};
pub use neighbours::realms;

/// What Kademlia gives to those who ask this node for a key.
pub fn lookup(reader: Reader) -> realm::Lookup {
    Arc::new(move |key| {
        let found = reading::set_bytes(&reader, &KeyId(*key).position());
        found.map(|(_, set)| set)
    })
}

/// How a node keeps records.
#[derive(Debug, Clone, Copy)]
pub struct MemoryPlan {
    /// How many nodes hold each.
    pub copies: usize,
    /// Most bytes of them in this node's store.
    pub bytes_max: u64,
}

impl Default for MemoryPlan {
    /// Kademlia's k; a GiB is what the smallest card of a Pi spares.
    fn default() -> Self {
        Self {
            copies: K,
            bytes_max: 1024 * 1024 * 1024,
        }
    }
}
