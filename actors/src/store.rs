//! The store on its own OS thread: what must be durable before anything is said.
//!
//! Requests are done in order; whoever asked is told when they are on disk. Those that
//! wait share a flush ([`group`]). The queue is bounded, and a full one makes the
//! caller's request fail at once.
//!
//! A full disk is waited out: writes are refused, everything else goes on. After
//! any other failed write nobody knows what stands in the files, and only a new
//! process can open them again, so the node ends ([`Fatal::Store`]); where the
//! failure came of a full disk, not before there is room to start on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use chorus_protocol::ids::{Digest, NodeId, Stamp};
use chorus_protocol::memory::checkpoint::{Name, What};
use chorus_protocol::trust::door::Use;
use chorus_protocol::wire::message::Items;
use chorus_storage::Reader;
use chorus_storage::store::{Batch, Error, Store};
use tokio::sync::mpsc;

use crate::supervisor::Fatal;
pub use crate::uses::JOURNAL_USE;

mod disk;
mod group;
#[cfg(test)]
mod tests;

pub use disk::{Disk, DiskState};
use group::Group;

/// Requests that may wait.
const QUEUE_MAX: usize = 1_024;
/// Updates that may wait, so that a flood of them leaves room for what the node itself
/// must keep. With values of at most 64 KiB they hold 16 MiB.
const UPDATES_MAX: usize = 256;
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
    /// A file of a checkpoint.
    Checkpoint(Name, What, Arc<[u8]>),
    /// A checkpoint that is needed no more.
    ForgetCheckpoint(Name),
    /// The files of one that is damaged, by what their names begin with.
    RemoveCheckpoint(String),
}

impl Write {
    /// Whether it stands in another file than the store, durable by itself.
    fn is_elsewhere(&self) -> bool {
        !matches!(self, Write::Items(_) | Write::Forget(_) | Write::Stamps(_))
    }
}

/// Called on the store's thread when all writes are durable, or not.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

/// An update, whatever the type of its result.
trait Update: Send {
    /// What it changes, and whom to tell.
    fn change(self: Box<Self>, store: &dyn Store) -> (Result<Batch, Error>, Done);
    /// It is not done.
    fn refuse(self: Box<Self>, why: String);
}

type Change<T> = dyn FnOnce(&dyn Store) -> Result<(Batch, T), Error> + Send;

struct Typed<T> {
    change: Box<Change<T>>,
    done: Box<dyn FnOnce(Result<T, String>) + Send>,
}

impl<T: Send + 'static> Update for Typed<T> {
    fn change(self: Box<Self>, store: &dyn Store) -> (Result<Batch, Error>, Done) {
        let done = self.done;
        match (self.change)(store) {
            Ok((batch, result)) => (
                Ok(batch),
                Box::new(|durable| done(durable.map(|()| result))),
            ),
            Err(why) => {
                let text = why.to_string();
                (Err(why), Box::new(|_| done(Err(text))))
            }
        }
    }

    fn refuse(self: Box<Self>, why: String) {
        (self.done)(Err(why));
    }
}

enum Request {
    Write(Vec<Write>, Done),
    Update(Box<dyn Update>, Place),
    Stop,
}

/// One of the [`UPDATES_MAX`] places in the queue, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        // Counted even where it is refused: its drop takes it back.
        let before = taken.fetch_add(1, Ordering::Relaxed);
        let place = Self(taken.clone());
        (before < UPDATES_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The way to the store.
#[derive(Clone)]
pub struct StoreHandle {
    requests: SyncSender<Request>,
    state: Arc<DiskState>,
    updates: Arc<AtomicUsize>,
    reader: Reader,
}

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreHandle")
    }
}

const REFUSED: &str = "the store's queue is full or the store has stopped";

impl StoreHandle {
    fn new(requests: SyncSender<Request>, state: Arc<DiskState>, reader: Reader) -> Self {
        Self {
            requests,
            state,
            updates: Arc::default(),
            reader,
        }
    }

