//! Exec: a command that stays running and speaks one JSON object a line on stdin and stdout.
//!
//! A question is `{"id":7,"question":"…"}`; an answer `{"id":7,"answer":"…"}`, a contradiction
//! `{"id":7,"conflict":"why"}`, a failure `{"id":7,"error":"why"}`, in any order. What is no such
//! line is counted and answers nothing. A command that ends is started again, each time a little
//! later; whoever waited for it is told that it crashed.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chorus_protocol::ids::Label;
use chorus_protocol::op::Said;
use chorus_protocol::op::answers::ANSWER_BYTES_MAX;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::lines::{Lines, Read};

/// Questions that may be on their way to the command.
const ASKS_MAX: usize = 64;
/// The longest line in bytes: an answer whose every byte is escaped, and what is around it.
const LINE_BYTES_MAX: usize = 6 * ANSWER_BYTES_MAX + 1_024;
/// How much longer one may be that is skipped; a command that goes on after that is ended.
const SKIP_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// So much of what a command says besides is logged in so long.
const LOGGED_BYTES_MAX: usize = 64 * 1024;
const LOGGED_EVERY: Duration = Duration::from_secs(60);
/// How long after its end a command is started again at first, and at last.
const RESTART: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How long an ended command's last lines are waited for, and one that closed its output for
/// its end.
const END: Duration = Duration::from_secs(2);
/// Who ran for so long is started again soon.
const STEADY: Duration = Duration::from_secs(60);

/// The way to a command that is kept running. It ends when the last of these is dropped.
#[derive(Debug, Clone)]
pub struct Exec {
    asks: mpsc::Sender<Ask>,
    health: Arc<Mutex<Health>>,
}

/// How a command does.
#[derive(Debug, Default)]
struct Health {
    /// How often it ended without an answer in between.
    ends: u32,
    /// Since when it runs.
    since: Option<Instant>,
}

#[derive(Debug)]
struct Ask {
    question: String,
    reply: oneshot::Sender<Said>,
}

/// What crosses to the command.
#[derive(Debug, Serialize)]
struct Line<'a> {
    id: u64,
    question: &'a str,
}

/// What comes back.
#[derive(Debug, Deserialize)]
struct Back {
    id: u64,
    answer: Option<String>,
    conflict: Option<String>,
    error: Option<String>,
}

/// Why a command is served no longer.
enum Ended {
    /// Nobody asks any more.
    Unwanted,
    /// It ended.
    Exited(String),
}

impl Exec {
    /// Starts the command and keeps it running; lines that are none are counted.
    pub fn start(agent: Label, command: Vec<String>, malformed: Arc<AtomicU64>) -> Self {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let health = Arc::<Mutex<Health>>::default();
        tokio::spawn(keep(agent, command, asked, malformed, health.clone()));
        Self { asks, health }
    }

    /// How often the command ended without an answer in between; none when it runs for long.
    pub fn ends(&self) -> u32 {
        let health = lock(&self.health);
        match health.since.is_some_and(|it| it.elapsed() >= STEADY) {
            true => 0,
            false => health.ends,
        }
    }

    /// Puts a question to the command.
    pub async fn ask(&self, question: &[u8]) -> Said {
        let Ok(question) = std::str::from_utf8(question) else {
            return Said::Lost("the question is no text".into());
        };
        let (reply, answer) = oneshot::channel();
        let question = question.to_owned();
        if self.asks.try_send(Ask { question, reply }).is_err() {
            return Said::Lost("it does not read its questions".into());
        }
        let gone = Said::Lost("it was stopped".into());
        answer.await.unwrap_or(gone)
    }
}

/// Starts the command again and again.
async fn keep(
    agent: Label,
    command: Vec<String>,
    mut asked: mpsc::Receiver<Ask>,
    malformed: Arc<AtomicU64>,
    health: Arc<Mutex<Health>>,
) {
    let (first, longest) = RESTART;
    let mut wait = first;
    loop {
        let began = Instant::now();
        let why = match spawn(&command) {
            Ok(child) => match serve(agent, child, &mut asked, &malformed, &health).await {
                Ended::Unwanted => return,
                Ended::Exited(why) => why,
            },
            Err(why) => format!("it does not start: {why}"),
        };
        let steady = began.elapsed() >= STEADY;
        if steady {
            wait = first;
        }
        {
            let mut health = lock(&health);
            health.since = None;
            health.ends = if steady {
                1
            } else {
                health.ends.saturating_add(1)
            };
        }
        tracing::warn!(%agent, why, again_in_ms = wait.as_millis() as u64, "an agent's command ended");
        let until = Instant::now() + wait;
        wait = (wait * 2).min(longest);
        loop {
            tokio::select! {
                ask = asked.recv() => match ask {
                    None => return,
                    // Whoever asked may have gone.
                    Some(ask) => drop(ask.reply.send(Said::Lost(why.clone()))),
                },
                () = sleep_until(until) => break,
            }
        }
    }
}

