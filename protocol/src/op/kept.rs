//! Kept: the operations of one node, those that are over too, for they hear who is late. Each stands in
//! an order of when it has something to do, so that a word about one costs nothing for the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::OperationId;
use super::running::Running;
use crate::units::Micros;

/// Operations that are over and still hear who is late.
const OVER_MAX: usize = 256;
/// Bytes of answers that are kept of all of them; of more only the number.
const ANSWERS_KEPT_MAX: usize = 16 * 1024 * 1024;

/// The operations of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    all: BTreeMap<OperationId, Running>,
    /// When each has something to do, the soonest first.
    due: BTreeSet<(Micros, OperationId)>,
    /// Those that are over, the oldest first.
    over: VecDeque<OperationId>,
    /// Of the answers of all.
    bytes: usize,
}

impl Kept {
    /// When the first of them has something to do.
    pub fn next_deadline(&self) -> Micros {
        self.due.first().map_or(Micros::NEVER, |it| it.0)
    }

    /// Those that have something to do by now.
    pub fn due(&self, now: Micros) -> Vec<OperationId> {
        let due = self.due.iter().take_while(|it| it.0 <= now);
        due.map(|it| it.1).collect()
    }

    /// All of them.
    pub fn ids(&self) -> Vec<OperationId> {
        self.all.keys().copied().collect()
    }

    /// How many are not over.
    pub fn under_way(&self) -> usize {
        self.all.len() - self.over.len()
    }

    /// How many bytes of answers may be kept beside those that are.
    pub fn room(&self) -> usize {
        ANSWERS_KEPT_MAX.saturating_sub(self.bytes)
    }

    pub fn insert(&mut self, operation: OperationId, running: Running) {
        self.remove(&operation);
        self.bytes += running.bytes();
        self.due.insert((running.next_deadline(), operation));
        self.all.insert(operation, running);
    }

    /// Does something to one of them. `None` where it is not kept.
    pub fn change<T>(
        &mut self,
        operation: &OperationId,
        change: impl FnOnce(&mut Running) -> T,
    ) -> Option<T> {
        let running = self.all.get_mut(operation)?;
        let (at, bytes) = (running.next_deadline(), running.bytes());
        let changed = change(running);
        self.bytes = self.bytes - bytes + running.bytes();
        let due = running.next_deadline();
        if due != at {
            self.due.remove(&(at, *operation));
            self.due.insert((due, *operation));
        }
        Some(changed)
    }

    /// One of them is over; the oldest that is makes room for it.
    pub fn ended(&mut self, operation: OperationId) {
        self.change(&operation, Running::shrink);
        self.over.push_back(operation);
        if self.over.len() > OVER_MAX
            && let Some(oldest) = self.over.pop_front()
        {
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, operation: &OperationId) {
        if let Some(running) = self.all.remove(operation) {
            self.bytes -= running.bytes();
            self.due.remove(&(running.next_deadline(), *operation));
        }
    }
}
