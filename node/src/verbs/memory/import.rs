//! `memory import`: writes each line of a file that is a JSON object under a key of its own.
//!
//! A thread reads and checks lines ahead while the node writes: two batches at most wait, so a
//! file of any size takes the same room. Batches are written one after the other, for of two
//! lines with the same key the last one must stay.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::ask;
use super::batches::{Batch, Batches, Entry};
use super::progress::{Done, Progress, size};
use crate::cli::Context;
use crate::control::memory::Ask;
use crate::error::{Failure, exit};

/// Batches that wait for the node.
const AHEAD: usize = 2;
/// Bad lines that are told one by one; all are counted.
const TOLD_MAX: usize = 1000;
/// How long a batch may take on a slow disk, beside what every question may.
const BATCH_TIME: Duration = Duration::from_secs(40);
/// How long a node may be too busy for a batch, and how long between two tries.
const BUSY_MAX: Duration = Duration::from_secs(60);
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// How it went.
#[derive(Debug, Default)]
struct Report {
    imported: u64,
    skipped: u64,
    failed: Vec<(u64, String)>,
    failed_total: u64,
    /// The last line that is done with, and the bytes up to its end.
    line: u64,
    bytes: u64,
}

pub async fn run(ctx: Context, path: PathBuf, field: Option<String>) -> Result<(), Failure> {
    let (from, total) = open(&path)?;
    let (batches, mut read) = mpsc::channel(AHEAD);
    let reader = move || {
        let mut from = Batches::new(BufReader::with_capacity(64 << 10, from), field);
        // It ends when nobody takes any more.
        while let Some(batch) = from.next().transpose() {
            let over = batch.is_err();
            if batches.blocking_send(batch).is_err() || over {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("chorus-lines".into());
    thread
        .spawn(reader)
        .map_err(|why| Failure::failed("no_thread", why.to_string()))?;
    let mut progress = Progress::new(total);
    let mut report = Report::default();
    let mut stopped = None;
    while let Some(batch) = read.recv().await {
        let written = match batch {
            Ok(batch) => report.take(&ctx, batch).await,
            Err(why) => Err(Failure::failed(
                "unreadable",
                format!("{}: {why}", path.display()),
            )),
        };
        progress.at(report.done());
        if let Err(failure) = written {
            stopped = Some(failure);
            break;
        }
    }
    let took = progress.end();
    report.tell(&ctx, took, stopped)
}

fn open(path: &Path) -> Result<(Box<dyn io::Read + Send>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let unreadable =
        |why: io::Error| Failure::usage("unreadable", format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if about.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let total = about.is_file().then_some(about.len());
    Ok((Box::new(file), total))
}

impl Report {
    fn done(&self) -> Done {
        Done {
            records: self.imported + self.skipped,
            bytes: self.bytes,
        }
    }

    /// Writes a batch. An error is one for the whole import.
    async fn take(&mut self, ctx: &Context, batch: Batch) -> Result<(), Failure> {
        batch.bad.into_iter().for_each(|bad| self.bad(bad));
        match self.write(ctx, &batch.entries).await {
            Ok(()) => {}
            // One of them is to blame: each for itself, so that the others are written.
            Err(failure) if is_of_one(&failure) => {
                for entry in &batch.entries {
                    match self.write(ctx, std::slice::from_ref(entry)).await {
                        Err(failure) if is_of_one(&failure) => {
                            self.bad((entry.line, failure.message));
                        }
                        done => done?,
                    }
                    self.line = entry.line;
                }
            }
            Err(failure) => return Err(failure),
        }
        (self.line, self.bytes) = (batch.line, batch.read);
        Ok(())
    }

    fn bad(&mut self, bad: (u64, String)) {
        self.failed_total += 1;
        if self.failed.len() < TOLD_MAX {
            self.failed.push(bad);
        }
    }

    async fn write(&mut self, ctx: &Context, entries: &[Entry]) -> Result<(), Failure> {
        if entries.is_empty() {
            return Ok(());
        }
        let pair = |entry: &Entry| (entry.key.clone(), entry.text.clone());
        let batch: Vec<_> = entries.iter().map(pair).collect();
        let began = Instant::now();
        let lines = loop {
            let import = Ask::Import {
                batch: batch.clone(),
            };
            match ask(ctx, import, BATCH_TIME).await {
                Err(why) if why.code == "busy" && began.elapsed() < BUSY_MAX => {
                    sleep(BUSY_PAUSE).await;
                }
                answer => break answer?,
            }
        };
        let number = |name: &str| lines.first().and_then(|line| line[name].as_u64());
        let (Some(written), Some(unchanged)) = (number("written"), number("unchanged")) else {
            return Err(Failure::failed(
                "bad_answer",
                "the node's answer is not understood",
            ));
        };
        self.imported += written;
        self.skipped += unchanged;
        Ok(())
    }

    fn tell(self, ctx: &Context, took: Duration, stopped: Option<Failure>) -> Result<(), Failure> {
        let words = self.words(took);
        let bad = self.failed.iter();
        let bad = bad.map(|(line, why)| json!({"line": line, "why": why}));
        let mut report = Map::new();
        let mut say = |name: &str, value: Value| report.insert(name.into(), value);
        say("schema", "chorus.memory_import/1".into());
        say("imported", self.imported.into());
        say("skipped", self.skipped.into());
        say("failed", bad.collect::<Vec<_>>().into());
        say("failed_total", self.failed_total.into());
        say("complete", stopped.is_none().into());
        say("line", self.line.into());
        say("bytes", self.bytes.into());
        say("elapsed_ms", (took.as_millis() as u64).into());
        let failure = match stopped {
            Some(failure) => self.stopped(failure),
            None if self.failed_total > 0 => self.partial(),
            None => return ctx.answer(&report.into(), &words),
        };
        say("code", failure.code.clone().into());
        say("message", failure.message.clone().into());
        say("hint", failure.hint.clone().into());
        say("exit", failure.exit.into());
        if !ctx.json {
            for (line, why) in &self.failed {
                eprintln!("line {line}: {why}");
            }
            let more = self.failed_total - self.failed.len() as u64;
            if more > 0 {
                eprintln!("and {more} more");
            }
        }
        ctx.answer_failed(&report.into(), &words, failure)
    }

    fn words(&self, took: Duration) -> String {
        format!(
            "{} imported, {} skipped (there already), {} failed; {} in {:.1} s",
            self.imported,
            self.skipped,
            self.failed_total,
            size(self.bytes),
            took.as_secs_f64()
        )
    }

    fn partial(&self) -> Failure {
        let message = format!(
            "{} lines were not imported, the others were",
            self.failed_total
        );
        Failure::new(exit::PARTIAL, "bad_lines", message)
            .hint("mend them and repeat the import: what is there already is skipped")
    }

    /// Something else than a line ended it.
    fn stopped(&self, mut failure: Failure) -> Failure {
        failure.message = format!(
            "the import stopped after line {}, the lines up to it are done: {}",
            self.line, failure.message
        );
        let again = "repeat the same command to go on: what is there already is skipped";
        failure.hint = match failure.hint.as_str() {
            "" => again.into(),
            hint => format!("{hint}; then {again}"),
        };
        failure
    }
}

/// Whether a failure is about a single record of a batch.
fn is_of_one(failure: &Failure) -> bool {
    ["too_large", "foreign_key", "damaged", "bad_request"].contains(&failure.code.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lines_are_counted_beyond_those_that_are_told() {
        let mut report = Report::default();
        for line in 0..TOLD_MAX as u64 + 7 {
            report.bad((line, "no".into()));
        }
        assert_eq!(report.failed.len(), TOLD_MAX);
        assert_eq!(report.failed_total, TOLD_MAX as u64 + 7);
        let failure = report.partial();
        assert!(failure.exit == 5 && failure.message.starts_with("1007 lines"));
    }

    #[test]
    fn an_end_in_the_middle_says_how_far_and_that_repeating_goes_on() {
        let report = Report {
            line: 4711,
            ..Report::default()
        };
        let failure = report.stopped(Failure::unreachable("stopping", "the node is stopping"));
        assert_eq!(failure.exit, 3);
        assert!(failure.message.contains("after line 4711"), "{failure}");
        assert!(failure.hint.starts_with("repeat the same command"));
    }
}