fn spawn(command: &[String]) -> std::io::Result<Child> {
    let (program, arguments) = command
        .split_first()
        .ok_or(std::io::ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Carries questions and answers for as long as the command runs.
async fn serve(
    agent: Label,
    mut child: Child,
    asked: &mut mpsc::Receiver<Ask>,
    malformed: &AtomicU64,
    health: &Mutex<Health>,
) -> Ended {
    lock(health).since = Some(Instant::now());
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Ended::Exited("it has no pipes".into());
    };
    let (lines, unwritten) = mpsc::channel(ASKS_MAX);
    tokio::spawn(write(stdin, unwritten));
    tokio::spawn(log(agent, stderr));
    let mut stdout = Lines::new(stdout, LINE_BYTES_MAX);
    let mut waiting: BTreeMap<u64, oneshot::Sender<Said>> = BTreeMap::new();
    let mut next = 0;
    // Others may hold its output open when it has ended.
    let mut exited: Option<(ExitStatus, Instant)> = None;
    loop {
        let end = exited.map_or_else(Instant::now, |it| it.1);
        tokio::select! {
            Ok(status) = child.wait(), if exited.is_none() => {
                exited = Some((status, Instant::now() + END));
            }
            () = sleep_until(end), if exited.is_some() => break,
            ask = asked.recv() => {
                let Some(Ask { question, reply }) = ask else {
                    return Ended::Unwanted;
                };
                // Who waited for too long has given up.
                waiting.retain(|_, reply| !reply.is_closed());
                next += 1;
                let text = serde_json::to_string(&Line { id: next, question: &question });
                let sent = text.is_ok_and(|text| lines.try_send(text + "\n").is_ok());
                match sent {
                    true => drop(waiting.insert(next, reply)),
                    false => {
                        let why = "it does not read its questions";
                        let _ = reply.send(Said::Lost(why.into()));
                    }
                }
            }
            read = stdout.next(SKIP_BYTES_MAX) => {
                let mut is_bad = false;
                let said = match read {
                    None => break,
                    Some(Read::Whole(line)) => {
                        let back = serde_json::from_slice::<Back>(line).ok();
                        back.and_then(|back| Some((back.id, said(back)?)))
                    }
                    Some(Read::Beginning(line)) => {
                        is_bad = true;
                        let why = format!("its answer is a line of more than {LINE_BYTES_MAX} bytes");
                        id_of(line).map(|id| (id, Said::Lost(why)))
                    }
                };
                let taken = said.and_then(|(id, said)| waiting.remove(&id)?.send(said).ok());
                if taken.is_some() {
                    lock(health).ends = 0;
                }
                malformed.fetch_add(u64::from(is_bad || taken.is_none()), Ordering::Relaxed);
            }
        }
    }
    let status = match exited {
        Some((status, _)) => Some(status),
        None => {
            let status = tokio::time::timeout(END, child.wait()).await;
            status.ok().and_then(Result::ok)
        }
    };
    let why = ended(status);
    for reply in waiting.into_values() {
        let _ = reply.send(Said::Lost(why.clone()));
    }
    Ended::Exited(why)
}

/// The question that a line answers, where it says that first.
fn id_of(beginning: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(beginning);
    let after = text.split_once("\"id\":")?.1.trim_start();
    let end = after.find(|it: char| !it.is_ascii_digit())?;
    after[..end].parse().ok()
}

/// What a line says; nothing if it says none or several of the three.
fn said(back: Back) -> Option<Said> {
    match (back.answer, back.conflict, back.error) {
        (Some(answer), None, None) => Some(Said::Ready(answer.into_bytes())),
        (None, Some(why), None) => Some(Said::Conflict(why)),
        (None, None, Some(why)) => Some(Said::Lost(why)),
        _ => None,
    }
}

fn lock(health: &Mutex<Health>) -> std::sync::MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ended(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => format!("it crashed: {status}"),
        None => "it closed its output".into(),
    }
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<String>) {
    while let Some(line) = lines.recv().await {
        // Of one that has ended the reader learns it too.
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// What the command says besides, for the node's log.
async fn log(agent: Label, stderr: impl AsyncRead + Unpin) {
    let mut stderr = Lines::new(stderr, LOGGED_BYTES_MAX);
    let mut logged = 0;
    let mut since = Instant::now();
    // It is read to its end whatever it is: a pipe that nobody reads would stop the command.
    while let Some(Read::Whole(line) | Read::Beginning(line)) = stderr.next(u64::MAX).await {
        if since.elapsed() >= LOGGED_EVERY {
            (since, logged) = (Instant::now(), 0);
        }
        logged += line.len();
        if logged <= LOGGED_BYTES_MAX {
            let text = String::from_utf8_lossy(line);
            tracing::info!(%agent, said = text.trim_end(), "an agent's command");
        } else if logged - line.len() <= LOGGED_BYTES_MAX {
            tracing::warn!(%agent, "its command says more than is logged in a minute");
        }
    }
}

#[cfg(test)]
mod tests;
