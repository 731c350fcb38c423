//! Certificate: the top's word that each holder of a checkpoint has it on disk.
//!
//! ```text
//! epoch u64 | signer 32 B | root 32 B | holders u32 | members u32 | signature 64 B
//! signed: "chorus/durable/1\0" | mesh id 32 B | all before the signature
//! ```

use crate::ids::{Digest, MeshId, NodeId};
use crate::wire::identity::{Identity, PublicKey};

use super::Refusal;
use super::header::{Header, array};

const CONTEXT: &[u8] = b"chorus/durable/1\0";
const BODY_BYTES: usize = 8 + 32 + 32 + 4 + 4;
/// Bytes of a certificate.
pub const CERTIFICATE_BYTES: usize = BODY_BYTES + 64;

/// That a checkpoint is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// Its epoch.
    pub epoch: u64,
    /// Who signed it, and this.
    pub signer: NodeId,
    /// Its root.
    pub root: Digest,
    /// How many hold it.
    pub holders: u32,
    /// How many members it has.
    pub members: u32,
}

impl Certificate {
    fn body(&self) -> [u8; BODY_BYTES] {
        let mut body = [0; BODY_BYTES];
        body[..8].copy_from_slice(&self.epoch.to_le_bytes());
        body[8..40].copy_from_slice(self.signer.as_bytes());
        body[40..72].copy_from_slice(self.root.as_bytes());
        body[72..76].copy_from_slice(&self.holders.to_le_bytes());
        body[76..].copy_from_slice(&self.members.to_le_bytes());
        body
    }

    /// The exact bytes, signed.
    pub fn seal(&self, identity: &Identity, mesh: &MeshId) -> Vec<u8> {
        let body = self.body();
        let signature = identity.sign(&[CONTEXT, mesh.as_bytes(), &body]);
        [body.as_slice(), &signature].concat()
    }

    /// The certificate in these bytes, if the node that it names has signed it.
    pub fn open(bytes: &[u8], mesh: &MeshId) -> Result<Self, Refusal> {
        let bytes: &[u8; CERTIFICATE_BYTES] =
            bytes.try_into().map_err(|_| Refusal::Malformed("length"))?;
        let four = |at: usize| u32::from_le_bytes(array(&bytes[at..at + 4]));
        let this = Self {
            epoch: u64::from_le_bytes(array(&bytes[..8])),
            signer: NodeId(array(&bytes[8..40])),
            root: Digest(array(&bytes[40..72])),
            holders: four(72),
            members: four(76),
        };
        let key = PublicKey::new(&this.signer).map_err(|_| Refusal::Forged)?;
        let message = [CONTEXT, mesh.as_bytes(), &bytes[..BODY_BYTES]].concat();
        match key.verifies(&message, &array(&bytes[BODY_BYTES..])) {
            true => Ok(this),
            false => Err(Refusal::Forged),
        }
    }

    /// Whether it is of the checkpoint with this header.
    pub fn is_of(&self, header: &Header) -> bool {
        (self.epoch, self.signer, self.root) == (header.epoch, header.signer, header.root)
    }
}
