//! Memory over the control socket: what can be asked, and the running node's answers.
//!
//! Values cross as text inside of JSON strings, so nothing reads their numbers on the way.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chorus_actors::memory::{MemoryError, MemoryHandle, PutOptions};
use chorus_protocol::causality::version::Dot;
use chorus_protocol::ids::NodeId;
use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::record::Record;
use chorus_protocol::memory::replication::Want;
use chorus_protocol::trust::Roster;
use chorus_storage::Home;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{pages, stopping};
use crate::error::Failure;
use crate::live::Live;

/// The longest that a question may wait for other nodes.
pub const WITHIN_MAX: Duration = Duration::from_secs(300);
/// How long a deletion looks at other nodes for something to delete.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// What can be asked of a node's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Write a key: `{"version","author","lamport","asked","replicas","enough"}`.
    Put {
        /// Which.
        key: Key,
        /// JSON text; none deletes what is there, and is `not_found` where nothing is.
        text: Option<String>,
        /// On how many nodes it must be durable; none: on this one.
        want: Option<Copies>,
        /// How long to wait for them.
        within_ms: u64,
        /// The second since 1970 from which on it counts no more.
        expires_s: Option<u64>,
    },
    /// Read a key: a line of what is known of it, and one for each value.
    Get {
        /// Which.
        key: Key,
        /// How long to wait for other nodes; none: they are not asked.
        within_ms: Option<u64>,
    },
    /// Write many: `{"written","unchanged"}`.
    Import {
        /// Keys and JSON texts, in order.
        batch: Vec<(Key, String)>,
    },
    /// A page of this node's store.
    Page {
        /// What of it.
        of: Of,
        /// Only keys that begin so.
        prefix: String,
        /// Where it begins: `next` of the page before.
        from: Option<String>,
    },
    /// The records of a key, opened again: a row as of a page of checks.
    Check {
        /// Which.
        key: Key,
    },
    /// What all that is held comes to, in hex, and whether this node holds every key of the
    /// mesh: `{"digest","whole"}`.
    Digest {},
}

/// How many copies are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Copies {
    /// On so many nodes.
    Nodes(usize),
    /// On more than half of those that should hold the key.
    Majority,
}

/// What a page is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Keys, with what stands there.
    Keys,
    /// Values.
    Values,
    /// Writes, deletions too, with how their values begin.
    Writes,
    /// Every record opened again.
    Checks,
}

/// Answers for the node.
pub async fn answer(ask: Ask, live: &Live, home: &Home) -> Result<Vec<Value>, Failure> {
    let memory = live.memory().ok_or_else(stopping)?;
    match ask {
        Ask::Put {
            key,
            text,
            want,
            within_ms,
            expires_s,
        } => {
            let want = want.map(|want| match want {
                Copies::Nodes(many) => Want::Nodes(many),
                Copies::Majority => Want::Majority,
            });
            let within = within(within_ms);
            if text.is_none() {
                is_there(memory, &key, within).await?;
            }
            let options = PutOptions {
                want,
                within,
                expires_s,
            };
            let value = text.map(String::into_bytes);
            let put = memory.put(key, value, options).await.map_err(told)?;
            let author = put.dot.replica.node.to_string();
            Ok(vec![json!({
                "version": version(&put.dot),
                "author": author,
                "lamport": put.dot.lamport,
                "asked": put.asked,
                "replicas": put.replicas,
                "enough": put.is_enough(),
            })])
        }
        Ask::Get { key, within_ms } => get(memory, live, key, within_ms).await,
        Ask::Import { batch } => {
            let batch = batch.into_iter();
            let batch = batch.map(|(key, text)| (key, text.into_bytes())).collect();
            let done = memory.import(batch).await.map_err(told)?;
            Ok(vec![
                json!({"written": done.written, "unchanged": done.unchanged}),
            ])
        }
        Ask::Page { of, prefix, from } => {
            let page = pages::Page { of, prefix, from };
            pages::answer(page, memory, live, home).await
        }
        Ask::Check { key } => {
            let got = memory.get(key.clone(), None).await.map_err(told)?;
            let row = pages::check(&got.siblings, live, home).await?;
            Ok(vec![row.ok_or_else(|| not_found(&key, true, false))?])
        }
        Ask::Digest {} => {
            let view = memory.view().await.map_err(told)?;
            let digest = view.digest.map(|it| data_encoding::HEXLOWER.encode(&it.0));
            Ok(vec![json!({ "digest": digest, "whole": view.whole })])
        }
    }
}

/// Refuses a deletion of nothing.
async fn is_there(memory: &MemoryHandle, key: &Key, within: Duration) -> Result<(), Failure> {
    let look = Some(within.min(LOOK_MAX));
    let got = memory.get(key.clone(), look).await.map_err(told)?;
    match got.siblings.values(now_s()).next() {
        Some(_) => Ok(()),
        None => Err(not_found(key, got.complete, !got.siblings.is_empty())),
    }
}

