//! Buckets: the digests by which two directories find where they differ.
//!
//! An item's bucket is the first byte of its digest. A bucket's digest is
//! SHA-256 over its items' digests in order; the directory's is SHA-256 over
//! the 256 bucket digests. So one changed item costs one bucket, not all items.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::ids::Digest;
use crate::trust::set::Set;

/// How many buckets a directory has.
pub const BUCKETS: usize = 256;
/// How many bytes of a bucket's digest a pull carries.
pub const BUCKET_BYTES: usize = 8;

/// The digests of a set of items.
#[derive(Debug, Clone)]
pub struct Buckets {
    each: Vec<Digest>,
    all: Digest,
}

impl Buckets {
    /// Of a whole set.
    pub fn of(set: &Set) -> Self {
        let each: Vec<Digest> = (0..=u8::MAX).map(|bucket| digest(set, bucket)).collect();
        let all = over(&each);
        Self { each, all }
    }

    /// Brings the digests up to date after these items came or went.
    pub fn refresh<'d>(&mut self, set: &Set, changed: impl Iterator<Item = &'d Digest>) {
        let dirty: BTreeSet<u8> = changed.map(|item| item.0[0]).collect();
        for bucket in dirty {
            self.each[bucket as usize] = digest(set, bucket);
        }
        self.all = over(&self.each);
    }

    /// The directory's digest.
    pub fn all(&self) -> &Digest {
        &self.all
    }

    /// The body of a pull: [`BUCKETS`] times [`BUCKET_BYTES`] bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.each
            .iter()
            .flat_map(|digest| &digest.0[..BUCKET_BYTES])
            .copied()
            .collect()
    }

    /// The buckets in which a pull's sender differs; `None` when it is no pull's body.
    pub fn differing(&self, theirs: &[u8]) -> Option<Vec<u8>> {
        if theirs.len() != BUCKETS * BUCKET_BYTES {
            return None;
        }
        let pairs = (0..=u8::MAX).zip(self.each.iter().zip(theirs.chunks_exact(BUCKET_BYTES)));
        let differ = pairs.filter(|(_, (ours, theirs))| ours.0[..BUCKET_BYTES] != **theirs);
        Some(differ.map(|(bucket, _)| bucket).collect())
    }
}

fn digest(set: &Set, bucket: u8) -> Digest {
    let mut hash = Sha256::new();
    for item in set.bucket(bucket) {
        hash.update(item.digest().0);
    }
    Digest(hash.finalize().into())
}

fn over(digests: &[Digest]) -> Digest {
    let mut hash = Sha256::new();
    for digest in digests {
        hash.update(digest.0);
    }
    Digest(hash.finalize().into())
}
