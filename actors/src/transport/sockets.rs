//! What the rest of a node sees of its ZeroMQ sockets: configuration, commands down, messages
//! and events up, and a handle.
//!
//! Bounds: commands queue up to [`COMMANDS_MAX`] (full: a publish is dropped and counted,
//! anything else is refused). Each lane up has its own permits; a message carries its permit
//! until whoever processes it drops the message. Without a permit gossip and door messages
//! are dropped (the newest, since the older ones are already on their way up) and counted;
//! on the link lane the thread stops reading until permits return, so that the senders'
//! queues fill and they retry.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::counters::{Counters, count};
pub use super::endpoint::{DOOR_BYTES_MAX, FRAME_BYTES_MAX};
pub use super::messages::{
    Command, DoorError, DoorReply, Event, Incoming, Lane, LinkState, Upward,
};
use super::messages::{Lanes, lanes};
use super::readiness::Readiness;
use super::zmq_thread::{self, Inbox};

/// A CURVE public key: who a peer is on the wire.
pub type Key = [u8; 32];

/// Commands that may wait for the thread.
pub const COMMANDS_MAX: usize = 8192;
/// Topics of one subscription set.
pub const TOPICS_MAX: usize = 16;

/// A node's CURVE key pair. Its `Debug` shows the public half only.
#[derive(Clone)]
pub struct CurveKeys {
    pub public: Key,
    pub secret: [u8; 32],
}

impl CurveKeys {
    /// A fresh pair from the system's randomness.
    pub fn generate() -> Result<Self, Error> {
        let pair = zmq::CurveKeyPair::new().map_err(|source| Error::zmq("a key pair", source))?;
        Ok(Self {
            public: pair.public_key,
            secret: pair.secret_key,
        })
    }

    /// The pair of a stored secret: a CURVE public key is the secret times the base point
    /// of Curve25519 (RFC 7748), so only the secret needs a file.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        let public = curve25519_dalek::MontgomeryPoint::mul_base_clamped(secret).to_bytes();
        Self { public, secret }
    }
}

impl fmt::Debug for CurveKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurveKeys")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// TCP ports to listen on; 0 lets the system choose.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    pub router: u16,
    pub publisher: u16,
    pub subscriber: u16,
    pub door: u16,
}

/// What a socket thread is started with.
#[derive(Debug, Clone)]
pub struct SocketsConfig {
    /// Address of the interface to listen on.
    pub host: IpAddr,
    pub ports: Ports,
    pub keys: CurveKeys,
    /// Keys that may shake hands with every socket but the door.
    pub allow: Arc<BTreeSet<Key>>,
    /// Door messages, and door handshakes, per second. At least 1.
    pub door_rate: u32,
    /// How often the node tries a wrong key on itself.
    pub probe_interval: Duration,
    /// A folder of this process alone, for the socket behind the door. Without one, or where
    /// it will not do, one is made among the temporary files.
    pub private: Option<PathBuf>,
    /// An outward connection that is down for so long is opened anew: libzmq itself never
    /// returns after a refused handshake.
    pub redial_after: Duration,
}

impl SocketsConfig {
    /// Listens on every interface with ports chosen by the system. Rates are this design's:
    /// 50 door messages a second, a probe each minute, a refused dial again after 30 s.
    pub fn new(keys: CurveKeys, allow: Arc<BTreeSet<Key>>) -> Self {
        Self {
            host: IpAddr::from([0, 0, 0, 0]),
            ports: Ports::default(),
            keys,
            allow,
            door_rate: 50,
            probe_interval: Duration::from_secs(60),
            private: None,
            redial_after: Duration::from_secs(30),
        }
    }
}

/// Where the sockets listen, ports as they are (`tcp://host:port`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub router: String,
    pub publisher: String,
    pub subscriber: String,
    pub door: String,
}

/// Why the sockets did not come up. Nothing is bound then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this libzmq has no CURVE: build with the workspace's own zmq-sys")]
    NoCurve,
    #[error("admission control failed its self-test ({0}): nothing was bound; report this")]
    SelfTest(&'static str),
    #[error("cannot listen on {endpoint} ({source}): free the port or choose another address")]
    Bind {
        endpoint: String,
        source: std::io::Error,
    },
    #[error("ZeroMQ refused {what} ({source}): check the limit on open files")]
    Zmq {
        what: &'static str,
        source: zmq::Error,
    },
    #[error("the sockets cannot be waited for ({0}): check the limit on open files")]
    Wait(std::io::Error),
    #[error("the socket thread could not be started ({0}): check the limit on threads")]
    Spawn(std::io::Error),
    #[error("the socket thread ended while it started: see the log above")]
    Died,
}

