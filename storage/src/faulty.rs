//! The in-memory twin of the store that crashes, fills up, damages and fails on purpose.
//!
//! It is deterministic: which unflushed batches survive a crash is a function of
//! the seed. Simulated nodes run on it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;

use chorus_protocol::units::{Noise, Seeded};

use crate::store::{Batch, Change, Error, Page, Store, Tree, Usage, name, seal, unseal};

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
    visible: Rows,
    schedule: Schedule,
    noise: Seeded,
    applies: u64,
    flushes: u64,
    broken: bool,
    damaged: Cell<u64>,
}

impl FaultyStore {
    /// An empty store whose crashes follow `seed`.
    pub fn new(seed: u64, schedule: Schedule) -> Self {
        Self {
            durable: Rows::new(),
            pending: Vec::new(),
            visible: Rows::new(),
            schedule,
            noise: Seeded::new(seed),
            applies: 0,
            flushes: 0,
            broken: false,
            damaged: Cell::new(0),
        }
    }

    /// Power off and on: some prefix of the unflushed batches survives. Returns how many.
    pub fn crash(&mut self) -> usize {
        let survivors = (self.noise.bits() % (self.pending.len() as u64 + 1)) as usize;
        for batch in self.pending.drain(..).take(survivors) {
            change(&mut self.durable, &batch);
        }
        self.visible = self.durable.clone();
        self.broken = false;
        self.damaged.set(0);
        survivors
    }

    /// Flips one stored bit, chosen by the seed. False when the key is absent.
    pub fn flip_bit(&mut self, tree: Tree, key: &[u8]) -> bool {
        let at = (tree, key.to_vec());
        let Some(sealed) = self.visible.get_mut(&at) else {
            return false;
        };
        let bit = (self.noise.bits() % (sealed.len() as u64 * 8)) as usize;
        sealed[bit / 8] ^= 1 << (bit % 8);
        if let Some(durable) = self.durable.get_mut(&at) {
            durable.clone_from(sealed);
        }
        true
    }

    fn read<'a>(&self, tree: Tree, key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
        let value = unseal(tree, key, sealed);
        if value.is_none() {
            self.damaged.set(self.damaged.get() + 1);
        }
        value
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

fn change(rows: &mut Rows, batch: &Batch) {
    for change in batch.changes() {
        match change {
            Change::Put { tree, key, value } => {
                rows.insert((*tree, key.clone()), seal(*tree, key, value));
            }
            Change::Delete { tree, key } => {
                rows.remove(&(*tree, key.clone()));
            }
        }
    }
}

impl Store for FaultyStore {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(sealed) = self.visible.get(&(tree, key.to_vec())) else {
            return Ok(None);
        };
        match self.read(tree, key, sealed) {
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
        let mut page = Page::default();
        let start = from.unwrap_or_default().max(prefix).to_vec();
        let range = self.visible.range((tree, start)..);
        let inside = range.take_while(|((t, k), _)| *t == tree && k.starts_with(prefix));
        for (n, ((_, key), sealed)) in inside.enumerate() {
            if n == limit {
                page.next = Some(key.clone());
                break;
            }
            match self.read(tree, key, sealed) {
                Some(value) => page.rows.push((key.clone(), value.to_vec())),
                None => page.damaged.push(key.clone()),
            }
        }
        Ok(page)
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
        change(&mut self.visible, batch);
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
        Usage {
            records: self.visible.len() as u64,
            bytes: self
                .visible
                .iter()
                .map(|((_, k), v)| (k.len() + v.len() - 4) as u64)
                .sum(),
            damaged: self.damaged.get(),
        }
    }
}
