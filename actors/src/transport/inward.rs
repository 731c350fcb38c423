//! The sockets that listen: PUB, SUB and ROUTER for members, the door for anybody; and which
//! routing id leads to which key.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chorus_protocol::membership::twins::Ways;

use super::config::{Bound, SocketsConfig};
use super::counters::{Counters, count, read};
use super::endpoint::{DOOR_BYTES_MAX, FRAME_BYTES_MAX, SUBSCRIPTION_BYTES_MAX, listener, tcp};
use super::error::Error;
use super::gate::{Bounds, Gate};
use super::inner_door::InnerDoor;
use super::keys::{CurveKeys, Key};
use super::outward::resubscribe;
use super::porter::Porter;
use super::readiness::Source;
use super::topics::Topics;
use super::zap::{DOOR, MESH};
use crate::gossip::since;

/// Keys whose way back through the ROUTER is remembered: a node has at most 100 children,
/// and the links of a few others pass through it for a while.
const ROUTES_MAX: usize = 1024;

/// Connections that wait at the door to be taken: libzmq's own number.
const BACKLOG: i32 = 100;
/// Between two warnings that a gate was shut: a crowd that comes again and again is one.
const CROWD_TOLD: Duration = Duration::from_secs(60);

/// Which listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Router,
    Publisher,
    Subscriber,
    Door,
}

/// Those that serve members.
pub const MESH_SOCKETS: [Which; 3] = [Which::Router, Which::Publisher, Which::Subscriber];

/// The listening sockets.
pub struct Inward {
    context: zmq::Context,
    keys: CurveKeys,
    counters: Arc<Counters>,
    topics: Vec<Vec<u8>>,
    listening: [Listening; 4],
    porter: Porter,
    /// Goes after the porter that leads there.
    inner_door: InnerDoor,
    /// How many had found no door when it was last bound, or last tried.
    no_door: u64,
    /// It could not be bound anew, and that was told.
    no_door_told: bool,
    /// When it was last told that there is a crowd.
    crowd_told: Option<Instant>,
    /// What is subscribed to at the publisher.
    pub topics_there: Topics,
    pub routes: Routes,
    /// Whether a socket was made since this was last taken back.
    pub made: bool,
}

struct Listening {
    which: Which,
    /// As asked for until bound, then with the real port.
    endpoint: String,
    bounds: Bounds,
    /// How often it was opened.
    opened: u64,
    /// None while the address is not free again after a rebuild.
    gate: Option<Gate>,
}

impl Inward {
    /// Binds all four, the door behind its porter; if one fails, none stays bound.
    pub fn start(
        context: zmq::Context,
        config: &SocketsConfig,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let ports = config.ports;
        let bind = |which, endpoint| {
            let bounds = match which {
                // The porter's affair.
                Which::Door => Bounds::none(),
                _ => Bounds::of_this_process(),
            };
            let mut one = Listening {
                which,
                endpoint,
                bounds,
                opened: 0,
                gate: None,
            };
            match one.open(&context, &config.keys, &[]) {
                Ok(()) => Ok(one),
                Err(why) => Err(Error::Bind {
                    endpoint: one.endpoint,
                    source: io::Error::from_raw_os_error(why.to_raw()),
                }),
            }
        };
        let router = bind(Which::Router, tcp(config.host, ports.router))?;
        let publisher = bind(Which::Publisher, tcp(config.host, ports.publisher))?;
        let subscriber = bind(Which::Subscriber, tcp(config.host, ports.subscriber))?;
        let (inner_door, door) = InnerDoor::open(config.private.as_deref(), |inner| {
            bind(Which::Door, inner.endpoint())
        })?;
        let outer = SocketAddr::new(config.host, ports.door);
        let porter = Porter::start(outer, inner_door.path().to_owned(), counters.clone());
        let porter = porter.map_err(|source| Error::Bind {
            endpoint: tcp(config.host, ports.door),
            source,
        })?;
        Ok(Self {
            context,
            keys: config.keys.clone(),
            counters,
            topics: Vec::new(),
            listening: [router, publisher, subscriber, door],
            porter,
            inner_door,
            no_door: 0,
            no_door_told: false,
            crowd_told: None,
            topics_there: Topics::default(),
            routes: Routes::default(),
            made: true,
        })
    }

