//! `join`: from a token to a home. Nothing stays behind unless the door has
//! welcomed us, but the new keys where it may have: with them the same token does again.
//! What the door says is believed only as far as the token's root has signed it.

use std::time::Duration;

use chorus_actors::transport::knock::{KnockError, knock};
use chorus_actors::transport::sockets::CurveKeys;
use chorus_protocol::ids::{CurveKey, Incarnation, Label, MeshId, Stamp};
use chorus_protocol::trust::token::TokenError;
use chorus_protocol::trust::{Directory, Member, Token};
use chorus_protocol::wire::envelope::{self, Receiver};
use chorus_protocol::wire::identity::PublicKey;
use chorus_protocol::wire::message::Enrol;
use chorus_protocol::wire::{Channel, Identity, Message, Signer};
use chorus_storage::Home;
use serde_json::json;

use super::{new_config, new_keys, read};
use crate::cli::{Context, JoinArgs};
use crate::error::{Failure, exit};
use crate::home::{self, Founding};
use crate::settings::Settings;

/// Of a node to which nobody connects: several fit on one machine, and no port is open to others.
const OUTWARD: &str = "
[net]
# It connects outward only. To let others connect to it, listen where they can reach it
# (as 0.0.0.0:7400) and advertise a name or an address of this machine.
listen = \"127.0.0.1:0\"
";
/// How long one door may take: connecting, shaking hands and a flush to its
/// disk, each with seconds to spare on a slow link.
const DOOR_WITHIN: Duration = Duration::from_secs(5);
/// What a door says whose disk takes nothing now.
pub const CANNOT_STORE: &str = "cannot_store";

/// Knocks with the token, and makes the home of what the door says.
pub fn join(ctx: &Context, args: &JoinArgs) -> Result<(MeshId, Member), Failure> {
    let token_bytes = Token::bytes_of(&args.token).map_err(bad_token)?;
    let token = Token::open(&token_bytes).map_err(bad_token)?;
    let name = args.name.as_deref().map(|it| read::<Label>("--name", it));
    let name = chosen_name(&token, name.transpose()?)?;
    let home = Home::at(&ctx.dir);
    home::refuse_used(&home)?;
    let mut config = new_config(ctx, &args.net)?;
    let told = args.net.listen.is_some() || !args.net.advertise.is_empty();
    if !told && Settings::load(ctx)?.is_outward_only() {
        config.push_str(OUTWARD);
    }

    let (identity, curve) = home::begun(&home).map_or_else(new_keys, Ok)?;
    let enrol = Enrol {
        token: token_bytes,
        curve: CurveKey(curve.public),
        name,
    };
    let stamp = Stamp {
        incarnation: Incarnation::new(0, 0),
        lamport: 1,
    };
    let frame = envelope::seal(&identity, &token.mesh, stamp, None, &Message::Enrol(enrol));
    let founding = Founding {
        identity: &identity,
        curve: &curve,
        root: token.root,
        root_key: None,
        config: &config,
    };
    let mut own = None;
    let made = home::make(&home, &founding, |counted| {
        let answer = ask(&token, &curve, &frame, counted)?;
        let items = open(&answer, &token, &identity).inspect_err(|why| {
            if why.exit == exit::REFUSED {
                *counted = why.code == CANNOT_STORE;
            }
        })?;
        own = Some(own_entry(&items, &token, &identity, &curve)?);
        *counted = true;
        Ok(items)
    });
    made.map_err(|why| match home::begun(&home) {
        Some(_) => {
            let again = "the new keys are kept: join again, with the same token and --dir";
            let hint = [again, &why.hint].join("; ");
            why.hint(hint.trim_end_matches("; "))
        }
        None => why,
    })?;
    let own = own.expect("invariant: a home was made of items that hold the own entry");
    Ok((token.mesh, own))
}

pub fn run(ctx: &Context, args: &JoinArgs) -> Result<(), Failure> {
    let (mesh, own) = join(ctx, args)?;
    let (entry, dir) = (&own.entry, ctx.dir.display());
    let (name, role, place) = (entry.name, entry.role, entry.place);
    let answer = json!({
        "schema": "chorus.join/1",
        "dir": ctx.dir,
        "mesh": mesh.to_string(),
        "node": entry.node.to_string(),
        "name": name.as_str(),
        "role": role.as_str(),
        "sector": place.sector.as_str(),
        "cluster": place.cluster.as_str(),
    });
    let words = format!(
        "{name} ({role} in {}/{}) belongs to the mesh and lives in {dir}\n\
         next: chorus --dir {dir} run",
        place.sector, place.cluster,
    );
    ctx.answer(&answer, &words)
}

