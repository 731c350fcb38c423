//! Part: a parent's signed part of a checkpoint, with the signed parts beneath it; the one of
//! the top is the checkpoint itself.
//!
//! ```text
//! header 189 B | signature 64 B | rows × (node 32 B | holds u8 | record 28 B) | parts × part
//! table: the Merkle root over (node | holds) of each row
//! root:  the Merkle root over the records, then SHA-256(header | signature) of each part
//! ```
//!
//! Every byte is under a signature or is one. The first row is the signer's own, the others
//! are its leaf children in ascending order; the parts stand in ascending order of their
//! signers. A node that changed its parent at the cut-off may stand in two parts: its record
//! of the greater Lamport time counts.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::ids::{Digest, MeshId, NodeId};
use crate::wire::identity::Identity;

use super::header::{Header, Kind, SIGNED_BYTES, array};
use super::merkle;
use super::vector::{RECORD_BYTES, Record};
use super::{COPY_BYTES_MAX, Refusal};

/// Bytes of one row.
pub const ROW_BYTES: usize = 32 + 1 + RECORD_BYTES;
/// A line of CSV is hardly longer.
const CSV_BYTES: usize = 64 + 2 * 25 + 22;
/// A checkpoint's parts nest no deeper: orchestrator, coordinator, lead.
const DEPTH_MAX: usize = 3;

/// One member of a part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Who.
    pub node: NodeId,
    /// Whether it is one of those that hold the copy (H).
    pub holds: bool,
    /// What it was.
    pub record: Record,
}

/// One signed part, and where its pieces stand in the bytes of the whole.
#[derive(Debug, Clone)]
pub struct Piece {
    /// What was signed.
    pub header: Header,
    /// The header and its signature.
    pub signed: [u8; SIGNED_BYTES],
    /// Its own rows.
    pub rows: Vec<Row>,
    /// The numbers of the pieces right beneath it.
    pub beneath: Vec<usize>,
}

/// A part whose structure, hashes and signatures have been checked.
#[derive(Debug, Clone)]
pub struct Part {
    bytes: Arc<[u8]>,
    /// Itself first, then the parts beneath it, each before those beneath *it*.
    pieces: Vec<Piece>,
    members: Vec<Row>,
}

/// What a parent puts into its part beside its rows and the parts beneath.
#[derive(Debug, Clone, Copy)]
pub struct Stem {
    /// See [`Header`].
    pub kind: Kind,
    /// See [`Header`].
    pub epoch: u64,
    /// See [`Header`].
    pub parent: Digest,
    /// See [`Header`].
    pub roster: Digest,
    /// See [`Header`].
    pub live: u32,
}

impl Row {
    /// The member as a line of CSV without its end: node, phase, omega, lamport.
    pub fn to_csv(&self) -> String {
        let Record {
            phase,
            omega,
            lamport,
        } = self.record;
        let mut line = String::with_capacity(CSV_BYTES);
        data_encoding::HEXLOWER.encode_append(self.node.as_bytes(), &mut line);
        // Writing to a string cannot fail. As `exact` has it, and thirty thousand times as many.
        let _ = write!(line, ",{phase:.16e},{omega:.16e},{lamport}");
        line
    }

    pub(super) fn in_table(&self) -> [u8; 33] {
        let mut entry = [0; 33];
        entry[..32].copy_from_slice(self.node.as_bytes());
        entry[32] = u8::from(self.holds);
        entry
    }

    fn of_bytes(bytes: &[u8; ROW_BYTES], index: u32) -> Result<Self, Refusal> {
        let (at, record) = Record::of_bytes(&array(&bytes[33..]))?;
        if at != index || bytes[32] > 1 {
            return Err(Refusal::Malformed("row"));
        }
        Ok(Self {
            node: NodeId(array(&bytes[..32])),
            holds: bytes[32] == 1,
            record,
        })
    }
}

impl Piece {
    /// The leaves of its tree of records and parts.
    pub(super) fn leaves<'p>(&self, pieces: impl Fn(usize) -> &'p Piece) -> Vec<Digest> {
        let rows = self.rows.iter().zip(0..);
        let records = rows.map(|(row, index)| merkle::leaf(&row.record.to_bytes(index)));
        let beneath = self.beneath.iter();
        let beneath = beneath.map(|at| merkle::leaf(&pieces(*at).digest().0));
        records.chain(beneath).collect()
    }

    /// The leaves of its table.
    pub(super) fn table(&self) -> Vec<Digest> {
        let entries = self.rows.iter().map(Row::in_table);
        entries.map(|entry| merkle::leaf(&entry)).collect()
    }

    /// SHA-256 of the header and its signature.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.signed).into())
    }
}

impl Part {
    /// Signs a part. `rows`: the signer's first; the rest and the parts in any order.
    pub fn seal(
        identity: &Identity,
        mesh: &MeshId,
        stem: Stem,
        mut rows: Vec<Row>,
        parts: &[Part],
    ) -> Vec<u8> {
        if let Some((_, others)) = rows.split_first_mut() {
            others.sort_unstable_by_key(|row| row.node);
        }
        let mut parts: Vec<&Part> = parts.iter().collect();
        parts.sort_unstable_by_key(|part| part.header().signer);
        let tops: Vec<&Piece> = parts.iter().map(|part| part.top()).collect();
        let mut piece = Piece {
            header: Header {
                kind: stem.kind,
                epoch: stem.epoch,
                term: 0,
                signer: identity.id(),
                parent: stem.parent,
                roster: stem.roster,
                table: Digest([0; 32]),
                root: Digest([0; 32]),
                rows: rows.len() as u32,
                parts: parts.len() as u32,
                live: stem.live,
            },
            signed: [0; SIGNED_BYTES],
            rows,
            beneath: (0..parts.len()).collect(),
        };
        piece.header.table = merkle::root(&piece.table());
        piece.header.root = merkle::root(&piece.leaves(|at| tops[at]));
        let mut bytes = piece.header.seal(identity, mesh).to_vec();
        for (row, index) in piece.rows.iter().zip(0..) {
            bytes.extend(row.in_table());
            bytes.extend(row.record.to_bytes(index));
        }
        parts
            .iter()
            .for_each(|part| bytes.extend_from_slice(part.bytes()));
        bytes
    }

