//! Opening the store's folder, whatever is in it: mend what can be mended, set aside the rest.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::salvage::{copy_aside, make, resume, set_aside};
use super::store::{FREE_BYTES_MIN, Seen, SledStore, guard, is_damage, open_sled, read_through};
use super::sync::Sync;
use crate::home::free_bytes;
use crate::mark::{Found, Mark};
use crate::store::{Error, Tree};

/// A file that is deleted when the disk is so full that sled cannot open.
const BALLAST_BYTES: u64 = 1024 * 1024;
/// How often sled writes its buffer by itself. Durability never waits for it.
const BACKGROUND_FLUSH_MS: u64 = 1000;
/// How long opening waits for the lock. Another process is told of sooner, by the home's lock.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);
const BUSY_WAIT_STEP: Duration = Duration::from_millis(5);

/// An open store, and what it took.
#[derive(Debug)]
pub struct Opened {
    /// The store, ready.
    pub store: SledStore,
    /// What had to be mended.
    pub recovery: Recovery,
    /// Keys whose value is damaged, at most [`DAMAGED_LISTED_MAX`](super::DAMAGED_LISTED_MAX)
    /// of each tree. `get` refuses them until they are written again or deleted.
    pub damaged: Vec<(Tree, Vec<u8>)>,
    /// Damaged keys that are not listed.
    pub damaged_more: u64,
    /// The disk was too full to open, and the ballast was given up for it.
    pub ballast_freed: bool,
}

/// What opening had to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing: everything acknowledged is there.
    Clean,
    /// The files opened, but records are missing or older than acknowledged, or the
    /// mark that would tell is damaged or gone. What could be read is in a new
    /// database. Ask the replicas for what is missing.
    RolledBack {
        /// Where the damaged folder is now.
        aside: PathBuf,
    },
    /// sled's snapshot was damaged and set aside (`damaged.snap.*`); nothing is missing.
    SnapshotSetAside,
    /// The folder could not be opened at all. The store is empty; rebuild it
    /// from the journal and the replicas.
    RebuiltEmpty {
        /// Where the damaged folder is now.
        aside: PathBuf,
    },
}

/// Opens the store in `dir` and reads it through once. Damage is never an error
/// here and never a panic; an `Err` is a full or failing disk, or another process.
pub fn open(dir: &Path) -> Result<Opened, Error> {
    resume(dir)?;
    make(dir)?;
    let mut ballast_freed = false;
    let mut first = attempt(dir);
    if let Err(Error::Full { .. }) = first {
        ballast_freed = fs::remove_file(ballast(dir)).is_ok();
        first = attempt(dir);
    }
    let (store, seen, recovery) = match first {
        Err(error) if is_damage(&error) => mend(dir)?,
        Ok((store, seen, false)) => roll_back(dir, store, &seen)?,
        Ok((store, seen, true)) => (store, seen, Recovery::Clean),
        Err(error) => return Err(error),
    };
    if !ballast_freed && !ballast(dir).exists() && free_bytes(dir)? > 4 * BALLAST_BYTES {
        lay_ballast(dir).map_err(|e| Error::io("the ballast file", e))?;
    }
    Ok(Opened {
        store,
        recovery,
        damaged_more: seen.damaged_counts.iter().sum::<u64>() - seen.damaged.len() as u64,
        damaged: seen.damaged,
        ballast_freed,
    })
}

