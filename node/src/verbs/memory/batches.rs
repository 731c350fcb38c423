//! Batches: lines of a file as keys and values, so many at a time as one question may carry.

use std::io::{self, BufRead};

use chorus_actors::memory::ingress::BATCH_MAX;
use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::record::VALUE_BYTES_MAX;

use super::json::{Object, content_name};
use super::lines::{LINE_MAX, Lines};
use crate::control::REQUEST_BYTES_MAX;

/// Bytes of a batch as it crosses the control socket, without what is around it.
const BATCH_BYTES: usize = REQUEST_BYTES_MAX as usize - 1024;

/// A line that is an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which line.
    pub line: u64,
    /// Its key.
    pub key: Key,
    /// The object.
    pub text: String,
}

/// Lines that belong together because they were read together.
#[derive(Debug, Default)]
pub struct Batch {
    /// The good ones, in order.
    pub entries: Vec<Entry>,
    /// The bad ones, with what is wrong.
    pub bad: Vec<(u64, String)>,
    /// The last line.
    pub line: u64,
    /// Bytes of the file up to its end.
    pub read: u64,
}

/// Reads a file as batches.
#[derive(Debug)]
pub struct Batches<R> {
    lines: Lines<R>,
    field: Option<String>,
    /// What did not fit into the batch before, and its line's end.
    over: Option<(Entry, u64)>,
}

impl<R: BufRead> Batches<R> {
    /// `field` is the one that names an object.
    pub fn new(from: R, field: Option<String>) -> Self {
        Self {
            lines: Lines::new(from),
            field,
            over: None,
        }
    }

    /// The next one; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Batch>> {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        if let Some((entry, read)) = self.over.take() {
            (batch.line, batch.read) = (entry.line, read);
            bytes += weight(&entry);
            batch.entries.push(entry);
        }
        while batch.entries.len() < BATCH_MAX && batch.bad.len() < BATCH_MAX {
            let Some(line) = self.lines.next()? else {
                break;
            };
            let entry = match line.text {
                Ok(text) => entry(line.number, &text, self.field.as_deref()),
                Err(bytes) => Err(format!(
                    "the line has {bytes} bytes, and a line has at most {LINE_MAX}"
                )),
            };
            match entry {
                Ok(entry) => {
                    bytes += weight(&entry);
                    if bytes > BATCH_BYTES {
                        self.over = Some((entry, line.read));
                        break;
                    }
                    batch.entries.push(entry);
                }
                Err(why) => batch.bad.push((line.number, why)),
            }
            (batch.line, batch.read) = (line.number, line.read);
        }
        let is_empty = batch.entries.is_empty() && batch.bad.is_empty();
        Ok((!is_empty).then_some(batch))
    }
}

/// Most bytes that an entry takes inside of a JSON array.
fn weight(entry: &Entry) -> usize {
    let escaped = |text: &str| {
        let marks = text.bytes().filter(|b| matches!(b, b'"' | b'\\')).count();
        text.len() + marks
    };
    escaped(entry.key.as_str()) + escaped(&entry.text) + 8
}

