//! The append-only journal: what a node promised, durable when `append` returns.
//!
//! Votes, terms, used tokens and conflicts stand here. Each record carries the
//! hash of the one before, so that a cut in the middle shows for ever.
//!
//! Opening: a bad end of the last segment that was never acknowledged is a torn
//! write and is cut off. Any other damage is *said*: the segment is kept aside
//! unchanged (`….damaged-N`), what is readable before and behind the damage is
//! kept in its place, and the missing numbers are listed as [`Cut`]s. A number
//! that was acknowledged is never given out again. Whoever votes by this
//! journal must not vote after a cut.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::home::{make_dir, sync_dir, write_atomic};
use crate::mark::{Found, Mark};
use crate::segment::{self, Hash, PAYLOAD_BYTES_MAX, encode, scan};
use crate::store::{Error, limit};

mod compact;
pub use compact::read;

/// The longest payload in bytes.
pub const RECORD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;
/// A segment that has grown to this many bytes takes no more. It bounds the memory of opening.
pub const SEGMENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The kind of a record of the journal's own: [`Journal::compact`] is done. Its payload is the
/// number, a little-endian u64, before which nothing is missing that counts.
pub const BASE: u8 = u8::MAX;

/// A record's number, from 1, without gaps unless something was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// One record, as it is replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// What kind of thing it is; the caller's numbering, below [`BASE`].
    pub kind: u8,
    /// At most [`RECORD_BYTES_MAX`].
    pub payload: Vec<u8>,
}

/// Records that are missing between two numbers, or a chain that does not match there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The last good record before.
    pub after: Seq,
    /// The next good record; `None` when acknowledged records are missing at the end.
    pub next: Option<Seq>,
}

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of a torn, never acknowledged write that were cut off.
    pub torn_bytes: u64,
    /// What is missing. Also said at every later opening.
    pub cuts: Vec<Cut>,
    /// Damaged segments, kept for a person to look at.
    pub aside: Vec<PathBuf>,
    /// The mark is damaged or gone, so that a loss at the end could not be seen.
    /// Said at every opening until something is appended.
    pub mark_lost: bool,
}

impl Recovery {
    /// Nothing that was acknowledged can be missing.
    pub fn is_whole(&self) -> bool {
        self.cuts.is_empty() && !self.mark_lost
    }
}

/// An open journal.
#[derive(Debug)]
pub struct Opened {
    /// The journal, ready to append.
    pub journal: Journal,
    /// What opening found.
    pub recovery: Recovery,
}

/// See the module's words.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    mark: Mark,
    last: u64,
    hash: Hash,
    current: Option<Segment>,
    whole: bool,
    broken: Option<String>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    salt: u64,
    bytes: u64,
}

impl Journal {
    /// Opens the journal in `dir`, gives every good record to `replay` in order,
    /// and mends what is damaged. An `Err` is trouble of the machine, not damage.
    pub fn open(dir: &Path, mut replay: impl FnMut(Record)) -> Result<Opened, Error> {
        make_dir(dir).map_err(Error::from)?;
        let path = dir.join("mark");
        let (mark, found) =
            Mark::open(&path).map_err(|e| Error::io(path.display().to_string(), e))?;
        let acknowledged = if let Found::At(n) = found { n } else { 0 };
        let names = list(dir).map_err(|e| Error::io(dir.display().to_string(), e))?;
        let mut recovery = Recovery {
            mark_lost: found == Found::Damaged,
            ..Recovery::default()
        };
        let mut journal = Self {
            dir: dir.to_path_buf(),
            mark,
            last: 0,
            hash: [0; 32],
            current: None,
            whole: true,
            broken: None,
        };
        let count = names.len();
        for (n, (first, salt)) in names.into_iter().enumerate() {
            let path = segment::path(dir, first, salt);
            let bytes = fs::read(&path).map_err(|e| Error::io(path.display().to_string(), e))?;
            let scan = scan(&bytes, salt);
            let before = journal.last;
            for frame in scan.frames.iter().filter(|frame| frame.seq > before) {
                if frame.seq != journal.last + 1 || frame.previous != journal.hash {
                    recovery.cuts.push(Cut {
                        after: Seq(journal.last),
                        next: Some(Seq(frame.seq)),
                    });
                }
                (journal.last, journal.hash) = (frame.seq, frame.hash);
                let payload = bytes[frame.payload.clone()].to_vec();
                if frame.kind == BASE {
                    compact::forget_before(&mut recovery.cuts, payload);
                    continue;
                }
                replay(Record {
                    seq: Seq(frame.seq),
                    kind: frame.kind,
                    payload,
                });
            }
            let at_end = n + 1 == count;
            let torn = at_end && scan.damaged_bytes == 0 && journal.last >= acknowledged;
            let mut clean = scan.tail_bytes == 0 && scan.damaged_bytes == 0;
            if !clean && torn {
                cut_tail(&path, bytes.len() - scan.tail_bytes)?;
                recovery.torn_bytes = scan.tail_bytes as u64;
                clean = true;
            } else if !clean {
                let good: Vec<u8> = scan
                    .frames
                    .iter()
                    .flat_map(|f| &bytes[f.whole()])
                    .copied()
                    .collect();
                if let Some(aside) = set_aside(&path, &good)? {
                    recovery.aside.push(aside);
                    clean = true;
                }
            }
            if clean && at_end {
                journal.current = Some(reopen(&path, salt)?);
            }
        }
        recovery.mark_lost |= found == Found::Nothing && journal.last > 0;
        if acknowledged > journal.last {
            recovery.cuts.push(Cut {
                after: Seq(journal.last),
                next: None,
            });
            journal.last = acknowledged;
        } else if !recovery.mark_lost && (acknowledged < journal.last || found == Found::Nothing) {
            // Durable but maybe never acknowledged; from now on it counts. A first
            // mark takes its place on the disk now, while there is room. A lost one is
            // written with the next record: until the caller has one, a kill must not
            // make the loss unseen.
            journal
                .mark
                .set(journal.last)
                .map_err(|e| Error::io("the journal's mark", e))?;
        }
        journal.whole = recovery.is_whole();
        Ok(Opened { journal, recovery })
    }

