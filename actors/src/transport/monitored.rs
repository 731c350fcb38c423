//! A socket with a monitor: what becomes of its connections.
//!
//! Invariant: the monitor is switched off before its reading end closes. libzmq's I/O thread
//! sends an event without regard to who reads, and blocks for ever (with it every socket of
//! the process) when nobody is there to read it.

use super::messages::LinkState;

/// A connecting socket and the reading end of its monitor.
pub struct Monitored {
    pub socket: zmq::Socket,
    /// To be polled by whoever cannot wait for the next look.
    pub events: zmq::Socket,
    name: String,
}

impl Monitored {
    /// Watches `socket`, which has not connected yet. `number` is used once in a context.
    pub fn new(context: &zmq::Context, socket: zmq::Socket, number: u64) -> zmq::Result<Self> {
        use zmq::SocketEvent::{
            DISCONNECTED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_NO_DETAIL,
            HANDSHAKE_FAILED_PROTOCOL, HANDSHAKE_SUCCEEDED,
        };
        let wanted = [
            DISCONNECTED,
            HANDSHAKE_FAILED_AUTH,
            HANDSHAKE_FAILED_NO_DETAIL,
            HANDSHAKE_FAILED_PROTOCOL,
            HANDSHAKE_SUCCEEDED,
        ];
        let mask = wanted.iter().fold(0, |mask, event| mask | event.to_raw());
        let name = format!("inproc://chorus-monitor-{number}");
        let events = context.socket(zmq::PAIR)?;
        events.set_linger(0)?;
        socket.monitor(&name, i32::from(mask))?;
        let watched = Self {
            socket,
            events,
            name,
        };
        watched.events.connect(&watched.name)?;
        Ok(watched)
    }

    /// Switches the monitor off. No event comes after this returns.
    fn stop(&self) {
        // The crate cannot say "no monitor", but one for no event replaces the one there is.
        // That it may fail to bind the same name again is of no matter: it is off by then.
        let _ = self.socket.monitor(&self.name, 0);
    }

    /// What was seen since this was last asked.
    pub fn seen(&self) -> Vec<LinkState> {
        let mut states = Vec::new();
        while let Ok(parts) = self.events.recv_multipart(zmq::DONTWAIT) {
            let number = parts.first().and_then(|part| part.first_chunk::<2>());
            let event = number.map(|bytes| u16::from_ne_bytes(*bytes));
            states.extend(event.map(state));
        }
        states
    }
}

impl Drop for Monitored {
    fn drop(&mut self) {
        self.stop();
    }
}

fn state(event: u16) -> LinkState {
    if event == zmq::SocketEvent::HANDSHAKE_SUCCEEDED.to_raw() {
        LinkState::Up
    } else if event == zmq::SocketEvent::HANDSHAKE_FAILED_AUTH.to_raw() {
        LinkState::Refused
    } else {
        LinkState::Down
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_stopped_monitor_says_nothing_of_a_connection_that_ends() {
        let context = zmq::Context::new();
        let (first, second) = (context.socket(zmq::DEALER), context.socket(zmq::DEALER));
        let (first, second) = (first.unwrap(), second.unwrap());
        first.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = first.get_last_endpoint().unwrap().unwrap();
        let client = context.socket(zmq::DEALER).unwrap();
        let client = Monitored::new(&context, client, 1).unwrap();
        client.socket.connect(&endpoint).unwrap();
        assert_eq!(client.events.poll(zmq::POLLIN, 30_000), Ok(1));
        assert_eq!(client.seen(), vec![LinkState::Up]);

        client.stop();
        drop(first);
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = second.bind(&endpoint) {
            assert!(Instant::now() < deadline, "{error}");
            std::thread::yield_now();
        }
        // Once one of these arrives the first connection, which may still swallow some, has
        // ended and another stands.
        while second.poll(zmq::POLLIN, 10) != Ok(1) {
            assert!(Instant::now() < deadline, "no second connection");
            client.socket.send("again", zmq::DONTWAIT).unwrap();
        }
        assert_eq!(client.seen(), vec![]);
    }
}
