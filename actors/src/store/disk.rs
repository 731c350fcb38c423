//! What the store's thread owns, and how writes change it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chorus_protocol::wire::codec;
use chorus_storage::Checkpoints;
use chorus_storage::boot::Boot;
use chorus_storage::home::write_atomic;
use chorus_storage::journal::Journal;
use chorus_storage::store::{Batch, Error, Store, Tree};

use super::{JOURNAL_USE, Write};
use crate::restore::MIRRORED;

/// How the disk is, for whoever asks the node.
#[derive(Debug, Default)]
pub struct DiskState {
    full: AtomicBool,
    pub(super) broken: AtomicBool,
    refused: AtomicU64,
}

impl DiskState {
    /// Counters: `disk_full` and `store_broken` are 1 while they are so,
    /// `writes_refused` only rises.
    pub fn counters(&self) -> [(&'static str, u64); 3] {
        let flag = |it: &AtomicBool| u64::from(it.load(Ordering::Relaxed));
        [
            ("disk_full", flag(&self.full)),
            ("store_broken", flag(&self.broken)),
            ("writes_refused", self.refused.load(Ordering::Relaxed)),
        ]
    }

    /// Takes notice of how a write went, and says when that changes.
    pub(super) fn note(&self, result: Result<(), &Error>) {
        match result {
            Ok(()) => {
                if self.full.swap(false, Ordering::Relaxed) {
                    tracing::info!("the disk has room again; what waited is written");
                }
            }
            Err(why) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let full = matches!(why, Error::Full { .. });
                if full && !self.full.swap(true, Ordering::Relaxed) {
                    tracing::error!(%why, "STORAGE_FULL: the node goes on and writes nothing; make room");
                }
            }
        }
    }
}

/// What the thread owns.
pub struct Disk {
    /// Items and stamps.
    pub store: Box<dyn Store>,
    /// What may never be forgotten.
    pub journal: Journal,
    /// Where the first items are mirrored.
    pub mirror: PathBuf,
    /// The files of checkpoints.
    pub checkpoints: Checkpoints,
    /// The count of starts and the reserved Lamport times.
    pub boot: Boot,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

impl Disk {
    /// Why the files take no more writes after `error`; `None` when they do.
    pub(super) fn broken(&mut self, error: &Error) -> Option<String> {
        let is_broken = |it: &Error| matches!(it, Error::Broken { .. });
        // To write nothing costs nothing and says whether a write is possible at all.
        let broken = is_broken(error)
            || self.store.flush().is_err_and(|it| is_broken(&it))
            || self
                .journal
                .append_batch(&[])
                .is_err_and(|it| is_broken(&it));
        broken.then(|| error.to_string())
    }

    /// Whether a new process would find room to start, and the store room for an entry.
    pub(super) fn has_room(&self) -> bool {
        self.boot.has_room()
    }

    /// Does at once what of `writes` stands in other files, and gives back what belongs
    /// into the store.
    pub(super) fn write(&mut self, writes: Vec<Write>) -> Result<Batch, Error> {
        let mut batch = Batch::new();
        for write in writes {
            match write {
                Write::Items(items) => {
                    for (digest, bytes) in items {
                        batch = batch.put(Tree::Roster, digest.0.to_vec(), bytes);
                    }
                }
                Write::Forget(digests) => {
                    for digest in digests {
                        batch = batch.delete(Tree::Roster, digest.0.to_vec());
                    }
                }
                Write::Use(it) => {
                    // The entry that follows goes into the store, which leaves more of the disk
                    // free than the journal does: where it would be refused, nothing is used up.
                    if !self.has_room() {
                        let what = "the use of a token".into();
                        return Err(Error::Full { what });
                    }
                    self.journal.append(JOURNAL_USE, &codec::encode(&it))?;
                }
                Write::Stamps(stamps) => {
                    for (node, stamp) in stamps {
                        let bytes = codec::encode(&stamp);
                        batch = batch.put(Tree::Peers, node.0.to_vec(), bytes);
                    }
                }
                Write::Mirror(items) => {
                    let bytes = codec::encode(&items);
                    write_atomic(&self.mirror, &bytes, 0o600)?;
                    if self.store.get(Tree::Meta, MIRRORED)?.is_none() {
                        batch = batch.put(Tree::Meta, MIRRORED, "1");
                    }
                }
                Write::Reserve(upto) => self.boot.reserve(upto)?,
                Write::Checkpoint(name, what, bytes) => {
                    // There is another in a minute; what is left of the disk is for the rest.
                    if !self.has_room() {
                        let what = "a checkpoint".into();
                        return Err(Error::Full { what });
                    }
                    self.checkpoints.write(&name, what, &bytes)?;
                }
                Write::ForgetCheckpoint(name) => self.checkpoints.forget(&name)?,
                Write::RemoveCheckpoint(stem) => self.checkpoints.remove(&stem)?,
            }
        }
        Ok(batch)
    }
}