    /// The last number given out; 0 when there is none.
    pub fn last(&self) -> Seq {
        Seq(self.last)
    }

    /// Adds a record. It is durable when this returns; on an error nothing was added.
    pub fn append(&mut self, kind: u8, payload: &[u8]) -> Result<Seq, Error> {
        self.append_batch(&[(kind, payload)])
    }

    /// Adds records with one sync for all and returns the number of the last. A
    /// crash inside the call may leave the first few of them; after an `Err` there are none.
    pub fn append_batch(&mut self, records: &[(u8, &[u8])]) -> Result<Seq, Error> {
        for (_, payload) in records {
            limit("record", payload.len(), RECORD_BYTES_MAX)?;
        }
        let total = records
            .iter()
            .map(|(_, p)| p.len() + segment::HEADER_BYTES)
            .sum();
        limit("batch of records", total, SEGMENT_BYTES_MAX)?;
        if let Some(why) = &self.broken {
            return Err(Error::Broken {
                what: "the journal",
                why: why.clone(),
            });
        }
        if records.is_empty() {
            return Ok(Seq(self.last));
        }
        let mut current = match self.current.take() {
            Some(segment) if segment.bytes < SEGMENT_BYTES_MAX as u64 => segment,
            _ => create(&self.dir, self.last + 1)?,
        };
        let (mut bytes, mut last, mut hash) = (Vec::with_capacity(total), self.last, self.hash);
        for (kind, payload) in records {
            last += 1;
            hash = encode(&mut bytes, current.salt, last, *kind, &hash, payload);
        }
        let written = self.write(&mut current, &bytes);
        self.current = Some(current);
        written?;
        (self.last, self.hash) = (last, hash);
        // Durable already. A mark that stays behind could only hide a later
        // loss, so the journal says it and stops.
        if let Err(e) = self.mark.set(last) {
            self.broken = Some(e.to_string());
        }
        Ok(Seq(last))
    }

    fn write(&mut self, segment: &mut Segment, bytes: &[u8]) -> Result<(), Error> {
        let what = "an append to the journal";
        if let Err(e) = segment.file.write_all(bytes) {
            // Take back the half that was written, so that the next append fits.
            let back = segment
                .file
                .set_len(segment.bytes)
                .and_then(|()| segment.file.sync_data());
            if let Err(e) = back {
                self.broken = Some(e.to_string());
            }
            return Err(Error::io(what, e));
        }
        if let Err(e) = segment.file.sync_data() {
            // After a failed sync nobody knows what is on disk: never try twice.
            self.broken = Some(e.to_string());
            return Err(Error::io(what, e));
        }
        segment.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn list(dir: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.extend(entry?.file_name().to_str().and_then(segment::parse_name));
    }
    names.sort_unstable();
    Ok(names)
}

fn create(dir: &Path, first: u64) -> Result<Segment, Error> {
    let salt = RandomState::new().hash_one(first);
    let path = segment::path(dir, first, salt);
    let failed = |e| Error::io(path.display().to_string(), e);
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    sync_dir(&path).map_err(failed)?;
    Ok(Segment {
        file,
        salt,
        bytes: 0,
    })
}

fn reopen(path: &Path, salt: u64) -> Result<Segment, Error> {
    let failed = |e| Error::io(path.display().to_string(), e);
    let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok(Segment { file, salt, bytes })
}

fn cut_tail(path: &Path, bytes: usize) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.set_len(bytes as u64).and_then(|()| file.sync_all()))
        .map_err(|e| Error::io(path.display().to_string(), e))
}

/// Keeps the damaged file under another name and puts `good` in its place.
/// `None` when there is no room for that: then the file stays as it is and is
/// read around again at the next opening.
fn set_aside(path: &Path, good: &[u8]) -> Result<Option<PathBuf>, Error> {
    let mut n = 1u32;
    let aside = loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{n}"));
        let aside = PathBuf::from(name);
        if !aside.exists() {
            break aside;
        }
        n += 1;
    };
    // A second name first: at no moment is the only copy gone.
    let kept = fs::hard_link(path, &aside).or_else(|_| fs::copy(path, &aside).map(drop));
    let replaced = match kept {
        Ok(()) => write_atomic(path, good, 0o600).map_err(Error::from),
        Err(e) => Err(Error::io(aside.display().to_string(), e)),
    };
    match replaced {
        Ok(()) => Ok(Some(aside)),
        Err(Error::Full { .. }) => {
            // The half-made second name is of no use; the original is untouched.
            let _ = fs::remove_file(&aside);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}
