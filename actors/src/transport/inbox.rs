//! Where commands come in to the socket thread.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
