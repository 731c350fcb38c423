//! Writing: the steps on the store's thread. Each reads what stands under its keys, merges,
//! and gives back a batch; what it came to is told once that is durable.
//!
//! A set of siblings lies in the store under its position, with its digest before it, so
//! that comparing stores needs no hashing.

use std::collections::BTreeMap;
use std::sync::Arc;

use chorus_protocol::causality::version::{Dot, Replica};
use chorus_protocol::conflict;
use chorus_protocol::ids::{Digest, MeshId};
use chorus_protocol::memory::key::{Key, Position};
use chorus_protocol::memory::record::{BadRecord, Record, VALUE_BYTES_MAX, Write};
use chorus_protocol::memory::replication::Change;
use chorus_protocol::memory::siblings::{Merged, Siblings};
use chorus_protocol::wire::Identity;
use chorus_storage::store::{Batch, Error, Store, Tree};

use super::MemoryError;

/// Bytes of one batch, so that it stays within the store's limit with one set more.
const BATCH_BYTES: usize = 512 * 1024;

/// What a key costs beside its records: position, digest, and how many there are.
const SET_MARKS: usize = 32 + 32 + 3;
/// What a record costs beside its bytes: how many they are.
const RECORD_MARK: usize = 3;

/// Who writes, and how much may be held.
#[derive(Debug, Clone)]
pub struct Writer {
    /// Signs.
    pub identity: Arc<Identity>,
    /// For this mesh.
    pub mesh: MeshId,
    /// As this replica.
    pub replica: Replica,
    /// Most bytes of memory in the store.
    pub bytes_max: u64,
}

/// How wishes are written.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// A wish whose value stands there alone already is left out.
    pub once: bool,
    /// Where something there is later than a write's own time, the write goes one beyond it.
    /// Else that is said, so that the clock follows, as far as a clock may be pushed.
    pub beyond: bool,
}

/// One write to be made here.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What.
    pub key: Key,
    /// `None` deletes.
    pub value: Option<Vec<u8>>,
    /// The second since 1970 from which on it counts no more.
    pub expires_s: Option<u64>,
}

/// A record went through the store.
#[derive(Debug, Clone)]
pub struct Done {
    /// It, or what made it obsolete, is there.
    pub record: Record,
    /// What it changed.
    pub change: Option<Change>,
    /// The contradiction that it made, or the end of one.
    pub conflict: Option<Box<conflict::Entry>>,
}

/// What became of wishes.
#[derive(Debug)]
pub enum Wrote {
    /// So many of them are done; those that changed nothing have no record. The rest did not
    /// fit into one batch.
    Some(usize, Vec<Done>),
    /// Something there is later than the time that the writes were to have: it is at this.
    Behind(u64),
    /// The first wish that is left cannot be done.
    Refused(MemoryError),
    /// What stands here is damaged and has to be mended first. Nothing changed.
    Damaged(Position),
}

/// What became of records that others gave.
#[derive(Debug, Default)]
pub struct Took {
    /// Those that are durable here.
    pub done: Vec<Done>,
    /// Those for which their key has no room.
    pub full: u64,
    /// Those for which memory has no room.
    pub over_quota: u64,
    /// Where what stands here is damaged: what belongs there was not taken.
    pub damaged: Vec<Position>,
}

/// What stands under a position.
pub fn decode(value: &[u8]) -> Option<(Digest, Siblings)> {
    let (digest, set) = value.split_at_checked(32)?;
    let digest = digest.try_into().map(Digest).ok()?;
    Some((digest, Siblings::decode(set).ok()?))
}

/// What became of one record.
enum Fate {
    Done(Done),
    /// There is no room for it under its key.
    Full,
    /// There is no room for it in this node's memory.
    NoRoom,
    /// What stands there is damaged.
    Damaged,
}

/// The changes of one step, each key read once.
struct Step<'s> {
    store: &'s dyn Store,
    sets: BTreeMap<Position, (Option<Digest>, Siblings)>,
    bytes: usize,
    room: u64,
}

impl<'s> Step<'s> {
    fn new(store: &'s dyn Store, bytes_max: u64) -> Self {
        Self {
            store,
            sets: BTreeMap::new(),
            bytes: 0,
            room: bytes_max.saturating_sub(store.usage_of(Tree::Memory).bytes),
        }
    }

    /// What stands under a position; `None` where that is damaged.
    fn set(&mut self, at: Position) -> Result<Option<&mut (Option<Digest>, Siblings)>, Error> {
        use std::collections::btree_map::Entry;
        let place = match self.sets.entry(at) {
            Entry::Occupied(held) => return Ok(Some(held.into_mut())),
            Entry::Vacant(place) => place,
        };
        let held = match self.store.get(Tree::Memory, &at.0) {
            Err(Error::Damaged { .. }) => return Ok(None),
            other => other?,
        };
        let held = match held {
            None => (None, Siblings::default()),
            Some(value) => match decode(&value) {
                None => return Ok(None),
                Some((digest, set)) => (Some(digest), set),
            },
        };
        Ok(Some(place.insert(held)))
    }

