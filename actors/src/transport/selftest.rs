//! Admission control, tried on ourselves: before the first real socket binds, and again with
//! a wrong key every so often while the node runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::{FRAME_BYTES_MAX, connect, dialler, listener, receive};
use super::error::Error;
use super::keys::{CurveKeys, Key};
use super::messages::LinkState;
use super::monitored::Monitored;
use super::zap::{MESH, Zap};

const SELF_TEST_MAX: Duration = Duration::from_secs(5);
const STEP_MS: i64 = 20;
/// A probe has been refused, or let in, long before.
const PROBE_LIFE: Duration = Duration::from_secs(5);

/// Lets a listed key, a stranger and a NULL client shake hands with a socket of the mesh
/// domain on a loopback port: the first must get in, as itself, and the others must be seen
/// to fail. The handler goes live with the real list afterwards.
pub fn run(context: &zmq::Context, zap: &mut Zap) -> Result<(), Error> {
    let own = CurveKeys::generate()?;
    let (member, stranger) = (CurveKeys::generate()?, CurveKeys::generate()?);
    zap.replace_allow(Arc::new(BTreeSet::from([member.public])));
    match try_clients(context, zap, &own, &member, &stranger) {
        Ok(None) => Ok(()),
        Ok(Some(failure)) => Err(Error::SelfTest(failure)),
        Err(source) => Err(Error::zmq("the self-test", source)),
    }
}

fn try_clients(
    context: &zmq::Context,
    zap: &mut Zap,
    own: &CurveKeys,
    member: &CurveKeys,
    stranger: &CurveKeys,
) -> zmq::Result<Option<&'static str>> {
    let server = listener(context, zmq::ROUTER, own, MESH, FRAME_BYTES_MAX)?;
    server.bind("tcp://127.0.0.1:*")?;
    let Ok(endpoint) = server.get_last_endpoint()? else {
        return Ok(Some("the loopback address is not text"));
    };
    let member_socket = dialler(context, zmq::DEALER, member, &own.public)?;
    let stranger_socket = dialler(context, zmq::DEALER, stranger, &own.public)?;
    let null_socket = context.socket(zmq::DEALER)?;
    null_socket.set_linger(0)?;
    let stranger = Monitored::new(context, stranger_socket, u64::MAX)?;
    let null = Monitored::new(context, null_socket, u64::MAX - 1)?;
    for socket in [&member_socket, &stranger.socket, &null.socket] {
        connect(socket, &endpoint)?;
        socket.send("self-test", zmq::DONTWAIT)?;
    }
    let deadline = Instant::now() + SELF_TEST_MAX;
    let (mut admitted, mut stranger_out, mut null_out) = (false, false, false);
    while !(admitted && stranger_out && null_out) {
        if Instant::now() > deadline {
            return Ok(Some(match (admitted, stranger_out) {
                (false, _) => "a listed key was not let in",
                (true, false) => "a stranger was not refused",
                (true, true) => "a client without encryption was not refused",
            }));
        }
        zmq::poll(
            &mut [
                zap.socket().as_poll_item(zmq::POLLIN),
                server.as_poll_item(zmq::POLLIN),
                stranger.events.as_poll_item(zmq::POLLIN),
                null.events.as_poll_item(zmq::POLLIN),
            ],
            STEP_MS,
        )?;
        zap.serve();
        while let Some(received) = receive(&server) {
            if received.user != Some(member.public) {
                return Ok(Some("somebody who is not listed was let in"));
            }
            admitted = true;
        }
        for (client, out) in [(&stranger, &mut stranger_out), (&null, &mut null_out)] {
            let states = client.seen();
            if states.contains(&LinkState::Up) {
                return Ok(Some("a handshake succeeded that must not"));
            }
            *out |= !states.is_empty();
        }
    }
    Ok(None)
}

/// A wrong key that knocks at our own ROUTER.
pub struct Probe {
    _socket: zmq::Socket,
    started: Instant,
}

impl Probe {
    /// Knocks with a fresh key, which the handler is told so that it counts it apart.
    pub fn knock(
        context: &zmq::Context,
        zap: &mut Zap,
        server: &Key,
        endpoint: &str,
        now: Instant,
    ) -> Result<Self, Error> {
        let keys = CurveKeys::generate()?;
        let failed = |source| Error::zmq("the wrong-key probe", source);
        let socket = dialler(context, zmq::DEALER, &keys, server).map_err(failed)?;
        socket.set_linger(0).map_err(failed)?;
        connect(&socket, endpoint).map_err(failed)?;
        socket.send("probe", zmq::DONTWAIT).map_err(failed)?;
        zap.probe = Some(keys.public);
        Ok(Self {
            _socket: socket,
            started: now,
        })
    }

    /// Whether it has had its time.
    pub fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.started) >= PROBE_LIFE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_that_judges_passes() {
        let context = zmq::Context::new();
        let mut zap = Zap::start(&context).unwrap();
        run(&context, &mut zap).unwrap();
    }

    #[test]
    fn who_never_passed_the_handler_comes_without_a_key() {
        let context = zmq::Context::new();
        let mut zap = Zap::start(&context).unwrap();
        let open = context.socket(zmq::ROUTER).unwrap();
        open.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = open.get_last_endpoint().unwrap().unwrap();
        let client = context.socket(zmq::DEALER).unwrap();
        client.connect(&endpoint).unwrap();
        client.send("hello", 0).unwrap();
        assert_eq!(open.poll(zmq::POLLIN, 5_000), Ok(1));
        zap.serve();
        assert_eq!(receive(&open).unwrap().user, None);
    }
}
