//! Order: what neighbours in the tree say to each other about checkpoints, as commands that
//! must arrive.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

/// What is said, and which way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Up: the sender takes part in checkpoints. Said to each new parent, and again whenever
    /// its last durable one is another. Nothing of this goes to a child that never said it.
    Have {
        /// The epoch of the last durable one on its disk; 0 for none.
        durable: u64,
        /// The highest epoch that it knows of.
        newest: u64,
        /// Whether it can write one down: who cannot does not count among the holders.
        able: bool,
    },
    /// Down: "take your part now".
    Open {
        /// Which epoch.
        epoch: u64,
        /// The root of the one before; zeros for none.
        parent: Digest,
        /// The last durable epoch: who has an older one does not count among the holders.
        durable: u64,
        /// How long the part may take, milliseconds.
        within_ms: u32,
    },
    /// Up: a piece of the sender's part.
    Part(Chunk),
    /// Down: a piece of a checkpoint, or of the receiver's fragment of it.
    Copy(Chunk),
    /// Up: who beneath the sender has it on disk, with the sender; repeated as it grows.
    Held {
        /// Which epoch.
        epoch: u64,
        /// The checkpoint's root.
        root: Digest,
        /// A bit for each member in ascending order, the lowest of the first byte first. Empty
        /// from who has a fragment and knows no members: it speaks for itself.
        #[serde(with = "serde_bytes")]
        who: Vec<u8>,
    },
    /// Down: a certificate.
    Durable {
        /// As `certificate.rs` has it.
        #[serde(with = "serde_bytes")]
        certificate: Vec<u8>,
    },
}

/// A piece of something that is too long for one frame. Pieces come in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Which epoch it is about.
    pub epoch: u64,
    /// SHA-256 of the whole.
    pub digest: Digest,
    /// Where in the whole this begins, bytes.
    pub at: u32,
    /// How long the whole is, bytes.
    pub of: u32,
    /// The bytes, at most [`super::chunks::CHUNK_BYTES_MAX`].
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}
