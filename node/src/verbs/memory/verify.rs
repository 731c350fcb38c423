//! `memory verify`: opens every record that this node holds again, as if it had just come from
//! a stranger: its signature, that its author is or was a member, whose its key is, and that
//! of the values under a key none has seen another. What is there is added up again, too.

use std::time::Duration;

use chorus_protocol::ids::Digest;
use chorus_protocol::memory::index::{Index, Leaves};
use chorus_protocol::memory::key::Position;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::{ask, names, pages};
use crate::cli::Context;
use crate::cli::memory::NameArgs;
use crate::control::memory::{Ask, Of};
use crate::error::{Failure, exit};

/// Bad records that are told one by one; all are counted.
const TOLD_MAX: usize = 100;

/// What was found.
#[derive(Default)]
struct Found {
    keys: u64,
    records: u64,
    values: u64,
    bad_total: u64,
    bad: Vec<Value>,
    index: Index,
}

pub async fn run(ctx: Context, key: Option<String>, own: bool) -> Result<(), Failure> {
    let mut found = Found::default();
    let Some(key) = key else {
        let before = digest(&ctx).await?;
        let damaged = pages::each(&ctx, Of::Checks, "", |row| {
            found.take(&row);
            Ok(())
        });
        let damaged = damaged.await?;
        // A node that found damage may end meanwhile; what was found is told all the same.
        let after = digest(&ctx).await.ok().flatten();
        // Where something was written meanwhile the sum says nothing.
        let known = before.filter(|it| Some(it) == after.as_ref());
        return tell(&ctx, found, &damaged, known);
    };
    let key = names::key(&ctx, &NameArgs { key, own })?;
    let lines = ask(&ctx, Ask::Check { key }, Duration::ZERO).await?;
    lines.iter().for_each(|row| found.take(row));
    tell(&ctx, found, &[], None)
}

/// What the node says that all it holds comes to.
async fn digest(ctx: &Context) -> Result<Option<String>, Failure> {
    let lines = ask(ctx, Ask::Digest {}, Duration::ZERO).await?;
    let digest = lines.first().and_then(|line| line["digest"].as_str());
    Ok(digest.map(str::to_owned))
}

impl Found {
    fn take(&mut self, row: &Value) {
        let number = |name: &str| row[name].as_u64().unwrap_or_default();
        self.keys += 1;
        self.records += number("records");
        self.values += number("values");
        for bad in row["bad"].as_array().into_iter().flatten() {
            self.bad_total += 1;
            if self.bad.len() < TOLD_MAX {
                let (version, why) = (&bad["version"], &bad["why"]);
                let bad = json!({"key": row["key"], "version": version, "why": why});
                self.bad.push(bad);
            }
        }
        let bytes = |name: &str| -> Option<[u8; 32]> {
            HEXLOWER
                .decode(row[name].as_str()?.as_bytes())
                .ok()?
                .try_into()
                .ok()
        };
        if let (Some(position), Some(set)) = (bytes("position"), bytes("digest")) {
            let (position, set) = (Position(position), Digest(set));
            self.index.change(&position, None, Some(&set));
        }
    }
}

fn tell(
    ctx: &Context,
    found: Found,
    places: &[String],
    known: Option<String>,
) -> Result<(), Failure> {
    let damaged = places.len() as u64;
    let places = &places[..places.len().min(TOLD_MAX)];
    let digest = found.index.sum(&Leaves::All).digest();
    let digest = HEXLOWER.encode(&digest.0);
    // What is damaged is missing from the sum.
    let differs = damaged == 0 && known.is_some_and(|known| known != digest);
    let ok = damaged == 0 && found.bad_total == 0 && !differs;
    let mut report = json!({
        "schema": "chorus.memory_verify/1",
        "ok": ok,
        "keys": found.keys,
        "records": found.records,
        "values": found.values,
        "damaged": damaged,
        "damaged_at": places,
        "bad": found.bad,
        "bad_total": found.bad_total,
        "digest": digest,
        "digest_differs": differs,
    });
    let words = format!(
        "{} keys, {} records ({} with a value), {damaged} damaged, {} bad\ndigest {digest}",
        found.keys, found.records, found.values, found.bad_total
    );
    if ok {
        return ctx.answer(&report, &words);
    }
    if !ctx.json {
        for at in places {
            eprintln!("damaged: {at}");
        }
        for bad in &found.bad {
            let text = |name: &str| bad[name].as_str().unwrap_or_default();
            eprintln!(
                "{} (version {}): {}",
                text("key"),
                text("version"),
                text("why")
            );
        }
    }
    let failure = failure(damaged, found.bad_total, differs);
    if let Some(fields) = report.as_object_mut() {
        fields.insert("code".into(), failure.code.clone().into());
        fields.insert("message".into(), failure.message.clone().into());
        fields.insert("hint".into(), failure.hint.clone().into());
        fields.insert("exit".into(), failure.exit.into());
    }
    ctx.answer_failed(&report, &words, failure)
}

fn failure(damaged: u64, bad: u64, differs: bool) -> Failure {
    let mut what = Vec::new();
    if damaged > 0 {
        what.push(format!(
            "{damaged} keys or stretches of keys cannot be read from this disk"
        ));
    }
    if bad > 0 {
        what.push(format!("{bad} records are not what a member signed"));
    }
    if differs {
        what.push("the store holds something else than the node believes".into());
    }
    // What is damaged is left out of the check; the rest is as it should be.
    let exit = match bad > 0 || differs {
        true => exit::FAILED,
        false => exit::PARTIAL,
    };
    Failure::new(exit, "memory_bad", what.join("; ")).hint(
        "what is damaged comes back from other nodes that hold it; look at the disk, and start \
         the node again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_ones_are_counted_beyond_those_that_are_told() {
        let mut found = Found::default();
        let row = json!({"key": "shared/a", "records": 2, "values": 1,
            "position": "07".repeat(32), "digest": "08".repeat(32),
            "bad": [{"version": "v", "why": "forged"}]});
        for _ in 0..TOLD_MAX + 5 {
            found.take(&row);
        }
        let many = TOLD_MAX as u64 + 5;
        assert_eq!(
            (found.keys, found.records, found.bad_total),
            (many, 2 * many, many)
        );
        assert_eq!(found.bad.len(), TOLD_MAX);
        assert_eq!(found.index.sum(&Leaves::All).keys, many);
        let failure = failure(1, 2, true);
        assert_eq!((failure.exit, failure.message.split("; ").count()), (1, 3));
        assert_eq!(super::failure(1, 0, false).exit, 5, "damage alone");
    }
}
