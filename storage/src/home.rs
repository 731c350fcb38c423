//! A node's home: where everything stands, who may read it, and that one process has it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use crate::store::Error;

/// The longest socket path in bytes; the system's own limit is 107.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// The folder of one node. It names paths; [`Home::create`] makes the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
}

/// Why something in a home could not be read, written or taken.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another process runs in this home. Nothing changed.
    #[error("{path} is in use by process {holder}; stop it first, or choose another --dir")]
    InUse {
        /// The home.
        path: PathBuf,
        /// The process id it wrote, or `unknown`.
        holder: String,
    },
    /// The superuser would leave files here that the home's owner can't read. Nothing changed.
    #[error(
        "{path} belongs to user {owner}: what the superuser writes there its owner cannot read"
    )]
    NotOwner {
        /// The home.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// A key that others can read is not secret. It was not read.
    #[error(
        "{path} has mode {mode:04o}: others can read it; run `chmod 600` on it, or make a new key"
    )]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file that does not hold one line of 64 hexadecimal digits.
    #[error(
        "{path} is not a key (one line of 64 hexadecimal digits): {why}; restore it from a backup"
    )]
    BadKey {
        /// The key's file.
        path: PathBuf,
        /// What is wrong. It never quotes the key.
        why: &'static str,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl HomeError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        HomeError::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}

impl From<HomeError> for Error {
    fn from(error: HomeError) -> Self {
        match error {
            HomeError::Io { path, source } => Error::io(path.display().to_string(), source),
            other => Error::Io {
                what: "the home".into(),
                source: io::Error::other(other),
            },
        }
    }
}

/// This process's hold on a home. It ends when it is dropped or the process dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// The file that is locked, `lock` in the home.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the home is no longer where it was: the locked file is gone from its path, or
    /// another stands there, which another process may lock. What cannot be seen now, as on a
    /// disk that fails for a moment, is not lost.
    pub fn is_lost(&self) -> bool {
        match (fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(held)) => (there.dev(), there.ino()) != (held.dev(), held.ino()),
            (Err(why), _) => matches!(
                why.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
            (Ok(_), Err(_)) => false,
        }
    }
}