    /// Takes bytes that claim to be a part of a checkpoint of `mesh`: limits, structure, hashes
    /// and signatures. Whether its signers may say this is [`super::standing`]'s to check.
    pub fn open(bytes: &[u8], mesh: &MeshId) -> Result<Self, Refusal> {
        match Self::front(bytes, mesh)? {
            (part, []) => Ok(part),
            _ => Err(Refusal::Malformed("trailing bytes")),
        }
    }

    /// The part that these bytes begin with, and what is behind it.
    pub(super) fn front<'b>(bytes: &'b [u8], mesh: &MeshId) -> Result<(Self, &'b [u8]), Refusal> {
        if bytes.len() > COPY_BYTES_MAX {
            return Err(Refusal::Malformed("length"));
        }
        let mut pieces = Vec::new();
        let mut rest = bytes;
        take(&mut rest, mesh, 0, &mut pieces)?;
        let members = members(&pieces);
        let this = Self {
            bytes: bytes[..bytes.len() - rest.len()].into(),
            pieces,
            members,
        };
        Ok((this, rest))
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
    /// What its signer signed.
    pub fn header(&self) -> &Header {
        &self.top().header
    }
    /// Itself first, then the parts beneath it.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
    /// Every member once, by name.
    pub fn members(&self) -> &[Row] {
        &self.members
    }
    /// The row of a member.
    pub fn member(&self, node: &NodeId) -> Option<&Row> {
        Some(&self.members[self.place(node)?])
    }
    /// Which number a member has in [`Part::members`].
    pub fn place(&self, node: &NodeId) -> Option<usize> {
        let by = |row: &Row| row.node;
        self.members.binary_search_by_key(node, by).ok()
    }

    /// Those of them that hold a copy.
    pub fn holders(&self) -> impl Iterator<Item = &Row> {
        self.members.iter().filter(|row| row.holds)
    }

    /// The header and its signature.
    pub fn signed(&self) -> &[u8; SIGNED_BYTES] {
        &self.top().signed
    }

    fn top(&self) -> &Piece {
        &self.pieces[0]
    }
}

/// Takes one part and those beneath it from the front of `rest`; its number.
fn take(
    rest: &mut &[u8],
    mesh: &MeshId,
    depth: usize,
    pieces: &mut Vec<Piece>,
) -> Result<usize, Refusal> {
    if depth == DEPTH_MAX {
        return Err(Refusal::Malformed("depth"));
    }
    let signed: [u8; SIGNED_BYTES] = *front(rest)?;
    let header = Header::open(&signed, mesh)?;
    if depth > 0 && header.kind != Kind::Part {
        return Err(Refusal::Malformed("kind"));
    }
    // So that a number in a header cannot ask for more memory than came.
    if header.rows as usize > rest.len() / ROW_BYTES || header.rows == 0 {
        return Err(Refusal::Malformed("rows"));
    }
    let rows = (0..header.rows).map(|index| Row::of_bytes(front(rest)?, index));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let sorted = rows[1..].windows(2).all(|two| two[0].node < two[1].node);
    if rows[0].node != header.signer || !sorted {
        return Err(Refusal::Malformed("order of rows"));
    }
    let number = pieces.len();
    pieces.push(Piece {
        header,
        signed,
        rows,
        beneath: Vec::new(),
    });
    let mut last: Option<NodeId> = None;
    for _ in 0..header.parts {
        let at = take(rest, mesh, depth + 1, pieces)?;
        let beneath = pieces[at].header;
        if last.is_some_and(|last| beneath.signer <= last) {
            return Err(Refusal::Malformed("order of parts"));
        }
        if (beneath.epoch, beneath.parent) != (header.epoch, header.parent) {
            return Err(Refusal::OtherEpoch);
        }
        last = Some(beneath.signer);
        pieces[number].beneath.push(at);
    }
    let piece = &pieces[number];
    let root = merkle::root(&piece.leaves(|at| &pieces[at]));
    if merkle::root(&piece.table()) != header.table || root != header.root {
        return Err(Refusal::Altered);
    }
    Ok(number)
}

fn front<'b, const N: usize>(rest: &mut &'b [u8]) -> Result<&'b [u8; N], Refusal> {
    let (front, behind) = rest
        .split_first_chunk::<N>()
        .ok_or(Refusal::Malformed("length"))?;
    *rest = behind;
    Ok(front)
}

fn members(pieces: &[Piece]) -> Vec<Row> {
    let mut all: Vec<Row> = pieces.iter().flat_map(|it| &it.rows).copied().collect();
    // The sort is stable: of two with one time the first counts.
    all.sort_by_key(|row| (row.node, std::cmp::Reverse(row.record.lamport)));
    all.dedup_by_key(|row| row.node);
    all
}
