//! Reads from any thread while the store's own thread writes.

use std::sync::{Arc, Weak};

use crate::store::{Error, Page, Tree, Usage};

/// What a store offers to other threads.
pub(crate) trait Read: Send + Sync {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error>;
    fn usage_of(&self, tree: Tree) -> Result<Usage, Error>;
}

/// A way to read a store from other threads; clones are cheap. Made by
/// [`Store::reader`](crate::store::Store::reader).
///
/// It checks as the store itself does: a damaged value is counted and never served.
/// It sees what was applied, which the disk may still lose: whoever acknowledges
/// something because of what he read asks the store's own thread. One key is read as it
/// was before or after a batch; a page may see a batch that was applied meanwhile in part.
///
/// It does not keep the store open: once that is closed, each call is [`Error::Closed`].
#[derive(Clone)]
pub struct Reader(Arc<dyn Read>);

impl Reader {
    pub(crate) fn of<R: Read + 'static>(read: &Arc<R>) -> Self {
        Self(Arc::new(Away(Arc::downgrade(read))))
    }

    /// As [`Store::get`](crate::store::Store::get).
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(tree, key)
    }

    /// As [`Store::scan`](crate::store::Store::scan).
    pub fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error> {
        self.0.scan(tree, prefix, from, limit)
    }

    /// As [`Store::usage_of`](crate::store::Store::usage_of).
    pub fn usage_of(&self, tree: Tree) -> Result<Usage, Error> {
        self.0.usage_of(tree)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// Does not keep open what it reads.
struct Away<R>(Weak<R>);

impl<R> Away<R> {
    fn there(&self) -> Result<Arc<R>, Error> {
        self.0.upgrade().ok_or(Error::Closed)
    }
}

impl<R: Read> Read for Away<R> {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.there()?.get(tree, key)
    }

    fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error> {
        self.there()?.scan(tree, prefix, from, limit)
    }

    fn usage_of(&self, tree: Tree) -> Result<Usage, Error> {
        self.there()?.usage_of(tree)
    }
}
