//! Knocks: the running node is tried from outside, as those would who must not come in. At
//! its sockets with a member's key (which must work, or the refusals would prove nothing), a
//! stranger's key and none; at its door with tokens that must not be honoured.

use std::time::Duration;

use chorus_actors::store::JOURNAL_USE;
use chorus_actors::transport::handshake::{self, At, Outcome};
use chorus_actors::transport::knock::knock;
use chorus_actors::transport::sockets::CurveKeys;
use chorus_protocol::ids::{CurveKey, Incarnation, Label, NodeId, Place, Role, Stamp};
use chorus_protocol::trust::door::Use;
use chorus_protocol::trust::{Token, mesh_of};
use chorus_protocol::wire::codec;
use chorus_protocol::wire::envelope::{self, Receiver};
use chorus_protocol::wire::identity::PublicKey;
use chorus_protocol::wire::message::Enrol;
use chorus_protocol::wire::{Channel, Identity, Message, Signer};
use chorus_storage::{Home, journal};
use serde_json::Value;

use super::check::{Check, Grade};
use crate::error::Failure;
use crate::home::Loaded;
use crate::verbs::{new_identity, new_keys};

/// How long one knock may take: far beyond a handshake on this machine.
const WITHIN: Duration = Duration::from_secs(3);

/// The three sockets that serve members, with their keys in `addresses.json`.
const SOCKETS: [(At, &str, &str); 3] = [
    (At::Router, "router", "ROUTER"),
    (At::Publisher, "publisher", "PUB"),
    (At::Subscriber, "subscriber", "SUB"),
];