impl Home {
    /// The home at `dir`. Nothing is touched.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }
    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// `chorus.toml`, the configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("chorus.toml")
    }
    /// `identity`, the folder of the node's own keys and the boot record.
    pub fn identity(&self) -> PathBuf {
        self.dir.join("identity")
    }
    /// The Ed25519 secret key.
    pub fn node_key(&self) -> PathBuf {
        self.dir.join("identity/node.key")
    }
    /// The CURVE secret key.
    pub fn curve_key(&self) -> PathBuf {
        self.dir.join("identity/curve.key")
    }
    /// The boot record.
    pub fn boot(&self) -> PathBuf {
        self.dir.join("identity/boot")
    }
    /// `making`, the new keys while the home is being made.
    pub fn making(&self) -> PathBuf {
        self.dir.join("making")
    }
    /// `mesh`, the folder of the root's public key and the roster.
    pub fn mesh(&self) -> PathBuf {
        self.dir.join("mesh")
    }
    /// The mesh's root secret key; only where the mesh was made.
    pub fn root_key(&self) -> PathBuf {
        self.dir.join("operator/root.key")
    }
    /// `db`, the store.
    pub fn db(&self) -> PathBuf {
        self.dir.join("db")
    }
    /// `journal`, the journal's segments.
    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }
    /// `conflicts`, the conflict log's segments.
    pub fn conflicts(&self) -> PathBuf {
        self.dir.join("conflicts")
    }
    /// The addresses that the running node bound.
    pub fn addresses(&self) -> PathBuf {
        self.dir.join("run/addresses.json")
    }

    /// The control socket: in the home, or, when that path is too long for a
    /// socket, in `runtime` ($XDG_RUNTIME_DIR) or else `/tmp/chorus-UID`. It
    /// depends on the arguments alone, so that node and client agree; both pass
    /// the home as an absolute path.
    pub fn control_socket(&self, runtime: Option<&Path>, uid: u32) -> PathBuf {
        let inside = self.dir.join("run/control.sock");
        if inside.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return inside;
        }
        let digest = Sha256::digest(self.dir.as_os_str().as_bytes());
        let name = format!("{}.sock", hex(&digest[..16]));
        let short = runtime.map(|dir| dir.join("chorus").join(&name));
        short
            .filter(|path| path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX)
            .unwrap_or_else(|| PathBuf::from(format!("/tmp/chorus-{uid}")).join(&name))
    }

    /// Whether a node lives here already: it has a key. An error where that cannot be seen,
    /// as in a folder of another user's: it does not mean that there is none.
    pub fn is_used(&self) -> Result<bool, HomeError> {
        let key = self.node_key();
        key.try_exists().map_err(|why| HomeError::io(&key, why))
    }

    /// Makes the folders (mode 0700) that are missing. `operator` is made with its key.
    pub fn create(&self) -> Result<(), HomeError> {
        make_dir(&self.dir)?;
        for name in ["identity", "mesh", "db", "journal", "run"] {
            make_dir(&self.dir.join(name))?;
        }
        Ok(())
    }

    /// Free bytes on its disk, as this user may use them.
    pub fn free_bytes(&self) -> Result<u64, HomeError> {
        free_bytes(&self.dir)
    }

    /// Refuses the superuser in another user's home, who alone could write there and must not.
    /// For every other user the folder's mode decides.
    pub fn refuse_superuser(&self) -> Result<(), HomeError> {
        let folder = fs::metadata(&self.dir).map_err(|why| HomeError::io(&self.dir, why))?;
        match (rustix::process::geteuid().is_root(), folder.uid()) {
            (true, owner) if owner != 0 => Err(HomeError::NotOwner {
                path: self.dir.clone(),
                owner,
            }),
            _ => Ok(()),
        }
    }

    /// Takes the home for this process, at once or not at all. Whoever writes in a home holds
    /// this, so it is refused to the superuser where the home is another user's.
    pub fn lock(&self) -> Result<Lock, HomeError> {
        self.refuse_superuser()?;
        let path = self.dir.join("lock");
        let failed = |e: io::Error| HomeError::io(&path, e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // A holder that cannot be read is still a holder.
                let known = file.read_to_string(&mut holder).is_ok_and(|n| n > 0);
                let holder = if known {
                    holder.trim().to_string()
                } else {
                    "unknown".into()
                };
                return Err(HomeError::InUse {
                    path: self.dir.clone(),
                    holder,
                });
            }
            Err(e) => return Err(failed(e.into())),
        }
        file.set_len(0).map_err(failed)?;
        // A full disk must not keep a node from starting; the pid only helps a person.
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Lock { file, path })
    }
}

/// Free bytes on the disk of `dir`, as this user may use them.
pub(crate) fn free_bytes(dir: &Path) -> Result<u64, HomeError> {
    let room = rustix::fs::statvfs(dir).map_err(|e| HomeError::io(dir, e.into()))?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// Makes `dir` with mode 0700 and tightens it when it was there.
pub fn make_dir(dir: &Path) -> Result<(), HomeError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
        .map_err(|e| HomeError::io(dir, e))
}

/// Replaces `path` durably: whoever reads it, even after a crash, finds all of
/// the old bytes or all of the new, and the new once this has returned.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), HomeError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = replace(path, &temporary, bytes, mode);
    if written.is_err() {
        // Of a failed write nothing may stay behind; the error is what counts.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|e| HomeError::io(path, e))
}

fn replace(path: &Path, temporary: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(temporary)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    sync_dir(path)
}

/// Makes the name of `path` durable, not only its bytes.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Stores a secret key: one line of 64 hexadecimal digits, mode 0600, in a folder of mode 0700.
pub fn write_key(path: &Path, key: &[u8; 32]) -> Result<(), HomeError> {
    if let Some(dir) = path.parent() {
        make_dir(dir)?;
    }
    write_atomic(path, format!("{}\n", hex(key)).as_bytes(), 0o600)
}

/// Reads what [`write_key`] wrote; refuses a file that others can read.
pub fn read_key(path: &Path) -> Result<[u8; 32], HomeError> {
    let failed = |e| HomeError::io(path, e);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(HomeError::Exposed {
            path: path.to_path_buf(),
            mode,
        });
    }
    let mut text = Vec::new();
    file.take(67).read_to_end(&mut text).map_err(failed)?;
    let bad = |why| HomeError::BadKey {
        path: path.to_path_buf(),
        why,
    };
    let digits = text.strip_suffix(b"\n").unwrap_or(&text);
    if digits.len() != 64 {
        return Err(bad("the length is wrong"));
    }
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return Err(bad("a character is not a hexadecimal digit"));
        };
        *byte = high << 4 | low;
    }
    Ok(key)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|d| d as u8)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
