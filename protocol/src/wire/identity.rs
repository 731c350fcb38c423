//! Identity: an Ed25519 key that signs frames and items, and the strict check of both.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::ids::NodeId;

/// A node's or a mesh root's signing key.
pub struct Identity {
    key: SigningKey,
    id: NodeId,
}

/// A public key that must not be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The bytes are no point of the curve.
    #[error("not an Ed25519 public key")]
    NotAPoint,
    /// The point has small order: any signature could be made to fit it.
    #[error("a weak Ed25519 public key (small order)")]
    Weak,
}

impl Identity {
    /// The identity of a 32-byte secret seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let id = NodeId(key.verifying_key().to_bytes());
        Self { key, id }
    }

    /// The public key, which is the node's name.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The secret seed, for the one place that writes it to disk.
    pub fn seed(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Signs the concatenation of `parts`.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 64] {
        self.key.sign(&parts.concat()).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.id.short())
    }
}

/// A checked public key. Parsing costs as much as a fifth of a verification, so
/// the roster keeps these rather than bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Takes a key that is a point of the curve and not weak.
    pub fn new(id: &NodeId) -> Result<Self, BadKey> {
        let key = VerifyingKey::from_bytes(id.as_bytes()).map_err(|_| BadKey::NotAPoint)?;
        if key.is_weak() {
            return Err(BadKey::Weak);
        }
        Ok(Self(key))
    }

    /// Whether `signature` over `message` is this key's, by the strict rules
    /// (no malleable or small-order signatures).
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_and_impossible_keys_are_refused() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        assert_eq!(PublicKey::new(&NodeId(identity_point)), Err(BadKey::Weak));
        assert_eq!(PublicKey::new(&NodeId([0; 32])), Err(BadKey::Weak));
        let impossible = (0..=255u8).map(|b| {
            let mut id = [b; 32];
            id[31] = 0x7f;
            PublicKey::new(&NodeId(id))
        });
        assert!(
            impossible
                .into_iter()
                .any(|key| key == Err(BadKey::NotAPoint))
        );
    }

    #[test]
    fn a_signature_fits_its_message_and_key_alone() -> Result<(), BadKey> {
        let (a, b) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let signature = a.sign(&[b"one", b"two"]);
        assert!(PublicKey::new(&a.id())?.verifies(b"onetwo", &signature));
        assert!(!PublicKey::new(&a.id())?.verifies(b"onetwp", &signature));
        assert!(!PublicKey::new(&b.id())?.verifies(b"onetwo", &signature));
        Ok(())
    }
}
