//! Record: one signed write of one key.
//!
//! ```text
//! author 32 B | signature 64 B | body (named MessagePack)
//! signed: "chorus/memory/1\0" | mesh id 32 B | author 32 B | body
//! body:   {key, since, lam, seen: [[node, since, lam], …], val, exp}
//! ```
//!
//! `val` is nil where the write deletes. `exp` is the second since 1970 from which on the
//! record counts no more; it is the one use of a wall clock here, and orders nothing. The
//! bytes stay as they came; nothing is encoded again to be compared.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::causality::version::{Dot, REPLICAS_MAX, Replica, Version};
use crate::ids::{Digest, Incarnation, MeshId, NodeId};
use crate::memory::key::{Key, KeyId, Position};
use crate::wire::codec::{self, Malformed};
use crate::wire::identity::{Identity, PublicKey};

/// Most bytes of a value.
pub const VALUE_BYTES_MAX: usize = 12 * 1024;
/// Most bytes of a record: a value, a key, and a version of all the replicas it may name.
pub const RECORD_BYTES_MAX: usize = 17 * 1024;

const CONTEXT: &[u8] = b"chorus/memory/1\0";
const HEAD: usize = 32 + 64;

/// What a write says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What is written.
    pub key: Key,
    /// The write's name.
    pub dot: Dot,
    /// The writes of this key that the writer had seen.
    pub seen: Version,
    /// The value, at most [`VALUE_BYTES_MAX`]; `None` deletes.
    pub value: Option<Vec<u8>>,
    /// The second since 1970 from which on it counts no more.
    pub expires_s: Option<u64>,
}

/// A [`Write`] with its author's signature.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    bytes: Arc<[u8]>,
    write: Arc<Write>,
    digest: Digest,
}

/// Why bytes are no record of this mesh. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum BadRecord {
    /// More than a limit allows.
    #[error("a record or a value over its limit")]
    Oversized,
    /// Not the shape of a record.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The author never was a member.
    #[error("its author is no member")]
    Stranger,
    /// The key is another node's own.
    #[error("its key is another node's own")]
    Foreign,
    /// The signature is not its author's.
    #[error("forged")]
    Forged,
    /// It had seen what does not come before it: a writer's Lamport time is above all that it
    /// has seen. So no writes cover each other in a circle, however they are signed.
    #[error("it had seen what does not come before it")]
    Paradox,
}

impl BadRecord {
    /// The counter's name.
    pub const fn name(self) -> &'static str {
        match self {
            BadRecord::Oversized => "records_oversized",
            BadRecord::Malformed(_) => "records_malformed",
            BadRecord::Stranger => "records_stranger",
            BadRecord::Foreign => "records_foreign",
            BadRecord::Forged => "records_forged",
            BadRecord::Paradox => "records_paradox",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    key: Key,
    since: Incarnation,
    lam: u64,
    seen: Vec<(NodeId, Incarnation, u64)>,
    val: Option<serde_bytes::ByteBuf>,
    exp: Option<u64>,
}

impl Record {
    /// Signs a write; the replica must be the signer's.
    pub fn seal(identity: &Identity, mesh: &MeshId, mut write: Write) -> Result<Self, BadRecord> {
        write.dot.replica.node = identity.id();
        if !write.key.may_write(&identity.id()) {
            return Err(BadRecord::Foreign);
        }
        let value = write.value.as_ref();
        if value.is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            return Err(BadRecord::Oversized);
        }
        write.seen.prune();
        let seen = write.seen.dots();
        let body = codec::encode(&Body {
            key: write.key.clone(),
            since: write.dot.replica.since,
            lam: write.dot.lamport,
            seen: seen
                .map(|it| (it.replica.node, it.replica.since, it.lamport))
                .collect(),
            val: value.map(|value| serde_bytes::ByteBuf::from(value.clone())),
            exp: write.expires_s,
        });
        let author = identity.id();
        let signature = identity.sign(&[CONTEXT, &mesh.0, &author.0, &body]);
        let bytes = [&author.0[..], &signature, &body].concat();
        Ok(Self::of(bytes.into(), write))
    }

