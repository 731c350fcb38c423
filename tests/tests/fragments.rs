//! Fragments of checkpoints of 3,001 and of 30,000 members: any 150 give the whole back, byte
//! for byte; each alone is proven, and one that is bent, foreign or another's is refused.

use std::collections::BTreeSet;

use chorus_protocol::ids::{Digest, MeshId};
use chorus_protocol::memory::checkpoint::copy::{self, numbers, plan};
use chorus_protocol::memory::checkpoint::{
    Copy, Fragment, Part, Plan, Refusal, Seal, Whole, coding, merkle,
};
use chorus_protocol::units::{Noise, Seeded};
use chorus_tests::epochs::large::{checkpoint, members};
use chorus_tests::world::fabric::{Shape, key};

const MESH: MeshId = MeshId([9; 32]);
const NEEDED: usize = 150;
const SHAPE: Shape = Shape::Tree {
    clusters: 10,
    size: 30,
};

/// A checkpoint of `n` members with its seal, and the fragments of these numbers.
fn cut(n: usize, wanted: &BTreeSet<u32>) -> (Whole, Vec<Fragment>) {
    let members = members(n, SHAPE);
    let part = Part::open(&checkpoint(&MESH, &members), &MESH).unwrap();
    assert_eq!(part.members().len(), n);
    let plan = plan(&part, NEEDED).unwrap();
    let coded = coding::encode(part.bytes(), &plan, wanted).unwrap();
    let seal = Seal {
        fragments: coded.root,
        plan,
        members: n,
    };
    let sealed = seal.seal(part.signed(), &key(0), &MESH);
    let whole = Whole::sealed(part, seal, sealed);
    let nodes = whole.part().holders().zip(0..);
    let nodes = nodes.filter(|(_, number)| wanted.contains(number));
    let whose = numbers(whole.part(), &nodes.map(|(row, _)| row.node).collect());
    assert!(whose.values().eq(wanted));
    let made = whole.fragments(&coded, &whose).unwrap();
    let fragments = made
        .values()
        .map(|bytes| Fragment::open(bytes, &MESH).unwrap());
    let fragments = fragments.collect();
    (whole, fragments)
}

/// So many different numbers below `of`.
fn some(of: u64, many: usize, seed: u64) -> BTreeSet<u32> {
    let mut noise = Seeded::new(seed);
    let mut some = BTreeSet::new();
    while some.len() < many {
        some.insert((noise.bits() % of) as u32);
    }
    some
}

#[test]
fn any_that_are_enough_give_back_every_byte() {
    for n in [3_001, 30_000] {
        // The bytes themselves, the last ones, and any; one of each twice.
        let first: BTreeSet<u32> = (0..NEEDED as u32).collect();
        let last: BTreeSet<u32> = (n as u32 - NEEDED as u32..n as u32).collect();
        let any = some(n as u64, NEEDED, 1);
        let wanted = &(&first | &last) | &any;
        let (whole, fragments) = cut(n, &wanted);
        let back = Copy::open(whole.bytes(), &MESH).unwrap();
        assert_eq!(back.whole().unwrap().seal(), whole.seal());
        for these in [&first, &last, &any, &wanted] {
            let of = |it: &&Fragment| these.contains(&it.number);
            let mut chosen: Vec<&Fragment> = fragments.iter().filter(of).collect();
            let rebuilt = copy::rebuild(chosen.iter().copied(), &MESH).unwrap();
            assert_eq!(rebuilt.part().bytes(), whole.part().bytes(), "of {n}");
            // One fewer is not enough, however often the others are there.
            chosen.truncate(NEEDED - 1);
            let twice = chosen.iter().chain(&chosen).copied();
            let few = Refusal::TooFew {
                have: NEEDED - 1,
                needed: NEEDED,
            };
            assert_eq!(copy::rebuild(twice, &MESH).err(), Some(few));
        }
        let none = Refusal::TooFew { have: 0, needed: 1 };
        assert_eq!(copy::rebuild([], &MESH).err(), Some(none));
        let long = fragments[0].bytes().len();
        assert!(long < whole.bytes().len() / 90, "{long} bytes of {n}");
    }
}

/// What a stranger has to make and to read; `protocol/WIRE.md` says how.
#[test]
fn the_bytes_are_what_they_were() {
    let (whole, fragments) = cut(3_001, &[7, 3_000].into());
    let of = |bytes: &[u8]| merkle::leaf(bytes).short();
    let fragments: Vec<String> = fragments.iter().map(|it| of(it.bytes())).collect();
    assert_eq!(
        (of(whole.bytes()).as_str(), fragments.join(" ").as_str()),
        ("d15bde2a", "a0c10393 d19f0c46")
    );
}

