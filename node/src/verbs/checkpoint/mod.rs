//! `checkpoint`: the phase vectors that this home holds, shown, verified, and given back.
//!
//! A running node answers, which knows the roster; where none runs, the home is read as it is.
//! Either way it is the files on disk that are read and checked, byte by byte, every time.

mod found;
mod gathered;
mod proofs;
mod rows;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chorus_protocol::ids::MeshId;
use chorus_protocol::memory::checkpoint::Copy;
use chorus_protocol::trust::directory::Directory;
use chorus_protocol::trust::roster::Roster;
use chorus_storage::Home;
use chorus_storage::home::write_atomic;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::checkpoint::{CheckpointVerb, EpochArgs};
use crate::control::{self, Request};
use crate::error::{Failure, exit};
use crate::home;
use crate::report::columns;

/// How long the check may take of what many homes hold, with thousands of signatures in each.
const CHECK_MAX: Duration = Duration::from_secs(120);

/// Which checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Its epoch; none: the last durable one.
    pub epoch: Option<u64>,
    /// Of a side that was cut off.
    #[serde(default)]
    pub branch: bool,
}

/// What can be asked about the checkpoints of a home.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// A row for each.
    Show,
    /// One, and its vector in several lines.
    Reconstruct(Which),
    /// The same, of what lies in these folders too: homes, or files of several.
    Rebuild(Which, Vec<String>),
    /// One member's record with its proof.
    Proof(Which, String),
    /// Whether a proof, as [`Ask::Proof`] gave it, holds.
    Check(Value),
}

/// The lines of the answer, from the files of `home`.
pub fn answer(
    home: &Home,
    mesh: &MeshId,
    roster: &Roster,
    ask: &Ask,
) -> Result<Vec<Value>, Failure> {
    match ask {
        Ask::Show => {
            let all = found::all(home, mesh, roster)?;
            let rows: Vec<Value> = all.iter().map(|it| rows::row(it, roster)).collect();
            let lines = rows.chunks(rows::PER_LINE);
            Ok(lines.map(|rows| json!({ "rows": rows })).collect())
        }
        Ask::Reconstruct(which) => {
            let all = found::all(home, mesh, roster)?;
            let (one, part) = found::choose(&all, *which)?;
            let mut lines = vec![rows::row(one, roster)];
            lines.extend(rows::vector(part));
            Ok(lines)
        }
        Ask::Rebuild(which, from) => {
            let from: Vec<PathBuf> = from.iter().map(PathBuf::from).collect();
            let (one, how) = gathered::one(home, &from, mesh, roster, *which)?;
            let mut row = rows::row(&one, roster);
            row["rebuilt"] = how;
            let whole = one.copy.as_ref().ok().and_then(Copy::whole);
            let vector = whole.map(|it| rows::vector(it.part()));
            Ok(std::iter::once(row)
                .chain(vector.into_iter().flatten())
                .collect())
        }
        Ask::Proof(which, node) => {
            let all = found::all(home, mesh, roster)?;
            let (_, part) = found::choose(&all, *which)?;
            Ok(vec![proofs::make(part, mesh, roster, node)?])
        }
        Ask::Check(proof) => Ok(vec![proofs::check(proof, mesh, roster)?]),
    }
}

/// Asks the node of this home or, where none runs, the home itself.
async fn ask(ctx: &Context, ask: Ask) -> Result<Vec<Value>, Failure> {
    let home = Home::at(&ctx.dir);
    let request = Request::Checkpoint { ask: ask.clone() };
    match control::ask_within(&home, &request, CHECK_MAX).await {
        Err(failure) if failure.code == "not_running" => {
            let loaded = home::load(&ctx.dir)?;
            let _lock = loaded.home.lock().map_err(home::broken)?;
            let items =
                chorus_actors::items(&loaded.home).map_err(|why| super::run::not_started(&why))?;
            let own = loaded.identity.id();
            let (directory, _) = Directory::new(loaded.mesh, loaded.root, own, &items);
            answer(&loaded.home, &loaded.mesh, directory.roster(), &ask)
        }
        answered => answered,
    }
}

pub async fn run(ctx: Context, verb: CheckpointVerb) -> Result<(), Failure> {
    match verb {
        CheckpointVerb::Show => show(&ctx).await,
        CheckpointVerb::Verify {
            which,
            proof: Some(file),
        } => check(&ctx, &which, &file).await,
        CheckpointVerb::Verify { which, proof: None } => verify(&ctx, &which).await,
        CheckpointVerb::Reconstruct { which, from, out } => {
            reconstruct(&ctx, &which, &from, out).await
        }
        CheckpointVerb::Proof { node, which } => {
            let which = which.which()?;
            let lines = ask(&ctx, Ask::Proof(which, node)).await?;
            let proof = first(lines)?;
            let words = proofs::words(&proof);
            ctx.answer(&proof, &words)
        }
    }
}

impl EpochArgs {
    fn which(&self) -> Result<Which, Failure> {
        let epoch = match self.epoch.as_str() {
            "last" => None,
            number => Some(super::read::<u64>("--epoch", number).map_err(|failure| {
                failure.hint("give the number that `chorus checkpoint show` lists, or `last`")
            })?),
        };
        Ok(Which {
            epoch,
            branch: self.branch,
        })
    }

    fn is_given(&self) -> bool {
        self.epoch != "last" || self.branch
    }
}

async fn rows(ctx: &Context) -> Result<Vec<Value>, Failure> {
    let lines = ask(ctx, Ask::Show).await?;
    Ok(rows::joined(lines))
}

