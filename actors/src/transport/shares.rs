//! Shares: how much of the gossip lane one sender may fill. Whoever floods it leaves room
//! for the others, and while nobody does no share is felt.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::keys::Key;

/// What each sender may have waiting.
#[derive(Debug)]
pub struct Shares {
    each: usize,
    senders: BTreeMap<Key, Arc<Semaphore>>,
}

impl Shares {
    /// Shares of `each` messages.
    pub fn new(each: usize) -> Self {
        Self {
            each,
            senders: BTreeMap::new(),
        }
    }

    /// A place in the share of `sender`, to be kept until its message is processed.
    pub fn take(&mut self, sender: Key) -> Option<OwnedSemaphorePermit> {
        let share = self.senders.entry(sender);
        let share = share.or_insert_with(|| Arc::new(Semaphore::new(self.each)));
        share.clone().try_acquire_owned().ok()
    }

    /// Forgets one that may send no more.
    pub fn forget(&mut self, sender: &Key) {
        self.senders.remove(sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_share_is_one_sender_s_affair_and_empties_with_what_was_taken() {
        let (loud, quiet) = ([1; 32], [2; 32]);
        let mut shares = Shares::new(2);
        let first = shares.take(loud);
        let second = shares.take(loud);
        assert!(first.is_some() && second.is_some());
        assert!(shares.take(loud).is_none());
        assert!(shares.take(quiet).is_some());
        drop(first);
        assert!(shares.take(loud).is_some());
        shares.forget(&loud);
        assert_eq!(shares.senders.len(), 1);
    }
}
