//! Token: an invitation that fits a line of text.
//!
//! ```text
//! text:   "chorus1." | base64url without padding of
//! bytes:  signature 64 B | body (named MessagePack)
//! signed: "chorus/token/1\0" | body, by the enroller's key
//! ```
//!
//! It pins the mesh's root key for whoever joins and names the one enroller
//! that honours it. That this enroller may enrol at all is not in the token: the
//! root's delegation comes with the welcome.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::ids::{CurveKey, Label, MeshId, NodeId, Place, Role};
use crate::trust::item::{CAPS_MAX, HOST_BYTES_MAX};
use crate::wire::codec::{self, Malformed};
use crate::wire::identity::{Identity, PublicKey};

/// Most bytes of a token; with a frame around it, it stays within a door's 4 KiB.
pub const TOKEN_BYTES_MAX: usize = 2 * 1024;
/// Most doors that a token names.
pub const DOORS_MAX: usize = 8;
/// Most uses of one token.
pub const USES_MAX: u32 = 10_000;

/// Which journal an enroller counts the uses of a token in: random, and a new
/// one whenever that journal begins or has lost something. A token begins its
/// nonce with it, so that with the count its tokens end too.
pub type JournalId = [u8; 8];

/// The nonce of a token whose uses are counted in `journal`.
pub fn nonce(journal: JournalId, random: [u8; 8]) -> [u8; 16] {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&journal);
    nonce[8..].copy_from_slice(&random);
    nonce
}

const CONTEXT: &[u8] = b"chorus/token/1\0";
const SIGNATURE: usize = 64;
/// A host, a colon, a port.
const DOOR_BYTES_MAX: usize = HOST_BYTES_MAX + 8;

/// What an enroller offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The mesh: SHA-256 of `root`.
    pub mesh: MeshId,
    /// The mesh's root key.
    pub root: NodeId,
    /// Who offers, and answers at the doors.
    pub enroller: NodeId,
    /// The link key by which the doors prove that they are the enroller's.
    pub enroller_curve: CurveKey,
    /// `host:port`, best first; 1 to [`DOORS_MAX`].
    pub doors: Vec<String>,
    /// What the joiner will be.
    pub role: Role,
    /// Where it will stand.
    pub place: Place,
    /// Its name; with several uses NAME-1, NAME-2, …; `None`: the joiner chooses.
    pub name: Option<Label>,
    /// What it may do; at most [`CAPS_MAX`].
    pub caps: Vec<Label>,
    /// Unix time in seconds from which it is refused. By the enroller's clock alone.
    pub expires_s: u64,
    /// How many keys it admits; 1 to [`USES_MAX`].
    pub uses: u32,
    /// What tells it from every other token; made by [`nonce`].
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 16],
}

/// Why text or bytes are no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else altogether.
    #[error("this is not a chorus token: one begins with `chorus1.`")]
    NotAToken,
    /// Of a version that this program does not speak.
    #[error("this is a `chorus{0}` token; this program reads `chorus1`: they differ in version")]
    Version(u32),
    /// A character that does not belong, counted from 0 after the dot.
    #[error("the token has a character that does not belong, number {0} after the dot")]
    Character(usize),
    /// The end is missing.
    #[error("the token is truncated: its end is missing; copy it whole")]
    Truncated,
    /// Longer than a token can be.
    #[error("the token is longer than a token can be")]
    Oversized,
    /// Not what the enroller signed.
    #[error("the token was altered: its signature does not fit")]
    Altered,
    /// Names a key that must not be trusted.
    #[error("the token names a weak key")]
    WeakKey,
    /// The mesh is not the root key's.
    #[error("the token's mesh is not that of its root key")]
    WrongRoot,
    /// A field beyond its limit; the name is the field's.
    #[error("the token's `{0}` is out of bounds")]
    Bounds(&'static str),
}

impl Token {
    /// The journal that counts its uses.
    pub fn journal(&self) -> JournalId {
        let mut id = [0; 8];
        id.copy_from_slice(&self.nonce[..8]);
        id
    }

