//! `memory get`: what stands under a key.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{ask, names, timeout};
use crate::cli::Context;
use crate::cli::memory::NameArgs;
use crate::control::memory::Ask;
use crate::error::Failure;

/// `chorus.memory/1`. The values are JSON as it was written.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    schema: &'a str,
    key: &'a str,
    values: Vec<Row>,
    conflict: bool,
    replicas: u64,
    complete: bool,
    deletions: u64,
}

/// One value. What is no JSON was not written by this program, and comes as base64.
#[derive(Debug, Serialize)]
struct Row {
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    author: String,
    author_name: String,
    lamport: u64,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_s: Option<u64>,
}

/// A value as the node says it.
#[derive(Debug, Deserialize)]
struct Said {
    text: Option<String>,
    base64: Option<String>,
    author: String,
    author_name: String,
    lamport: u64,
    version: String,
    expires_s: Option<u64>,
}

pub async fn run(ctx: Context, name: NameArgs, local: bool, within: &str) -> Result<(), Failure> {
    let key = names::key(&ctx, &name)?;
    let within = timeout(within)?;
    let within_ms = (!local).then_some(within.as_millis() as u64);
    let get = Ask::Get {
        key: key.clone(),
        within_ms,
    };
    let wait = if local { Duration::ZERO } else { within };
    let lines = ask(&ctx, get, wait).await?;
    let answer = answer(key.as_str(), &lines)
        .ok_or_else(|| Failure::failed("bad_answer", "the node's answer is not understood"))?;
    let json = serde_json::to_string(&answer)
        .map_err(|why| Failure::failed("bad_answer", why.to_string()))?;
    if let (false, [row]) = (ctx.json, answer.values.as_slice()) {
        eprintln!("{}", about(row, &answer));
    }
    ctx.answer_text(&json, &words(&answer))
}

fn answer<'a>(key: &'a str, lines: &[Value]) -> Option<Answer<'a>> {
    let (head, rows) = lines.split_first()?;
    let values: Option<Vec<Row>> = rows.iter().map(row).collect();
    let values = values?;
    Some(Answer {
        schema: "chorus.memory/1",
        key,
        conflict: values.len() > 1,
        values,
        replicas: head["replicas"].as_u64()?,
        complete: head["complete"].as_bool()?,
        deletions: head["deletions"].as_u64()?,
    })
}

fn row(line: &Value) -> Option<Row> {
    let said = Said::deserialize(line).ok()?;
    let value = said.text.map(RawValue::from_string);
    Some(Row {
        value: value.transpose().ok()?,
        base64: said.base64,
        author: said.author,
        author_name: said.author_name,
        lamport: said.lamport,
        version: said.version,
        expires_s: said.expires_s,
    })
}

/// Where the one value is from, beside it.
fn about(row: &Row, answer: &Answer<'_>) -> String {
    let nodes = match answer.replicas {
        1 => "1 node".to_owned(),
        many => format!("{many} nodes"),
    };
    let known = match answer.complete {
        true => "",
        false => " that answered; not all did",
    };
    let mut text = format!(
        "{} by {} (version {}), on {nodes}{known}",
        answer.key, row.author_name, row.version
    );
    if answer.deletions > 0 {
        text.push_str("; somebody who did not know of it has deleted what was there before");
    }
    text
}

fn words(answer: &Answer<'_>) -> String {
    let text = |row: &Row| match (&row.value, &row.base64) {
        (Some(value), _) => value.get().to_owned(),
        (None, base64) => format!("no JSON, in base64: {}", base64.as_deref().unwrap_or("")),
    };
    if let [row] = answer.values.as_slice() {
        return text(row);
    }
    let (many, key) = (answer.values.len(), answer.key);
    let mut out = format!(
        "CONFLICT: {many} values stand under {key}, written without knowing of each other:\n"
    );
    for row in &answer.values {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "  {} ({}): {}",
            row.author_name,
            row.version,
            text(row)
        );
    }
    let _ = write!(
        out,
        "resolve it by writing the one that shall stand: chorus memory put '{key}' VALUE"
    );
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(texts: &[&str]) -> Vec<Value> {
        let head = json!({"replicas": 3, "complete": true, "deletions": 0});
        let row = |text: &&str| {
            json!({"text": text, "author": "ab", "author_name": "a", "lamport": 7,
                "version": "ab@1:7"})
        };
        [head].into_iter().chain(texts.iter().map(row)).collect()
    }

    #[test]
    fn a_value_comes_back_digit_by_digit() {
        let lines = lines(&["{\"b\":12345678901234567890.10,\"a\":1.0}"]);
        let answer = answer("shared/x", &lines).expect("it is understood");
        let json = serde_json::to_string(&answer).expect("it encodes");
        assert!(
            json.contains("\"value\":{\"b\":12345678901234567890.10,\"a\":1.0}"),
            "{json}"
        );
        assert!(
            json.contains("\"conflict\":false") && !json.contains("base64"),
            "{json}"
        );
        assert_eq!(words(&answer), "{\"b\":12345678901234567890.10,\"a\":1.0}");
        let about = about(&answer.values[0], &answer);
        assert_eq!(about, "shared/x by a (version ab@1:7), on 3 nodes");
    }

    #[test]
    fn several_values_are_a_conflict_with_what_resolves_it() {
        let lines = lines(&["1", "\"two\""]);
        let answer = answer("shared/x", &lines).expect("it is understood");
        assert!(answer.conflict);
        let words = words(&answer);
        assert!(words.starts_with("CONFLICT: 2 values"), "{words}");
        assert!(words.contains("a (ab@1:7): \"two\"\n"), "{words}");
        assert!(
            words.ends_with("chorus memory put 'shared/x' VALUE"),
            "{words}"
        );
    }
}
