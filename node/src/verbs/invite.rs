//! `invite`: a token by which others may join. It works beside a running node,
//! and so opens no store: what it needs stands in the home's small files.

use std::net::IpAddr;
use std::time::Duration;

use chorus_protocol::ids::{CurveKey, Label, Place, Role};
use chorus_protocol::membership::topology;
use chorus_protocol::trust::token::{DOORS_MAX, JournalId, USES_MAX, nonce};
use chorus_protocol::trust::{Claim, Token, enrol};
use chorus_storage::Home;
use serde_json::json;

use super::{bad_flag, place, read};
use crate::chance;
use crate::cli::{Context, InviteArgs};
use crate::control::{self, Request};
use crate::error::Failure;
use crate::home::{self, Loaded};
use crate::settings::Settings;

/// The longest validity of a token: a year.
const TTL_S_MAX: u64 = 366 * 86_400;

/// A token, and its text.
pub fn issue(ctx: &Context, args: &InviteArgs) -> Result<(Token, String), Failure> {
    let name = args.name.as_deref().map(|it| read::<Label>("--name", it));
    let role = role(&args.role)?;
    let place = place(&args.sector, &args.cluster)?;
    let caps = caps(&args.cap)?;
    let ttl = ttl(&args.ttl)?;
    let uses = uses(&args.uses)?;
    let settings = Settings::load(ctx)?;
    let loaded = home::load(&ctx.dir)?;
    refuse_undelegated(&loaded)?;
    refuse_parentless(&loaded, role, place)?;
    if caps.contains(&enrol()) && loaded.root_key()?.is_none() {
        let message =
            "--cap enrol: only the mesh's root lets others enrol, and its key is not here";
        return Err(Failure::refused("no_root_key", message)
            .hint("invite where the mesh was made, or put its root.key back into operator/"));
    }

    let expires_s = chorus_storage::clock::unix_s().saturating_add(ttl.as_secs());
    let token = Token {
        mesh: loaded.mesh,
        root: loaded.root,
        enroller: loaded.identity.id(),
        enroller_curve: CurveKey(loaded.curve.public),
        doors: doors(&loaded, &settings)?,
        role,
        place,
        name: name.transpose()?,
        caps,
        expires_s,
        uses,
        nonce: nonce(journal(&loaded)?, chance::bytes()?),
    };
    let text = token.to_text(&loaded.identity).map_err(|why| {
        Failure::usage("bad_invitation", why.to_string())
            .hint("shorten what the token carries: capabilities, advertised names, the name")
    })?;
    Ok((token, text))
}

pub async fn run(ctx: &Context, args: &InviteArgs) -> Result<(), Failure> {
    let (token, text) = issue(ctx, args)?;
    // Several bearers get numbers behind the name, and the door leaves out those that are taken.
    if let Some(name) = token.name.filter(|_| token.uses == 1) {
        refuse_taken(&Home::at(&ctx.dir), name).await?;
    }
    let answer = json!({
        "schema": "chorus.invite/1",
        "token": text,
        "name": token.name.map(|name| name.to_string()),
        "role": token.role.as_str(),
        "sector": token.place.sector.as_str(),
        "cluster": token.place.cluster.as_str(),
        "caps": token.caps.iter().map(Label::as_str).collect::<Vec<_>>(),
        "doors": token.doors,
        "uses": token.uses,
        "expires_s": token.expires_s,
    });
    ctx.answer(&answer, &text)
}

/// What a token may ask for. A capability that nobody looks at would be a promise of nothing.
pub fn caps(texts: &[String]) -> Result<Vec<Label>, Failure> {
    let known = |text: &String| match enrol().as_str() == text {
        true => Ok(enrol()),
        false => Err(bad_flag("--cap", text, format!("allowed is {}", enrol()))),
    };
    texts.iter().map(known).collect()
}

/// The door would refuse whoever comes with a name that is another's. The running node knows
/// the roster; where none runs, its door is the first to know. Not for tokens that `up` keeps:
/// the name is its bearer's from the first use on, and they are made anew all the same.
async fn refuse_taken(home: &Home, name: Label) -> Result<(), Failure> {
    let asked = control::ask(home, &Request::Named { name }).await;
    let lines = asked.unwrap_or_default();
    match lines.first().and_then(|line| line["node"].as_str()) {
        None => Ok(()),
        Some(node) => {
            let message = format!("--name {name}: the mesh has a node of that name, {node}");
            Err(Failure::refused("name_taken", message)
                .hint("choose another, or first shut that one out with `chorus revoke`"))
        }
    }
}

/// Only whom the root lets enrol may invite: anyone else's token would be
/// refused at the door, far from whoever could mend it.
fn refuse_undelegated(loaded: &Loaded) -> Result<(), Failure> {
    let may = match loaded.delegation()?.as_ref().map(|item| item.claim()) {
        Some(Claim::Delegation(it)) => {
            it.node == loaded.identity.id() && it.may.iter().any(|it| it.as_str() == "enrol")
        }
        _ => false,
    };
    if may {
        return Ok(());
    }
    Err(Failure::refused(
        "not_an_enroller",
        "the mesh's root did not let this node enrol others",
    )
    .hint("run `chorus invite` in the home where the mesh was made"))
}

