//! One directory: its outputs, their order and bounds, and what it refuses.

use std::collections::BTreeSet;

use super::*;
use crate::trust::directory::*;
use crate::trust::item::{ITEM_BYTES_MAX, ItemError};
use crate::units::Micros;
use crate::wire::message::{Command, Items};

pub(super) fn directory(n: u8, items: &[Vec<u8>]) -> Directory {
    Directory::new(mesh(), root().id(), key(n).id(), items).0
}
pub(super) fn page(from: u8, items: &[Vec<u8>]) -> Input {
    let items = items.iter().cloned().map(Into::into).collect();
    Input::Page {
        from: key(from).id(),
        items: Items { items },
    }
}
pub(super) fn heard(n: u8, of: &Directory) -> Input {
    Input::Heard {
        from: key(n).id(),
        items: of.items(),
        digest: *of.digest(),
    }
}
fn pulls(outputs: &[Output]) -> usize {
    let pull = |it: &&Output| {
        matches!(
            it,
            Output::Send {
                command: Command::Pull { .. },
                ..
            }
        )
    };
    outputs.iter().filter(pull).count()
}
fn rejections(outputs: &[Output]) -> Vec<Rejection> {
    let why = |it: &Output| {
        if let Output::Rejected { why, .. } = it {
            Some(*why)
        } else {
            None
        }
    };
    outputs.iter().filter_map(why).collect()
}

#[test]
fn answers_that_are_cut_short_go_on_where_they_ended() {
    // Large items, so that each bucket alone is more than an answer holds.
    let reasons = |n: u64| {
        let reason = format!("{n:0>100}");
        let node = Identity::from_seed(&std::array::from_fn(|at| (n >> (at % 8 * 8)) as u8)).id();
        seal(
            &root(),
            Claim::Revocation(Revocation {
                node,
                serial: n,
                reason,
                adopted: 0,
            }),
        )
    };
    let items: Vec<_> = (1..1_500).map(reasons).collect();
    let mut ours = directory(1, &items);
    let mut got = BTreeSet::new();
    // The asker takes nothing in, so that it always asks for everything.
    let asker = directory(2, &[]);
    ours.handle(heard(2, &asker), Micros::ZERO);
    for _ in 0..4 {
        let buckets = crate::trust::buckets::Buckets::of(asker.set()).to_bytes();
        for it in ours.handle(
            Input::Pulled {
                from: key(2).id(),
                buckets,
            },
            Micros::ZERO,
        ) {
            if let Output::Send {
                command: Command::Page(items),
                ..
            } = it
            {
                got.extend(items.items.into_iter().map(|it| it.into_vec()));
            }
        }
    }
    assert_eq!(got, items.into_iter().collect());
}

#[test]
fn an_old_directory_takes_nothing_away() {
    let old = mesh_with(&[
        enter(&key(1), entry(2, 0, 1)),
        enter(&key(1), entry(3, 0, 2)),
        announce(2, 1),
    ]);
    let new = [
        old.as_slice(),
        &[
            enter(&key(1), entry(2, 1, 3)),
            revocation(3, 1, 0),
            announce(2, 9),
        ],
    ]
    .concat();
    let mut directory = directory(1, &new);
    let before = *directory.digest();
    let outputs = directory.handle(page(2, &old), Micros::ZERO);
    assert!(outputs.is_empty(), "{outputs:?}");
    assert_eq!(*directory.digest(), before);
    assert_eq!(
        directory
            .roster()
            .get(&key(2).id())
            .map(|it| it.entry.floor),
        Some(1)
    );
}

#[test]
fn a_bad_item_loses_no_good_one() {
    let mut directory = directory(1, &founding());
    let mut forged = enter(&key(1), entry(3, 0, 2));
    forged[50] ^= 1;
    let items = [
        forged,
        vec![1; 20],
        enter(&key(1), entry(2, 0, 1)),
        vec![0; ITEM_BYTES_MAX + 1],
    ];
    let outputs = directory.handle(page(2, &items), Micros::ZERO);
    let expected = [ItemError::Forged, ItemError::TooShort, ItemError::Oversized];
    assert_eq!(rejections(&outputs), expected.map(Rejection::Item));
    assert!(directory.roster().get(&key(2).id()).is_some());
    let short = Input::Pulled {
        from: key(2).id(),
        buckets: vec![0; BUCKETS * BUCKET_BYTES - 1],
    };
    assert_eq!(
        rejections(&directory.handle(short, Micros::ZERO)),
        [Rejection::BadPull]
    );
}

