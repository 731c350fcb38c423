//! Group commit: requests that wait are applied one after another and share one flush.
//!
//! Each is told in the order of asking, after the flush. One that fails by itself fails
//! alone; when the flush fails, so does each that rests on it: all that changed the
//! store since the flush before, and all that may have read such a change.
//!
//! What stands in another file (the journal, the mirror, the record of starts) is
//! durable as soon as it is written. So that no crash leaves it without what was asked
//! before it, the group ends first.

use std::sync::atomic::Ordering;

use chorus_storage::store::{BATCH_BYTES_MAX, Batch, Error};

use super::disk::{Disk, DiskState};
use super::{Done, Update, Write};

/// Requests that may share a flush. Whoever asked first waits for all of them, so it is
/// as many as are applied in about the time that the flush itself takes.
pub(super) const GROUP_MAX: usize = 256;
/// No more join once the group's batches have this many bytes of keys and values: one
/// flush writes no more than two of the largest batches.
pub(super) const GROUP_BYTES_MAX: usize = BATCH_BYTES_MAX;

/// The disk, and the requests that wait for its next flush.
pub(super) struct Group<'a> {
    disk: Disk,
    state: &'a DiskState,
    waiting: Vec<Waiting>,
    bytes: usize,
    /// Why the files take no more writes.
    broken: Option<String>,
}

struct Waiting {
    result: Result<(), Error>,
    /// Whether the flush decides too.
    rests: bool,
    /// Whether its success says that the disk takes what is written.
    says: bool,
    done: Done,
}

impl<'a> Group<'a> {
    pub(super) fn new(disk: Disk, state: &'a DiskState) -> Self {
        Self {
            disk,
            state,
            waiting: Vec::new(),
            bytes: 0,
            broken: None,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= GROUP_MAX || self.bytes >= GROUP_BYTES_MAX
    }

    /// Takes in writes.
    pub(super) fn write(&mut self, writes: Vec<Write>, done: Done) {
        if writes.iter().any(Write::is_elsewhere) {
            self.end();
        }
        let batch = self.disk.write(writes);
        let rests = batch.as_ref().is_ok_and(|it| !it.changes().is_empty());
        self.apply(batch, rests, true, done);
    }

    /// Takes in an update. It rests on the flush even when it changes nothing: what it
    /// read may be of this group.
    pub(super) fn update(&mut self, update: Box<dyn Update>) {
        let (batch, done) = update.change(&*self.disk.store);
        let says = batch.as_ref().is_ok_and(|it| !it.changes().is_empty());
        self.apply(batch, true, says, done);
    }

    fn apply(&mut self, batch: Result<Batch, Error>, rests: bool, says: bool, done: Done) {
        let store = &mut self.disk.store;
        let result = batch.and_then(|batch| match batch.changes().is_empty() {
            true => Ok(()),
            false => store.apply(&batch).map(|()| self.bytes += batch.bytes()),
        });
        self.waiting.push(Waiting {
            result,
            rests,
            says,
            done,
        });
    }

    /// Makes durable what was applied, and tells everybody who waits.
    pub(super) fn end(&mut self) {
        let rest = self.waiting.iter().any(|it| it.rests && it.result.is_ok());
        let flushed = match rest {
            true => self.disk.store.flush(),
            false => Ok(()),
        };
        self.bytes = 0;
        let mut alone = self
            .waiting
            .iter()
            .filter_map(|it| it.result.as_ref().err());
        let first = flushed.as_ref().err().or_else(|| alone.next());
        if self.broken.is_none() {
            self.broken = first.and_then(|why| self.disk.broken(why));
        }
        for waiting in self.waiting.drain(..) {
            let own = waiting.result.as_ref().copied();
            let result = match &flushed {
                Err(why) if waiting.rests => own.and(Err(why)),
                _ => own,
            };
            if waiting.says || result.is_err() {
                self.state.note(result);
            }
            (waiting.done)(result.map_err(|why| why.to_string()));
        }
    }

    /// Why the node has to end: the store is broken, and there is room to start on. Once.
    pub(super) fn must_end(&self) -> Option<&str> {
        let why = self.broken.as_deref()?;
        let told = &self.state.broken;
        let before = told.swap(self.disk.has_room(), Ordering::Relaxed);
        (!before && told.load(Ordering::Relaxed)).then_some(why)
    }
}
