//! Trust: who belongs to a mesh, on whose word, and how a stranger comes to belong.
//!
//! A mesh is a root key (its id is the key's SHA-256) and a set of signed
//! [`item`]s: entries, revocations, delegations, snapshots, announcements. The
//! [`set`] merges by union; the [`roster`] is a pure function of the set; the
//! [`directory`] keeps it in step with neighbours. A [`token`] invites, and the
//! [`door`] of the enroller that signed it decides.
//!
//! What is absent: a majority, a server that must be asked, a wall clock that
//! orders anything. Only a token's expiry reads the time of day.

pub mod buckets;
pub mod census;
pub mod directory;
pub mod door;
pub mod events;
pub mod founding;
pub mod item;
mod neighbour;
mod pace;
pub mod pages;
pub mod roster;
pub mod set;
pub mod token;

#[cfg(test)]
mod tests;

pub use directory::Directory;
pub use door::Door;
pub use founding::{delegation, enrol, found, mesh_of, revoke};
pub use item::{Claim, Item};
pub use roster::{Member, Roster};
pub use token::Token;
