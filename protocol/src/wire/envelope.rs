//! Envelope: the signed frame, and the one way from received bytes to a message.
//!
//! ```text
//! "CHRS" | version u8 | signature 64 B | body
//! signed: "chorus/frame/1\0" | mesh id 32 B | channel u8 | body
//! body:   named MessagePack {from, mesh, inc, lam, to, msg}, `from` first
//! ```
//!
//! Checks run from cheap to dear: size, version, sender on the roster, mesh,
//! limits, signature, fields, floor, audience. The signature covers the bytes as
//! they came; nothing is encoded again to be compared.

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, MeshId, NodeId, Stamp};
use crate::wire::codec::{self, BODY_BYTES_MAX, GOSSIP_BYTES_MAX, Malformed};
use crate::wire::identity::{Identity, PublicKey};
use crate::wire::message::{Channel, Message};
use crate::wire::topic::Topic;

const MAGIC: &[u8; 4] = b"CHRS";
const VERSION: u8 = 1;
const CONTEXT: &[u8] = b"chorus/frame/1\0";
const HEAD: usize = 4 + 1 + 64;
/// A map of six fields; "from" as a 4-byte string; a 32-byte binary.
const SENDER_PREFIX: [u8; 8] = [0x86, 0xa4, b'f', b'r', b'o', b'm', 0xc4, 32];

/// Most bytes of a whole frame on any channel.
pub const FRAME_BYTES_MAX: usize = HEAD + BODY_BYTES_MAX;

/// The node, and the run of it, that a frame is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audience {
    /// The receiver.
    pub node: NodeId,
    /// Its incarnation as the sender knows it; `None` when it does not yet.
    pub incarnation: Option<Incarnation>,
}

/// `from` must stay the first field: the sender is read before anything is decoded.
#[derive(Serialize, Deserialize)]
struct Body<M> {
    from: NodeId,
    mesh: serde_bytes::ByteArray<8>,
    inc: Incarnation,
    lam: u64,
    to: Option<Audience>,
    msg: M,
}

/// What the roster says of a sender.
#[derive(Debug, Clone, Copy)]
pub enum Signer<'a> {
    /// A member, with its key and the floor of its entry.
    Member(&'a PublicKey, u32),
    /// The enroller that a token names, for the joiner that asked it: its key is
    /// pinned, its entry comes with the very answer. Only at the door.
    Pinned(&'a PublicKey),
    /// A member no longer.
    Revoked,
    /// Nobody.
    Unknown,
}

/// A message whose signature, mesh, channel and shape have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Who signed it.
    pub from: NodeId,
    /// Where it stands in the sender's history.
    pub stamp: Stamp,
    /// Whom it is for; `None` is everybody.
    pub to: Option<Audience>,
    /// What it says.
    pub message: Message,
}

/// Why a frame was not taken. State has not changed; each has its own counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// More bytes than the channel allows.
    #[error("oversized frame")]
    Oversized,
    /// No frame of ours: too short, or another magic number.
    #[error("not a chorus frame")]
    NotAFrame,
    /// A version that this node does not speak.
    #[error("frame version {0} is not spoken here")]
    Version(u8),
    /// Not MessagePack within the limits, or not the fields of a message.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// Made for another mesh.
    #[error("a frame of another mesh")]
    WrongMesh,
    /// The sender is not on the roster.
    #[error("unknown signer")]
    Unknown,
    /// The sender has been revoked.
    #[error("revoked signer")]
    Revoked,
    /// The signature does not fit.
    #[error("forged: the signature does not fit")]
    Forged,
    /// The incarnation's floor is not that of the sender's entry: a run from
    /// before it was enrolled again.
    #[error("a frame from before the sender's last enrolment")]
    Floor,
    /// Meant for another node or for an earlier run of this one.
    #[error("meant for another node or another run of it")]
    Audience,
}

