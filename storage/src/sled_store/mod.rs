//! sled 0.34.7 behind the [`Store`] trait; none of its panics escapes from here.
//!
//! All trees share one sled tree (a byte of prefix each), so that a batch over
//! several of them is one atomic sled batch.

mod known;
mod open;
mod salvage;
mod shared;
mod store;
mod sync;
mod walk;

#[cfg(test)]
mod tests;

pub use open::{Opened, Recovery, open};
pub use store::{DAMAGED_LISTED_MAX, FREE_BYTES_MIN, SledStore};
