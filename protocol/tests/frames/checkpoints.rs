//! What frames about checkpoints say: a part of one record inside a branch of two members.

use chorus_protocol::ids::{Digest, NodeId};
use chorus_protocol::memory::checkpoint::{
    Certificate, Chunk, Kind, Order, Part, Record, Row, Stem, chunks,
};
use chorus_protocol::wire::Identity;

use super::Cast;

const EPOCH: u64 = 12;

pub fn have() -> Order {
    Order::Have {
        durable: EPOCH - 1,
        newest: EPOCH,
        able: true,
    }
}

pub fn open() -> Order {
    Order::Open {
        epoch: EPOCH,
        parent: Digest([0x88; 32]),
        durable: EPOCH - 1,
        within_ms: 2_666,
    }
}

pub fn held() -> Order {
    Order::Held {
        epoch: EPOCH,
        root: Digest([0x99; 32]),
        who: vec![0b11],
    }
}

/// The sender's branch over the receiver's part, in one piece.
pub fn chunk(cast: &Cast) -> Chunk {
    let mut chunks = chunks::cut(EPOCH, &branch(cast));
    chunks.remove(0)
}

pub fn durable(cast: &Cast) -> Order {
    let part = Part::open(&branch(cast), &cast.mesh).expect("a sound branch");
    let certificate = Certificate {
        epoch: EPOCH,
        signer: cast.sender.id(),
        root: part.header().root,
        holders: 2,
        members: 2,
    };
    Order::Durable {
        certificate: certificate.seal(&cast.sender, &cast.mesh),
    }
}

fn branch(cast: &Cast) -> Vec<u8> {
    let made = |by: &Identity, kind, phase, parts: &[Part]| {
        let stem = Stem {
            kind,
            epoch: EPOCH,
            parent: Digest([0x88; 32]),
            roster: Digest([0x66; 32]),
            live: 2,
        };
        let rows = vec![row(by.id(), phase)];
        Part::seal(by, &cast.mesh, stem, rows, parts)
    };
    let part = made(&cast.receiver, Kind::Part, 0.5, &[]);
    let part = Part::open(&part, &cast.mesh).expect("a sound part");
    made(&cast.sender, Kind::Branch, 1.25, &[part])
}

fn row(node: NodeId, phase: f64) -> Row {
    Row {
        node,
        holds: true,
        record: Record {
            phase,
            omega: 6.5,
            lamport: 0x01_0203_0405,
        },
    }
}
