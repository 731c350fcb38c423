//! Item: one signed statement of the directory, as bytes and as a value.
//!
//! ```text
//! kind u8 | issuer 32 B | signature 64 B | body (named MessagePack)
//! signed: "chorus/item/1\0" | mesh id 32 B | kind u8 | issuer 32 B | body
//! ```
//!
//! [`Item::open`] checks everything that an item says by itself: limits, keys,
//! signature, and that what only the root or the node itself may say is said by
//! it (the root is known by its hash, which is the mesh id). Whether an
//! enroller may enrol needs other items: that is the business of [`super::set`].
//! The bytes stay as they came; nothing is encoded again.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::{CurveKey, Digest, Label, MeshId, NodeId, Place, Role, Stamp};
use crate::membership::topology;
use crate::trust::roster::Member;
use crate::wire::codec::{self, Malformed};
use crate::wire::identity::{BadKey, Identity, PublicKey};

/// Most bytes of one item.
pub const ITEM_BYTES_MAX: usize = 2 * 1024;
/// Most capabilities of one entry or powers of one delegation.
pub const CAPS_MAX: usize = 16;
/// Most addresses of one announcement.
pub const ADDRESSES_MAX: usize = 8;
/// Longest host of an address in bytes, as DNS has it.
pub const HOST_BYTES_MAX: usize = 253;
/// Longest reason of a revocation in bytes.
pub const REASON_BYTES_MAX: usize = 100;

const CONTEXT: &[u8] = b"chorus/item/1\0";
const HEAD: usize = 1 + 32 + 64;

/// "This key belongs": by the root, or by an enroller that the root delegated to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The member.
    pub node: NodeId,
    /// The key of its links.
    pub curve: CurveKey,
    /// What people call it.
    pub name: Label,
    /// What it is in the tree.
    pub role: Role,
    /// Where it stands.
    pub place: Place,
    /// What it may do; at most [`CAPS_MAX`].
    pub caps: Vec<Label>,
    /// Rises with each enrolment of the same key; see [`crate::ids::Incarnation`].
    pub floor: u32,
    /// The issuer's counter of entries. Of two entries for one key with one
    /// floor the higher wins.
    pub issued: u64,
    /// Root only: this takes the place of what this revoked enroller signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopts: Option<NodeId>,
}

impl Entry {
    /// What the tree needs to know of it.
    pub fn in_tree(&self) -> topology::Member {
        topology::Member {
            node: self.node,
            role: self.role,
            place: self.place,
        }
    }
}

/// "This key belongs no more", for ever. Root only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose key.
    pub node: NodeId,
    /// The root's counter of revocations: 1, 2, … without gaps.
    pub serial: u64,
    /// Why, for people; at most [`REASON_BYTES_MAX`] bytes, no control characters.
    pub reason: String,
    /// How many entries adopt what this node signed as an enroller. Its word
    /// falls once a directory holds that many, not before: else a directory
    /// that met the revocation first would throw out its own neighbours and
    /// could never fetch the adoptions from them.
    #[serde(default)]
    pub adopted: u32,
}

/// "This node may say this in my name." Root only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Who may.
    pub node: NodeId,
    /// What; `enrol` is the only power so far. At most [`CAPS_MAX`].
    pub may: Vec<Label>,
}

/// "So much has been said": a directory that holds less knows that it is old.
/// Root only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last serial of a revocation.
    pub serial_upto: u64,
    /// How many members there were, for people.
    pub entries: u32,
}

/// "Here I am", by the node itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Who.
    pub node: NodeId,
    /// When in its own history; the highest counts.
    pub stamp: Stamp,
    /// Where it listens, best first; none: it only connects outward.
    pub addresses: Vec<Address>,
}

/// Where a node listens. A port of 0 is not offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// A name or an IP address, at most [`HOST_BYTES_MAX`] bytes.
    pub host: String,
    /// ROUTER.
    pub router: u16,
    /// PUB.
    pub publisher: u16,
    /// SUB.
    pub subscriber: u16,
    /// The door.
    pub door: u16,
    /// Where memory is carried: libp2p over TCP.
    #[serde(default)]
    pub memory: u16,
}

/// What an item says. Large statements are shared, so that a roster of many
/// members copies none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Kind 1.
    Entry(Arc<Entry>),
    /// Kind 2.
    Revocation(Revocation),
    /// Kind 3.
    Delegation(Delegation),
    /// Kind 4.
    Snapshot(Snapshot),
    /// Kind 5.
    Announcement(Arc<Announcement>),
}

