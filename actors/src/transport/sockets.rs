//! What the rest of a node sees of its ZeroMQ sockets: a handle for commands down, and where
//! messages and events come up.
//!
//! Bounds: commands queue up to [`COMMANDS_MAX`] (full: a publish is dropped and counted,
//! anything else is refused). Each lane up has its own permits; a message carries its permit
//! until whoever processes it drops the message. Without a permit gossip and door messages
//! are dropped (the newest, since the older ones are already on their way up) and counted;
//! on the link lane the thread stops reading until permits return, so that the senders'
//! queues fill and they retry.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

pub use super::config::{Bound, Ports, SocketsConfig};
use super::counters::{Counters, count};
use super::endpoint::TOPIC_BYTES_MAX;
pub use super::endpoint::{DOOR_BYTES_MAX, FRAME_BYTES_MAX};
pub use super::error::Error;
use super::inbox::{Inbox, Waker};
pub use super::keys::{CurveKeys, Key};
pub use super::messages::{
    Command, DoorError, DoorReply, Event, Incoming, Lane, LinkState, Upward,
};
use super::messages::{Lanes, lanes};
use super::readiness::Readiness;
use super::zmq_thread;

/// Commands that may wait for the thread.
pub const COMMANDS_MAX: usize = 8192;
/// Topics of one subscription set.
pub const TOPICS_MAX: usize = 16;

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
        self.waker.wake();
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
            (longest.unwrap_or(0), TOPIC_BYTES_MAX)
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
