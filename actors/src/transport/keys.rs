//! CURVE keys: who a node is on the wire.

use std::fmt;

use super::error::Error;

/// A CURVE public key: who a peer is on the wire.
pub type Key = [u8; 32];

/// A node's CURVE key pair. Its `Debug` shows the public half only.
#[derive(Clone)]
pub struct CurveKeys {
    pub public: Key,
    pub secret: [u8; 32],
}

impl CurveKeys {
    /// A fresh pair from the system's randomness.
    pub fn generate() -> Result<Self, Error> {
        let pair = zmq::CurveKeyPair::new().map_err(|source| Error::zmq("a key pair", source))?;
        Ok(Self {
            public: pair.public_key,
            secret: pair.secret_key,
        })
    }

    /// The pair of a stored secret: a CURVE public key is the secret times the base point
    /// of Curve25519 (RFC 7748), so only the secret needs a file.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        let public = curve25519_dalek::MontgomeryPoint::mul_base_clamped(secret).to_bytes();
        Self { public, secret }
    }
}

impl fmt::Debug for CurveKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurveKeys")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}
