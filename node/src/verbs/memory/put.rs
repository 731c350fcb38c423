//! `memory put`: writes a value under a key.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use chorus_protocol::memory::record::VALUE_BYTES_MAX;
use serde_json::{Value, json};

use super::{ask, json as texts, names, quorum, too_few, unanswered};
use crate::cli::Context;
use crate::cli::memory::PutArgs;
use crate::control::memory::{Ask, now_s};
use crate::error::Failure;
use crate::verbs::invite;

/// Most bytes of a file or of stdin that are looked at: JSON may have much white space.
const READ_MAX: u64 = 1 << 20;

pub async fn run(ctx: Context, args: PutArgs) -> Result<(), Failure> {
    let key = names::key(&ctx, &args.name)?;
    let (want, within) = quorum(&args.quorum)?;
    let ttl = args.ttl.as_deref().map(invite::ttl).transpose()?;
    let text = match (&args.file, args.value.as_deref()) {
        (Some(path), _) => read_file(path)?,
        (None, Some("-")) => read(io::stdin().lock(), "stdin")?,
        (None, value) => value.unwrap_or_default().to_owned(),
    };
    let text = value(&text, args.text)?;
    let put = Ask::Put {
        key: key.clone(),
        text: Some(text),
        want,
        within_ms: within.as_millis() as u64,
        expires_s: ttl.map(|ttl| now_s() + ttl.as_secs()),
    };
    let lines = ask(&ctx, put, within).await.map_err(unanswered)?;
    let done = lines.into_iter().next().unwrap_or_default();
    report(&ctx, "chorus.memory_put/1", key.as_str(), "written", done)
}

/// Says what came of a write or a deletion, and fails if it is on too few nodes.
pub fn report(
    ctx: &Context,
    schema: &str,
    key: &str,
    what: &str,
    mut done: Value,
) -> Result<(), Failure> {
    let number = |name: &str| done[name].as_u64().unwrap_or_default();
    let (asked, replicas) = (number("asked"), number("replicas"));
    let version = done["version"].as_str().unwrap_or_default();
    let words = format!("{key} is {what} (version {version}), on disk here{}", {
        match replicas.saturating_sub(1) {
            0 => String::new(),
            others => format!(" and on {others} more"),
        }
    });
    let enough = done["enough"] == true;
    if let Some(fields) = done.as_object_mut() {
        fields.remove("enough");
        fields.insert("schema".into(), schema.into());
        fields.insert("key".into(), key.into());
    }
    if enough {
        return ctx.answer(&done, &words);
    }
    let failure = too_few(&format!("{key} is {what} here"), asked, replicas);
    let told = json!({
        "code": failure.code,
        "message": failure.message,
        "hint": failure.hint,
        "exit": failure.exit,
    });
    if let (Some(fields), Value::Object(told)) = (done.as_object_mut(), told) {
        fields.extend(told);
    }
    ctx.answer_failed(&done, &words, failure)
}

/// What is kept of what the user gave.
fn value(given: &str, is_text: bool) -> Result<String, Failure> {
    let json = given.strip_prefix('\u{feff}').unwrap_or(given);
    let text = match texts::compact(json) {
        Ok(text) if !is_text => text,
        _ => texts::string(given),
    };
    match text.len() {
        ..=VALUE_BYTES_MAX => Ok(text),
        bytes => Err(too_large(&bytes.to_string())),
    }
}

fn too_large(bytes: &str) -> Failure {
    let message = format!(
        "the value has {bytes} bytes as JSON, and a value has at most {VALUE_BYTES_MAX}; nothing \
         was written"
    );
    Failure::usage("too_large", message).hint("put it into several keys")
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let from = path.display().to_string();
    let file = File::open(path);
    read(file.map_err(|why| unreadable(&from, &why))?, &from)
}

fn read(from: impl Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = from.take(READ_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|why| unreadable(name, &why))?;
    if bytes.len() as u64 > READ_MAX {
        return Err(too_large(&format!("more than {READ_MAX}")));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::usage("not_text", format!("{name} is not UTF-8 text"))
            .hint("values are JSON or text; encode other bytes, for example with base64")
    })
}

fn unreadable(name: &str, why: &io::Error) -> Failure {
    Failure::usage("unreadable", format!("{name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_as_json_is_that_and_else_a_text() {
        let kept = |given, is_text| value(given, is_text).expect("it is small");
        for (given, text) in [
            ("1.0", "1.0"),
            (" { \"a\" : 1 }\n", "{\"a\":1}"),
            ("plan b", "\"plan b\""),
            ("", "\"\""),
            ("null", "null"),
            ("{a:1}", "\"{a:1}\""),
            ("\u{feff}[1]", "[1]"),
            ("a\n", "\"a\\n\""),
        ] {
            assert_eq!(kept(given, false), text);
        }
        assert_eq!(kept("1.0", true), "\"1.0\"");
    }

    #[test]
    fn the_limit_is_that_of_the_json_and_both_sizes_are_told() {
        let fits = "x".repeat(VALUE_BYTES_MAX - 2);
        assert_eq!(value(&fits, false).map(|it| it.len()), Ok(VALUE_BYTES_MAX));
        let failure = value(&format!("{fits}y"), false).expect_err("it is over");
        assert_eq!(failure.exit, 2);
        assert!(failure.message.contains("12289") && failure.message.contains("12288"));
        let spaced = format!("[{}1]", " ".repeat(100_000));
        assert_eq!(value(&spaced, false).as_deref(), Ok("[1]"));
        let endless = read(io::repeat(b'x'), "stdin").expect_err("it is over");
        assert!(endless.message.contains("more than"));
    }
}
