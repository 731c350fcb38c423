//! Reads a database from end to end, also past pages that cannot be read.
//!
//! One flipped bit costs a page of some ten records. sled refuses each lookup that needs
//! it, and cannot say where it ends: that is found by trying.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sled::IVec;

/// Places that are stepped over before the whole counts as unreadable.
const GAPS_MAX: u32 = 256;

type Row = Option<(IVec, IVec)>;

/// Gives every row that can be read to `each`, in order of keys. Returns how many times it
/// had to step over something.
///
/// Each record is looked up anew. sled makes room in its cache only after many lookups: an
/// iterator makes one for each page and leaves the whole database in memory.
pub(super) fn walk(
    db: &sled::Db,
    mut each: impl FnMut(&[u8], &[u8]) -> sled::Result<()>,
) -> sled::Result<u32> {
    let mut gaps = 0;
    let mut row = look(|| db.first())?;
    let mut last = IVec::default();
    loop {
        let found = match row {
            Some(found) => found,
            None if gaps == GAPS_MAX => {
                let why = "too much of the database cannot be read";
                return Err(sled::Error::ReportableBug(why.into()));
            }
            None => {
                gaps += 1;
                beyond(db, &last)?
            }
        };
        let Some((key, value)) = found else {
            return Ok(gaps);
        };
        each(&key, &value)?;
        row = look(|| db.get_gt(&key))?;
        last = key;
    }
}

/// The row of a lookup, or `None` when that meets damage. Trouble of the machine is an error.
pub(super) fn look(lookup: impl FnOnce() -> sled::Result<Row>) -> sled::Result<Option<Row>> {
    match catch_unwind(AssertUnwindSafe(lookup)) {
        Ok(Ok(row)) => Ok(Some(row)),
        Ok(Err(sled::Error::Io(why))) => Err(sled::Error::Io(why)),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// The first row behind what cannot be read behind `last`. Keys are taken for numbers by
/// their first 16 bytes; the step is doubled until something can be read, and then the
/// nearest such place is found by halving.
pub(super) fn beyond(db: &sled::Db, last: &[u8]) -> sled::Result<Row> {
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(last) {
        *to = *from;
    }
    let base = u128::from_be_bytes(first);
    let at = |place: u128| look(|| db.range(place.to_be_bytes()..).next().transpose());
    let (mut low, mut high) = (0, 1);
    let mut row = loop {
        let Some(place) = base.checked_add(high) else {
            return Ok(None);
        };
        match at(place)? {
            Some(row) => break row,
            None if high > u128::MAX / 2 => return Ok(None),
            None => (low, high) = (high, high * 2),
        }
    };
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match at(base + middle)? {
            Some(nearer) => (high, row) = (middle, nearer),
            None => low = middle,
        }
    }
    Ok(row)
}
