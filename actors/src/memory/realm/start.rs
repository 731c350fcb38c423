//! The start: key, transport, behaviour and listener, put together before the thread runs,
//! so that whatever is wrong is told to the one who starts it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, TransportError};
use libp2p::core::upgrade::Version;
use libp2p::futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::{Config, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, Transport, noise, yamux};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender};

use super::behaviour::Behaviour;
use super::book::Book;
use super::counters::Counters;
use super::ids;
use super::outbox::Outbox;
use super::runner::Runner;
use super::settings::{HANDSHAKE_TIMEOUT, STREAMS_MAX, Settings, UNCONFIRMED_MAX};
use super::traffic::{Event, Order};

/// How long the system may take to say which port it chose.
const PORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections are not closed for being idle.
const IDLE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why the realms did not start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The caller's mistake.
    #[error("a node is in one realm or in two different ones, not in {0}")]
    Realms(usize),
    /// The address is taken, or none of this machine.
    #[error("cannot listen on {at} for memory: {source}; free the port or choose another")]
    Listen { at: SocketAddr, source: io::Error },
    /// The node's key is none.
    #[error("the node's key is of no use for memory: {0}")]
    Key(String),
    /// The machine is at its limits.
    #[error("no thread for memory: {0}")]
    Thread(#[from] io::Error),
}

/// Starts the thread. Returns where it listens.
pub fn start(
    settings: Settings,
    orders: Receiver<Order>,
    events: Sender<Event>,
    counters: Arc<Counters>,
) -> Result<(Option<SocketAddr>, JoinHandle<()>), StartError> {
    let [first, rest @ ..] = &settings.realms[..] else {
        return Err(StartError::Realms(0));
    };
    if rest.len() > 1 || rest.contains(first) {
        return Err(StartError::Realms(settings.realms.len()));
    }
    let bad_key = |error: &dyn std::fmt::Display| StartError::Key(error.to_string());
    let key = Keypair::ed25519_from_bytes(settings.seed).map_err(|error| bad_key(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let peer = key.public().to_peer_id();
    let me = ids::node_of(&peer).ok_or_else(|| bad_key(&"it is not of Ed25519"))?;
    let transport = transport(&key, &settings).map_err(|error| bad_key(&error))?;
    let book = Book::default();
    let behaviour =
        Behaviour::new(peer, &settings, &book.addresses, &counters).ok_or(StartError::Realms(0))?;
    // Each question and each put is a stream of its own: they are sent with the protocol's name
    // instead of after the other side's word for it, which saves a round trip.
    let config = Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_MAX)
        .with_substream_upgrade_protocol_override(Version::V1Lazy);
    let mut swarm = Swarm::new(transport, behaviour, peer, config);
    let address = match settings.listen {
        Some(at) => {
            let listening = listen(&runtime, &mut swarm, at);
            Some(listening.map_err(|source| StartError::Listen { at, source })?)
        }
        None => None,
    };
    let out = Outbox::new(events, counters.clone());
    let runner = Runner::new(swarm, me, &settings, book, counters, out);
    let thread = spawn(runtime, runner, orders)?;
    tracing::debug!(node = %me.short(), ?address, realms = ?settings.realms, "memory listens");
    Ok((address, thread))
}

fn spawn(runtime: Runtime, runner: Runner, orders: Receiver<Order>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("chorus-realm".into())
        .spawn(move || runtime.block_on(runner.run(orders)))
}

/// TCP, Noise with the node's key, Yamux.
fn transport(
    key: &Keypair,
    settings: &Settings,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let noise = noise::Config::new(key)?.with_prologue(ids::prologue(&settings.mesh));
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(STREAMS_MAX);
    let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
    let transport = tcp
        .map(|stream, _| {
            let limit = UNCONFIRMED_MAX.as_millis() as u32;
            if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream.0, limit) {
                // Pings notice the same, a little later.
                tracing::debug!(%error, "no limit on how long TCP waits");
            }
            stream
        })
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(HANDSHAKE_TIMEOUT)
        .boxed();
    Ok(transport)
}

fn listen(
    runtime: &Runtime,
    swarm: &mut Swarm<Behaviour>,
    at: SocketAddr,
) -> io::Result<SocketAddr> {
    let _inside = runtime.enter();
    if at.port() != 0 {
        // libp2p would share the port with another process of this user that shares it too:
        // each would get some of the connections. This asks for the port alone.
        drop(std::net::TcpListener::bind(at)?);
    }
    swarm.listen_on(ids::multiaddr(at)).map_err(plain)?;
    if at.port() != 0 {
        return Ok(at);
    }
    let chosen = async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                return ids::socket_addr(&address);
            }
        }
    };
    let chosen = runtime
        .block_on(async { tokio::time::timeout(PORT_TIMEOUT, chosen).await })
        .ok()
        .flatten();
    let chosen = chosen.ok_or(io::ErrorKind::TimedOut)?;
    Ok(SocketAddr::new(at.ip(), chosen.port()))
}

fn plain(error: TransportError<io::Error>) -> io::Error {
    match error {
        TransportError::Other(error) => error,
        TransportError::MultiaddrNotSupported(at) => unsupported(&at),
    }
}

fn unsupported(at: &Multiaddr) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, at.to_string())
}