async fn show(ctx: &Context) -> Result<(), Failure> {
    let rows = rows(ctx).await?;
    let words = table(&rows);
    ctx.answer(
        &json!({"schema": "chorus.checkpoints/1", "checkpoints": rows}),
        &words,
    )
}

/// Says of each, or of one, whether it is sound. One that is not fails the verb.
async fn verify(ctx: &Context, which: &EpochArgs) -> Result<(), Failure> {
    let mut rows = rows(ctx).await?;
    if which.is_given() {
        let which = which.which()?;
        rows.retain(|row| which.epoch.is_none_or(|epoch| row["epoch"] == epoch));
        rows.retain(|row| !which.branch || row["state"] == "branch");
    }
    if rows.is_empty() {
        return Err(found::none(which.which()?));
    }
    let damaged = rows.iter().filter(|row| row["verified"] != true).count();
    let json = json!({
        "schema": "chorus.checkpoint_verify/1",
        "checked": rows.len(),
        "damaged": damaged,
        "checkpoints": rows,
    });
    let words = table(&rows);
    if damaged == 0 {
        return ctx.answer(&json, &words);
    }
    let message = format!("{damaged} of {} checkpoints are damaged", rows.len());
    let failure = Failure::failed("checkpoint_damaged", message).hint(found::DAMAGED_HINT);
    ctx.answer_failed(&json, &words, failure)
}

async fn reconstruct(
    ctx: &Context,
    which: &EpochArgs,
    from: &[PathBuf],
    out: Option<PathBuf>,
) -> Result<(), Failure> {
    let which = which.which()?;
    let question = match from {
        [] => Ask::Reconstruct(which),
        from => Ask::Rebuild(
            which,
            from.iter().map(|it| full(it)).collect::<Result<_, _>>()?,
        ),
    };
    let mut lines = ask(ctx, question).await?;
    let vector = rows::joined(lines.split_off(lines.len().min(1)));
    let mut one = first(lines)?;
    if one["members"] != vector.len() {
        return Err(Failure::unreachable(
            "answer_cut",
            "the vector came incomplete",
        ));
    }
    one["schema"] = "chorus.checkpoint/1".into();
    one["out"] = json!(out);
    if let Some(out) = &out {
        write(out, &rows::csv(&vector))?;
    }
    let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let mut words = format!(
        "epoch {} of {} members, {}, signed by {}, verified\nroot {}",
        one["epoch"],
        vector.len(),
        word("state"),
        word("signer_name"),
        word("root"),
    );
    let rebuilt = &one["rebuilt"];
    if let Some(of) = rebuilt["of"].as_str() {
        words.push_str(&format!(
            "\nof {of}: {} used, {} of another twice, {} refused",
            rebuilt["used"], rebuilt["twice"], rebuilt["refused"]
        ));
    }
    if let Some(out) = &out {
        words.push_str(&format!("\nthe vector is in {}", out.display()));
    }
    ctx.answer(&one, &words)
}

/// A folder's name from the root on: a node that is asked stands elsewhere.
fn full(folder: &Path) -> Result<String, Failure> {
    let full = std::path::absolute(folder).ok();
    let full = full.and_then(|it| it.into_os_string().into_string().ok());
    full.ok_or_else(|| {
        let message = format!("{} is no name of a folder", folder.display());
        Failure::usage("no_such_folder", message)
    })
}

fn write(out: &Path, text: &str) -> Result<(), Failure> {
    write_atomic(out, text.as_bytes(), 0o644).map_err(|why| {
        Failure::failed("not_written", why.to_string())
            .hint("name another file with --out; nothing is left of this one")
    })
}

async fn check(ctx: &Context, which: &EpochArgs, file: &Path) -> Result<(), Failure> {
    if which.is_given() {
        return Err(Failure::usage(
            "usage",
            "--proof says itself of which epoch it is: leave --epoch and --branch out",
        ));
    }
    let refuse = |why: String| {
        let message = format!("{}: {why}", file.display());
        Failure::usage("bad_proof", message).hint("give what `chorus --json checkpoint proof` made")
    };
    let text = fs::read_to_string(file).map_err(|why| refuse(why.to_string()))?;
    let proof = serde_json::from_str(&text).map_err(|why| refuse(why.to_string()))?;
    let checked = first(ask(ctx, Ask::Check(proof)).await?)?;
    let words = proofs::words(&checked);
    ctx.answer(&checked, &words)
}

fn first(lines: Vec<Value>) -> Result<Value, Failure> {
    let first = lines.into_iter().next();
    first.ok_or_else(|| Failure::new(exit::FAILED, "empty_answer", "the node's answer was empty"))
}

fn table(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "there is no checkpoint here yet".into();
    }
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    };
    let head = [
        "EPOCH", "STATE", "HELD", "MEMBERS", "HOLDERS", "LIVE", "BY", "ROOT",
    ];
    let mut table = vec![head.map(String::from)];
    for row in rows {
        let cell = |key: &str| word(&row[key]);
        let state = match row["verified"] == true {
            true => cell("state"),
            false => format!("DAMAGED ({})", cell("damage")),
        };
        let root: String = cell("root").chars().take(16).collect();
        let counts = ["members", "holders", "live", "signer_name"].map(cell);
        let [members, holders, live, by] = counts;
        let fragment = &row["fragment"];
        let held = match fragment["number"].as_u64() {
            Some(number) => format!("fragment {number}, {} needed", fragment["needed"]),
            None => cell("held"),
        };
        table.push([cell("epoch"), state, held, members, holders, live, by, root]);
    }
    columns(&table)
}
