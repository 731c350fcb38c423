//! The ractor shells of a Chorus node: one actor for each owner of state or of a device.
//!
//! | file | owns |
//! |---|---|
//! | `transport/actor.rs` | the node's keys, its Lamport clock, its links |
//! | `transport/zmq_thread.rs` | every ZeroMQ socket, on a thread of its own |
//! | `gossip.rs` | the gossip machine: phase, peers, the tree |
//! | `checkpoints.rs` | checkpoints of the phase vector |
//! | `directory.rs` | who belongs; `door.rs`: how a stranger comes to; `durable.rs`: what waits for the disk |
//! | `operations.rs` | questions to agents under way; `worker/`: one hosted agent each |
//! | `conflicts.rs` | the conflict log, on a thread of its own |
//! | `memory/` | records: the replication machine, and libp2p on a thread of its own |
//! | `store.rs` | sled, the journal and the boot record, on a thread of its own |
//! | `node.rs` | the start and the end of all of them |
//! | `snapshot.rs` | what the node looks like, for people |
//! | `recall.rs` | the question to the peers when the count of starts is lost |
//! | `restore.rs` | what the disk gives back at the start |
//! | `uses.rs` | the journal in which uses of tokens are counted |
//! | `supervisor.rs` | the watch over the actors, the clock, the carrier from the sockets |

pub mod checkpoints;
pub mod conflicts;
pub mod directory;
mod door;
mod durable;
pub mod gossip;
mod measures;
pub mod memory;
pub mod messages;
pub mod node;
pub mod operations;
mod plan;
pub mod recall;
mod restore;
mod snapshot;
pub mod store;
mod supervisor;
mod throttle;
pub mod transport;
pub mod uses;
pub mod worker;

pub use memory::MemoryPlan;
pub use node::{Node, Plan, StartError};
pub use restore::items;
pub use snapshot::Snapshot;
pub use supervisor::Fatal;
