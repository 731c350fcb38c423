//! [`SledStore`]: an open database behind the trait.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::sync::Sync;
use crate::home::free_bytes;
use crate::mark::Mark;
use crate::store::{Batch, Change, Error, Page, Store, Tree, Usage, name, seal, unseal};
use crate::summary::Summary;

/// Room that writes leave free on the disk. sled cannot go on after it met a
/// full disk in the middle of a segment (512 KiB), so it is not let so far: two
/// segments, one being written and one being cleaned.
pub const FREE_BYTES_MIN: u64 = 1024 * 1024;

/// sled's page cache. The default of 1 GiB is more than a small board has.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Before all trees: the summary and the number of the last flush.
pub(super) const SUMMARY_KEY: &[u8] = b"\0summary";

/// A [`Store`] on sled. Made by [`open`](super::open).
#[derive(Debug)]
pub struct SledStore {
    // `None` only while it is dropped.
    db: Option<sled::Db>,
    dir: PathBuf,
    mark: Mark,
    sync: Sync,
    generation: u64,
    changed: bool,
    summary: Summary,
    damaged: Cell<u64>,
    broken: Option<String>,
}

impl SledStore {
    pub(super) fn new(db: sled::Db, dir: &Path, mark: Mark, sync: Sync, seen: &Seen) -> Self {
        Self {
            db: Some(db),
            dir: dir.to_path_buf(),
            mark,
            sync,
            generation: seen.generation,
            changed: false,
            summary: seen.summary,
            damaged: Cell::new(seen.damaged.len() as u64),
            broken: None,
        }
    }

    /// Marks the present state as the acknowledged one.
    pub(super) fn accept(&self) -> Result<(), Error> {
        let set = self.mark.set(self.generation);
        set.map_err(|e| Error::io("the store's mark", e))
    }

    pub(super) fn db(&self) -> &sled::Db {
        self.db
            .as_ref()
            .expect("invariant: the database is there until drop")
    }

    fn damage(&self) {
        self.damaged.set(self.damaged.get() + 1);
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
        match &self.broken {
            Some(why) => Err(Error::Broken {
                what: "the store",
                why: why.clone(),
            }),
            None => Ok(()),
        }
    }

    /// `batch` for sled, and what it makes of the summary, which goes with it.
    fn prepare(&self, batch: &Batch) -> Result<(sled::Batch, Summary), Error> {
        let mut changed: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        let mut summary = self.summary;
        for change in batch.changes() {
            let (full, new) = match change {
                Change::Put { tree, key, value } => {
                    (full_key(*tree, key), Some(seal(*tree, key, value)))
                }
                Change::Delete { tree, key } => (full_key(*tree, key), None),
            };
            let old = match changed.remove(&full) {
                Some(earlier) => earlier,
                None => guard("a read before a write", || self.db().get(&full))?
                    .map(|sealed| sealed.to_vec()),
            };
            if let Some(old) = old {
                summary.remove(&full, &old);
            }
            if let Some(new) = &new {
                summary.add(&full, new);
            }
            changed.insert(full, new);
        }
        let mut prepared = sled::Batch::default();
        for (full, new) in changed {
            match new {
                Some(sealed) => prepared.insert(full, sealed),
                None => prepared.remove(full),
            }
        }
        prepared.insert(SUMMARY_KEY, sealed_summary(&summary, self.generation));
        Ok((prepared, summary))
    }

    fn write(
        &mut self,
        what: &'static str,
        write: impl FnOnce(&sled::Db) -> sled::Result<()>,
    ) -> Result<(), Error> {
        let done = guard(what, || write(self.db()));
        if let Err(error) = &done {
            // sled's log is in an unknown state after any failed write.
            self.broken = Some(error.to_string());
        }
        done
    }
}

