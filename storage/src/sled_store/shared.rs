//! The open database as its store and its readers share it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use super::store::{as_damage, full_key, guard};
use super::walk::{beyond, look};
use crate::reader::Read;
use crate::store::{Error, PAGE_BYTES_MAX, Page, Tree, Usage, name, unseal};
use crate::tally::Tally;

/// How often a key is looked up for one read of it. sled makes room in its cache only once 64
/// lookups of pages have gathered in one of its 256 shards: with one lookup a page, 16,384
/// pages are in memory before it looks at the cache's size. Two more, at half a microsecond
/// each, keep it near that. Writes make one: a page that a write of scattered keys needs
/// again soon is better not read from the disk again.
const LOOKUPS: usize = 3;

/// Places of one page that are stepped over; finding where one ends takes some 250 lookups.
const GAPS_MAX: usize = 16;

/// sled, and what is known of it on every thread. The store owns it; a reader has it only
/// for the time of a call.
#[derive(Debug)]
pub(super) struct Shared {
    // `None` only while it is dropped.
    db: Option<sled::Db>,
    pub(super) tally: Tally,
    /// Why nothing more may be written: the first failed write, or damage that a read met.
    pub(super) broken: OnceLock<String>,
}

impl Shared {
    pub(super) fn new(db: sled::Db, tally: Tally) -> Self {
        Self {
            db: Some(db),
            tally,
            broken: OnceLock::new(),
        }
    }

    /// What a lookup that failed means: damage, or trouble of the machine.
    fn unreadable(&self, tree: Tree, error: Error) -> Error {
        let error = as_damage(error);
        if matches!(error, Error::Damaged { .. }) {
            self.spoil(tree);
        }
        error
    }

    /// sled cannot read its own files: what is written into them from now on would be
    /// acknowledged and gone at the next opening, which goes on in a copy of what is left.
    fn spoil(&self, tree: Tree) {
        self.tally.damage(tree, 1);
        let why = "its files are damaged; the next start keeps what it can still read, if anything";
        let _ = self.broken.set(why.into());
    }

    pub(super) fn db(&self) -> &sled::Db {
        self.db
            .as_ref()
            .expect("invariant: the database is there until drop")
    }
}

impl Read for Shared {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let found = guard(&name(tree, key), || {
            let full = full_key(tree, key);
            for _ in 1..LOOKUPS {
                self.db().get(&full)?;
            }
            self.db().get(&full)
        });
        let found = found.map_err(|error| self.unreadable(tree, error))?;
        let Some(sealed) = found else {
            return Ok(None);
        };
        let value = unseal(tree, key, &sealed).ok_or_else(|| {
            self.tally.damage(tree, 1);
            Error::Damaged {
                what: name(tree, key),
            }
        })?;
        Ok(Some(value.to_vec()))
    }

    fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error> {
        let start = full_key(tree, from.unwrap_or_default().max(prefix));
        let inside = full_key(tree, prefix);
        let page = guard(&name(tree, prefix), || {
            let (mut page, mut bytes) = (Page::default(), 0);
            let db = self.db();
            let mut last = start.clone();
            let mut found = look(|| db.range(start..).next().transpose())?;
            // Each row is looked up anew, as [`LOOKUPS`] wants it.
            loop {
                let next = match found {
                    Some(next) => next,
                    None if page.gaps.len() == GAPS_MAX => {
                        let why = "too much of the database cannot be read";
                        return Err(sled::Error::ReportableBug(why.into()));
                    }
                    None => {
                        page.gaps.push(last.get(1..).unwrap_or_default().to_vec());
                        beyond(db, &last)?
                    }
                };
                let Some((full, sealed)) = next else {
                    break;
                };
                if !full.starts_with(&inside) {
                    break;
                }
                let key = &full[1..];
                if page.rows.len() + page.damaged.len() == limit || bytes >= PAGE_BYTES_MAX {
                    page.next = Some(key.to_vec());
                    break;
                }
                bytes += key.len() + sealed.len();
                match unseal(tree, key, &sealed) {
                    Some(value) => page.rows.push((key.to_vec(), value.to_vec())),
                    None => page.damaged.push(key.to_vec()),
                }
                found = look(|| db.get_gt(&full))?;
                last = full.to_vec();
            }
            Ok(page)
        });
        let page = page.map_err(|error| self.unreadable(tree, error))?;
        page.damaged.iter().for_each(|_| self.tally.damage(tree, 1));
        if !page.gaps.is_empty() {
            self.spoil(tree);
        }
        Ok(page)
    }

    fn usage_of(&self, tree: Tree) -> Result<Usage, Error> {
        Ok(self.tally.of(tree))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let db = self.db.take();
        if self.broken.get().is_some() {
            // After a failed write sled's own drop waits for ever, holding a lock
            // that every store of this process needs. So it is left as it is, and
            // with it the files' lock: only a new process opens them again.
            std::mem::forget(db);
            return;
        }
        // sled flushes in its own drop, which panics when its files are broken.
        // Whatever fails here was never acknowledged.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}
