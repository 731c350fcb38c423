//! The set and the roster: what counts, in whichever order it came.

use proptest::prelude::*;

use super::*;
use crate::ids::Digest;
use crate::trust::item::Snapshot;
use crate::trust::revoke;
use crate::trust::set::WAITING_MAX;
use crate::units::{Noise, Seeded};
use crate::wire::envelope::Signer;

/// Everything that can happen to a mesh: two enrollers, of which one (3) is
/// revoked with one adoption; members enrolled again, revoked, named alike;
/// announcements of members and of nobody; a thief's late entries.
fn everything() -> Vec<Vec<u8>> {
    let adoption = Entry {
        adopts: Some(key(3).id()),
        issued: 9,
        ..entry(5, 0, 1)
    };
    let twin = Entry {
        name: label("n-4"),
        ..entry(8, 0, 4)
    };
    mesh_with(&[
        delegate(3),
        enter(&key(1), entry(3, 0, 1)),
        enter(&key(1), entry(4, 0, 2)),
        enter(&key(1), entry(4, 1, 3)),
        enter(&key(1), twin),
        enter(&key(3), entry(5, 0, 1)),
        enter(&key(3), entry(6, 0, 2)),
        enter(&key(3), entry(4, 9, 3)),
        enter(&root(), adoption),
        enter(&key(1), entry(7, 0, 5)),
        enter(&key(9), entry(10, 0, 1)),
        enter(&key(1), entry(11, 2, 6)),
        revocation(3, 1, 1),
        revocation(7, 2, 0),
        seal(
            &root(),
            Claim::Snapshot(Snapshot {
                serial_upto: 2,
                entries: 4,
            }),
        ),
        announce(4, 1),
        announce(4, 2),
        announce(7, 1),
        announce(6, 1),
        announce(10, 1),
    ])
}

fn digests(set: &Set) -> Vec<Digest> {
    set.items().map(|item| *item.digest()).collect()
}
fn shuffled<T: Clone>(items: &[T], noise: &mut Seeded) -> Vec<T> {
    let mut items = items.to_vec();
    for at in (1..items.len()).rev() {
        items.swap(at, (noise.bits() % (at as u64 + 1)) as usize);
    }
    items
}
fn names(roster: &Roster) -> Vec<(NodeId, u32, NodeId)> {
    roster
        .members()
        .map(|it| (it.entry.node, it.entry.floor, it.issuer))
        .collect()
}

