//! Lines of a file of any size: of each only so much is held as a line may have. What is
//! longer is counted and let go, and the next line is read as if nothing had been.

use std::io::{self, BufRead};

/// The longest line in bytes, without its end: a value's limit, with room for white space.
pub const LINE_MAX: usize = 64 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// One line that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Which, from 1 on.
    pub number: u64,
    /// Its text without its end, or how many bytes too long a line has.
    pub text: Result<Vec<u8>, u64>,
    /// Bytes of the file up to its end.
    pub read: u64,
}

/// Reads the lines of a file.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    number: u64,
    read: u64,
}

impl<R: BufRead> Lines<R> {
    /// From the beginning.
    pub fn new(from: R) -> Self {
        Self {
            from,
            number: 0,
            read: 0,
        }
    }

    /// The next line that is not empty; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        while let Some((mut text, bytes)) = self.one()? {
            self.number += 1;
            if self.number == 1 && text.starts_with(BOM) {
                text.drain(..BOM.len());
            }
            if bytes > LINE_MAX as u64 {
                return Ok(Some(self.line(Err(bytes))));
            }
            if !text.trim_ascii().is_empty() {
                return Ok(Some(self.line(Ok(text))));
            }
        }
        Ok(None)
    }

    fn line(&self, text: Result<Vec<u8>, u64>) -> Line {
        Line {
            number: self.number,
            text,
            read: self.read,
        }
    }

    /// A line without its end, and how many bytes it has; of more than [`LINE_MAX`] the rest
    /// is not held.
    fn one(&mut self) -> io::Result<Option<(Vec<u8>, u64)>> {
        let (mut text, mut bytes, mut any) = (Vec::new(), 0, false);
        loop {
            let chunk = match self.from.fill_buf() {
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                return Ok(any.then_some((text, bytes)));
            }
            any = true;
            let end = chunk.iter().position(|b| *b == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let room = LINE_MAX.saturating_sub(text.len());
            text.extend_from_slice(&part[..part.len().min(room)]);
            bytes += part.len() as u64;
            let used = part.len() + usize::from(end.is_some());
            self.from.consume(used);
            self.read += used as u64;
            if end.is_some() {
                return Ok(Some((text, bytes)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn read(text: &[u8], buffer: usize) -> Vec<Line> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, text));
        std::iter::from_fn(|| lines.next().expect("it reads")).collect()
    }

    #[test]
    fn lines_are_counted_with_the_empty_ones_and_ends_of_any_kind() {
        let text = b"\xef\xbb\xbf{\"a\":1}\r\n\n  \r\n{\"b\":2}\n{\"c\":3";
        for buffer in [1, 2, 7, 8192] {
            let lines = read(text, buffer);
            let told: Vec<_> = lines
                .iter()
                .map(|it| (it.number, it.text.as_deref().expect("short").trim_ascii()))
                .collect();
            let wanted: [(u64, &[u8]); 3] =
                [(1, b"{\"a\":1}"), (4, b"{\"b\":2}"), (5, b"{\"c\":3")];
            assert_eq!(told, wanted);
            assert_eq!(lines[2].read, text.len() as u64);
        }
        assert_eq!(read(b"", 8), []);
        assert_eq!(
            read(b"\n\r\n\xef\xbb\xbf", 8)[0].number,
            3,
            "a mark in the middle is none"
        );
        assert_eq!(read(b"\xef\xbb\xbf\n", 8), []);
    }

    #[test]
    fn a_line_over_the_limit_is_counted_and_the_next_one_read() {
        let fits = "x".repeat(LINE_MAX);
        let text = format!("{fits}\n{fits}y\nlast");
        let lines = read(text.as_bytes(), 1000);
        assert_eq!(lines[0].text, Ok(fits.into_bytes()));
        assert_eq!(lines[1].text, Err(LINE_MAX as u64 + 1));
        assert_eq!(
            (lines[2].number, &lines[2].text),
            (3, &Ok(b"last".to_vec()))
        );
    }

    #[test]
    fn a_hundred_megabytes_without_an_end_are_one_bad_line() {
        let many = 100 << 20;
        let endless = io::repeat(b'x').take(many).chain(&b"\n{}\n"[..]);
        let mut lines = Lines::new(BufReader::new(endless));
        let first = lines.next().expect("it reads").expect("a line");
        assert_eq!(first.text, Err(many));
        let second = lines.next().expect("it reads").expect("a line");
        assert_eq!(second.text, Ok(b"{}".to_vec()));
    }
}
