//! [`SledStore`]: an open database behind the trait.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::known::{Changes, Known};
use super::shared::Shared;
use super::sync::Sync;
use super::walk::walk;
use crate::home::free_bytes;
use crate::mark::Mark;
use crate::reader::{Read, Reader};
use crate::store::{Batch, Error, Page, Store, Tree, Usage, seal, unseal};
use crate::summary::{Held, Summary};
use crate::tally::{Differences, Tally, at};

/// Room that writes leave free on the disk. sled cannot go on after it met a
/// full disk in the middle of a segment (512 KiB), so it is not let so far: two
/// segments, one being written and one being cleaned.
pub const FREE_BYTES_MIN: u64 = 1024 * 1024;

/// Damaged keys of each tree that opening lists; the others are counted. With the longest
/// keys that is 1 MiB a tree.
pub const DAMAGED_LISTED_MAX: u64 = 1024;

/// sled's page cache. The default of 1 GiB is more than a small board has.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Before all trees: the summary and the number of the last flush.
pub(super) const SUMMARY_KEY: &[u8] = b"\0summary";

/// A [`Store`] on sled. Made by [`open`](super::open).
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared>,
    dir: PathBuf,
    mark: Mark,
    sync: Sync,
    generation: u64,
    changed: bool,
    /// Bytes applied since the last flush: sled holds some of them back.
    unflushed: u64,
    summary: Summary,
    known: Known,
}

/// What a batch makes of what is known of the store.
struct Next {
    summary: Summary,
    differences: Differences,
    changes: Changes,
}

impl SledStore {
    /// Takes what is known out of `seen`.
    pub(super) fn new(db: sled::Db, dir: &Path, mark: Mark, sync: Sync, seen: &mut Seen) -> Self {
        let tally = Tally::default();
        tally.take(&seen.differences);
        for (tree, count) in Tree::ALL.into_iter().zip(seen.damaged_counts) {
            tally.damage(tree, count);
        }
        Self {
            shared: Arc::new(Shared::new(db, tally)),
            dir: dir.to_path_buf(),
            mark,
            sync,
            generation: seen.generation,
            changed: false,
            unflushed: 0,
            summary: seen.summary,
            known: std::mem::take(&mut seen.known),
        }
    }

    /// Marks the present state as the acknowledged one.
    pub(super) fn accept(&self) -> Result<(), Error> {
        let set = self.mark.set(self.generation);
        set.map_err(|e| Error::io("the store's mark", e))
    }

    pub(super) fn db(&self) -> &sled::Db {
        self.shared.db()
    }

    /// Refuses when the disk could run full within this write.
    fn room(&self, bytes: u64) -> Result<(), Error> {
        if free_bytes(&self.dir)? < FREE_BYTES_MIN + bytes {
            return Err(Error::Full {
                what: format!("the store in {}", self.dir.display()),
            });
        }
        let reserved = self.sync.reserve(FREE_BYTES_MIN + bytes);
        reserved.map_err(|e| Error::io(format!("the store in {}", self.dir.display()), e))
    }

    fn usable(&self) -> Result<(), Error> {
        match self.shared.broken.get() {
            Some(why) => Err(Error::Broken {
                what: "the store",
                why: why.clone(),
            }),
            None => Ok(()),
        }
    }

    /// `batch` for sled, and what it makes of the rest; the summary goes with it.
    fn prepare(&self, batch: &Batch) -> (sled::Batch, Next) {
        let mut next = Next {
            summary: self.summary,
            differences: Differences::default(),
            changes: Changes::default(),
        };
        let mut prepared = sled::Batch::default();
        for change in batch.changes() {
            let (tree, key) = change.place();
            let full = full_key(tree, key);
            let sealed = change.value().map(|value| seal(tree, key, value));
            let new = sealed.as_ref().map(|sealed| Held::of(&full, sealed));
            let difference = &mut next.differences[at(tree)];
            if let Some(old) = next.changes.set(&self.known, &full, new) {
                next.summary.remove(&old);
                difference.remove(old.bytes);
            }
            if let Some(new) = &new {
                next.summary.add(new);
                difference.add(new.bytes);
            }
            match sealed {
                Some(sealed) => prepared.insert(full, sealed),
                None => prepared.remove(full),
            }
        }
        let summary = sealed_summary(&next.summary, self.generation);
        prepared.insert(SUMMARY_KEY, summary);
        (prepared, next)
    }

    fn write(
        &mut self,
        what: &'static str,
        write: impl FnOnce(&sled::Db) -> sled::Result<()>,
    ) -> Result<(), Error> {
        let done = guard(what, || write(self.db()));
        if let Err(error) = &done {
            // sled's log is in an unknown state after any failed write.
            let _ = self.shared.broken.set(error.to_string());
        }
        done
    }
}

