//! What is stored under each key, in 36 bytes a record, so that no write has to read first.
//!
//! A batch of scattered keys meets more of sled's pages than its cache holds: read before
//! they are written, most would come from the disk twice.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::summary::{Held, hash};

/// The first half of a key's SHA-256: nobody finds two keys that share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name([u8; 16]);

impl Name {
    /// `full` is the key with its tree.
    pub(super) fn of(full: &[u8]) -> Self {
        Self(hash(&[full]).to_be_bytes())
    }
}

// It is a hash already.
impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// Takes the last eight bytes for the hash that they are.
#[derive(Debug, Default)]
pub(super) struct Taken(u64);

impl Hasher for Taken {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_be_bytes(*last);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type ByName<T> = HashMap<Name, T, BuildHasherDefault<Taken>>;

/// All records.
#[derive(Debug, Default)]
pub(super) struct Known(ByName<Held>);

impl Known {
    pub(super) fn add(&mut self, full: &[u8], held: Held) {
        self.0.insert(Name::of(full), held);
    }

    /// Takes in what a batch did.
    pub(super) fn take(&mut self, changes: Changes) {
        for (name, held) in changes.0 {
            match held {
                Some(held) => self.0.insert(name, held),
                None => self.0.remove(&name),
            };
        }
    }
}

/// What a batch makes of some records.
#[derive(Debug, Default)]
pub(super) struct Changes(ByName<Option<Held>>);

impl Changes {
    /// Notes that `full` is to hold `new`, and says what it held before, in this batch or
    /// in `known`.
    pub(super) fn set(&mut self, known: &Known, full: &[u8], new: Option<Held>) -> Option<Held> {
        let name = Name::of(full);
        match self.0.insert(name, new) {
            Some(earlier) => earlier,
            None => known.0.get(&name).copied(),
        }
    }
}
