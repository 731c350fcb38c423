//! Checkpoints on disk: two files each in the home's `checkpoints/`, replaced as a whole.
//!
//! `EPOCH-ROOT.copy` is the checkpoint, or this node's fragment of it, `EPOCH-ROOT.durable` its
//! certificate; the epoch has 20 digits, so that the names sort, and the root its first 16. They
//! are read whole, also by verbs while the node runs. Whether the bytes are sound is the
//! reader's to check: each of them is under a signature.

use std::fs;
use std::io;
use std::path::PathBuf;

use chorus_protocol::memory::checkpoint::{COPY_BYTES_MAX, Header, Name, What};

use crate::home::{Home, HomeError, make_dir, sync_dir, write_atomic};

/// The files of one home.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    dir: PathBuf,
}

/// The bytes of one checkpoint.
#[derive(Debug, Clone)]
pub struct Files {
    /// What the names of its files begin with.
    pub stem: String,
    /// The checkpoint.
    pub copy: Vec<u8>,
    /// Its certificate, if there is one.
    pub certificate: Option<Vec<u8>>,
}

impl Checkpoints {
    /// Those of `home`.
    pub fn of(home: &Home) -> Self {
        Self {
            dir: home.dir().join("checkpoints"),
        }
    }

    /// Those in a folder, as they may have been copied there.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Whether the folder is there.
    pub fn is_there(&self) -> bool {
        self.dir.is_dir()
    }

    /// Writes one file; it is on disk when this returns.
    pub fn write(&self, name: &Name, what: What, bytes: &[u8]) -> Result<(), HomeError> {
        if !self.dir.is_dir() {
            make_dir(&self.dir)?;
            sync_dir(&self.dir).map_err(|why| HomeError::io(&self.dir, why))?;
        }
        write_atomic(&self.path(&stem(name), what), bytes, 0o600)
    }

    /// Removes both files of one, if they are there.
    pub fn forget(&self, name: &Name) -> Result<(), HomeError> {
        self.remove(&stem(name))
    }

    /// Removes what begins with `stem`.
    pub fn remove(&self, stem: &str) -> Result<(), HomeError> {
        // The certificate first: alone it is of no use.
        for what in [What::Certificate, What::Copy] {
            let path = self.path(stem, what);
            match fs::remove_file(&path) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => {
                    return Err(HomeError::io(&path, why));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All of them, the oldest first. A file that is longer than a checkpoint can be is cut
    /// there, which no check of its bytes lets pass.
    pub fn read_all(&self) -> Result<Vec<Files>, HomeError> {
        let mut stems = Vec::new();
        let entries = match fs::read_dir(&self.dir) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(|why| HomeError::io(&self.dir, why))?,
        };
        for entry in entries {
            let name = entry.map_err(|why| HomeError::io(&self.dir, why))?;
            let name = name.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".copy"));
            stems.extend(stem.map(str::to_owned));
        }
        stems.sort();
        let read = |stem: String| {
            let copy = self.read(&stem, What::Copy)?;
            let certificate = self.read(&stem, What::Certificate)?;
            let files = copy.map(|copy| Files {
                stem,
                copy,
                certificate,
            });
            Ok(files)
        };
        let all: Result<Vec<_>, HomeError> = stems.into_iter().map(read).collect();
        Ok(all?.into_iter().flatten().collect())
    }

    fn read(&self, stem: &str, what: What) -> Result<Option<Vec<u8>>, HomeError> {
        use std::io::Read;
        let path = self.path(stem, what);
        let failed = |why| HomeError::io(&path, why);
        let file = match fs::File::open(&path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        let most = COPY_BYTES_MAX as u64 + 1;
        file.take(most).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    fn path(&self, stem: &str, what: What) -> PathBuf {
        let suffix = match what {
            What::Copy => "copy",
            What::Certificate => "durable",
        };
        self.dir.join(format!("{stem}.{suffix}"))
    }
}

/// What the files of the checkpoint with this header are called.
pub fn stem_of(header: &Header) -> String {
    stem(&Name::of(header))
}

fn stem(name: &Name) -> String {
    let root = name.root.to_string();
    format!("{:020}-{}", name.epoch, &root[..16])
}