/// What each socket did; an error of this machine as words.
type Said = Vec<(&'static str, Result<Outcome, String>)>;

/// Tries everything at the node of this home, which listens where `addresses` says.
pub fn all(loaded: &Loaded, addresses: &Value) -> Vec<Check> {
    match try_all(loaded, addresses) {
        Ok(checks) => checks,
        Err(why) => vec![Check::failed("refusals", &why)],
    }
}

fn try_all(loaded: &Loaded, addresses: &Value) -> Result<Vec<Check>, Failure> {
    let (_, stranger) = new_keys()?;
    let mut checks = vec![
        member(loaded, addresses),
        turned_away(
            "stranger's key",
            "a key made just now that is on no roster",
            &at_sockets(loaded, addresses, Some(&stranger)),
        ),
        turned_away(
            "no encryption",
            "a client of the NULL mechanism",
            &at_sockets(loaded, addresses, None),
        ),
    ];
    let door = addresses["door"].as_str().unwrap_or_default();
    let door = handshake::on_this_machine(door);
    let ask = |token: &[u8]| ask(loaded, &door, token);
    checks.push(refused(
        "wrong-mesh token",
        "the door was shown a token of a mesh made just now",
        "wrong_mesh",
        ask(&of_another_mesh(loaded, &door)?),
    ));
    checks.push(refused(
        "forged token",
        "the door was shown a token of its own with one bit changed",
        "token_forged",
        ask(&forged(loaded, &door)?),
    ));
    checks.push(match used_up(loaded, &door)? {
        Some((name, token)) => refused(
            "used-up token",
            &format!("the door was shown, by another key, the token that `{name}` joined with"),
            "token_used",
            ask(&token),
        ),
        None => Check::new(
            "used-up token",
            Grade::Skipped,
            "nobody has joined by a token of this node that is still remembered: none to try with",
        ),
    });
    Ok(checks)
}

/// The node's own key, which is on its roster, must be let in.
fn member(loaded: &Loaded, addresses: &Value) -> Check {
    let said = at_sockets(loaded, addresses, Some(&loaded.curve));
    if said.iter().all(|(_, it)| *it == Ok(Outcome::LetIn)) {
        let detail = "this node's own key was let in at ROUTER, PUB and SUB, \
             so they answer and what follows means something";
        return Check::new("member's key", Grade::Ok, detail);
    }
    Check::new(
        "member's key",
        Grade::Warn,
        format!("this node's own key: {}", list(&said)),
    )
    .hint("see the line `node`: is it a member still? Else the machine may be overloaded")
}

/// Whoever this is must be refused everywhere.
fn turned_away(name: &'static str, who: &str, said: &Said) -> Check {
    let detail = format!("{who} knocked: {}", list(said));
    if said.iter().any(|(_, it)| *it == Ok(Outcome::LetIn)) {
        Check::new(name, Grade::Fail, detail)
            .hint("stop this node at once and report it: its sockets admit anybody")
    } else if said.iter().all(|(_, it)| *it == Ok(Outcome::Refused)) {
        Check::new(name, Grade::Ok, detail)
    } else {
        Check::new(name, Grade::Warn, detail).hint("not every socket answered; try again")
    }
}

fn at_sockets(loaded: &Loaded, addresses: &Value, keys: Option<&CurveKeys>) -> Said {
    let knock = |(at, key, name): (At, &str, &'static str)| {
        let bound = addresses[key].as_str().unwrap_or_default();
        let said = handshake::attempt(at, bound, &loaded.curve.public, keys, WITHIN);
        (name, said.map_err(|why| why.to_string()))
    };
    SOCKETS.into_iter().map(knock).collect()
}

fn list(said: &Said) -> String {
    let word = |(name, outcome): &(&str, Result<Outcome, String>)| match outcome {
        Ok(Outcome::LetIn) => format!("{name} let it in"),
        Ok(Outcome::Refused) => format!("{name} refused"),
        Ok(Outcome::Silence) => format!("{name} said nothing for {} s", WITHIN.as_secs()),
        Err(why) => format!("{name} could not be tried ({why})"),
    };
    said.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// The door must have refused with this very word.
fn refused(name: &'static str, did: &str, code: &str, said: Result<String, String>) -> Check {
    match said {
        Ok(word) if word == code => {
            Check::new(name, Grade::Ok, format!("{did}: refused as `{word}`"))
        }
        Ok(word) if word == "welcome" => Check::new(name, Grade::Fail, format!("{did}: let in"))
            .hint("revoke the member that `chorus peers` shows as new, and report this"),
        Ok(word) => Check::new(
            name,
            Grade::Warn,
            format!("{did}: refused as `{word}`, where `{code}` was expected"),
        ),
        Err(why) => Check::new(name, Grade::Warn, format!("{did}: {why}")).hint("try again"),
    }
}

/// Knocks at the door with a token and fresh keys: the refusal's code, or `welcome`.
fn ask(loaded: &Loaded, door: &str, token: &[u8]) -> Result<String, String> {
    let (identity, curve) = new_keys().map_err(|why| why.to_string())?;
    let enrol = Enrol {
        token: token.to_vec(),
        curve: CurveKey(curve.public),
        name: None,
    };
    let stamp = Stamp {
        incarnation: Incarnation::new(0, 0),
        lamport: 1,
    };
    let message = Message::Enrol(enrol);
    let frame = envelope::seal(&identity, &loaded.mesh, stamp, None, &message);
    let server = loaded.curve.public;
    let answer = knock(door, server, &curve, frame, WITHIN).map_err(|why| why.to_string())?;
    let (node, host) = (identity.id(), loaded.identity.id());
    let key = PublicKey::new(&host).map_err(|_| "this node's own key is weak".to_owned())?;
    let receiver = Receiver {
        mesh: &loaded.mesh,
        node: &node,
        incarnation: stamp.incarnation,
    };
    let signer = |from: &NodeId| match *from == host {
        true => Signer::Pinned(&key),
        false => Signer::Unknown,
    };
    match envelope::open(&answer, Channel::Door, None, receiver, signer) {
        Ok(frame) => match frame.message {
            Message::Refused(refused) => Ok(refused.code),
            other => Ok(other.name().into()),
        },
        Err(why) => Err(format!("the door's answer is not sound: {why}")),
    }
}

/// A token of this node's, good but for what the caller changes.
fn token(loaded: &Loaded, door: &str, nonce: [u8; 16]) -> Result<Token, Failure> {
    let label = |text| Label::new(text).map_err(|why| Failure::failed("label", why.to_string()));
    Ok(Token {
        mesh: loaded.mesh,
        root: loaded.root,
        enroller: loaded.identity.id(),
        enroller_curve: CurveKey(loaded.curve.public),
        doors: vec![door.trim_start_matches("tcp://").to_owned()],
        role: Role::Agent,
        place: Place {
            sector: label("doctor")?,
            cluster: label("doctor")?,
        },
        name: None,
        caps: Vec::new(),
        expires_s: chorus_storage::clock::unix_s() + 60,
        uses: 1,
        nonce,
    })
}

fn sealed(token: &Token, by: &Identity) -> Result<Vec<u8>, Failure> {
    let failed = |why| Failure::failed("token", format!("no token can be made: {why}"));
    token.seal(by).map_err(failed)
}

fn of_another_mesh(loaded: &Loaded, door: &str) -> Result<Vec<u8>, Failure> {
    let root = new_identity()?;
    let token = Token {
        mesh: mesh_of(&root.id()),
        root: root.id(),
        enroller: root.id(),
        ..token(loaded, door, [0; 16])?
    };
    sealed(&token, &root)
}

/// Signed by this node, and then changed in its last byte, which is the nonce's.
fn forged(loaded: &Loaded, door: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = sealed(&token(loaded, door, [0; 16])?, &loaded.identity)?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    Ok(bytes)
}

/// A token for one use whose use stands in this node's journal, and who used it. The text of
/// the one that was mailed is not kept; what the door counts by is the nonce.
fn used_up(loaded: &Loaded, door: &str) -> Result<Option<(Label, Vec<u8>)>, Failure> {
    let Some(it) = uses(&loaded.home)?.pop() else {
        return Ok(None);
    };
    let token = token(loaded, door, it.nonce)?;
    Ok(Some((it.entry.name, sealed(&token, &loaded.identity)?)))
}

/// The uses of tokens that the journal of a home holds, oldest first.
pub fn uses(home: &Home) -> Result<Vec<Use>, Failure> {
    let mut uses = Vec::new();
    journal::read(&home.journal(), |record| {
        if record.kind == JOURNAL_USE {
            uses.extend(codec::decode::<Use>(&record.payload).ok());
        }
    })
    .map_err(|why| {
        Failure::failed("journal", why.to_string()).hint("is the disk well, and the folder yours?")
    })?;
    Ok(uses)
}

/// The revoked, of whom nobody here has the keys: what the running node says of them.
pub fn revoked(health: &Value) -> Check {
    let number = |name: &str| health["revoked"][name].as_u64().unwrap_or(0);
    let (count, out) = (number("count"), number("shut_out"));
    let name = "revoked member";
    if count == 0 {
        let detail = "no revoked member to try with";
        return Check::new(name, Grade::Skipped, detail);
    }
    let detail = format!(
        "{out} of {count} revoked keys have no entry and no link key on the running node's \
         roster, and every frame of theirs is refused ({} so far); only they have their keys, \
         so this was read and not knocked",
        number("refused")
    );
    match out == count {
        true => Check::new(name, Grade::Ok, detail),
        false => Check::new(name, Grade::Fail, detail).hint("restart this node, and report it"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_is_let_in_anywhere_fails_and_silence_is_not_a_refusal() {
        let grade = |router, publisher| {
            let said = vec![("ROUTER", Ok(router)), ("PUB", Ok(publisher))];
            turned_away("stranger's key", "x", &said).grade
        };
        use Outcome::{LetIn, Refused, Silence};
        assert_eq!(grade(Refused, Refused), Grade::Ok);
        assert_eq!(grade(Refused, LetIn), Grade::Fail);
        assert_eq!(grade(Silence, LetIn), Grade::Fail);
        assert_eq!(grade(Refused, Silence), Grade::Warn);
    }

    #[test]
    fn only_the_right_refusal_passes() {
        let grade = |said: Result<&str, &str>| {
            let said = said.map(str::to_owned).map_err(str::to_owned);
            refused("used-up token", "x", "token_used", said).grade
        };
        assert_eq!(grade(Ok("token_used")), Grade::Ok);
        assert_eq!(grade(Ok("welcome")), Grade::Fail);
        assert_eq!(grade(Ok("full")), Grade::Warn);
        assert_eq!(grade(Err("no answer")), Grade::Warn);
    }

    #[test]
    fn without_a_revoked_member_nothing_was_checked() {
        let grade = |count, out| {
            revoked(&json!({"revoked": {"count": count, "shut_out": out, "refused": 0}})).grade
        };
        assert_eq!(grade(0, 0), Grade::Skipped);
        assert_eq!(grade(2, 2), Grade::Ok);
        assert_eq!(grade(2, 1), Grade::Fail);
    }
}
