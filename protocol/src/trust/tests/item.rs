//! Items: golden bytes, each refusal, mutations.

use super::*;
use crate::trust::item::{ADDRESSES_MAX, CAPS_MAX, ITEM_BYTES_MAX, ItemError, Snapshot};
use crate::units::Seeded;
use crate::wire::codec::Malformed;
use crate::wire::identity::BadKey;

#[test]
fn golden_bytes_of_an_entry() {
    let bytes = enter(&root(), entry(2, 1, 7));
    assert_eq!(data_encoding::HEXLOWER.encode(&bytes), GOLDEN);
    assert_eq!(
        open(&bytes).claim(),
        &Claim::Entry(Arc::new(entry(2, 1, 7)))
    );
}

/// Seed 0 signs for seed 2: node, link key, name, role, place, caps, floor 1, issued 7.
const GOLDEN: &str = "\
    013b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29\
    37b815269799d267d30a90123d2d5a7376adbdf4572aa6ac5987b65390ac092f\
    db02cf1a297950ce3a49188c073c762c93dbfdc6bc110a2f8cfda357be0a8a0c\
    88a46e6f6465c4208139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a2\
    5df60f5b8fc9b394a56375727665c42002020202020202020202020202020202\
    02020202020202020202020202020202a46e616d65a36e2d32a4726f6c65a561\
    67656e74a5706c61636582a6736563746f72a27331a7636c7573746572a26331\
    a46361707391ac6d656d6f72793a7772697465a5666c6f6f7201a66973737565\
    6407";

#[test]
fn every_kind_comes_back_as_it_was_signed() {
    let kinds = [
        enter(&key(1), entry(2, 0, 1)),
        revocation(2, 1, 0),
        delegate(1),
        announce(2, 5),
    ];
    let snapshot = seal(
        &root(),
        Claim::Snapshot(Snapshot {
            serial_upto: 3,
            entries: 9,
        }),
    );
    for bytes in kinds.iter().chain([&snapshot]) {
        let item = open(bytes);
        assert_eq!(item.bytes(), bytes);
        assert_eq!(item.claim().kind(), bytes[0]);
        assert_eq!(item.issuer().as_bytes(), &bytes[1..33]);
    }
}

#[test]
fn each_refusal_has_its_name() {
    let refused = |bytes: &[u8]| Item::open(bytes, &mesh()).map(|_| ()).unwrap_err();
    let good = enter(&root(), entry(2, 0, 1));
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    assert_eq!(refused(&vec![0; ITEM_BYTES_MAX + 1]), ItemError::Oversized);
    assert_eq!(refused(&good[..96]), ItemError::TooShort);
    assert_eq!(refused(&changed(0, 9)), ItemError::Kind(9));
    assert_eq!(
        refused(&good[..good.len() - 1]),
        ItemError::Malformed(Malformed::Truncated)
    );
    assert_eq!(
        refused(&changed(0, 5)),
        ItemError::Malformed(Malformed::BadShape)
    );
    assert_eq!(refused(&changed(40, !good[40])), ItemError::Forged);
    let last = good.len() - 1;
    assert_eq!(refused(&changed(last, good[last] ^ 1)), ItemError::Forged);
    let weak = [&[1], WEAK.as_bytes().as_slice(), &good[33..]].concat();
    assert_eq!(refused(&weak), ItemError::Key(BadKey::Weak));
    let weak_member = enter(
        &root(),
        Entry {
            node: WEAK,
            ..entry(2, 0, 1)
        },
    );
    assert_eq!(refused(&weak_member), ItemError::Key(BadKey::Weak));
    assert_eq!(
        Item::open(&good, &mesh_of(&key(9).id())).unwrap_err(),
        ItemError::Forged
    );
}

#[test]
fn only_the_root_says_what_only_the_root_may() {
    let node = key(2).id();
    let claims = [
        Claim::Revocation(Revocation {
            node,
            serial: 1,
            reason: String::new(),
            adopted: 0,
        }),
        Claim::Delegation(Delegation {
            node,
            may: vec![label("enrol")],
        }),
        Claim::Snapshot(Snapshot {
            serial_upto: 0,
            entries: 0,
        }),
        Claim::Entry(Arc::new(Entry {
            adopts: Some(key(3).id()),
            ..entry(2, 0, 1)
        })),
    ];
    for claim in claims {
        assert!(Item::open(&Item::seal(&root(), &mesh(), &claim), &mesh()).is_ok());
        let by_another = Item::open(&Item::seal(&key(1), &mesh(), &claim), &mesh());
        assert_eq!(by_another.unwrap_err(), ItemError::NotRoot);
    }
}

#[test]
fn fields_have_bounds() {
    let refused = |issuer: &Identity, claim| {
        Item::open(&Item::seal(issuer, &mesh(), &claim), &mesh())
            .map(|_| ())
            .unwrap_err()
    };
    let caps = vec![label("c"); CAPS_MAX + 1];
    let claim = Claim::Entry(Arc::new(Entry {
        caps: caps.clone(),
        ..entry(2, 0, 1)
    }));
    assert_eq!(refused(&root(), claim), ItemError::Bounds("caps"));
    let claim = Claim::Delegation(Delegation {
        node: key(2).id(),
        may: caps,
    });
    assert_eq!(refused(&root(), claim), ItemError::Bounds("may"));
    for (serial, reason, field) in [
        (0, "x".into(), "serial"),
        (1, "x".repeat(101), "reason"),
        (1, "\u{1b}[2J".into(), "reason"),
    ] {
        let it = Revocation {
            node: key(2).id(),
            serial,
            reason,
            adopted: 0,
        };
        assert_eq!(
            refused(&root(), Claim::Revocation(it)),
            ItemError::Bounds(field)
        );
    }
    let Claim::Announcement(good) = open(&announce(2, 5)).claim().clone() else {
        unreachable!()
    };
    let with = |addresses| {
        Claim::Announcement(Arc::new(Announcement {
            addresses,
            ..(*good).clone()
        }))
    };
    let many = vec![good.addresses[0].clone(); ADDRESSES_MAX + 1];
    assert_eq!(refused(&key(2), with(many)), ItemError::Bounds("addresses"));
    for host in [String::new(), "a b".into(), "x".repeat(254)] {
        let address = Address {
            host,
            ..good.addresses[0].clone()
        };
        assert_eq!(
            refused(&key(2), with(vec![address])),
            ItemError::Bounds("host")
        );
    }
    assert_eq!(refused(&key(3), with(vec![])), ItemError::NotItsOwn);
}

#[test]
fn mutations_are_refused_and_never_panic() {
    let mut noise = Seeded::new(7);
    let goods = [
        enter(&root(), entry(2, 0, 1)),
        revocation(2, 1, 0),
        delegate(1),
        announce(2, 5),
    ];
    for round in 0..5_000 {
        let good = &goods[round % goods.len()];
        let bytes = mutated(good, &mut noise);
        let sound = Item::open(&bytes, &mesh()).is_ok();
        assert_eq!(sound, bytes == *good, "mutation {round}: {bytes:02x?}");
    }
}
