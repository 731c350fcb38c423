//! Siblings: what stands under one key, the writes that no other one there has seen.
//!
//! Merging keeps a write unless another names it as seen, so concurrent writes stay beside
//! each other until somebody who has seen them writes again. Of writers that keep the rule
//! of [`crate::causality::version`] merging is associative, commutative and idempotent:
//! replicas that were given the same writes, in any order, hold the same set.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::causality::version::{Dot, Version};
use crate::ids::Digest;
use crate::memory::record::{BadRecord, Record};
use crate::wire::codec;

/// Most siblings of one key. One more is refused, not put in another's place: it stays
/// where it was written, and is taken as soon as somebody resolves the conflict.
pub const SIBLINGS_MAX: usize = 16;
/// Most bytes of all siblings of one key: what one value of the store and one packet hold.
pub const SET_BYTES_MAX: usize = 60 * 1024;

/// The writes under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Siblings(BTreeMap<Dot, Record>);

/// What a write did to the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// It is in; these went out, since it had seen them.
    New(Vec<Record>),
    /// It was there.
    Known,
    /// Another one that is there had seen it.
    Obsolete,
    /// There is no room beside those that are there. Nothing changed.
    Full,
}

impl Siblings {
    /// Takes a write of the same key. Of two that an author signed under one name the one
    /// with the smaller digest stays, so that all replicas agree.
    pub fn merge(&mut self, record: Record) -> Merged {
        if let Some(held) = self.0.get(record.dot()) {
            match record.digest().cmp(held.digest()) {
                Ordering::Equal => return Merged::Known,
                Ordering::Greater => return Merged::Obsolete,
                Ordering::Less => {}
            }
        }
        if self.0.values().any(|held| held.covers(&record)) {
            return Merged::Obsolete;
        }
        let stays = |held: &&Record| !record.covers(held) && held.dot() != record.dot();
        let (many, bytes) = self
            .0
            .values()
            .filter(stays)
            .fold((1, record.bytes().len()), |(many, bytes), held| {
                (many + 1, bytes + held.bytes().len())
            });
        if many > SIBLINGS_MAX || bytes > SET_BYTES_MAX {
            return Merged::Full;
        }
        let goes = |_: &Dot, held: &mut Record| !stays(&&*held);
        let gone = self.0.extract_if(.., goes).map(|(_, held)| held).collect();
        self.0.insert(*record.dot(), record);
        Merged::New(gone)
    }

    /// Everything that is seen here: what the next write here may say it has seen.
    pub fn seen(&self) -> Version {
        let mut seen = Version::default();
        for record in self.0.values() {
            seen.join(&record.write().seen);
            seen.see(*record.dot());
        }
        seen
    }

    /// Whether nothing more is gained by a write of this name.
    pub fn has_seen(&self, dot: &Dot) -> bool {
        self.0.contains_key(dot) || self.0.values().any(|held| held.write().seen.covers(dot))
    }

    /// The writes, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.0.values()
    }

    /// The values at this second since 1970, each once: of writes that say the same, as when one
    /// file is imported at two nodes, the one that counts longest.
    pub fn values(&self, now_s: u64) -> impl Iterator<Item = &Record> {
        let all = move || self.0.values().filter(move |it| it.is_value(now_s));
        all().filter(move |it| !all().any(|other| stands_for(other, it)))
    }

    /// How many writes stand here.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// SHA-256 over the digests of the writes in order; all zero when there are none.
    pub fn digest(&self) -> Digest {
        if self.0.is_empty() {
            return Digest([0; 32]);
        }
        let mut hash = Sha256::new();
        for record in self.0.values() {
            hash.update(record.digest().0);
        }
        Digest(hash.finalize().into())
    }

    /// As the store keeps it: MessagePack, an array of the records' bytes.
    pub fn encode(&self) -> Vec<u8> {
        let records: Vec<_> = self
            .0
            .values()
            .map(|it| serde_bytes::Bytes::new(it.bytes()))
            .collect();
        codec::encode(&records)
    }

    /// From the own store.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let records: Vec<serde_bytes::ByteBuf> = codec::decode(bytes)?;
        let mut set = BTreeMap::new();
        for bytes in records {
            let record = Record::read(&bytes)?;
            set.insert(*record.dot(), record);
        }
        Ok(Self(set))
    }
}

/// Whether `one` says what `other` says, and counts longer, or as long and is named before it.
fn stands_for(one: &Record, other: &Record) -> bool {
    let until = |it: &Record| it.write().expires_s.unwrap_or(u64::MAX);
    let rank = |it: &Record| (std::cmp::Reverse(until(it)), *it.dot());
    one.write().value == other.write().value && rank(one) < rank(other)
}

#[cfg(test)]
pub(crate) mod tests;
