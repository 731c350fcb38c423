//! Liars about checkpoints: a bent part is left out, a bent copy goes nowhere, nobody
//! acknowledges for others; every byte is under a signature, every member can be proven.

use chorus_protocol::ids::{Digest, NodeId};
use chorus_protocol::memory::checkpoint::{
    Event, Input, Kind, Order, Output, Part, Record, Refusal, Stem, part::Row,
};
use chorus_protocol::units::Micros;
use chorus_tests::epochs::Epochs;
use chorus_tests::epochs::sectors::{N, SHAPE, durable, world};
use chorus_tests::world::fabric::key;

/// The part of machine 2 in the chunk, made anew by `bend`.
fn bent(order: &mut Order, bend: impl Fn(&Part, Vec<Row>) -> Vec<u8>) {
    let Order::Part(chunk) = order else { return };
    let mesh = chorus_tests::world::fabric::Fabric::of(N, SHAPE).mesh;
    let part = Part::open(&chunk.bytes, &mesh).expect("an honest part");
    let rows = part.pieces()[0].rows.clone();
    let bytes = bend(&part, rows);
    let mut chunks = chorus_protocol::memory::checkpoint::chunks::cut(chunk.epoch, &bytes);
    *chunk = chunks.remove(0);
}

fn sealed(by: u64, part: &Part, rows: Vec<Row>) -> Vec<u8> {
    let mesh = chorus_tests::world::fabric::Fabric::of(N, SHAPE).mesh;
    let header = part.header();
    let stem = Stem {
        kind: Kind::Part,
        epoch: header.epoch,
        parent: header.parent,
        roster: header.roster,
        live: header.live,
    };
    Part::seal(&key(by), &mesh, stem, rows, &[])
}

fn is_refused(world: &Epochs, by: usize, liar: usize, why: Refusal) -> bool {
    let refused = Event::Refused(world.node(liar), why);
    world.log.contains(&(by, refused))
}

#[test]
fn a_lying_childs_part_is_left_out_and_named() {
    type Case = (fn(&Epochs, NodeId, &mut Order), Refusal);
    let cases: [Case; 6] = [
        // Longer than all that can be beneath it.
        (
            |_, _, order| {
                if let Order::Part(chunk) = order {
                    chunk.of = 1 << 20;
                }
            },
            Refusal::Malformed("length"),
        ),
        // A byte of a record: not what was signed.
        (
            |_, _, order| {
                bent(order, |part, _| {
                    let mut bytes = part.bytes().to_vec();
                    let last = bytes.len() - 1;
                    bytes[last] ^= 1;
                    bytes
                });
            },
            Refusal::Altered,
        ),
        // A byte of the signature.
        (
            |_, _, order| {
                bent(order, |part, _| {
                    let mut bytes = part.bytes().to_vec();
                    bytes[200] ^= 1;
                    bytes
                });
            },
            Refusal::Forged,
        ),
        // An agent of another sector.
        (
            |world, _, order| {
                let stranger = world.node(N - 1);
                bent(order, |part, mut rows| {
                    rows[1].node = stranger;
                    sealed(2, part, rows)
                });
            },
            Refusal::WrongMember,
        ),
        // Nobody's name.
        (
            |_, _, order| {
                bent(order, |part, mut rows| {
                    rows[1].node = key(4_711).id();
                    sealed(2, part, rows)
                });
            },
            Refusal::WrongMember,
        ),
        // Signed by another than the one that sends it.
        (
            |world, _, order| {
                let other = world.node(7);
                bent(order, |part, mut rows| {
                    rows[0].node = other;
                    sealed(7, part, rows)
                });
            },
            Refusal::WrongSigner,
        ),
    ];
    for (lie, why) in cases {
        let mut world = world(7);
        durable(&mut world, 60).unwrap();
        world.machines[2].lie = Some(lie);
        world.pass(Micros::from_secs(40));
        assert!(is_refused(&world, 1, 2, why), "{why}: {:?}", world.log);
        // The epoch is made without the liar's cluster, and it holds the copy all the same.
        let durable_without = world.durable(12).unwrap();
        assert_eq!(durable_without.members().len(), N - 5, "{why}");
        world.machines[2].lie = None;
        durable(&mut world, 60).unwrap();
        world.sound().unwrap();
    }
}

#[test]
fn a_lying_parents_copy_is_neither_kept_nor_passed_on() {
    let mut world = world(8);
    durable(&mut world, 60).unwrap();
    let before = world.durable(3).unwrap();
    // The coordinator bends what it hands down: to the leads 2 and 7 alike.
    world.machines[1].lie = Some(|_, _, order| {
        if let Order::Copy(chunk) = order {
            let last = chunk.bytes.len() - 1;
            chunk.bytes[last] ^= 1;
            let bytes = chunk.bytes.clone();
            let mut chunks = chorus_protocol::memory::checkpoint::chunks::cut(chunk.epoch, &bytes);
            *chunk = chunks.remove(0);
        }
    });
    world.pass(Micros::from_secs(60));
    assert!(is_refused(&world, 2, 1, Refusal::Altered));
    assert_eq!(world.durable(3).unwrap().bytes(), before.bytes());
    let newer =
        |name: &chorus_protocol::memory::checkpoint::Name| name.epoch > before.header().epoch;
    assert!(!world.machines[3].disk.keys().any(|(name, _)| newer(name)));
    world.machines[1].lie = None;
    durable(&mut world, 90).unwrap();
    world.sound().unwrap();
}

