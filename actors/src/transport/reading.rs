//! The reading half of the socket thread: each message gets its sender's proven key and a
//! permit of its lane, or is counted and dropped.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::counters::count;
use super::endpoint::{Received, receive};
use super::gathering::{Gathered, mean_arrival};
use super::inward::Which;
use super::keys::Key;
use super::messages::LaneSender;
use super::messages::{DoorReply, Event, Incoming, Lane};
use super::readiness::Source;
use super::zmq_thread::{Next, Thread};

/// Messages taken from one socket before the others have their turn.
pub(super) const BURST: usize = 128;

/// Whether a socket may hold more than was taken from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Some,
    Nothing,
}

impl Thread {
    /// Reads what one source has, up to its share of a round. Gossip is left to gather.
    pub(super) fn read(&mut self, source: Source, now: Instant) {
        let left = match source {
            Source::Wake => {
                // Before the queue is read: a command queued from here on wakes us again. An
                // exchange, not a store: a store could become visible after the queue was read.
                self.inbox.waker.signalled.swap(false, Ordering::AcqRel);
                self.perform_commands(now);
                if self.names.take_news() {
                    self.tend(now);
                }
                Left::Nothing
            }
            Source::Zap => {
                self.zap.serve();
                Left::Nothing
            }
            Source::Subscriber | Source::Hears(_) | Source::Sibling(_) => {
                self.gathering.add(source, now);
                Left::Nothing
            }
            // Together, in [`Thread::read_links`].
            Source::Router | Source::Dealer(_) => Left::Nothing,
            Source::Door => self.read_door(now),
            Source::Gate(which) => {
                self.inward.look_at_gate(which, now);
                Left::Nothing
            }
            Source::Question(ticket) => {
                if let Some(answer) = self.questions.answered(ticket) {
                    self.report(Event::DoorAnswer {
                        ticket,
                        result: Ok(answer),
                    });
                }
                Left::Nothing
            }
        };
        if left == Left::Some {
            self.inbox.readiness.look_again(source);
        }
    }

    /// Reads the gossip that has gathered and hands it up together.
    pub(super) fn read_gossip(&mut self, gathered: Gathered, now: Instant) {
        let mut batch = Vec::new();
        for source in gathered.sources {
            if self.read_gossip_of(source, now, &mut batch) == Left::Some {
                self.gathering.add_rest(source, now);
            }
        }
        let at = mean_arrival(gathered.since, now, batch.len());
        for mut incoming in batch {
            incoming.at = at;
            hand_up(&self.lanes.gossip, incoming);
        }
    }

    fn gossip_socket(&self, source: Source) -> Option<&zmq::Socket> {
        match source {
            Source::Hears(key) => Some(self.outward.links.get(&key)?.hears.as_ref()?.socket()),
            Source::Sibling(key) => Some(&self.outward.siblings.get(&key)?.socket),
            _ => self.inward.socket(Which::Subscriber),
        }
    }

    fn read_gossip_of(&mut self, source: Source, now: Instant, batch: &mut Vec<Incoming>) -> Left {
        let dialled = match source {
            Source::Hears(key) | Source::Sibling(key) => Some(key),
            _ => None,
        };
        for _ in 0..BURST {
            let Some(mut received) = self.gossip_socket(source).and_then(receive) else {
                return Left::Nothing;
            };
            // Only what came counts: a look that finds nothing must not put a redial off.
            if let Some(sibling) = dialled.and_then(|key| self.outward.siblings.get_mut(&key)) {
                sibling.hear(now);
            }
            let Some(peer) = dialled.or_else(|| self.member(&received)) else {
                continue;
            };
            let [topic, bytes] = received.parts.as_mut_slice() else {
                count(&self.counters.malformed);
                continue;
            };
            let Some(share) = self.shares.take(peer) else {
                count(&self.counters.gossip_over_share);
                continue;
            };
            let Some(permit) = permit(&self.lanes.gossip) else {
                count(&self.counters.gossip_dropped);
                continue;
            };
            count(&self.counters.gossip_received);
            let (topic, bytes) = (std::mem::take(topic), std::mem::take(bytes));
            batch.push(Incoming {
                topic: Some(topic),
                _share: Some(share),
                ..Incoming::now(Lane::Gossip, peer, bytes, permit)
            });
        }
        Left::Some
    }

    fn read_door(&mut self, now: Instant) -> Left {
        for _ in 0..BURST {
            let Some(mut received) = self.inward.socket(Which::Door).and_then(receive) else {
                return Left::Nothing;
            };
            let Some(peer) = received.user else {
                self.fail_open();
                return Left::Nothing;
            };
            let [id, bytes] = received.parts.as_mut_slice() else {
                count(&self.counters.malformed);
                continue;
            };
            if !self.door_limiter.take(id, now) {
                count(&self.counters.door_limited);
                continue;
            }
            let Some(permit) = permit(&self.lanes.door) else {
                count(&self.counters.door_dropped);
                continue;
            };
            count(&self.counters.door_received);
            let (id, bytes) = (std::mem::take(id), std::mem::take(bytes));
            let incoming = Incoming {
                reply: Some(DoorReply(id)),
                ..Incoming::now(Lane::Door, peer, bytes, permit)
            };
            hand_up(&self.lanes.door, incoming);
        }
        Left::Some
    }

