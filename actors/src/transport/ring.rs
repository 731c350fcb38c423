//! A publisher and a subscriber on loopback, without a mesh around them: what a bench needs to
//! compare ways of speaking over the same ZeroMQ that nodes use.
//!
//! No node opens one. There is no roster here: each publisher is a CURVE server with a key of its
//! own, so that whoever listens knows who speaks; anybody on this machine may listen. Like every
//! PUB it drops for a subscriber that is behind by its queue, and says nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::endpoint::{SUBSCRIPTION_BYTES_MAX, TOPIC_BYTES_MAX, limited, receive, tcp};
use super::error::Error;
use super::keys::{CurveKeys, Key};

/// Where a publisher is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// `tcp://127.0.0.1:PORT`.
    pub endpoint: String,
    /// Its CURVE key.
    pub key: Key,
}

/// One member of a ring: it publishes, and hears whom it dials. Not for two threads.
pub struct Ring {
    keys: CurveKeys,
    publisher: zmq::Socket,
    subscriber: zmq::Socket,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl Ring {
    /// Publishes on a free port, and hears of `topics` from whomever it will dial.
    pub fn open(topics: &[&str]) -> Result<(Self, Contact), Error> {
        let refused = |what| move |source| Error::zmq(what, source);
        let context = zmq::Context::new();
        let keys = CurveKeys::generate()?;
        let publisher = publisher(&context, &keys).map_err(refused("a publisher"))?;
        let endpoint = bind(&publisher)?;
        let subscriber = subscriber(&context, &keys, topics).map_err(refused("a subscriber"))?;
        let key = keys.public;
        let ring = Self {
            keys,
            publisher,
            subscriber,
        };
        Ok((ring, Contact { endpoint, key }))
    }

    /// Hears this publisher too, from whenever the connection stands.
    pub fn dial(&self, contact: &Contact) -> Result<(), Error> {
        let dialled = self
            .subscriber
            .set_curve_serverkey(&contact.key)
            .and_then(|()| self.subscriber.connect(&contact.endpoint));
        dialled.map_err(|source| Error::zmq("a connection", source))
    }

    /// To all who listen to `topic`; what does not fit into a listener's queue is lost.
    pub fn publish(&self, topic: &str, frame: &[u8]) {
        let parts = [topic.as_bytes(), frame];
        let _ = self.publisher.send_multipart(parts, zmq::DONTWAIT);
    }

    /// The next frame, if one is there. A message of another shape is nobody's and passed over.
    pub fn next(&self) -> Option<Vec<u8>> {
        loop {
            let mut parts = receive(&self.subscriber)?.parts;
            if parts.len() == 2 {
                return parts.pop();
            }
        }
    }

    /// Returns when a frame is there, or after about `span`: to the millisecond, never early.
    pub fn wait(&self, span: Duration) {
        let ms = span.as_nanos().div_ceil(1_000_000).min(60_000) as i64;
        // A signal ends it early, and whoever waits looks again.
        let _ = self.subscriber.poll(zmq::POLLIN, ms);
    }

    /// The CURVE key under which this one is heard.
    pub fn key(&self) -> Key {
        self.keys.public
    }
}

fn publisher(context: &zmq::Context, keys: &CurveKeys) -> zmq::Result<zmq::Socket> {
    let socket = limited(context, zmq::PUB, SUBSCRIPTION_BYTES_MAX)?;
    socket.set_curve_server(true)?;
    socket.set_curve_secretkey(&keys.secret)?;
    Ok(socket)
}

fn bind(publisher: &zmq::Socket) -> Result<String, Error> {
    let endpoint = tcp(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let bound = publisher
        .bind(&endpoint)
        .and_then(|()| publisher.get_last_endpoint());
    match bound {
        Ok(Ok(bound)) => Ok(bound),
        Ok(Err(_)) => Err(Error::zmq("a port", zmq::Error::EINVAL)),
        Err(source) => Err(Error::zmq("a port", source)),
    }
}

fn subscriber(
    context: &zmq::Context,
    keys: &CurveKeys,
    topics: &[&str],
) -> zmq::Result<zmq::Socket> {
    let socket = limited(context, zmq::SUB, super::endpoint::FRAME_BYTES_MAX)?;
    socket.set_curve_publickey(&keys.public)?;
    socket.set_curve_secretkey(&keys.secret)?;
    for topic in topics.iter().filter(|topic| topic.len() <= TOPIC_BYTES_MAX) {
        socket.set_subscribe(topic.as_bytes())?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn each_hears_whom_it_dialled_of_its_own_topics() {
        let (one, at_one) = Ring::open(&["all", "to-1"]).unwrap();
        let (two, at_two) = Ring::open(&["all", "to-2"]).unwrap();
        assert_ne!(one.key(), two.key());
        one.dial(&at_two).unwrap();
        two.dial(&at_one).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        // The first words go to nobody, for a PUB keeps nothing for those who come later.
        let mut heard = [0, 0];
        while heard.contains(&0) {
            assert!(Instant::now() < deadline, "they do not meet: {heard:?}");
            for (n, (ring, other)) in [(&one, "to-2"), (&two, "to-1")].into_iter().enumerate() {
                ring.publish(other, b"for the other");
                ring.publish("to-9", b"for nobody");
                ring.wait(Duration::from_millis(10));
                while let Some(frame) = ring.next() {
                    assert_eq!(frame, b"for the other");
                    heard[n] += 1;
                }
            }
        }
    }

    #[test]
    fn a_wrong_key_is_not_heard() {
        let (one, at_one) = Ring::open(&["all"]).unwrap();
        let (right, _) = Ring::open(&["all"]).unwrap();
        let (wrong, _) = Ring::open(&["all"]).unwrap();
        let key = right.key();
        wrong
            .dial(&Contact {
                key,
                ..at_one.clone()
            })
            .unwrap();
        right.dial(&at_one).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut heard = 0;
        // Who dialled first would have been heard first.
        while heard < 5 {
            assert!(Instant::now() < deadline, "the right key is not heard");
            one.publish("all", b"x");
            right.wait(Duration::from_millis(10));
            heard += u32::from(right.next().is_some());
            assert_eq!(wrong.next(), None);
        }
    }
}
