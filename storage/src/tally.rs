//! What each tree holds, counted with every change and readable from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::{Tree, Usage};

/// Records and bytes that one change of a tree brings, or with a minus takes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Difference {
    records: i64,
    bytes: i64,
}

/// A [`Difference`] of every tree.
pub(crate) type Differences = [Difference; Tree::ALL.len()];

impl Difference {
    /// One record more; `bytes` of its key and value.
    pub(crate) fn add(&mut self, bytes: u32) {
        self.records += 1;
        self.bytes += i64::from(bytes);
    }

    /// One record less.
    pub(crate) fn remove(&mut self, bytes: u32) {
        self.records -= 1;
        self.bytes -= i64::from(bytes);
    }
}

/// The place of a tree in [`Differences`].
pub(crate) fn at(tree: Tree) -> usize {
    tree as usize - 1
}

/// See the module's words. One thread changes it.
#[derive(Debug, Default)]
pub(crate) struct Tally([One; Tree::ALL.len()]);

#[derive(Debug, Default)]
struct One {
    records: AtomicU64,
    bytes: AtomicU64,
    damaged: AtomicU64,
}

impl Tally {
    /// Takes in what a batch changed.
    pub(crate) fn take(&self, differences: &Differences) {
        for (one, difference) in self.0.iter().zip(differences) {
            let add = |to: &AtomicU64, n: i64| {
                let sum = to.load(Ordering::Relaxed).saturating_add_signed(n);
                to.store(sum, Ordering::Relaxed);
            };
            add(&one.records, difference.records);
            add(&one.bytes, difference.bytes);
        }
    }

    /// Damaged values were met.
    pub(crate) fn damage(&self, tree: Tree, count: u64) {
        let damaged = &self.0[at(tree)].damaged;
        damaged.fetch_add(count, Ordering::Relaxed);
    }

    /// What one tree holds.
    pub(crate) fn of(&self, tree: Tree) -> Usage {
        let one = &self.0[at(tree)];
        Usage {
            records: one.records.load(Ordering::Relaxed),
            bytes: one.bytes.load(Ordering::Relaxed),
            damaged: one.damaged.load(Ordering::Relaxed),
        }
    }

    /// What all trees hold together.
    pub(crate) fn all(&self) -> Usage {
        let each = Tree::ALL.into_iter().map(|tree| self.of(tree));
        each.fold(Usage::default(), |sum, it| Usage {
            records: sum.records + it.records,
            bytes: sum.bytes + it.bytes,
            damaged: sum.damaged + it.damaged,
        })
    }
}
