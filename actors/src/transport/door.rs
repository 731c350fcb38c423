//! Questions at other nodes' doors: one socket for each, closed after the answer or when its
//! time is over.

use std::collections::BTreeMap;
use std::time::Instant;

use super::endpoint::{asker, connect, receive};
use super::keys::{CurveKeys, Key};
use super::messages::DoorError;
use super::names::Names;
use super::readiness::Source;

/// Questions that may wait at once.
const QUESTIONS_MAX: usize = 64;

/// The questions that wait for an answer, by ticket.
pub struct Questions {
    context: zmq::Context,
    keys: CurveKeys,
    names: Names,
    waiting: BTreeMap<u64, Question>,
    /// Whether a socket was made since this was last taken back.
    pub made: bool,
}

struct Question {
    socket: zmq::Socket,
    /// What is to be asked, and where, as soon as the name there resolves.
    unasked: Option<(String, Vec<u8>)>,
    deadline: Instant,
}

impl Questions {
    pub fn new(context: zmq::Context, keys: CurveKeys, names: Names) -> Self {
        Self {
            context,
            keys,
            names,
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
        let socket = asker(&self.context, &self.keys, server).map_err(|_| DoorError::Busy)?;
        let mut question = Question {
            socket,
            unasked: Some((endpoint.to_owned(), frame.to_vec())),
            deadline,
        };
        question.ask(&self.names)?;
        self.waiting.insert(ticket, question);
        self.made = true;
        Ok(())
    }

    /// Asks whatever waited for a name that resolves by now.
    pub fn ask_named(&mut self) {
        for question in self.waiting.values_mut() {
            // Where it cannot be asked its time runs out.
            let _ = question.ask(&self.names);
        }
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

impl Question {
    fn ask(&mut self, names: &Names) -> Result<(), DoorError> {
        let Some((endpoint, frame)) = &self.unasked else {
            return Ok(());
        };
        let Some(to) = names.endpoint(endpoint) else {
            return Ok(());
        };
        connect(&self.socket, &to).map_err(|_| DoorError::Endpoint)?;
        // Queued until the connection stands: this socket has nothing else to say.
        let sent = self.socket.send(frame, zmq::DONTWAIT);
        self.unasked = None;
        sent.map_err(|_| DoorError::Busy)
    }
}
