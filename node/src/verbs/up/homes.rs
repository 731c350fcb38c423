//! Homes: each process takes the first below one folder that no other has and whose node has
//! not been revoked.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use chorus_storage::Home;
use chorus_storage::home::make_dir;

use crate::error::Failure;
use crate::home::broken;

/// Homes below one folder, at most.
const HOMES_MAX: u32 = 10_000;

/// A home that is this process's own as long as this is held.
#[derive(Debug)]
pub struct Taken {
    _claim: File,
    /// Where it is.
    pub home: PathBuf,
}

impl Taken {
    /// Its node has been revoked and never starts again: nobody takes the home any more. It
    /// stays where it is, for whoever wants to look.
    pub fn set_aside(&self) -> Result<(), Failure> {
        let path = aside(&self.home);
        File::create(&path).map_err(|why| failed(&path, &why))?;
        tracing::warn!(
            home = %self.home.display(),
            "this home's node has been revoked; the next start takes another home"
        );
        Ok(())
    }
}

/// The mark of a home that is set aside, beside it.
fn aside(home: &Path) -> PathBuf {
    home.with_extension("revoked")
}

/// Takes a home below `root`, the first or none where `founds` a mesh, and makes `dir` a link
/// by which other commands find it.
pub fn take(root: &Path, dir: &Path, founds: bool) -> Result<Taken, Failure> {
    let root = std::path::absolute(root).map_err(|why| failed(root, &why))?;
    if !root.exists() {
        make_dir(&root).map_err(broken)?;
    }
    Home::at(&root).refuse_superuser().map_err(broken)?;
    for n in 1..=HOMES_MAX {
        let home = root.join(n.to_string());
        // Who founds takes the first or none: in another it would make a second mesh.
        if !founds && aside(&home).exists() {
            continue;
        }
        let Some(claim) = claim(&home)? else {
            if founds {
                let message = format!("another process has {}", home.display());
                return Err(Failure::refused("home_busy", message)
                    .hint("a mesh is made once: a second home would be a second mesh"));
            }
            continue;
        };
        make_dir(&home).map_err(broken)?;
        link(&home, dir)?;
        tracing::info!(home = %home.display(), "this process's home");
        return Ok(Taken {
            _claim: claim,
            home,
        });
    }
    let message = format!("all {HOMES_MAX} homes below {} are in use", root.display());
    Err(Failure::refused("no_home", message))
}

/// The right to a home: a lock beside it. `None` while another process has it.
fn claim(home: &Path) -> Result<Option<File>, Failure> {
    let path = home.with_extension("lock");
    let file = File::create(&path).map_err(|why| failed(&path, &why))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(failed(&path, &why)),
    }
}

fn link(home: &Path, dir: &Path) -> Result<(), Failure> {
    match fs::read_link(dir) {
        Ok(before) if before == home => return Ok(()),
        // Other commands would find our node where they look for that one.
        Ok(before) if before.exists() && claim(&before)?.is_none() => {
            let message = format!("{} leads to the home of a node that runs", dir.display());
            return Err(
                Failure::refused("home_busy", message).hint("give each process a --dir of its own")
            );
        }
        Ok(_) => fs::remove_file(dir).map_err(|why| failed(dir, &why))?,
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(_) => {
            let message = format!("{} is there already, and no link", dir.display());
            return Err(Failure::refused("home_used", message)
                .hint("with --homes, --dir is where a link to the home is made"));
        }
    }
    let made = dir.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| std::os::unix::fs::symlink(home, dir))
        .map_err(|why| failed(dir, &why))
}

fn failed(path: &Path, why: &io::Error) -> Failure {
    let message = format!("{}: {why}", path.display());
    Failure::failed("no_home", message)
        .hint("--homes needs a folder that this user may write, and --dir a place for a link")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_takes_a_home_that_no_other_has_and_the_first_that_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("homes");
        let link = |name: &str| dir.path().join(name);
        let first = take(&root, &link("a"), false).unwrap();
        let second = take(&root, &link("b"), false).unwrap();
        assert_eq!(fs::read_link(link("b")).unwrap(), root.join("2"));
        assert_eq!(second.home, root.join("2"));
        // A second mesh is never made beside the first.
        assert_eq!(take(&root, &link("m"), true).unwrap_err().code, "home_busy");
        // A link that others use is left alone.
        assert_eq!(
            take(&root, &link("a"), false).unwrap_err().code,
            "home_busy"
        );
        drop(first);
        let again = take(&root, &link("c"), false).unwrap();
        assert_eq!(again.home, root.join("1"));
        // A home whose node was revoked is nobody's any more, but no reason for a second mesh.
        again.set_aside().unwrap();
        drop(again);
        let third = take(&root, &link("c"), false).unwrap();
        assert_eq!(third.home, root.join("3"));
        let founder = take(&root, &link("m"), true).unwrap();
        assert_eq!(founder.home, root.join("1"));
        // A folder is never replaced by a link.
        fs::create_dir(link("d")).unwrap();
        assert_eq!(
            take(&root, &link("d"), false).unwrap_err().code,
            "home_used"
        );
    }
}