impl Store for SledStore {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.shared.get(tree, key)
    }

    fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error> {
        self.shared.scan(tree, prefix, from, limit)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        let bytes = batch.check()?;
        self.usable()?;
        self.room(self.unflushed + bytes)?;
        let (prepared, next) = self.prepare(batch);
        self.changed = true;
        self.unflushed += bytes;
        self.write("a write to the store", |db| db.apply_batch(prepared))?;
        self.summary = next.summary;
        self.shared.tally.take(&next.differences);
        self.known.take(next.changes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.usable()?;
        if !self.changed {
            return Ok(());
        }
        let next = self.generation + 1;
        let summary = sealed_summary(&self.summary, next);
        self.write("a flush of the store", |db| {
            db.insert(SUMMARY_KEY, summary)?;
            db.flush().map(drop)
        })?;
        if let Err(e) = self.sync.run() {
            // After a failed sync nobody knows what is on disk: never try twice.
            let _ = self.shared.broken.set(e.to_string());
            return Err(Error::io("a sync of the store", e));
        }
        self.generation = next;
        (self.changed, self.unflushed) = (false, 0);
        // Durable already; a mark that stays behind only hides a later loss.
        self.accept()
    }

    fn usage(&self) -> Usage {
        Usage {
            records: self.summary.records,
            bytes: self.summary.bytes,
            ..self.shared.tally.all()
        }
    }

    fn usage_of(&self, tree: Tree) -> Usage {
        self.shared.tally.of(tree)
    }

    fn reader(&self) -> Reader {
        Reader::of(&self.shared)
    }
}

/// What a full read of the database found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The last flush, by the stored summary.
    pub(super) generation: u64,
    /// Places that could not be read.
    pub(super) gaps: u32,
    /// What the stored summary promises.
    pub(super) promised: Summary,
    /// What is there.
    pub(super) summary: Summary,
    /// The same, by tree.
    pub(super) differences: Differences,
    pub(super) known: Known,
    /// At most [`DAMAGED_LISTED_MAX`] of each tree.
    pub(super) damaged: Vec<(Tree, Vec<u8>)>,
    /// By tree, those that are not listed too.
    pub(super) damaged_counts: [u64; Tree::ALL.len()],
}

/// Reads every record that can be read. sled reads pages lazily, so that only this finds
/// damage at once.
pub(super) fn read_through(db: &sled::Db) -> sled::Result<Seen> {
    let mut seen = Seen::default();
    let gaps = walk(db, |full, sealed| {
        seen.take(full, sealed);
        Ok(())
    })?;
    seen.gaps = gaps;
    Ok(seen)
}

impl Seen {
    fn take(&mut self, full: &[u8], sealed: &[u8]) {
        if full == SUMMARY_KEY {
            let stored = unseal(Tree::Meta, SUMMARY_KEY, sealed).and_then(Summary::decode);
            (self.generation, self.promised) = stored.unwrap_or_default();
            return;
        }
        let held = Held::of(full, sealed);
        self.summary.add(&held);
        self.known.add(full, held);
        let Some((byte, key)) = full.split_first() else {
            return;
        };
        // A prefix that no tree has comes from a newer version; it is left alone.
        let Some(tree) = Tree::ALL.into_iter().find(|t| *t as u8 == *byte) else {
            return;
        };
        self.differences[at(tree)].add(held.bytes);
        if unseal(tree, key, sealed).is_none() {
            let count = &mut self.damaged_counts[at(tree)];
            *count += 1;
            if *count <= DAMAGED_LISTED_MAX {
                self.damaged.push((tree, key.to_vec()));
            }
        }
    }
}

pub(super) fn sealed_summary(summary: &Summary, generation: u64) -> Vec<u8> {
    seal(Tree::Meta, SUMMARY_KEY, &summary.encode(generation))
}

/// Runs a call into sled; a panic in it, or its word for corruption, is damage.
pub(super) fn guard<T>(what: &str, call: impl FnOnce() -> sled::Result<T>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(e))) if e.to_string().contains("could not acquire lock") => {
            Err(Error::Busy { what: what.into() })
        }
        Ok(Err(sled::Error::Io(e))) => Err(Error::io(what, e)),
        Ok(Err(_)) | Err(_) => Err(Error::Damaged { what: what.into() }),
    }
}

/// Damage of the files, as against trouble of the machine, for which nothing is set aside.
pub(super) fn is_damage(error: &Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, Other, UnexpectedEof};
    match error {
        Error::Damaged { .. } => true,
        Error::Io { source, .. } => {
            matches!(
                source.kind(),
                InvalidData | InvalidInput | NotFound | Other | UnexpectedEof
            )
        }
        _ => false,
    }
}

/// An error of reading, named as damage where it is some.
pub(super) fn as_damage(error: Error) -> Error {
    match error {
        Error::Io { what, .. } if is_damage(&error) => Error::Damaged { what },
        other => other,
    }
}

/// Opens sled's own database in `dir`; in it nothing is durable by itself.
pub(super) fn open_sled(dir: &Path, flush_every_ms: Option<u64>) -> sled::Result<sled::Db> {
    sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(flush_every_ms)
        .open()
}

pub(super) fn full_key(tree: Tree, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(1 + key.len());
    full.push(tree as u8);
    full.extend(key);
    full
}
