//! A checkpoint of a whole mesh at once, made without machines: as many members as one likes.

use chorus_protocol::ids::{Digest, MeshId, NodeId, Role};
use chorus_protocol::membership::topology::Member;
use chorus_protocol::memory::checkpoint::{Kind, Part, Record, Row, Stem};
use chorus_protocol::units::{Noise, Seeded};

use crate::world::fabric::{Shape, key};

/// The epoch of a [`checkpoint`].
pub const EPOCH: u64 = 41;

/// `n` members of this shape. Only those that sign have keys: an agent's name is its own.
pub fn members(n: usize, shape: Shape) -> Vec<Member> {
    let mut noise = Seeded::new(n as u64);
    let places = shape.places(n).into_iter().zip(0..);
    let member = |((role, place), at)| Member {
        node: match role {
            Role::Agent => NodeId(std::array::from_fn(|_| noise.bits() as u8)),
            _ => key(at).id(),
        },
        role,
        place,
    };
    places.map(member).collect()
}

/// The bytes of a checkpoint of these members, who all hold it, signed by all of its parents.
/// The members stand as a [`Shape`] lists them: each parent before those beneath it.
pub fn checkpoint(mesh: &MeshId, members: &[Member]) -> Vec<u8> {
    let mut noise = Seeded::new(7);
    let mut row = |at: usize| Row {
        node: members[at].node,
        holds: true,
        record: Record {
            phase: noise.uniform() * std::f64::consts::TAU,
            omega: 6.0 + noise.uniform(),
            lamport: noise.bits() >> 20,
        },
    };
    let seal = |by: usize, kind, rows, parts: &[Part]| {
        let stem = Stem {
            kind,
            epoch: EPOCH,
            parent: Digest([1; 32]),
            roster: Digest([2; 32]),
            live: members.len() as u32,
        };
        Part::seal(&key(by as u64), mesh, stem, rows, parts)
    };
    let opened = |bytes: Vec<u8>| Part::open(&bytes, mesh).expect("a sound part");
    let (mut sectors, mut clusters, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for at in (1..members.len()).rev() {
        rows.insert(0, row(at));
        if members[at].role == Role::Agent {
            continue;
        }
        let rows = std::mem::take(&mut rows);
        if members[at].role == Role::Lead {
            clusters.push(opened(seal(at, Kind::Part, rows, &[])));
        } else {
            let clusters = std::mem::take(&mut clusters);
            sectors.push(opened(seal(at, Kind::Part, rows, &clusters)));
        }
    }
    seal(0, Kind::Whole, vec![row(0)], &sectors)
}