/// Why bytes are not an item of this mesh. State has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// Longer than [`ITEM_BYTES_MAX`].
    #[error("an item of more than {ITEM_BYTES_MAX} bytes")]
    Oversized,
    /// Too short to hold an issuer and a signature.
    #[error("too short for an item")]
    TooShort,
    /// A kind that this node does not know.
    #[error("an item of unknown kind {0}")]
    Kind(u8),
    /// The body is no MessagePack within limits, or not the kind's fields.
    #[error("malformed item: {0}")]
    Malformed(#[from] Malformed),
    /// The issuer's or the member's key must not be trusted.
    #[error("in an item: {0}")]
    Key(#[from] BadKey),
    /// The signature does not fit: altered, or made for another mesh.
    #[error("forged item: the signature does not fit")]
    Forged,
    /// Only the root may say this.
    #[error("an item that only the mesh's root may sign")]
    NotRoot,
    /// Only the node itself may say this.
    #[error("an announcement that the node did not sign itself")]
    NotItsOwn,
    /// A field beyond its limit; the name is the field's.
    #[error("an item's `{0}` is out of bounds")]
    Bounds(&'static str),
}

impl Claim {
    /// The kind's byte.
    pub const fn kind(&self) -> u8 {
        match self {
            Claim::Entry(_) => 1,
            Claim::Revocation(_) => 2,
            Claim::Delegation(_) => 3,
            Claim::Snapshot(_) => 4,
            Claim::Announcement(_) => 5,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Claim::Entry(it) => codec::encode(it.as_ref()),
            Claim::Revocation(it) => codec::encode(it),
            Claim::Delegation(it) => codec::encode(it),
            Claim::Snapshot(it) => codec::encode(it),
            Claim::Announcement(it) => codec::encode(it.as_ref()),
        }
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, ItemError> {
        fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ItemError> {
            Ok(codec::decode_scanned(body)?)
        }
        Ok(match kind {
            1 => Claim::Entry(Arc::new(read(body)?)),
            2 => Claim::Revocation(read(body)?),
            3 => Claim::Delegation(read(body)?),
            4 => Claim::Snapshot(read(body)?),
            5 => Claim::Announcement(Arc::new(read(body)?)),
            _ => return Err(ItemError::Kind(kind)),
        })
    }

    fn check(&self, issuer: &NodeId, mesh: &MeshId) -> Result<(), ItemError> {
        let root_only = match self {
            Claim::Entry(entry) => entry.adopts.is_some(),
            Claim::Announcement(_) => false,
            _ => true,
        };
        if root_only && super::mesh_of(issuer) != *mesh {
            return Err(ItemError::NotRoot);
        }
        match self {
            Claim::Entry(entry) if entry.caps.len() > CAPS_MAX => Err(ItemError::Bounds("caps")),
            Claim::Delegation(it) if it.may.len() > CAPS_MAX => Err(ItemError::Bounds("may")),
            Claim::Revocation(it) if it.serial == 0 => Err(ItemError::Bounds("serial")),
            Claim::Revocation(it) if !is_short_line(&it.reason) => Err(ItemError::Bounds("reason")),
            Claim::Announcement(it) if it.node != *issuer => Err(ItemError::NotItsOwn),
            Claim::Announcement(it) if it.addresses.len() > ADDRESSES_MAX => {
                Err(ItemError::Bounds("addresses"))
            }
            Claim::Announcement(it) if !it.addresses.iter().all(|a| is_host(&a.host)) => {
                Err(ItemError::Bounds("host"))
            }
            _ => Ok(()),
        }
    }
}

/// Control characters would let a signed reason write on an operator's terminal.
fn is_short_line(text: &str) -> bool {
    text.len() <= REASON_BYTES_MAX && !text.chars().any(char::is_control)
}

fn is_host(text: &str) -> bool {
    (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// A statement whose signature and limits have been checked.
#[derive(Clone)]
pub struct Item {
    bytes: Arc<[u8]>,
    digest: Digest,
    issuer: NodeId,
    claim: Claim,
    member: Option<Arc<Member>>,
}

impl Item {
    /// Signs a claim. The bytes are for [`Item::open`], which checks the limits.
    pub fn seal(issuer: &Identity, mesh: &MeshId, claim: &Claim) -> Vec<u8> {
        let (kind, id, body) = ([claim.kind()], issuer.id(), claim.encode());
        let signature = issuer.sign(&[CONTEXT, mesh.as_bytes(), &kind, id.as_bytes(), &body]);
        [kind.as_slice(), id.as_bytes(), &signature, &body].concat()
    }

    /// Takes bytes that claim to be an item of `mesh`.
    pub fn open(bytes: &[u8], mesh: &MeshId) -> Result<Self, ItemError> {
        if bytes.len() > ITEM_BYTES_MAX {
            return Err(ItemError::Oversized);
        }
        let (head, body) = bytes.split_at_checked(HEAD).ok_or(ItemError::TooShort)?;
        let (kind, rest) = head.split_first().ok_or(ItemError::TooShort)?;
        let (issuer, rest) = rest.split_first_chunk::<32>().ok_or(ItemError::TooShort)?;
        let signature = rest.first_chunk::<64>().ok_or(ItemError::TooShort)?;
        let issuer = NodeId(*issuer);
        codec::scan(body)?;
        let claim = Claim::decode(*kind, body)?;
        claim.check(&issuer, mesh)?;
        let signed = [CONTEXT, mesh.as_bytes(), &[*kind], issuer.as_bytes(), body].concat();
        if !PublicKey::new(&issuer)?.verifies(&signed, signature) {
            return Err(ItemError::Forged);
        }
        let member = match &claim {
            Claim::Entry(entry) => {
                let key = PublicKey::new(&entry.node)?;
                Some(Arc::new(Member {
                    entry: entry.clone(),
                    key,
                    issuer,
                }))
            }
            _ => None,
        };
        Ok(Self {
            bytes: bytes.into(),
            digest: digest_of(bytes),
            issuer,
            claim,
            member,
        })
    }

    /// The bytes as they were signed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// SHA-256 of the bytes. Its first byte is the item's bucket.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
    /// Who signed it.
    pub fn issuer(&self) -> &NodeId {
        &self.issuer
    }
    /// What it says.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }
    /// The member that it makes, if it is an entry.
    pub fn member(&self) -> Option<&Arc<Member>> {
        self.member.as_ref()
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Item({} by {}: {:?})",
            self.digest.short(),
            self.issuer.short(),
            self.claim
        )
    }
}

/// The digest by which an item of these bytes is known.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}
