//! Wire: what goes between nodes, byte for byte. `protocol/WIRE.md` says the same for strangers.

pub mod codec;
pub mod envelope;
pub mod identity;
pub mod message;
pub mod topic;

pub use envelope::{Audience, Refusal, Signer, Verified, open, seal};
pub use identity::Identity;
pub use message::{Channel, Message};
pub use topic::Topic;
