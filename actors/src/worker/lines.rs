//! Lines: what a command writes, line by line. One that is too long is skipped, and its beginning kept.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// The lines of a stream.
#[derive(Debug)]
pub struct Lines<R> {
    from: BufReader<R>,
    bytes_max: usize,
    line: Vec<u8>,
    /// How much of this line was skipped.
    skipped: u64,
    /// The line was given out.
    is_over: bool,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// The whole of it, with its end.
    Whole(&'a [u8]),
    /// The beginning of one that is too long.
    Beginning(&'a [u8]),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// None of them longer than `bytes_max`.
    pub fn new(from: R, bytes_max: usize) -> Self {
        Self {
            from: BufReader::new(from),
            bytes_max,
            line: Vec::new(),
            skipped: 0,
            is_over: false,
        }
    }

    /// The next one; `None` at the end, and where more than `skip_max` bytes of one were skipped. What
    /// was read stays where this is dropped before it is done.
    pub async fn next(&mut self, skip_max: u64) -> Option<Read<'_>> {
        if std::mem::take(&mut self.is_over) {
            self.line.clear();
            self.skipped = 0;
        }
        let room = self.bytes_max.saturating_sub(self.line.len()) as u64;
        if room > 0 {
            let mut from = (&mut self.from).take(room);
            from.read_until(b'\n', &mut self.line).await.ok()?;
        }
        if self.line.last() == Some(&b'\n') {
            self.is_over = true;
            return Some(Read::Whole(&self.line));
        }
        if self.line.len() < self.bytes_max {
            return None;
        }
        loop {
            let more = self
                .from
                .fill_buf()
                .await
                .ok()
                .filter(|it| !it.is_empty())?;
            let end = more.iter().position(|it| *it == b'\n');
            let many = end.map_or(more.len(), |at| at + 1);
            self.from.consume(many);
            self.skipped += many as u64;
            if self.skipped > skip_max {
                return None;
            }
            if end.is_some() {
                self.is_over = true;
                return Some(Read::Beginning(&self.line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_to_its_end_and_one_without_end_ends_it() {
        let text = [&b"one\n"[..], &[b'x'; 5_000], b"\ntwo\n", &[b'y'; 5_000]].concat();
        let mut lines = Lines::new(&text[..], 8);
        assert_eq!(lines.next(9_000).await, Some(Read::Whole(b"one\n")));
        assert_eq!(lines.next(9_000).await, Some(Read::Beginning(b"xxxxxxxx")));
        assert_eq!(lines.next(9_000).await, Some(Read::Whole(b"two\n")));
        assert_eq!(lines.next(9_000).await, None, "no end");
        let mut lines = Lines::new(&text[4..], 8);
        assert_eq!(lines.next(100).await, None, "too much of it");
        let mut lines = Lines::new(&b"12345678\nhalf"[..], 9);
        assert_eq!(lines.next(0).await, Some(Read::Whole(b"12345678\n")));
        assert_eq!(lines.next(0).await, None);
    }
}
