//! `conflicts`: what contradicted what. The log lies in the home and is read there, also where
//! no node runs; a conflict is resolved by a write, which the node makes.

use std::collections::BTreeMap;

use chorus_actors::conflicts::read;
use chorus_protocol::conflict::{Entry, Logged, Stated};
use chorus_protocol::ids::Label;
use chorus_protocol::memory::key::{Key, KeyId};
use chorus_storage::Home;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::invite;
use super::memory::names;
use super::memory::output::Output;
use super::memory::{ask, put, quorum, unanswered};
use crate::cli::Context;
use crate::cli::conflicts::ConflictsVerb;
use crate::cli::memory::{NameArgs, QuorumArgs};
use crate::control::memory::{Ask, now_s, version};
use crate::control::{self, Request};
use crate::error::{Failure, exit};
use crate::home;

/// Of each conflict that is over, the write that ended it.
type Ended = BTreeMap<u64, String>;

pub async fn run(ctx: Context, what: ConflictsVerb) -> Result<(), Failure> {
    match what {
        ConflictsVerb::Ls { all, since, by } => {
            let span = since.as_deref().map(|it| invite::span("--since", it));
            let span = span.transpose()?;
            let from_s = span.map_or(0, |span| now_s().saturating_sub(span.as_secs()));
            let by = writer(&ctx, by.as_deref().unwrap_or_default()).await?;
            ls(&ctx, all, |row| {
                let at_s = row["at_ms"].as_u64().unwrap_or_default() / 1000;
                at_s >= from_s
                    && sides(row).any(|it| {
                        it["node"]
                            .as_str()
                            .is_some_and(|node| node.starts_with(&by))
                    })
            })
        }
        ConflictsVerb::Show { id } => show(&ctx, id),
        ConflictsVerb::Resolve {
            name,
            which,
            quorum,
        } => resolve(&ctx, &name, &which, &quorum).await,
        ConflictsVerb::Verify => verify(&ctx),
    }
}

/// The first digits of a writer's key; a name is looked up by the node that runs here.
async fn writer(ctx: &Context, by: &str) -> Result<String, Failure> {
    let by = by.to_lowercase();
    let is_hex = by.bytes().all(|it| it.is_ascii_hexdigit());
    let named = match Label::new(&by) {
        Ok(name) => control::ask(&Home::at(&ctx.dir), &Request::Named { name }).await,
        Err(_) => Ok(Vec::new()),
    };
    let node = named.map(|lines| {
        lines
            .first()
            .and_then(|it| Some(it["node"].as_str()?.to_owned()))
    });
    match node {
        Ok(Some(node)) => Ok(node),
        _ if is_hex => Ok(by),
        Ok(None) => {
            let message = format!("nobody on the roster is called {by}");
            Err(Failure::usage("no_such_member", message).hint("see `chorus peers --all`"))
        }
        Err(why) => Err(why.hint("without a running node give --by the first digits of a key")),
    }
}

/// Gives every entry of the log of this home, oldest first; returns what is missing.
fn each(ctx: &Context, take: impl FnMut(u64, Logged)) -> Result<usize, Failure> {
    home::load(&ctx.dir)?;
    let cuts = read(&Home::at(&ctx.dir).conflicts(), take);
    cuts.map(|cuts| cuts.len())
        .map_err(|why| Failure::failed("unreadable", format!("the conflict log: {why}")))
}

fn ended(ctx: &Context) -> Result<Ended, Failure> {
    let (mut open, mut ended) = (BTreeMap::<KeyId, Vec<u64>>::new(), Ended::new());
    each(ctx, |id, logged| match &logged.entry {
        Entry::Found { key, .. } => open.entry(key.id()).or_default().push(id),
        Entry::Resolved { key, by } => {
            let ids = open.remove(&key.id()).unwrap_or_default();
            ended.extend(ids.into_iter().map(|id| (id, version(by))));
        }
    })?;
    Ok(ended)
}

