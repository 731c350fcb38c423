//! From a database that lost something to a new one that holds what is left.
//!
//! sled 0.34.7 opens a log with a hole in it, takes new writes, acknowledges them, and
//! drops them at the next opening, because its recovery stops at the hole. So nothing is
//! ever written into such a database: what can be read of it is copied to `DIR.new`, the
//! damaged one is set aside, and the new one takes its name.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::store::{
    FREE_BYTES_MIN, SUMMARY_KEY, Seen, SledStore, guard, open_sled, sealed_summary,
};
use super::sync::Sync;
use super::walk::walk;
use crate::home::free_bytes;
use crate::store::Error;

/// Bytes that one batch of the copy carries at most, give or take a record.
const BATCH_BYTES: usize = 256 * 1024;

/// Ends what a kill in the middle of [`copy_aside`] may have left. To be called before
/// anything makes `dir`.
pub(super) fn resume(dir: &Path) -> Result<(), Error> {
    let fresh = fresh(dir);
    let done = match (dir.exists(), fresh.exists()) {
        // The damaged one keeps its name until the copy is whole and durable.
        (false, true) => fs::rename(&fresh, dir),
        (true, true) => fs::remove_dir_all(&fresh),
        _ => Ok(()),
    };
    done.map_err(|e| Error::io(format!("mending {}", dir.display()), e))
}

/// Copies what `store` holds into a new database at `dir`, and sets the old one aside.
/// Returns where that is. The new one has no mark yet, which says that it is not whole.
pub(super) fn copy_aside(dir: &Path, store: SledStore, seen: &Seen) -> Result<PathBuf, Error> {
    let what = format!("mending {}", dir.display());
    let fresh = fresh(dir);
    // sled takes a segment's room twice over while it writes.
    if free_bytes(dir)? < 2 * seen.summary.bytes + 2 * FREE_BYTES_MIN {
        return Err(Error::Full { what });
    }
    make(&fresh)?;
    let copied = guard(&what, || copy(store.db(), &fresh, seen));
    let copied = copied.and_then(|()| {
        let synced = Sync::open(&fresh).and_then(|mut sync| sync.run());
        synced.map_err(|e| Error::io(what.clone(), e))
    });
    if copied.is_err() {
        // The next opening would remove it too; a full disk wants its room back now.
        let _ = fs::remove_dir_all(&fresh);
    }
    copied?;
    // However sled takes that: nothing of it is written any more.
    drop(store);
    let aside = set_aside(dir)?;
    fs::rename(&fresh, dir)
        .and_then(|()| match dir.parent() {
            Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        })
        .map_err(|e| Error::io(what, e))?;
    Ok(aside)
}

fn copy(from: &sled::Db, to: &Path, seen: &Seen) -> sled::Result<()> {
    let to = open_sled(to, None)?;
    let (mut batch, mut bytes) = (sled::Batch::default(), 0);
    walk(from, |key, value| {
        if key == SUMMARY_KEY {
            return Ok(());
        }
        bytes += key.len() + value.len();
        batch.insert(key, value);
        if bytes >= BATCH_BYTES {
            bytes = 0;
            to.apply_batch(std::mem::take(&mut batch))?;
        }
        Ok(())
    })?;
    // One more than the old one's, so that not even an empty one looks untouched.
    batch.insert(
        SUMMARY_KEY,
        sealed_summary(&seen.summary, seen.generation + 1),
    );
    to.apply_batch(batch)?;
    to.flush().map(drop)
}

/// Gives the folder another name, `DIR.damaged-N` with the first N that is free.
pub(super) fn set_aside(dir: &Path) -> Result<PathBuf, Error> {
    let aside = (1u32..)
        .map(|n| beside(dir, &format!("damaged-{n}")))
        .find(|path| !path.exists())
        .expect("invariant: no disk holds 2^32 folders");
    fs::rename(dir, &aside)
        .map_err(|e| Error::io(format!("setting aside {}", dir.display()), e))?;
    Ok(aside)
}

/// The folder, for nobody else's eyes.
pub(super) fn make(dir: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| Error::io(dir.display().to_string(), e))
}

fn fresh(dir: &Path) -> PathBuf {
    beside(dir, "new")
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::super::store::read_through;
    use super::*;
    use crate::mark::Mark;

    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose: sled calls this while it closes");
        }
    }

    #[test]
    fn a_damaged_database_that_panics_while_it_closes_is_set_aside_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("db");
        let db = open_sled(&dir, None).unwrap();
        db.insert(b"\x03key", b"value").unwrap();
        let mut watch = pin!(db.watch_prefix(b""));
        let waker = Waker::from(Arc::new(Panics));
        assert!(
            watch
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        let mut seen = read_through(&db).unwrap();
        let (mark, _) = Mark::open(&dir.join("mark")).unwrap();
        let sync = Sync::open(&dir).unwrap();
        let store = SledStore::new(db, &dir, mark, sync, &mut seen);

        let aside = copy_aside(&dir, store, &seen).unwrap();
        assert!(aside.join("db").exists());
        let copy = open_sled(&dir, None).unwrap();
        assert_eq!(copy.get(b"\x03key").unwrap().unwrap(), b"value");
    }
}
