//! What a node keeps on disk: the store, the journal, the home folder and the boot record.
//!
//! - [`store`]: the [`Store`] trait, its errors, and the checksum of each value.
//! - [`sled_store`]: sled behind the trait; opening damaged state never panics.
//! - [`faulty`]: the in-memory twin that loses, refuses and damages on purpose.
//! - [`Reader`]: reads from other threads while the store's thread writes.
//! - [`journal`]: our own append-only journal, durable when `append` returns.
//! - [`home`]: the folder of a node: paths, modes, lock, keys, atomic writes.
//! - [`boot`]: the counter of starts and the reserved Lamport block.
//! - [`checkpoints`]: the files of checkpoints.
//! - [`clock`]: the time of day.
//!
//! Everything here blocks. The caller gives it a thread of its own.

pub mod boot;
pub mod checkpoints;
pub mod clock;
mod crc;
pub mod faulty;
pub mod home;
pub mod journal;
mod mark;
mod reader;
mod segment;
pub mod sled_store;
pub mod store;
mod summary;
mod tally;

pub use boot::{Boot, BootError};
pub use checkpoints::Checkpoints;
pub use faulty::FaultyStore;
pub use home::{Home, HomeError};
pub use journal::{Journal, Record, Seq};
pub use reader::Reader;
pub use sled_store::SledStore;
pub use store::{Batch, Error, Page, Store, Tree, Usage};
