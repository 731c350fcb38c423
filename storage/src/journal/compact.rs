//! Leaving out what is of no use any longer, and reading beside whoever has the journal open.

use std::fs;
use std::path::Path;

use super::{BASE, Cut, Journal, Record, Seq, list};
use crate::home::sync_dir;
use crate::mark::{Found, Mark};
use crate::segment::{self, scan};
use crate::store::Error;

/// Most bytes of one batch of kept records: far below a segment.
const BATCH_BYTES: usize = 1024 * 1024;

impl Journal {
    /// Puts `keep` in the place of everything that stands here, under new
    /// numbers. What is to be kept is durable, and [`BASE`] behind it, before anything
    /// is deleted. A crash in between leaves some of the old records beside the new, which
    /// is no loss: replaying a record twice must do no harm, and the next compaction
    /// takes the rest.
    ///
    /// False, and nothing has changed, for a journal that has lost something: the
    /// trace of that must stay.
    pub fn compact(&mut self, keep: &[(u8, &[u8])]) -> Result<bool, Error> {
        if !self.whole {
            return Ok(false);
        }
        let failed = |e| Error::io("a compaction of the journal", e);
        let old = list(&self.dir).map_err(failed)?;
        // The next append begins a segment of its own.
        self.current = None;
        let base = (self.last + 1).to_le_bytes();
        let mut batch: Vec<(u8, &[u8])> = Vec::new();
        let mut bytes = 0;
        for record in keep {
            if bytes + record.1.len() > BATCH_BYTES {
                self.append_batch(&batch)?;
                batch.clear();
                bytes = 0;
            }
            batch.push(*record);
            bytes += record.1.len() + segment::HEADER_BYTES;
        }
        batch.push((BASE, &base));
        self.append_batch(&batch)?;
        for (first, salt) in old {
            fs::remove_file(segment::path(&self.dir, first, salt)).map_err(failed)?;
        }
        sync_dir(&self.dir.join("mark")).map_err(failed)?;
        Ok(true)
    }
}

/// Gives every good record in `dir` to `replay`, in order, changes nothing, and says what is
/// missing: for a process beside the one that has the journal open. A folder that is not
/// there has no records.
pub fn read(dir: &Path, mut replay: impl FnMut(Record)) -> Result<Vec<Cut>, Error> {
    let path = dir.join("mark");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let failed = |e| Error::io(dir.display().to_string(), e);
    // Before the records: whoever writes meanwhile adds to these.
    let (_, mark) = Mark::open(&path).map_err(failed)?;
    let (mut last, mut hash, mut cuts) = (0, [0; 32], Vec::new());
    for (first, salt) in list(dir).map_err(failed)? {
        let bytes = match fs::read(segment::path(dir, first, salt)) {
            Ok(bytes) => bytes,
            // Compacted away since it was listed: what counts stands in a later one.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(failed(e)),
        };
        for frame in scan(&bytes, salt).frames {
            if frame.seq <= last {
                continue;
            }
            if frame.seq != last + 1 || frame.previous != hash {
                let (after, next) = (Seq(last), Some(Seq(frame.seq)));
                cuts.push(Cut { after, next });
            }
            (last, hash) = (frame.seq, frame.hash);
            let payload = bytes[frame.payload.clone()].to_vec();
            if frame.kind == BASE {
                forget_before(&mut cuts, payload);
                continue;
            }
            replay(Record {
                seq: Seq(frame.seq),
                kind: frame.kind,
                payload,
            });
        }
    }
    let is_short = match mark {
        Found::Nothing => false,
        Found::At(acknowledged) => last < acknowledged,
        Found::Damaged => true,
    };
    if is_short {
        let (after, next) = (Seq(last), None);
        cuts.push(Cut { after, next });
    }
    Ok(cuts)
}

/// What a compaction left out is not missing, however far its deletion came.
pub(super) fn forget_before(cuts: &mut Vec<Cut>, base: Vec<u8>) {
    let base = base.try_into().map_or(0, u64::from_le_bytes);
    cuts.retain(|cut| cut.next.is_none_or(|next| next.0 > base));
}
