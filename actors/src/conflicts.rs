//! The conflict log: what contradicted what, and who ended it, for as long as there is room.
//!
//! A journal of its own in the home: append-only, each record with the hash of the one before.
//! A thread writes it, so a conflict costs memory's actor a place in a queue, and many at once
//! one sync. It is the history; what contradicts what now stands in the store.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use chorus_protocol::conflict::{self, Entry, Logged};
use chorus_protocol::memory::key::KeyId;
use chorus_protocol::wire::codec;
use chorus_storage::journal::{self, Cut, Journal};
use chorus_storage::{Error, Reader};

use crate::memory::reading::{list, siblings};

/// Entries that may wait for the disk.
const WAITING_MAX: usize = 1024;
/// Entries that are written with one sync.
const BATCH_MAX: usize = 256;
/// Most bytes of the log. A member that makes conflicts all day fills no disk.
pub const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The kind of its records in the journal.
const KIND: u8 = 1;

#[derive(Debug, Default)]
struct Shared {
    open: AtomicU64,
    unwritten: AtomicU64,
}

/// The way to the log. Dropping it writes what waits.
#[derive(Debug)]
pub struct ConflictLog {
    to: Option<SyncSender<Logged>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The log with what it has come to.
struct Writer {
    journal: Journal,
    open: BTreeSet<KeyId>,
    bytes: u64,
    shared: Arc<Shared>,
}

impl ConflictLog {
    /// Opens the log in `dir`, mends what is damaged and says so, adds what stands in the store
    /// and it has not, and starts its thread.
    pub fn start(dir: &Path, store: &Reader) -> Result<Self, Error> {
        let (mut open, mut bytes) = (BTreeSet::new(), 0);
        let opened = Journal::open(dir, |record| {
            bytes += record.payload.len() as u64;
            if let Ok(logged) = codec::decode::<Logged>(&record.payload) {
                note(&mut open, &logged.entry);
            }
        })?;
        if !opened.recovery.is_whole() {
            let cuts = opened.recovery.cuts.len();
            tracing::warn!(cuts, "the conflict log has lost entries");
        }
        let shared = Arc::new(Shared::default());
        let mut writer = Writer {
            journal: opened.journal,
            open,
            bytes,
            shared: shared.clone(),
        };
        if let Err(why) = writer.catch_up(store) {
            tracing::warn!(%why, "what stands in the store is not compared with the conflict log");
        }
        writer.tell();
        let (to, from) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("conflicts".into())
            .spawn(move || writer.write_all(&from))
            .map_err(|source| Error::Io {
                what: "the conflict log's thread".into(),
                source,
            })?;
        Ok(Self {
            to: Some(to),
            shared,
            thread: Some(thread),
        })
    }

    /// Takes an entry; false, and it is lost, where too many wait.
    pub fn log(&self, entry: Entry) -> bool {
        let to = self.to.as_ref();
        to.is_some_and(|to| to.try_send(now(entry)).is_ok())
    }

    /// Keys in conflict, as far as entries tell.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Counters.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let unwritten = self.shared.unwritten.load(Ordering::Relaxed);
        (unwritten > 0)
            .then_some(("conflicts_unwritten", unwritten))
            .into_iter()
    }
}

impl Drop for ConflictLog {
    fn drop(&mut self) {
        self.to = None;
        if let Some(thread) = self.thread.take() {
            // It has panicked, or it has written everything.
            let _ = thread.join();
        }
    }
}

fn now(entry: Entry) -> Logged {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let at_ms = since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
    Logged { at_ms, entry }
}

impl Writer {
    fn write_all(mut self, from: &Receiver<Logged>) {
        while let Ok(first) = from.recv() {
            let more = from.try_iter().take(BATCH_MAX - 1);
            let batch: Vec<Logged> = std::iter::once(first).chain(more).collect();
            self.take(&batch);
            self.tell();
        }
    }