    /// Takes bytes that a peer gave: everything is checked but whether the author is, or was,
    /// a member, which `is_member` says.
    pub fn open(
        bytes: &[u8],
        mesh: &MeshId,
        is_member: impl FnOnce(&NodeId) -> bool,
    ) -> Result<Self, BadRecord> {
        let record = Self::read(bytes)?;
        let author = record.author();
        if !is_member(author) {
            return Err(BadRecord::Stranger);
        }
        if !record.write.key.may_write(author) {
            return Err(BadRecord::Foreign);
        }
        let lamport = record.write.dot.lamport;
        if record.write.seen.dots().any(|it| it.lamport >= lamport) {
            return Err(BadRecord::Paradox);
        }
        let key = PublicKey::new(author).map_err(|_| BadRecord::Forged)?;
        let signature = bytes.get(32..HEAD).and_then(|it| it.try_into().ok());
        let signature: &[u8; 64] = signature.ok_or(BadRecord::Forged)?;
        let signed = [CONTEXT, &mesh.0, &author.0, &bytes[HEAD..]].concat();
        match key.verifies(&signed, signature) {
            true => Ok(record),
            false => Err(BadRecord::Forged),
        }
    }

    /// Takes bytes from the own store, which were checked before they were written there.
    pub fn read(bytes: &[u8]) -> Result<Self, BadRecord> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(BadRecord::Oversized);
        }
        let (head, body) = bytes
            .split_at_checked(HEAD)
            .ok_or(BadRecord::Malformed(Malformed::Truncated))?;
        let author = head[..32].try_into().map(NodeId);
        let author = author.map_err(|_| BadRecord::Malformed(Malformed::Truncated))?;
        let body: Body = codec::decode(body)?;
        let value = body.val.map(serde_bytes::ByteBuf::into_vec);
        if value.as_ref().is_some_and(|it| it.len() > VALUE_BYTES_MAX)
            || body.seen.len() > REPLICAS_MAX
        {
            return Err(BadRecord::Oversized);
        }
        let dot = |node, since, lamport| Dot {
            replica: Replica { node, since },
            lamport,
        };
        let seen = body.seen.into_iter();
        let write = Write {
            key: body.key,
            dot: dot(author, body.since, body.lam),
            seen: seen
                .map(|(node, since, lam)| dot(node, since, lam))
                .collect(),
            value,
            expires_s: body.exp,
        };
        Ok(Self::of(bytes.into(), write))
    }

    fn of(bytes: Arc<[u8]>, write: Write) -> Self {
        Self {
            digest: Digest(Sha256::digest(&bytes).into()),
            bytes,
            write: Arc::new(write),
        }
    }

    /// What it says.
    pub fn write(&self) -> &Write {
        &self.write
    }
    /// Its name.
    pub fn dot(&self) -> &Dot {
        &self.write.dot
    }
    /// Who signed it.
    pub fn author(&self) -> &NodeId {
        &self.write.dot.replica.node
    }
    /// The bytes as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// SHA-256 of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
    /// The key as Kademlia carries it.
    pub fn key_id(&self) -> KeyId {
        self.write.key.id()
    }
    /// Where its key stands.
    pub fn position(&self) -> Position {
        self.key_id().position()
    }
    /// Whether this write had seen that one, which then counts no more.
    pub fn covers(&self, other: &Record) -> bool {
        self.write.seen.covers(&other.write.dot)
    }
    /// Whether there is a value at this second since 1970.
    pub fn is_value(&self, now_s: u64) -> bool {
        self.write.value.is_some() && !self.is_expired(now_s)
    }
    /// Whether it counts no more at this second since 1970.
    pub fn is_expired(&self, now_s: u64) -> bool {
        self.write.expires_s.is_some_and(|at| at <= now_s)
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Dot { replica, lamport } = self.dot();
        let (node, since) = (replica.node.short(), replica.since);
        write!(f, "Record({} by {node}@{since}:{lamport})", self.write.key)
    }
}
