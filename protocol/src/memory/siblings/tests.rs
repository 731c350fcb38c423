//! Sets of siblings: what stays, what goes, and that the order does not matter.

use proptest::prelude::*;

use super::*;
use crate::causality::version::Replica;
use crate::ids::{Incarnation, MeshId};
use crate::memory::key::Key;
use crate::memory::record::Write;
use crate::wire::identity::Identity;

const MESH: MeshId = MeshId([7; 32]);

/// A write of `shared/plan` by the author of that seed.
pub(crate) fn write(author: u8, lamport: u64, seen: Version, value: Option<&[u8]>) -> Record {
    let identity = Identity::from_seed(&[author; 32]);
    let write = Write {
        key: Key::shared("plan").expect("a key"),
        dot: Dot {
            replica: Replica {
                node: identity.id(),
                since: Incarnation(1),
            },
            lamport,
        },
        seen,
        value: value.map(<[u8]>::to_vec),
        expires_s: None,
    };
    Record::seal(&identity, &MESH, write).expect("a record")
}

fn set(records: impl IntoIterator<Item = Record>) -> Siblings {
    let mut set = Siblings::default();
    for record in records {
        set.merge(record);
    }
    set
}

fn values(set: &Siblings) -> Vec<&[u8]> {
    set.values(0)
        .filter_map(|it| it.write().value.as_deref())
        .collect()
}

#[test]
fn what_two_said_alike_is_one_value_and_counts_as_long_as_the_longer() {
    let lasting = |author, value: &[u8], expires_s| {
        let identity = Identity::from_seed(&[author; 32]);
        let mut alike = write(author, 5, Version::default(), Some(value))
            .write()
            .clone();
        alike.expires_s = expires_s;
        Record::seal(&identity, &MESH, alike).expect("a record")
    };
    let held = set([
        lasting(1, b"a", Some(10)),
        lasting(2, b"a", Some(30)),
        lasting(3, b"a", Some(30)),
        lasting(4, b"b", Some(20)),
    ]);
    assert_eq!(held.len(), 4, "each write stays");
    let until = |now_s| {
        let values = held.values(now_s).map(Record::write);
        let mut until: Vec<_> = values.map(|it| (it.value.clone(), it.expires_s)).collect();
        until.sort();
        until
    };
    let (a, b) = (
        (Some(b"a".to_vec()), Some(30)),
        (Some(b"b".to_vec()), Some(20)),
    );
    assert_eq!(until(0), [a.clone(), b]);
    assert_eq!(until(25), [a]);
    assert_eq!(until(30), []);
    let for_ever = set([lasting(1, b"a", Some(10)), lasting(2, b"a", None)]);
    assert_eq!(
        for_ever
            .values(0)
            .map(|it| it.write().expires_s)
            .collect::<Vec<_>>(),
        [None]
    );
}

#[test]
fn concurrent_writes_stay_beside_each_other_until_one_has_seen_both() {
    let (a, b) = (
        write(1, 5, Version::default(), Some(b"a")),
        write(2, 9, Version::default(), Some(b"b")),
    );
    let mut held = set([a.clone(), b]);
    assert_eq!(held.len(), 2, "a higher Lamport time is not knowledge");
    let both = write(1, 10, held.seen(), Some(b"both"));
    assert!(matches!(held.merge(both), Merged::New(gone) if gone.len() == 2));
    assert_eq!(values(&held), [b"both"]);
    assert_eq!(held.merge(a), Merged::Obsolete, "it does not come back");
}

#[test]
fn what_was_deleted_does_not_come_back() {
    let a = write(1, 5, Version::default(), Some(b"a"));
    let mut held = set([a.clone()]);
    let gone = write(2, 6, held.seen(), None);
    held.merge(gone);
    assert_eq!(held.merge(a), Merged::Obsolete);
    assert!(values(&held).is_empty() && held.len() == 1, "a tombstone");
    let concurrent = write(3, 1, Version::default(), Some(b"c"));
    assert!(matches!(held.merge(concurrent), Merged::New(_)));
    assert_eq!(values(&held), [b"c"], "a write that it did not see stays");
}

#[test]
fn one_sibling_too_many_is_refused_and_harms_none() {
    let many = SIBLINGS_MAX as u8;
    let mut held = set((1..=many).map(|n| write(n, 1, Version::default(), Some(&[n]))));
    let before = held.clone();
    let late = write(99, 1, Version::default(), Some(b"late"));
    assert_eq!(held.merge(late.clone()), Merged::Full);
    assert_eq!(held, before);
    held.merge(write(1, 2, held.seen(), Some(b"resolved")));
    assert!(matches!(held.merge(late), Merged::New(_)), "room again");
    let large = |n| write(n, 1, Version::default(), Some(&[n; 12 * 1024]));
    assert!(set((1..=9).map(large)).encode().len() <= SET_BYTES_MAX + 64);
}

