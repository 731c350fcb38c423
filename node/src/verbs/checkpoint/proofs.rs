//! One member's proof as JSON, made and checked.

use std::str::FromStr;

use chorus_protocol::ids::{Digest, MeshId, NodeId};
use chorus_protocol::memory::checkpoint::proof::Step;
use chorus_protocol::memory::checkpoint::{Kind, Part, Proof, Record, Row, State, exact, standing};
use chorus_protocol::trust::roster::Roster;
use serde::Deserialize;
use serde_json::{Value, json};

use super::rows::name;
use crate::error::Failure;

/// The fewest hex digits of a key that name a node.
const PREFIX_MIN: usize = 4;

/// `chorus.checkpoint_proof/1` of the member that `node` names.
pub fn make(part: &Part, mesh: &MeshId, roster: &Roster, node: &str) -> Result<Value, Failure> {
    let node = find(part, roster, node)?;
    let proof = part.prove(&node).ok_or_else(|| {
        let message = format!("{node} is no member of epoch {}", part.header().epoch);
        Failure::failed("no_such_member", message)
    })?;
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let path = |path: &[Digest]| -> Vec<String> { path.iter().map(Digest::to_string).collect() };
    let index = proof.steps.first().map_or(0, |step| step.at as u32);
    let steps = proof
        .steps
        .iter()
        .map(|step| json!({"signed": hex(&step.signed), "at": step.at, "path": path(&step.path)}));
    let mut made = told(&proof, mesh, roster)?;
    made["record"] = hex(&proof.row.record.to_bytes(index)).into();
    made["table"] = json!(path(&proof.table));
    made["steps"] = steps.collect();
    Ok(made)
}

/// What a proof says, once it has been followed to its top.
fn told(proof: &Proof, mesh: &MeshId, roster: &Roster) -> Result<Value, Failure> {
    let refuse = |why: String| {
        Failure::failed("proof_refused", format!("the proof does not hold: {why}"))
            .hint("it was altered, or is of another mesh: get another one")
    };
    let header = proof.check(mesh).map_err(|why| refuse(why.to_string()))?;
    let may = match header.kind {
        Kind::Part => false,
        Kind::Whole => {
            standing::top(roster) == Some(header.signer) || roster.is_revoked(&header.signer)
        }
        Kind::Branch => roster.get(&header.signer).is_some() || roster.is_revoked(&header.signer),
    };
    if !may {
        return Err(refuse("its top is signed by a node that may not".into()));
    }
    let Row {
        node,
        holds,
        record,
    } = proof.row;
    // Whether the whole was durable, a proof of one member does not say.
    let branch = State::of(header.kind, false) == State::Branch;
    Ok(json!({
        "schema": "chorus.checkpoint_proof/1",
        "verified": true,
        "epoch": header.epoch,
        "root": header.root.to_string(),
        "branch": branch,
        "signer": header.signer.to_string(),
        "signer_name": name(roster, &header.signer),
        "node": node.to_string(),
        "name": name(roster, &node),
        "holds": holds,
        "phase": exact(record.phase),
        "omega": exact(record.omega),
        "lamport": record.lamport,
        "mesh": mesh.to_string(),
    }))
}

/// Checks what [`make`] made. What it says of the member must be what is proven; names are
/// those of the roster here.
pub fn check(given: &Value, mesh: &MeshId, roster: &Roster) -> Result<Value, Failure> {
    let proof = read(given).ok_or_else(|| {
        Failure::usage("bad_proof", "that is no chorus.checkpoint_proof/1")
            .hint("give what `chorus --json checkpoint proof` made")
    })?;
    let told = told(&proof, mesh, roster)?;
    let proven = told.as_object().into_iter().flatten();
    for (field, proven) in proven.filter(|(field, _)| !field.ends_with("name")) {
        let said = given.get(field).unwrap_or(proven);
        if said != proven {
            let message =
                format!("the proof says {field} = {said}, and what it proves is {proven}");
            return Err(
                Failure::failed("proof_refused", message).hint("it was altered: get another one")
            );
        }
    }
    Ok(told)
}

#[derive(Deserialize)]
struct Written {
    node: String,
    holds: bool,
    record: String,
    table: Vec<String>,
    steps: Vec<WrittenStep>,
}

#[derive(Deserialize)]
struct WrittenStep {
    signed: String,
    at: u64,
    path: Vec<String>,
}

fn read(proof: &Value) -> Option<Proof> {
    let written = Written::deserialize(proof).ok()?;
    let path = |path: &[String]| -> Option<Vec<Digest>> {
        path.iter()
            .map(|hash| Digest::from_str(hash).ok())
            .collect()
    };
    let (_, record) = Record::of_bytes(&bytes(&written.record)?).ok()?;
    let step = |step: &WrittenStep| {
        Some(Step {
            signed: bytes(&step.signed)?,
            at: step.at,
            path: path(&step.path)?,
        })
    };
    Some(Proof {
        row: Row {
            node: NodeId::from_str(&written.node).ok()?,
            holds: written.holds,
            record,
        },
        table: path(&written.table)?,
        steps: written.steps.iter().map(step).collect::<Option<_>>()?,
    })
}

/// Exactly N bytes of hex digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| char::from(c).to_digit(16);
    let pair = |two: &[u8]| Some((digit(two[0])? << 4 | digit(*two.get(1)?)?) as u8);
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes?.try_into().ok()
}

/// The member that a name, or the first digits of a key, means.
fn find(part: &Part, roster: &Roster, text: &str) -> Result<NodeId, Failure> {
    let named = roster.members().find(|it| it.entry.name.as_str() == text);
    if let Some(member) = named {
        return Ok(member.entry.node);
    }
    let digits = text.to_ascii_lowercase();
    let keys = part.members().iter().map(|row| row.node);
    let mut fits =
        keys.filter(|key| text.len() >= PREFIX_MIN && key.to_string().starts_with(&digits));
    match (fits.next(), fits.next()) {
        (Some(node), None) => Ok(node),
        (Some(_), Some(_)) => Err(Failure::usage(
            "ambiguous",
            format!("`{text}` means several nodes: give more of the key"),
        )),
        _ => Err(Failure::failed(
            "no_such_node",
            format!("no member has the name or key `{text}`"),
        )
        .hint("`chorus peers --all` lists names and keys")),
    }
}

/// A proof in words.
pub fn words(proof: &Value) -> String {
    let word = |key: &str| proof[key].as_str().unwrap_or_default().to_owned();
    format!(
        "epoch {}: {} had phase {} rad, frequency {} rad/s, Lamport time {}\n\
         proven under root {}, signed by {}",
        proof["epoch"],
        word("name"),
        word("phase"),
        word("omega"),
        proof["lamport"],
        word("root"),
        word("signer_name"),
    )
}
