//! The links of the socket thread: what must arrive. They share one lane, and while it has no
//! permits none of them is read, so that the senders' queues fill. They are read by turns, one
//! message of each, parents first: whoever talks without end delays nobody by more than that.

use tokio::sync::OwnedSemaphorePermit;

use super::counters::count;
use super::endpoint::receive;
use super::inward::Which;
use super::keys::Key;
use super::messages::{Event, Incoming, Lane};
use super::readiness::Source;
use super::reading::{BURST, Left, hand_up, permit};
use super::zmq_thread::Thread;

impl Thread {
    /// Reads these links, given in order, up to their share of a round. When permits ran out
    /// it goes on with the one whose turn it was.
    pub(super) fn read_links(&mut self, mut links: Vec<Source>) {
        let turn = self.link_turn.take();
        let first = links.partition_point(|link| Some(*link) < turn);
        links.rotate_left(first);
        for _ in 0..BURST {
            let mut left = Vec::with_capacity(links.len());
            for link in links {
                let Some(permit) = permit(&self.lanes.link) else {
                    // Not read again before `resume_links` finds one.
                    (self.link_paused, self.link_turn) = (true, Some(link));
                    return;
                };
                if self.read_link(link, permit) == Left::Some {
                    left.push(link);
                }
            }
            if left.is_empty() {
                return;
            }
            links = left;
        }
        for link in links {
            self.inbox.readiness.look_again(link);
        }
    }

    /// Reads the links again as soon as a permit is free.
    pub(super) fn resume_links(&mut self) {
        if !self.link_paused {
            return;
        }
        if self.lanes.link.permits.available_permits() == 0 {
            count(&self.counters.link_paused);
            return;
        }
        self.link_paused = false;
        let dealers = self.outward.links.keys().map(|key| Source::Dealer(*key));
        for source in dealers.chain([Source::Router]) {
            self.inbox.readiness.look_again(source);
        }
    }

    fn read_link(&mut self, link: Source, permit: OwnedSemaphorePermit) -> Left {
        match link {
            Source::Dealer(key) => self.read_dealer(key, permit),
            _ => self.read_router(permit),
        }
    }

    fn read_router(&mut self, permit: OwnedSemaphorePermit) -> Left {
        let Some(mut received) = self.inward.socket(Which::Router).and_then(receive) else {
            return Left::Nothing;
        };
        let Some(peer) = self.member(&received) else {
            return Left::Some;
        };
        let [id, bytes] = received.parts.as_mut_slice() else {
            count(&self.counters.malformed);
            return Left::Some;
        };
        if self.inward.routes.learn(peer, id) {
            self.report(Event::Twins { key: peer });
        }
        // An empty one is a dialler's greeting, which says only where it is.
        if !bytes.is_empty() {
            self.hand_up_link(peer, std::mem::take(bytes), permit);
        }
        Left::Some
    }

    fn read_dealer(&mut self, key: Key, permit: OwnedSemaphorePermit) -> Left {
        let link = self.outward.links.get(&key);
        let Some(received) = link.and_then(|link| receive(link.dealer.socket())) else {
            return Left::Nothing;
        };
        match <[Vec<u8>; 1]>::try_from(received.parts) {
            Ok([bytes]) => self.hand_up_link(key, bytes, permit),
            Err(_) => count(&self.counters.malformed),
        }
        Left::Some
    }

    fn hand_up_link(&self, peer: Key, bytes: Vec<u8>, permit: OwnedSemaphorePermit) {
        count(&self.counters.link_received);
        hand_up(
            &self.lanes.link,
            Incoming::now(Lane::Link, peer, bytes, permit),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Instant;

    use super::super::reading::tests::{PATIENCE, node, tell};
    use super::super::sockets::{Command, CurveKeys, SocketsConfig, start};

    #[test]
    fn a_child_that_talks_without_end_does_not_keep_the_parents_word_back() {
        let (mut node, _handle, mut upward, member) = node();
        let own = node.config.keys.public;
        let (child, _up, _private) = tell(&node, &member);
        let parent_keys = CurveKeys::generate().unwrap();
        let private = tempfile::tempdir().unwrap();
        let config = SocketsConfig {
            host: [127, 0, 0, 1].into(),
            private: Some(private.path().into()),
            ..SocketsConfig::new(parent_keys.clone(), Arc::new(BTreeSet::from([own])))
        };
        let (parent, bound, _up, _) = start(config, Arc::default()).unwrap();
        let key = parent_keys.public;
        node.outward
            .dial(key, &bound.router, None, None, Instant::now());
        let say = |from: &super::super::sockets::Handle, text: &[u8]| {
            let frame = text.into();
            // With a full queue there is enough under way.
            let _ = from.send(Command::SendTo { to: own, frame });
        };

        // The child takes every permit, and has more to say.
        let deadline = Instant::now() + PATIENCE;
        while !node.link_paused {
            assert!(Instant::now() < deadline, "permits never ran out");
            (0..100).for_each(|_| say(&child, b"chatter"));
            node.round();
        }
        (0..500).for_each(|_| say(&child, b"chatter"));
        let word = node.outward.links[&key].dealer.socket();
        while word.poll(zmq::POLLIN, 10) != Ok(1) {
            assert!(Instant::now() < deadline, "the parent is not connected");
            say(&parent, b"word");
        }

        // A few are done with; what comes next must not be the child's alone.
        (0..4).for_each(|_| drop(upward.link.try_recv().unwrap()));
        while !node.link_paused || node.lanes.link.permits.available_permits() > 0 {
            assert!(Instant::now() < deadline, "the permits were not taken");
            node.round();
        }
        let held: Vec<_> = std::iter::from_fn(|| upward.link.try_recv().ok()).collect();
        assert!(held.iter().any(|it| it.peer == key));
    }
}
