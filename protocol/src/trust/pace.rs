//! Pace: how often one member may announce itself anew.
//!
//! An announcement costs its issuer nothing and every other node a write to its disk. What
//! comes too soon is held back and not kept: the digests differ, so it is asked for again,
//! no sooner than any other item that is missing.

use std::collections::BTreeMap;

use crate::ids::NodeId;
use crate::units::Micros;

/// Newer announcements of one member that are taken at once: a node that restarts at every
/// second is found at once for a minute, and after that still by and by.
pub const ANNOUNCEMENTS_MAX: u64 = 64;
/// How long it takes until one more may come: a heartbeat.
pub const ANNOUNCE_EVERY: Micros = Micros::from_secs(5);

/// What each member may still announce: a bucket of tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    /// When a bucket will be full again. Of who is not here it is full.
    full_at: BTreeMap<NodeId, Micros>,
    /// How many announcements were held back.
    pub held: u64,
}

impl Pace {
    /// Takes a token of a member's, if there is one.
    pub fn take(&mut self, node: NodeId, now: Micros) -> bool {
        let before = self.full_at.get(&node).map_or(now, |at| now.max(*at));
        let after = before + ANNOUNCE_EVERY;
        let taken = after.since(now) <= ANNOUNCE_EVERY.times(ANNOUNCEMENTS_MAX);
        if taken {
            self.full_at.insert(node, after);
        } else {
            self.held += 1;
        }
        taken
    }

    /// Forgets whose bucket is full.
    pub fn forget(&mut self, now: Micros) {
        self.full_at.retain(|_, at| *at > now);
    }

    /// Of how many members something is remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.full_at.len()
    }
}