/// A joiner's role.
pub fn role(text: &str) -> Result<Role, Failure> {
    match read("--role", text)? {
        Role::Orchestrator => {
            let why = "a mesh has its top from the beginning, and nobody would be above a second \
                       one; allowed is coordinator, lead or agent";
            Err(bad_flag("--role", text, why))
        }
        role => Ok(role),
    }
}

/// Who can be beneath nobody hangs nowhere in the tree, and sees nobody. The door knows all
/// possible parents; the home's files tell of this node alone, which is enough where the mesh
/// was made with it.
fn refuse_parentless(loaded: &Loaded, role: Role, place: Place) -> Result<(), Failure> {
    let Some(top) = loaded.as_founder()? else {
        return Ok(());
    };
    let member = |role, place| topology::Member {
        node: top.node,
        role,
        place,
    };
    if topology::may_hang_beneath(&member(role, place), &member(top.role, top.place)) {
        return Ok(());
    }
    let message = format!(
        "--role {role}: in sector {} nobody in this mesh could be above it, and it would see nobody",
        place.sector
    );
    let hint = format!(
        "beneath {}, the {} that the mesh was made with, is room for lower roles in sector {} \
         alone; a mesh of several sectors begins with `chorus init --role orchestrator`",
        top.name, top.role, top.place.sector
    );
    Err(Failure::usage("bad_flag", message).hint(hint))
}

/// The journal that will count the uses: a token that names none is good for nothing.
fn journal(loaded: &Loaded) -> Result<JournalId, Failure> {
    let id = chorus_actors::uses::journal_id(&loaded.home);
    let id = id.map_err(|why| Failure::failed("no_journal", why.to_string()))?;
    id.ok_or_else(|| {
        let message = format!(
            "the journal in {} that counts the uses of tokens is not there",
            loaded.home.journal().display()
        );
        Failure::failed("no_journal", message)
            .hint("start the node again with `chorus run`: it begins one; then invite")
    })
}

/// Where joiners knock, best first: at every advertised host, on the port that
/// the running node has bound or the configured one.
fn doors(loaded: &Loaded, settings: &Settings) -> Result<Vec<String>, Failure> {
    let port = match settings.ports.door {
        0 => home::bound_door(&loaded.home).ok_or_else(|| {
            let message = "the door's port is chosen when the node starts, and it has not started";
            Failure::failed("no_door", message)
                .hint("start it with `chorus run`, or set net.listen to a port that is not 0")
        })?,
        configured => home::bound_door(&loaded.home).unwrap_or(configured),
    };
    // A running node may have been told other names than its home's configuration.
    let mut hosts = match home::advertised(&loaded.home) {
        Some(hosts) if settings.advertise.is_empty() => hosts,
        _ => settings.advertise.clone(),
    };
    if hosts.is_empty() {
        let is_any = settings.host.is_unspecified();
        if is_any {
            eprintln!(
                "note: net.advertise is empty, so this token works on this machine alone; \
                 name the node's address with --advertise or in chorus.toml"
            );
        }
        let loopback = match settings.host {
            IpAddr::V4(_) => "127.0.0.1".into(),
            IpAddr::V6(_) => "::1".into(),
        };
        hosts.push(if is_any {
            loopback
        } else {
            settings.host.to_string()
        });
    }
    hosts.truncate(DOORS_MAX);
    let door = |host: String| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    Ok(hosts.into_iter().map(door).collect())
}

/// How many may join with a token.
pub fn uses(text: &str) -> Result<u32, Failure> {
    let count = text.parse().ok().filter(|it| (1..=USES_MAX).contains(it));
    count.ok_or_else(|| bad_flag("--uses", text, format!("allowed is 1 to {USES_MAX}")))
}

/// How long a token is valid.
pub fn ttl(text: &str) -> Result<Duration, Failure> {
    span("--ttl", text)
}

/// The span of a flag.
pub fn span(flag: &str, text: &str) -> Result<Duration, Failure> {
    let allowed = "allowed is 1s to 366d, a number and s, m, h or d";
    seconds(text)
        .filter(|s| (1..=TTL_S_MAX).contains(s))
        .map(Duration::from_secs)
        .ok_or_else(|| bad_flag(flag, text, allowed))
}

/// `90s`, `15m`, `24h` or `7d` in seconds.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_s)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        let read = ["90s", "15m", "24h", "7d"].map(seconds);
        assert_eq!(read, [Some(90), Some(900), Some(86_400), Some(604_800)]);
        for bad in [
            "",
            "s",
            "24",
            "1w",
            "-1h",
            "1.5h",
            "99999999999999999999d",
            "1é",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
