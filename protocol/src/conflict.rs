//! Conflict: two statements that cannot both stand, the state -1 of the seeds' three (READY +1,
//! TRANSIT 0). It is kept and shown, and ends when somebody who has seen both sides decides.
//!
//! So far there is one kind, of memory: values of one key whose writers did not know of each
//! other. They stand beside each other as siblings, so none is served as the only one: that is
//! their quarantine.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::causality::version::Dot;
use crate::ids::Digest;
use crate::memory::key::Key;
use crate::memory::record::Record;
use crate::memory::siblings::Siblings;

/// Most values of the other side that one entry names.
pub const EXPECTED_MAX: usize = 16;

/// What contradicts what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Values of one key that do not know of each other.
    DataContradiction,
}

impl Kind {
    /// Its name in the seeds.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::DataContradiction => "DATA_CONTRADICTION",
        }
    }
}

/// A value by the write that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// The write.
    pub dot: Dot,
    /// SHA-256 of the value.
    pub value: Digest,
}

/// One entry of the conflict log. An entry's id is its number in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A value came that contradicts others.
    Found {
        /// What kind of conflict it is.
        kind: Kind,
        /// Of which key.
        key: Key,
        /// What came.
        received: Stated,
        /// What stood there, at most [`EXPECTED_MAX`].
        expected: Vec<Stated>,
        /// The digest of all that stood there.
        context: Digest,
    },
    /// Of the values of a key at most one is left, from whomever.
    Resolved {
        /// Which key.
        key: Key,
        /// The write that had seen the others.
        by: Dot,
    },
}

impl Entry {
    /// Which key it is about.
    pub fn key(&self) -> &Key {
        match self {
            Entry::Found { key, .. } | Entry::Resolved { key, .. } => key,
        }
    }
}

/// An entry, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// Milliseconds since 1970 by the clock of the machine that saw it: for people, it orders
    /// nothing.
    pub at_ms: u64,
    /// What happened.
    pub entry: Entry,
}

/// What a write did to the values of its key, if that is for the log: it was merged into
/// `before`, which came to `after`. Writes that say the same do not contradict each other. An
/// expired value counts: no clock is read here.
pub fn seen(before: &Siblings, after: &Siblings, record: &Record) -> Option<Entry> {
    let key = &record.write().key;
    let is_new = before.iter().all(|it| it.dot() != record.dot());
    if let (true, Some(received)) = (is_new, stated(record)) {
        let said = &record.write().value;
        let others = after.iter().filter(|it| it.write().value != *said);
        let expected: Vec<Stated> = others.filter_map(stated).take(EXPECTED_MAX).collect();
        if !expected.is_empty() {
            return Some(Entry::Found {
                kind: Kind::DataContradiction,
                key: key.clone(),
                received,
                expected,
                context: before.digest(),
            });
        }
    }
    let values = |set: &Siblings| {
        let said = set.iter().filter_map(|it| it.write().value.as_deref());
        said.collect::<BTreeSet<_>>().len()
    };
    (values(before) > 1 && values(after) <= 1).then(|| Entry::Resolved {
        key: key.clone(),
        by: *record.dot(),
    })
}

/// What contradicts what in a set that nobody saw grow: its latest value and those that say
/// otherwise.
pub fn standing(set: &Siblings) -> Option<Entry> {
    let values = set.iter().filter(|it| it.write().value.is_some());
    let last = values.max_by_key(|it| (it.dot().lamport, *it.dot()))?;
    let others = set
        .iter()
        .filter(|it| it.write().value != last.write().value);
    let expected: Vec<Stated> = others.filter_map(stated).take(EXPECTED_MAX).collect();
    (!expected.is_empty()).then_some(Entry::Found {
        kind: Kind::DataContradiction,
        key: last.write().key.clone(),
        received: stated(last)?,
        expected,
        context: set.digest(),
    })
}

fn stated(record: &Record) -> Option<Stated> {
    let value = record.write().value.as_ref()?;
    Some(Stated {
        dot: *record.dot(),
        value: sum(value),
    })
}

/// SHA-256 of a value.
pub fn sum(value: &[u8]) -> Digest {
    Digest(Sha256::digest(value).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causality::version::Version;
    use crate::memory::siblings::tests::write;

    /// Merges, and says what that was.
    fn merge(set: &mut Siblings, record: &Record) -> Option<Entry> {
        let before = set.clone();
        set.merge(record.clone());
        seen(&before, set, record)
    }

    #[test]
    fn values_that_do_not_know_of_each_other_are_found_and_whoever_saw_both_resolves_them() {
        let mut set = Siblings::default();
        let (a, b) = (
            write(1, 5, Version::default(), Some(b"a")),
            write(2, 6, Version::default(), Some(b"b")),
        );
        assert_eq!(merge(&mut set, &a), None, "the first value");
        let context = set.digest();
        let Some(Entry::Found {
            kind,
            received,
            expected,
            context: said,
            ..
        }) = merge(&mut set, &b)
        else {
            panic!("a contradiction");
        };
        assert_eq!(kind.name(), "DATA_CONTRADICTION");
        assert_eq!((received.dot, expected[0].dot), (*b.dot(), *a.dot()));
        assert_eq!((expected.len(), said), (1, context));
        assert_eq!(expected[0].value, sum(b"a"));
        assert_eq!(merge(&mut set, &b), None, "known already");
        let end = write(1, 9, set.seen(), Some(b"c"));
        let resolved = Entry::Resolved {
            key: end.write().key.clone(),
            by: *end.dot(),
        };
        assert_eq!(merge(&mut set, &end), Some(resolved));
        let next = write(2, 10, set.seen(), Some(b"d"));
        assert_eq!(merge(&mut set, &next), None, "it has seen the last");
    }

    #[test]
    fn who_says_the_same_contradicts_nobody() {
        let mut set = Siblings::default();
        let lone = |node, value| write(node, 5, Version::default(), Some(value));
        assert_eq!(merge(&mut set, &lone(1, b"a")), None);
        assert_eq!(merge(&mut set, &lone(2, b"a")), None, "the same");
        let Some(Entry::Found { expected, .. }) = merge(&mut set, &lone(3, b"b")) else {
            panic!("a contradiction");
        };
        assert_eq!(expected.len(), 2, "both are named");
        let Some(Entry::Found { expected, .. }) = merge(&mut set, &lone(4, b"b")) else {
            panic!("a contradiction");
        };
        assert_eq!(expected.len(), 2, "and nobody who says the same");
        // Whoever had seen those that said otherwise ends it, though two are left.
        let seen: Version = [3, 4]
            .map(|node| *lone(node, b"b").dot())
            .into_iter()
            .collect();
        let end = write(5, 9, seen, Some(b"a"));
        assert!(matches!(
            merge(&mut set, &end),
            Some(Entry::Resolved { .. })
        ));
        assert_eq!(set.len(), 3);
    }

    #[test]
    fn a_deletion_contradicts_nothing_and_one_of_three_values_less_resolves_nothing() {
        let mut set = Siblings::default();
        let lone = |node, value| write(node, 5, Version::default(), value);
        merge(&mut set, &lone(1, Some(b"a")));
        assert_eq!(merge(&mut set, &lone(2, None)), None, "no value");
        assert!(merge(&mut set, &lone(3, Some(b"c"))).is_some());
        assert!(merge(&mut set, &lone(4, Some(b"d"))).is_some());
        let seen: Version = [*lone(1, Some(b"a")).dot()].into_iter().collect();
        assert_eq!(
            merge(&mut set, &write(1, 8, seen, None)),
            None,
            "two are left"
        );
    }
}