#[test]
fn a_fragment_that_is_bent_anywhere_is_refused_alone() {
    let (_, fragments) = cut(3_001, &some(3_001, 2, 3));
    let mut bytes = fragments[0].bytes().to_vec();
    for at in 0..bytes.len() {
        bytes[at] ^= 1 << (at % 8);
        assert!(Fragment::open(&bytes, &MESH).is_err(), "byte {at}");
        bytes[at] ^= 1 << (at % 8);
    }
    for length in [0, 1, 254, 366, 370, bytes.len() - 64, bytes.len() - 1] {
        assert!(Fragment::open(&bytes[..length], &MESH).is_err(), "{length}");
    }
    for more in [1, 32, 64] {
        let longer = [bytes.as_slice(), &vec![0; more]].concat();
        assert!(Fragment::open(&longer, &MESH).is_err(), "and {more}");
    }
    // Another's number, path and piece under this one's number.
    let other = fragments[1].bytes();
    let number = 1 + 253 + 112;
    let mut mixed = bytes.clone();
    mixed[number + 4..].copy_from_slice(&other[number + 4..]);
    assert_eq!(Fragment::open(&mixed, &MESH).err(), Some(Refusal::Altered));
    let elsewhere = Fragment::open(&bytes, &MeshId([8; 32]));
    assert_eq!(elsewhere.err(), Some(Refusal::Forged));
}

/// The seal that `by` would put on what `bend` makes of the plan and the root.
fn sealed(whole: &Whole, by: u64, bend: impl Fn(&mut Seal)) -> Vec<u8> {
    let mut seal = *whole.seal().unwrap();
    bend(&mut seal);
    let sealed = seal.seal(whole.part().signed(), &key(by), &MESH);
    [whole.part().bytes(), sealed.as_slice()].concat()
}

#[test]
fn a_seal_by_another_or_of_another_division_is_refused() {
    let (whole, _) = cut(3_001, &BTreeSet::new());
    let refused = |by, bend: fn(&mut Seal)| Whole::open(&sealed(&whole, by, bend), &MESH).err();
    let division = Some(Refusal::Malformed("division into fragments"));
    assert_eq!(refused(0, |_| ()), None);
    assert_eq!(refused(1, |_| ()), Some(Refusal::Forged));
    assert_eq!(refused(0, |seal| seal.plan.of -= 1), division);
    assert_eq!(refused(0, |seal| seal.plan.bytes += 1), division);
    assert_eq!(refused(0, |seal| seal.plan.needed = 0), division);
    assert_eq!(refused(0, |seal| seal.plan.needed = 1_501), division);
    assert_eq!(refused(0, |seal| seal.members = 7), division);
    for behind in [1, 111, 113] {
        let bytes = [whole.part().bytes(), vec![0; behind].as_slice()].concat();
        assert!(Whole::open(&bytes, &MESH).is_err(), "{behind}");
    }
}

#[test]
fn fragments_of_two_epochs_and_of_a_lying_top_give_nothing() {
    let wanted: BTreeSet<u32> = (0..300).collect();
    let (whole, mut fragments) = cut(3_001, &wanted);
    let (_, others) = cut(3_002, &wanted);
    fragments.truncate(NEEDED);
    let mixed = fragments[1..].iter().chain(&others[..1]);
    let refused = copy::rebuild(mixed, &MESH).err();
    assert_eq!(refused, Some(Refusal::OtherEpoch));
    // The top seals fragments of something else under the same header.
    let mut bytes = whole.part().bytes().to_vec();
    bytes[400] ^= 1;
    let plan: Plan = whole.seal().unwrap().plan;
    let coded = coding::encode(&bytes, &plan, &wanted).unwrap();
    let seal = Seal {
        fragments: coded.root,
        plan,
        members: 3_001,
    };
    let signed = seal.seal(whole.part().signed(), &key(0), &MESH);
    let lies = coded.pieces.iter().map(|(number, (path, piece))| {
        let bytes = Fragment::make(whole.part().signed(), &signed, *number, path, piece);
        Fragment::open(&bytes, &MESH).unwrap()
    });
    let lies: Vec<Fragment> = lies.collect();
    let rebuilt = copy::rebuild(&lies, &MESH).err();
    assert!(rebuilt.is_some(), "a lie came back as a checkpoint");
    // And what is not of its own seal's root is not made.
    let nodes = whole.part().holders().map(|row| row.node).take(1).collect();
    assert!(
        whole
            .fragments(&coded, &numbers(whole.part(), &nodes))
            .is_none()
    );
    assert_ne!(coded.root, Digest([0; 32]));
}
