//! Story: the records of this node's own in which it is told what became of a task, one for each step, or of a
//! question: under `own/NODE/task/ID/` and `own/NODE/operation/ID/`.

use std::time::Duration;

use chorus_actors::memory::{MemoryHandle, PutOptions};
use chorus_protocol::ids::NodeId;
use chorus_protocol::memory::key::Key;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::chance;
use crate::error::Failure;

/// Bytes of an answer that are kept in the record of the effect: a record holds 12 KiB.
const ANSWER_BYTES_MAX: usize = 10 * 1024;

/// Where such records are written.
pub struct Story {
    /// The node's memory.
    pub memory: MemoryHandle,
    /// The node.
    pub me: NodeId,
    /// `task` or `operation`.
    pub kind: &'static str,
    /// Which one.
    pub id: String,
}

impl Story {
    /// The key of a step.
    pub fn key(&self, what: &str) -> String {
        format!("own/{}/{}/{}/{what}", self.me, self.kind, self.id)
    }

    /// Writes a step down; back when it is durable here.
    pub async fn write(&self, what: &str, step: Value) -> Result<(), Failure> {
        let refused = |why: String| Failure::refused("not_written", why);
        let key = Key::new(&self.key(what)).map_err(|why| refused(why.to_string()))?;
        let options = PutOptions {
            want: None,
            within: Duration::from_secs(5),
            expires_s: None,
        };
        let value = Some(step.to_string().into_bytes());
        let put = self.memory.put(key, value, options).await;
        put.map(|_| ()).map_err(|why| refused(why.to_string()))
    }
}

/// An answer for a record of its own: as text, cut where it is too long, and its digest.
pub fn answer_row(answer: &[u8]) -> Value {
    answer_row_within(answer, ANSWER_BYTES_MAX)
}

/// The same, in about so many bytes.
pub fn answer_row_within(answer: &[u8], bytes_max: usize) -> Value {
    let text = String::from_utf8_lossy(answer);
    let shown = beginning_within(&text, bytes_max);
    let mut row = json!({ "answer": shown });
    if shown.len() < text.len() {
        row["cut_from_bytes"] = answer.len().into();
        row["sha256"] = HEXLOWER.encode(&Sha256::digest(answer)).into();
    }
    row
}

/// As much of a text as a record holds, with what JSON puts before some letters.
pub fn beginning(text: &str) -> &str {
    beginning_within(text, ANSWER_BYTES_MAX)
}

/// As much of it as is so many bytes as JSON.
pub fn beginning_within(text: &str, bytes_max: usize) -> &str {
    let mut end = text.floor_char_boundary(bytes_max.min(text.len()));
    while end > 0 && Value::from(&text[..end]).to_string().len() > bytes_max {
        end = text.floor_char_boundary(end / 2);
    }
    &text[..end]
}

/// A name that no other task has.
pub fn fresh() -> Result<String, Failure> {
    Ok(HEXLOWER.encode(&chance::bytes::<8>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_answer_finds_room_in_a_record() {
        for letter in ["x", "\u{1}", "ä"] {
            let long = letter.repeat(16 * 1024 / letter.len());
            let row = answer_row(long.as_bytes());
            assert!(row.to_string().len() <= 11 * 1024, "{letter:?}");
            assert_eq!(row["cut_from_bytes"], long.len());
            let row = answer_row_within(long.as_bytes(), 500);
            assert!(row.to_string().len() <= 700, "{letter:?}: {row}");
            assert!(!row["answer"].as_str().unwrap_or_default().is_empty());
        }
        assert_eq!(answer_row(b"short"), json!({"answer": "short"}));
    }
}