impl Refusal {
    /// The name of every counter, so that one which never rose can be shown as 0.
    pub const COUNTERS: [&'static str; 16] = [
        "oversized",
        "not_a_frame",
        "wrong_version",
        "truncated",
        "trailing",
        "too_deep",
        "not_finite",
        "bad_type",
        "bad_shape",
        "wrong_topic",
        "wrong_mesh",
        "unknown_signer",
        "revoked_signer",
        "forged",
        "old_enrolment",
        "wrong_audience",
    ];

    /// The counter's name.
    pub const fn counter(self) -> &'static str {
        match self {
            Refusal::Oversized => "oversized",
            Refusal::NotAFrame => "not_a_frame",
            Refusal::Version(_) => "wrong_version",
            Refusal::Malformed(Malformed::Truncated) => "truncated",
            Refusal::Malformed(Malformed::Trailing) => "trailing",
            Refusal::Malformed(Malformed::TooDeep) => "too_deep",
            Refusal::Malformed(Malformed::NotFinite) => "not_finite",
            Refusal::Malformed(Malformed::BadType) => "bad_type",
            Refusal::Malformed(Malformed::BadShape) => "bad_shape",
            Refusal::Malformed(Malformed::WrongTopic) => "wrong_topic",
            Refusal::WrongMesh => "wrong_mesh",
            Refusal::Unknown => "unknown_signer",
            Refusal::Revoked => "revoked_signer",
            Refusal::Forged => "forged",
            Refusal::Floor => "old_enrolment",
            Refusal::Audience => "wrong_audience",
        }
    }

    /// Whether it counts as forged in a summary: said by somebody who may not, of whom it is
    /// not known who he is. One that is revoked is known, and counts by itself.
    pub const fn is_forgery(self) -> bool {
        use Refusal::*;
        matches!(self, WrongMesh | Unknown | Forged | Floor | Audience)
    }
}

impl From<Malformed> for Refusal {
    fn from(why: Malformed) -> Self {
        Refusal::Malformed(why)
    }
}

/// Makes a frame.
pub fn seal(
    identity: &Identity,
    mesh: &MeshId,
    stamp: Stamp,
    to: Option<Audience>,
    message: &Message,
) -> Vec<u8> {
    let body = codec::encode(&Body {
        from: identity.id(),
        mesh: tag(mesh),
        inc: stamp.incarnation,
        lam: stamp.lamport,
        to,
        msg: message,
    });
    let signature = identity.sign(&[CONTEXT, mesh.as_bytes(), &[message.channel().byte()], &body]);
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.extend_from_slice(MAGIC);
    frame.push(VERSION);
    frame.extend_from_slice(&signature);
    frame.extend_from_slice(&body);
    frame
}

/// What a receiver is, for [`open`].
#[derive(Debug, Clone, Copy)]
pub struct Receiver<'a> {
    /// The mesh it belongs to.
    pub mesh: &'a MeshId,
    /// Its own name.
    pub node: &'a NodeId,
    /// Its own run.
    pub incarnation: Incarnation,
}

