//! What others subscribe to at our publishers: counted, since libzmq keeps every topic, at
//! several times its length, for as long as the connection of whoever asked for it lives.

use std::collections::BTreeMap;

use super::keys::Key;

/// Topics of one member. Our own nodes ask for three.
const TOPICS_MAX: usize = 64;
/// Their bytes together; the longest topic that there is has 55.
const BYTES_MAX: usize = 4 * 1024;

/// The topics of one publisher, each on the account of who asked for it first.
#[derive(Debug, Default)]
pub struct Topics {
    held: BTreeMap<Vec<u8>, Key>,
    used: BTreeMap<Key, Used>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Used {
    topics: usize,
    bytes: usize,
}

/// Why somebody is to be shut out.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMuch;

impl Topics {
    /// Takes in a message of libzmq's: somebody is the first to want a topic, or nobody
    /// wants it any more, which has no sender where a connection has ended.
    ///
    /// Only that gives room back. libzmq also passes on a cancel of what was never asked for
    /// on that connection, and keeps the topic for the other one that did.
    pub fn take(&mut self, message: &[u8], from: Option<Key>) -> Result<(), TooMuch> {
        match (message.split_first(), from) {
            (Some((1, topic)), Some(key)) => self.add(topic, key),
            (Some((0, topic)), None) => {
                self.remove(topic);
                Ok(())
            }
            (Some((0, topic)), Some(_)) if self.held.contains_key(topic) => Ok(()),
            // Nobody wants it: a stream of such words shall end.
            (Some((0, _)), Some(key)) => self.charge(key, 0),
            // Whoever says anything else to a publisher wants to fill its memory.
            _ => Err(TooMuch),
        }
    }

    fn add(&mut self, topic: &[u8], key: Key) -> Result<(), TooMuch> {
        // A topic that is told of again was not forgotten in between by whoever held it.
        if self.held.contains_key(topic) {
            return Ok(());
        }
        self.charge(key, topic.len())?;
        self.held.insert(topic.to_vec(), key);
        Ok(())
    }

    fn charge(&mut self, key: Key, bytes: usize) -> Result<(), TooMuch> {
        let used = self.used.entry(key).or_default();
        if used.topics >= TOPICS_MAX || used.bytes + bytes > BYTES_MAX {
            return Err(TooMuch);
        }
        used.topics += 1;
        used.bytes += bytes;
        Ok(())
    }

    fn remove(&mut self, topic: &[u8]) {
        let Some(key) = self.held.remove(topic) else {
            return;
        };
        let Some(used) = self.used.get_mut(&key) else {
            return;
        };
        used.topics -= 1;
        used.bytes -= topic.len();
        if used.topics == 0 {
            self.used.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = [1; 32];
    const B: Key = [2; 32];

    fn wants(n: usize) -> Vec<u8> {
        format!("\u{1}phase/sector/{n}").into_bytes()
    }

    #[test]
    fn each_member_has_its_own_bound_of_topics_and_gets_room_back() {
        let mut topics = Topics::default();
        (0..TOPICS_MAX).for_each(|n| assert_eq!(topics.take(&wants(n), Some(A)), Ok(())));
        assert_eq!(topics.take(&wants(TOPICS_MAX), Some(A)), Err(TooMuch));
        assert_eq!(topics.take(&wants(TOPICS_MAX), Some(B)), Ok(()));

        let mut end = wants(0);
        end[0] = 0;
        assert_eq!(topics.take(&end, None), Ok(()));
        assert_eq!(topics.take(&wants(0), Some(A)), Ok(()));
        assert_eq!(topics.take(&wants(1_000), Some(A)), Err(TooMuch));
    }

    #[test]
    fn long_topics_are_too_much_sooner_and_nothing_is_kept_of_who_left() {
        let mut topics = Topics::default();
        let long = |n: u8| [&[1, n][..], &[7; 1022]].concat();
        (0..4).for_each(|n| assert_eq!(topics.take(&long(n), Some(A)), Ok(())));
        assert_eq!(topics.take(&long(4), Some(A)), Err(TooMuch));
        for n in 0..4 {
            let mut end = long(n);
            end[0] = 0;
            assert_eq!(topics.take(&end, None), Ok(()));
        }
        assert!(topics.held.is_empty() && topics.used.is_empty());
    }

    #[test]
    fn a_cancel_gives_no_room_back_and_a_stream_of_them_is_too_much() {
        let mut topics = Topics::default();
        (0..TOPICS_MAX).for_each(|n| assert_eq!(topics.take(&wants(n), Some(A)), Ok(())));
        let cancels = |n| [&[0], &wants(n)[1..]].concat();
        (0..TOPICS_MAX).for_each(|n| assert_eq!(topics.take(&cancels(n), Some(A)), Ok(())));
        assert_eq!(topics.take(&wants(1_000), Some(A)), Err(TooMuch));
        let unheld = (0..=TOPICS_MAX).map(|n| topics.take(&cancels(2_000 + n), Some(B)));
        assert_eq!(unheld.filter(Result::is_err).count(), 1);
    }

    #[test]
    fn a_publisher_is_told_of_topics_and_of_nothing_else() {
        let mut topics = Topics::default();
        assert_eq!(topics.take(b"", Some(A)), Err(TooMuch));
        assert_eq!(topics.take(b"\x02hb", Some(A)), Err(TooMuch));
        assert_eq!(topics.take(b"\x01hb", None), Err(TooMuch));
    }
}
