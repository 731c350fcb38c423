//! Reading: what is read from the store, and what is checked, away from the runtime.

use std::collections::BTreeMap;

use chorus_protocol::causality::lamport::AHEAD_MAX;
use chorus_protocol::causality::version::Dot;
use chorus_protocol::ids::{Digest, MeshId};
use chorus_protocol::memory::key::Position;
use chorus_protocol::memory::parcel::{Difference, FETCH_MAX, HEADS_MAX, RECORDS_BYTES, head};
use chorus_protocol::memory::record::{BadRecord, Record};
use chorus_protocol::memory::siblings::Siblings;
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::wire::codec;
use chorus_storage::Reader;
use chorus_storage::store::{Error, Tree};
use serde_bytes::ByteBuf;

use super::Listed;
use super::writing::decode;

/// Rows of one page of a scan: with sets of ordinary size some hundred KiB.
const PAGE: usize = 256;

/// What a comparison with a neighbour leads to.
#[derive(Debug, Default)]
pub struct ToMove {
    /// Positions to fetch, 32 bytes each.
    pub fetch: Vec<u8>,
    /// Records to push.
    pub push: Vec<ByteBuf>,
}

impl ToMove {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.fetch.is_empty() && self.push.is_empty()
    }
}

/// What stands under a position. A value that is there and does not decode is damaged.
pub fn siblings(reader: &Reader, at: &Position) -> Result<Option<(Digest, Siblings)>, Error> {
    let value = reader.get(Tree::Memory, &at.0)?;
    let damaged = || Error::Damaged {
        what: format!("{at:?}"),
    };
    value
        .map(|value| decode(&value).ok_or_else(damaged))
        .transpose()
}

/// The set under a position as others get it, without its digest.
pub fn set_bytes(reader: &Reader, at: &Position) -> Option<(Digest, Vec<u8>)> {
    let value = reader.get(Tree::Memory, &at.0).ok()??;
    let (digest, set) = value.split_at_checked(32)?;
    Some((digest.try_into().map(Digest).ok()?, set.to_vec()))
}

/// What of a stored value concerns somebody who has `has`, or asks for one write alone: its
/// digest, with its bytes where it is another.
pub fn holds(value: &[u8], has: &Digest, dot: Option<&Dot>) -> Option<(Digest, Vec<u8>)> {
    let Some(dot) = dot else {
        let (digest, set) = value.split_at_checked(32)?;
        return match digest == has.0 {
            true => Some((*has, Vec::new())),
            false => Some((digest.try_into().map(Digest).ok()?, set.to_vec())),
        };
    };
    let (digest, set) = decode(value)?;
    set.has_seen(dot).then(|| (digest, Vec::new()))
}

/// The same where nothing is stored: to have nothing is to have the same as who has nothing.
pub fn holds_nothing(has: &Digest, dot: Option<&Dot>) -> Option<(Digest, Vec<u8>)> {
    let nothing = Siblings::default().digest();
    (dot.is_none() && *has == nothing).then(|| (nothing, Vec::new()))
}

/// The heads of one leaf, in the order of their positions.
fn heads(reader: &Reader, leaf: u16) -> Result<Vec<u8>, Error> {
    let prefix = leaf.to_be_bytes();
    let mut heads = Vec::new();
    let mut from: Option<Vec<u8>> = None;
    loop {
        let page = reader.scan(Tree::Memory, &prefix, from.as_deref(), PAGE)?;
        for (at, value) in page.rows {
            let at: Result<[u8; 32], _> = at.try_into();
            let digest = value.get(..32).and_then(|it| it.try_into().ok());
            if let (Ok(at), Some(digest)) = (at, digest) {
                heads.extend(head(&Position(at), &Digest(digest)));
            }
        }
        from = page.next;
        if from.is_none() {
            return Ok(heads);
        }
    }
}

/// The heads of leaves, as many as one answer holds.
pub fn all_heads(reader: &Reader, leaves: &[u16]) -> Result<Vec<(u16, ByteBuf)>, Error> {
    let mut all = Vec::new();
    let mut bytes = 0;
    for leaf in leaves {
        let heads = heads(reader, *leaf)?;
        bytes += heads.len();
        if bytes > HEADS_MAX * chorus_protocol::memory::parcel::HEAD_BYTES && !all.is_empty() {
            break;
        }
        all.push((*leaf, ByteBuf::from(heads)));
    }
    Ok(all)
}

