//! Connections that this node opens: links to parents and others, siblings' publishers.
//!
//! Each connection has a socket of its own, so what comes in is known to come from the key
//! that was dialled, and hanging up closes exactly that. A monitor on each tells whether it
//! is up: libzmq reconnects after a lost connection, but never after a refused handshake or a
//! broken rule, so what stays down is opened anew by us.

mod siblings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counters::{Counters, count};
use super::endpoint::{connect, dialler, receive};
use super::keys::{CurveKeys, Key};
use super::messages::LinkState;
use super::monitored::Monitored;
use super::names::Names;
use super::readiness::Source;
use super::topics::Topics;
pub use siblings::Sibling;

/// Links at once: parents, and the few that are tried in their place.
const LINKS_MAX: usize = 16;
/// How long the PUB and the SUB of a link may be down while its ROUTER stands.
const REDIAL_BESIDE: Duration = Duration::from_secs(1);
/// One watched connection of a link.
pub struct Outward {
    watched: Monitored,
    kind: zmq::SocketType,
    endpoint: String,
    /// The endpoint with an address for a name; none until the name resolves.
    to: Option<String>,
    down_since: Option<Instant>,
    /// What the other side wants to be told of.
    topics: Topics,
}

/// The link to one key: its ROUTER, and where given its PUB and its SUB.
pub struct Link {
    pub dealer: Outward,
    pub hears: Option<Outward>,
    pub heard: Option<Outward>,
}

impl Link {
    /// Reads what the other side subscribed to. False if that was too much: it is told
    /// nothing more until it is dialled again.
    pub fn look_at_topics(&mut self, key: Key) -> bool {
        let heard = self.heard.as_mut();
        let fair = heard.is_none_or(|heard| heard.look_at_topics(key));
        if !fair {
            self.heard = None;
        }
        fair
    }
}

/// All outward connections of a node.
pub struct Outwards {
    context: zmq::Context,
    keys: CurveKeys,
    counters: Arc<Counters>,
    names: Names,
    monitors: u64,
    pub links: BTreeMap<Key, Link>,
    pub siblings: BTreeMap<Key, Sibling>,
    pub sub: Vec<Vec<u8>>,
    pub sib: Vec<Vec<u8>>,
    /// Whether a socket was made since this was last taken back.
    pub made: bool,
}

impl Outwards {
    pub fn new(
        context: zmq::Context,
        keys: CurveKeys,
        counters: Arc<Counters>,
        names: Names,
    ) -> Self {
        Self {
            context,
            keys,
            counters,
            names,
            monitors: 0,
            links: BTreeMap::new(),
            siblings: BTreeMap::new(),
            sub: Vec::new(),
            sib: Vec::new(),
            made: false,
        }
    }

    /// What is to be waited for together with the others.
    pub fn sources(&self) -> impl Iterator<Item = (Source, &zmq::Socket)> {
        let links = self.links.iter().flat_map(|(key, link)| {
            let dealer = (Source::Dealer(*key), link.dealer.socket());
            let hears = link.hears.as_ref();
            let hears = hears.map(|one| (Source::Hears(*key), one.socket()));
            std::iter::once(dealer).chain(hears)
        });
        let siblings = self.siblings.iter();
        links.chain(siblings.map(|(key, one)| (Source::Sibling(*key), &one.socket)))
    }

    /// Opens the link to `key`, in place of one that may be there.
    pub fn dial(
        &mut self,
        key: Key,
        router: &str,
        publisher: Option<&str>,
        subscriber: Option<&str>,
        now: Instant,
    ) {
        self.links.remove(&key);
        let room = self.links.len() < LINKS_MAX;
        let link = room.then(|| self.link(key, router, publisher, subscriber, now));
        if let Some(link) = self.dialled(link, router) {
            self.links.insert(key, link);
        }
    }

    /// A connection that was to be made, if it was: none without room for it.
    fn dialled<T>(&self, one: Option<zmq::Result<T>>, endpoint: &str) -> Option<T> {
        let why = match one {
            Some(Ok(one)) => return Some(one),
            Some(Err(error)) => format!("is it tcp://host:port? {error}"),
            None => "too many are open".to_owned(),
        };
        count(&self.counters.dial_failed);
        tracing::warn!(endpoint, why, "cannot dial");
        None
    }

    fn link(
        &mut self,
        key: Key,
        router: &str,
        publisher: Option<&str>,
        subscriber: Option<&str>,
        now: Instant,
    ) -> zmq::Result<Link> {
        let topics = self.sub.clone();
        let mut open = |kind, endpoint: &str, topics| self.open(kind, &key, endpoint, topics, now);
        Ok(Link {
            dealer: open(zmq::DEALER, router, &[])?,
            hears: publisher
                .map(|endpoint| open(zmq::SUB, endpoint, &topics))
                .transpose()?,
            heard: subscriber
                .map(|endpoint| open(zmq::XPUB, endpoint, &[]))
                .transpose()?,
        })
    }

    /// Closes everything that leads to `key`.
    pub fn forget(&mut self, key: &Key) {
        self.links.remove(key);
        self.siblings.remove(key);
    }