    /// Merges a record.
    fn merge(&mut self, record: Record) -> Result<Fate, Error> {
        let (bytes, left) = (record.bytes().len(), self.room);
        let Some((digest, set)) = self.set(record.position())? else {
            return Ok(Fate::Damaged);
        };
        let was = *digest;
        let before = set.clone();
        let goes = set.iter().filter(|held| record.covers(held));
        let freed: usize = goes.map(|held| held.bytes().len() + RECORD_MARK).sum();
        let needs = bytes + RECORD_MARK + if set.is_empty() { SET_MARKS } else { 0 };
        let needs = needs.saturating_sub(freed) as u64;
        // What is there already takes no room, and a deletion of something gives it back.
        let deletes = record.write().value.is_none() && freed > 0;
        if needs > left && !deletes && !set.has_seen(record.dot()) {
            return Ok(Fate::NoRoom);
        }
        let merged = set.merge(record.clone());
        let (change, conflict) = match merged {
            Merged::Full => return Ok(Fate::Full),
            Merged::Known | Merged::Obsolete => (None, None),
            Merged::New(_) => {
                let is = Some(set.digest());
                let conflict = conflict::seen(&before, set, &record).map(Box::new);
                *digest = is;
                // The whole set is written again.
                let beside = before.iter().map(|it| it.bytes().len());
                self.bytes += bytes + beside.sum::<usize>();
                self.room = left.saturating_sub(needs);
                (Some(Change { was, is }), conflict)
            }
        };
        Ok(Fate::Done(Done {
            record,
            change,
            conflict,
        }))
    }

    fn batch(self, done: &[Done]) -> Batch {
        let mut batch = Batch::new();
        let changed = done.iter().filter(|it| it.change.is_some());
        let mut changed: Vec<Position> = changed.map(|it| it.record.position()).collect();
        changed.sort_unstable();
        changed.dedup();
        for at in changed {
            if let Some((Some(digest), set)) = self.sets.get(&at) {
                let value = [&digest.0[..], &set.encode()].concat();
                batch = batch.put(Tree::Memory, at.0.to_vec(), value);
            }
        }
        batch
    }
}

/// Makes the writes, from Lamport time `first` on, as many as fit.
pub fn write(
    writer: &Writer,
    store: &dyn Store,
    wishes: &[Wish],
    first: u64,
    how: How,
) -> Result<(Batch, Wrote), Error> {
    let nothing = |wrote| Ok((Batch::new(), wrote));
    let mut step = Step::new(store, writer.bytes_max);
    let mut all = Vec::new();
    let mut count = 0;
    for (wish, lamport) in wishes.iter().zip(first..) {
        if step.bytes >= BATCH_BYTES {
            break;
        }
        let at = wish.key.id().position();
        let Some((_, held)) = step.set(at)? else {
            match count {
                0 => return nothing(Wrote::Damaged(at)),
                _ => break,
            }
        };
        if how.once && stands_alone(held, wish) {
            count += 1;
            continue;
        }
        let seen = held.seen();
        let latest = seen.dots().map(|it| it.lamport).max().unwrap_or(0);
        let lamport = match latest.checked_add(1) {
            _ if latest < lamport => lamport,
            Some(next) if how.beyond => next,
            _ => return nothing(Wrote::Behind(latest)),
        };
        let write = Write {
            key: wish.key.clone(),
            dot: Dot {
                replica: writer.replica,
                lamport,
            },
            seen,
            value: wish.value.clone(),
            expires_s: wish.expires_s,
        };
        let record = match Record::seal(&writer.identity, &writer.mesh, write) {
            Ok(record) => record,
            Err(why) => return nothing(Wrote::Refused(refusal(why, wish))),
        };
        match step.merge(record)? {
            Fate::Done(done) => all.push(done),
            Fate::NoRoom if count == 0 => {
                let (bytes, max) = (store.usage_of(Tree::Memory).bytes, writer.bytes_max);
                return nothing(Wrote::Refused(MemoryError::Quota { bytes, max }));
            }
            Fate::NoRoom => break,
            // It has seen all that stands there and could be read.
            Fate::Full | Fate::Damaged => {}
        }
        count += 1;
    }
    let batch = step.batch(&all);
    Ok((batch, Wrote::Some(count, all)))
}

/// Why a wish cannot be signed.
fn refusal(why: BadRecord, wish: &Wish) -> MemoryError {
    match why {
        BadRecord::Foreign => MemoryError::Foreign(wish.key.owner().unwrap_or_default().into()),
        _ => MemoryError::TooLarge {
            bytes: wish.value.as_ref().map_or(0, Vec::len),
            max: VALUE_BYTES_MAX,
        },
    }
}

/// Whether this and nothing else stands there, by however many it was written.
fn stands_alone(held: &Siblings, wish: &Wish) -> bool {
    let is_it = |it: &Record| {
        let it = it.write();
        it.value == wish.value && it.expires_s == wish.expires_s
    };
    !held.is_empty() && held.iter().all(is_it)
}

/// Takes records that others gave and that were checked, as many as fit into one batch: the
/// rest comes with the next comparison.
pub fn take(
    bytes_max: u64,
    store: &dyn Store,
    records: Vec<Record>,
) -> Result<(Batch, Took), Error> {
    let mut step = Step::new(store, bytes_max);
    let mut took = Took::default();
    for record in records {
        if step.bytes >= BATCH_BYTES {
            break;
        }
        let at = record.position();
        match step.merge(record)? {
            Fate::Done(done) => took.done.push(done),
            Fate::Full => took.full += 1,
            Fate::NoRoom => took.over_quota += 1,
            Fate::Damaged => took.damaged.push(at),
        }
    }
    let batch = step.batch(&took.done);
    Ok((batch, took))
}

#[cfg(test)]
mod tests;
