//! The control socket: how a verb speaks to the node that runs in its home.
//!
//! A Unix socket that only its owner can open. The client writes one JSON line, such as
//! `{"do":"status"}`; the node answers with JSON lines, the last of which is `{"end":true}`
//! or `{"error":{…}}`, and closes. Of what takes long it says `{"progress":{…}}` meanwhile. A client that sees neither knows that the answer is cut.
//! What may be long is asked for page by page, each on a connection of its own: nothing waits
//! in the node for a client that reads slowly.

mod client;
pub mod delegate;
mod hearing;
pub mod inbox;
mod late;
pub mod memory;
pub mod operations;
mod pages;
mod story;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chorus_protocol::ids::Label;
use chorus_protocol::trust::mesh_of;
use chorus_storage::Home;
use chorus_storage::home::make_dir;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

pub use self::client::{ask, ask_seeing, ask_within};

use crate::connections::Asked;
use crate::error::Failure;
use crate::live::Live;
use crate::verbs::checkpoint::Ask;
use crate::verbs::revoke::Whom;
use crate::{connections, home, report, verbs};

/// The longest line of an answer in bytes.
pub const LINE_BYTES_MAX: u64 = 64 * 1024;
/// The longest question in bytes: a batch of an import.
pub const REQUEST_BYTES_MAX: u64 = 256 * 1024;
/// Lines of one answer: 64 peers a line, so more than a mesh has members.
pub const LINES_MAX: usize = 1024;
/// How long a client waits: twice what a connection may last.
const ASK_MAX: Duration = Duration::from_secs(10);
/// Words on how far something is that may wait for a client; of more only the newest matter.
const PROGRESS_MAX: usize = 8;
/// How long a client may take to read a line.
const READ_MAX: Duration = Duration::from_secs(5);

/// What a node can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// `chorus.status/1`.
    Status {},
    /// The rows of `chorus.peers/1`, several on each line.
    Peers {
        /// Also the members that nothing has been heard of.
        #[serde(default)]
        all: bool,
    },
    /// What members announced of themselves: rows, several on each line, as a timeline has them.
    Announced {},
    /// Whose a name is on the roster: `{"node":HEX}`, or null where it is free.
    Named {
        /// The name.
        name: Label,
    },
    /// What the node has checked of itself.
    Health {},
    /// About the checkpoints on disk; a vector comes in several lines.
    Checkpoint {
        /// What of them.
        ask: Ask,
    },
    /// Shut a node out with the root's key, which lies in this home.
    Revoke {
        /// Its name, or the first hex digits of its key, at least 4.
        node: String,
        /// Why.
        reason: String,
        /// Even where it is this node, or the one that made the mesh.
        #[serde(default)]
        force: bool,
    },
    /// The agents of this node, or all beneath it.
    Agents {
        /// Which.
        ask: operations::Agents,
    },
    /// One question to them.
    Gather {
        /// What, and how.
        ask: operations::Ask,
    },
    /// What waits for the people of this node.
    Inbox {
        /// What of it.
        ask: inbox::Ask,
    },
    /// A task for one of them.
    Delegate {
        /// What, and to whom.
        ask: delegate::Delegate,
    },
    /// How operations came out.
    Kpi {},
    /// Something of memory.
    Memory {
        /// What.
        ask: memory::Ask,
    },
}

/// Where the socket of a home is. Node and client must agree, so both ask here.
pub fn path(home: &Home) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let uid = rustix::process::getuid().as_raw();
    home.control_socket(runtime.as_deref().map(Path::new), uid)
}

