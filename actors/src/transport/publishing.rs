//! Publishing, and what subscribers make a publisher keep.

use std::time::{Duration, Instant};

use super::counters::count;
use super::endpoint::receive;
use super::inward::Which;
use super::keys::Key;
use super::zmq_thread::Thread;

/// How long a member that asked for too many topics is shut out of this node.
const SHUT_OUT: Duration = Duration::from_secs(600);

impl Thread {
    pub(super) fn publish(&mut self, topic: &[u8], frame: &[u8]) {
        count(&self.counters.published);
        let heard = self
            .outward
            .links
            .values()
            .filter_map(|link| link.heard.as_ref());
        let sockets = self
            .inward
            .socket(Which::Publisher)
            .into_iter()
            .chain(heard.map(|one| one.socket()));
        for socket in sockets {
            // It never refuses: it drops for a subscriber that is behind by its queue.
            let _ = socket.send_multipart([topic, frame], zmq::DONTWAIT);
        }
        // libzmq takes subscriptions in while it sends.
        self.look_at_topics(Instant::now());
    }

    /// Reads who subscribed to what, here and over the links, and parts with whoever asked
    /// for too much.
    pub(super) fn look_at_topics(&mut self, now: Instant) {
        let mut greedy: Option<Key> = None;
        let inward = &mut self.inward;
        while let Some(received) = inward.socket(Which::Publisher).and_then(receive) {
            let [message] = received.parts.as_slice() else {
                greedy = received.user;
                break;
            };
            if inward.topics_there.take(message, received.user).is_err() {
                greedy = received.user;
                break; // who is shut out is not listened to any longer
            }
        }
        if let Some(key) = greedy {
            self.shut_out(key, now);
        }
        for (key, link) in &mut self.outward.links {
            if !link.look_at_topics(*key) {
                count(&self.counters.topics_refused);
                tracing::warn!(
                    "a node that was dialled asked for too many topics: it is told nothing more"
                );
            }
        }
    }

    /// Lets a member in no more for a while, and ends what it listens to.
    fn shut_out(&mut self, key: Key, now: Instant) {
        if !self.zap.shut_out(key, now + SHUT_OUT) {
            return;
        }
        count(&self.counters.topics_refused);
        let [a, b, c, d, ..] = key;
        let key = format!("{a:02x}{b:02x}{c:02x}{d:02x}");
        tracing::warn!(
            key,
            "a member asked for too many topics and is shut out for ten minutes"
        );
        self.inward.rebuild(&[Which::Publisher]);
        self.closed = true;
    }
}