/// The name to ask for, where the token leaves that open.
fn chosen_name(token: &Token, wanted: Option<Label>) -> Result<Option<Label>, Failure> {
    match (token.name, wanted) {
        (Some(given), Some(wanted)) if given != wanted || token.uses > 1 => {
            let message = format!("--name {wanted}: the token names its bearer `{given}`");
            Err(Failure::usage("bad_flag", message).hint("leave --name out"))
        }
        (Some(_), _) => Ok(None),
        (None, wanted) => Ok(wanted),
    }
}

/// Knocks at the token's doors, one after the other. The same keys may ask at
/// several: they get the same entry. Notes in `counted` whether one was asked that did not
/// answer: it may have welcomed them.
fn ask(
    token: &Token,
    curve: &CurveKeys,
    frame: &[u8],
    counted: &mut bool,
) -> Result<Vec<u8>, Failure> {
    let mut failures = Vec::new();
    for door in &token.doors {
        let endpoint = format!("tcp://{door}");
        let server = token.enroller_curve.0;
        match knock(&endpoint, server, curve, frame.to_vec(), DOOR_WITHIN) {
            Ok(answer) => return Ok(answer),
            Err(
                why @ (KnockError::Timeout { .. }
                | KnockError::Unresolved { .. }
                | KnockError::Endpoint { .. }),
            ) => {
                *counted |= matches!(why, KnockError::Timeout { asked: true, .. });
                failures.push(why.to_string());
            }
            Err(why) => return Err(Failure::failed("knock", why.to_string())),
        }
    }
    let message = format!("nobody opened: {}; no home was made", failures.join("; "));
    Err(Failure::unreachable("unreachable", message)
        .hint("is the node that made the token running, and its door's port open from here?"))
}

/// The items of the door's answer. The signature must be the enroller's.
fn open(answer: &[u8], token: &Token, own: &Identity) -> Result<Vec<Vec<u8>>, Failure> {
    let key = PublicKey::new(&token.enroller).map_err(|_| bad_token(TokenError::WeakKey))?;
    let node = own.id();
    let receiver = Receiver {
        mesh: &token.mesh,
        node: &node,
        incarnation: Incarnation::new(0, 0),
    };
    let signer = |from: &_| match *from == token.enroller {
        true => Signer::Pinned(&key),
        false => Signer::Unknown,
    };
    let verified = envelope::open(answer, Channel::Door, None, receiver, signer)
        .map_err(|why| bad_welcome(format!("the door's answer is not sound: {why}")))?;
    match verified.message {
        Message::Welcome(page) => Ok(page.items.into_iter().map(|it| it.into_vec()).collect()),
        Message::Refused(refused) => {
            let reason: String = refused.reason.chars().filter(|c| !c.is_control()).collect();
            let code: String = refused
                .code
                .chars()
                .filter(char::is_ascii_graphic)
                .collect();
            let message = format!("the door refused: {reason}; no home was made");
            let hint = match code.as_str() {
                "name_taken" => "ask for a token with another name, or choose one with --name",
                "full" | CANNOT_STORE => "tell who made the token",
                _ => "ask who made the token for a new one",
            };
            Err(Failure::refused(code, message).hint(hint))
        }
        other => Err(bad_welcome(format!(
            "the door answered with `{}`",
            other.name()
        ))),
    }
}

/// Our own membership, if the items prove it under the token's root: an entry
/// with our keys, and the delegation of whoever signed it.
fn own_entry(
    items: &[Vec<u8>],
    token: &Token,
    identity: &Identity,
    curve: &CurveKeys,
) -> Result<Member, Failure> {
    let (directory, _) = Directory::new(token.mesh, token.root, identity.id(), items);
    let roster = directory.roster();
    let member = roster
        .get(&identity.id())
        .ok_or_else(|| bad_welcome("the door's items do not make this node a member"))?;
    if !roster.may_enrol(&member.issuer) {
        return Err(bad_welcome(
            "the enroller has no delegation by the mesh's root",
        ));
    }
    if member.entry.curve.0 != curve.public {
        return Err(bad_welcome("the entry is for another link key"));
    }
    Ok(member.clone())
}

fn bad_token(why: TokenError) -> Failure {
    Failure::usage("bad_token", why.to_string()).hint("ask for a new one, and copy it whole")
}

/// An enroller that answers, but not with what makes a member: its fault.
fn bad_welcome(message: impl Into<String>) -> Failure {
    Failure::failed("bad_welcome", message).hint("no home was made; tell who made the token")
}