/// Listens in `home`, which this process has locked: a socket that is there was left
/// behind by a process that died.
pub fn listen(home: &Home) -> Result<UnixListener, Failure> {
    let path = path(home);
    let failed = |why: io::Error| {
        Failure::failed("control_socket", format!("{}: {why}", path.display()))
            .hint("make the folder writable, or choose another --dir")
    };
    if let Some(dir) = path.parent() {
        // Only the owner may look into it, so nobody gets in before the mode is set below.
        make_dir(dir).map_err(home::broken)?;
    }
    match fs::remove_file(&path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(failed(why)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves until it is dropped.
pub async fn serve(listener: UnixListener, live: Live, home: Home) {
    let accept = async || listener.accept().await.map(|(stream, _)| stream);
    let one = |stream, asked| serve_one(stream, asked, live.clone(), home.clone());
    connections::serve("the control socket", accept, one).await;
}

async fn serve_one(stream: UnixStream, asked: Asked, live: Live, home: Home) {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(REQUEST_BYTES_MAX));
    // A client that went away in the middle is owed nothing.
    if read.read_until(b'\n', &mut line).await.is_err() || line.is_empty() {
        return;
    }
    let (tell, mut told) = mpsc::channel(PROGRESS_MAX);
    let answer = async {
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) => handle(request, &asked, &live, &home, tell).await,
            Err(why) => Err(Failure::usage(
                "bad_request",
                format!("not a request: {why}"),
            )),
        }
    };
    tokio::pin!(answer);
    let answer = loop {
        tokio::select! {
            Some(progress) = told.recv() => {
                let line = json!({ "progress": progress });
                if !send(&mut write, &line).await {
                    return;
                }
            }
            answer = &mut answer => break answer,
        }
    };
    let lines = match answer {
        Ok(mut lines) => {
            lines.push(json!({"end": true}));
            lines
        }
        Err(failure) => vec![json!({"error": {
            "code": failure.code,
            "message": failure.message,
            "hint": failure.hint,
            "exit": failure.exit,
        }})],
    };
    for line in lines {
        if !send(&mut write, &line).await {
            return;
        }
    }
    let _ = write.shutdown().await;
}

/// False when the client does not read it.
async fn send(write: &mut OwnedWriteHalf, line: &Value) -> bool {
    let line = format!("{line}\n");
    let written = timeout(READ_MAX, write.write_all(line.as_bytes()));
    matches!(written.await, Ok(Ok(())))
}

/// The answer takes its time.
fn wait(asked: &Asked) -> Result<(), Failure> {
    if asked.say() {
        return Ok(());
    }
    let many = connections::WAITING_MAX;
    let message = format!("{many} callers of this node wait for their answers already");
    Err(Failure::refused("busy", message).hint("ask again when some are answered"))
}

async fn handle(
    request: Request,
    asked: &Asked,
    live: &Live,
    home: &Home,
    tell: mpsc::Sender<Value>,
) -> Result<Vec<Value>, Failure> {
    let snapshot = async || live.snapshot().await.ok_or_else(stopping);
    match request {
        Request::Status {} => Ok(vec![report::status(&snapshot().await?)]),
        Request::Peers { all } => Ok(report::peers(&snapshot().await?, all)),
        Request::Announced {} => Ok(pages::lines(report::announced(&snapshot().await?))),
        Request::Named { name } => {
            let snapshot = snapshot().await?;
            let holder = snapshot.roster.by_name(&name);
            let node = holder.map(|member| member.entry.node.to_string());
            Ok(vec![json!({ "node": node })])
        }
        Request::Health {} => Ok(vec![report::health(&snapshot().await?)]),
        Request::Checkpoint { ask } => {
            wait(asked)?;
            let (home, roster) = (home.clone(), snapshot().await?.roster);
            let read = move || {
                let mesh = mesh_of(roster.root());
                verbs::checkpoint::answer(&home, &mesh, &roster, &ask)
            };
            // Files and many signatures: the node does not wait for that.
            let read = tokio::task::spawn_blocking(read).await;
            read.unwrap_or_else(|_| Err(stopping()))
        }
        Request::Revoke {
            node,
            reason,
            force,
        } => {
            let (snapshot, whom) = (snapshot().await?, Whom { name: &node, force });
            let done = verbs::revoke::in_running(live, home, &snapshot, whom, &reason).await?;
            Ok(vec![done])
        }
        Request::Agents { ask } => operations::agents(ask, live).await,
        Request::Gather { ask } => {
            wait(asked)?;
            operations::gather(ask, live, tell).await
        }
        Request::Inbox { ask } => inbox::answer(ask, live).await,
        Request::Delegate { ask } => {
            wait(asked)?;
            delegate::delegate(ask, live, tell).await
        }
        Request::Kpi {} => operations::kpi(live).await,
        Request::Memory { ask } => {
            wait(asked)?;
            memory::answer(ask, live, home).await
        }
    }
}

/// The failure of a question to a node that is going down.
pub fn stopping() -> Failure {
    Failure::unreachable("stopping", "the node is stopping")
}
