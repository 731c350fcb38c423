//! Who stands before a listening socket: how many connections have yet to shake hands, told
//! from what libzmq's monitor says of them.
//!
//! The monitor names a connection by its descriptor when it comes and when it ends, but not
//! when its handshake succeeds. So successes are only counted: the young connections less
//! the successes of the same time are those that still stand there. Whoever is older than a
//! handshake may last has shaken hands, or libzmq would have ended it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// A handshake is over by then: libzmq gives it 5 s.
pub const HANDSHAKE_MAX: Duration = Duration::from_millis(5_500);

/// What a listening socket's monitor tells, with the descriptor that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The socket listens on this descriptor.
    Listens(RawFd),
    Came(RawFd),
    /// Some connection has shaken hands.
    Greeted,
    /// The handshake of the connection that ends next has failed.
    Failed,
    Ended(RawFd),
}

/// The connections of one listening socket.
#[derive(Debug, Default)]
pub struct Crowd {
    young: BTreeMap<RawFd, Instant>,
    old: BTreeSet<RawFd>,
    /// When handshakes succeeded whose connections may still count as young.
    greeted: VecDeque<Instant>,
    failed: bool,
}

impl Crowd {
    /// Takes in what was told. True if somebody left without having shaken hands.
    pub fn see(&mut self, arrival: Arrival, now: Instant) -> bool {
        match arrival {
            Arrival::Listens(_) => {}
            Arrival::Came(fd) => {
                self.old.remove(&fd);
                self.young.insert(fd, now);
            }
            Arrival::Greeted => self.greeted.push_back(now),
            Arrival::Failed => self.failed = true,
            Arrival::Ended(fd) => {
                let failed = std::mem::take(&mut self.failed);
                let young = self.young.remove(&fd).is_some();
                self.old.remove(&fd);
                if young && !failed {
                    // It had shaken hands, or broke a rule that libzmq says nothing of: in
                    // doubt one more is taken to stand there, for seconds.
                    return self.greeted.pop_front().is_none();
                }
                return young;
            }
        }
        false
    }

    /// Those whose time for a handshake is over are no longer young.
    pub fn age(&mut self, now: Instant) {
        let is_over = |since: &Instant| now.saturating_duration_since(*since) >= HANDSHAKE_MAX;
        while self.greeted.front().is_some_and(is_over) {
            self.greeted.pop_front();
        }
        let old = &mut self.old;
        self.young.retain(|fd, since| {
            let over = is_over(since);
            if over {
                old.insert(*fd);
            }
            !over
        });
    }

    /// Connections that have yet to shake hands, at most a few too many.
    pub fn unfinished(&self) -> usize {
        self.young.len().saturating_sub(self.greeted.len())
    }

    /// All connections.
    pub fn open(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_shaken_hands_does_not_stand_there_and_who_cannot_have_is_not_young() {
        let mut crowd = Crowd::default();
        let now = Instant::now();
        for fd in 0..10 {
            crowd.see(Arrival::Came(fd), now);
        }
        (0..4).for_each(|_| assert!(!crowd.see(Arrival::Greeted, now)));
        assert_eq!((crowd.unfinished(), crowd.open()), (6, 10));

        // One of those six gives up, one of the four says farewell.
        assert!(!crowd.see(Arrival::Failed, now));
        assert!(crowd.see(Arrival::Ended(9), now));
        assert!(!crowd.see(Arrival::Ended(0), now));
        assert_eq!((crowd.unfinished(), crowd.open()), (5, 8));

        crowd.age(now + HANDSHAKE_MAX);
        assert_eq!((crowd.unfinished(), crowd.open()), (0, 8));
        crowd.see(Arrival::Ended(1), now);
        assert_eq!(crowd.open(), 7);
    }

    #[test]
    fn a_descriptor_that_comes_again_is_another_connection() {
        let mut crowd = Crowd::default();
        let now = Instant::now();
        crowd.see(Arrival::Came(7), now);
        crowd.age(now + HANDSHAKE_MAX);
        crowd.see(Arrival::Came(7), now + HANDSHAKE_MAX);
        assert_eq!((crowd.unfinished(), crowd.open()), (1, 1));
    }
}
