//! Copy: what a node holds of one checkpoint: the whole or, where that is cut, a fragment of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{MeshId, NodeId};

use super::coding::{self, Coded, Plan};
use super::fragment::{Fragment, SEAL_BYTES, Seal};
use super::{Header, Part, Refusal};

/// A whole checkpoint, and the seal of its fragments where its leaves hold those.
#[derive(Debug, Clone)]
pub struct Whole {
    part: Part,
    seal: Option<(Seal, [u8; SEAL_BYTES])>,
    bytes: Arc<[u8]>,
}

/// What lies on one disk.
#[derive(Debug, Clone)]
pub enum Copy {
    /// All of it.
    Whole(Whole),
    /// A piece.
    Fragment(Fragment),
}

impl From<Part> for Whole {
    /// One that everybody holds.
    fn from(part: Part) -> Self {
        Self {
            bytes: part.bytes().clone(),
            part,
            seal: None,
        }
    }
}

impl Whole {
    /// Takes bytes that claim to be one: the part and, where they do not end there, the seal.
    pub fn open(bytes: &[u8], mesh: &MeshId) -> Result<Self, Refusal> {
        let (part, rest) = Part::front(bytes, mesh)?;
        if rest.is_empty() {
            return Ok(part.into());
        }
        let sealed: &[u8; SEAL_BYTES] = rest
            .try_into()
            .map_err(|_| Refusal::Malformed("trailing bytes"))?;
        let seal = Seal::open(sealed, part.signed(), part.header(), mesh)?;
        let holders = part.holders().count();
        let fits = (seal.plan.bytes, seal.plan.of, seal.members)
            == (part.bytes().len(), holders, part.members().len());
        match fits {
            true => Ok(Self {
                part,
                seal: Some((seal, *sealed)),
                bytes: bytes.into(),
            }),
            false => Err(Refusal::Malformed("division into fragments")),
        }
    }

    /// With the seal of its fragments behind it.
    pub fn sealed(part: Part, seal: Seal, sealed: [u8; SEAL_BYTES]) -> Self {
        Self {
            bytes: [part.bytes(), sealed.as_slice()].concat().into(),
            seal: Some((seal, sealed)),
            part,
        }
    }

    /// The checkpoint.
    pub fn part(&self) -> &Part {
        &self.part
    }
    /// The seal of its fragments.
    pub fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref().map(|it| &it.0)
    }
    /// The exact bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The fragments of these nodes, of what was made of the whole. `None` where that is not
    /// what the top has sealed.
    pub fn fragments(
        &self,
        coded: &Coded,
        whose: &BTreeMap<NodeId, u32>,
    ) -> Option<BTreeMap<NodeId, Arc<[u8]>>> {
        let (seal, sealed) = self.seal.as_ref()?;
        if seal.fragments != coded.root {
            return None;
        }
        let made = whose.iter().filter_map(|(node, number)| {
            let (path, piece) = coded.pieces.get(number)?;
            let signed = self.part.signed();
            let fragment = Fragment::make(signed, sealed, *number, path, piece);
            Some((*node, fragment))
        });
        Some(made.collect())
    }
}

impl Copy {
    /// Takes bytes that claim to be either: limits, structure, hashes and signatures.
    pub fn open(bytes: &[u8], mesh: &MeshId) -> Result<Self, Refusal> {
        match Fragment::is_one(bytes) {
            true => Fragment::open(bytes, mesh).map(Self::Fragment),
            false => Whole::open(bytes, mesh).map(Self::Whole),
        }
    }

    /// What the top signed of the whole.
    pub fn header(&self) -> &Header {
        match self {
            Self::Whole(whole) => whole.part.header(),
            Self::Fragment(fragment) => &fragment.header,
        }
    }

    /// How many members the checkpoint has.
    pub fn members(&self) -> usize {
        match self {
            Self::Whole(whole) => whole.part.members().len(),
            Self::Fragment(fragment) => fragment.seal.members,
        }
    }

    /// The whole, if this is one.
    pub fn whole(&self) -> Option<&Whole> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Fragment(_) => None,
        }
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        match self {
            Self::Whole(whole) => &whole.bytes,
            Self::Fragment(fragment) => fragment.bytes(),
        }
    }
}

/// The whole, of fragments of one and the same seal; of two with one number one counts.
pub fn rebuild<'f>(
    fragments: impl IntoIterator<Item = &'f Fragment>,
    mesh: &MeshId,
) -> Result<Whole, Refusal> {
    let mut fragments = fragments.into_iter().peekable();
    let none = Refusal::TooFew { have: 0, needed: 1 };
    let first = *fragments.peek().ok_or(none)?;
    let mut pieces = BTreeMap::new();
    for fragment in fragments {
        if (fragment.header, fragment.seal) != (first.header, first.seal) {
            return Err(Refusal::OtherEpoch);
        }
        pieces.insert(fragment.number, fragment.piece());
    }
    let bytes = coding::rebuild(&first.seal.plan, &pieces)?;
    let part = Part::open(&bytes, mesh)?;
    match part.header() == &first.header {
        true => Ok(part.into()),
        false => Err(Refusal::Altered),
    }
}

/// How a checkpoint is cut for its holders, if it can be.
pub fn plan(part: &Part, needed: usize) -> Option<Plan> {
    let plan = Plan {
        bytes: part.bytes().len(),
        needed,
        of: part.holders().count(),
    };
    plan.is_sound().then_some(plan)
}

/// Which fragment is whose, of these nodes: the place among the holders. Others have none.
pub fn numbers(part: &Part, nodes: &BTreeSet<NodeId>) -> BTreeMap<NodeId, u32> {
    let holders = part.holders().map(|row| row.node).zip(0..);
    holders.filter(|(node, _)| nodes.contains(node)).collect()
}
