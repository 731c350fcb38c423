//! Those who were revoked a moment ago: their frames are refused already, but their
//! connections stay for as long as one frame needs to tell them, so that they can tell their
//! children. Each has its own time, whatever changes on the roster meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::units::Micros;

use super::keys::Key;

/// How long after a revocation the connections of the revoked end.
const STAY: Micros = Micros::from_millis(300);

/// Until when each of them stays connected.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    until: BTreeMap<Key, Micros>,
}

impl Leaving {
    /// The roster allowed `was` and now allows `allowed`. Returns whom the sockets allow.
    pub fn change(
        &mut self,
        was: &BTreeSet<Key>,
        allowed: BTreeSet<Key>,
        now: Micros,
    ) -> BTreeSet<Key> {
        for key in was.difference(&allowed) {
            self.until.insert(*key, now + STAY);
        }
        self.until.retain(|key, _| !allowed.contains(key)); // it was taken back
        self.and(allowed)
    }

    /// Whom the sockets allow, if somebody's time is over at `now`.
    pub fn end(
        &mut self,
        allowed: impl Fn() -> BTreeSet<Key>,
        now: Micros,
    ) -> Option<BTreeSet<Key>> {
        let before = self.until.len();
        self.until.retain(|_, until| now < *until);
        (self.until.len() < before).then(|| self.and(allowed()))
    }

    fn and(&self, mut allowed: BTreeSet<Key>) -> BTreeSet<Key> {
        allowed.extend(self.until.keys());
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = [1; 32];
    const B: Key = [2; 32];
    const C: Key = [3; 32];

    fn ms(millis: u64) -> Micros {
        Micros::from_millis(millis)
    }

    fn keys(keys: &[Key]) -> BTreeSet<Key> {
        keys.iter().copied().collect()
    }

    #[test]
    fn a_second_change_neither_shortens_nor_lengthens_the_time_of_the_first() {
        let mut leaving = Leaving::default();
        let first = leaving.change(&keys(&[A, B, C]), keys(&[B, C]), ms(0));
        assert_eq!(first, keys(&[A, B, C]));
        let second = leaving.change(&keys(&[B, C]), keys(&[C]), ms(100));
        assert_eq!(second, keys(&[A, B, C]));
        let allowed = || keys(&[C]);
        assert_eq!(leaving.end(allowed, ms(299)), None);
        assert_eq!(leaving.end(allowed, ms(300)), Some(keys(&[B, C])));
        assert_eq!(leaving.end(allowed, ms(399)), None);
        assert_eq!(leaving.end(allowed, ms(400)), Some(keys(&[C])));
        assert_eq!(leaving.end(allowed, ms(900)), None);
    }

    #[test]
    fn a_newcomer_sends_nobody_away_early_and_who_is_taken_back_stays() {
        let mut leaving = Leaving::default();
        leaving.change(&keys(&[A]), keys(&[]), ms(0));
        let with_b = leaving.change(&keys(&[]), keys(&[B]), ms(100));
        assert_eq!(with_b, keys(&[A, B]));
        leaving.change(&keys(&[B]), keys(&[A, B]), ms(200));
        assert_eq!(leaving.end(|| keys(&[A, B]), ms(900)), None);
    }
}
