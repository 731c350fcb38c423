//! Questions at other nodes' doors: one socket for each, closed after the answer or when its
//! time is over.

use std::collections::BTreeMap;
use std::time::Instant;

use super::endpoint::{connect, dialler, receive};
use super::keys::{CurveKeys, Key};
use super::messages::DoorError;
use super::readiness::Source;

/// Questions that may wait at once.
const QUESTIONS_MAX: usize = 64;

/// The questions that wait for an answer, by ticket.
pub struct Questions {
    context: zmq::Context,
    keys: CurveKeys,
    waiting: BTreeMap<u64, Question>,
    /// Whether a socket was made since this was last taken back.
    pub made: bool,
}

struct Question {
    socket: zmq::Socket,
    deadline: Instant,
}

impl Questions {
    pub fn new(context: zmq::Context, keys: CurveKeys) -> Self {
        Self {
            context,
            keys,
            waiting: BTreeMap::new(),
            made: false,
        }
    }

    /// Asks. The same ticket again replaces the earlier question.
    pub fn ask(
        &mut self,
        ticket: u64,
        server: &Key,
        endpoint: &str,
        frame: &[u8],
        deadline: Instant,
    ) -> Result<(), DoorError> {
        self.waiting.remove(&ticket);
        if self.waiting.len() >= QUESTIONS_MAX {
            return Err(DoorError::Busy);
        }
        let socket =
            dialler(&self.context, zmq::DEALER, &self.keys, server).map_err(|_| DoorError::Busy)?;
        connect(&socket, endpoint).map_err(|_| DoorError::Endpoint)?;
        // Queued until the connection stands: this socket has nothing else to say.
        socket
            .send(frame, zmq::DONTWAIT)
            .map_err(|_| DoorError::Busy)?;
        self.waiting.insert(ticket, Question { socket, deadline });
        self.made = true;
        Ok(())
    }

    /// What is to be waited for together with the others.
    pub fn sources(&self) -> impl Iterator<Item = (Source, &zmq::Socket)> {
        self.waiting
            .iter()
            .map(|(ticket, one)| (Source::Question(*ticket), &one.socket))
    }

    /// Takes the answer to `ticket` and closes the question.
    pub fn answered(&mut self, ticket: u64) -> Option<Vec<u8>> {
        let received = receive(&self.waiting.get(&ticket)?.socket)?;
        self.waiting.remove(&ticket);
        received.parts.into_iter().next()
    }

    /// Closes the questions whose time is over.
    pub fn expired(&mut self, now: Instant) -> Vec<(u64, DoorError)> {
        let over = |one: &Question| now >= one.deadline;
        let tickets: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, one)| over(one))
            .map(|(t, _)| *t)
            .collect();
        for ticket in &tickets {
            self.waiting.remove(ticket);
        }
        tickets
            .into_iter()
            .map(|ticket| (ticket, DoorError::Timeout))
            .collect()
    }
}
