//! The way to a node's operations, for whoever asks and looks.

use chorus_protocol::op::census::Census;
use chorus_protocol::op::readings::Readings;
use chorus_protocol::op::{Output, Question};
use ractor::ActorRef;
use tokio::sync::{mpsc, oneshot};

use super::OperationsView;
use crate::messages::ToOperations;
use crate::worker::human::Inbox;

/// What may wait for an asker: of progress only the newest matters, so more is dropped.
const TOLD_MAX: usize = 64;

/// The way to a node's operations.
#[derive(Debug, Clone)]
pub struct OperationsHandle(pub(crate) ActorRef<ToOperations>);

impl OperationsHandle {
    /// Asks; what becomes of it comes in the order in which it happens. Nothing comes from a
    /// node that stops.
    pub fn ask(&self, question: Question) -> mpsc::Receiver<Output> {
        let (told, tells) = mpsc::channel(TOLD_MAX);
        let _ = self.0.cast(ToOperations::Begin(Box::new(question), told));
        tells
    }

    /// What waits for people here; `None` when the node is stopping.
    pub async fn inbox(&self) -> Option<Inbox> {
        let (reply, inbox) = oneshot::channel();
        self.0.cast(ToOperations::Inbox(reply)).ok()?;
        inbox.await.ok()
    }

    /// The operations as they stand; `None` when the node is stopping.
    pub async fn view(&self) -> Option<OperationsView> {
        let (reply, answer) = oneshot::channel();
        self.0.cast(ToOperations::Inspect(reply)).ok()?;
        answer.await.ok()
    }

    /// The agents here and beneath; `None` when the node is stopping.
    pub async fn census(&self) -> Option<Census> {
        let (reply, answer) = oneshot::channel();
        self.0.cast(ToOperations::Census(reply)).ok()?;
        answer.await.ok()
    }

    /// What `look` makes of what is known of each agent here and beneath; `None` when the node
    /// is stopping.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Readings) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let look = Look(Box::new(move |readings| {
            let _ = reply.send(look(readings));
        }));
        self.0.cast(ToOperations::Read(look)).ok()?;
        answer.await.ok()
    }
}

/// What looks at the readings.
pub struct Look(pub(super) Box<dyn FnOnce(&Readings) + Send>);

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}
