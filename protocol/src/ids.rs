//! Names of things: nodes, meshes, places, and the incarnation of a process.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
            /// The first eight hex digits: enough for a person to tell two apart.
            pub fn short(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0[..4])
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .map_err(|_| BadId)?;
                Ok(Self(bytes.try_into().map_err(|_| BadId)?))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_bytes(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let bytes = serde_bytes::ByteArray::<32>::deserialize(d)?;
                Ok(Self(bytes.into_array()))
            }
        }
    };
}

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 64 hexadecimal digits")]
pub struct BadId;

bytes32!(
    /// A member: its Ed25519 public key.
    NodeId
);
bytes32!(
    /// A mesh: SHA-256 of its root public key.
    MeshId
);
bytes32!(
    /// A CURVE (Curve25519) public key of a link.
    CurveKey
);
bytes32!(
    /// SHA-256 of something.
    Digest
);

/// A short name a person gives to a node, sector, cluster or capability:
/// 1 to 24 of `a-z 0-9 - _ . :`. It is copied by value, so it costs no allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    bytes: [u8; Label::LENGTH_MAX],
    length: u8,
}

/// Text that is not a [`Label`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: 1 to 24 of a-z, 0-9, - _ . :")]
pub struct BadLabel(pub String);

impl Label {
    /// The longest label in bytes.
    pub const LENGTH_MAX: usize = 24;

    /// Checks and takes a name.
    pub fn new(text: &str) -> Result<Self, BadLabel> {
        let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.:".contains(&b);
        if text.is_empty() || text.len() > Self::LENGTH_MAX || !text.bytes().all(ok) {
            return Err(BadLabel(text.chars().take(64).collect()));
        }
        let mut bytes = [0; Self::LENGTH_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self {
            bytes,
            length: text.len() as u8,
        })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // Only `new` makes labels, and it admits ASCII alone.
        std::str::from_utf8(&self.bytes[..self.length as usize]).unwrap_or_default()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_str())
    }
}
impl FromStr for Label {
    type Err = BadLabel;
    fn from_str(text: &str) -> Result<Self, BadLabel> {
        Self::new(text)
    }
}
impl Serialize for Label {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}
impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Label;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name of 1 to 24 of a-z, 0-9, - _ . :")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Label, E> {
                Label::new(text).map_err(E::custom)
            }
        }
        d.deserialize_str(Visitor)
    }
}

/// A sector's name.
pub type SectorId = Label;
/// A cluster's name, unique within its sector.
pub type ClusterId = Label;

/// One run of a process under one enrolment.
///
/// `floor` comes from the node's roster entry and rises when it is enrolled
/// again; `boot` is a counter kept beside the keys, made durable at +1 before
/// any socket opens. A restart is a new incarnation.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The incarnation of boot number `boot` under roster floor `floor`.
    pub const fn new(floor: u32, boot: u32) -> Self {
        Self(((floor as u64) << 32) | boot as u64)
    }
    /// The part that enrolment sets.
    pub const fn floor(self) -> u32 {
        (self.0 >> 32) as u32
    }
    /// The part that counts starts.
    pub const fn boot(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.floor(), self.boot())
    }
}

/// Where a frame stands in its sender's own history: compared first by
/// incarnation, then by Lamport time. Unique for each frame of a sender.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    /// The sender's incarnation.
    pub incarnation: Incarnation,
    /// The sender's Lamport time when it sent the frame.
    pub lamport: u64,
}

/// What a node is in the tree (seed 2.1), from the top down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The operator's seat, at the root.
    Orchestrator,
    /// Leads a sector.
    Coordinator,
    /// Leads a cluster.
    Lead,
    /// A leaf.
    Agent,
}

impl Role {
    /// The name that commands and JSON use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Orchestrator => "orchestrator",
            Role::Coordinator => "coordinator",
            Role::Lead => "lead",
            Role::Agent => "agent",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [
            Role::Orchestrator,
            Role::Coordinator,
            Role::Lead,
            Role::Agent,
        ]
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| format!("`{text}` is not a role: orchestrator, coordinator, lead or agent"))
    }
}

/// Where a node stands in the tree. An orchestrator or coordinator may carry a
/// cluster name too; it has no meaning there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The node's sector.
    pub sector: SectorId,
    /// The node's cluster within the sector.
    pub cluster: ClusterId,
}

/// An agent: the node that hosts it, and its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentName {
    /// The host.
    pub node: NodeId,
    /// The name in the host's configuration.
    pub agent: Label,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_refuse_what_could_be_mistaken_on_a_topic() {
        for bad in ["", "S1", "a/b", "ä", "a b", "abcdefghijklmnopqrstuvwxy"] {
            assert!(Label::new(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Label::new("s1-c2_a.3").map(|l| l.to_string()),
            Ok("s1-c2_a.3".into())
        );
    }

    #[test]
    fn a_new_floor_or_a_new_boot_is_a_later_incarnation() {
        assert!(Incarnation::new(1, 0) > Incarnation::new(0, u32::MAX));
        assert!(Incarnation::new(1, 2) > Incarnation::new(1, 1));
        assert_eq!(
            (
                Incarnation::new(7, 9).floor(),
                Incarnation::new(7, 9).boot()
            ),
            (7, 9)
        );
    }
}