    /// Makes `writes` durable and then calls `done`.
    pub fn write(&self, writes: Vec<Write>, done: Done) {
        self.ask(Request::Write(writes, done));
    }

    /// Reads and changes the store in one step: `change` runs on the store's thread, sees
    /// everything that was asked before it, and gives a batch and a result; `done` has the
    /// result once the batch is durable. Where `change` or the disk fails, or too many
    /// updates wait, it has the error and nothing is acknowledged.
    ///
    /// Both run on the store's thread, `done` also on the caller's when it is refused:
    /// they do not block.
    pub fn update<T: Send + 'static>(
        &self,
        change: impl FnOnce(&dyn Store) -> Result<(Batch, T), Error> + Send + 'static,
        done: impl FnOnce(Result<T, String>) + Send + 'static,
    ) {
        let update = Box::new(Typed {
            change: Box::new(change),
            done: Box::new(done),
        });
        match Place::take(&self.updates) {
            Some(place) => self.ask(Request::Update(update, place)),
            None => update.refuse(REFUSED.into()),
        }
    }

    fn ask(&self, request: Request) {
        use std::sync::mpsc::TrySendError::{Disconnected, Full};
        let Err(Full(request) | Disconnected(request)) = self.requests.try_send(request) else {
            return;
        };
        match request {
            Request::Write(_, done) => done(Err(REFUSED.into())),
            Request::Update(update, _) => update.refuse(REFUSED.into()),
            Request::Stop => {}
        }
    }

    /// Reads from the caller's own thread; what it sees may not be durable.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// How the disk is.
    pub fn disk(&self) -> &DiskState {
        &self.state
    }

    /// Ends the thread once everything before is done.
    pub fn stop(&self) {
        // A blocking send on purpose: stopping waits for what is queued.
        let _ = self.requests.send(Request::Stop);
    }
}

#[cfg(test)]
impl StoreHandle {
    /// A store whose writes a test takes and ends itself. Its reader finds it closed.
    pub(crate) fn by_hand() -> (Self, impl FnMut() -> Option<(Vec<Write>, Done)>) {
        use chorus_storage::{FaultyStore, faulty::Schedule};
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let next = move || match receiver.try_recv() {
            Ok(Request::Write(writes, done)) => Some((writes, done)),
            _ => None,
        };
        let reader = FaultyStore::new(0, Schedule::default()).reader();
        (Self::new(sender, Arc::default(), reader), next)
    }
}

/// Starts the thread. It says through `fail` when a new process is needed.
pub fn start(
    disk: Disk,
    fail: mpsc::Sender<Fatal>,
) -> std::io::Result<(StoreHandle, JoinHandle<()>)> {
    let (sender, receiver) = sync_channel(QUEUE_MAX);
    let state = Arc::new(DiskState::default());
    let handle = StoreHandle::new(sender, state.clone(), disk.store.reader());
    let thread = std::thread::Builder::new()
        .name("chorus-store".into())
        .spawn(move || run(disk, &receiver, &state, &fail))?;
    Ok((handle, thread))
}

fn run(disk: Disk, requests: &Receiver<Request>, state: &DiskState, fail: &mpsc::Sender<Fatal>) {
    let mut group = Group::new(disk, state);
    loop {
        let mut next = match requests.recv_timeout(LOOK_EVERY) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => None,
        };
        let mut stop = false;
        while let Some(request) = next {
            match request {
                Request::Write(writes, done) => group.write(writes, done),
                Request::Update(update, _place) => group.update(update),
                Request::Stop => stop = true,
            }
            let more = !stop && !group.is_full();
            next = more.then(|| requests.try_recv().ok()).flatten();
        }
        group.end();
        if stop {
            return;
        }
        if let Some(why) = group.must_end() {
            tracing::error!(why, "the store is broken; only a new process can open it");
            // A full channel holds another reason to end.
            let _ = fail.try_send(Fatal::Store(why.to_owned()));
        }
    }
}
