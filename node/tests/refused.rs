//! Who must not come in: a stranger's key, a client without encryption, a token of another
//! mesh, a used-up token and a revoked member, at real processes; and `doctor` says that it tried.

mod support;

use std::path::Path;
use std::time::Duration;

use chorus_actors::transport::handshake::{self, At, Outcome};
use chorus_actors::transport::knock::knock;
use chorus_actors::transport::sockets::CurveKeys;
use chorus_protocol::ids::{CurveKey, Incarnation, MeshId, Stamp};
use chorus_protocol::trust::{Token, mesh_of};
use chorus_protocol::wire::envelope::{self, Receiver};
use chorus_protocol::wire::identity::PublicKey;
use chorus_protocol::wire::message::{Enrol, Message};
use chorus_protocol::wire::{Channel, Identity, Signer};
use chorus_storage::Home;
use chorus_storage::home::read_key;
use serde_json::Value;
use support::{Process, enrol, found, succeed, until};

/// Far beyond what a refusal takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mesh of one node that runs.
fn mesh(root: &Path, name: &str) -> Process {
    let mut node = Process::new(root, name, None);
    found(&node, "127.0.0.1");
    node.start();
    node
}

fn addresses(node: &Process) -> Value {
    let text = std::fs::read(node.home.join("run/addresses.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A key of a node's home: the tests play its owner.
fn link_key(node: &Process) -> CurveKeys {
    CurveKeys::from_secret(read_key(&Home::at(&node.home).curve_key()).unwrap())
}

fn invite(node: &Process) -> String {
    let mut invite = node.command();
    invite.args(["invite", "--sector", "s1", "--cluster", "c1"]);
    let said: Value = serde_json::from_slice(&succeed(&mut invite).stdout).unwrap();
    said["token"].as_str().unwrap().to_owned()
}

/// The exit code and the one JSON object of a verb, however it ends.
fn said(node: &Process, words: &[&str]) -> (Option<i32>, Value) {
    let output = node.command().args(words).output().unwrap();
    let answer = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        answer.unwrap_or_else(|why| panic!("{why}: {output:?}")),
    )
}

/// The grade that `doctor` gives in one line.
fn grade(node: &Process, check: &str) -> String {
    let (_, told) = said(node, &["doctor"]);
    let rows = told["checks"].as_array().unwrap();
    let row = rows.iter().find(|row| row["check"] == check);
    let row = row.unwrap_or_else(|| panic!("no `{check}` in {told}"));
    row["grade"].as_str().unwrap().to_owned()
}

#[test]
fn strangers_and_clients_without_encryption_are_refused_at_every_socket() {
    let dir = tempfile::tempdir().unwrap();
    let node = mesh(dir.path(), "a");
    let (own, stranger) = (link_key(&node), CurveKeys::generate().unwrap());
    let bound = addresses(&node);
    for (at, name) in [
        (At::Router, "router"),
        (At::Publisher, "publisher"),
        (At::Subscriber, "subscriber"),
    ] {
        let bound = bound[name].as_str().unwrap();
        let knock = |keys| handshake::attempt(at, bound, &own.public, keys, PATIENCE);
        // Without this the refusals would prove nothing.
        assert_eq!(knock(Some(&own)), Ok(Outcome::LetIn), "{name}");
        assert_eq!(knock(Some(&stranger)), Ok(Outcome::Refused), "{name}");
        assert_eq!(knock(None), Ok(Outcome::Refused), "{name}");
    }
    for check in [
        "member's key",
        "stranger's key",
        "no encryption",
        "forged token",
    ] {
        assert_eq!(grade(&node, check), "ok", "{check}");
    }
    // What there was nothing to try with is not said to be well.
    for check in ["used-up token", "revoked member"] {
        assert_eq!(grade(&node, check), "skipped", "{check}");
    }
}

/// Shows a token at a node's door with fresh keys; the refusal's code, or the answer's name.
fn at_the_door(node: &Process, mesh: MeshId, token: &str) -> String {
    let (asker, link) = (
        Identity::from_seed(&[7; 32]),
        CurveKeys::generate().unwrap(),
    );
    let server = link_key(node).public;
    let enrol = Enrol {
        token: Token::bytes_of(token).unwrap(),
        curve: CurveKey(link.public),
        name: None,
    };
    let stamp = Stamp {
        incarnation: Incarnation::new(0, 0),
        lamport: 1,
    };
    let frame = envelope::seal(&asker, &mesh, stamp, None, &Message::Enrol(enrol));
    let door = addresses(node)["door"].as_str().unwrap().to_owned();
    let door = handshake::on_this_machine(&door);
    let answer = knock(&door, server, &link, frame, PATIENCE).unwrap();
    let host = Identity::from_seed(&read_key(&Home::at(&node.home).node_key()).unwrap());
    let (key, own) = (PublicKey::new(&host.id()).unwrap(), asker.id());
    let receiver = Receiver {
        mesh: &mesh,
        node: &own,
        incarnation: stamp.incarnation,
    };
    let pinned = |_: &_| Signer::Pinned(&key);
    let opened = envelope::open(&answer, Channel::Door, None, receiver, pinned);
    match opened.unwrap().message {
        Message::Refused(refused) => refused.code,
        other => other.name().into(),
    }
}

#[test]
fn a_token_of_another_mesh_is_refused_and_a_used_one_too() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, other) = (mesh(dir.path(), "a"), mesh(dir.path(), "other"));
    let root = std::fs::read_to_string(node.home.join("mesh/root.pub")).unwrap();
    let here = mesh_of(&root.trim().parse().unwrap());
    let foreign = invite(&other);
    assert_eq!(at_the_door(&node, here, &foreign), "wrong_mesh");

    // The same by the binary: a token of the other mesh that leads to this one's door.
    let file = other.home.join("run/addresses.json");
    let away = serde_json::json!({"door": addresses(&node)["door"]});
    std::fs::write(&file, away.to_string()).unwrap();
    let misled = invite(&other);
    let lost = Process::new(dir.path(), "lost", None);
    let (exit, why) = said(&lost, &["join", &misled, "--listen", "127.0.0.1:0"]);
    assert_eq!(
        (exit, &why["code"]),
        (Some(3), &"unreachable".into()),
        "{why}"
    );
    assert!(!lost.home.exists(), "nothing is kept");

    let token = invite(&node);
    let first = Process::new(dir.path(), "first", None);
    let second = Process::new(dir.path(), "second", None);
    let join = ["join", &token, "--listen", "127.0.0.1:0"];
    assert_eq!(said(&first, &join).0, Some(0));
    for restarted in [false, true] {
        if restarted {
            // What was used up stays so after SIGKILL.
            node.kill();
            node.start();
        }
        let (exit, why) = said(&second, &join);
        assert_eq!(
            (exit, &why["code"]),
            (Some(4), &"token_used".into()),
            "{why}"
        );
        assert!(!second.home.exists(), "nothing is kept");
    }
    assert_eq!(grade(&node, "wrong-mesh token"), "ok");
    assert_eq!(grade(&node, "used-up token"), "ok");
    let (_, status) = said(&node, &["status"]);
    assert_eq!(
        status["members"], 2,
        "nobody but the first came in: {status}"
    );
}

