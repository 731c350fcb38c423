//! Ask: one question at several nodes' ROUTERs and their answers, for a node that has not
//! started. It blocks, and has a context and sockets of its own for so long.

use std::time::{Duration, Instant};

use super::endpoint::{connect, dialler, receive};
use super::keys::{CurveKeys, Key};
use super::names::Names;

/// How soon the caller's wish to stop is heard.
const STEP: Duration = Duration::from_millis(100);

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct Target {
    /// The link key that it must prove.
    pub key: Key,
    /// Where its ROUTER is: `tcp://host:port`.
    pub endpoint: String,
}

/// Sends `frames[n]` to `targets[n]` and gives every answer to `answered`, with the target's
/// number, until `answered` says that it has enough, `within` is over, or `stop` holds.
/// Targets that cannot be dialled are left out.
pub fn ask_all(
    targets: &[Target],
    own: &CurveKeys,
    frames: &[Vec<u8>],
    within: Duration,
    stop: impl Fn() -> bool,
    mut answered: impl FnMut(usize, &[u8]) -> bool,
) -> zmq::Result<()> {
    let context = zmq::Context::new();
    let names = Names::new(|| {});
    let mut sockets = Vec::new();
    let mut unasked: Vec<usize> = (0..targets.len().min(frames.len())).collect();
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stop() {
            return Ok(());
        }
        for n in std::mem::take(&mut unasked) {
            let target = &targets[n];
            let Some(to) = names.endpoint(&target.endpoint) else {
                unasked.push(n);
                continue;
            };
            let socket = dialler(&context, zmq::DEALER, own, &target.key)?;
            socket.set_linger(0)?;
            if connect(&socket, &to).is_err() {
                tracing::debug!(endpoint = target.endpoint, "no address that can be dialled");
                continue;
            }
            // Queued until the connection stands.
            socket.send(&frames[n], zmq::DONTWAIT)?;
            sockets.push((n, socket));
        }
        if sockets.is_empty() && unasked.is_empty() {
            return Ok(());
        }
        let mut items: Vec<_> = sockets
            .iter()
            .map(|(_, socket)| socket.as_poll_item(zmq::POLLIN))
            .collect();
        let wait_ms = left.min(STEP).as_micros().div_ceil(1000) as i64;
        match zmq::poll(&mut items, wait_ms) {
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(why) => return Err(why),
        }
        for (n, socket) in &sockets {
            // One at a time: who talks without end must not keep the rest from its turn,
            // nor the round from its end.
            let frame = receive(socket).and_then(|answer| answer.parts.into_iter().next());
            if frame.is_some_and(|frame| answered(*n, &frame)) {
                return Ok(());
            }
        }
    }
}
