//! Events: what goes into a [`super::Directory`] and what comes out of it.

use std::sync::Arc;

use crate::ids::{Digest, NodeId};
use crate::trust::item::{Item, ItemError};
use crate::trust::roster::Roster;
use crate::wire::message::{Command, Items};

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A heartbeat of a node that we have a link to.
    Heard {
        /// Whose.
        from: NodeId,
        /// How many items it holds.
        items: u32,
        /// The digest of its directory.
        digest: Digest,
    },
    /// A [`Command::Pull`] arrived.
    Pulled {
        /// From whom.
        from: NodeId,
        /// Its bucket digests.
        buckets: Vec<u8>,
    },
    /// A [`Command::Page`] arrived, or items at the door.
    Page {
        /// From whom.
        from: NodeId,
        /// The items.
        items: Items,
    },
    /// Items made here.
    Own(Vec<Vec<u8>>),
    /// Time has passed.
    Tick,
}

/// What to do, in this order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Make these items durable, by digest.
    Persist(Vec<Arc<Item>>),
    /// These durable items count no more.
    Forget(Vec<Digest>),
    /// The roster is another.
    Changed {
        /// The roster.
        roster: Arc<Roster>,
        /// Keys that were members or strangers and are refused from now on, and
        /// members whose enroller fell.
        revoked: Vec<NodeId>,
        /// Members that were not.
        admitted: Vec<NodeId>,
        /// Members whose entry (link key, place, role, floor …) is another.
        altered: Vec<NodeId>,
    },
    /// Send a [`Command::Pull`] or a [`Command::Page`].
    Send {
        /// To whom.
        to: NodeId,
        /// Which.
        command: Command,
    },
    /// Something was not taken; for counters and the log.
    Rejected {
        /// From whom; `None`: our own or our disk's.
        from: Option<NodeId>,
        /// Why.
        why: Rejection,
    },
}

/// Why something was not taken. All else is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Not an item of this mesh.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// A pull without the right number of digests.
    #[error("a pull of the wrong size")]
    BadPull,
    /// No room for more members; the number is of entries refused.
    #[error("{0} entries beyond the most that a directory holds")]
    Full(u32),
    /// Items that waited for another too long; they can be fetched again.
    #[error("{0} waiting items dropped for newer ones")]
    WaitedTooLong(u32),
}
