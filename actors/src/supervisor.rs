//! What keeps a node going: the carrier from the sockets, the clock, and the watch
//! over the actors.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chorus_protocol::gossip::Input;
use chorus_storage::home::Lock;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::mpsc;

use crate::memory::ToMemory;
use crate::messages::{Ring, ToCheckpoints, ToDirectory, ToGossip, ToTransport};
use crate::transport::sockets::{self, Event};

/// Messages handed on together: so long at most does the runtime see to nothing else.
const BATCH_MAX: usize = 64;
/// Between two looks whether the home is still where it was.
const HOME_LOOK: Duration = Duration::from_secs(2);

/// Carries what comes from the socket thread to the transport, all that waits at once.
/// Every message holds a permit of its lane, so the mailbox behind is bounded.
pub(crate) fn carry(
    upward: sockets::Upward,
    transport: ActorRef<ToTransport>,
    fail: mpsc::Sender<Fatal>,
    stopping: Arc<AtomicBool>,
) {
    let sockets::Upward {
        gossip,
        link,
        door,
        mut events,
    } = upward;
    for mut lane in [link, gossip, door] {
        let transport = transport.clone();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while lane.recv_many(&mut batch, BATCH_MAX).await > 0 {
                let batch = std::mem::take(&mut batch);
                if transport.cast(ToTransport::Incoming(batch)).is_err() {
                    return;
                }
            }
        });
    }
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if event == Event::FailOpen {
                let why = "libzmq let a stranger's key in";
                let _ = fail.send(Fatal::Process(why)).await;
            }
            let _ = transport.cast(ToTransport::Socket(event));
        }
        if !stopping.load(Ordering::Acquire) {
            let _ = fail.send(Fatal::Process("the socket thread ended")).await;
        }
    });
}

/// The clock, on a thread of its own: a busy runtime gets fewer ticks, and sees
/// in each of them how late it is; ticks never pile up.
pub(crate) fn tick(
    ring: Arc<Ring>,
    ticking: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
) -> std::io::Result<JoinHandle<()>> {
    const PERIOD: Duration = Duration::from_millis(100);
    std::thread::Builder::new()
        .name("chorus-tick".into())
        .spawn(move || {
            let mut due = Instant::now();
            while !stopping.load(Ordering::Acquire) {
                if !ticking.swap(true, Ordering::AcqRel) {
                    let tick = ToGossip::Input(Input::Tick);
                    if ring.gossip(tick).is_err() {
                        return;
                    }
                    let _ = ring.transport(ToTransport::Tick);
                    let _ = ring.directory(ToDirectory::Tick);
                    let _ = ring.memory(ToMemory::Tick);
                    let _ = ring.checkpoints(ToCheckpoints::Tick);
                }
                due = (due + PERIOD).max(Instant::now());
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        })
}

/// Why a node cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// An actor panicked, failed or ended. Its state cannot be trusted; a new
    /// run of the node, a new incarnation, is right.
    #[error("an actor failed: {0}")]
    Actor(String),
    /// libzmq let a stranger in, or its thread ended: only a new process will do.
    #[error("{0}")]
    Process(&'static str),
    /// A write failed in a way that leaves the store's files unknown: only a new
    /// process can open them again, and mend them.
    #[error("the store failed and takes no more writes: {0}")]
    Store(String),
    /// The home is not where it was: what is written there now is lost, or another
    /// process's.
    #[error(
        "{} is not the file that it locked: its home was moved, removed or replaced, and \
         nothing that it writes there would be kept",
        .0.display()
    )]
    Home(PathBuf),
}

/// Resolves when the home that `lock` holds is lost.
pub(crate) async fn home_lost(lock: &Arc<Lock>) -> Fatal {
    loop {
        tokio::time::sleep(HOME_LOOK).await;
        if let Some(lost) = look_for_home(lock).await {
            return lost;
        }
    }
}

/// Whether the home that `lock` holds is lost.
pub(crate) async fn look_for_home(lock: &Arc<Lock>) -> Option<Fatal> {
    let held = lock.clone();
    // A disk that hangs must not stop the runtime. A look that cannot be made is none.
    let lost = tokio::task::spawn_blocking(move || held.is_lost()).await;
    lost.unwrap_or(false)
        .then(|| Fatal::Home(lock.path().to_owned()))
}

/// Watches over the actors. ractor's own default would stop silently.
#[derive(Debug)]
pub(crate) struct Supervisor;

impl Actor for Supervisor {
    type Msg = ();
    type State = mpsc::Sender<Fatal>;
    type Arguments = mpsc::Sender<Fatal>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        fail: mpsc::Sender<Fatal>,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(fail)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        fail: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let why = match event {
            SupervisionEvent::ActorFailed(_, why) => why.to_string(),
            // Nobody listens any longer when the node itself ends its actors.
            SupervisionEvent::ActorTerminated(_, _, why) => why.unwrap_or_default(),
            _ => return Ok(()),
        };
        let _ = fail.try_send(Fatal::Actor(why));
        Ok(())
    }
}
