//! Delivery: commands between two nodes that must arrive, once and in order.
//!
//! One [`Outbox`] and one [`Inbox`] for each peer. A *session* is one incarnation
//! of the sender towards one of the receiver; in it commands are numbered from 1
//! without gaps, retried with back-off until acknowledged, applied in order, and
//! a repetition is acknowledged again and not applied. When the receiver is
//! restarted the session ends; what was not acknowledged goes into the next one
//! under its old id, newly signed. Nothing is dropped silently: a full outbox
//! refuses, and what it gives up is counted.
//!
//! For a peer that was not heard for a minute only what may be under way
//! stays, for a gap in the numbers would stop the session; the rest is given up, or who
//! leaves with a full outbox costs its megabytes for ever. What queues up so are answers to
//! what the peer asked for, and it asks again when it is back. Of such an answer one waits
//! at a time ([`Outbox::pulled`]): a peer that asks and never acknowledges costs no more.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::Incarnation;
use crate::units::Micros;
use crate::wire::message::{Command, Deliver, Delivered};

/// Most commands that wait for one peer.
pub const OUTBOX_MAX: usize = 256;
/// Commands that may be under way to one peer at once.
const WINDOW: usize = 16;
/// First wait for an acknowledgement; doubled each time.
const RETRY_FIRST: Micros = Micros::from_millis(250);
/// Longest wait between two tries.
const RETRY_MAX: Micros = Micros::from_secs(4);

/// How long a peer may be silent before what was never sent to it is given up:
/// twice the time after which it counts as gone where no detector watches it.
const PATIENCE: Micros = Micros::from_secs(60);

/// The outbox is full: the peer takes nothing. State has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{OUTBOX_MAX} commands already wait for that peer")]
pub struct Full;

/// Commands on their way to one peer.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    receiver: Option<Incarnation>,
    /// Sequence number of the first command in `waiting`.
    first: u64,
    next_id: u64,
    waiting: VecDeque<(u64, Command)>,
    sent: usize,
    /// When all that is under way is sent again. It counts from the first of it or the last
    /// acknowledgement: if each further command put it off, a peer to whom some go now and then
    /// would not be tried again until the window is full.
    retry_at: Micros,
    acknowledged: bool,
    backoff: Micros,
    /// Since when something waits and the peer is not heard, as far as that was looked at.
    quiet: Option<Micros>,
    /// Whether an answer to a pull is being made, and the last id of the one before.
    answering: bool,
    answered_upto: u64,
    /// How many commands were given up.
    pub given_up: u64,
    /// How often something was sent again.
    pub retries: u64,
}

impl Outbox {
    /// Takes a command; it has now an id and will be sent when the receiver's
    /// incarnation is known.
    pub fn push(&mut self, command: Command) -> Result<u64, Full> {
        if self.waiting.len() >= OUTBOX_MAX {
            return Err(Full);
        }
        self.next_id += 1;
        self.waiting.push_back((self.next_id, command));
        Ok(self.next_id)
    }

    /// The receiver was heard in this incarnation. A new one begins a session.
    pub fn receiver(&mut self, incarnation: Incarnation) {
        self.quiet = None;
        if self.receiver.is_none_or(|known| incarnation > known) {
            self.receiver = Some(incarnation);
            self.first = 1;
            self.sent = 0;
            self.backoff = RETRY_FIRST;
        }
    }

    /// What is to be sent now, and to which incarnation. The caller signs it.
    pub fn poll(&mut self, now: Micros) -> Option<(Incarnation, Vec<Deliver>)> {
        self.give_up(now);
        let receiver = self.receiver?;
        if std::mem::take(&mut self.acknowledged) {
            self.retry_at = now + self.backoff;
        }
        if self.sent > 0 && now >= self.retry_at {
            self.retries += self.sent as u64;
            self.sent = 0;
            self.backoff = (self.backoff + self.backoff).min(RETRY_MAX);
        }
        let upto = self.waiting.len().min(WINDOW);
        if self.sent >= upto {
            return None;
        }
        let batch = (self.sent..upto)
            .map(|i| {
                let (id, command) = &self.waiting[i];
                Deliver {
                    seq: self.first + i as u64,
                    id: *id,
                    command: command.clone(),
                }
            })
            .collect();
        if self.sent == 0 {
            self.retry_at = now + self.backoff;
        }
        self.sent = upto;
        Some((receiver, batch))
    }

    /// Drops what was never sent in this session when the peer has been quiet for too long.
    fn give_up(&mut self, now: Micros) {
        if self.waiting.is_empty() {
            self.quiet = None;
            return;
        }
        let since = *self.quiet.get_or_insert(now);
        let unsent = self.waiting.len().saturating_sub(WINDOW);
        if unsent > 0 && now.since(since) >= PATIENCE {
            self.waiting.truncate(WINDOW);
            self.waiting.shrink_to_fit();
            self.given_up += unsent as u64;
        }
    }

    /// The receiver has everything of this session up to `seq`.
    pub fn acknowledged(&mut self, from: Incarnation, seq: u64) {
        if self.receiver != Some(from) {
            return;
        }
        self.quiet = None;
        let done =
            (seq.saturating_add(1).saturating_sub(self.first) as usize).min(self.waiting.len());
        if done > 0 {
            self.waiting.drain(..done);
            self.first += done as u64;
            self.sent = self.sent.saturating_sub(done);
            self.backoff = RETRY_FIRST;
            self.acknowledged = true;
        }
    }

    /// The peer sent a pull. Says whether to answer it: not while the answer to an earlier
    /// one is being made or waits here. Nothing is lost by that, since whoever has no answer
    /// asks again.
    pub fn pulled(&mut self) -> bool {
        let first = self.waiting.front();
        let waits = first.is_some_and(|(id, _)| *id <= self.answered_upto);
        let answer = !self.answering && !waits;
        self.answering |= answer;
        answer
    }

    /// The answer to the pull is here, as far as there was room for it.
    pub fn answered(&mut self) {
        self.answering = false;
        self.answered_upto = self.next_id;
    }

    /// How many commands wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Commands that come from one peer.
#[derive(Debug, Clone, Default)]
pub struct Inbox {
    session: Incarnation,
    applied: u64,
    early: BTreeMap<u64, Command>,
    /// Commands that came again.
    pub duplicates: u64,
}

impl Inbox {
    /// A command came in the sender's `session`. Returns what is to be applied
    /// now, in order, and the acknowledgement to send after it was.
    pub fn take(
        &mut self,
        session: Incarnation,
        deliver: Deliver,
    ) -> (Vec<Command>, Option<Delivered>) {
        if session < self.session {
            return (Vec::new(), None);
        }
        if session > self.session {
            *self = Self {
                session,
                duplicates: self.duplicates,
                ..Self::default()
            };
        }
        let ahead = deliver.seq.saturating_sub(self.applied);
        if ahead == 0 || self.early.contains_key(&deliver.seq) {
            self.duplicates += 1;
        } else if ahead <= WINDOW as u64 {
            self.early.insert(deliver.seq, deliver.command);
        }
        let mut ready = Vec::new();
        while let Some(command) = self.early.remove(&(self.applied + 1)) {
            self.applied += 1;
            ready.push(command);
        }
        (
            ready,
            Some(Delivered {
                session,
                seq: self.applied,
            }),
        )
    }
}

#[cfg(test)]
mod tests;
