//! `run`: runs the node of a home until it is told to stop, or cannot go on.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chorus_actors::transport::sockets::Error as SocketsError;
use chorus_actors::{Fatal, Node, StartError};
use chorus_storage::home::write_atomic;
use chorus_storage::{Home, HomeError};
use rustix::process::{Pid, getppid, set_parent_process_death_signal};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::recall;
use crate::cli::Context;
use crate::error::Failure;
use crate::live::{self, Live};
use crate::settings::Settings;
use crate::{control, home, metrics, notify, telemetry};

/// Restarts after a panic within [`RESTART_WINDOW`] before the process gives up.
const RESTARTS_MAX: usize = 5;
/// Starts that are tried when ports are left to the system.
const START_TRIES: usize = 3;
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// Runs it; `listens` counts how often it has begun to listen.
pub async fn run(
    ctx: Context,
    above: Option<u64>,
    listens: watch::Sender<u64>,
) -> Result<(), Failure> {
    let settings = Settings::load(&ctx)?;
    telemetry::start(&settings);
    if let Some(file) = &settings.empty_file {
        tracing::warn!(
            file = %file.display(),
            "the configuration is empty: every setting has its default; write into it what this \
             node needs, or a comment if that is meant"
        );
    }
    let mut interrupts = Interrupts::new()?;
    let mut restarts: VecDeque<Instant> = VecDeque::new();
    loop {
        let Some(why) = once(&ctx, &settings, above, &mut interrupts, &listens).await? else {
            return Ok(());
        };
        // A panic is mended by a new run, a new incarnation; a loop of panics is
        // for whoever started the process.
        restarts.retain(|at| at.elapsed() < RESTART_WINDOW);
        if let Fatal::Store(_) = why {
            let message = format!("the node cannot go on: {why}");
            return Err(Failure::failed("store_failed", message).hint(
                "look at the disk; then start the node again (a service manager does): only a \
                 new process can open the files, and it mends them",
            ));
        }
        if let Fatal::Home(_) = why {
            let message = format!("the node cannot go on: {why}");
            return Err(Failure::failed("home_lost", message).hint(
                "put the home back in its place, then start the node again; stop a node before \
                 its home, or the file `lock` in it, is moved or removed",
            ));
        }
        if !matches!(why, Fatal::Actor(_)) || restarts.len() >= RESTARTS_MAX {
            let message = format!("the node cannot go on: {why}");
            return Err(Failure::failed("node_failed", message)
                .hint("start it again; if this stays, see `chorus doctor` and the log"));
        }
        restarts.push_back(Instant::now());
        tracing::error!(%why, restarts = restarts.len(), "the node is started again");
    }
}

/// Ends this process when the process `parent` that started it does, even by SIGKILL.
pub fn end_with(parent: i32) -> Result<(), Failure> {
    let failed = |why: String| Failure::failed("no_parent", why);
    set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|why| failed(format!("the death of process {parent} is not told: {why}")))?;
    // It may have ended before that.
    match getppid().map(Pid::as_raw_nonzero) {
        Some(now) if now.get() == parent => Ok(()),
        _ => Err(failed(format!("process {parent} is not this one's parent"))),
    }
}

/// One run of the node: `None` when it was told to stop, else why it cannot go on.
async fn once(
    ctx: &Context,
    settings: &Settings,
    above: Option<u64>,
    interrupts: &mut Interrupts,
    listens: &watch::Sender<u64>,
) -> Result<Option<Fatal>, Failure> {
    let mut plan = home::plan(home::load(&ctx.dir)?, settings)?;
    let home = plan.home.clone();
    // Before the node, which would be a new incarnation only to stop again.
    let metrics = match settings.metrics {
        Some(address) => Some(listen_for_metrics(address).await?),
        None => None,
    };
    if !recall::count_is_there(&plan, above, interrupts).await? {
        return Ok(None);
    }
    // A port that the system chose may be taken between our look at it and our bind.
    let mut tries = if settings.ports.router == 0 {
        START_TRIES
    } else {
        1
    };
    let node = loop {
        tries -= 1;
        match Node::start(plan).await {
            Ok(node) => break node,
            Err(StartError::Sockets(SocketsError::Bind { .. })) if tries > 0 => {
                tracing::warn!("a port was taken at the last moment: trying again");
                plan = home::plan(home::load(&ctx.dir)?, settings)?;
            }
            Err(why) => return Err(not_started(&why)),
        }
    };
    warn_of_other_port(settings.metrics, metrics.as_ref());
    let ended = match announce(&node, &home, &settings.advertise, metrics.as_ref()) {
        Ok(control) => {
            let (live, asked) = live::channel();
            let live = live.with_memory(node.memory());
            let live = live.with_operations(node.operations());
            notify::ready();
            listens.send_modify(|starts| *starts += 1);
            let told = notify::keep(live.clone());
            let serving = serve(control, metrics, live, home.clone());
            tokio::select! {
                ended = end(&node, interrupts) => Ok(ended),
                () = async { tokio::join!(serving, live::answer_all(&node, asked)); } => Ok(None),
                never = told => match never {},
            }
        }
        Err(failure) => Err(failure),
    };
    // Nobody shall ask a node that is gone. The addresses stay: the next run takes the
    // same ports again, because others know the node by them. In a home that is lost the
    // socket may be that of another process.
    if !matches!(ended, Ok(Some(Fatal::Home(_)))) {
        let _ = std::fs::remove_file(control::path(&home));
    }
    node.stop().await;
    tracing::info!("stopped");
    ended
}