/// Takes a frame that came over `channel` (with this topic, on PUB/SUB).
///
/// `roster` says who the sender is. On [`Channel::Door`] a sender that is
/// [`Signer::Unknown`] or revoked is taken at its own word for `Enrol` and `Introduce`:
/// its signature proves that it holds the key it names, and nothing else.
pub fn open<'r>(
    bytes: &[u8],
    channel: Channel,
    topic: Option<&Topic>,
    receiver: Receiver<'_>,
    roster: impl FnOnce(&NodeId) -> Signer<'r>,
) -> Result<Verified, Refusal> {
    let body_max = if channel == Channel::Gossip {
        GOSSIP_BYTES_MAX
    } else {
        BODY_BYTES_MAX
    };
    if bytes.len() > HEAD + body_max {
        return Err(Refusal::Oversized);
    }
    let (head, body) = bytes.split_at_checked(HEAD).ok_or(Refusal::NotAFrame)?;
    let signature = <&[u8; 64]>::try_from(&head[5..]).map_err(|_| Refusal::NotAFrame)?;
    if &head[..4] != MAGIC {
        return Err(Refusal::NotAFrame);
    }
    if head[4] != VERSION {
        return Err(Refusal::Version(head[4]));
    }
    let from = sender(body)?;
    let stranger;
    let mut is_pinned = false;
    let (key, floor) = match roster(&from) {
        Signer::Member(key, floor) => (key, Some(floor)),
        Signer::Pinned(key) if channel == Channel::Door => {
            is_pinned = true;
            (key, None)
        }
        // At the door it is a stranger who is told why it stays outside.
        Signer::Unknown | Signer::Revoked if channel == Channel::Door => {
            stranger = PublicKey::new(&from).map_err(|_| Refusal::Forged)?;
            (&stranger, None)
        }
        Signer::Revoked => return Err(Refusal::Revoked),
        Signer::Pinned(_) | Signer::Unknown => return Err(Refusal::Unknown),
    };
    codec::scan(body)?;
    if !key.verifies(&signed(receiver.mesh, channel, body), signature) {
        return Err(why_forged(body, receiver.mesh));
    }
    let body: Body<Message> = codec::decode_scanned(body)?;
    if body.mesh != tag(receiver.mesh) {
        return Err(Refusal::WrongMesh);
    }
    if body.msg.channel() != channel {
        return Err(Malformed::BadShape.into());
    }
    if channel == Channel::Gossip && !topic.is_some_and(|topic| body.msg.belongs_on(topic)) {
        return Err(Malformed::WrongTopic.into());
    }
    match floor {
        Some(floor) if body.inc.floor() != floor => return Err(Refusal::Floor),
        None => {
            let is_expected = match &body.msg {
                Message::Welcome(_) | Message::Refused(_) => is_pinned,
                Message::Enrol(_) | Message::Introduce(_) => !is_pinned,
                _ => false,
            };
            if !is_expected {
                return Err(Refusal::Unknown);
            }
        }
        _ => {}
    }
    if let Some(to) = body.to {
        let this_run = to.incarnation.is_none_or(|run| run == receiver.incarnation);
        if to.node != *receiver.node || !this_run {
            return Err(Refusal::Audience);
        }
    }
    Ok(Verified {
        from: body.from,
        stamp: Stamp {
            incarnation: body.inc,
            lamport: body.lam,
        },
        to: body.to,
        message: body.msg,
    })
}

/// The name of the sender, read from the fixed beginning of a body.
fn sender(body: &[u8]) -> Result<NodeId, Malformed> {
    let (prefix, rest) = body
        .split_at_checked(SENDER_PREFIX.len())
        .ok_or(Malformed::Truncated)?;
    if prefix != SENDER_PREFIX {
        return Err(Malformed::BadShape);
    }
    let id = rest.first_chunk::<32>().ok_or(Malformed::Truncated)?;
    Ok(NodeId(*id))
}

/// What the signature covers.
fn signed(mesh: &MeshId, channel: Channel, body: &[u8]) -> Vec<u8> {
    [CONTEXT, mesh.as_bytes(), &[channel.byte()], body].concat()
}

/// The first bytes of the mesh id, which only serve to tell "made for another
/// mesh" from "forged": the signature covers the whole id in either case.
fn tag(mesh: &MeshId) -> serde_bytes::ByteArray<8> {
    let mut tag = [0; 8];
    tag.copy_from_slice(&mesh.as_bytes()[..8]);
    tag.into()
}

/// Names the refusal of a frame whose signature did not fit, from its unsigned
/// claim: a frame of another mesh is somebody's mistake, not an attack.
fn why_forged(body: &[u8], mesh: &MeshId) -> Refusal {
    const KEY: [u8; 7] = [0xa4, b'm', b'e', b's', b'h', 0xc4, 8];
    let at = SENDER_PREFIX.len() + 32;
    match body.get(at..at + KEY.len() + 8) {
        Some(field) if field[..KEY.len()] == KEY && field[KEY.len()..] != *tag(mesh).as_slice() => {
            Refusal::WrongMesh
        }
        _ => Refusal::Forged,
    }
}
