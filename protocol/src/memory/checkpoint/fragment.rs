//! Fragment: what one holder keeps of a checkpoint that is too large for everybody, and the
//! seal by which it is proven alone.
//!
//! ```text
//! seal:     fragments 32 B | bytes u32 | needed u32 | of u32 | members u32 | signature 64 B
//! signed:   "chorus/fragments/1\0" | mesh id 32 B | the header and its signature 253 B
//!           | the seal without its signature, by the signer of the header
//! fragment: 3 u8 | header 189 B | signature 64 B | seal 112 B | number u32 | path n × 32 B
//!           | piece
//! ```
//!
//! `fragments` is the Merkle root over the `of` pieces that `coding.rs` makes of the whole's
//! `bytes`; any `needed` of them give it back. Piece i is for the i-th of its holders. A parent
//! holds the whole, with the seal behind it.

use std::sync::Arc;

use crate::ids::{Digest, MeshId};
use crate::wire::identity::{Identity, PublicKey};

use super::coding::Plan;
use super::header::{Header, Kind, SIGNED_BYTES, array};
use super::{Refusal, merkle};

const CONTEXT: &[u8] = b"chorus/fragments/1\0";
const BODY_BYTES: usize = 32 + 4 * 4;
/// Bytes of a seal.
pub const SEAL_BYTES: usize = BODY_BYTES + 64;
/// What a fragment begins with; a checkpoint begins with its kind, which is less.
const MARK: u8 = 3;

/// What the top signs of the fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The Merkle root over all pieces.
    pub fragments: Digest,
    /// How the whole is cut.
    pub plan: Plan,
    /// How many members the checkpoint has.
    pub members: usize,
}

impl Seal {
    fn body(&self) -> [u8; BODY_BYTES] {
        let mut body = [0; BODY_BYTES];
        body[..32].copy_from_slice(self.fragments.as_bytes());
        let Plan { bytes, needed, of } = self.plan;
        let counts = [bytes, needed, of, self.members];
        for (place, count) in body[32..].chunks_mut(4).zip(counts) {
            place.copy_from_slice(&(count as u32).to_le_bytes());
        }
        body
    }

    /// The exact bytes, signed, of the checkpoint with this signed header.
    pub fn seal(
        &self,
        signed: &[u8; SIGNED_BYTES],
        identity: &Identity,
        mesh: &MeshId,
    ) -> [u8; SEAL_BYTES] {
        let body = self.body();
        let signature = identity.sign(&[CONTEXT, mesh.as_bytes(), signed, &body]);
        let mut sealed = [0; SEAL_BYTES];
        sealed[..BODY_BYTES].copy_from_slice(&body);
        sealed[BODY_BYTES..].copy_from_slice(&signature);
        sealed
    }

    /// The seal in these bytes, if the signer of this header has signed it for it.
    pub fn open(
        sealed: &[u8; SEAL_BYTES],
        signed: &[u8; SIGNED_BYTES],
        header: &Header,
        mesh: &MeshId,
    ) -> Result<Self, Refusal> {
        let (body, signature) = sealed.split_at(BODY_BYTES);
        let key = PublicKey::new(&header.signer).map_err(|_| Refusal::Forged)?;
        let message = [CONTEXT, mesh.as_bytes(), signed, body].concat();
        if !key.verifies(&message, &array(signature)) {
            return Err(Refusal::Forged);
        }
        let count = |at: usize| u32::from_le_bytes(array(&body[at..at + 4])) as usize;
        let this = Self {
            fragments: Digest(array(&body[..32])),
            plan: Plan {
                bytes: count(32),
                needed: count(36),
                of: count(40),
            },
            members: count(44),
        };
        match this.plan.is_sound() && header.kind != Kind::Part {
            true => Ok(this),
            false => Err(Refusal::Malformed("division into fragments")),
        }
    }
}

/// A fragment whose seal, signatures and path have been checked.
#[derive(Debug, Clone)]
pub struct Fragment {
    /// What the top signed of the whole.
    pub header: Header,
    /// What it signed of the fragments.
    pub seal: Seal,
    /// Which one this is.
    pub number: u32,
    bytes: Arc<[u8]>,
}

impl Fragment {
    /// The exact bytes of one.
    pub fn make(
        signed: &[u8; SIGNED_BYTES],
        sealed: &[u8; SEAL_BYTES],
        number: u32,
        path: &[Digest],
        piece: &[u8],
    ) -> Arc<[u8]> {
        let mut bytes = vec![MARK];
        bytes.extend_from_slice(signed);
        bytes.extend_from_slice(sealed);
        bytes.extend(number.to_le_bytes());
        path.iter().for_each(|hash| bytes.extend(hash.as_bytes()));
        bytes.extend_from_slice(piece);
        bytes.into()
    }

    /// Whether these bytes claim to be one.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.first() == Some(&MARK)
    }

    /// Takes bytes that claim to be one of `mesh`. Whether its signer may say this is
    /// [`super::standing`]'s to check.
    pub fn open(bytes: &[u8], mesh: &MeshId) -> Result<Self, Refusal> {
        let short = Refusal::Malformed("length");
        if !Self::is_one(bytes) {
            return Err(Refusal::Malformed("kind"));
        }
        let (signed, rest) = bytes[1..].split_first_chunk().ok_or(short)?;
        let (sealed, rest) = rest.split_first_chunk().ok_or(short)?;
        let (number, rest) = rest.split_first_chunk().ok_or(short)?;
        let header = Header::open(signed, mesh)?;
        let seal = Seal::open(sealed, signed, &header, mesh)?;
        let number = u32::from_le_bytes(*number);
        let long = rest.len().checked_sub(seal.plan.piece_bytes());
        let (path, piece) = rest.split_at(long.ok_or(short)?);
        let (path, behind) = path.as_chunks::<32>();
        let path: Vec<Digest> = path.iter().map(|hash| Digest(*hash)).collect();
        let of = seal.plan.of as u64;
        let root = merkle::root_by(merkle::leaf(piece), number.into(), of, &path);
        match behind.is_empty() && root == Some(seal.fragments) {
            true => Ok(Self {
                header,
                seal,
                number,
                bytes: bytes.into(),
            }),
            false => Err(Refusal::Altered),
        }
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Its piece of the whole.
    pub fn piece(&self) -> &[u8] {
        let long = self.seal.plan.piece_bytes();
        &self.bytes[self.bytes.len() - long..]
    }
}
