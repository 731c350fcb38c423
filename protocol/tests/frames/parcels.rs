//! What nodes say to each other about records: the sender wrote a plan, the receiver has
//! written it again.

use chorus_protocol::causality::version::{Dot, Replica, Version};
use chorus_protocol::ids::Digest;
use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::parcel::{Answer, Look, Question, head};
use chorus_protocol::memory::record::{Record, Write};
use chorus_protocol::memory::siblings::Siblings;
use chorus_protocol::wire::{Identity, codec};
use serde_bytes::ByteBuf;

use super::{Cast, STAMP};

/// The sender's deletion of what the receiver had written: it has seen that.
pub fn record(cast: &Cast) -> Record {
    let first = write(
        cast,
        &cast.receiver,
        7,
        Version::default(),
        Some(b"{\"step\":1}"),
    );
    let seen = Version::from_iter([*first.dot()]);
    write(cast, &cast.sender, STAMP.lamport, seen, None)
}

fn write(cast: &Cast, by: &Identity, lamport: u64, seen: Version, value: Option<&[u8]>) -> Record {
    let since = STAMP.incarnation;
    let replica = Replica {
        node: by.id(),
        since,
    };
    let write = Write {
        key: Key::shared("plan").expect("a key"),
        dot: Dot { replica, lamport },
        seen,
        value: value.map(<[u8]>::to_vec),
        expires_s: value.map(|_| 2_000_000_000),
    };
    Record::seal(by, &cast.mesh, write).expect("a sound write")
}

pub fn all(cast: &Cast) -> Vec<(&'static str, Vec<u8>)> {
    let record = record(cast);
    let other = write(cast, &cast.receiver, 9, Version::default(), Some(b"2"));
    let mut set = Siblings::default();
    set.merge(record.clone());
    set.merge(other);
    let at = record.position();
    let (digest, packed) = (set.digest(), ByteBuf::from(set.encode()));
    let nodes = vec![cast.sender.id()];
    let leaf = ByteBuf::from([&[at.0[1]][..], &[0x66; 8]].concat());
    let strays = vec![(at.leaf(), ByteBuf::from([0x66; 8]))];
    let heads = vec![(at.leaf(), ByteBuf::from(head(&at, &digest)))];
    let look = Look {
        asker: cast.sender.id(),
        nonce: 5,
        at: at.0,
        has: digest,
        dot: Some(*record.dot()),
        within_ms: 2_000,
    };
    let stored = Question::Stored {
        dots: vec![*record.dot()],
        nodes: nodes.clone(),
    };
    let seen = Answer::Seen {
        nodes,
        others: vec![packed.clone()],
    };
    let branches = ByteBuf::from([0x77; 256 * 8]);
    vec![
        ("memory_record", record.bytes().to_vec()),
        ("memory_siblings", set.encode()),
        (
            "memory_ask_sum",
            question(Question::Sum(Digest([0x55; 32]))),
        ),
        (
            "memory_ask_leaves",
            question(Question::Leaves(vec![(at.0[0], leaf)])),
        ),
        ("memory_ask_strays", question(Question::Strays(strays))),
        (
            "memory_ask_fetch",
            question(Question::Fetch(ByteBuf::from(at.0))),
        ),
        (
            "memory_ask_push",
            question(Question::Push(vec![packed.clone()])),
        ),
        ("memory_ask_stored", question(stored)),
        ("memory_ask_look", question(Question::Look(look))),
        ("memory_same", answer(Answer::Same)),
        ("memory_branches", answer(Answer::Branches(branches))),
        ("memory_heads", answer(Answer::Heads(heads))),
        ("memory_records", answer(Answer::Records(vec![packed]))),
        ("memory_taken", answer(Answer::Taken(1))),
        ("memory_seen", answer(seen)),
        ("memory_busy", answer(Answer::Busy)),
    ]
}

/// The bytes, which decode to what they were made of.
fn question(question: Question) -> Vec<u8> {
    let bytes = codec::encode(&question);
    assert_eq!(codec::decode::<Question>(&bytes), Ok(question));
    bytes
}

fn answer(answer: Answer) -> Vec<u8> {
    let bytes = codec::encode(&answer);
    assert_eq!(codec::decode::<Answer>(&bytes), Ok(answer));
    bytes
}