#[test]
fn outputs_come_in_order_and_say_who_came_and_went() {
    let mut it = directory(
        1,
        &mesh_with(&[enter(&key(1), entry(2, 0, 1)), announce(2, 1)]),
    );
    it.handle(heard(2, &directory(2, &[])), Micros::ZERO);
    it.handle(heard(9, &directory(9, &[])), Micros::ZERO);
    let news = [
        enter(&key(1), entry(3, 0, 2)),
        enter(&key(1), entry(2, 1, 3)),
    ];
    let outputs = it.handle(page(9, &news), Micros::ZERO);
    let [
        Output::Persist(items),
        Output::Forget(gone),
        // Before the roster: with it the link to a revoked neighbour, who must hear of it, ends.
        Output::Send {
            to,
            command: Command::Page(_),
        },
        Output::Changed {
            roster,
            revoked,
            admitted,
            altered,
        },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}")
    };
    assert_eq!((items.len(), gone.len(), revoked.len()), (2, 1, 0));
    assert_eq!(
        (admitted.as_slice(), altered.as_slice()),
        ([key(3).id()].as_slice(), [key(2).id()].as_slice())
    );
    assert_eq!(
        (roster.len(), *to),
        (3, key(2).id()),
        "not back to where it came from"
    );
    // A newer announcement takes the older one's place.
    let outputs = it.handle(Input::Own(vec![announce(2, 2)]), Micros::ZERO);
    let [
        Output::Persist(_),
        Output::Forget(gone),
        ..,
        Output::Changed { roster, .. },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(gone.len(), 1);
    assert_eq!(
        roster.address(&key(2).id()).map(|it| it.stamp.lamport),
        Some(2)
    );
    // A revoked neighbour is told so, for the last time.
    let outputs = it.handle(Input::Own(vec![revocation(2, 1, 0)]), Micros::ZERO);
    let sent = outputs.iter().filter_map(|it| {
        if let Output::Send { to, .. } = it {
            Some(*to)
        } else {
            None
        }
    });
    let sent: std::collections::BTreeSet<_> = sent.collect();
    assert_eq!(sent, [key(2).id(), key(9).id()].into());
    let gone = outputs
        .iter()
        .any(|it| matches!(it, Output::Changed { revoked, .. } if *revoked == [key(2).id()]));
    assert!(
        gone && outputs
            .iter()
            .any(|it| matches!(it, Output::Forget(it) if it.len() == 2))
    );
}

#[test]
fn one_pull_is_under_way_to_a_neighbour_and_it_is_asked_again() {
    let other = directory(2, &mesh_with(&[enter(&key(1), entry(2, 0, 1))]));
    let mut it = directory(1, &founding());
    let at = Micros::from_millis;
    assert_eq!(pulls(&it.handle(heard(2, &other), at(0))), 1);
    assert_eq!(pulls(&it.handle(heard(2, &other), at(2_999))), 0);
    assert_eq!(pulls(&it.handle(Input::Tick, at(2_999))), 0);
    assert_eq!(it.next_deadline(), Some(at(3_000)));
    assert_eq!(pulls(&it.handle(Input::Tick, at(3_000))), 1);
    assert_eq!(
        it.waiting_on().collect::<Vec<_>>(),
        [(key(2).id(), at(0), 4)]
    );
    let same = Input::Heard {
        from: key(2).id(),
        items: 3,
        digest: *it.digest(),
    };
    assert_eq!(pulls(&it.handle(same, at(7_000))), 0);
    assert_eq!(
        (it.waiting_on().count(), it.next_deadline()),
        (0, Some(at(37_000)))
    );
    it.handle(Input::Tick, at(37_000));
    assert_eq!(it.next_deadline(), None, "a neighbour unheard is forgotten");
}

