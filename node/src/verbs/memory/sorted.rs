//! Sorting more than fits into memory: what has been pushed is sorted in runs, which wait in
//! a temporary file, and merged when all is there. A few things never touch a disk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a run in memory.
const RUN_BYTES: usize = 8 << 20;
/// Bytes of a run that are read at a time when runs are merged.
const READ_BYTES: usize = 64 << 10;
/// What an entry costs beside its bytes.
const ENTRY: usize = 2 * size_of::<Vec<u8>>();

/// An entry: what it is sorted by, and what it is.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Of those that are sorted by the same, the one of the earlier run comes first.
type Numbered = (usize, Vec<u8>);

/// Takes entries in any order.
#[derive(Debug)]
pub struct Sorter {
    run: Vec<Entry>,
    run_bytes: usize,
    run_bytes_max: usize,
    dir: PathBuf,
    file: Option<File>,
    /// Where each run begins and ends in the file.
    runs: Vec<(u64, u64)>,
}

/// Gives them in order.
#[derive(Debug)]
pub struct Sorted {
    /// The next entry of each run, with the number of the run.
    next: BinaryHeap<Reverse<(Vec<u8>, Numbered)>>,
    file: Option<File>,
    runs: Vec<Run>,
    last: std::vec::IntoIter<Entry>,
}

#[derive(Debug)]
struct Run {
    at: u64,
    end: u64,
    held: Vec<u8>,
    used: usize,
}

impl Sorter {
    /// With its file, should it need one, in this folder.
    pub fn new(dir: &Path) -> Self {
        Self::with_run(dir, RUN_BYTES)
    }

    fn with_run(dir: &Path, run_bytes_max: usize) -> Self {
        Self {
            run: Vec::new(),
            run_bytes: 0,
            run_bytes_max,
            dir: dir.to_owned(),
            file: None,
            runs: Vec::new(),
        }
    }

    /// Takes one. Of those that are sorted by the same the first comes first.
    pub fn push(&mut self, by: Vec<u8>, what: Vec<u8>) -> io::Result<()> {
        self.run_bytes += by.len() + what.len() + ENTRY;
        self.run.push((by, what));
        match self.run_bytes >= self.run_bytes_max {
            true => self.spill(),
            false => Ok(()),
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.run.sort_by(|a, b| a.0.cmp(&b.0));
        if self.file.is_none() {
            // It has no name: whatever ends this process, nothing of it stays.
            self.file = Some(tempfile::tempfile_in(&self.dir)?);
        }
        let file = self.file.as_ref().expect("invariant: it was made above");
        let begin = self.runs.last().map_or(0, |run| run.1);
        let mut end = begin;
        let mut out = BufWriter::with_capacity(READ_BYTES, file);
        for (by, what) in self.run.drain(..) {
            for part in [&by, &what] {
                out.write_all(&(part.len() as u32).to_le_bytes())?;
            }
            out.write_all(&by)?;
            out.write_all(&what)?;
            end += 8 + (by.len() + what.len()) as u64;
        }
        out.flush()?;
        drop(out);
        self.runs.push((begin, end));
        self.run_bytes = 0;
        Ok(())
    }

    /// All are there.
    pub fn sorted(mut self) -> io::Result<Sorted> {
        self.run.sort_by(|a, b| a.0.cmp(&b.0));
        let run = |(at, end): &(u64, u64)| Run {
            at: *at,
            end: *end,
            held: Vec::new(),
            used: 0,
        };
        let mut sorted = Sorted {
            next: BinaryHeap::new(),
            runs: self.runs.iter().map(run).collect(),
            file: self.file,
            last: self.run.into_iter(),
        };
        for at in 0..=sorted.runs.len() {
            sorted.refill(at)?;
        }
        Ok(sorted)
    }
}

impl Sorted {
    /// The next one in order; `None` when there are no more.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let Some(Reverse((by, (at, what)))) = self.next.pop() else {
            return Ok(None);
        };
        self.refill(at)?;
        Ok(Some((by, what)))
    }

    /// Puts the next entry of a run in; the one after the last is that in memory.
    fn refill(&mut self, at: usize) -> io::Result<()> {
        let entry = match (self.runs.get_mut(at), &self.file) {
            (Some(run), Some(file)) => run.next(file)?,
            _ => self.last.next(),
        };
        if let Some((by, what)) = entry {
            self.next.push(Reverse((by, (at, what))));
        }
        Ok(())
    }
}

impl Run {
    fn next(&mut self, file: &File) -> io::Result<Option<Entry>> {
        if self.used == self.held.len() && self.at == self.end {
            return Ok(None);
        }
        let by = self.length(file)?;
        let what = self.length(file)?;
        Ok(Some((self.take(file, by)?, self.take(file, what)?)))
    }

    fn length(&mut self, file: &File) -> io::Result<usize> {
        let bytes = self.take(file, 4)?;
        let bytes = bytes.try_into().expect("invariant: four were asked for");
        Ok(u32::from_le_bytes(bytes) as usize)
    }

    fn take(&mut self, file: &File, many: usize) -> io::Result<Vec<u8>> {
        let mut taken = Vec::with_capacity(many);
        while taken.len() < many {
            if self.used == self.held.len() {
                let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
                self.held.resize(left.min(READ_BYTES), 0);
                file.read_exact_at(&mut self.held, self.at)?;
                self.at += self.held.len() as u64;
                self.used = 0;
            }
            let held = &self.held[self.used..];
            let part = &held[..held.len().min(many - taken.len())];
            taken.extend_from_slice(part);
            self.used += part.len();
            if part.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(run_bytes: usize, many: u32) -> (usize, Vec<Entry>) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut sorter = Sorter::with_run(dir.path(), run_bytes);
        for n in 0..many {
            let by = (n.wrapping_mul(2_654_435_761) % 1000)
                .to_be_bytes()
                .to_vec();
            let what = vec![n as u8; (n % 300) as usize];
            sorter.push(by, what).expect("it takes it");
        }
        let runs = sorter.runs.len();
        let left = std::fs::read_dir(dir.path()).expect("the folder").count();
        assert_eq!(left, 0, "the file has no name");
        let mut sorted = sorter.sorted().expect("it sorts");
        let all = std::iter::from_fn(|| sorted.next().expect("it reads"));
        (runs, all.collect())
    }

    #[test]
    fn runs_on_disk_give_what_a_sort_in_memory_gives() {
        let (none, in_memory) = sorted(usize::MAX, 5_000);
        let (many, on_disk) = sorted(9_000, 5_000);
        assert!(none == 0 && many > 50, "{none} and {many} runs");
        assert_eq!(in_memory.len(), 5_000);
        assert!(in_memory.is_sorted_by_key(|it| it.0.clone()));
        assert!(
            on_disk == in_memory,
            "the same, equals in the order in which they came"
        );
        assert_eq!(sorted(9_000, 0).1, []);
    }
}
