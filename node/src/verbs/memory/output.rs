//! Output that is written as it comes: to stdout, whose reader may have had enough, or to a
//! file that is replaced only when all is there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::cli;
use crate::error::Failure;

/// Where lines go.
#[derive(Debug)]
pub struct Output {
    to: BufWriter<Target>,
    /// What is written, for people.
    name: Option<PathBuf>,
    /// The file beside the one that is meant, and that.
    part: Option<(PathBuf, PathBuf)>,
    is_closed: bool,
}

#[derive(Debug)]
enum Target {
    Stdout(io::Stdout),
    File(File),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::Stdout(stdout) => stdout.write(bytes),
            Target::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::Stdout(stdout) => stdout.flush(),
            Target::File(file) => file.flush(),
        }
    }
}

impl Output {
    /// To stdout.
    pub fn stdout() -> Self {
        Self::to(Target::Stdout(io::stdout()), None, None)
    }

    /// To a file, by way of one beside it. What is there and is no file, such as a pipe, is
    /// written itself.
    pub fn file(path: &Path) -> Result<Self, Failure> {
        let failed = |why: io::Error| unwritten(path, &why);
        let named = Some(path.to_owned());
        let path = match fs::metadata(path) {
            Ok(there) if !there.is_file() => {
                let file = fs::OpenOptions::new().write(true).open(path);
                return Ok(Self::to(Target::File(file.map_err(failed)?), named, None));
            }
            // The file that a link leads to is replaced, not the link.
            Ok(_) => fs::canonicalize(path).map_err(failed)?,
            Err(_) => path.to_owned(),
        };
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".part");
        let part = path.with_file_name(name);
        let file = File::create(&part).map_err(failed)?;
        Ok(Self::to(Target::File(file), named, Some((part, path))))
    }

    fn to(target: Target, name: Option<PathBuf>, part: Option<(PathBuf, PathBuf)>) -> Self {
        Self {
            to: BufWriter::with_capacity(64 << 10, target),
            name,
            part,
            is_closed: false,
        }
    }

    /// Writes some of it. Whoever closed the pipe wanted no more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.is_closed {
            return Ok(());
        }
        let written = self.to.write_all(bytes);
        self.seen(written)
    }

    /// All is written: now it counts.
    pub fn end(mut self) -> Result<(), Failure> {
        if !self.is_closed {
            let flushed = self.to.flush();
            self.seen(flushed)?;
        }
        if let (Target::File(file), Some((part, path))) = (self.to.get_ref(), &self.part) {
            let kept = file.sync_all().and_then(|()| fs::rename(part, path));
            kept.map_err(|why| unwritten(path, &why))?;
            self.part = None;
        }
        Ok(())
    }

    fn seen(&mut self, written: io::Result<()>) -> Result<(), Failure> {
        match (written, &self.name) {
            (Ok(()), _) => Ok(()),
            (Err(why), Some(path)) => Err(unwritten(path, &why)),
            (Err(why), None) if why.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            (Err(why), None) => Err(Failure::failed("output_lost", cli::lost(&why))),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.part {
            // Of what did not come to its end nothing may stay.
            let _ = fs::remove_file(part);
        }
    }
}

fn unwritten(path: &Path, why: &io::Error) -> Failure {
    Failure::failed("output_lost", format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_when_all_is_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, link) = (dir.path().join("a.jsonl"), dir.path().join("link"));
        fs::write(&path, "before").expect("it is written");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let mut cut = Output::file(&link).expect("it opens");
        cut.write(b"half").expect("it takes it");
        drop(cut);
        assert_eq!(fs::read(&path).ok().as_deref(), Some(&b"before"[..]));
        let mut whole = Output::file(&link).expect("it opens");
        whole.write(b"after").expect("it takes it");
        whole.end().expect("it ends");
        assert_eq!(fs::read(&path).ok().as_deref(), Some(&b"after"[..]));
        assert!(link.is_symlink());
        assert_eq!(
            fs::read_dir(dir.path()).expect("it").count(),
            2,
            "nothing else stays"
        );
        let failure = Output::file(&dir.path().join("no/a")).expect_err("no folder");
        assert_eq!(failure.code, "output_lost");
    }
}