    /// Where everything listens.
    pub fn bound(&self) -> Bound {
        let [router, publisher, subscriber, _] = &self.listening;
        let door = self.porter.address();
        Bound {
            router: router.endpoint.clone(),
            publisher: publisher.endpoint.clone(),
            subscriber: subscriber.endpoint.clone(),
            door: tcp(door.ip(), door.port()),
        }
    }

    /// One socket, if it is open.
    pub fn socket(&self, which: Which) -> Option<&zmq::Socket> {
        let mut all = self.listening.iter();
        let gate = all.find(|one| one.which == which)?.gate.as_ref();
        gate.map(Gate::socket)
    }

    /// What is to be waited for together with the others. The publisher is looked at when it
    /// publishes.
    pub fn sources(&self) -> impl Iterator<Item = (Source, &zmq::Socket)> {
        let open = self.listening.iter();
        let open = open.filter_map(|one| Some((one.which, one.gate.as_ref()?)));
        open.flat_map(|(which, gate)| {
            let source = match which {
                Which::Router => Some(Source::Router),
                Which::Subscriber => Some(Source::Subscriber),
                Which::Door => Some(Source::Door),
                Which::Publisher => None,
            };
            let socket = source.map(|source| (source, gate.socket()));
            socket
                .into_iter()
                .chain([(Source::Gate(which), gate.events())])
        })
    }

    /// Sees who came to these sockets and who left.
    pub fn look_at_gates(&mut self, now: Instant) {
        for one in MESH_SOCKETS.into_iter().chain([Which::Door]) {
            self.look_at_gate(one, now);
        }
    }

    /// Sees who came to one socket and who left.
    pub fn look_at_gate(&mut self, which: Which, now: Instant) {
        let mut all = self.listening.iter_mut();
        let one = all.find(|one| one.which == which);
        let Some(gate) = one.and_then(|one| one.gate.as_mut()) else {
            return;
        };
        let told = match gate.look(now, &self.counters) {
            Ok(false) => return,
            Ok(true) => None,
            Err(error) => Some(error),
        };
        let new = |at| now.saturating_duration_since(at) >= CROWD_TOLD;
        if self.crowd_told.is_none_or(new) {
            let error = told.map(|error| error.to_string());
            tracing::warn!(
                ?which,
                error,
                "a crowd that does not shake hands: nobody new is let in until it is gone"
            );
        }
        self.crowd_told = Some(now);
    }

    /// Takes over the subscriptions of the SUB.
    pub fn subscribe(&mut self, topics: Vec<Vec<u8>>) -> zmq::Result<()> {
        if let Some(socket) = self.socket(Which::Subscriber) {
            resubscribe(socket, &self.topics, &topics)?;
        }
        self.topics = topics;
        Ok(())
    }

    /// Closes these sockets, and with them every connection, and listens again as soon as
    /// the address is free: libzmq closes in the background, within milliseconds.
    pub fn rebuild(&mut self, which: &[Which]) {
        for one in &mut self.listening {
            if which.contains(&one.which)
                && let Some(gate) = one.gate.take()
            {
                // Whatever is queued for a removed key must not go out.
                let _ = gate.socket().set_linger(0);
            }
        }
        if which.contains(&Which::Router) {
            self.routes = Routes::default();
        }
        if which.contains(&Which::Publisher) {
            self.topics_there = Topics::default();
        }
        count(&self.counters.rebuilt);
    }

    /// Binds the door anew where its socket was removed: the porter found nobody there. Who
    /// came in before is cut off, and comes again.
    pub fn mend_door(&mut self) {
        let no_door = read(&self.counters.no_door);
        if no_door == self.no_door {
            return;
        }
        let [_, _, _, door] = &mut self.listening;
        let path = self.inner_door.path().display();
        let opened = self.inner_door.restore_folder().and_then(|()| {
            let opened = door.open(&self.context, &self.keys, &[]);
            opened.map_err(|why| io::Error::from_raw_os_error(why.to_raw()))
        });
        match opened {
            Ok(()) => {
                self.made = true;
                // Whoever came before it listened came in vain too.
                self.no_door = read(&self.counters.no_door);
                self.no_door_told = false;
                tracing::warn!(%path, "the door's socket was removed: it is bound anew");
            }
            Err(why) => {
                self.no_door = no_door;
                if !self.no_door_told {
                    tracing::error!(%path, %why, "the door's socket was removed and cannot be \
                         bound anew: nobody can join here");
                }
                self.no_door_told = true;
            }
        }
    }

