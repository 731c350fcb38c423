//! Key: the name of a record, whose it is, and where it stands among all keys.
//!
//! `own/NODE/…` is written by that node alone (NODE is 64 hex digits), `shared/…` by any
//! member. A key's [`KeyId`] is what Kademlia calls the key; its [`Position`] is where
//! Kademlia puts that among the nodes, SHA-256 of the id.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::ids::NodeId;

/// The longest key in bytes.
pub const KEY_BYTES_MAX: usize = 256;

const CONTEXT: &[u8] = b"chorus/key/1\0";
const OWN: &str = "own/";
const SHARED: &str = "shared/";

/// The name of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

/// Text that is no key. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum BadKey {
    /// No text, or nothing after the namespace.
    #[error("a key has a name: shared/NAME or own/NODE/NAME")]
    Empty,
    /// Over [`KEY_BYTES_MAX`].
    #[error("a key has at most {KEY_BYTES_MAX} bytes")]
    TooLong,
    /// Control characters would make a list of keys unreadable.
    #[error("a key has no control characters")]
    Control,
    /// Neither `shared/` nor `own/NODE/`.
    #[error("a key begins with shared/ or own/NODE/, NODE being 64 hex digits in lower case")]
    Namespace,
}

/// SHA-256 of a key: the key as Kademlia carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 32]);

/// SHA-256 of a [`KeyId`]: where the key stands among keys and nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub [u8; 32]);

impl Key {
    /// Takes a whole key, namespace included.
    pub fn new(text: &str) -> Result<Self, BadKey> {
        if text.len() > KEY_BYTES_MAX {
            return Err(BadKey::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(BadKey::Control);
        }
        let name = match (text.strip_prefix(SHARED), text.strip_prefix(OWN)) {
            (Some(name), _) => name,
            (None, Some(rest)) => {
                let (node, name) = rest.split_once('/').ok_or(BadKey::Namespace)?;
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if node.len() != 64 || !node.bytes().all(hex) {
                    return Err(BadKey::Namespace);
                }
                name
            }
            (None, None) if text.is_empty() => return Err(BadKey::Empty),
            (None, None) => return Err(BadKey::Namespace),
        };
        match name.is_empty() {
            true => Err(BadKey::Empty),
            false => Ok(Self(text.into())),
        }
    }

    /// `shared/NAME`.
    pub fn shared(name: &str) -> Result<Self, BadKey> {
        Self::new(&format!("{SHARED}{name}"))
    }

    /// `own/NODE/NAME`.
    pub fn own(node: &NodeId, name: &str) -> Result<Self, BadKey> {
        Self::new(&format!("{OWN}{node}/{name}"))
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose own it is, 64 hex digits; `None` where it is everybody's.
    pub fn owner(&self) -> Option<&str> {
        self.0.strip_prefix(OWN)?.get(..64)
    }

    /// Whether this node's writes of it count.
    pub fn may_write(&self, author: &NodeId) -> bool {
        self.owner().is_none_or(|owner| owner == author.to_string())
    }

    /// The key as Kademlia carries it.
    pub fn id(&self) -> KeyId {
        let hash = Sha256::new().chain_update(CONTEXT);
        KeyId(hash.chain_update(self.0.as_bytes()).finalize().into())
    }
}

impl KeyId {
    /// Where the key stands.
    pub fn position(&self) -> Position {
        Position(Sha256::digest(self.0).into())
    }
}

impl Position {
    /// The first two bytes: the smallest range that two stores compare as one.
    pub fn leaf(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = data_encoding::HEXLOWER.encode(&self.0[..4]);
        write!(f, "Position({short})")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key: shared/NAME or own/NODE/NAME")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Key, E> {
                Key::new(text).map_err(E::custom)
            }
        }
        d.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_are_kept_and_unreadable_ones_refused() {
        for good in [
            "shared/a",
            "shared/ä ö/日本",
            "shared//",
            "shared/\"'\\ %00",
        ] {
            assert_eq!(Key::new(good).map(|key| key.to_string()), Ok(good.into()));
        }
        let own = |node: &str| Key::new(&format!("own/{node}/x"));
        for (bad, why) in [
            ("", BadKey::Empty),
            ("shared/", BadKey::Empty),
            ("plan", BadKey::Namespace),
            ("/shared/a", BadKey::Namespace),
            ("own/a", BadKey::Namespace),
            ("shared/a\n", BadKey::Control),
            ("shared/\u{85}", BadKey::Control),
        ] {
            assert_eq!(Key::new(bad), Err(why), "{bad:?}");
        }
        assert_eq!(own(&"A".repeat(64)), Err(BadKey::Namespace));
        assert!(own(&"a".repeat(64)).is_ok());
        assert_eq!(Key::shared(&"x".repeat(250)), Err(BadKey::TooLong));
    }

    #[test]
    fn a_namespace_is_its_owners() {
        let (a, b) = (NodeId([0xab; 32]), NodeId([0xcd; 32]));
        let own = Key::own(&a, "x").expect("a key");
        assert!(own.may_write(&a) && !own.may_write(&b));
        let shared = Key::shared("x").expect("a key");
        assert!(shared.may_write(&a) && shared.may_write(&b));
    }
}