    /// Takes over new subscription sets.
    pub fn subscribe(&mut self, sub: Vec<Vec<u8>>, sib: Vec<Vec<u8>>) -> zmq::Result<()> {
        for hears in self.links.values().filter_map(|link| link.hears.as_ref()) {
            resubscribe(hears.socket(), &self.sub, &sub)?;
        }
        for sibling in self.siblings.values() {
            resubscribe(&sibling.socket, &self.sib, &sib)?;
        }
        (self.sub, self.sib) = (sub, sib);
        Ok(())
    }

    /// Sees what became of each connection, and opens anew what is down for `redial_after`.
    /// Returns the changes of ROUTER links.
    pub fn tend(&mut self, now: Instant, redial_after: Duration) -> Vec<(Key, LinkState)> {
        let mut states = Vec::new();
        let mut links = std::mem::take(&mut self.links);
        let sub = self.sub.clone();
        for (key, link) in &mut links {
            let seen = self.tend_one(&mut link.dealer, key, &[], now, redial_after);
            states.extend(seen.into_iter().map(|state| (*key, state)));
            // The other side knows us by now: what it refused a moment before is not left
            // mute for as long as a stranger's.
            let redial_after = match link.dealer.down_since {
                None => redial_after.min(REDIAL_BESIDE),
                Some(_) => redial_after,
            };
            for (one, topics) in [(&mut link.hears, &sub[..]), (&mut link.heard, &[])] {
                if let Some(one) = one {
                    self.tend_one(one, key, topics, now, redial_after);
                }
            }
        }
        self.links = links;
        self.tend_siblings(now, redial_after);
        states
    }

    fn tend_one(
        &mut self,
        one: &mut Outward,
        key: &Key,
        topics: &[Vec<u8>],
        now: Instant,
        redial_after: Duration,
    ) -> Vec<LinkState> {
        let states = one.observe(now);
        let refused = states.iter().filter(|s| **s == LinkState::Refused).count();
        (0..refused).for_each(|_| count(&self.counters.refused_by_peer));
        let overdue = |since| now.saturating_duration_since(since) >= redial_after;
        // While it stands nobody needs the name.
        let moved = || {
            let to = self.names.endpoint(&one.endpoint);
            to.is_some() && to != one.to
        };
        if one
            .down_since
            .is_some_and(|since| overdue(since) || moved())
        {
            match self.open(one.kind, key, &one.endpoint, topics, now) {
                Ok(fresh) => {
                    count(&self.counters.redialled);
                    *one = fresh;
                }
                // Out of sockets or files: the next round tries again.
                Err(error) => tracing::warn!(endpoint = %one.endpoint, %error, "cannot redial"),
            }
        }
        states
    }

    fn open(
        &mut self,
        kind: zmq::SocketType,
        key: &Key,
        endpoint: &str,
        topics: &[Vec<u8>],
        now: Instant,
    ) -> zmq::Result<Outward> {
        let socket = self.prepare(kind, key, topics)?;
        self.monitors += 1;
        let watched = Monitored::new(&self.context, socket, self.monitors)?;
        let to = self.names.endpoint(endpoint);
        to.iter().try_for_each(|to| connect(&watched.socket, to))?;
        Ok(Outward {
            watched,
            kind,
            endpoint: endpoint.to_owned(),
            to,
            down_since: Some(now),
            topics: Topics::default(),
        })
    }

    /// A socket towards `key` that has yet to connect.
    fn prepare(
        &mut self,
        kind: zmq::SocketType,
        key: &Key,
        topics: &[Vec<u8>],
    ) -> zmq::Result<zmq::Socket> {
        let socket = dialler(&self.context, kind, &self.keys, key)?;
        // Nothing is queued for a connection that is not there: what waits there only grows
        // stale, and whoever needs it sends it again.
        socket.set_immediate(true)?;
        if kind == zmq::DEALER {
            // An empty message tells the other ROUTER our routing id before we first speak.
            socket.set_probe_router(true)?;
        }
        resubscribe(&socket, &[], topics)?;
        self.made = true;
        Ok(socket)
    }
}

impl Outward {
    /// The socket itself.
    pub fn socket(&self) -> &zmq::Socket {
        &self.watched.socket
    }

    fn look_at_topics(&mut self, key: Key) -> bool {
        while let Some(received) = receive(&self.watched.socket) {
            let [message] = received.parts.as_slice() else {
                return false;
            };
            if self.topics.take(message, Some(key)).is_err() {
                return false;
            }
        }
        true
    }

    /// Reads the monitor. Down counts from the first sign of it, however often it is tried.
    fn observe(&mut self, now: Instant) -> Vec<LinkState> {
        let states = self.watched.seen();
        for state in &states {
            match state {
                LinkState::Up => self.down_since = None,
                LinkState::Down | LinkState::Refused => {
                    self.down_since.get_or_insert(now);
                }
            }
        }
        states
    }
}

/// Changes a SUB's subscriptions from one set to another.
pub fn resubscribe(socket: &zmq::Socket, old: &[Vec<u8>], new: &[Vec<u8>]) -> zmq::Result<()> {
    for topic in new.iter().filter(|topic| !old.contains(topic)) {
        socket.set_subscribe(topic)?;
    }
    for topic in old.iter().filter(|topic| !new.contains(topic)) {
        socket.set_unsubscribe(topic)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