#[test]
fn a_member_revoked_while_it_was_away_is_refused_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let node = mesh(dir.path(), "a");
    let mut gone = Process::new(dir.path(), "gone", None);
    enrol(&node, &gone, ["agent", "s1", "c1"], &["127.0.0.1"]);
    gone.start();
    until("both are coupled", PATIENCE, || gone.members() == 2);
    gone.kill();
    let (exit, done) = said(&node, &["revoke", "gone", "--reason", "stolen"]);
    assert_eq!(exit, Some(0), "{done}");

    // It does not know yet, so it starts and knocks, and is told by who refuses it.
    gone.start();
    until("it is told", PATIENCE, || {
        said(&gone, &["status"]).1["revoked"] == true
    });
    let log = std::fs::read_to_string(gone.home.with_extension("log")).unwrap();
    assert!(log.contains("this node was revoked"), "{log}");
    // It knocks on, ever less often; who turns it away says so once.
    until("it has knocked again", PATIENCE, || {
        let frames = &said(&node, &["status"]).1["frames"]["revoked"];
        frames.as_u64() >= Some(2)
    });
    let log = std::fs::read_to_string(node.home.with_extension("log")).unwrap();
    let knocks = log
        .matches("a revoked node was refused at the door")
        .count();
    assert_eq!(knocks, 1, "{log}");
    assert_eq!(grade(&gone, "node"), "fail");
    assert_eq!(grade(&node, "revoked member"), "ok");
    let (_, status) = said(&node, &["status"]);
    let counts = (&status["members"], &status["peers"]["live"]);
    assert_eq!(counts, (&1.into(), &0.into()), "{status}");
    assert_eq!(said(&node, &["doctor"]).0, Some(0));

    // It has kept the proof: from now on it does not even start.
    gone.kill();
    let (exit, why) = said(&gone, &["run"]);
    assert_eq!((exit, &why["code"]), (Some(4), &"revoked".into()), "{why}");
    assert!(
        why["message"].as_str().unwrap().contains("revoked"),
        "{why}"
    );
}

#[test]
fn a_revocation_that_got_no_answer_is_said_to_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Process::new(dir.path(), "op", None);
    found(&node, "127.0.0.1");
    node.start();
    let gone = Process::new(dir.path(), "gone", None);
    enrol(&node, &gone, ["agent", "s1", "c1"], &["127.0.0.1"]);
    node.signal("-STOP");
    let (exit, why) = said(&node, &["revoke", "gone"]);
    node.signal("-CONT");
    assert_eq!(
        (exit, &why["code"]),
        (Some(6), &"no_answer".into()),
        "{why}"
    );
    let message = why["message"].as_str().unwrap();
    assert!(message.contains("may still do it"), "{why}");
    until("it was done", PATIENCE, || {
        said(&node, &["revoke", "gone"]).1["code"] == "revoked_already"
    });
}
