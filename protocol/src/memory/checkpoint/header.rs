//! Header: what a parent signs of its part of a checkpoint, exactly 189 bytes.
//!
//! ```text
//! kind u8 | epoch u64 | term u64 | signer 32 B | parent 32 B | roster 32 B | table 32 B
//! | root 32 B | rows u32 | parts u32 | live u32                        (little-endian)
//! signed: "chorus/checkpoint/1\0" | mesh id 32 B | these bytes
//! ```

use crate::ids::{Digest, MeshId, NodeId};
use crate::wire::identity::{Identity, PublicKey};

use super::Refusal;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 1 + 8 + 8 + 5 * 32 + 3 * 4;
/// Bytes of a header and its signature.
pub const SIGNED_BYTES: usize = HEADER_BYTES + 64;

const CONTEXT: &[u8] = b"chorus/checkpoint/1\0";

/// What a signed part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A part for the parent of its signer. It never counts alone.
    Part,
    /// The mesh's checkpoint, by its root.
    Whole,
    /// The checkpoint of a side that was cut off from the root, by that side's own top.
    Branch,
}

/// What a parent signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Which epoch.
    pub epoch: u64,
    /// The term of whoever leads; 0 as long as there are no terms.
    pub term: u64,
    /// Who signs.
    pub signer: NodeId,
    /// The root of the epoch before, as far as the top knows one; else zeros.
    pub parent: Digest,
    /// The digest of the signer's directory.
    pub roster: Digest,
    /// The Merkle root over the table of its rows: whose each is, and whether he holds a copy.
    pub table: Digest,
    /// The Merkle root over its records and the parts beneath it.
    pub root: Digest,
    /// How many records are its own: the signer's, and those of its children that have none
    /// beneath them.
    pub rows: u32,
    /// How many parts beneath it follow.
    pub parts: u32,
    /// How many nodes lived in the widest sum that the signer knew.
    pub live: u32,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Kind::Part => 0,
            Kind::Whole => 1,
            Kind::Branch => 2,
        }
    }
}

impl Header {
    /// The exact bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |piece: &[u8]| {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        };
        put(&[self.kind.byte()]);
        put(&self.epoch.to_le_bytes());
        put(&self.term.to_le_bytes());
        put(self.signer.as_bytes());
        for digest in [&self.parent, &self.roster, &self.table, &self.root] {
            put(digest.as_bytes());
        }
        for count in [self.rows, self.parts, self.live] {
            put(&count.to_le_bytes());
        }
        bytes
    }

    fn of_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Refusal> {
        let mut at = 1;
        let mut take = |n: usize| {
            let piece = &bytes[at..at + n];
            at += n;
            piece
        };
        let kind = match bytes[0] {
            0 => Kind::Part,
            1 => Kind::Whole,
            2 => Kind::Branch,
            _ => return Err(Refusal::Malformed("kind")),
        };
        let eight = |piece: &[u8]| u64::from_le_bytes(array(piece));
        let (epoch, term) = (eight(take(8)), eight(take(8)));
        let signer = NodeId(array(take(32)));
        let [parent, roster, table, root] = std::array::from_fn(|_| Digest(array(take(32))));
        let [rows, parts, live] = std::array::from_fn(|_| u32::from_le_bytes(array(take(4))));
        Ok(Self {
            kind,
            epoch,
            term,
            signer,
            parent,
            roster,
            table,
            root,
            rows,
            parts,
            live,
        })
    }

    /// The bytes and the signature after them.
    pub fn seal(&self, identity: &Identity, mesh: &MeshId) -> [u8; SIGNED_BYTES] {
        let head = self.to_bytes();
        let mut signed = [0; SIGNED_BYTES];
        signed[..HEADER_BYTES].copy_from_slice(&head);
        let signature = identity.sign(&[CONTEXT, mesh.as_bytes(), &head]);
        signed[HEADER_BYTES..].copy_from_slice(&signature);
        signed
    }

    /// The header in these bytes, if the node that it names has signed it for this mesh.
    pub fn open(signed: &[u8; SIGNED_BYTES], mesh: &MeshId) -> Result<Self, Refusal> {
        let head: [u8; HEADER_BYTES] = array(&signed[..HEADER_BYTES]);
        let header = Self::of_bytes(&head)?;
        let key = PublicKey::new(&header.signer).map_err(|_| Refusal::Forged)?;
        let message = [CONTEXT, mesh.as_bytes(), &head].concat();
        match key.verifies(&message, &array(&signed[HEADER_BYTES..])) {
            true => Ok(header),
            false => Err(Refusal::Forged),
        }
    }
}

/// A piece of exactly N bytes; zeros where it is not, which no caller asks for.
pub(super) fn array<const N: usize>(piece: &[u8]) -> [u8; N] {
    piece.try_into().unwrap_or([0; N])
}
