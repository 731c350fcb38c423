//! The store on its own OS thread: what must be durable before anything is said.
//!
//! Requests are done in order; whoever asked is told when they are on disk. The
//! queue is bounded, and a full one makes the caller's request fail at once.
//!
//! A full disk is waited out: writes are refused, everything else goes on. After
//! any other failed write nobody knows what stands in the files, and only a new
//! process can open them again, so the node ends ([`Fatal::Store`]); where the
//! failure came of a full disk, not before there is room to start on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use chorus_protocol::ids::{Digest, NodeId, Stamp};
use chorus_protocol::trust::door::Use;
use chorus_protocol::wire::codec;
use chorus_protocol::wire::message::Items;
use chorus_storage::boot::Boot;
use chorus_storage::home::write_atomic;
use chorus_storage::journal::Journal;
use chorus_storage::store::{Batch, Error, Store, Tree};
use tokio::sync::mpsc;

use crate::restore::MIRRORED;
use crate::supervisor::Fatal;
pub use crate::uses::JOURNAL_USE;

/// Requests that may wait.
const QUEUE_MAX: usize = 1_024;
/// How often a store that a full disk broke looks for room.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something to make durable.
#[derive(Debug, Clone)]
pub enum Write {
    /// Directory items, by digest.
    Items(Vec<(Digest, Vec<u8>)>),
    /// Directory items that count no more.
    Forget(Vec<Digest>),
    /// A token's use.
    Use(Box<Use>),
    /// The newest stamps seen of peers.
    Stamps(Vec<(NodeId, Stamp)>),
    /// Lamport times up to this one.
    Reserve(u64),
    /// The items that a node needs first, kept beside the keys for the day when
    /// the store is lost.
    Mirror(Items),
}

/// Called on the store's thread when all writes are durable, or not.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

enum Request {
    Write(Vec<Write>, Done),
    Stop,
}

/// How the disk is, for whoever asks the node.
#[derive(Debug, Default)]
pub struct DiskState {
    full: AtomicBool,
    broken: AtomicBool,
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
    fn note(&self, result: &Result<(), Error>) {
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

/// The way to the store.
#[derive(Clone)]
pub struct StoreHandle(SyncSender<Request>, Arc<DiskState>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreHandle")
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
    /// The count of starts and the reserved Lamport times.
    pub boot: Boot,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

impl StoreHandle {
    /// Makes `writes` durable and then calls `done`.
    pub fn write(&self, writes: Vec<Write>, done: Done) {
        if let Err(refused) = self.0.try_send(Request::Write(writes, done)) {
            use std::sync::mpsc::TrySendError::{Disconnected, Full};
            let (Full(request) | Disconnected(request)) = refused;
            if let Request::Write(_, done) = request {
                done(Err(
                    "the store's queue is full or the store has stopped".into()
                ));
            }
        }
    }

    /// How the disk is.
    pub fn disk(&self) -> &DiskState {
        &self.1
    }

    /// Ends the thread once everything before is done.
    pub fn stop(&self) {
        // A blocking send on purpose: stopping waits for what is queued.
        let _ = self.0.send(Request::Stop);
    }
}

#[cfg(test)]
impl StoreHandle {
    /// A store whose writes a test takes and ends itself.
    pub(crate) fn by_hand() -> (Self, impl FnMut() -> Option<(Vec<Write>, Done)>) {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let next = move || match receiver.try_recv() {
            Ok(Request::Write(writes, done)) => Some((writes, done)),
            _ => None,
        };
        (Self(sender, Arc::default()), next)
    }
}

/// Starts the thread. It says through `fail` when a new process is needed.
pub fn start(
    disk: Disk,
    fail: mpsc::Sender<Fatal>,
) -> std::io::Result<(StoreHandle, JoinHandle<()>)> {
    let (sender, receiver) = sync_channel(QUEUE_MAX);
    let state = Arc::new(DiskState::default());
    let handle = StoreHandle(sender, state.clone());
    let thread = std::thread::Builder::new()
        .name("chorus-store".into())
        .spawn(move || run(disk, &receiver, &state, &fail))?;
    Ok((handle, thread))
}

fn run(
    mut disk: Disk,
    requests: &Receiver<Request>,
    state: &DiskState,
    fail: &mpsc::Sender<Fatal>,
) {
    let mut broken = None;
    loop {
        match requests.recv_timeout(LOOK_EVERY) {
            Ok(Request::Write(writes, done)) => {
                let result = write(&mut disk, writes);
                state.note(&result);
                if let Err(why) = &result
                    && broken.is_none()
                {
                    broken = disk.broken(why);
                }
                done(result.map_err(|why| why.to_string()));
            }
            Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(why) = &broken
            && !state.broken.swap(disk.has_room(), Ordering::Relaxed)
            && state.broken.load(Ordering::Relaxed)
        {
            tracing::error!(why, "the store is broken; only a new process can open it");
            // A full channel holds another reason to end.
            let _ = fail.try_send(Fatal::Store(why.clone()));
        }
    }
}

impl Disk {
    /// Why the files take no more writes after `error`; `None` when they do.
    fn broken(&mut self, error: &Error) -> Option<String> {
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
    fn has_room(&self) -> bool {
        self.boot.has_room()
    }
}

fn write(disk: &mut Disk, writes: Vec<Write>) -> Result<(), Error> {
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
                if !disk.has_room() {
                    let what = "the use of a token".into();
                    return Err(Error::Full { what });
                }
                disk.journal.append(JOURNAL_USE, &codec::encode(&it))?;
            }
            Write::Stamps(stamps) => {
                for (node, stamp) in stamps {
                    let bytes = codec::encode(&stamp);
                    batch = batch.put(Tree::Peers, node.0.to_vec(), bytes);
                }
            }
            Write::Mirror(items) => {
                let bytes = codec::encode(&items);
                write_atomic(&disk.mirror, &bytes, 0o600)?;
                if disk.store.get(Tree::Meta, MIRRORED)?.is_none() {
                    batch = batch.put(Tree::Meta, MIRRORED, "1");
                }
            }
            Write::Reserve(upto) => disk.boot.reserve(upto)?,
        }
    }
    if batch.changes().is_empty() {
        return Ok(());
    }
    disk.store.apply(&batch)?;
    disk.store.flush()
}
