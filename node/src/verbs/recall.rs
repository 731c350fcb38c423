//! `run` in a home whose count of starts is lost: the peers are asked how far it was, and
//! until one of them has answered the node says nothing else. Whoever asks the node
//! meanwhile is told what it waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chorus_actors::Plan;
use chorus_actors::recall::Recall;
use chorus_protocol::ids::{Incarnation, Stamp};
use chorus_storage::{BootError, Home, boot};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

use super::run::{Interrupts, not_started};
use crate::error::Failure;
use crate::{connections, control};

/// The pause after the first round without an answer; it doubles up to the last.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Why the count of starts is lost, if it is. Anything else is the start's to say.
fn lost(home: &Home) -> Option<BootError> {
    let checked = boot::check(home).err();
    checked.filter(|why| matches!(why, BootError::Missing | BootError::Damaged))
}

/// What would keep the node of a home from beginning, or make it wait: all that a start looks
/// at before it counts itself. The store is opened, and the home is locked meanwhile.
pub fn hindrance(plan: &Plan) -> Result<Option<Failure>, Failure> {
    let recall = Recall::new(plan).map_err(|why| not_started(&why))?;
    Ok(lost(&plan.home).map(|_| waits_for(&recall.asked())))
}

/// Sees to it that the home has a count of starts. False: told to stop meanwhile.
/// `above` is what a person knows of it, an incarnation as `chorus peers` shows it.
pub async fn count_is_there(
    plan: &Plan,
    above: Option<u64>,
    interrupts: &mut Interrupts,
) -> Result<bool, Failure> {
    let Some(lost) = lost(&plan.home) else {
        return Ok(true);
    };
    let mut recall = Recall::new(plan).map_err(|why| not_started(&why))?;
    if let Some(above) = above {
        tracing::warn!(%lost, above, "the node begins above the incarnation it was given");
        let highest = Stamp {
            incarnation: Incarnation(above),
            lamport: 0,
        };
        recall.restore(highest).map_err(|why| not_started(&why))?;
        return Ok(true);
    }
    let control = control::listen(&plan.home)?;
    let stop = Arc::new(AtomicBool::new(false));
    let waiting = waits_for(&recall.asked());
    let served = serve(&control, &waiting);
    tokio::pin!(served);
    let mut pause = PAUSE_FIRST;
    loop {
        tracing::warn!(%lost, asked = ?recall.asked(), "asking for the highest stamp");
        let stopping = stop.clone();
        let mut round = tokio::task::spawn_blocking(move || {
            let told = recall.round(|| stopping.load(Ordering::Relaxed));
            (recall, told)
        });
        let done = tokio::select! {
            done = &mut round => done,
            () = &mut served => round.await,
            _ = interrupts.next() => {
                stop.store(true, Ordering::Relaxed);
                let _ = round.await;
                return Ok(false);
            }
        };
        let told;
        (recall, told) = done.map_err(|why| Failure::failed("recall", why.to_string()))?;
        let told = told.map_err(|why| not_started(&why))?;
        if !told.by.is_empty() {
            tracing::warn!(
                by = ?told.by,
                incarnation = %told.highest.incarnation,
                lamport = told.highest.lamport,
                "the peers told how far this node was; it begins above that"
            );
            recall
                .restore(told.highest)
                .map_err(|why| not_started(&why))?;
            return Ok(true);
        }
        tracing::warn!(
            again_s = pause.as_secs(),
            hint = waiting.hint,
            "{}",
            waiting.message
        );
        tokio::select! {
            () = sleep(pause) => {}
            () = &mut served => {}
            _ = interrupts.next() => return Ok(false),
        }
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

/// What the node waits for, and what a person can do.
fn waits_for(asked: &[String]) -> Failure {
    let above = "or start it with `chorus run --above N`, N being the incarnation that \
        `chorus peers --json` of another node shows for this one; 0 only if no other node \
        ever saw it";
    let lost = "this node's count of starts (identity/boot) is lost and it must not begin before";
    match asked {
        [] => Failure::unreachable(
            "waits_for_stamp",
            format!("{lost} it knows how far it was, and it knows no other node to ask"),
        )
        .hint(format!("restore identity/boot from a backup, {above}")),
        some => Failure::unreachable(
            "waits_for_stamp",
            format!(
                "{lost} a peer has told how far it was; no answer that counts came yet from {}",
                some.join(", ")
            ),
        )
        .hint(format!(
            "start one of them, it goes on by itself then; {above}"
        )),
    }
}

/// Tells everybody who asks what the node waits for. Never ends.
async fn serve(listener: &UnixListener, waiting: &Failure) {
    let line = json!({"error": {
        "code": waiting.code,
        "message": waiting.message,
        "hint": waiting.hint,
        "exit": waiting.exit,
    }});
    let line = format!("{line}\n");
    let accept = async || listener.accept().await.map(|(stream, _)| stream);
    let one = |stream, _| tell(stream, line.clone());
    connections::serve("the control socket", accept, one).await;
}

async fn tell(mut stream: UnixStream, line: String) {
    let (read, mut write) = stream.split();
    let mut question = BufReader::new(read.take(control::LINE_BYTES_MAX));
    // A client that goes away is owed nothing.
    if question.read_until(b'\n', &mut Vec::new()).await.is_ok()
        && write.write_all(line.as_bytes()).await.is_ok()
    {
        let _ = write.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn callers_who_say_nothing_keep_nobody_from_being_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).expect("it listens");
        let waiting = waits_for(&[]);
        let connect = async || UnixStream::connect(&path).await.expect("it is accepted");
        let told = async {
            let mut idle = Vec::new();
            for _ in 0..50 {
                idle.push(connect().await);
            }
            let mut asking = connect().await;
            asking.write_all(b"{}\n").await.expect("it is read");
            let mut answer = String::new();
            asking.read_to_string(&mut answer).await.map(|_| answer)
        };
        let told = async {
            tokio::select! {
                () = serve(&listener, &waiting) => unreachable!("it serves for ever"),
                told = told => told.expect("an answer"),
            }
        };
        let told = timeout(Duration::from_secs(3), told).await;
        assert!(told.expect("at once").contains("waits_for_stamp"));
    }
}