    fn take(&mut self, batch: &[Logged]) {
        if let Err(why) = self.write(batch) {
            let lost = batch.len() as u64;
            self.shared.unwritten.fetch_add(lost, Ordering::Relaxed);
            tracing::warn!(%why, lost, "conflicts are not logged; they stand in the store");
        }
        for logged in batch {
            note(&mut self.open, &logged.entry);
        }
    }

    /// A kill may come between a merge and its entry, and a log may be lost: what contradicts
    /// what now is told by the store, and what no longer does is over.
    fn catch_up(&mut self, store: &Reader) -> Result<(), Error> {
        let mut over = Vec::new();
        for id in &self.open {
            // What is damaged is fetched again; what is held no longer is for its holders.
            if let Ok(Some((_, set))) = siblings(store, &id.position())
                && conflict::standing(&set).is_none()
                && let Some(last) = set.iter().max_by_key(|it| it.dot().lamport)
            {
                let (key, by) = (last.write().key.clone(), *last.dot());
                over.push(now(Entry::Resolved { key, by }));
            }
        }
        over.chunks(BATCH_MAX).for_each(|batch| self.take(batch));
        let mut from = None;
        loop {
            let page = list(store, from.as_ref(), BATCH_MAX)?;
            let all = page.sets.iter().filter_map(conflict::standing);
            let missed = all.filter(|it| !self.open.contains(&it.key().id()));
            let missed: Vec<Logged> = missed.map(now).collect();
            if !missed.is_empty() {
                self.take(&missed);
            }
            from = page.next;
            if from.is_none() {
                return Ok(());
            }
        }
    }

    fn write(&mut self, batch: &[Logged]) -> Result<(), Error> {
        let payloads: Vec<Vec<u8>> = batch.iter().map(codec::encode).collect();
        let bytes: usize = payloads.iter().map(Vec::len).sum();
        if self.bytes + bytes as u64 > BYTES_MAX {
            return Err(Error::Io {
                what: "the conflict log".into(),
                source: io::ErrorKind::QuotaExceeded.into(),
            });
        }
        let records: Vec<(u8, &[u8])> = payloads.iter().map(|it| (KIND, &it[..])).collect();
        self.journal.append_batch(&records)?;
        self.bytes += bytes as u64;
        Ok(())
    }

    fn tell(&self) {
        let open = self.open.len() as u64;
        self.shared.open.store(open, Ordering::Relaxed);
    }
}

fn note(open: &mut BTreeSet<KeyId>, entry: &Entry) {
    let id = entry.key().id();
    match entry {
        Entry::Found { .. } => open.insert(id),
        Entry::Resolved { .. } => open.remove(&id),
    };
}

/// Gives every good entry with its number, oldest first, also beside the node that writes; and
/// where entries are missing, or what stands there is none.
pub fn read(dir: &Path, mut take: impl FnMut(u64, Logged)) -> Result<Vec<Cut>, Error> {
    let mut odd = Vec::new();
    let mut cuts = journal::read(dir, |record| match codec::decode(&record.payload) {
        Ok(logged) => take(record.seq.0, logged),
        Err(_) => odd.push(Cut {
            after: record.seq,
            next: None,
        }),
    })?;
    cuts.extend(odd);
    Ok(cuts)
}

#[cfg(test)]
mod tests {
    use chorus_protocol::causality::version::{Dot, Replica};
    use chorus_protocol::ids::{Incarnation, NodeId};
    use chorus_protocol::memory::key::Key;

    use chorus_protocol::causality::version::Version;
    use chorus_protocol::ids::MeshId;
    use chorus_protocol::memory::record::{Record, Write};
    use chorus_protocol::memory::siblings::Siblings;
    use chorus_protocol::wire::Identity;
    use chorus_storage::FaultyStore;
    use chorus_storage::faulty::Schedule;
    use chorus_storage::store::{Batch, Store, Tree};

