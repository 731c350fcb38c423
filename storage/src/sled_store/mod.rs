//! sled 0.34.7 behind the [`Store`] trait; none of its panics escapes from here.
//!
//! All trees share one sled tree (a byte of prefix each), so that a batch over
//! several of them is one atomic sled batch.

mod open;
mod salvage;
mod store;
mod sync;

pub use open::{Opened, Recovery, open};
pub use store::{FREE_BYTES_MIN, SledStore};
