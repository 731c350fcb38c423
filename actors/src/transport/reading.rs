//! The reading half of the socket thread: each message gets its sender's proven key and a
//! permit of its lane, or is counted and dropped.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::counters::count;
use super::endpoint::{Received, receive};
use super::inward::Which;
use super::messages::LaneSender;
use super::sockets::{DoorReply, Event, Incoming, Key, Lane};
use super::zmq_thread::{Next, Source, Thread};

/// Messages taken from one socket before the others have their turn.
const BURST: usize = 128;

impl Thread {
    /// Reads what one source has, up to its share of a round.
    pub(super) fn read(&mut self, source: Source, now: Instant) {
        match source {
            Source::Wake => {
                while self.inbox.woken.recv_msg(zmq::DONTWAIT).is_ok() {}
                // Before the queue is read: a command queued from here on wakes us again. An
                // exchange, not a store: a store could become visible after the queue was read.
                self.inbox.waker.signalled.swap(false, Ordering::AcqRel);
                self.perform_commands(now);
            }
            Source::Zap => self.zap.serve(now),
            Source::Subscriber => self.read_gossip(None, |t| t.inward.socket(Which::Subscriber)),
            Source::Hears(key) => self.read_gossip(Some(key), |t| {
                Some(t.outward.links.get(&key)?.hears.as_ref()?.socket())
            }),
            Source::Sibling(key) => {
                if let Some(sibling) = self.outward.siblings.get_mut(&key) {
                    sibling.heard = now;
                }
                self.read_gossip(Some(key), |t| Some(&t.outward.siblings.get(&key)?.socket));
            }
            Source::Router => self.read_router(),
            Source::Dealer(key) => self.read_dealer(key),
            Source::Door => self.read_door(now),
            Source::Question(ticket) => {
                if let Some(answer) = self.questions.answered(ticket) {
                    self.report(Event::DoorAnswer {
                        ticket,
                        result: Ok(answer),
                    });
                }
            }
        }
    }

    fn read_gossip(
        &mut self,
        dialled: Option<Key>,
        socket: impl Fn(&Self) -> Option<&zmq::Socket>,
    ) {
        for _ in 0..BURST {
            let Some(mut received) = socket(self).and_then(receive) else {
                return;
            };
            let Some(peer) = dialled.or_else(|| self.member(&received)) else {
                continue;
            };
            let [topic, bytes] = received.parts.as_mut_slice() else {
                count(&self.counters.malformed);
                continue;
            };
            let Some(permit) = permit(&self.lanes.gossip) else {
                count(&self.counters.gossip_dropped);
                continue;
            };
            count(&self.counters.gossip_received);
            let (topic, bytes) = (Some(std::mem::take(topic)), std::mem::take(bytes));
            hand_up(
                &self.lanes.gossip,
                Lane::Gossip,
                peer,
                topic,
                bytes,
                None,
                permit,
            );
        }
    }

    fn read_router(&mut self) {
        for _ in 0..BURST {
            let Some(permit) = permit(&self.lanes.link) else {
                return;
            };
            let Some(mut received) = self.inward.socket(Which::Router).and_then(receive) else {
                return;
            };
            let Some(peer) = self.member(&received) else {
                continue;
            };
            let [id, bytes] = received.parts.as_mut_slice() else {
                count(&self.counters.malformed);
                continue;
            };
            self.inward.routes.learn(peer, id);
            if bytes.is_empty() {
                continue; // a dialler's greeting, which says only where it is
            }
            count(&self.counters.link_received);
            let bytes = std::mem::take(bytes);
            hand_up(
                &self.lanes.link,
                Lane::Link,
                peer,
                None,
                bytes,
                None,
                permit,
            );
        }
    }

    fn read_dealer(&mut self, key: Key) {
        for _ in 0..BURST {
            let Some(permit) = permit(&self.lanes.link) else {
                return;
            };
            let link = self.outward.links.get(&key);
            let Some(received) = link.and_then(|link| receive(link.dealer.socket())) else {
                return;
            };
            let Ok([bytes]) = <[Vec<u8>; 1]>::try_from(received.parts) else {
                count(&self.counters.malformed);
                continue;
            };
            count(&self.counters.link_received);
            hand_up(&self.lanes.link, Lane::Link, key, None, bytes, None, permit);
        }
    }

    fn read_door(&mut self, now: Instant) {
        for _ in 0..BURST {
            let Some(mut received) = self.inward.socket(Which::Door).and_then(receive) else {
                return;
            };
            let Some(peer) = received.user else {
                return self.fail_open();
            };
            if !self.door_messages.take(now) {
                count(&self.counters.door_limited);
                continue;
            }
            let [id, bytes] = received.parts.as_mut_slice() else {
                count(&self.counters.malformed);
                continue;
            };
            let Some(permit) = permit(&self.lanes.door) else {
                count(&self.counters.door_dropped);
                continue;
            };
            count(&self.counters.door_received);
            let (reply, bytes) = (DoorReply(std::mem::take(id)), std::mem::take(bytes));
            hand_up(
                &self.lanes.door,
                Lane::Door,
                peer,
                None,
                bytes,
                Some(reply),
                permit,
            );
        }
    }

    /// Who sent a message to a socket that serves members. Without the key that the handler
    /// binds, or with the probe's, somebody was let in who was never judged.
    fn member(&mut self, received: &Received) -> Option<Key> {
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

fn permit(lane: &LaneSender) -> Option<OwnedSemaphorePermit> {
    lane.permits.clone().try_acquire_owned().ok()
}

fn hand_up(
    to: &LaneSender,
    lane: Lane,
    peer: Key,
    topic: Option<Vec<u8>>,
    bytes: Vec<u8>,
    reply: Option<DoorReply>,
    permit: OwnedSemaphorePermit,
) {
    let incoming = Incoming {
        lane,
        peer,
        topic,
        bytes,
        reply,
        at: Instant::now(),
        _permit: permit,
    };
    // Nobody listens only while the node stops.
    let _ = to.sender.send(incoming);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::transport::counters::read;
    use crate::transport::sockets::{Command, CurveKeys, Handle, SocketsConfig, Upward, unstarted};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A node whose rounds the test runs itself, with one member on its allow-list.
    fn node() -> (Thread, Handle, Upward, CurveKeys) {
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

    /// The member, telling the node something.
    fn tell(node: &Thread, member: &CurveKeys) -> (Handle, Upward) {
        let config = SocketsConfig {
            host: [127, 0, 0, 1].into(),
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
        (handle, upward)
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
}