/// A row of `chorus.conflicts/1`; none for the end of a conflict, which stands at the row of that.
fn row(id: u64, logged: &Logged, ended: &Ended) -> Option<Value> {
    let Entry::Found {
        kind,
        key,
        received,
        expected,
        context,
    } = &logged.entry
    else {
        return None;
    };
    Some(json!({
        "id": id,
        "at_ms": logged.at_ms,
        "kind": kind.name(),
        "key": key.as_str(),
        "received": side(received),
        "expected": expected.iter().map(side).collect::<Vec<_>>(),
        "context": HEXLOWER.encode(&context.0),
        "state": if ended.contains_key(&id) { "resolved" } else { "open" },
        "resolved_by": ended.get(&id),
    }))
}

fn side(stated: &Stated) -> Value {
    json!({
        "version": version(&stated.dot),
        "node": stated.dot.replica.node.to_string(),
        "lamport": stated.dot.lamport,
        "sha256": HEXLOWER.encode(&stated.value.0),
    })
}

fn sides(row: &Value) -> impl Iterator<Item = &Value> {
    let expected = row["expected"].as_array();
    std::iter::once(&row["received"]).chain(expected.into_iter().flatten())
}

fn ls(ctx: &Context, all: bool, wanted: impl Fn(&Value) -> bool) -> Result<(), Failure> {
    let ended = ended(ctx)?;
    let mut out = Output::stdout();
    let mut written = match ctx.json {
        true => out.write(b"{\"schema\":\"chorus.conflicts/1\",\"conflicts\":["),
        false => Ok(()),
    };
    let mut many = 0;
    let cuts = each(ctx, |id, logged| {
        let Some(row) = row(id, &logged, &ended) else {
            return;
        };
        if written.is_err() || !(all || row["state"] == "open") || !wanted(&row) {
            return;
        }
        let line = match (ctx.json, many) {
            (true, 0) => row.to_string(),
            (true, _) => format!(",{row}"),
            (false, 0) => format!(
                "{}\n{}\n",
                columns("ID", "AGE", "STATE", "KEY"),
                words(&row)
            ),
            (false, _) => format!("{}\n", words(&row)),
        };
        written = out.write(line.as_bytes());
        many += 1;
    })?;
    written?;
    if ctx.json {
        out.write(format!("],\"missing\":{cuts}}}\n").as_bytes())?;
    }
    out.end()?;
    if !ctx.json && many == 0 {
        eprintln!("no {}conflicts", if all { "" } else { "open " });
    }
    if cuts > 0 {
        eprintln!("the log has lost entries in {cuts} places: chorus conflicts verify");
    }
    Ok(())
}

fn columns(id: &str, age: &str, state: &str, key: &str) -> String {
    format!("{id:>6}  {age:>6}  {state:<8}  {key}")
}

fn words(row: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let at_s = row["at_ms"].as_u64().unwrap_or_default() / 1000;
    let what = sides(row).map(|it| text(&it["version"]));
    let what = what.collect::<Vec<_>>().join(" against ");
    let key = format!("{}: {what}", text(&row["key"]));
    let id = row["id"].to_string();
    columns(
        &id,
        &age(now_s().saturating_sub(at_s)),
        &text(&row["state"]),
        &key,
    )
}

fn age(s: u64) -> String {
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} m", s / 60),
        7_200..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}

fn show(ctx: &Context, id: u64) -> Result<(), Failure> {
    let ended = ended(ctx)?;
    let mut found = None;
    each(ctx, |at, logged| {
        if at == id {
            found = row(at, &logged, &ended);
        }
    })?;
    let mut row = found.ok_or_else(|| {
        let message = format!("the log has no conflict {id}");
        Failure::failed("not_found", message).hint("see `chorus conflicts ls --all`")
    })?;
    row["schema"] = "chorus.conflict/1".into();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |name: &str, it: &Value| {
        let [version, node, sha256] = ["version", "node", "sha256"].map(|field| text(&it[field]));
        format!(
            "{name:<9} {version}\n          by {node}\n          SHA-256 of the value {sha256}\n"
        )
    };
    let mut words = format!(
        "{} {} of {}, {}\n",
        row["kind"].as_str().unwrap_or_default(),
        id,
        text(&row["key"]),
        match row["resolved_by"].as_str() {
            Some(by) => format!("resolved by {by}"),
            None => "open: `chorus memory get` prints the values".into(),
        },
    );
    words += &line("received", &row["received"]);
    for it in row["expected"].as_array().into_iter().flatten() {
        words += &line("expected", it);
    }
    words += &format!("context   {}", text(&row["context"]));
    ctx.answer(&row, &words)
}