    /// Signs the token; `enroller` must be the identity that it names.
    pub fn seal(&self, enroller: &Identity) -> Result<Vec<u8>, TokenError> {
        if enroller.id() != self.enroller {
            return Err(TokenError::Bounds("enroller"));
        }
        self.check()?;
        let body = codec::encode(self);
        let bytes = [enroller.sign(&[CONTEXT, &body]).as_slice(), &body].concat();
        if bytes.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Oversized);
        }
        Ok(bytes)
    }

    /// Signs the token and writes it as text.
    pub fn to_text(&self, enroller: &Identity) -> Result<String, TokenError> {
        let bytes = self.seal(enroller)?;
        Ok(format!("chorus1.{}", BASE64URL_NOPAD.encode(&bytes)))
    }

    /// The bytes of a token's text, as `Enrol` carries them. White space, which
    /// terminals and mail bring in, is left out.
    pub fn bytes_of(text: &str) -> Result<Vec<u8>, TokenError> {
        // Four thirds of the bytes, and room for a mailer's line breaks.
        if text.len() > 2 * TOKEN_BYTES_MAX {
            return Err(TokenError::Oversized);
        }
        let text: String = text.split_whitespace().collect();
        let rest = text.strip_prefix("chorus").ok_or(TokenError::NotAToken)?;
        let (version, code) = rest.split_once('.').ok_or(TokenError::NotAToken)?;
        match version.parse() {
            Ok(1) => {}
            Ok(other) => return Err(TokenError::Version(other)),
            Err(_) => return Err(TokenError::NotAToken),
        }
        BASE64URL_NOPAD
            .decode(code.as_bytes())
            .map_err(|why| match why.kind {
                data_encoding::DecodeKind::Symbol => TokenError::Character(why.position),
                _ => TokenError::Truncated,
            })
    }

    /// Takes a token's text.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        Self::open(&Self::bytes_of(text)?)
    }

    /// Takes a token's bytes.
    pub fn open(bytes: &[u8]) -> Result<Self, TokenError> {
        if bytes.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Oversized);
        }
        let (signature, body) = bytes
            .split_first_chunk::<SIGNATURE>()
            .ok_or(TokenError::Truncated)?;
        let token: Token = codec::decode(body).map_err(|why| match why {
            Malformed::Truncated => TokenError::Truncated,
            _ => TokenError::Altered,
        })?;
        let key = PublicKey::new(&token.enroller).map_err(|_| TokenError::WeakKey)?;
        if !key.verifies(&[CONTEXT, body].concat(), signature) {
            return Err(TokenError::Altered);
        }
        token.check()?;
        Ok(token)
    }

    fn check(&self) -> Result<(), TokenError> {
        PublicKey::new(&self.root).map_err(|_| TokenError::WeakKey)?;
        if super::mesh_of(&self.root) != self.mesh {
            return Err(TokenError::WrongRoot);
        }
        if !(1..=USES_MAX).contains(&self.uses) {
            return Err(TokenError::Bounds("uses"));
        }
        if self.caps.len() > CAPS_MAX {
            return Err(TokenError::Bounds("caps"));
        }
        let doors = (1..=DOORS_MAX).contains(&self.doors.len());
        if !doors || !self.doors.iter().all(|door| is_door(door)) {
            return Err(TokenError::Bounds("doors"));
        }
        match self.name {
            Some(name) if self.uses > 1 && numbered(name, self.uses).is_none() => {
                Err(TokenError::Bounds("name"))
            }
            _ => Ok(()),
        }
    }
}

/// NAME-1, NAME-2, …; `None` when that is too long for a name.
pub(crate) fn numbered(name: Label, number: u32) -> Option<Label> {
    Label::new(&format!("{name}-{number}")).ok()
}

/// `host:port` with a port that is not 0.
fn is_door(text: &str) -> bool {
    let shape = text.len() <= DOOR_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    shape && port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}