async fn get(
    memory: &MemoryHandle,
    live: &Live,
    key: Key,
    within_ms: Option<u64>,
) -> Result<Vec<Value>, Failure> {
    let look = within_ms.map(within);
    let got = memory.get(key.clone(), look).await.map_err(told)?;
    let now_s = now_s();
    let values: Vec<&Record> = got.siblings.values(now_s).collect();
    if values.is_empty() {
        return Err(not_found(&key, got.complete, !got.siblings.is_empty()));
    }
    let snapshot = live.snapshot().await.ok_or_else(stopping)?;
    let deletions = got.siblings.iter().filter(|it| it.write().value.is_none());
    let head = json!({
        "replicas": got.replicas,
        "complete": got.complete,
        "deletions": deletions.count(),
    });
    let row = |record: &&Record| {
        let mut row = value_row(record);
        row["author_name"] = name(&snapshot.roster, record.author()).into();
        row
    };
    Ok([head].into_iter().chain(values.iter().map(row)).collect())
}

fn not_found(key: &Key, complete: bool, was: bool) -> Failure {
    let why = match was {
        true => "it was deleted, or its time is over",
        false => "it was never written",
    };
    let known = match complete {
        true => "",
        false => {
            ", as far as is known: not every node that should hold it could be asked \
             (chorus peers)"
        }
    };
    Failure::failed(
        "not_found",
        format!("nothing stands under {key}: {why}{known}"),
    )
}

/// A value with its write. What is no JSON was written by another program than this one.
pub fn value_row(record: &Record) -> Value {
    let write = record.write();
    let value = write.value.as_deref().unwrap_or_default();
    let text = std::str::from_utf8(value).ok();
    let text = text.filter(|text| serde_json::from_str::<&RawValue>(text).is_ok());
    let mut row = json!({
        "author": record.author().to_string(),
        "lamport": record.dot().lamport,
        "version": version(record.dot()),
    });
    match text {
        Some(text) => row["text"] = text.into(),
        None => row["base64"] = data_encoding::BASE64.encode(value).into(),
    }
    if let Some(at) = write.expires_s {
        row["expires_s"] = at.into();
    }
    row
}

/// A write's name for people: who, since which run, and when by Lamport's clock.
pub fn version(dot: &Dot) -> String {
    let (node, since) = (dot.replica.node.short(), dot.replica.since.0);
    format!("{node}@{since}:{}", dot.lamport)
}

/// A member's name; of who is none any more the first digits of his key.
pub fn name(roster: &Roster, node: &NodeId) -> String {
    let member = roster.get(node);
    member.map_or_else(|| node.short(), |member| member.entry.name.to_string())
}

/// Seconds since 1970: what expiry goes by.
pub fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn within(ms: u64) -> Duration {
    Duration::from_millis(ms).min(WITHIN_MAX)
}

/// What a node's memory says, with the exit code and what to do.
pub fn told(why: MemoryError) -> Failure {
    let message = why.to_string();
    match why {
        MemoryError::TooLarge { .. } => Failure::usage("too_large", message),
        MemoryError::Foreign(_) => {
            Failure::refused("foreign_key", message).hint("write it on that node, or under shared/")
        }
        MemoryError::Quota { .. } => Failure::refused("memory_full", message).hint(
            "delete what is not needed, or raise memory.bytes_max in chorus.toml and start the \
             node again",
        ),
        MemoryError::Revoked => {
            Failure::refused("revoked", message).hint("join again with new keys, in a new home")
        }
        MemoryError::Disk(_) => Failure::failed("not_written", message)
            .hint("see `chorus status` for how the disk is, and the node's log"),
        MemoryError::Damaged => Failure::failed("damaged", message).hint(
            "it comes back from another node that holds it as soon as one can be reached; \
             `chorus memory put` writes it anew",
        ),
        MemoryError::Busy => Failure::failed("busy", message),
        MemoryError::Stopping => stopping(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_crosses_as_it_is_and_a_bad_key_does_not() {
        let ask = Ask::Put {
            key: Key::shared("a \"b\" ä").expect("a key"),
            text: Some("12345678901234567890.10".into()),
            want: Some(Copies::Majority),
            within_ms: 10,
            expires_s: None,
        };
        let line = serde_json::to_string(&ask).expect("it encodes");
        assert_eq!(serde_json::from_str::<Ask>(&line).ok(), Some(ask));
        let bad = line.replace("shared/", "");
        let why = serde_json::from_str::<Ask>(&bad).expect_err("no key");
        assert!(why.to_string().contains("shared/"), "{why}");
    }

    #[test]
    fn nothing_there_is_told_with_what_is_known() {
        let key = Key::shared("a").expect("a key");
        let said = |complete, was| not_found(&key, complete, was).message;
        assert_eq!(not_found(&key, true, true).exit, 1);
        assert!(said(true, false).ends_with("never written"));
        assert!(said(true, true).contains("deleted"));
        assert!(said(false, false).contains("not every node"));
    }

    #[test]
    fn what_a_limit_refuses_is_not_called_a_failure() {
        let quota = MemoryError::Quota { bytes: 2, max: 1 };
        let exits = [
            told(MemoryError::TooLarge { bytes: 2, max: 1 }).exit,
            told(quota).exit,
            told(MemoryError::Disk("full".into())).exit,
            told(MemoryError::Stopping).exit,
        ];
        assert_eq!(exits, [2, 4, 1, 3]);
    }
}