fn entry(line: u64, text: &[u8], field: Option<&str>) -> Result<Entry, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let object = Object::read(text, field).map_err(|why| {
        let what = why.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        format!("it is no JSON object: {what} (column {})", why.column())
    })?;
    let name = match (field, object.field) {
        (None, _) => content_name(&object.text),
        (Some(_), Some(Ok(name))) => name,
        (Some(field), Some(Err(_))) => {
            return Err(format!("its field {field:?} is neither text nor a number"));
        }
        (Some(field), None) => return Err(format!("it has no field {field:?}")),
    };
    let key = Key::shared(&name).map_err(|why| format!("{name:?} is no name: {why}"))?;
    let bytes = object.text.len();
    if bytes > VALUE_BYTES_MAX {
        return Err(format!(
            "the object has {bytes} bytes, and a value has at most {VALUE_BYTES_MAX}"
        ));
    }
    let text = object.text;
    Ok(Entry { line, key, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Request;
    use crate::control::memory::Ask;

    fn read(text: &str, field: Option<&str>) -> Vec<Batch> {
        let mut batches = Batches::new(text.as_bytes(), field.map(str::to_owned));
        std::iter::from_fn(|| batches.next().expect("it reads")).collect()
    }

    #[test]
    fn bad_lines_are_told_by_number_and_lose_no_other() {
        let long = format!("{{\"id\":9,\"x\":\"{}\"}}", "x".repeat(VALUE_BYTES_MAX));
        let name = "n".repeat(250);
        let text = [
            "\u{feff}{\"id\":1}",
            "",
            "[1]",
            "{\"id\":2",
            &long,
            "{\"other\":1}",
            "{\"id\":[]}",
            "{\"id\":\"\"}",
            "{\"id\":\"a\\nb\"}",
            &format!("{{\"id\":\"{name}\"}}"),
            "{\"id\":\"ä /\\\"\"}\r",
            "{\"id\":1.0}",
        ];
        let batches = read(&text.join("\n"), Some("id"));
        let keys: Vec<_> = batches[0]
            .entries
            .iter()
            .map(|it| (it.line, it.key.as_str()))
            .collect();
        assert_eq!(
            keys,
            [(1, "shared/1"), (11, "shared/ä /\""), (12, "shared/1.0")]
        );
        let told: Vec<_> = batches[0].bad.iter().map(|it| it.0).collect();
        assert_eq!(told, [3, 4, 5, 6, 7, 8, 9, 10]);
        let wanted = [
            "no JSON object",
            "EOF",
            "12303 bytes",
            "no field \"id\"",
            "neither",
            "has a name",
            "control",
            "256 bytes",
        ];
        for (word, (_, why)) in wanted.iter().zip(&batches[0].bad) {
            assert!(
                why.contains(word) && !why.contains(" at line"),
                "{word} in {why}"
            );
        }
        assert_eq!((batches.len(), batches[0].line), (1, 12));
    }

    #[test]
    fn without_a_field_the_content_names_it() {
        let batches = read("{ \"a\": 1 }\n{\"a\":1}\n{\"a\":2}", None);
        let keys: Vec<_> = batches[0]
            .entries
            .iter()
            .map(|it| it.key.as_str())
            .collect();
        assert!(keys[0].starts_with("shared/sha256/") && keys[0] == keys[1]);
        assert_ne!(keys[0], keys[2]);
    }

    #[test]
    fn a_batch_is_a_question_that_a_node_takes_and_no_line_is_left_out() {
        let marks = "\\\"".repeat(2_000);
        let line = |n: usize| match n % 3 {
            0 => format!("{{\"id\":{n},\"x\":\"{marks}\"}}\n"),
            1 => format!("{{\"id\":{n}}}\n"),
            _ => "no\n".to_owned(),
        };
        let many = 9_000;
        let text: String = (0..many).map(line).collect();
        let batches = read(&text, Some("id"));
        let mut lines: Vec<u64> = Vec::new();
        let mut end = (0, 0);
        for batch in batches {
            assert!(batch.entries.len() <= BATCH_MAX && batch.bad.len() <= BATCH_MAX);
            assert!((batch.line, batch.read) > end, "it goes on");
            end = (batch.line, batch.read);
            lines.extend(batch.entries.iter().map(|it| it.line));
            lines.extend(batch.bad.iter().map(|it| it.0));
            let pairs = batch.entries.into_iter().map(|it| (it.key, it.text));
            let ask = Ask::Import {
                batch: pairs.collect(),
            };
            let question = serde_json::to_vec(&Request::Memory { ask }).expect("it encodes");
            assert!(
                (question.len() as u64) < REQUEST_BYTES_MAX,
                "{}",
                question.len()
            );
        }
        lines.sort_unstable();
        assert_eq!(lines, (1..=many as u64).collect::<Vec<_>>());
        assert_eq!(end, (many as u64, text.len() as u64));
    }
}
