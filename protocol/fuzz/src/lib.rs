//! What each fuzz target does with its bytes; the gate does the same (`protocol/tests/fuzz.rs`).
//!
//! A fuzzer never guesses a signature, so the first byte of an input may ask that the rest be
//! signed here with a key that the receiver trusts: that is what a hostile *member* can send.
//! Each function says how far the bytes came, and panics if a promise is broken.
//!
//! With a nightly toolchain and cargo-fuzz (neither is needed for the gate), in `protocol/`:
//!
//! ```text
//! CHORUS_CORPUS=$PWD/fuzz/corpus cargo test -p chorus-protocol --test fuzz
//! cargo +nightly fuzz run envelope       # or roster, token
//! ```

use std::collections::BTreeSet;

use chorus_protocol::ids::{Incarnation, MeshId, NodeId};
use chorus_protocol::trust::directory::{Input, Output, Rejection};
use chorus_protocol::trust::{Directory, Token, mesh_of};
use chorus_protocol::units::Micros;
use chorus_protocol::wire::envelope::{Receiver, Refusal, Signer};
use chorus_protocol::wire::identity::PublicKey;
use chorus_protocol::wire::message::Items;
use chorus_protocol::wire::{Channel, Identity, Topic, Verified, open, seal};
use serde_bytes::ByteBuf;

/// Set in an input's first byte: the rest is signed here.
pub const SIGNED: u8 = 1;
/// Every topic that a receiver in cluster `s1/c2` listens to.
pub const TOPICS: [&[u8]; 5] = [b"phase/s1/c2", b"sum/s1/c2", b"sum/s1", b"sum", b"hb"];
/// The floor of the sender's entry.
pub const FLOOR: u32 = 1;

/// The root of the mesh, a member, and the receiver.
pub fn identities() -> [Identity; 3] {
    [1, 2, 3].map(|seed| Identity::from_seed(&[seed; 32]))
}

/// The first byte of an input of [`envelope`]: how the frame comes.
pub fn way(channel: Channel, topic: usize, signed: bool) -> u8 {
    let channel = match channel {
        Channel::Gossip => 0,
        Channel::Link => 1,
        Channel::Door => 2,
    };
    u8::from(signed) | channel << 1 | (topic as u8) << 3
}

/// A frame (or, signed here, a body) at a receiver that knows its sender. What opens must
/// survive being sealed and opened again.
pub fn envelope(data: &[u8]) -> &'static str {
    let Some((way, bytes)) = data.split_first() else {
        return "empty";
    };
    let [root, sender, receiver] = identities();
    let mesh = mesh_of(&root.id());
    let channel = [Channel::Gossip, Channel::Link, Channel::Door][usize::from(way >> 1 & 3) % 3];
    let topic = Topic::parse(TOPICS[usize::from(way >> 3) % TOPICS.len()]);
    let topic = topic.filter(|_| channel == Channel::Gossip);
    let frame = match way & SIGNED {
        0 => bytes.to_vec(),
        _ => {
            let parts = [
                b"chorus/frame/1\0",
                mesh.as_bytes().as_slice(),
                &[channel.byte()],
                bytes,
            ];
            [b"CHRS\x01".as_slice(), &sender.sign(&parts), bytes].concat()
        }
    };
    let opened = opened(
        &frame,
        channel,
        topic.as_ref(),
        &mesh,
        &sender,
        &receiver.id(),
    );
    let first = match opened {
        Ok(first) => first,
        Err(why) => return why.counter(),
    };
    if first.from != sender.id() {
        // A stranger at the door, at its own word; its key is not here to seal with.
        return "opened";
    }
    let again = seal(&sender, &mesh, first.stamp, first.to, &first.message);
    match self::opened(
        &again,
        channel,
        topic.as_ref(),
        &mesh,
        &sender,
        &receiver.id(),
    ) {
        Ok(second) => assert_eq!(second.message, first.message, "another message"),
        // Written out in full it may be longer than the short forms that it came in.
        Err(why) => assert_eq!(why, Refusal::Oversized, "what opened opens no more"),
    }
    "opened"
}