#[test]
fn of_two_writes_of_one_name_all_keep_the_same() {
    let (a, b) = (
        write(1, 5, Version::default(), Some(b"one")),
        write(1, 5, Version::default(), Some(b"two")),
    );
    assert_eq!(set([a.clone(), b.clone()]), set([b, a]));
}

#[test]
fn the_store_gives_back_what_it_was_given() {
    let held = set([
        write(1, 5, Version::default(), Some(b"a")),
        write(2, 9, Version::default(), None),
    ]);
    let bytes = held.encode();
    assert_eq!(Siblings::decode(&bytes), Ok(held));
    for end in 0..bytes.len() {
        assert!(Siblings::decode(&bytes[..end]).is_err());
    }
}

/// Writers that take turns, each reading what some replica holds and writing there: what a
/// mesh with cuts makes. A step is (replica, writes or else takes from this replica).
fn history(steps: &[(usize, Option<usize>)]) -> Vec<Record> {
    let mut replicas = vec![Siblings::default(); 4];
    let mut all = Vec::new();
    for (n, (replica, takes)) in steps.iter().enumerate() {
        match takes {
            Some(from) => {
                let theirs = replicas[*from].clone();
                for record in theirs.iter() {
                    replicas[*replica].merge(record.clone());
                }
            }
            None => {
                let author = *replica as u8 + 1;
                let lamport = n as u64 + 1;
                let value = (n % 5 != 4).then(|| lamport.to_be_bytes());
                let seen = replicas[*replica].seen();
                let record = write(author, lamport, seen, value.as_ref().map(|v| &v[..]));
                replicas[*replica].merge(record.clone());
                all.push(record);
            }
        }
    }
    all
}

fn steps() -> impl Strategy<Value = Vec<(usize, Option<usize>)>> {
    proptest::collection::vec((0..4usize, proptest::option::of(0..4usize)), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_order_and_grouping_of_merges_do_not_matter(
        steps in steps(), order in any::<u64>(), cut in any::<prop::sample::Index>(),
    ) {
        let records = history(&steps);
        let mut shuffled = records.clone();
        shuffled.sort_by_key(|it| {
            let mut hash = Sha256::new();
            hash.update(order.to_be_bytes());
            hash.update(it.digest().0);
            <[u8; 32]>::from(hash.finalize())
        });
        let straight = set(records.clone());
        prop_assert_eq!(&set(shuffled.clone()), &straight, "commutative");
        if !records.is_empty() {
            let (left, right) = shuffled.split_at(cut.index(shuffled.len()));
            let (left, right) = (set(left.to_vec()), set(right.to_vec()));
            let grouped = set(left.iter().chain(right.iter()).cloned());
            prop_assert_eq!(&grouped, &straight, "associative");
        }
        let twice = set(records.iter().chain(records.iter()).cloned());
        prop_assert_eq!(&twice, &straight, "idempotent");
    }

    #[test]
    fn a_write_is_gone_only_where_another_has_seen_it(steps in steps()) {
        let records = history(&steps);
        let held = set(records.clone());
        for record in &records {
            let stands = held.iter().any(|it| it.digest() == record.digest());
            let seen = held.iter().any(|it| it.covers(record));
            prop_assert!(stands != seen, "{:?}", record);
        }
    }
}

#[test]
fn a_write_comes_after_all_that_it_says_it_has_seen() {
    let first = write(1, 5, Version::default(), Some(b"a"));
    let seen = |record: &Record| -> Version { [*record.dot()].into_iter().collect() };
    for (lamport, good) in [(6, true), (5, false), (4, false)] {
        let bytes = write(2, lamport, seen(&first), Some(b"b"));
        let opened = Record::open(bytes.bytes(), &MESH, |_| true);
        assert_eq!(
            opened.is_ok(),
            good,
            "else writes could cover each other in a circle"
        );
    }
}

#[test]
fn of_one_name_signed_twice_the_one_that_stays_takes_out_what_it_had_seen() {
    let old = write(1, 1, Version::default(), Some(b"old"));
    let seen: Version = [*old.dot()].into_iter().collect();
    let one = write(2, 5, seen, Some(b"x"));
    let other = (0u32..100).map(|n| write(2, 5, Version::default(), Some(&n.to_le_bytes())));
    let other = other.into_iter().find(|it| it.digest() > one.digest());
    let other = other.expect("one that gives way");
    let orders = [
        [old.clone(), other.clone(), one.clone()],
        [one.clone(), old, other],
    ];
    let sets = orders.map(set);
    assert_eq!(sets[0], sets[1], "or these two never agree");
    assert_eq!(sets[0].len(), 1);
}
