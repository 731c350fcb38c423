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
//! what the peer asked for, and it asks again when it is back.

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
    retry_at: Micros,
    backoff: Micros,
    /// Since when something waits and the peer is not heard, as far as that was looked at.
    quiet: Option<Micros>,
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
        self.sent = upto;
        self.retry_at = now + self.backoff;
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
        }
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
mod tests {
    use super::*;
    use crate::units::{Noise, Seeded};

    fn command(n: u32) -> Command {
        Command::Pull {
            buckets: n.to_be_bytes().to_vec(),
        }
    }

    /// Sends 200 commands through loss, duplication and reordering, with the
    /// receiver restarted now and then; returns what each run of it applied.
    fn exchange(seed: u64, loss: f64, restarts: bool) -> Vec<Vec<Command>> {
        let mut noise = Seeded::new(seed);
        let (mut out, mut inbox) = (Outbox::default(), Inbox::default());
        let mut runs = vec![Vec::new()];
        let mut now = Micros::ZERO;
        let mut to_send = 0..200;
        let mut air: Vec<(Incarnation, Deliver)> = Vec::new();
        let mut receiver = Incarnation(1);
        out.receiver(receiver);
        for _ in 0..100_000 {
            while out.len() < OUTBOX_MAX / 2 {
                match to_send.next() {
                    Some(n) => assert!(out.push(command(n)).is_ok()),
                    None => break,
                }
            }
            if out.is_empty() {
                break;
            }
            now = now + Micros::from_millis(50);
            if let Some((to, batch)) = out.poll(now) {
                for deliver in batch {
                    for _ in 0..=(noise.uniform() < 0.2) as usize {
                        if noise.uniform() >= loss {
                            air.push((to, deliver.clone()));
                        }
                    }
                }
            }
            while !air.is_empty() && noise.uniform() < 0.8 {
                let pick = (noise.uniform() * air.len() as f64) as usize;
                let (to, deliver) = air.swap_remove(pick);
                if to != receiver {
                    continue; // refused at the envelope: another run
                }
                let (ready, ack) = inbox.take(Incarnation(7), deliver);
                if let Some(run) = runs.last_mut() {
                    run.extend(ready);
                }
                if let Some(ack) = ack.filter(|_| noise.uniform() >= loss) {
                    out.acknowledged(receiver, ack.seq);
                }
            }
            if restarts && noise.uniform() < 0.01 {
                receiver = Incarnation(receiver.0 + 1);
                inbox = Inbox::default();
                runs.push(Vec::new());
                out.receiver(receiver);
            }
        }
        assert!(
            out.is_empty(),
            "REPRODUCE WITH seed {seed}: not all was acknowledged"
        );
        runs
    }

    #[test]
    fn every_command_arrives_once_and_in_order_through_loss() {
        for seed in 0..50 {
            for loss in [0.0, 0.1, 0.5] {
                let runs = exchange(seed, loss, false);
                let expected: Vec<_> = (0..200).map(command).collect();
                assert_eq!(runs, [expected], "REPRODUCE WITH seed {seed} loss {loss}");
            }
        }
    }

    #[test]
    fn after_a_restart_what_was_not_acknowledged_comes_again_in_order() {
        for seed in 0..50 {
            let runs = exchange(seed, 0.2, true);
            let mut next = 0;
            for run in &runs {
                for applied in run {
                    let n = (0..200)
                        .find(|&n| *applied == command(n))
                        .unwrap_or(u32::MAX);
                    assert!(
                        n <= next,
                        "REPRODUCE WITH seed {seed}: {n} came before {next}"
                    );
                    next = next.max(n + 1);
                }
                let numbers: Vec<_> = run.iter().collect();
                assert!(numbers.windows(2).all(|w| w[0] != w[1]), "twice in one run");
            }
            assert_eq!(next, 200, "REPRODUCE WITH seed {seed}");
        }
    }

    #[test]
    fn a_full_outbox_refuses_and_an_old_session_is_not_heard() {
        let mut out = Outbox::default();
        for n in 0..OUTBOX_MAX as u32 {
            assert!(out.push(command(n)).is_ok());
        }
        assert_eq!(out.push(command(0)), Err(Full));
        let deliver = |seq| Deliver {
            seq,
            id: seq,
            command: command(1),
        };
        let mut inbox = Inbox::default();
        assert_eq!(inbox.take(Incarnation(5), deliver(1)).0.len(), 1);
        assert_eq!(inbox.take(Incarnation(4), deliver(2)), (vec![], None));
        assert_eq!(inbox.take(Incarnation(5), deliver(u64::MAX)).0, vec![]);
    }

    /// An outbox full of commands for a peer that says nothing for `silence`.
    fn left_alone(silence: Micros) -> Outbox {
        let mut out = Outbox::default();
        out.receiver(Incarnation(1));
        for n in 0..OUTBOX_MAX as u32 {
            assert!(out.push(command(n)).is_ok());
        }
        for second in 0..=silence.as_millis() / 1_000 {
            out.poll(Micros::from_secs(second));
        }
        out
    }

    /// What `out` brings to an inbox from then on, everything being acknowledged.
    fn brought(out: &mut Outbox, inbox: &mut Inbox, run: Incarnation) -> Vec<Command> {
        let mut applied = Vec::new();
        let mut now = Micros::from_secs(1_000);
        while !out.is_empty() {
            now = now + RETRY_MAX;
            for deliver in out.poll(now).into_iter().flat_map(|(_, batch)| batch) {
                let (ready, ack) = inbox.take(Incarnation(7), deliver);
                applied.extend(ready);
                out.acknowledged(run, ack.map_or(0, |ack| ack.seq));
            }
        }
        applied
    }

    #[test]
    fn who_is_back_within_its_time_gets_everything() {
        let mut out = left_alone(Micros::from_secs(59));
        assert_eq!((out.len(), out.given_up), (OUTBOX_MAX, 0));
        // One word begins its time anew.
        out.receiver(Incarnation(1));
        out.poll(Micros::from_secs(118));
        assert_eq!((out.len(), out.given_up), (OUTBOX_MAX, 0));
        out.receiver(Incarnation(1));
        let all: Vec<_> = (0..OUTBOX_MAX as u32).map(command).collect();
        let run = Incarnation(1);
        assert_eq!(brought(&mut out, &mut Inbox::default(), run), all);
    }

    #[test]
    fn of_what_waits_for_the_departed_only_what_may_be_under_way_stays() {
        for restarted in [false, true] {
            let mut out = left_alone(Micros::from_secs(61));
            let unsent = (OUTBOX_MAX - WINDOW) as u64;
            assert_eq!((out.len(), out.given_up), (WINDOW, unsent));
            // Should it come back, the numbers go on without a gap.
            let run = Incarnation(1 + u64::from(restarted));
            out.receiver(run);
            let mut expected: Vec<_> = (0..WINDOW as u32).map(command).collect();
            for n in 900..1_000 {
                assert!(out.push(command(n)).is_ok());
                expected.push(command(n));
            }
            assert_eq!(brought(&mut out, &mut Inbox::default(), run), expected);
        }
    }
}
