//! Progress of a long piece of work on stderr: a bar that is drawn again where somebody looks,
//! a line for every tenth elsewhere. What is not a whole file has no end that is known: then
//! only what was done is told.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two drawings.
const REDRAW: Duration = Duration::from_millis(200);
/// Where the end is not known, and nobody looks: bytes between two lines.
const UNKNOWN_STEP: u64 = 64 << 20;
/// Cells of the bar.
const WIDTH: usize = 24;

/// How far something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Records.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Tells of it.
#[derive(Debug)]
pub struct Progress {
    total: Option<u64>,
    is_terminal: bool,
    began: Instant,
    drawn: Option<Instant>,
    /// The last tenth, or step, that a line told of.
    told: u64,
}

impl Progress {
    /// Of so many bytes, if that is known.
    pub fn new(total: Option<u64>) -> Self {
        Self {
            total,
            is_terminal: std::io::stderr().is_terminal(),
            began: Instant::now(),
            drawn: None,
            told: 0,
        }
    }

    /// So far.
    pub fn at(&mut self, done: Done) {
        let elapsed = self.began.elapsed();
        if self.is_terminal {
            let due = self.drawn.is_none_or(|at| at.elapsed() >= REDRAW);
            if due {
                self.drawn = Some(Instant::now());
                tell(&format!("\r\x1b[K{}", bar(done, self.total, elapsed)));
            }
        } else if let Some(told) = step(done.bytes, self.total, self.told) {
            self.told = told;
            tell(&format!("{}\n", line(done, self.total, elapsed)));
        }
    }

    /// Takes the bar away; how long it took.
    pub fn end(self) -> Duration {
        if self.drawn.is_some() {
            tell("\r\x1b[K");
        }
        self.began.elapsed()
    }
}

/// Nobody who reads stderr is no reason to stop.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The tenth, or step, to tell of now, if it is another one than `told`.
fn step(bytes: u64, total: Option<u64>, told: u64) -> Option<u64> {
    let now = match total {
        Some(total) => (u128::from(bytes) * 10 / u128::from(total.max(1))).min(10) as u64,
        None => bytes / UNKNOWN_STEP,
    };
    (now > told).then_some(now)
}

fn hundredths(bytes: u64, total: u64) -> u64 {
    (u128::from(bytes) * 100 / u128::from(total.max(1))).min(100) as u64
}

fn bar(done: Done, total: Option<u64>, elapsed: Duration) -> String {
    let Some(total) = total else {
        return line(done, total, elapsed);
    };
    let full = hundredths(done.bytes, total) as usize * WIDTH / 100;
    let cells = "#".repeat(full) + &".".repeat(WIDTH - full);
    format!("[{cells}] {}", line(done, Some(total), elapsed))
}

fn line(done: Done, total: Option<u64>, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let rate = (done.records as f64 / seconds) as u64;
    let share = total.map(|total| format!("{:>3} %, ", hundredths(done.bytes, total)));
    format!(
        "{}{} records, {}, {rate} records/s",
        share.unwrap_or_default(),
        done.records,
        size(done.bytes)
    )
}

/// Bytes in the unit that people would take.
pub fn size(bytes: u64) -> String {
    match bytes as f64 {
        ..1e3 => format!("{bytes} B"),
        b @ ..1e6 => format!("{:.1} kB", b / 1e3),
        b @ ..1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenth_is_told_once_and_the_end_is_a_hundred() {
        let mut told = 0;
        let mut lines = 0;
        for bytes in 0..=1234 {
            if let Some(now) = step(bytes, Some(1234), told) {
                told = now;
                lines += 1;
            }
        }
        assert_eq!((lines, told), (10, 10));
        assert_eq!(
            step(5, Some(0), 0),
            Some(10),
            "a file that grows is not over its end"
        );
        assert_eq!(step(UNKNOWN_STEP - 1, None, 0), None);
        assert_eq!(step(UNKNOWN_STEP * 3, None, 1), Some(3));
    }

    #[test]
    fn the_bar_says_share_records_bytes_and_rate() {
        let done = Done {
            records: 500,
            bytes: 25_000_000,
        };
        let second = Duration::from_secs(1);
        assert_eq!(
            bar(done, Some(100_000_000), second),
            "[######..................]  25 %, 500 records, 25.0 MB, 500 records/s"
        );
        assert_eq!(
            bar(done, None, second),
            "500 records, 25.0 MB, 500 records/s"
        );
    }
}
