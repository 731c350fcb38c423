//! Where the door itself listens, behind its porter: a Unix socket in a folder that only
//! this user may open. So it takes no port that another node keeps, and nobody else on the
//! machine comes past the porter.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chorus_storage::home::make_dir;

use super::error::Error;

/// The socket's name in its folder.
const NAME: &str = "door.sock";
/// The longest path of a Unix socket, bytes; one more ends it.
const PATH_BYTES_MAX: usize = 107;

/// The place of the socket. Dropping it removes the file, and the folder if it was made for
/// this alone.
#[derive(Debug)]
pub struct InnerDoor {
    path: PathBuf,
    made: Option<PathBuf>,
}

impl InnerDoor {
    /// In `folder`, which is made or tightened to mode 0700. A file left there by a killed
    /// process goes when libzmq binds. An error says that the folder will not do.
    fn within(folder: &Path) -> io::Result<Self> {
        let path = socket_in(folder)?;
        make_dir(folder).map_err(io::Error::other)?;
        Ok(Self { path, made: None })
    }

    /// In a new folder among the temporary files, under a name that nobody can take first.
    fn temporary() -> io::Result<Self> {
        let number = getrandom::u64().map_err(io::Error::other)?;
        let folder = std::env::temp_dir().join(format!("chorus-{number:016x}"));
        let path = socket_in(&folder)?;
        DirBuilder::new().mode(0o700).create(&folder)?;
        let made = Some(folder);
        Ok(Self { path, made })
    }

    /// Binds one in `folder`, or among the temporary files where that will not do: without a
    /// folder, with a path too long for a socket, on a disk that is read-only or full.
    pub fn open<T>(
        folder: Option<&Path>,
        mut bind: impl FnMut(&InnerDoor) -> Result<T, Error>,
    ) -> Result<(Self, T), Error> {
        if let Some(inner) = folder.and_then(|folder| Self::within(folder).ok())
            && let Ok(door) = bind(&inner)
        {
            return Ok((inner, door));
        }
        let inner = Self::temporary().map_err(|source| Error::Bind {
            endpoint: std::env::temp_dir().display().to_string(),
            source,
        })?;
        let door = bind(&inner)?;
        Ok((inner, door))
    }

    /// Makes the folder again where somebody removed it, for the next bind; not what it stands
    /// in, since a home that is gone must not come back as an empty one. An error also where
    /// the folder is now another user's.
    pub fn restore_folder(&self) -> io::Result<()> {
        let Some(folder) = self.path.parent() else {
            return Ok(());
        };
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(why) if why.kind() != io::ErrorKind::AlreadyExists => Err(why),
            _ => fs::set_permissions(folder, fs::Permissions::from_mode(0o700)),
        }
    }

    /// Where the porter connects to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What libzmq binds.
    pub fn endpoint(&self) -> String {
        format!("ipc://{}", self.path.display())
    }
}

/// Where the socket stands in `folder`, if that can be said to libzmq: as text, and short.
fn socket_in(folder: &Path) -> io::Result<PathBuf> {
    let path = folder.join(NAME);
    match path.to_str() {
        Some(text) if text.len() <= PATH_BYTES_MAX => Ok(path),
        _ => Err(io::ErrorKind::InvalidFilename.into()),
    }
}

impl Drop for InnerDoor {
    fn drop(&mut self) {
        // What cannot be removed is replaced by the next start, or is litter.
        let _ = fs::remove_file(&self.path);
        if let Some(folder) = &self.made {
            let _ = fs::remove_dir(folder);
        }
    }
}