async fn resolve(
    ctx: &Context,
    name: &NameArgs,
    wanted: &str,
    copies: &QuorumArgs,
) -> Result<(), Failure> {
    let key = names::key(ctx, name)?;
    let (want, within) = quorum(copies)?;
    let within_ms = within.as_millis() as u64;
    let get = Ask::Get {
        key: key.clone(),
        within_ms: Some(within_ms),
    };
    let lines = ask(ctx, get, within).await?;
    let (text, expires_s) = value_of(&lines, &key, wanted)?;
    let put = Ask::Put {
        key: key.clone(),
        text: Some(text),
        want,
        within_ms,
        expires_s,
    };
    let lines = ask(ctx, put, within).await.map_err(unanswered)?;
    let done = lines.into_iter().next().unwrap_or_default();
    put::report(
        ctx,
        "chorus.conflicts_resolve/1",
        key.as_str(),
        "resolved",
        done,
    )
}

/// The value of a version, of a key that is in conflict, and how long it counts.
fn value_of(lines: &[Value], key: &Key, wanted: &str) -> Result<(String, Option<u64>), Failure> {
    let rows = lines.get(1..).unwrap_or_default();
    let [_, _, ..] = rows else {
        let message = format!("{key} is in no conflict: one value stands there");
        return Err(Failure::failed("no_conflict", message));
    };
    let row = rows.iter().find(|row| row["version"] == wanted);
    let row = row.ok_or_else(|| {
        let there: Vec<&str> = rows
            .iter()
            .filter_map(|it| it["version"].as_str())
            .collect();
        let message = format!("no value of version {wanted} stands under {key}");
        Failure::usage("no_version", message).hint(format!("there are {}", there.join(", ")))
    })?;
    let text = row["text"].as_str().map(str::to_owned);
    let text = text.ok_or_else(|| {
        let message = "that value is no JSON: another program wrote it";
        Failure::failed("not_json", message)
    })?;
    Ok((text, row["expires_s"].as_u64()))
}

fn verify(ctx: &Context) -> Result<(), Failure> {
    let (mut entries, mut found) = (0u64, 0u64);
    let missing = each(ctx, |_, logged| {
        entries += 1;
        found += u64::from(matches!(logged.entry, Entry::Found { .. }));
    })?;
    let open = found.saturating_sub(ended(ctx)?.len() as u64);
    let mut report = json!({
        "schema": "chorus.conflicts_verify/1",
        "entries": entries,
        "conflicts": found,
        "open": open,
        "missing": missing,
    });
    let words = format!("{entries} entries, {found} conflicts, {open} of them open");
    if missing == 0 {
        return ctx.answer(&report, &format!("{words}; the chain is whole"));
    }
    let message = format!("the log has lost entries in {missing} places");
    let failure = Failure::new(exit::FAILED, "damaged", message)
        .hint("what stands in memory is not touched by that: chorus memory ls");
    report["code"] = failure.code.clone().into();
    report["exit"] = failure.exit.into();
    ctx.answer_failed(&report, &words, failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_chosen_by_its_version_among_several() {
        let key = Key::shared("plan").expect("a key");
        let row =
            |version: &str, text: &str| json!({"version": version, "text": text, "expires_s": 9});
        let two = [json!({}), row("a@1:5", "1"), row("b@1:6", "2")];
        assert_eq!(value_of(&two, &key, "b@1:6"), Ok(("2".into(), Some(9))));
        let no = value_of(&two, &key, "c@1:7").expect_err("there is none");
        assert!(no.exit == 2 && no.hint.contains("a@1:5, b@1:6"), "{no:?}");
        let alone = value_of(&two[..2], &key, "a@1:5").expect_err("no conflict");
        assert_eq!(alone.code, "no_conflict");
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(
            [0, 119, 120, 7_199, 7_200, 172_800].map(age),
            ["0 s", "119 s", "2 m", "119 m", "2 h", "2 d"]
        );
    }
}
