//! Topics: the first part of a gossip message, by which subscribers choose.

use std::fmt;

use crate::ids::{ClusterId, Label, Place, SectorId};

/// What a gossip frame is about. ZeroMQ matches subscriptions by prefix, so a
/// subscription to [`Topic::SUMS`] hears the sums of every scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `phase/S/C`: one node's phase.
    Phase(Place),
    /// `sum/S/C`: a cluster's part of the field, from its lead.
    ClusterSum(SectorId, ClusterId),
    /// `sum/S`: a sector's part, from its coordinator.
    SectorSum(SectorId),
    /// `sum`: the mesh's, from its root.
    MeshSum,
    /// `hb`: heartbeats, peer exchange and probes.
    Heartbeat,
}

impl Topic {
    /// The prefix of every phase.
    pub const PHASES: &'static [u8] = b"phase/";
    /// The prefix of every sum.
    pub const SUMS: &'static [u8] = b"sum";
    /// The prefix of heartbeats.
    pub const HEARTBEATS: &'static [u8] = b"hb";

    /// The topic of these bytes, if it is one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut parts = text.split('/');
        let kind = parts.next()?;
        let mut label = || parts.next().map(|part| Label::new(part).ok());
        let topic = match (kind, label(), label()) {
            ("phase", Some(sector), Some(cluster)) => Topic::Phase(Place {
                sector: sector?,
                cluster: cluster?,
            }),
            ("sum", Some(sector), Some(cluster)) => Topic::ClusterSum(sector?, cluster?),
            ("sum", Some(sector), None) => Topic::SectorSum(sector?),
            ("sum", None, None) => Topic::MeshSum,
            ("hb", None, None) => Topic::Heartbeat,
            _ => return None,
        };
        parts.next().is_none().then_some(topic)
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Phase(place) => write!(f, "phase/{}/{}", place.sector, place.cluster),
            Topic::ClusterSum(sector, cluster) => write!(f, "sum/{sector}/{cluster}"),
            Topic::SectorSum(sector) => write!(f, "sum/{sector}"),
            Topic::MeshSum => f.write_str("sum"),
            Topic::Heartbeat => f.write_str("hb"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_read_back_as_they_were_written() {
        for text in ["phase/s1/c2", "sum/s1/c2", "sum/s1", "sum", "hb"] {
            assert_eq!(
                Topic::parse(text.as_bytes()).map(|t| t.to_string()),
                Some(text.into())
            );
        }
        for bad in [
            "",
            "phase",
            "phase/s1",
            "phase/s1/c2/x",
            "sum/",
            "sum/S1",
            "hb/",
            "hbx",
            "x",
        ] {
            assert_eq!(Topic::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Topic::parse(&[0xff, 0xfe]), None);
    }
}