#[test]
fn the_roster_says_what_was_signed() {
    let roster = roster_of(&everything());
    let floor = |n: u8| roster.get(&key(n).id()).map(|it| it.entry.floor);
    // 3 revoked; 5 adopted; 6 fell with 3; 4 as its living enroller has it; 10 by nobody.
    let expected = [
        Some(0),
        None,
        Some(1),
        Some(0),
        None,
        None,
        Some(0),
        None,
        None,
        Some(2),
    ];
    let numbers = [1, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    assert_eq!(numbers.map(floor), expected);
    assert_eq!(
        roster.get(&key(5).id()).map(|it| it.issuer),
        Some(root().id())
    );
    assert!(roster.is_revoked(&key(3).id()) && !roster.may_enrol(&key(3).id()));
    assert!(roster.may_enrol(&key(1).id()) && roster.may_enrol(&root().id()));
    assert!(!roster.may_enrol(&key(4).id()));
    assert!(matches!(roster.signer(&key(4).id()), Signer::Member(_, 1)));
    assert!(matches!(roster.signer(&key(7).id()), Signer::Revoked));
    assert!(matches!(roster.signer(&key(10).id()), Signer::Unknown));
    let curves = roster.allowed_curve_keys();
    assert_eq!(
        curves,
        [1, 4, 5, 8, 11].into_iter().map(|n| [n; 32]).collect()
    );
    assert_eq!(
        roster.by_curve(&curve(8)).map(|it| it.entry.node),
        Some(key(8).id())
    );
    assert!(roster.by_curve(&curve(7)).is_none());
    let lower = key(4).id().min(key(8).id());
    assert_eq!(
        roster.by_name(&label("n-4")).map(|it| it.entry.node),
        Some(lower)
    );
    assert_eq!(
        roster.duplicate_names(),
        [label("n-4")].into_iter().collect()
    );
    assert_eq!(
        roster.address(&key(4).id()).map(|it| it.stamp.lamport),
        Some(2)
    );
    let announced = roster.announcements().map(|it| it.node);
    assert_eq!(announced.collect::<Vec<_>>(), [key(4).id()]);
    assert_eq!(
        (roster.last_issued(&key(1).id()), roster.last_serial()),
        (6, 2)
    );
    assert_eq!(roster.missing_revocations(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(seed: u64, a: u32, b: u32) {
        let mut noise = Seeded::new(seed);
        let all: Vec<Item> = everything().iter().map(|bytes| open(bytes)).collect();
        let part = |mask: u32| {
            let chosen = all.iter().enumerate().filter(move |(n, _)| mask >> (n % 32) & 1 == 1);
            chosen.map(|(_, item)| item.clone()).collect::<Vec<_>>()
        };
        let made = |items: Vec<Item>| {
            let mut set = Set::new(root().id());
            set.apply(items);
            set
        };
        let whole = made(all.clone());
        // In any order, one by one, with repetitions.
        let mut one_by_one = Set::new(root().id());
        for item in shuffled(&[all.as_slice(), &all].concat(), &mut noise) {
            one_by_one.apply([item]);
        }
        prop_assert_eq!(digests(&one_by_one), digests(&whole));
        prop_assert_eq!(names(&Roster::of(&one_by_one)), names(&Roster::of(&whole)));
        // Two parts that have already dropped what does not count, merged either
        // way, and once more.
        let (x, y) = (made(part(a)), made(part(b)));
        let mut merged = |into: &Set, other: &Set| {
            let mut set = into.clone();
            let items: Vec<Item> = other.held().cloned().collect();
            set.apply(shuffled(&items, &mut noise));
            (digests(&set), set.waiting(), set)
        };
        let (xy, waiting_xy, set) = merged(&x, &y);
        let (yx, waiting_yx, _) = merged(&y, &x);
        let both = made(part(a | b));
        prop_assert_eq!((&xy, waiting_xy), (&yx, waiting_yx));
        prop_assert_eq!((&xy, waiting_xy), (&digests(&both), both.waiting()));
        prop_assert_eq!(&merged(&set, &x).0, &xy);
        prop_assert_eq!(&merged(&set, &set).0, &xy);
    }

    #[test]
    fn a_revoked_member_comes_back_by_no_order_of_items(seed: u64) {
        let mut items = everything();
        items.extend((0..6).map(|n| enter(&root(), entry(7, n, 100 + n as u64))));
        items.push(enter(&root(), entry(7, u32::MAX, u64::MAX)));
        let mut set = Set::new(root().id());
        let mut revoked = false;
        for bytes in shuffled(&items, &mut Seeded::new(seed)) {
            revoked |= bytes == revocation(7, 2, 0);
            set.apply([open(&bytes)]);
            if revoked {
                prop_assert!(Roster::of(&set).get(&key(7).id()).is_none());
            }
        }
        prop_assert!(revoked);
        let left = set.items().filter_map(|it| it.member()).any(|it| it.entry.node == key(7).id());
        prop_assert!(!left, "the entries of the dead do not pile up");
    }
}

#[test]
fn an_enrollers_word_falls_only_when_the_adoptions_are_here() {
    let before = mesh_with(&[
        delegate(3),
        enter(&key(1), entry(3, 0, 1)),
        enter(&key(3), entry(5, 0, 1)),
        enter(&key(3), entry(6, 0, 2)),
    ]);
    let words = revoke(&root(), &roster_of(&before), key(3).id(), "stolen\u{7}");
    assert_eq!(words.len(), 4, "two adoptions, the revocation, a snapshot");
    let mut set = set_of(&before);
    let members = |set: &Set| {
        Roster::of(set)
            .members()
            .map(|it| it.entry.node)
            .collect::<Vec<_>>()
    };
    let all = members(&set);
    let others: Vec<NodeId> = all
        .into_iter()
        .filter(|node| *node != key(3).id())
        .collect();
    // The revocation first: nobody but the enroller is lost, at any moment.
    for bytes in words.iter().rev() {
        set.apply([open(bytes)]);
        assert!(others.iter().all(|node| members(&set).contains(node)));
    }
    assert_eq!(members(&set), others);
    let adopted = Roster::of(&set);
    assert!(adopted.members().all(|it| it.issuer == root().id()));
    // What the thief signs from now on is nothing.
    let thief = set.apply([open(&enter(&key(3), entry(12, 0, 99)))]);
    assert!(thief.added.is_empty() && set.waiting() == 0);
    assert!(revoke(&root(), &adopted, key(3).id(), "again").is_empty());
}

#[test]
fn a_directory_that_lacks_revocations_knows_it() {
    let snapshot = |upto| {
        seal(
            &root(),
            Claim::Snapshot(Snapshot {
                serial_upto: upto,
                entries: 1,
            }),
        )
    };
    let old = mesh_with(&[revocation(20, 1, 0), snapshot(3)]);
    assert_eq!(roster_of(&old).missing_revocations(), 2);
    let gap = mesh_with(&[revocation(20, 4, 0)]);
    assert_eq!(roster_of(&gap).missing_revocations(), 3);
    let older = mesh_with(&[snapshot(1), revocation(20, 1, 0), snapshot(3)]);
    assert_eq!(
        roster_of(&older).missing_revocations(),
        2,
        "an older snapshot changes nothing"
    );
}

#[test]
fn what_waits_is_bounded_and_what_counts_too() {
    let stranger = key(9);
    let node = |n: u64| Identity::from_seed(&std::array::from_fn(|at| (n >> (at % 8 * 8)) as u8));
    let many = (0..WAITING_MAX as u64 + 10).map(|n| {
        open(&enter(
            &stranger,
            Entry {
                node: node(n + 1000).id(),
                ..entry(2, 0, n)
            },
        ))
    });
    let mut set = set_of(&founding());
    let delta = set.apply(many);
    assert_eq!((delta.dropped, set.waiting()), (10, WAITING_MAX));
    set.apply([open(&delegate(9))]);
    assert_eq!(
        (set.waiting(), Roster::of(&set).len()),
        (0, WAITING_MAX + 1)
    );

    let mut small = Set::with_limit(root().id(), 2);
    let delta = small.apply((1..=4).map(|n| open(&enter(&root(), entry(n, 0, 1)))));
    assert_eq!((delta.full, Roster::of(&small).len()), (2, 2));
    let member = Roster::of(&small).members().next().map(|it| it.entry.node);
    let again = (1..=4)
        .find(|n| Some(key(*n).id()) == member)
        .expect("one of the four");
    let delta = small.apply([open(&enter(&root(), entry(again, 1, 2)))]);
    assert_eq!(
        (delta.full, delta.added.len()),
        (0, 1),
        "a member is enrolled again when full"
    );
}
