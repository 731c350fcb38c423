//! Pages of a node's store for those who read all of it: keys, values, or every record opened
//! again. A page is bounded in bytes and in how much is looked at for it; the client goes on
//! at `next`. Nothing of a reader stays in the node between two pages.

use std::sync::Arc;

use chorus_actors::memory::MemoryHandle;
use chorus_protocol::ids::MeshId;
use chorus_protocol::memory::key::Position;
use chorus_protocol::memory::record::Record;
use chorus_protocol::memory::siblings::Siblings;
use chorus_protocol::op::answers::beginning;
use chorus_protocol::trust::Roster;
use chorus_storage::Home;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::memory::{Of, name, now_s, told, value_row, version};
use super::{LINE_BYTES_MAX, stopping};
use crate::error::Failure;
use crate::home;
use crate::live::Live;

/// Keys read from the store at a time. With all the siblings that a key may have, each on a
/// line of its own, these are fewer lines than an answer may have.
const SETS: usize = 56;
/// A page that has so many bytes is done.
const PAGE_BYTES: usize = 256 << 10;
/// So is one for which so many keys were looked at, few of which were wanted.
const LOOKED_MAX: usize = 20 * SETS;
/// Bytes of rows that share a line.
const LINE_BYTES: usize = LINE_BYTES_MAX as usize / 2;
/// Of the value of a write so many bytes are said, at most.
const BEGINS_BYTES_MAX: usize = 120;

/// What is asked for.
#[derive(Debug)]
pub struct Page {
    /// What of it.
    pub of: Of,
    /// Only keys that begin so.
    pub prefix: String,
    /// Where it begins.
    pub from: Option<String>,
}

/// By what records are judged.
struct Judge {
    mesh: MeshId,
    roster: Arc<Roster>,
    now_s: u64,
}

/// The rows of a page, `{"rows":[…]}`, and last `{"next","damaged"}`: the positions of the keys
/// that are damaged (SHA-256 of SHA-256 of the key: its name is lost with it).
pub async fn answer(
    page: Page,
    memory: &MemoryHandle,
    live: &Live,
    home: &Home,
) -> Result<Vec<Value>, Failure> {
    let mut next = page.from.as_deref().map(position).transpose()?;
    let judge = Arc::new(Judge::of(live, home).await?);
    let (mut lines, mut damaged, mut looked) = (Lines::default(), Vec::new(), 0);
    loop {
        let listed = memory.list(next, SETS).await.map_err(told)?;
        damaged.extend(listed.damaged.iter().map(|at| HEXLOWER.encode(&at.0)));
        damaged.extend(listed.gaps.iter().map(|before| gap(before)));
        looked += listed.sets.len() + listed.damaged.len();
        let (of, prefix, judge) = (page.of, page.prefix.clone(), judge.clone());
        let rows = move || -> Vec<Value> {
            let mut sets = listed.sets;
            sets.retain(|set| key_of(set).starts_with(&prefix));
            sets.iter().flat_map(|set| judge.rows(of, set)).collect()
        };
        // Signatures take a while, and the node has other things to do.
        let rows = tokio::task::spawn_blocking(rows).await;
        rows.map_err(|_| stopping())?
            .into_iter()
            .for_each(|row| lines.push(row));
        next = listed.next;
        if next.is_none() || lines.bytes >= PAGE_BYTES || looked >= LOOKED_MAX {
            break;
        }
    }
    let next = next.map(|it| HEXLOWER.encode(&it.0));
    lines.flush();
    lines.lines.push(json!({"next": next, "damaged": damaged}));
    Ok(lines.lines)
}

/// What there is to say of the records of one key; `None` where there are none.
pub async fn check(set: &Siblings, live: &Live, home: &Home) -> Result<Option<Value>, Failure> {
    Ok(Judge::of(live, home).await?.check(set))
}

/// Rows, several on each line: `{"rows":[…]}`.
pub fn lines(rows: Vec<Value>) -> Vec<Value> {
    let mut lines = Lines::default();
    rows.into_iter().for_each(|row| lines.push(row));
    lines.flush();
    lines.lines
}

/// A place where keys cannot be read, nor how many they are.
fn gap(before: &[u8]) -> String {
    match before.is_empty() {
        true => "from the beginning".into(),
        false => format!("behind {}", HEXLOWER.encode(before)),
    }
}

fn position(text: &str) -> Result<Position, Failure> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok();
    let bytes = bytes.and_then(|it| it.try_into().ok());
    bytes.map(Position).ok_or_else(|| {
        let message = format!("`from` is not what a page called `next`: {text}");
        Failure::usage("bad_request", message)
    })
}

/// How a value begins, in letters that a terminal shows.
fn begins(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(BEGINS_BYTES_MAX)]);
    beginning(&text.replace(char::is_control, " "), BEGINS_BYTES_MAX)
}

fn key_of(set: &Siblings) -> &str {
    set.iter().next().map_or("", |it| it.write().key.as_str())
}

impl Judge {
    async fn of(live: &Live, home: &Home) -> Result<Self, Failure> {
        Ok(Self {
            mesh: home::load(home.dir())?.mesh,
            roster: live.snapshot().await.ok_or_else(stopping)?.roster,
            now_s: now_s(),
        })
    }

