//! Stands before the door: takes every TCP connection there, lets it in when its turn comes,
//! and passes on as many bytes for as long as one question needs.
//!
//! Anybody may connect to a door, and libzmq bounds neither the connections of a socket, nor
//! their age, nor the parts of a message: a stranger with one endless message would fill a
//! small board's memory. So the door's ROUTER listens on a Unix socket of this user, and what
//! reaches it has passed here. The bytes are CURVE's; nothing is read.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use super::admission::{AdmissionQueue, oldest_of_most, source};
use super::counters::{Counters, count};
use super::endpoint::DOOR_BYTES_MAX;

/// Connections at once. One more ends the oldest of the address that has most.
const CONNECTIONS_MAX: usize = 64;
/// Between two that are let in: a hundred handshakes a second take some hundredths of a core.
const BETWEEN: Duration = Duration::from_millis(10);
/// What one connection may say: its handshake, and its question with some tries.
const BYTES_MAX: u64 = 4 * DOOR_BYTES_MAX as u64;
/// How long a connection may stay: the longest wait for an answer, and room.
const STAY_MAX: Duration = Duration::from_secs(60);
/// How long to wait when the system has no descriptor left for another connection.
const BREATH: Duration = Duration::from_millis(100);

/// The porter's thread. Dropping it ends every connection and frees the address.
#[derive(Debug)]
pub struct Porter {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Porter {
    /// Listens on `outer` (port 0: the system chooses) and passes on to the Unix
    /// socket `inner`.
    pub fn start(outer: SocketAddr, inner: PathBuf, counters: Arc<Counters>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(outer))?;
        let address = listener.local_addr()?;
        let inner: Arc<Path> = inner.into();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("chorus-porter".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(&listener, &inner, &counters) => {}
                        // The sender's end is dropped, never used.
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens, the port as it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Porter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; there is nobody to hand it to.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: &TcpListener, inner: &Arc<Path>, counters: &Arc<Counters>) {
    let mut queue = AdmissionQueue::new();
    let mut guests = Guests::default();
    let mut turn = tokio::time::interval(BETWEEN);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    if queue.add(source(from.ip()), stream).is_some() {
                        count(&counters.door_cut);
                    }
                }
                Err(_) => tokio::time::sleep(BREATH).await,
            },
            _ = turn.tick(), if !queue.is_empty() => {
                if let Some((from, stream)) = queue.next() {
                    guests.let_in(from, stream, inner.clone(), counters.clone());
                }
            }
        }
    }
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Passed {
    /// By one of its sides.
    Ended,
    /// By us: it said too much, or stayed too long.
    Cut,
    /// At once: nobody listens behind the porter.
    NoDoor,
}

async fn pass(mut outside: TcpStream, inner: &Path) -> Passed {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let mut inside = match UnixStream::connect(inner).await {
        Ok(inside) => inside,
        Err(why) if matches!(why.kind(), NotFound | ConnectionRefused) => return Passed::NoDoor,
        Err(_) => return Passed::Ended,
    };
    let (from, mut to) = outside.split();
    let (mut answers, mut questions) = inside.split();
    let mut from = from.take(BYTES_MAX);
    let ended = async {
        tokio::select! {
            _ = copy(&mut from, &mut questions) => {}
            _ = copy(&mut answers, &mut to) => {}
        }
    };
    let in_time = tokio::time::timeout(STAY_MAX, ended).await.is_ok();
    let cut = !in_time || from.limit() == 0;
    let _ = questions.shutdown().await;
    if cut { Passed::Cut } else { Passed::Ended }
}

/// The open connections, oldest first.
#[derive(Debug, Default)]
struct Guests {
    open: VecDeque<(IpAddr, AbortHandle)>,
}

impl Guests {
    /// Ends one if there is no room for another. True if it did.
    fn make_room(&mut self) -> bool {
        self.open.retain(|(_, guest)| !guest.is_finished());
        if self.open.len() < CONNECTIONS_MAX {
            return false;
        }
        let at = oldest_of_most(self.open.iter().map(|(from, _)| *from));
        if let Some((_, guest)) = at.and_then(|at| self.open.remove(at)) {
            guest.abort();
        }
        true
    }

    fn let_in(
        &mut self,
        from: IpAddr,
        stream: TcpStream,
        inner: Arc<Path>,
        counters: Arc<Counters>,
    ) {
        if self.make_room() {
            count(&counters.door_cut);
        }
        let guest = tokio::spawn(async move {
            match pass(stream, &inner).await {
                Passed::Ended => {}
                Passed::Cut => count(&counters.door_cut),
                Passed::NoDoor => count(&counters.no_door),
            }
        });
        self.open.push_back((from, guest.abort_handle()));
    }
}
