//! The asking side of the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use chorus_storage::Home;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{ASK_MAX, LINE_BYTES_MAX, LINES_MAX, REQUEST_BYTES_MAX, Request, path};
use crate::error::{Failure, exit};
use crate::home;

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
    ask_seeing(home, request, within, |_| {}).await
}

/// The same, with a look at how far it is meanwhile.
pub async fn ask_seeing(
    home: &Home,
    request: &Request,
    within: Duration,
    see: impl FnMut(&Value),
) -> Result<Vec<Value>, Failure> {
    match timeout(within, exchange(home, request, see)).await {
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

async fn exchange(
    home: &Home,
    request: &Request,
    mut see: impl FnMut(&Value),
) -> Result<Vec<Value>, Failure> {
    let cut =
        |why: io::Error| Failure::unreachable("answer_cut", format!("the node hung up: {why}"));
    let mut line = serde_json::to_vec(request)
        .map_err(|why| Failure::usage("bad_request", why.to_string()))?;
    line.push(b'\n');
    if line.len() as u64 > REQUEST_BYTES_MAX {
        let has = line.len();
        let message = format!("this has {has} bytes as a request; the most is {REQUEST_BYTES_MAX}");
        return Err(Failure::usage("too_large", message));
    }
    let mut stream = UnixStream::connect(path(home))
        .await
        .map_err(|why| not_running(home, &why))?;
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
        match value.get("progress") {
            Some(progress) => see(progress),
            None => answer.push(value),
        }
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
    use serde_json::json;

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
