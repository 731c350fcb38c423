//! A socket with a monitor: what becomes of its connections.
//!
//! Invariant: the monitor is switched off before its reading end closes. libzmq's I/O thread
//! sends an event without regard to who reads, and blocks for ever (with it every socket of
//! the process) when nobody is there to read it.

use zmq::SocketEvent::{
    self, ACCEPTED, DISCONNECTED, HANDSHAKE_FAILED_AUTH, HANDSHAKE_FAILED_NO_DETAIL,
    HANDSHAKE_FAILED_PROTOCOL, HANDSHAKE_SUCCEEDED, LISTENING,
};

use super::crowd::Arrival;
use super::messages::LinkState;

const FAILED: [SocketEvent; 3] = [
    HANDSHAKE_FAILED_AUTH,
    HANDSHAKE_FAILED_NO_DETAIL,
    HANDSHAKE_FAILED_PROTOCOL,
];

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
        let wanted = [DISCONNECTED, HANDSHAKE_SUCCEEDED];
        Self::with(context, socket, format!("connects-{number}"), &wanted, None)
    }

    /// Watches `socket`, which has yet to listen. `number` is used once in a context.
    pub fn listening(
        context: &zmq::Context,
        socket: zmq::Socket,
        number: u64,
    ) -> zmq::Result<Self> {
        let wanted = [LISTENING, ACCEPTED, DISCONNECTED, HANDSHAKE_SUCCEEDED];
        // Strangers make events as fast as they can connect: with a bound on what waits here
        // libzmq's I/O thread would wait for us, with the lock in hand that we need to stop it.
        let unbounded = Some(0);
        Self::with(
            context,
            socket,
            format!("listens-{number}"),
            &wanted,
            unbounded,
        )
    }

    /// Failed handshakes are told of in any case.
    fn with(
        context: &zmq::Context,
        socket: zmq::Socket,
        name: String,
        wanted: &[SocketEvent],
        waiting_max: Option<i32>,
    ) -> zmq::Result<Self> {
        let wanted = FAILED.iter().chain(wanted);
        let mask = wanted.fold(0, |mask, event| mask | event.to_raw());
        let name = format!("inproc://chorus-monitor-{name}");
        let events = context.socket(zmq::PAIR)?;
        events.set_linger(0)?;
        if let Some(most) = waiting_max {
            events.set_rcvhwm(most)?;
        }
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
        self.told().map(|(event, _)| state(event)).collect()
    }

    /// Who came to a socket that listens, and who left, since this was last asked.
    pub fn arrivals(&self) -> impl Iterator<Item = Arrival> {
        self.told()
            .filter_map(|(event, value)| arrival(event, value))
    }

    /// The events that wait, each with its number and its value.
    fn told(&self) -> impl Iterator<Item = (u16, i32)> {
        std::iter::from_fn(|| self.events.recv_multipart(zmq::DONTWAIT).ok()).filter_map(|parts| {
            let (event, value) = parts.first()?.split_first_chunk::<2>()?;
            let value = value.first_chunk::<4>()?;
            Some((u16::from_ne_bytes(*event), i32::from_ne_bytes(*value)))
        })
    }
}

impl Drop for Monitored {
    fn drop(&mut self) {
        self.stop();
    }
}

fn state(event: u16) -> LinkState {
    match SocketEvent::from_raw(event) {
        HANDSHAKE_SUCCEEDED => LinkState::Up,
        HANDSHAKE_FAILED_AUTH => LinkState::Refused,
        _ => LinkState::Down,
    }
}

fn arrival(event: u16, value: i32) -> Option<Arrival> {
    match SocketEvent::from_raw(event) {
        LISTENING => Some(Arrival::Listens(value)),
        ACCEPTED => Some(Arrival::Came(value)),
        HANDSHAKE_SUCCEEDED => Some(Arrival::Greeted),
        DISCONNECTED => Some(Arrival::Ended(value)),
        failed if FAILED.contains(&failed) => Some(Arrival::Failed),
        _ => None,
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
