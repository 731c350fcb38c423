//! The store on its own OS thread: what must be durable before anything is said.
//!
//! Requests are done in order; whoever asked is told when they are on disk. The
//! queue is bounded, and a full one makes the caller's request fail at once.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use chorus_protocol::ids::{Digest, NodeId, Stamp};
use chorus_protocol::trust::door::Use;
use chorus_protocol::wire::codec;
use chorus_protocol::wire::message::Items;
use chorus_storage::boot::Boot;
use chorus_storage::home::write_atomic;
use chorus_storage::journal::Journal;
use chorus_storage::sled_store::SledStore;
use chorus_storage::store::{Batch, Store, Tree};

/// Requests that may wait.
const QUEUE_MAX: usize = 1_024;
/// The journal's kind of a used token.
pub const JOURNAL_USE: u8 = 1;

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

/// The way to the store.
#[derive(Clone)]
pub struct StoreHandle(SyncSender<Request>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreHandle")
    }
}

/// What the thread owns.
#[derive(Debug)]
pub struct Disk {
    /// Items and stamps.
    pub store: SledStore,
    /// What may never be forgotten.
    pub journal: Journal,
    /// Where the first items are mirrored.
    pub mirror: PathBuf,
    /// The count of starts and the reserved Lamport times.
    pub boot: Boot,
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

    /// Ends the thread once everything before is done.
    pub fn stop(&self) {
        // A blocking send on purpose: stopping waits for what is queued.
        let _ = self.0.send(Request::Stop);
    }
}

/// Starts the thread.
pub fn start(disk: Disk) -> std::io::Result<(StoreHandle, JoinHandle<()>)> {
    let (sender, receiver) = sync_channel(QUEUE_MAX);
    let thread = std::thread::Builder::new()
        .name("chorus-store".into())
        .spawn(move || run(disk, &receiver))?;
    Ok((StoreHandle(sender), thread))
}

fn run(mut disk: Disk, requests: &Receiver<Request>) {
    while let Ok(Request::Write(writes, done)) = requests.recv() {
        done(write(&mut disk, writes));
    }
}

fn write(disk: &mut Disk, writes: Vec<Write>) -> Result<(), String> {
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
                let bytes = codec::encode(&it);
                disk.journal
                    .append(JOURNAL_USE, &bytes)
                    .map_err(|e| e.to_string())?;
            }
            Write::Stamps(stamps) => {
                for (node, stamp) in stamps {
                    let bytes = codec::encode(&stamp);
                    batch = batch.put(Tree::Peers, node.0.to_vec(), bytes);
                }
            }
            Write::Mirror(items) => {
                let bytes = codec::encode(&items);
                write_atomic(&disk.mirror, &bytes, 0o600).map_err(|e| e.to_string())?;
            }
            Write::Reserve(upto) => disk.boot.reserve(upto).map_err(|e| e.to_string())?,
        }
    }
    if batch.changes().is_empty() {
        return Ok(());
    }
    disk.store.apply(&batch).map_err(|e| e.to_string())?;
    disk.store.flush().map_err(|e| e.to_string())
}