fn opened(
    frame: &[u8],
    channel: Channel,
    topic: Option<&Topic>,
    mesh: &MeshId,
    sender: &Identity,
    node: &NodeId,
) -> Result<Verified, Refusal> {
    let key = PublicKey::new(&sender.id()).expect("a sound key");
    let receiver = Receiver {
        mesh,
        node,
        incarnation: Incarnation::new(0, 3),
    };
    open(frame, channel, topic, receiver, |from| {
        match *from == sender.id() {
            true => Signer::Member(&key, FLOOR),
            false => Signer::Unknown,
        }
    })
}

/// Items for a directory: each is a byte that says who signs it (0: as it is, 1: the root,
/// 2: a member), two bytes of length, and an item (or, signed here, its kind and body). The
/// same items in any order must make the same directory, and it must survive a restart.
pub fn roster(data: &[u8]) -> &'static str {
    let [root, member, own] = identities();
    let mesh = mesh_of(&root.id());
    let mut items = Vec::new();
    let mut rest = data;
    while let Some(([who, high, low], tail)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (item, tail) = tail.split_at(length);
        items.push(match who % 3 {
            0 => item.to_vec(),
            1 => signed_item(&root, &mesh, item),
            _ => signed_item(&member, &mesh, item),
        });
        rest = tail;
    }
    let fresh = || Directory::new(mesh, root.id(), own.id(), &[]).0;
    let page = |items: &[Vec<u8>]| Input::Page {
        from: member.id(),
        items: Items {
            items: items.iter().cloned().map(ByteBuf::from).collect(),
        },
    };
    let mut whole = fresh();
    let outputs = whole.handle(page(&items), Micros::ZERO);
    // What is dropped for want of room depends on the order, and may.
    let dropped = |output: &Output| {
        matches!(
            output,
            Output::Rejected {
                why: Rejection::Full(_) | Rejection::WaitedTooLong(_),
                ..
            }
        )
    };
    let mut pieces = fresh();
    let mut cut = outputs.iter().any(dropped);
    for item in items.iter().rev() {
        let outputs = pieces.handle(page(std::slice::from_ref(item)), Micros::ZERO);
        cut |= outputs.iter().any(dropped);
    }
    let known: Vec<Vec<u8>> = whole.set().items().map(|it| it.bytes().to_vec()).collect();
    if !cut {
        assert_eq!(whole.digest(), pieces.digest(), "the order of items counts");
    }
    let (restarted, _) = Directory::new(mesh, root.id(), own.id(), &known);
    assert_eq!(whole.digest(), restarted.digest(), "a restart changes it");
    let belong = whole.roster();
    let keys: BTreeSet<NodeId> = belong.members().map(|it| it.entry.node).collect();
    assert!(keys.is_disjoint(belong.revoked()), "a revoked member");
    match (known.is_empty(), belong.is_empty()) {
        (true, _) => "nothing taken",
        (false, true) => "items",
        (false, false) => "members",
    }
}

/// An item of this kind (the first byte) and body, signed.
pub fn signed_item(by: &Identity, mesh: &MeshId, item: &[u8]) -> Vec<u8> {
    let (kind, body) = item.split_at(item.len().min(1));
    let id = by.id();
    let signature = by.sign(&[
        b"chorus/item/1\0",
        mesh.as_bytes(),
        kind,
        id.as_bytes(),
        body,
    ]);
    [kind, id.as_bytes(), &signature, body].concat()
}

/// A token: its bytes (or, signed here, its body), and the same bytes as text. What opens
/// must survive being sealed and opened again.
pub fn token(data: &[u8]) -> &'static str {
    let Some((way, bytes)) = data.split_first() else {
        return "empty";
    };
    let [root, ..] = identities();
    let bytes = match way & SIGNED {
        0 => bytes.to_vec(),
        _ => [&root.sign(&[b"chorus/token/1\0", bytes]), bytes].concat(),
    };
    // Whatever it is, looking at it as text must not panic either.
    let _ = Token::parse(&String::from_utf8_lossy(&bytes));
    let Ok(first) = Token::open(&bytes) else {
        return "refused";
    };
    if first.enroller == root.id() {
        match first.seal(&root) {
            Ok(again) => assert_eq!(Token::open(&again), Ok(first), "another token"),
            // Written out in full it may be longer than the short forms that it came in.
            Err(why) => assert!(matches!(
                why,
                chorus_protocol::trust::token::TokenError::Oversized
            )),
        }
    }
    "opened"
}