/// Second and third try: without the snapshot, then from nothing.
fn mend(dir: &Path) -> Result<(SledStore, Seen, Recovery), Error> {
    if set_snapshots_aside(dir).map_err(|e| Error::io("the store's snapshot", e))? {
        match attempt(dir) {
            Ok((store, seen, true)) => return Ok((store, seen, Recovery::SnapshotSetAside)),
            Ok((store, seen, false)) => return roll_back(dir, store, &seen),
            Err(error) if is_damage(&error) => {}
            // The first try had the lock, so what holds it is left over from that
            // try's panic; its files are about to be set aside.
            Err(Error::Busy { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let aside = set_aside(dir)?;
    make(dir)?;
    let (store, seen, _) = attempt(dir)?;
    Ok((store, seen, Recovery::RebuiltEmpty { aside }))
}

/// Goes on with a copy of what is left.
fn roll_back(
    dir: &Path,
    store: SledStore,
    seen: &Seen,
) -> Result<(SledStore, Seen, Recovery), Error> {
    let aside = copy_aside(dir, store, seen)?;
    let (store, seen, _) = attempt(dir)?;
    // Said once: from here on this is the state.
    store.accept()?;
    Ok((store, seen, Recovery::RolledBack { aside }))
}

/// One try, repeated while sled's threads of an earlier opening in this process
/// still hold its lock: they let go of it some time after the drop.
fn attempt(dir: &Path) -> Result<(SledStore, Seen, bool), Error> {
    let since = Instant::now();
    loop {
        match attempt_once(dir) {
            Err(Error::Busy { .. }) if since.elapsed() < BUSY_WAIT_MAX => {
                std::thread::sleep(BUSY_WAIT_STEP);
            }
            done => return done,
        }
    }
}

/// The store, what is in it, and whether that is everything that was acknowledged.
fn attempt_once(dir: &Path) -> Result<(SledStore, Seen, bool), Error> {
    // sled would fail in the middle of making its files and leave half of them.
    if free_bytes(dir)? < FREE_BYTES_MIN && ballast(dir).exists() {
        return Err(Error::Full {
            what: format!("opening {}", dir.display()),
        });
    }
    let existed = dir.join("db").exists();
    let path = dir.join("mark");
    let (mark, found) = Mark::open(&path).map_err(|e| Error::io(path.display().to_string(), e))?;
    // Whatever fails from here on closes sled inside the guard.
    let (db, mut seen, sync) = guard(&dir.display().to_string(), || {
        let db = open_sled(dir, Some(BACKGROUND_FLUSH_MS))?;
        let seen = read_through(&db)?;
        let sync = Sync::open(dir)?;
        Ok((db, seen, sync))
    })
    .map_err(|error| name_folder(dir, error))?;
    let untouched = !existed || (seen.generation == 0 && seen.summary.records == 0);
    let whole = seen.gaps == 0
        && seen.promised == seen.summary
        && match found {
            Found::At(n) => seen.generation >= n,
            Found::Nothing => untouched,
            Found::Damaged => false,
        };
    let store = SledStore::new(db, dir, mark, sync, &mut seen);
    if whole && found == Found::Nothing {
        // A first mark takes its place on the disk now, while there is room.
        store.accept()?;
    }
    Ok((store, seen, whole))
}

/// Names the folder that stands in place of a file: sled's own error names none.
fn name_folder(dir: &Path, error: Error) -> Error {
    match error {
        Error::Io { what, source } if source.kind() == io::ErrorKind::IsADirectory => {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            // sled's only folder.
            let is_wrong = |path: &PathBuf| path.is_dir() && !path.ends_with("blobs");
            let wrong = entries.map(|entry| entry.path()).find(is_wrong);
            let what = wrong.map_or(what, |path| path.display().to_string());
            Error::Io { what, source }
        }
        other => other,
    }
}

fn set_snapshots_aside(dir: &Path) -> io::Result<bool> {
    let mut any = false;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|n| n.starts_with("snap.")) {
            fs::rename(dir.join(name), dir.join(format!("damaged.{name}")))?;
            any = true;
        }
    }
    Ok(any)
}

fn ballast(dir: &Path) -> PathBuf {
    dir.join("ballast")
}

fn lay_ballast(dir: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(ballast(dir))?;
    // Not zeros: a file system that finds holes would give no room back.
    let block = [0xa5; 4096];
    for _ in 0..BALLAST_BYTES / 4096 {
        file.write_all(&block)?;
    }
    file.sync_all()
}
