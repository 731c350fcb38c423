//! Where commands come in to the socket thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use super::messages::Command;
use super::readiness::Readiness;

/// The thread's end of the command queue.
pub struct Inbox {
    pub queue: Receiver<Command>,
    pub readiness: Readiness,
    pub waker: Arc<Waker>,
}

/// Wakes the thread from its wait: once, however many commands wait.
pub struct Waker {
    pub signalled: AtomicBool,
    pub wakes: mio::Waker,
}

impl Waker {
    /// Wakes it, unless that is under way.
    pub fn wake(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            // It fails only when the thread has gone, which the next command will say.
            let _ = self.wakes.wake();
        }
    }
}