    /// Who sent a message to a socket that serves members. Without the key that the handler
    /// binds, or with the probe's, somebody was let in who was never judged.
    pub(super) fn member(&mut self, received: &Received) -> Option<Key> {
        let Some(key) = received.user.filter(|key| Some(*key) != self.zap.probe) else {
            self.fail_open();
            return None;
        };
        if self.zap.allows(&key) {
            return Some(key);
        }
        count(&self.counters.not_allowed);
        None
    }

    fn fail_open(&mut self) {
        count(&self.counters.fail_open);
        tracing::error!("a socket let somebody in without an admitted key: closing everything");
        self.report(Event::FailOpen);
        self.next = Next::Stop;
    }
}

pub(super) fn permit(lane: &LaneSender) -> Option<OwnedSemaphorePermit> {
    lane.permits.clone().try_acquire_owned().ok()
}

pub(super) fn hand_up(to: &LaneSender, incoming: Incoming) {
    // Nobody listens only while the node stops.
    let _ = to.sender.send(incoming);
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::transport::counters::read;
    use crate::transport::outward::Outwards;
    use crate::transport::sockets::{Command, CurveKeys, Handle, SocketsConfig, Upward, unstarted};

    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// A node whose rounds the test runs itself, with one member on its allow-list.
    pub fn node() -> (Thread, Handle, Upward, CurveKeys) {
        let member = CurveKeys::generate().unwrap();
        let allow = Arc::new(BTreeSet::from([member.public]));
        let config = SocketsConfig {
            host: [127, 0, 0, 1].into(),
            ..SocketsConfig::new(CurveKeys::generate().unwrap(), allow)
        };
        let (handle, inbox, lanes, upward, context) = unstarted(Arc::default()).unwrap();
        let thread = Thread::start(config, context, inbox, lanes, Arc::default()).unwrap();
        (thread, handle, upward, member)
    }

    /// The member, telling the node something. Its folder goes with the test, though its
    /// thread may outlive it.
    pub fn tell(node: &Thread, member: &CurveKeys) -> (Handle, Upward, tempfile::TempDir) {
        let private = tempfile::tempdir().unwrap();
        let config = SocketsConfig {
            host: [127, 0, 0, 1].into(),
            private: Some(private.path().into()),
            ..SocketsConfig::new(member.clone(), Arc::default())
        };
        let started = crate::transport::sockets::start(config, Arc::default()).unwrap();
        let (handle, _, upward, _) = started;
        handle
            .send(Command::Dial {
                key: node.config.keys.public,
                router: node.inward.bound().router,
                publisher: None,
                subscriber: None,
            })
            .unwrap();
        (handle, upward, private)
    }

    #[test]
    fn an_unjudged_key_that_gets_in_stops_everything() {
        let (mut node, _handle, mut upward, member) = node();
        // As if the handler had let the probe in.
        node.zap.probe = Some(member.public);
        let _member = tell(&node, &member);
        let deadline = Instant::now() + PATIENCE;
        while node.round() == Next::Again {
            assert!(Instant::now() < deadline, "it went on");
        }
        assert_eq!(upward.events.try_recv(), Ok(Event::FailOpen));
        assert_eq!(read(&node.counters.fail_open), 1);
        assert!(upward.link.try_recv().is_err());
    }

    #[test]
    fn a_socket_that_cannot_be_waited_for_makes_the_thread_neither_spin_nor_deaf() {
        let (mut node, _handle, mut upward, member) = node();
        let mut ending = zmq::Context::new();
        let (keys, own) = (node.config.keys.clone(), node.config.keys.public);
        node.outward = Outwards::new(
            ending.clone(),
            keys,
            node.counters.clone(),
            node.names.clone(),
        );
        let began = Instant::now();
        node.outward
            .dial_sibling(own, vec!["tcp://127.0.0.1:9".into()], began);
        let ended = std::thread::spawn(move || ending.destroy());
        // It hears of the end when it is asked for its events, and then has no descriptor.
        while node.outward.siblings[&own].socket.get_events().is_ok() {
            std::thread::yield_now();
        }
        let mut rounds = 0;
        while began.elapsed() < Duration::from_secs(2) {
            node.round();
            rounds += 1;
        }
        let tries = read(&node.counters.unwatched);
        assert!((2..=6).contains(&tries), "{tries} tries");
        assert!(rounds < 100, "{rounds} rounds");

        let (member, _up, _private) = tell(&node, &member);
        while upward.link.try_recv().is_err() {
            assert!(began.elapsed() < PATIENCE, "the others are not read");
            let frame = b"hello"[..].into();
            member.send(Command::SendTo { to: own, frame }).unwrap();
            node.round();
        }
        drop(node);
        ended.join().unwrap().unwrap();
    }
}
