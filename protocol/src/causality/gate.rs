//! Gate: a peer's state is applied only if its stamp is newer than the cached one.
//!
//! That is the whole rule (audit 2.2). There is no bound on how far a stamp may
//! jump and no comparison with the local clock: such a bound locks a peer out
//! for ever after a short cut, which the test of the heal shows.

use crate::ids::{Incarnation, Stamp};

/// The kinds of state that one peer sends. They travel over different sockets
/// and may overtake each other, so each has its own newest stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its phase, or its part of the field.
    Field,
    /// Its heartbeat.
    Heartbeat,
    /// What it says of others.
    News,
}

/// The newest stamps applied from one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gate {
    newest: [Option<Stamp>; 3],
    incarnation: Incarnation,
}

impl Gate {
    /// A gate that refuses runs before `incarnation`, which were seen before a restart.
    pub fn from(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            ..Self::default()
        }
    }

    /// Whether state of this stamp is newer; if so it is now the newest.
    pub fn admit(&mut self, kind: Kind, stamp: Stamp) -> bool {
        let newest = &mut self.newest[kind as usize];
        if stamp.incarnation < self.incarnation || newest.is_some_and(|newest| stamp <= newest) {
            return false;
        }
        *newest = Some(stamp);
        self.incarnation = stamp.incarnation;
        true
    }

    /// The newest stamp of any kind.
    pub fn newest(&self) -> Option<Stamp> {
        self.newest.iter().flatten().max().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(incarnation: u64, lamport: u64) -> Stamp {
        Stamp {
            incarnation: Incarnation(incarnation),
            lamport,
        }
    }

    #[test]
    fn only_newer_state_passes() {
        let mut gate = Gate::default();
        assert!(gate.admit(Kind::Field, stamp(1, 5)));
        assert!(!gate.admit(Kind::Field, stamp(1, 5)), "a replay");
        assert!(!gate.admit(Kind::Field, stamp(1, 4)), "overtaken");
        assert!(
            gate.admit(Kind::Field, stamp(1, u64::MAX)),
            "no jump is too large"
        );
        assert!(gate.admit(Kind::Field, stamp(2, 1)), "a restart is newer");
        assert!(
            !gate.admit(Kind::Field, stamp(1, u64::MAX)),
            "the earlier run is over"
        );
    }

    #[test]
    fn kinds_overtake_each_other_freely_within_one_run() {
        let mut gate = Gate::default();
        assert!(gate.admit(Kind::Heartbeat, stamp(1, 9)));
        assert!(gate.admit(Kind::Field, stamp(1, 8)));
        assert!(gate.admit(Kind::Heartbeat, stamp(2, 1)));
        assert!(
            !gate.admit(Kind::Field, stamp(1, 10)),
            "a frame of the run before"
        );
        assert_eq!(gate.newest(), Some(stamp(2, 1)));
    }
}
