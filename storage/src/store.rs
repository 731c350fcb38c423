//! The small trait between a node's state and its disk, with its errors and value checksums.

use std::io;

use crate::crc::crc32;
pub use crate::reader::Reader;

/// The longest key in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// The longest value in bytes: one wire frame (64 KiB).
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The largest batch in bytes of keys and values. It bounds what one flush writes.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// A page of a scan ends with the row that brings it to this many bytes of keys and values.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Which collection a key belongs to. The number is on disk and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tree {
    /// Signed roster entries and revocations.
    Roster = 1,
    /// The last accepted state of each peer.
    Peers = 2,
    /// Single facts about this node.
    Meta = 3,
    /// Signed records of the replicated memory, by key.
    Memory = 4,
    /// Checkpoints of running work.
    Checkpoints = 5,
}

impl Tree {
    /// Every tree, in the order of their numbers.
    pub const ALL: [Tree; 5] = [
        Tree::Roster,
        Tree::Peers,
        Tree::Meta,
        Tree::Memory,
        Tree::Checkpoints,
    ];
}

/// One change of a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store `value` under `key`.
    Put {
        /// The collection.
        tree: Tree,
        /// At most [`KEY_BYTES_MAX`].
        key: Vec<u8>,
        /// At most [`VALUE_BYTES_MAX`].
        value: Vec<u8>,
    },
    /// Remove `key`; nothing happens when it is absent.
    Delete {
        /// The collection.
        tree: Tree,
        /// The key.
        key: Vec<u8>,
    },
}

impl Change {
    /// The collection and the key.
    pub fn place(&self) -> (Tree, &[u8]) {
        match self {
            Change::Put { tree, key, .. } | Change::Delete { tree, key } => (*tree, key),
        }
    }

    /// What is stored; `None` where the key is removed.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Change::Put { value, .. } => Some(value),
            Change::Delete { .. } => None,
        }
    }

    fn bytes(&self) -> (usize, usize) {
        (self.place().1.len(), self.value().map_or(0, <[u8]>::len))
    }
}

/// Changes that happen together or not at all. A later change of the same key wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<Change>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a write.
    #[must_use]
    pub fn put(mut self, tree: Tree, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.changes.push(Change::Put { tree, key, value });
        self
    }
    /// Adds a removal.
    #[must_use]
    pub fn delete(mut self, tree: Tree, key: impl Into<Vec<u8>>) -> Self {
        let key = key.into();
        self.changes.push(Change::Delete { tree, key });
        self
    }
    /// The changes in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Bytes of its keys and values.
    pub fn bytes(&self) -> usize {
        let each = self.changes.iter().map(Change::bytes);
        each.map(|(key, value)| key + value).sum()
    }

    /// The bytes of keys and values, when every limit is kept.
    pub(crate) fn check(&self) -> Result<u64, Error> {
        for change in &self.changes {
            let (key, value) = change.bytes();
            limit("key", key, KEY_BYTES_MAX)?;
            limit("value", value, VALUE_BYTES_MAX)?;
        }
        let total = self.bytes();
        limit("batch", total, BATCH_BYTES_MAX)?;
        Ok(total as u64)
    }
}

/// Refuses `bytes` over `max`.
pub(crate) fn limit(what: &'static str, bytes: usize, max: usize) -> Result<(), Error> {
    match bytes > max {
        true => Err(Error::TooLarge { what, bytes, max }),
        false => Ok(()),
    }
}

/// One page of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and values in ascending order of the key's bytes.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys in the same range whose value is damaged; they count towards the limit.
    pub damaged: Vec<Vec<u8>>,
    /// Where some keys cannot be read, nor how many they are: the key before each such place,
    /// or where the page begins.
    pub gaps: Vec<Vec<u8>>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<Vec<u8>>,
}

/// What a store, or one tree of it, holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys.
    pub records: u64,
    /// Bytes of keys and values, without the overhead of the files.
    pub bytes: u64,
    /// Damaged values met since the store was opened.
    pub damaged: u64,
}

/// Why a call on the store or the journal failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk has no room. Reads go on. A refused `apply` or `append` changed
    /// nothing; of what a refused `flush` was to store, a part may be there later.
    #[error(
        "{what}: the disk is full, nothing of it is acknowledged; make room, then restart the node if this stays"
    )]
    Full {
        /// What was being done.
        what: String,
    },
    /// Stored bytes fail their checksum. They are never served; fetch them from a replica.
    #[error("{what} is damaged on disk; nothing changed, fetch it again from a peer")]
    Damaged {
        /// The file or key.
        what: String,
    },
    /// The caller passed more than a limit allows. Nothing changed.
    #[error("a {what} of {bytes} bytes is over the limit of {max}; nothing changed")]
    TooLarge {
        /// Key, value, batch or record.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An earlier failure left the state of the file unknown. Nothing more is
    /// accepted; open it again.
    #[error("{what} failed earlier ({why}) and takes no more writes; restart the node")]
    Broken {
        /// Which part.
        what: &'static str,
        /// The first failure.
        why: String,
    },
    /// Another process has the files open. Nothing changed.
    #[error("{what} is in use by another process")]
    Busy {
        /// The folder.
        what: String,
    },
    /// A [`Reader`] whose store is closed. Nothing was read.
    #[error("the store is closed; nothing was read")]
    Closed,
    /// The operating system refused. What was being written is not acknowledged.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The system's error.
        source: io::Error,
    },
}

impl Error {
    /// Sorts an error of the system: a full disk is named as such.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { what },
            _ => Error::Io { what, source },
        }
    }
}

/// Ordered keys and values with atomic batches.
///
/// What `apply` did is visible at once and durable only when a later `flush`
/// returned `Ok`: acknowledge nothing before that.
pub trait Store: Send {
    /// The value of `key`, or [`Error::Damaged`] when its bytes are not what was stored.
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Up to `limit` keys that begin with `prefix`, from `from` on (inclusive); fewer
    /// when their bytes reach [`PAGE_BYTES_MAX`].
    fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error>;

    /// Makes all changes of `batch`, or none.
    fn apply(&mut self, batch: &Batch) -> Result<(), Error>;

    /// Makes everything applied before durable.
    fn flush(&mut self) -> Result<(), Error>;

    /// What the store holds now.
    fn usage(&self) -> Usage;

    /// What one tree of it holds now. Costs nothing: it is counted with each change.
    fn usage_of(&self, tree: Tree) -> Usage;

    /// The way to read this store from other threads.
    fn reader(&self) -> Reader;
}

/// A value as it lies on disk: CRC-32 over tree, key and value, then the value.
/// The key is under the checksum so that a value is never served under another.
pub(crate) fn seal(tree: Tree, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(4 + value.len());
    sealed.extend(crc32(&[&[tree as u8], key, value]).to_le_bytes());
    sealed.extend(value);
    sealed
}

/// The value inside `sealed`, when it is the one stored under `key`.
pub(crate) fn unseal<'a>(tree: Tree, key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (crc, value) = sealed.split_at_checked(4)?;
    (crc32(&[&[tree as u8], key, value]).to_le_bytes() == crc).then_some(value)
}

/// A key in words, for errors.
pub(crate) fn name(tree: Tree, key: &[u8]) -> String {
    let shown: String = key
        .iter()
        .take(32)
        .flat_map(|b| b.escape_ascii())
        .map(char::from)
        .collect();
    format!("{tree:?} `{shown}`")
}
