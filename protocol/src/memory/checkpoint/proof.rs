//! Proof: one member's record of a checkpoint, shown without the others: the audit path in its
//! parent's part, and of each part in the one above, with the signed headers.

use sha2::{Digest as _, Sha256};

use crate::ids::{Digest, MeshId, NodeId};

use super::header::{Header, SIGNED_BYTES};
use super::part::{Part, Piece, Row};
use super::{Refusal, merkle};

/// One part on the way up.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its header and signature.
    pub signed: [u8; SIGNED_BYTES],
    /// Which leaf of its tree the member's record, or the part below, is.
    pub at: u64,
    /// The hashes beside the way from there to its root.
    pub path: Vec<Digest>,
}

/// What proves one member's record.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// The member and its record.
    pub row: Row,
    /// The hashes beside the way from its place in the table to the table's root.
    pub table: Vec<Digest>,
    /// From its parent's part up to the top's: never none.
    pub steps: Vec<Step>,
}

impl Part {
    /// The proof of a member.
    pub fn prove(&self, node: &NodeId) -> Option<Proof> {
        let row = *self.member(node)?;
        let pieces = self.pieces();
        let by = |at: usize| -> &Piece { &pieces[at] };
        let holds = |piece: &Piece| piece.rows.iter().position(|it| *it == row);
        let first = pieces.iter().position(|piece| holds(piece).is_some())?;
        let place = holds(by(first))?;
        let mut steps = vec![Step {
            signed: by(first).signed,
            at: place as u64,
            path: merkle::path(&by(first).leaves(by), place),
        }];
        let mut below = first;
        while let Some(above) = pieces.iter().find(|it| it.beneath.contains(&below)) {
            let among = above.beneath.iter().position(|at| *at == below)?;
            let place = above.rows.len() + among;
            steps.push(Step {
                signed: above.signed,
                at: place as u64,
                path: merkle::path(&above.leaves(by), place),
            });
            below = pieces.iter().position(|it| std::ptr::eq(it, above))?;
        }
        Some(Proof {
            row,
            table: merkle::path(&by(first).table(), place),
            steps,
        })
    }
}

impl Proof {
    /// Follows it to the top, whose header it returns. The caller judges whether that one's
    /// signer may sign, and whether it is the root that he knows.
    pub fn check(&self, mesh: &MeshId) -> Result<Header, Refusal> {
        let mut below: Option<Header> = None;
        let mut leaf = None;
        for step in &self.steps {
            let header = Header::open(&step.signed, mesh)?;
            let leaf = match leaf.replace(Sha256::digest(step.signed)) {
                Some(digest) => merkle::leaf(&digest),
                None => self.own_leaf(step, &header)?,
            };
            let leaves = u64::from(header.rows) + u64::from(header.parts);
            let is_part = below.is_some() == (step.at >= u64::from(header.rows));
            if !is_part || merkle::root_by(leaf, step.at, leaves, &step.path) != Some(header.root) {
                return Err(Refusal::Altered);
            }
            if below.is_some_and(|it| (it.epoch, it.parent) != (header.epoch, header.parent)) {
                return Err(Refusal::OtherEpoch);
            }
            below = Some(header);
        }
        below.ok_or(Refusal::Malformed("length"))
    }

    /// The record's leaf, if the table says that it is this member's.
    fn own_leaf(&self, step: &Step, header: &Header) -> Result<Digest, Refusal> {
        let index = u32::try_from(step.at).map_err(|_| Refusal::Malformed("row"))?;
        let entry = merkle::leaf(&self.row.in_table());
        let table = merkle::root_by(entry, step.at, header.rows.into(), &self.table);
        match table == Some(header.table) {
            true => Ok(merkle::leaf(&self.row.record.to_bytes(index))),
            false => Err(Refusal::Altered),
        }
    }
}
