//! Knock: one question at another node's door and its answer, for a program that is no node
//! yet. It blocks, and has a context and a socket of its own for so long.

use std::time::{Duration, Instant};

use super::endpoint::{DOOR_BYTES_MAX, asker, connect, receive};
use super::keys::{CurveKeys, Key};
use super::names::Names;

/// Why a knock brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KnockError {
    /// The question is longer than a door reads. Nothing was sent.
    #[error("a question of {bytes} bytes is over a door's limit of {DOOR_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The name does not resolve, or not in time. Nothing was sent.
    #[error("{endpoint}: the name does not resolve on this machine")]
    Unresolved {
        /// What was to be dialled.
        endpoint: String,
    },
    /// Not `tcp://host:port`. Nothing was sent.
    #[error("{endpoint} is no address that can be dialled ({source})")]
    Endpoint {
        /// What was to be dialled.
        endpoint: String,
        /// What libzmq says.
        source: zmq::Error,
    },
    /// Nobody is there, somebody with another key is, or it does not answer.
    #[error("{endpoint} did not answer within {} s", within.as_secs_f64())]
    Timeout {
        /// What was dialled.
        endpoint: String,
        /// How long.
        within: Duration,
        /// Whether the question was sent, to a door with the right key. Whether that has taken
        /// it is not known; asking again with the same keys is safe.
        asked: bool,
    },
    /// ZeroMQ has no socket for us.
    #[error("ZeroMQ refused a socket ({0}): check the limit on open files")]
    Zmq(zmq::Error),
}

/// Sends `frame` to the door at `endpoint` (`tcp://host:port`), which must prove that it has
/// the CURVE key `server_key`, and waits for the first answer.
pub fn knock(
    endpoint: &str,
    server_key: Key,
    own: &CurveKeys,
    frame: Vec<u8>,
    within: Duration,
) -> Result<Vec<u8>, KnockError> {
    let bytes = frame.len();
    if bytes > DOOR_BYTES_MAX {
        return Err(KnockError::TooLong { bytes });
    }
    let context = zmq::Context::new();
    let socket = asker(&context, own, &server_key).map_err(KnockError::Zmq)?;
    // What was not taken by now is of no use: the caller has given up.
    socket.set_linger(0).map_err(KnockError::Zmq)?;
    // Nothing is taken before the door has proved its key: so it is known whether it was asked.
    socket.set_immediate(true).map_err(KnockError::Zmq)?;
    let deadline = Instant::now() + within;
    let to = Names::new(|| {}).wait(endpoint, deadline);
    let to = to.ok_or_else(|| KnockError::Unresolved {
        endpoint: endpoint.to_owned(),
    })?;
    connect(&socket, &to).map_err(|source| KnockError::Endpoint {
        endpoint: endpoint.to_owned(),
        source,
    })?;
    let mut asked = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(KnockError::Timeout {
                endpoint: endpoint.to_owned(),
                within,
                asked,
            });
        }
        let left_ms = left.as_micros().div_ceil(1000) as i64;
        let events = if asked { zmq::POLLIN } else { zmq::POLLOUT };
        match socket.poll(events, left_ms) {
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(source) => return Err(KnockError::Zmq(source)),
        }
        if !asked {
            match socket.send(frame.as_slice(), zmq::DONTWAIT) {
                Ok(()) => asked = true,
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => {}
                Err(source) => return Err(KnockError::Zmq(source)),
            }
        } else if let Some(answer) = receive(&socket).and_then(|it| it.parts.into_iter().next()) {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::listener;
    use super::super::zap::{DOOR, Zap};
    use super::*;

    fn keys() -> CurveKeys {
        CurveKeys::generate().unwrap()
    }

    #[test]
    fn a_stored_secret_gives_back_its_public_key() {
        let keys = keys();
        assert_eq!(CurveKeys::from_secret(keys.secret).public, keys.public);
    }

    #[test]
    fn what_no_door_would_read_is_not_sent() {
        let long = vec![0; DOOR_BYTES_MAX + 1];
        let asked = knock("tcp://127.0.0.1:9", [1; 32], &keys(), long, Duration::ZERO);
        let bytes = DOOR_BYTES_MAX + 1;
        assert_eq!(asked, Err(KnockError::TooLong { bytes }));
    }

    #[test]
    fn a_word_that_is_no_address_is_told_from_silence() {
        let own = keys();
        let asked = |endpoint| knock(endpoint, own.public, &own, vec![1], Duration::ZERO);
        assert!(matches!(
            asked("tcp://nowhere"),
            Err(KnockError::Endpoint { .. })
        ));
        assert!(matches!(
            asked("tcp://127.0.0.1:9"),
            Err(KnockError::Timeout { asked: false, .. })
        ));
    }

    #[test]
    fn a_door_answers_whoever_knows_its_key_and_nobody_else() {
        let context = zmq::Context::new();
        let door_keys = keys();
        let mut zap = Zap::start(&context).unwrap();
        zap.go_live(Default::default(), Default::default());
        let door = listener(&context, zmq::ROUTER, &door_keys, DOOR, DOOR_BYTES_MAX).unwrap();
        door.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = door.get_last_endpoint().unwrap().unwrap();
        let (right, wrong) = (door_keys.public, keys().public);
        let asking = std::thread::spawn(move || {
            let ask = |key, words: &[u8], within_ms| {
                let within = Duration::from_millis(within_ms);
                knock(&endpoint, key, &keys(), words.to_vec(), within)
            };
            let refused = ask(wrong, b"hello", 300);
            // Longer each time, since a busy machine takes its time to shake hands.
            let asked = |it| matches!(it, Err(KnockError::Timeout { asked: true, .. }));
            let silent = [300, 3_000, 30_000];
            let silent = silent.iter().any(|ms| asked(ask(right, b"hush", *ms)));
            (refused, silent, ask(right, b"hello", 30_000))
        });
        while !asking.is_finished() {
            let mut items = [
                zap.socket().as_poll_item(zmq::POLLIN),
                door.as_poll_item(zmq::POLLIN),
            ];
            zmq::poll(&mut items, 10).unwrap();
            zap.serve();
            if let Some(received) = receive(&door) {
                if received.parts[1] == b"hush" {
                    continue;
                }
                assert_eq!(received.parts[1], b"hello");
                door.send_multipart([received.parts[0].as_slice(), b"welcome"], 0)
                    .unwrap();
            }
        }
        let (refused, silent, answered) = asking.join().unwrap();
        let unasked = matches!(refused, Err(KnockError::Timeout { asked: false, .. }));
        assert!(unasked, "{refused:?}");
        assert!(
            silent,
            "a door that was asked is told from one that was not"
        );
        assert_eq!(answered, Ok(b"welcome".to_vec()));
    }
}
