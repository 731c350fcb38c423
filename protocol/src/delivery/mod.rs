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
use crate::op::Order;
use crate::units::Micros;
use crate::wire::message::{Command, Deliver, Delivered};

/// Most commands that wait for one peer.
pub const OUTBOX_MAX: usize = 256;
/// So many tries in vain are more than a disturbance.
pub const ESCALATED: u32 = 3;
/// Commands that may be under way to one peer at once.
const WINDOW: usize = 16;
/// First wait for an acknowledgement; doubled each time.
const RETRY_FIRST: Micros = Micros::from_millis(250);
/// How long an acknowledgement may wait for more that it can acknowledge too, where nobody
/// waits for it: well within [`RETRY_FIRST`]. At half a window it goes at once, or the sender
/// would stand still.
const PATIENT: Micros = Micros::from_millis(20);
const OWED_MAX: u32 = WINDOW as u32 / 2;
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
    /// With its id, and when it was taken.
    waiting: VecDeque<(u64, Micros, Command)>,
    sent: usize,
    /// When all that is under way is sent again. It counts from the first of it or the last
    /// acknowledgement: if each further command put it off, a peer to whom some go now and then
    /// would not be tried again until the window is full.
    retry_at: Micros,
    acknowledged: bool,
    /// How often what is under way was sent in vain.
    tries: u32,
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
    pub fn push(&mut self, command: Command, now: Micros) -> Result<u64, Full> {
        if self.waiting.len() >= OUTBOX_MAX {
            return Err(Full);
        }
        self.next_id += 1;
        self.waiting.push_back((self.next_id, now, command));
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
            self.tries = 0;
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
            self.tries = self.tries.saturating_add(1);
            self.sent = 0;
            self.backoff = (self.backoff + self.backoff).min(RETRY_MAX);
        }
        let upto = self.waiting.len().min(WINDOW);
        if self.sent >= upto {
            return None;
        }
        let batch = (self.sent..upto)
            .map(|i| {
                let (id, taken_at, command) = &self.waiting[i];
                let age_ms = now.since(*taken_at).as_millis();
                Deliver {
                    seq: self.first + i as u64,
                    id: *id,
                    command: command.clone(),
                    age_ms: u32::try_from(age_ms).unwrap_or(u32::MAX),
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
            self.tries = 0;
            self.acknowledged = true;
        }
    }

    /// The peer sent a pull. Says whether to answer it: not while the answer to an earlier
    /// one is being made or waits here. Nothing is lost by that, since whoever has no answer
    /// asks again.
    pub fn pulled(&mut self) -> bool {
        let first = self.waiting.front();
        let waits = first.is_some_and(|(id, ..)| *id <= self.answered_upto);
        let answer = !self.answering && !waits;
        self.answering |= answer;
        answer
    }

    /// The answer to the pull is here, as far as there was room for it.
    pub fn answered(&mut self) {
        self.answering = false;
        self.answered_upto = self.next_id;
    }

    /// How often what is under way was sent without an acknowledgement: TRANSIENT_NETWORK (seed
    /// 6.1, J3), that is retried later and later, and escalated from [`ESCALATED`] on.
    pub fn tries(&self) -> u32 {
        self.tries
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
    /// How many came since the last acknowledgement, and when the next is due.
    owed: Option<(u32, Micros)>,
    /// Commands that came again.
    pub duplicates: u64,
}

impl Inbox {
    /// A command came in the sender's `session`. Returns what is to be applied now, in order;
    /// after that, [`Self::acknowledge`].
    pub fn take(&mut self, session: Incarnation, deliver: Deliver, now: Micros) -> Vec<Command> {
        if session < self.session {
            return Vec::new();
        }
        if session > self.session {
            *self = Self {
                session,
                duplicates: self.duplicates,
                ..Self::default()
            };
        }
        let ahead = deliver.seq.saturating_sub(self.applied);
        let again = ahead == 0 || self.early.contains_key(&deliver.seq);
        // Of an operation more words follow; whoever asked for anything else goes on with it
        // when it is acknowledged.
        let patient = !again && matches!(deliver.command, Command::Operation(_));
        let (many, due) = self.owed.unwrap_or((0, now + PATIENT));
        let due = if patient && many + 1 < OWED_MAX {
            due
        } else {
            now
        };
        self.owed = Some((many + 1, due));
        if again {
            self.duplicates += 1;
        } else if ahead <= WINDOW as u64 {
            let age = Micros::from_millis(deliver.age_ms.into());
            self.early.insert(deliver.seq, older(deliver.command, age));
        }
        let mut ready = Vec::new();
        while let Some(command) = self.early.remove(&(self.applied + 1)) {
            self.applied += 1;
            ready.push(command);
        }
        ready
    }

    /// The acknowledgement of all that came, once it is due.
    pub fn acknowledge(&mut self, now: Micros) -> Option<Delivered> {
        self.owed.take_if(|it| it.1 <= now)?;
        Some(Delivered {
            session: self.session,
            seq: self.applied,
        })
    }

    /// When [`Self::acknowledge`] is of use.
    pub fn next_deadline(&self) -> Micros {
        self.owed.map_or(Micros::NEVER, |it| it.1)
    }
}

/// What a command says once it has waited: of a question less of its time is left.
fn older(command: Command, age: Micros) -> Command {
    match command {
        Command::Operation(Order::Ask(mut ask)) => {
            let less = |us: u64| Micros(us).since(age).0;
            (ask.left_us, ask.arrive_us) = (less(ask.left_us), ask.arrive_us.map(less));
            Command::Operation(Order::Ask(ask))
        }
        command => command,
    }
}

#[cfg(test)]
mod tests;
