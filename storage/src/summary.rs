//! What the store should hold: counts and a digest of all records, kept beside them.
//!
//! sled can lose a single page to a flipped bit and open without a word. The
//! summary changes in the same atomic batch as the records, so at any point of a
//! crash the two agree, and a record that went missing or back shows.

use sha2::{Digest, Sha256};

/// Counts, and the sum (modulo 2^128) of each record's hash: it can be kept up
/// to date one record at a time, in any order. It finds damage, not forgery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) records: u64,
    /// Of keys and values as the caller sees them.
    pub(crate) bytes: u64,
    digest: u128,
}

/// What the summary counts of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    // As bytes, which take less room in a table.
    hash: [u8; 16],
    /// Of key and value as the caller sees them.
    pub(crate) bytes: u32,
}

impl Held {
    /// `full` is the key with its tree, `sealed` the value with its checksum.
    pub(crate) fn of(full: &[u8], sealed: &[u8]) -> Self {
        let bytes = full.len().saturating_sub(1) + sealed.len().saturating_sub(4);
        let hash = hash(&[&(full.len() as u64).to_le_bytes(), full, sealed]);
        Self {
            hash: hash.to_be_bytes(),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        }
    }
}

impl Summary {
    /// Counts a record in.
    pub(crate) fn add(&mut self, held: &Held) {
        self.records += 1;
        self.bytes += u64::from(held.bytes);
        self.digest = self.digest.wrapping_add(u128::from_be_bytes(held.hash));
    }

    /// Counts out a record that was counted in.
    pub(crate) fn remove(&mut self, held: &Held) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(held.bytes));
        self.digest = self.digest.wrapping_sub(u128::from_be_bytes(held.hash));
    }

    /// With the number of the last flush, as it is stored.
    pub(crate) fn encode(&self, generation: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        out.extend(generation.to_le_bytes());
        out.extend(self.records.to_le_bytes());
        out.extend(self.bytes.to_le_bytes());
        out.extend(self.digest.to_le_bytes());
        out
    }

    /// What [`Summary::encode`] wrote.
    pub(crate) fn decode(stored: &[u8]) -> Option<(u64, Self)> {
        let (generation, rest) = stored.split_first_chunk()?;
        let (records, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_first_chunk()?;
        let summary = Self {
            records: u64::from_le_bytes(*records),
            bytes: u64::from_le_bytes(*bytes),
            digest: u128::from_le_bytes(rest.try_into().ok()?),
        };
        Some((u64::from_le_bytes(*generation), summary))
    }
}

/// The first half of the SHA-256 of `parts` read as one string of bytes.
pub(crate) fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher
        .finalize()
        .iter()
        .take(16)
        .fold(0, |n, byte| n << 8 | u128::from(*byte))
}