#[test]
fn what_is_not_taken_is_asked_for_less_and_less_until_the_other_has_something_else() {
    let mut it = directory(1, &founding());
    let mut forged = enter(&key(1), entry(3, 0, 2));
    forged[50] ^= 1;
    let mut asked = Vec::new();
    let mut told = directory(2, &mesh_with(&[enter(&key(1), entry(2, 0, 1))]));
    for s in 0..=100 {
        if s == 80 {
            told = directory(2, &mesh_with(&[enter(&key(1), entry(2, 1, 3))]));
        }
        let now = Micros::from_secs(s);
        let beat = it.handle(heard(2, &told), now);
        if pulls(&beat) + pulls(&it.handle(Input::Tick, now)) > 0 {
            asked.push(s);
            it.handle(page(2, std::slice::from_ref(&forged)), now);
        }
    }
    assert_eq!(asked, [0, 3, 9, 21, 45, 80, 86, 98]);
}

#[test]
fn a_delegation_may_come_after_the_entries_that_need_it() {
    let mut it = directory(1, &founding());
    let outputs = it.handle(
        page(2, &[announce(4, 1), enter(&key(3), entry(4, 0, 1))]),
        Micros::ZERO,
    );
    assert!(outputs.is_empty() && it.set().waiting() == 2, "{outputs:?}");
    let outputs = it.handle(page(2, &[delegate(3)]), Micros::ZERO);
    assert!(matches!(&outputs[0], Output::Persist(items) if items.len() == 3));
    assert!(it.roster().address(&key(4).id()).is_some());
}

#[test]
fn a_node_that_is_enrolled_again_and_again_is_one_node() {
    let mut it = directory(1, &founding());
    let mut sizes = BTreeSet::new();
    for n in 1..100u32 {
        it.handle(
            Input::Own(vec![
                enter(&key(1), entry(2, n, n as u64)),
                announce(2, n as u64),
            ]),
            Micros::ZERO,
        );
        sizes.insert((it.items(), it.roster().len()));
    }
    assert_eq!(sizes, [(5, 2)].into());
}

#[test]
fn broken_and_superseded_items_of_the_disk_are_told() {
    let mut broken = enter(&key(1), entry(3, 0, 2));
    broken[40] ^= 1;
    let disk = mesh_with(&[announce(1, 1), announce(1, 2), broken]);
    let (it, outputs) = Directory::new(mesh(), root().id(), key(1).id(), &disk);
    assert!(matches!(&outputs[0], Output::Forget(gone) if gone.len() == 2));
    assert_eq!(rejections(&outputs), [Rejection::Item(ItemError::Forged)]);
    assert_eq!(it.items(), 4);
}

#[test]
fn credentials_and_a_welcome_are_enough_to_begin_with() {
    let role = |n, role| {
        enter(
            &key(1),
            Entry {
                role,
                ..entry(n, 0, n as u64)
            },
        )
    };
    let elsewhere = Place {
        sector: label("s9"),
        cluster: label("c9"),
    };
    let items = mesh_with(&[
        enter(&root(), entry(3, 0, 3)),
        delegate(3),
        role(2, Role::Lead),
        announce(2, 1),
        enter(&key(3), entry(4, 0, 1)),
        enter(
            &key(1),
            Entry {
                place: elsewhere,
                ..entry(6, 0, 9)
            },
        ),
        revocation(5, 1, 0),
    ]);
    let enroller = directory(3, &items);
    // A parent that has never heard of the enroller takes the member in.
    let mut parent = directory(2, &founding());
    let shown = enroller.credentials(&key(4).id());
    assert_eq!(shown.items.len(), 2);
    parent.handle(
        Input::Page {
            from: key(4).id(),
            items: shown,
        },
        Micros::ZERO,
    );
    assert!(parent.roster().get(&key(4).id()).is_some());
    // The joiner learns of itself, its parent and where that listens, and who is out.
    let mut joiner = directory(4, &[]);
    let welcome = enroller.welcome(&key(4).id());
    joiner.handle(
        Input::Page {
            from: key(3).id(),
            items: welcome,
        },
        Micros::ZERO,
    );
    let roster = joiner.roster();
    assert!(
        [1, 2, 3, 4]
            .iter()
            .all(|n| roster.get(&key(*n).id()).is_some())
    );
    assert!(roster.address(&key(2).id()).is_some() && roster.is_revoked(&key(5).id()));
    assert!(
        roster.get(&key(6).id()).is_none(),
        "another sector's agent can wait"
    );
    assert_eq!(enroller.welcome(&key(5).id()), Items::default());
}