/// The records at positions, as many as one answer holds.
pub fn records<'p>(
    reader: &Reader,
    positions: impl IntoIterator<Item = &'p Position>,
) -> Vec<ByteBuf> {
    let mut all = Vec::new();
    let mut bytes = 0;
    for at in positions.into_iter().take(FETCH_MAX) {
        // What is damaged here is given to nobody.
        let Ok(Some((_, set))) = siblings(reader, at) else {
            continue;
        };
        for record in set.iter() {
            bytes += record.bytes().len();
            all.push(ByteBuf::from(record.bytes()));
        }
        if bytes > RECORDS_BYTES {
            break;
        }
    }
    all
}

/// Compares our leaves with a neighbour's; with `offer` leaves that we should not hold.
pub fn compare(reader: &Reader, leaves: &[(u16, Vec<u8>)], offer: bool) -> Result<ToMove, Error> {
    let mut differs = Difference::default();
    for (leaf, theirs) in leaves {
        differs.add(&heads(reader, *leaf)?, theirs);
    }
    if offer {
        differs.keep();
    }
    let fetch = differs.fetch.iter().take(FETCH_MAX);
    Ok(ToMove {
        fetch: fetch.flat_map(|at| at.0).collect(),
        push: records(reader, &differs.push),
    })
}

/// A page of sets, from a position on.
pub fn list(reader: &Reader, from: Option<&Position>, limit: usize) -> Result<Listed, Error> {
    let from = from.map(|at| at.0);
    let page = reader.scan(Tree::Memory, &[], from.as_ref().map(|it| &it[..]), limit)?;
    let mut listed = Listed {
        damaged: page.damaged.into_iter().filter_map(position).collect(),
        gaps: page.gaps,
        next: page.next.and_then(position),
        ..Listed::default()
    };
    for (at, value) in page.rows {
        match decode(&value) {
            Some((_, set)) => listed.sets.push(set),
            None => listed.damaged.extend(position(at)),
        }
    }
    Ok(listed)
}

fn position(key: Vec<u8>) -> Option<Position> {
    Some(Position(key.try_into().ok()?))
}

/// Records that came from a peer, and how often each check refused one.
#[derive(Debug, Default)]
pub struct Opened {
    /// Good ones.
    pub records: Vec<Record>,
    /// Refused ones.
    pub bad: Bad,
}

/// How many records were refused, by the counter's name.
pub type Bad = BTreeMap<&'static str, u64>;

/// Checks records that came from a peer. Whose entry was revoked was a member once: what it
/// wrote before is not lost with it.
///
/// `lamport` is the time here: what is of a time far beyond it is not taken. Nobody could
/// write after it, and nobody honest wrote it.
pub fn open(bytes: &[Vec<u8>], mesh: &MeshId, roster: &Roster, lamport: u64) -> Opened {
    let most = lamport.saturating_add(AHEAD_MAX).min(u64::MAX - 1);
    let mut opened = Opened::default();
    for bytes in bytes {
        let known = |node: &_| roster.get(node).is_some() || roster.is_revoked(node);
        match Record::open(bytes, mesh, known) {
            Ok(record) if record.dot().lamport > most => {
                *opened.bad.entry("records_ahead").or_default() += 1;
            }
            Ok(record) => opened.records.push(record),
            Err(why) => *opened.bad.entry(why.name()).or_default() += 1,
        }
    }
    opened
}

/// The records of a set as it travels; a set that is none counts as one malformed record.
pub fn unpack(set: &[u8]) -> Result<Vec<Vec<u8>>, BadRecord> {
    let records: Vec<ByteBuf> = codec::decode(set)?;
    Ok(records.into_iter().map(ByteBuf::into_vec).collect())
}

/// What stands in the whole store, for the index: positions and digests.
pub fn standing(reader: &Reader, mut each: impl FnMut(Position, Digest)) -> Result<(), Error> {
    let mut from: Option<Vec<u8>> = None;
    loop {
        let page = reader.scan(Tree::Memory, &[], from.as_deref(), PAGE)?;
        for (at, value) in page.rows {
            let at: Result<[u8; 32], _> = at.try_into();
            let digest = value.get(..32).and_then(|it| it.try_into().ok());
            if let (Ok(at), Some(digest)) = (at, digest) {
                each(Position(at), Digest(digest));
            }
        }
        from = page.next;
        if from.is_none() {
            return Ok(());
        }
    }
}
