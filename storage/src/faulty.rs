//! The in-memory twin of the store that crashes, fills up, damages and fails on purpose.
//!
//! It is deterministic: which unflushed batches survive a crash is a function of
//! the seed. Simulated nodes run on it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chorus_protocol::units::{Noise, Seeded};

use crate::reader::{Read, Reader};
use crate::store::{
    Batch, Change, Error, PAGE_BYTES_MAX, Page, Store, Tree, Usage, name, seal, unseal,
};
use crate::tally::{Differences, Tally, at};

type Rows = BTreeMap<(Tree, Vec<u8>), Vec<u8>>;

/// When a fault strikes. Calls of `apply` and `flush` are counted from 1, each its own way.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    /// Calls of `apply` that find the disk full.
    pub full: Vec<u64>,
    /// Calls of `flush` that fail; from then on the store is broken until it crashes.
    pub flush_fails: Vec<u64>,
}

/// See the module's words.
#[derive(Debug)]
pub struct FaultyStore {
    durable: Rows,
    pending: Vec<Batch>,
    visible: Arc<Visible>,
    schedule: Schedule,
    noise: Seeded,
    applies: u64,
    flushes: u64,
    broken: bool,
}

/// What reads see.
#[derive(Debug, Default)]
struct Visible {
    rows: RwLock<Rows>,
    tally: Tally,
}

impl Visible {
    fn of(rows: Rows) -> Self {
        let (tally, mut differences) = (Tally::default(), Differences::default());
        for ((tree, key), sealed) in &rows {
            differences[at(*tree)].add(bytes(key, sealed));
        }
        tally.take(&differences);
        let rows = RwLock::new(rows);
        Self { rows, tally }
    }

    fn rows(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows_mut(&self) -> RwLockWriteGuard<'_, Rows> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn open<'a>(&self, tree: Tree, key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
        let value = unseal(tree, key, sealed);
        if value.is_none() {
            self.tally.damage(tree, 1);
        }
        value
    }
}

impl FaultyStore {
    /// An empty store whose crashes follow `seed`.
    pub fn new(seed: u64, schedule: Schedule) -> Self {
        Self {
            durable: Rows::new(),
            pending: Vec::new(),
            visible: Arc::default(),
            schedule,
            noise: Seeded::new(seed),
            applies: 0,
            flushes: 0,
            broken: false,
        }
    }

    /// Power off and on: some prefix of the unflushed batches survives. Returns how many.
    /// Readers from before end with it.
    pub fn crash(&mut self) -> usize {
        let survivors = (self.noise.bits() % (self.pending.len() as u64 + 1)) as usize;
        for batch in self.pending.drain(..).take(survivors) {
            change(&mut self.durable, &batch);
        }
        self.visible = Arc::new(Visible::of(self.durable.clone()));
        self.broken = false;
        survivors
    }

    /// Flips one stored bit, chosen by the seed. False when the key is absent.
    pub fn flip_bit(&mut self, tree: Tree, key: &[u8]) -> bool {
        let at = (tree, key.to_vec());
        let mut visible = self.visible.rows_mut();
        let Some(sealed) = visible.get_mut(&at) else {
            return false;
        };
        let bit = (self.noise.bits() % (sealed.len() as u64 * 8)) as usize;
        sealed[bit / 8] ^= 1 << (bit % 8);
        if let Some(durable) = self.durable.get_mut(&at) {
            durable.clone_from(sealed);
        }
        true
    }

    fn usable(&self) -> Result<(), Error> {
        match self.broken {
            true => Err(Error::Broken {
                what: "the store",
                why: "a flush failed".into(),
            }),
            false => Ok(()),
        }
    }
}

/// Of key and value as the caller sees them.
fn bytes(key: &[u8], sealed: &[u8]) -> u32 {
    (key.len() + sealed.len() - 4) as u32
}

/// Makes the changes, and says what came of them.
fn change(rows: &mut Rows, batch: &Batch) -> Differences {
    let mut differences = Differences::default();
    for change in batch.changes() {
        let (tree, key, old) = match change {
            Change::Put { tree, key, value } => {
                let sealed = seal(*tree, key, value);
                differences[at(*tree)].add(bytes(key, &sealed));
                (tree, key, rows.insert((*tree, key.clone()), sealed))
            }
            Change::Delete { tree, key } => (tree, key, rows.remove(&(*tree, key.clone()))),
        };
        if let Some(old) = old {
            differences[at(*tree)].remove(bytes(key, &old));
        }
    }
    differences
}

impl Read for Visible {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let rows = self.rows();
        let Some(sealed) = rows.get(&(tree, key.to_vec())) else {
            return Ok(None);
        };
        match self.open(tree, key, sealed) {
            Some(value) => Ok(Some(value.to_vec())),
            None => Err(Error::Damaged {
                what: name(tree, key),
            }),
        }
    }

    fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error> {
        let (mut page, mut bytes) = (Page::default(), 0);
        let start = from.unwrap_or_default().max(prefix).to_vec();
        let rows = self.rows();
        let range = rows.range((tree, start)..);
        let inside = range.take_while(|((t, k), _)| *t == tree && k.starts_with(prefix));
        for (n, ((_, key), sealed)) in inside.enumerate() {
            if n == limit || bytes >= PAGE_BYTES_MAX {
                page.next = Some(key.clone());
                break;
            }
            bytes += key.len() + sealed.len();
            match self.open(tree, key, sealed) {
                Some(value) => page.rows.push((key.clone(), value.to_vec())),
                None => page.damaged.push(key.clone()),
            }
        }
        Ok(page)
    }

    fn usage_of(&self, tree: Tree) -> Result<Usage, Error> {
        Ok(self.tally.of(tree))
    }
}

impl Store for FaultyStore {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.visible.get(tree, key)
    }

    fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error> {
        self.visible.scan(tree, prefix, from, limit)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        batch.check()?;
        self.usable()?;
        self.applies += 1;
        if self.schedule.full.contains(&self.applies) {
            return Err(Error::Full {
                what: "the store".into(),
            });
        }
        let differences = change(&mut self.visible.rows_mut(), batch);
        self.visible.tally.take(&differences);
        self.pending.push(batch.clone());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.usable()?;
        self.flushes += 1;
        if self.schedule.flush_fails.contains(&self.flushes) {
            self.broken = true;
            return Err(Error::io(
                "flush of the store",
                io::Error::other("scheduled fault"),
            ));
        }
        for batch in self.pending.drain(..) {
            change(&mut self.durable, &batch);
        }
        Ok(())
    }

    fn usage(&self) -> Usage {
        self.visible.tally.all()
    }

    fn usage_of(&self, tree: Tree) -> Usage {
        self.visible.tally.of(tree)
    }

    fn reader(&self) -> Reader {
        Reader::of(&self.visible)
    }
}