    fn rows(&self, of: Of, set: &Siblings) -> Vec<Value> {
        match of {
            Of::Keys => vec![self.key(set)],
            Of::Values => self.values(set),
            Of::Writes => self.writes(set),
            Of::Checks => self.check(set).into_iter().collect(),
        }
    }

    /// Those of a conflict are numbered.
    fn values(&self, set: &Siblings) -> Vec<Value> {
        let mut rows: Vec<Value> = set.values(self.now_s).map(value_row).collect();
        if rows.len() > 1 {
            let rows = rows.iter_mut().enumerate();
            rows.for_each(|(at, row)| row["conflict"] = at.into());
        }
        rows
    }

    /// Of those that stand beside each other each is in conflict, a deletion too.
    fn writes(&self, set: &Siblings) -> Vec<Value> {
        let conflict = set.len() > 1;
        let row = |record: &Record| {
            let write = record.write();
            json!({
                "lamport": write.dot.lamport,
                "node": record.author().to_string(),
                "name": name(&self.roster, record.author()),
                "what": if write.value.is_some() { "wrote" } else { "deleted" },
                "key": write.key.as_str(),
                "version": version(&write.dot),
                "bytes": write.value.as_ref().map(Vec::len),
                "begins": write.value.as_deref().map(begins),
                "conflict": conflict,
            })
        };
        set.iter().map(row).collect()
    }

    fn key(&self, set: &Siblings) -> Value {
        let values: Vec<&Record> = set.values(self.now_s).collect();
        let bytes = |it: &&Record| it.write().value.as_ref().map_or(0, Vec::len);
        let mut writers: Vec<String> = values
            .iter()
            .map(|it| name(&self.roster, it.author()))
            .collect();
        writers.dedup();
        json!({
            "key": key_of(set),
            "bytes": values.iter().map(bytes).sum::<usize>(),
            "writers": writers,
            "values": values.len(),
            "conflict": values.len() > 1,
            "expires_s": values.iter().filter_map(|it| it.write().expires_s).max(),
        })
    }

    /// What there is to say of the records of a key, each opened as if it had just come from
    /// a stranger.
    fn check(&self, set: &Siblings) -> Option<Value> {
        let is_member = |node: &_| self.roster.get(node).is_some() || self.roster.is_revoked(node);
        let mut bad = Vec::new();
        let mut say = |record: &Record, why: String| {
            bad.push(json!({"version": version(record.dot()), "why": why}));
        };
        for record in set.iter() {
            if let Err(why) = Record::open(record.bytes(), &self.mesh, is_member) {
                say(record, why.to_string());
            }
            if record.write().key.as_str() != key_of(set) {
                say(record, format!("it is of the key {}", record.write().key));
            }
            if set.iter().any(|other| other.covers(record)) {
                say(record, "another one there has seen it".into());
            }
        }
        let position = set.iter().next()?.position();
        Some(json!({
            "key": key_of(set),
            "position": HEXLOWER.encode(&position.0),
            "digest": HEXLOWER.encode(&set.digest().0),
            "records": set.len(),
            "values": set.values(self.now_s).count(),
            "bad": bad,
        }))
    }
}

/// Rows under way to lines, several on each.
#[derive(Default)]
struct Lines {
    lines: Vec<Value>,
    rows: Vec<Value>,
    row_bytes: usize,
    bytes: usize,
}

impl Lines {
    fn push(&mut self, row: Value) {
        let bytes = row.to_string().len() + 1;
        if self.row_bytes + bytes > LINE_BYTES {
            self.flush();
        }
        self.row_bytes += bytes;
        self.bytes += bytes;
        self.rows.push(row);
    }

    fn flush(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        if !rows.is_empty() {
            self.lines.push(json!({ "rows": rows }));
        }
        self.row_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use chorus_protocol::memory::siblings::SIBLINGS_MAX;

    use super::*;
    use crate::control::LINES_MAX;

    #[test]
    fn rows_share_lines_that_are_within_the_limit() {
        let mut lines = Lines::default();
        for n in 0..5_000 {
            lines.push(json!({"n": n, "text": "\"".repeat(n % 300)}));
        }
        // The longest value there is, all of it marks that are written as two.
        lines.push(json!({"text": "\"".repeat(12 * 1024)}));
        lines.flush();
        let longest = lines.lines.iter().map(|it| it.to_string().len()).max();
        assert!(longest < Some(LINE_BYTES_MAX as usize), "{longest:?}");
        let rows = |line: &Value| line["rows"].as_array().map_or(0, Vec::len);
        assert_eq!(lines.lines.iter().map(rows).sum::<usize>(), 5_001);
        assert!(lines.lines.len() < 60, "{}", lines.lines.len());
    }

    #[test]
    fn a_page_of_conflicts_has_no_more_lines_than_an_answer() {
        let before = PAGE_BYTES / (LINE_BYTES / 2) + 1;
        let lines = before + SETS * SIBLINGS_MAX + 2;
        assert!(lines < LINES_MAX, "{lines}");
    }

    #[test]
    fn where_a_page_begins_is_what_one_said() {
        let at = Position([7; 32]);
        assert_eq!(position(&HEXLOWER.encode(&at.0)).ok(), Some(at));
        assert!(position("07").is_err() && position(&"zz".repeat(32)).is_err());
    }
}
