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

impl Summary {
    /// Counts a record in. `full` is the key with its tree, `sealed` the value with its checksum.
    pub(crate) fn add(&mut self, full: &[u8], sealed: &[u8]) {
        self.records += 1;
        self.bytes += size(full, sealed);
        self.digest = self.digest.wrapping_add(hash(full, sealed));
    }

    /// Counts out a record that was counted in.
    pub(crate) fn remove(&mut self, full: &[u8], sealed: &[u8]) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size(full, sealed));
        self.digest = self.digest.wrapping_sub(hash(full, sealed));
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

fn size(full: &[u8], sealed: &[u8]) -> u64 {
    (full.len().saturating_sub(1) + sealed.len().saturating_sub(4)) as u64
}

fn hash(full: &[u8], sealed: &[u8]) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update((full.len() as u64).to_le_bytes());
    hasher.update(full);
    hasher.update(sealed);
    hasher
        .finalize()
        .iter()
        .take(16)
        .fold(0, |n, byte| n << 8 | u128::from(*byte))
}
