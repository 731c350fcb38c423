//! The sockets that listen: PUB, SUB and ROUTER for members, the door for anybody; and which
//! routing id leads to which key.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use chorus_protocol::membership::twins::Ways;

use super::config::{Bound, SocketsConfig};
use super::counters::{Counters, count};
use super::endpoint::{DOOR_BYTES_MAX, FRAME_BYTES_MAX, listener, tcp};
use super::error::Error;
use super::inner_door::InnerDoor;
use super::keys::{CurveKeys, Key};
use super::outward::resubscribe;
use super::porter::Porter;
use super::readiness::Source;
use super::zap::{DOOR, MESH};
use crate::gossip::since;

/// Keys whose way back through the ROUTER is remembered: a node has at most 100 children,
/// and the links of a few others pass through it for a while.
const ROUTES_MAX: usize = 1024;

/// Which listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    _inner_door: InnerDoor,
    pub routes: Routes,
    /// Whether a socket was made since this was last taken back.
    pub made: bool,
}

struct Listening {
    which: Which,
    /// As asked for until bound, then with the real port.
    endpoint: String,
    /// None while the address is not free again after a rebuild.
    socket: Option<zmq::Socket>,
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
            let mut one = Listening {
                which,
                endpoint,
                socket: None,
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
        let (inner_door, door) = open_door(config.private.as_deref(), |inner| {
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
            _inner_door: inner_door,
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
        all.find(|one| one.which == which)?.socket.as_ref()
    }

    /// What is to be waited for together with the others. The PUB has nothing to read.
    pub fn sources(&self) -> impl Iterator<Item = (Source, &zmq::Socket)> {
        self.listening.iter().filter_map(|one| {
            let source = match one.which {
                Which::Router => Source::Router,
                Which::Subscriber => Source::Subscriber,
                Which::Door => Source::Door,
                Which::Publisher => return None,
            };
            Some((source, one.socket.as_ref()?))
        })
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
                && let Some(socket) = one.socket.take()
            {
                // Whatever is queued for a removed key must not go out.
                let _ = socket.set_linger(0);
            }
        }
        if which.contains(&Which::Router) {
            self.routes = Routes::default();
        }
        count(&self.counters.rebuilt);
    }

    /// Tries to listen again where it was closed. True when all are open.
    pub fn reopen(&mut self) -> bool {
        for one in &mut self.listening {
            if one.socket.is_some() {
                continue;
            }
            match one.open(&self.context, &self.keys, &self.topics) {
                Ok(()) => self.made = true,
                Err(_) => count(&self.counters.rebind_retried),
            }
        }
        self.listening.iter().all(|one| one.socket.is_some())
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
            Which::Publisher => (zmq::PUB, MESH, FRAME_BYTES_MAX),
            Which::Subscriber => (zmq::SUB, MESH, FRAME_BYTES_MAX),
            Which::Door => (zmq::ROUTER, DOOR, DOOR_BYTES_MAX),
        };
        let socket = listener(context, kind, keys, domain, bytes_max)?;
        if self.which == Which::Subscriber {
            resubscribe(&socket, &[], topics)?;
        }
        socket.set_ipv6(self.endpoint.contains('['))?;
        socket.bind(&self.endpoint)?;
        if let Ok(real) = socket.get_last_endpoint()? {
            self.endpoint = real;
        }
        self.socket = Some(socket);
        Ok(())
    }
}

/// Binds the door in `folder`, or among the temporary files where that will not do: without
/// one, with a path too long for a socket, on a disk that is read-only or full.
fn open_door<T>(
    folder: Option<&Path>,
    mut bind: impl FnMut(&InnerDoor) -> Result<T, Error>,
) -> Result<(InnerDoor, T), Error> {
    if let Some(inner) = folder.and_then(|folder| InnerDoor::within(folder).ok())
        && let Ok(door) = bind(&inner)
    {
        return Ok((inner, door));
    }
    let inner = InnerDoor::temporary().map_err(|source| Error::Bind {
        endpoint: std::env::temp_dir().display().to_string(),
        source,
    })?;
    let door = bind(&inner)?;
    Ok((inner, door))
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
