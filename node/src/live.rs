//! The running node, for those who ask it from other tasks: control connections and metrics.
//!
//! One loop owns the node; everybody else holds a [`Live`] and waits for a turn. So the
//! loop can stop the node without looking for others who still hold it.

use std::sync::Arc;

use chorus_actors::memory::MemoryHandle;
use chorus_actors::operations::OperationsHandle;
use chorus_actors::{Node, Snapshot};
use chorus_protocol::trust::roster::Roster;
use tokio::sync::{mpsc, oneshot};

/// Questions that may wait. Askers beyond it wait with theirs in hand; their number is
/// limited by the connections that are accepted.
const WAITING_MAX: usize = 64;

/// A question for the loop that owns the node.
#[derive(Debug)]
pub enum Ask {
    /// What does it look like?
    Snapshot(oneshot::Sender<Option<Snapshot>>),
    /// Who belongs?
    Roster(oneshot::Sender<Option<Arc<Roster>>>),
    /// Take these signed items, which were made here.
    Own(Vec<Vec<u8>>),
}

/// The way to the loop that owns the node.
#[derive(Debug, Clone)]
pub struct Live {
    asks: mpsc::Sender<Ask>,
    memory: Option<MemoryHandle>,
    operations: Option<OperationsHandle>,
}

/// A way to the node, and the end that its owner keeps.
pub fn channel() -> (Live, mpsc::Receiver<Ask>) {
    let (asks, asked) = mpsc::channel(WAITING_MAX);
    let live = Live {
        asks,
        memory: None,
        operations: None,
    };
    (live, asked)
}

impl Live {
    /// The same, with the way to the node's memory.
    pub fn with_memory(self, memory: MemoryHandle) -> Self {
        let memory = Some(memory);
        Self { memory, ..self }
    }

    /// The same, with the way to the node's operations.
    pub fn with_operations(self, operations: OperationsHandle) -> Self {
        let operations = Some(operations);
        Self { operations, ..self }
    }

    /// The way to the node's operations.
    pub fn operations(&self) -> Option<&OperationsHandle> {
        self.operations.as_ref()
    }

    /// The way to the node's memory.
    pub fn memory(&self) -> Option<&MemoryHandle> {
        self.memory.as_ref()
    }

    /// The node as it stands; `None` when it is stopping.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Snapshot(reply)).await.ok()?;
        answer.await.ok()?
    }

    /// Who belongs; `None` when the node is stopping.
    pub async fn roster(&self) -> Option<Arc<Roster>> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Roster(reply)).await.ok()?;
        answer.await.ok()?
    }

    /// Hands over items. False when the node is stopping.
    pub async fn own(&self, items: Vec<Vec<u8>>) -> bool {
        self.asks.send(Ask::Own(items)).await.is_ok()
    }
}

/// Answers for the node as long as anybody may ask.
pub async fn answer_all(node: &Node, mut asked: mpsc::Receiver<Ask>) {
    while let Some(ask) = asked.recv().await {
        match ask {
            Ask::Snapshot(reply) => {
                // Whoever asked may have given up meanwhile.
                let _ = reply.send(node.snapshot().await);
            }
            Ask::Roster(reply) => {
                let _ = reply.send(node.roster().await);
            }
            Ask::Own(items) => node.own(items),
        }
    }
}
