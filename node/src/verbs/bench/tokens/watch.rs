//! What is noted of one node while it runs, and its report.

use std::collections::BTreeMap;

use chorus_protocol::units::Micros;
use serde::{Deserialize, Serialize};

use super::log::Log;

/// Tokens of which the times are kept.
const LEFT_MAX: usize = 1 << 16;

/// What came of one node. Times are microseconds since its start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its number.
    pub me: usize,
    /// Each token: when it left, and how long that was after it was begun.
    pub left: Vec<(u64, u64)>,
    /// How many tokens of each node it holds.
    pub held: Vec<u64>,
    /// Of all that it holds, in one order.
    pub digest: String,
    /// Second tokens under a number that was taken.
    pub conflicts: u64,
    /// r at the end of the measured time.
    pub order: f64,
    pub cut_at: Option<u64>,
    pub healed_at: Option<u64>,
    /// From the heal until it had all that was made on the other side.
    pub caught_up_us: Option<u64>,
    /// Frames by what became of them.
    pub heard: u64,
    pub lost: u64,
    pub cut_off: u64,
    pub overflowed: u64,
    pub malformed: u64,
    /// Words of barriers that were said again.
    pub repeats: u64,
}

/// The notes.
#[derive(Debug)]
pub struct Watch {
    start: Micros,
    notes: Report,
    /// Since the heal: what each node of the other side has made, once it said so.
    owed: BTreeMap<usize, Option<u64>>,
    pub heard: u64,
    pub cut_off: u64,
    pub malformed: u64,
}

impl Watch {
    pub fn new(start: Micros) -> Self {
        Self {
            start,
            notes: Report::default(),
            owed: BTreeMap::new(),
            heard: 0,
            cut_off: 0,
            malformed: 0,
        }
    }

    /// A token left that was begun at `begun`.
    pub fn left(&mut self, begun: Micros, now: Micros) {
        if self.notes.left.len() < LEFT_MAX {
            let at = now.since(self.start).0;
            self.notes.left.push((at, now.since(begun).0));
        }
    }

    pub fn cut_at(&mut self, now: Micros) {
        self.notes.cut_at = Some(now.since(self.start).0);
    }

    /// From now on it is noted when all of `far` are caught up with.
    pub fn healed_at(&mut self, now: Micros, far: impl Iterator<Item = usize>) {
        self.notes.healed_at = Some(now.since(self.start).0);
        self.owed = far.map(|node| (node, None)).collect();
    }

    /// A node says how many tokens it has made.
    pub fn has_made(&mut self, node: usize, made: u64) {
        if let Some(owed) = self.owed.get_mut(&node) {
            owed.get_or_insert(made);
        }
    }

    /// Notes when the log has all that was owed.
    pub fn caught_up(&mut self, log: &Log, now: Micros) {
        let Some(healed_at) = self.notes.healed_at else {
            return;
        };
        let mut owed = self.owed.iter();
        let is_done = owed.all(|(node, owed)| owed.is_some_and(|it| it <= log.held(*node)));
        if is_done && self.notes.caught_up_us.is_none() {
            self.notes.caught_up_us = Some(now.since(self.start).0.saturating_sub(healed_at));
        }
    }

    /// The measured time is over.
    pub fn rested(&mut self, order: f64) {
        self.notes.order = order;
    }

    /// The notes; the caller adds what it knows itself.
    pub fn report(&self) -> Report {
        Report {
            heard: self.heard,
            cut_off: self.cut_off,
            malformed: self.malformed,
            ..self.notes.clone()
        }
    }
}