    use super::*;

    /// Values of a key that do not know of each other, in the store.
    fn stand(store: &mut FaultyStore, name: &str, values: &[&str]) {
        let key = Key::shared(name).expect("a key");
        let mut set = Siblings::default();
        for (value, author) in values.iter().zip(1..) {
            let identity = Identity::from_seed(&[author; 32]);
            let replica = Replica {
                node: identity.id(),
                since: Incarnation(1),
            };
            let write = Write {
                key: key.clone(),
                dot: Dot {
                    replica,
                    lamport: u64::from(author),
                },
                seen: Version::default(),
                value: Some(value.as_bytes().to_vec()),
                expires_s: None,
            };
            set.merge(Record::seal(&identity, &MeshId([7; 32]), write).expect("a record"));
        }
        let value = [&set.digest().0[..], &set.encode()].concat();
        let batch = Batch::new().put(Tree::Memory, key.id().position().0, value);
        store.apply(&batch).expect("room");
    }

    #[test]
    fn a_log_that_missed_something_is_told_it_again_by_what_stands_in_the_store() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = FaultyStore::new(1, Schedule::default());
        stand(&mut store, "one", &["1"]);
        stand(&mut store, "alike", &["1", "1"]);
        stand(&mut store, "two", &["1", "2"]);
        stand(&mut store, "three", &["1", "2", "3"]);
        let entries = || {
            let mut all = Vec::new();
            read(dir.path(), |_, logged| all.push(logged.entry)).expect("it reads");
            all
        };
        for what in ["lost", "as it was left"] {
            let log = ConflictLog::start(dir.path(), &store.reader()).expect("it starts");
            assert_eq!(log.open(), 2, "{what}");
            drop(log);
            let all = entries();
            let named = |name: &str, many: usize| {
                let is = |it: &&Entry| match it {
                    Entry::Found { key, expected, .. } => {
                        key.as_str().ends_with(name) && expected.len() == many
                    }
                    Entry::Resolved { .. } => false,
                };
                all.iter().filter(is).count()
            };
            let found = (all.len(), named("/two", 1), named("/three", 2));
            assert_eq!(found, (2, 1, 1), "{what}: {all:?}");
        }
        // A kill came before the end of one was logged.
        stand(&mut store, "two", &["1"]);
        let log = ConflictLog::start(dir.path(), &store.reader()).expect("it starts");
        assert_eq!(log.open(), 1);
        drop(log);
        assert!(
            matches!(&entries()[2..], [Entry::Resolved { key, .. }] if key.as_str().ends_with("/two"))
        );
    }

    fn resolved(name: &str, lamport: u64) -> Entry {
        let replica = Replica {
            node: NodeId([1; 32]),
            since: Incarnation(1),
        };
        let by = Dot { replica, lamport };
        Entry::Resolved {
            key: Key::shared(name).expect("a key"),
            by,
        }
    }

    #[test]
    fn what_was_logged_is_there_after_a_restart_in_its_order() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = FaultyStore::new(1, Schedule::default());
        let log = ConflictLog::start(dir.path(), &store.reader()).expect("it starts");
        for n in 0..500 {
            assert!(log.log(resolved("a", n)));
        }
        drop(log);
        let log = ConflictLog::start(dir.path(), &store.reader()).expect("it starts again");
        assert!(log.log(resolved("b", 500)));
        assert_eq!((log.open(), log.counters().count()), (0, 0));
        drop(log);
        let mut all = Vec::new();
        let cuts = read(dir.path(), |id, logged| all.push((id, logged.entry)));
        assert_eq!(cuts.expect("it reads"), []);
        assert_eq!(all.len(), 501);
        let entry = |n: u64| resolved(if n < 500 { "a" } else { "b" }, n);
        assert!(
            all.iter()
                .zip(0..)
                .all(|((id, it), n)| *id == n + 1 && *it == entry(n))
        );
    }
}