impl Error {
    pub(super) fn zmq(what: &'static str, source: zmq::Error) -> Self {
        Self::Zmq { what, source }
    }
}

/// Why a command was not taken. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the command queue of the sockets is full: try again")]
    Full,
    #[error("the sockets are closed")]
    Stopped,
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error("{0} topics are over the limit of {TOPICS_MAX}")]
    TooManyTopics(usize),
}

/// The way to the socket thread, for any thread or task. Never blocks.
#[derive(Clone)]
pub struct Handle {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    counters: Arc<Counters>,
}

/// Wakes the thread from its wait: once, however many commands wait.
pub(super) struct Waker {
    pub signalled: AtomicBool,
    wakes: mio::Waker,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// Queues a command. A publish that finds the queue full is dropped, counted and `Ok`.
    pub fn send(&self, command: Command) -> Result<(), SendError> {
        check(&command)?;
        match self.commands.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Full(Command::Publish { .. })) => {
                count(&self.counters.publish_dropped);
            }
            Err(TrySendError::Full(_)) => return Err(SendError::Full),
            Err(TrySendError::Disconnected(_)) => return Err(SendError::Stopped),
        }
        if !self.waker.signalled.swap(true, Ordering::AcqRel) {
            // It fails only when the thread has gone, which the next command will say.
            let _ = self.waker.wakes.wake();
        }
        Ok(())
    }
}

/// Limits that the other side would punish by closing the connection.
fn check(command: &Command) -> Result<(), SendError> {
    let (bytes, limit) = match command {
        Command::Publish { topic, frame } => (topic.len().max(frame.len()), FRAME_BYTES_MAX),
        Command::SendTo { frame, .. } | Command::AnswerDoor { frame, .. } => {
            (frame.len(), FRAME_BYTES_MAX)
        }
        Command::AskDoor { frame, .. } => (frame.len(), DOOR_BYTES_MAX),
        Command::Subscribe { sub, sib } => {
            let topics = sub.len().max(sib.len());
            if topics > TOPICS_MAX {
                return Err(SendError::TooManyTopics(topics));
            }
            let longest = sub.iter().chain(sib).map(Vec::len).max();
            (longest.unwrap_or(0), 1024)
        }
        _ => return Ok(()),
    };
    if bytes > limit {
        return Err(SendError::TooLong { bytes, limit });
    }
    Ok(())
}

/// Starts the socket thread: CURVE is there, the ZAP handler is up and has passed its
/// self-test, and only then the sockets bind. Returns when they listen; blocks for less than
/// a second as a rule, and for 5 s at most.
pub fn start(
    config: SocketsConfig,
    counters: Arc<Counters>,
) -> Result<(Handle, Bound, Upward, JoinHandle<()>), Error> {
    if zmq::has("curve") != Some(true) {
        return Err(Error::NoCurve);
    }
    let (handle, inbox, lanes, upward, context) = unstarted(counters.clone())?;
    let (started, start) = sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("chorus-zmq".into())
        .spawn(move || zmq_thread::run(config, context, inbox, lanes, counters, &started))
        .map_err(Error::Spawn)?;
    let bound = start.recv().map_err(|_| Error::Died)??;
    Ok((handle, bound, upward, thread))
}

/// Both ends of everything between a node and its socket thread.
type Ends = (Handle, Inbox, Lanes, Upward, zmq::Context);

/// Everything that a socket thread needs before there is one.
pub(super) fn unstarted(counters: Arc<Counters>) -> Result<Ends, Error> {
    let context = zmq::Context::new();
    let (readiness, wakes) = Readiness::new().map_err(Error::Wait)?;
    let waker = Arc::new(Waker {
        signalled: AtomicBool::new(false),
        wakes,
    });
    let (commands, queue) = sync_channel(COMMANDS_MAX);
    let (lanes, upward) = lanes();
    let inbox = Inbox {
        queue,
        readiness,
        waker: waker.clone(),
    };
    let handle = Handle {
        commands,
        waker,
        counters,
    };
    Ok((handle, inbox, lanes, upward, context))
}
