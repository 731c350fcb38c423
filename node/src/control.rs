//! The control socket: how a verb speaks to the node that runs in its home.
//!
//! A Unix socket that only its owner can open. The client writes one JSON line, such as
//! `{"do":"status"}`; the node answers with JSON lines, the last of which is `{"end":true}`
//! or `{"error":{…}}`, and closes. A client that sees neither knows that the answer is cut.
//! What may be long is asked for page by page, each on a connection of its own: nothing waits
//! in the node for a client that reads slowly.

pub mod memory;
pub mod operations;
mod pages;

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chorus_protocol::ids::Label;
use chorus_protocol::trust::mesh_of;
use chorus_storage::Home;
use chorus_storage::home::make_dir;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::connections::Asked;
use crate::error::{Failure, exit};
use crate::live::Live;
use crate::verbs::checkpoint::Ask;
use crate::verbs::revoke::Whom;
use crate::{connections, home, report, verbs};

/// The longest line of an answer in bytes.
pub const LINE_BYTES_MAX: u64 = 64 * 1024;
/// The longest question in bytes: a batch of an import.
pub const REQUEST_BYTES_MAX: u64 = 256 * 1024;
/// Lines of one answer: 64 peers a line, so more than a mesh has members.
const LINES_MAX: usize = 1024;
/// How long a client waits: twice what a connection may last.
const ASK_MAX: Duration = Duration::from_secs(10);
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
    /// The agents of this node, and how many there are beneath it.
    Agents {},
    /// One question to them.
    Gather {
        /// What, and how.
        ask: operations::Ask,
    },
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
    let answer = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => handle(request, &asked, &live, &home).await,
        Err(why) => Err(Failure::usage(
            "bad_request",
            format!("not a request: {why}"),
        )),
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
        let line = format!("{line}\n");
        let written = timeout(READ_MAX, write.write_all(line.as_bytes()));
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = write.shutdown().await;
}

async fn handle(
    request: Request,
    asked: &Asked,
    live: &Live,
    home: &Home,
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
            asked.say();
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
        Request::Agents {} => operations::agents(live).await,
        Request::Gather { ask } => {
            asked.say();
            operations::gather(ask, live).await
        }
        Request::Memory { ask } => {
            asked.say();
            memory::answer(ask, live, home).await
        }
    }
}

/// The failure of a question to a node that is going down.
pub fn stopping() -> Failure {
    Failure::unreachable("stopping", "the node is stopping")
}

/// Asks the node that runs in `home`; the lines of its answer without the last.
pub async fn ask(home: &Home, request: &Request) -> Result<Vec<Value>, Failure> {
    ask_within(home, request, ASK_MAX).await
}

/// The same, of what may take longer.
pub async fn ask_within(
    home: &Home,
    request: &Request,
    within: Duration,
) -> Result<Vec<Value>, Failure> {
    match timeout(within, exchange(home, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::new(
            exit::TIMEOUT,
            "no_answer",
            format!(
                "the node in {} does not answer within {} s",
                home.dir().display(),
                within.as_secs()
            ),
        )
        .hint("the machine may be overloaded; look into the node's log")),
    }
}