    /// Tries to listen again where it was closed. True when all are open.
    pub fn reopen(&mut self) -> bool {
        for one in &mut self.listening {
            if one.gate.is_some() {
                continue;
            }
            match one.open(&self.context, &self.keys, &self.topics) {
                Ok(()) => self.made = true,
                Err(_) => count(&self.counters.rebind_retried),
            }
        }
        self.listening.iter().all(|one| one.gate.is_some())
    }
}

impl Listening {
    fn open(
        &mut self,
        context: &zmq::Context,
        keys: &CurveKeys,
        topics: &[Vec<u8>],
    ) -> zmq::Result<()> {
        let (kind, domain, bytes_max) = match self.which {
            Which::Router => (zmq::ROUTER, MESH, FRAME_BYTES_MAX),
            Which::Publisher => (zmq::XPUB, MESH, SUBSCRIPTION_BYTES_MAX),
            Which::Subscriber => (zmq::SUB, MESH, FRAME_BYTES_MAX),
            Which::Door => (zmq::ROUTER, DOOR, DOOR_BYTES_MAX),
        };
        let socket = listener(context, kind, keys, domain, bytes_max)?;
        if self.which == Which::Subscriber {
            resubscribe(&socket, &[], topics)?;
        }
        socket.set_ipv6(self.endpoint.contains('['))?;
        // These still come in after the gate is shut.
        socket.set_backlog(i32::try_from(self.bounds.unfinished / 2).unwrap_or(BACKLOG))?;
        self.opened += 1;
        let number = 4 * self.opened + self.which as u64;
        let gate = Gate::new(context, socket, number, self.bounds)?;
        gate.socket().bind(&self.endpoint)?;
        if let Ok(real) = gate.socket().get_last_endpoint()? {
            self.endpoint = real;
        }
        self.gate = Some(gate);
        Ok(())
    }
}

/// Which routing id of the ROUTER leads to which key. The key is what the handshake proved;
/// the latest connection of a key wins; the oldest keys are forgotten first.
#[derive(Debug)]
pub struct Routes {
    by_key: BTreeMap<Key, Ways>,
    order: VecDeque<Key>,
    began: Instant,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            order: VecDeque::new(),
            began: Instant::now(),
        }
    }
}

impl Routes {
    /// A message of `key` came in under `id`, which libzmq gives to one connection alone.
    /// Whether it proves that two processes have that key.
    pub fn learn(&mut self, key: Key, id: &[u8]) -> bool {
        let ways = self.by_key.entry(key).or_default();
        match ways.latest() {
            Some(known) if known == id => return false,
            Some(_) => {}
            None => self.order.push_back(key),
        }
        let twins = ways.heard(id, since(self.began));
        if self.order.len() > ROUTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
        twins
    }

    /// The routing id that leads to `key`.
    pub fn find(&self, key: &Key) -> Option<&[u8]> {
        self.by_key.get(key)?.latest()
    }

    /// Nobody is there any more.
    pub fn forget(&mut self, key: &Key) {
        if self.by_key.remove(key).is_some() {
            self.order.retain(|known| known != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_route_of_a_key_wins_and_the_number_of_keys_is_bounded() {
        let mut routes = Routes::default();
        routes.learn([1; 32], b"a");
        routes.learn([1; 32], b"b");
        assert_eq!(routes.find(&[1; 32]), Some(&b"b"[..]));
        for n in 0..ROUTES_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
            routes.learn(key, b"c");
        }
        assert_eq!(routes.find(&[1; 32]), None);
        assert_eq!(routes.by_key.len(), ROUTES_MAX);
        assert_eq!(routes.order.len(), ROUTES_MAX);
    }

    #[test]
    fn a_forgotten_key_has_no_route() {
        let mut routes = Routes::default();
        routes.learn([1; 32], b"a");
        routes.forget(&[1; 32]);
        assert_eq!(routes.find(&[1; 32]), None);
        assert!(routes.order.is_empty());
    }
}
