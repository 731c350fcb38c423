//! Dotted version vectors: which write has seen which others of the same key.
//!
//! A write is named by its [`Dot`]: the replica that made it and that replica's Lamport
//! time. Beside it stands a [`Version`]: for each replica the last write that the writer
//! had seen. Of two writes that do not cover each other neither knew of the other
//! (Preguiça et al., "Dotted Version Vectors", 2010).
//!
//! A replica's writes of one key follow each other: each covers those that the same
//! replica made before. That makes one number for each replica enough. A store that lost
//! something may not know its own earlier writes, so it goes on as another [`Replica`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, NodeId};

/// Most replicas that one version names. Of more the longest silent are left out, which
/// can show an old write as concurrent and never hides one.
pub const REPLICAS_MAX: usize = 64;

/// One store that makes writes: a node, and the run in which its present store began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// Whose store.
    pub node: NodeId,
    /// The run in which the store began, or last lost something.
    pub since: Incarnation,
}

/// The name of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Who made it.
    pub replica: Replica,
    /// The writer's Lamport time, which it uses for no other write.
    pub lamport: u64,
}

/// What a writer had seen of one key: each replica's last write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version(BTreeMap<Replica, u64>);

impl Version {
    /// Whether the write of this name had been seen.
    pub fn covers(&self, dot: &Dot) -> bool {
        self.0
            .get(&dot.replica)
            .is_some_and(|seen| *seen >= dot.lamport)
    }

    /// From now on this write is seen.
    pub fn see(&mut self, dot: Dot) {
        let seen = self.0.entry(dot.replica).or_default();
        *seen = (*seen).max(dot.lamport);
    }

    /// From now on all is seen that `other` had seen.
    pub fn join(&mut self, other: &Version) {
        for (replica, lamport) in &other.0 {
            self.see(Dot {
                replica: *replica,
                lamport: *lamport,
            });
        }
    }

    /// Leaves out the longest silent replicas beyond [`REPLICAS_MAX`].
    pub fn prune(&mut self) {
        if self.0.len() > REPLICAS_MAX {
            let mut times: Vec<(u64, Replica)> = self.0.iter().map(|(r, l)| (*l, *r)).collect();
            times.sort_unstable();
            let many = times.len() - REPLICAS_MAX;
            for (_, replica) in &times[..many] {
                self.0.remove(replica);
            }
        }
    }

    /// The last write of each replica.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.0.iter().map(|(replica, lamport)| Dot {
            replica: *replica,
            lamport: *lamport,
        })
    }

    /// How many replicas it names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing had been seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Dot> for Version {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut version = Self::default();
        dots.into_iter().for_each(|dot| version.see(dot));
        version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(node: u8, since: u64, lamport: u64) -> Dot {
        let replica = Replica {
            node: NodeId([node; 32]),
            since: Incarnation(since),
        };
        Dot { replica, lamport }
    }

    #[test]
    fn a_version_covers_what_the_same_replica_did_before_and_nothing_else() {
        let version: Version = [dot(1, 1, 5)].into_iter().collect();
        assert!(version.covers(&dot(1, 1, 5)) && version.covers(&dot(1, 1, 4)));
        assert!(!version.covers(&dot(1, 1, 6)), "a later write");
        assert!(!version.covers(&dot(2, 1, 1)), "another node's");
        assert!(
            !version.covers(&dot(1, 2, 1)) && !version.covers(&dot(1, 0, 1)),
            "a store that was lost between is another replica"
        );
    }

    #[test]
    fn the_longest_silent_replicas_are_left_out_first() {
        let many = REPLICAS_MAX as u64 + 3;
        let mut version: Version = (1..=many).map(|n| dot(9, n, n)).collect();
        version.prune();
        assert_eq!(version.len(), REPLICAS_MAX);
        assert!(!version.covers(&dot(9, 3, 3)) && version.covers(&dot(9, 4, 4)));
    }
}