/// Opens the control socket and says where everything listens.
fn announce(
    node: &Node,
    home: &Home,
    advertise: &[String],
    metrics: Option<&TcpListener>,
) -> Result<UnixListener, Failure> {
    let control = control::listen(home)?;
    let bound = node.bound();
    let metrics = metrics.and_then(|listener| listener.local_addr().ok());
    let addresses = json!({
        "schema": "chorus.addresses/1",
        "pid": std::process::id(),
        "node": node.id().to_string(),
        "router": bound.router,
        "publisher": bound.publisher,
        "subscriber": bound.subscriber,
        "door": bound.door,
        "memory": node.memory_address(),
        "advertise": advertise,
        "metrics": metrics.map(|address| format!("http://{address}/metrics")),
        "control": control::path(home),
    });
    let text = format!("{addresses}\n");
    write_atomic(&home.addresses(), text.as_bytes(), 0o600).map_err(home::broken)?;
    tracing::info!(
        name = %node.name(),
        id = %node.id(),
        router = bound.router,
        "running"
    );
    Ok(control)
}

/// The metrics' listener. A port that another node of this machine has is no
/// reason not to run: any other will do, and `addresses.json` says which.
async fn listen_for_metrics(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = match TcpListener::bind(address).await {
        Err(why) if why.kind() == std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((address.ip(), 0)).await
        }
        bound => bound,
    };
    bound.map_err(|why| {
        let message = format!("metrics.listen {address}: {why}");
        Failure::usage("metrics_address", message)
            .hint("set metrics.listen to an address of this machine, or empty for no metrics")
    })
}

/// Only once the home is ours: a second `run` beside the first ends with that, and without this.
fn warn_of_other_port(asked: Option<SocketAddr>, bound: Option<&TcpListener>) {
    let bound = bound.and_then(|listener| listener.local_addr().ok());
    if let (Some(asked), Some(bound)) = (asked, bound)
        && asked.port() != 0
        && asked.port() != bound.port()
    {
        tracing::warn!(%asked, %bound, "metrics.listen is taken; another port is used");
    }
}

/// Control connections and metrics, until dropped.
async fn serve(control: UnixListener, metrics: Option<TcpListener>, live: Live, home: Home) {
    let controlled = control::serve(control, live.clone(), home);
    match metrics {
        Some(listener) => {
            tokio::join!(controlled, metrics::serve(listener, live));
        }
        None => controlled.await,
    }
}

/// Waits until the node shall or must end.
async fn end(node: &Node, interrupts: &mut Interrupts) -> Option<Fatal> {
    tokio::select! {
        name = interrupts.next() => {
            tracing::info!(signal = name, "stopping");
            notify::stopping();
            None
        }
        why = node.failed() => Some(why),
    }
}

/// The code of a start that a revocation forbids.
pub const REVOKED: &str = "revoked";

/// Why a node did not start, with what to do where that is known.
pub fn not_started(why: &StartError) -> Failure {
    let message = why.to_string();
    match why {
        StartError::Home(why @ (HomeError::InUse { .. } | HomeError::NotOwner { .. })) => {
            home::told(why)
        }
        StartError::Sockets(SocketsError::Bind { .. }) => Failure::failed("not_started", message)
            .hint(
                "if another node of this machine listens there, choose other ports: \
                 net.listen in chorus.toml, or --listen at `init` and `join`",
            ),
        StartError::Revoked => Failure::refused(REVOKED, message),
        StartError::NotAMember | StartError::OtherLinkKey => {
            Failure::refused("not_a_member", message)
        }
        _ if is_full(why) => Failure::failed("disk_full", message)
            .hint("make room on the disk that holds the home, then start the node again"),
        _ => Failure::failed("not_started", message),
    }
}

/// Whether a full disk, or a full quota, is what keeps it from starting.
fn is_full(why: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let store = matches!(why.downcast_ref(), Some(chorus_storage::Error::Full { .. }));
    let home = match why.downcast_ref() {
        Some(chorus_storage::HomeError::Io { source, .. }) => {
            matches!(source.kind(), StorageFull | QuotaExceeded)
        }
        _ => false,
    };
    // A transparent error gives its inner one's source: that itself is not in the chain.
    let inner = match why.downcast_ref() {
        Some(StartError::Store(why)) => is_full(why),
        Some(StartError::Home(why)) => is_full(why),
        Some(StartError::Boot(chorus_storage::BootError::Home(why))) => is_full(why),
        _ => false,
    };
    store || home || inner
}

/// SIGTERM and SIGINT. From the moment it is made they no longer kill the process.
#[derive(Debug)]
pub struct Interrupts {
    terminate: Signal,
    interrupt: Signal,
}

impl Interrupts {
    /// Takes over both signals.
    pub fn new() -> Result<Self, Failure> {
        let take = |kind| {
            signal(kind).map_err(|why| Failure::failed("signals", format!("signals: {why}")))
        };
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }

    /// The next one's name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The addresses that a running node wrote, if one did.
pub fn addresses(home: &Home) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(home.addresses()).ok()?).ok()
}
