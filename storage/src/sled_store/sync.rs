//! What sled's own `flush` leaves out: an fsync.
//!
//! On Linux sled 0.34.7 calls `sync_file_range`, which writes pages out but
//! neither the file's length nor the disk's own cache, and it never syncs the
//! files in `blobs/` (nodes over 128 KiB). That survives kill -9 and not a power cut.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

#[derive(Debug)]
pub(super) struct Sync {
    log: File,
    blobs: PathBuf,
    /// Blobs are written once and never changed: each needs one sync.
    synced: BTreeSet<OsString>,
}

impl Sync {
    /// For the database that is open in `dir`.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let sync = Self {
            log: File::options()
                .read(true)
                .write(true)
                .open(dir.join("db"))?,
            blobs: dir.join("blobs"),
            synced: BTreeSet::new(),
        };
        // The names of files that sled made a moment ago.
        File::open(dir)?.sync_all()?;
        Ok(sync)
    }

    /// Takes room on the disk for the next `bytes` of the log, and for holes in it.
    /// sled does not recover from a full disk that it meets in a write, so this
    /// makes it rare; the store is broken when it happens all the same.
    pub(super) fn reserve(&self, bytes: u64) -> io::Result<()> {
        let end = self.log.metadata()?.len().saturating_add(bytes);
        match rustix::fs::fallocate(&self.log, FallocateFlags::KEEP_SIZE, 0, end) {
            // A file system that cannot reserve; the look at the free bytes must do.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            done => Ok(done?),
        }
    }

    /// After sled's flush: makes what it wrote durable.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut present = BTreeSet::new();
        for entry in fs::read_dir(&self.blobs)? {
            let entry = entry?;
            let name = entry.file_name();
            if !self.synced.contains(&name) {
                match File::open(entry.path()) {
                    Ok(blob) => blob.sync_all()?,
                    // sled's cleaning removed it: nothing refers to it any more.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                }
            }
            present.insert(name);
        }
        if !present.is_subset(&self.synced) {
            File::open(&self.blobs)?.sync_all()?;
        }
        self.synced = present;
        self.log.sync_data()
    }
}