impl Store for SledStore {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let found = guard(&name(tree, key), || self.db().get(full_key(tree, key)));
        let Some(sealed) = found.inspect_err(|_| self.damage())? else {
            return Ok(None);
        };
        let value = unseal(tree, key, &sealed).ok_or_else(|| {
            self.damage();
            Error::Damaged {
                what: name(tree, key),
            }
        })?;
        Ok(Some(value.to_vec()))
    }

    fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error> {
        let start = full_key(tree, from.unwrap_or_default().max(prefix));
        let inside = full_key(tree, prefix);
        let page = guard(&name(tree, prefix), || {
            let mut page = Page::default();
            for (n, row) in self.db().range(start..).enumerate() {
                let (full, sealed) = row?;
                if !full.starts_with(&inside) {
                    break;
                }
                let key = &full[1..];
                if n == limit {
                    page.next = Some(key.to_vec());
                    break;
                }
                match unseal(tree, key, &sealed) {
                    Some(value) => page.rows.push((key.to_vec(), value.to_vec())),
                    None => page.damaged.push(key.to_vec()),
                }
            }
            Ok(page)
        });
        let page = page.inspect_err(|_| self.damage())?;
        page.damaged.iter().for_each(|_| self.damage());
        Ok(page)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        let bytes = batch.check()?;
        self.usable()?;
        self.room(bytes)?;
        let (prepared, summary) = self.prepare(batch)?;
        self.changed = true;
        self.write("a write to the store", |db| db.apply_batch(prepared))?;
        self.summary = summary;
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
            self.broken = Some(e.to_string());
            return Err(Error::io("a sync of the store", e));
        }
        self.generation = next;
        self.changed = false;
        // Durable already; a mark that stays behind only hides a later loss.
        self.accept()
    }

    fn usage(&self) -> Usage {
        Usage {
            records: self.summary.records,
            bytes: self.summary.bytes,
            damaged: self.damaged.get(),
        }
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let db = self.db.take();
        if self.broken.is_some() {
            // After a failed write sled's own drop waits for ever, holding a lock
            // that every store of this process needs. So it is left as it is, and
            // with it the files' lock: only a new process opens them again.
            std::mem::forget(db);
            return;
        }
        // sled flushes in its own drop, which panics when its files are broken.
        // Whatever fails here was never acknowledged.
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            self.broken = Some("panicked while closing".into());
        }
    }
}

/// What a full read of the database found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The last flush, by the stored summary.
    pub(super) generation: u64,
    /// What the stored summary promises.
    pub(super) promised: Summary,
    /// What is there.
    pub(super) summary: Summary,
    pub(super) damaged: Vec<(Tree, Vec<u8>)>,
}

/// Reads every record. sled reads pages lazily, so that only this finds damage at once.
pub(super) fn read_through(db: &sled::Db) -> sled::Result<Seen> {
    let mut seen = Seen::default();
    for row in db.iter() {
        let (full, sealed) = row?;
        if full == SUMMARY_KEY {
            let stored = unseal(Tree::Meta, SUMMARY_KEY, &sealed).and_then(Summary::decode);
            (seen.generation, seen.promised) = stored.unwrap_or_default();
            continue;
        }
        seen.summary.add(&full, &sealed);
        let Some((byte, key)) = full.split_first() else {
            continue;
        };
        // A prefix that no tree has comes from a newer version; it is left alone.
        let Some(tree) = Tree::ALL.into_iter().find(|t| *t as u8 == *byte) else {
            continue;
        };
        if unseal(tree, key, &sealed).is_none() {
            seen.damaged.push((tree, key.to_vec()));
        }
    }
    Ok(seen)
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

/// Opens sled's own database in `dir`; in it nothing is durable by itself.
pub(super) fn open_sled(dir: &Path, flush_every_ms: Option<u64>) -> sled::Result<sled::Db> {
    sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(flush_every_ms)
        .open()
}

fn full_key(tree: Tree, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(1 + key.len());
    full.push(tree as u8);
    full.extend(key);
    full
}