#[test]
fn nobody_acknowledges_for_those_who_cannot_be_beneath_it() {
    let mut world = world(9);
    durable(&mut world, 60).unwrap();
    // A holder in the other sector cannot write; the first sector's coordinator says it did.
    let silent = N - 1;
    world.machines[silent].full = true;
    world.machines[1].lie = Some(|_, _, order| {
        if let Order::Held { who, .. } = order {
            who.iter_mut().for_each(|byte| *byte = 0xff);
        }
    });
    world.pass(Micros::from_secs(45));
    let node = world.node(silent);
    let partial = |it: &(usize, Event)| matches!(&it.1, Event::Partial(_, m) if m.contains(&node));
    assert!(world.log.iter().any(partial), "{:?}", world.log);
}

#[test]
fn an_epoch_that_is_past_or_absurdly_far_is_not_gathered() {
    let mut world = world(12);
    durable(&mut world, 60).unwrap();
    let newest = world.view(2).last.unwrap().0;
    let (parent, now) = (world.node(1), world.now);
    for (epoch, gathered) in [
        (newest, false),
        (1, false),
        (newest + (1 << 33), false),
        (u64::MAX, false),
        (newest + 1, true),
    ] {
        let open = Order::Open {
            epoch,
            parent: Digest([0; 32]),
            durable: 0,
            within_ms: 1_000,
        };
        let lead = world.machines[2].run.as_mut().unwrap();
        let out = lead.handle(Input::Order(parent, open), now);
        assert_eq!(out.contains(&Output::Cut(epoch)), gathered, "{epoch}");
    }
}

/// The members of a part in their order, and each byte of it flipped.
#[test]
fn every_byte_is_checked_and_every_member_can_be_proven() {
    let mut world = world(10);
    durable(&mut world, 60).unwrap();
    let part = world.durable(0).unwrap();
    let mesh = &world.fabric.mesh;
    assert_eq!(
        part.pieces().len(),
        7,
        "the root, two coordinators, four leads"
    );
    let mut bytes = part.bytes().to_vec();
    for at in 0..bytes.len() {
        bytes[at] ^= 1 << (at % 8);
        assert!(
            Part::open(&bytes, mesh).is_err(),
            "byte {at} is not under a signature"
        );
        bytes[at] ^= 1 << (at % 8);
    }
    assert!(Part::open(&bytes[..bytes.len() - 1], mesh).is_err());
    assert!(Part::open(&[bytes.as_slice(), &[0]].concat(), mesh).is_err());
    let other = chorus_protocol::trust::mesh_of(&key(5).id());
    assert!(matches!(Part::open(&bytes, &other), Err(Refusal::Forged)));

    for row in part.members() {
        let proof = part.prove(&row.node).expect("a member");
        assert_eq!(proof.row, *row);
        let top = proof.check(mesh).expect("an honest proof");
        assert_eq!(&top, part.header());
        for bend in 0..5 {
            let mut bent = proof.clone();
            match bend {
                0 => bent.row.record.phase += 1e-9,
                1 => bent.row.holds = !bent.row.holds,
                2 => bent.row.node = key(4_712).id(),
                3 => bent.steps[0].at += 1,
                _ => bent.steps[0].signed[250] ^= 1,
            }
            assert!(bent.check(mesh).is_err(), "bent as {bend}");
        }
    }
    assert!(part.prove(&key(4_711).id()).is_none());
}

#[test]
fn of_two_records_of_one_node_the_later_counts() {
    let fabric = chorus_tests::world::fabric::Fabric::of(N, SHAPE);
    let row = |at: usize, lamport| Row {
        node: fabric.members[at].node,
        holds: true,
        record: Record {
            phase: 1.0,
            omega: 6.0,
            lamport,
        },
    };
    let stem = |kind| Stem {
        kind,
        epoch: 3,
        parent: Digest([7; 32]),
        roster: Digest([8; 32]),
        live: 4,
    };
    // Agent 3 left lead 2 for lead 7 between two cuts.
    let part = |by: usize, lamport| {
        let rows = vec![row(by, 1), row(3, lamport)];
        let bytes = Part::seal(&key(by as u64), &fabric.mesh, stem(Kind::Part), rows, &[]);
        Part::open(&bytes, &fabric.mesh).expect("a part")
    };
    for (one, other) in [(10, 11), (11, 10)] {
        let parts = [part(2, one), part(7, other)];
        let bytes = Part::seal(
            &key(1),
            &fabric.mesh,
            stem(Kind::Branch),
            vec![row(1, 1)],
            &parts,
        );
        let whole = Part::open(&bytes, &fabric.mesh).expect("a branch");
        assert_eq!(whole.members().len(), 4);
        let row = whole.member(&fabric.members[3].node).expect("a member");
        assert_eq!(row.record.lamport, 11);
        let proof = whole.prove(&row.node).expect("a proof");
        assert_eq!(proof.check(&fabric.mesh).as_ref(), Ok(whole.header()));
    }
}