async fn exchange(home: &Home, request: &Request) -> Result<Vec<Value>, Failure> {
    let cut =
        |why: io::Error| Failure::unreachable("answer_cut", format!("the node hung up: {why}"));
    let mut stream = UnixStream::connect(path(home))
        .await
        .map_err(|why| not_running(home, &why))?;
    let mut line = serde_json::to_vec(request)
        .map_err(|why| Failure::usage("bad_request", why.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(cut)?;
    let mut read = BufReader::new(stream);
    let mut answer = Vec::new();
    while answer.len() < LINES_MAX {
        let mut line = Vec::new();
        let mut limited = (&mut read).take(LINE_BYTES_MAX);
        limited.read_until(b'\n', &mut line).await.map_err(cut)?;
        let Ok(value) = serde_json::from_slice::<Value>(&line) else {
            break;
        };
        if value["end"] == true {
            return Ok(answer);
        }
        if let Some(error) = value.get("error") {
            return Err(refusal(error));
        }
        answer.push(value);
    }
    Err(Failure::unreachable(
        "answer_cut",
        "the node's answer was cut off",
    ))
}

fn refusal(error: &Value) -> Failure {
    let text = |key: &str| error[key].as_str().unwrap_or_default();
    let code = error["exit"]
        .as_u64()
        .and_then(|code| u8::try_from(code).ok());
    Failure::new(code.unwrap_or(exit::FAILED), text("code"), text("message")).hint(text("hint"))
}

fn not_running(home: &Home, why: &io::Error) -> Failure {
    let (dir, socket) = (home.dir().display(), path(home));
    match (why.kind(), holder(home)) {
        (io::ErrorKind::NotFound, None) if matches!(home.is_used(), Ok(false)) => {
            home::no_node(home)
        }
        (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, None) => {
            Failure::unreachable("not_running", format!("no node runs in {dir}"))
                .hint(format!("start it with `chorus --dir {dir} run`"))
        }
        (io::ErrorKind::NotFound, Some(pid)) => {
            let message = format!(
                "process {pid} runs in {dir}, but its control socket {} is not there",
                socket.display()
            );
            Failure::unreachable("no_control_socket", message).hint(format!(
                "just started, it needs a moment; if the socket was removed, stop it with \
                 `kill {pid}` and start it again"
            ))
        }
        (io::ErrorKind::ConnectionRefused, Some(pid)) => {
            let message = format!("process {pid} is starting in {dir} and answers nobody yet");
            Failure::unreachable("starting", message).hint("ask again in a moment")
        }
        _ => Failure::unreachable("control_socket", format!("{}: {why}", socket.display()))
            .hint("only the user who started the node may ask it, on the same machine"),
    }
}

/// The process that holds the lock of a home, as the system lists it. The lock is not tried:
/// whoever takes it, for however short a time, may keep a node from starting.
fn holder(home: &Home) -> Option<u32> {
    let lock = home.dir().join("lock");
    let inode = fs::metadata(&lock).ok()?.ino();
    holder_in(&fs::read_to_string("/proc/locks").ok()?, inode)
}

/// The holder of a file's lock in the text of `/proc/locks`, whose lines are
/// `1: FLOCK  ADVISORY  WRITE 4242 fe:01:131102 0 EOF`.
fn holder_in(locks: &str, inode: u64) -> Option<u32> {
    let of_file = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let held = *words.get(1)? == "FLOCK";
        let file = words.get(5)?.rsplit(':').next()?.parse() == Ok(inode);
        (held && file).then(|| words[4].parse().ok()).flatten()
    };
    locks.lines().find_map(of_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_short_line_and_unknown_ones_are_refused() {
        let line = serde_json::to_string(&Request::Status {}).expect("it encodes");
        assert_eq!(line, r#"{"do":"status"}"#);
        let back = |text: &str| serde_json::from_str::<Request>(text);
        assert_eq!(back(&line).ok(), Some(Request::Status {}));
        assert!(back(r#"{"do":"explode"}"#).is_err());
        assert!(back(r#"{"do":"revoke","node":"a"}"#).is_err());
    }

    #[test]
    fn the_holder_of_a_lock_is_found_by_the_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 fe:01:131102 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 8 fe:01:99 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 fe:01:131102 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 4242 fe:01:131102 0 EOF\n";
        assert_eq!(holder_in(locks, 131_102), Some(4242));
        assert_eq!(holder_in(locks, 5), None);
    }

    #[test]
    fn a_failure_crosses_the_socket_whole() {
        let error = json!({"code": "c", "message": "m", "hint": "h", "exit": 4});
        assert_eq!(refusal(&error), Failure::refused("c", "m").hint("h"));
    }

    #[tokio::test]
    async fn nobody_home_is_said_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::at(dir.path());
        let failure = async || {
            ask(&home, &Request::Status {})
                .await
                .expect_err("nobody runs there")
        };
        let none = failure().await;
        assert_eq!((none.exit, none.code.as_str()), (2, "no_node"));
        assert!(none.hint.contains("--dir"), "{}", none.hint);
        fs::create_dir(dir.path().join("identity")).expect("its folder");
        fs::write(home.node_key(), "").expect("its key");
        let stopped = failure().await;
        assert_eq!((stopped.exit, stopped.code.as_str()), (3, "not_running"));
        assert!(stopped.hint.contains("run"), "{}", stopped.hint);
    }
}
