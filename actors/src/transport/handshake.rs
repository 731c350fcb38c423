//! Handshake: tries one at a socket of a running node, and says what became of it.
//! `doctor` knocks with keys that must be turned away, and with the node's own, which must not.
//! It blocks, and has a context and a socket of its own for so long.

use std::time::{Duration, Instant};

pub use super::endpoint::own as on_this_machine;
use super::endpoint::{connect, dialler};
use super::keys::{CurveKeys, Key};
use super::messages::LinkState;
use super::monitored::Monitored;

/// Which of a node's sockets is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Its ROUTER, as a DEALER.
    Router,
    /// Its PUB, as a SUB of everything.
    Publisher,
    /// Its SUB, as a PUB.
    Subscriber,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The handshake succeeded, or something came through.
    LetIn,
    /// The other side ended the handshake.
    Refused,
    /// Nothing happened in the given time: nobody is there.
    Silence,
}

/// Tries it at the socket that is bound to `bound` (`tcp://host:port`; an unspecified host is
/// this machine), whose CURVE key is `server`, with `keys` or, without any, as a client of the
/// NULL mechanism. Speaks a few bytes that no node would take. An `Err` is this machine's.
pub fn attempt(
    at: At,
    bound: &str,
    server: &Key,
    keys: Option<&CurveKeys>,
    within: Duration,
) -> zmq::Result<Outcome> {
    let context = zmq::Context::new();
    let kind = match at {
        At::Router => zmq::DEALER,
        At::Publisher => zmq::SUB,
        At::Subscriber => zmq::PUB,
    };
    let socket = match keys {
        Some(keys) => dialler(&context, kind, keys, server)?,
        None => context.socket(kind)?,
    };
    socket.set_linger(0)?;
    if at == At::Publisher {
        socket.set_subscribe(b"")?;
    }
    let client = Monitored::new(&context, socket, 0)?;
    connect(&client.socket, &on_this_machine(bound))?;
    if at != At::Publisher && keys.is_none() {
        // Without encryption it goes out with the handshake, if it goes at all. A socket
        // that has no connection yet may drop or refuse it, which is as well.
        let _ = client.socket.send("knock", zmq::DONTWAIT);
    }
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Outcome::Silence);
        }
        let left_ms = left.as_micros().div_ceil(1000) as i64;
        let mut items = [
            client.events.as_poll_item(zmq::POLLIN),
            client.socket.as_poll_item(zmq::POLLIN),
        ];
        match zmq::poll(&mut items, left_ms) {
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(why) => return Err(why),
        }
        let through = items[1].is_readable();
        let states = client.seen();
        if through || states.contains(&LinkState::Up) {
            return Ok(Outcome::LetIn);
        }
        if !states.is_empty() {
            return Ok(Outcome::Refused);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::{FRAME_BYTES_MAX, listener};
    use super::super::zap::{MESH, Zap};
    use super::*;

    /// What becomes of handshakes with `keys` at a socket that admits `member`, served meanwhile.
    fn tried(at: At, keys: Option<CurveKeys>, member: &CurveKeys) -> Outcome {
        let context = zmq::Context::new();
        let server = CurveKeys::generate().unwrap();
        let mut zap = Zap::start(&context).unwrap();
        let allow = std::collections::BTreeSet::from([member.public]);
        zap.go_live(allow.into(), Default::default());
        let kind = match at {
            At::Router => zmq::ROUTER,
            At::Publisher => zmq::PUB,
            At::Subscriber => zmq::SUB,
        };
        let socket = listener(&context, kind, &server, MESH, FRAME_BYTES_MAX).unwrap();
        socket.bind("tcp://127.0.0.1:*").unwrap();
        let bound = socket.get_last_endpoint().unwrap().unwrap();
        let trying = std::thread::spawn(move || {
            let within = Duration::from_secs(30);
            attempt(at, &bound, &server.public, keys.as_ref(), within).unwrap()
        });
        while !trying.is_finished() {
            zmq::poll(&mut [zap.socket().as_poll_item(zmq::POLLIN)], 10).unwrap();
            zap.serve();
        }
        trying.join().unwrap()
    }

    #[test]
    fn a_listed_key_is_let_in_and_others_are_refused_at_every_socket() {
        let member = CurveKeys::generate().unwrap();
        for at in [At::Router, At::Publisher, At::Subscriber] {
            let stranger = CurveKeys::generate().unwrap();
            assert_eq!(tried(at, Some(member.clone()), &member), Outcome::LetIn);
            assert_eq!(tried(at, Some(stranger), &member), Outcome::Refused);
            assert_eq!(tried(at, None, &member), Outcome::Refused);
        }
    }

    #[test]
    fn an_open_socket_is_seen_to_let_anybody_in_and_an_empty_port_is_silence() {
        let context = zmq::Context::new();
        let open = context.socket(zmq::ROUTER).unwrap();
        open.bind("tcp://127.0.0.1:*").unwrap();
        let bound = open.get_last_endpoint().unwrap().unwrap();
        let within = Duration::from_secs(30);
        let tried = attempt(At::Router, &bound, &[1; 32], None, within);
        assert_eq!(tried, Ok(Outcome::LetIn));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = format!("tcp://{}", free.local_addr().unwrap());
        drop(free);
        let tried = attempt(
            At::Router,
            &bound,
            &[1; 32],
            None,
            Duration::from_millis(200),
        );
        assert_eq!(tried, Ok(Outcome::Silence));
    }
}
