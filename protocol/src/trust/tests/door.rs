//! The door: who comes in, who does not, and that a question asked twice has one answer.

use super::token::token;
use super::*;
use crate::trust::door::{Closed, Door, Output, Refusal, USE_KEPT_S, Use};
use crate::trust::token::{Token, TokenError, nonce};
use crate::wire::codec;
use crate::wire::message::{Enrol, Refused};

const NOW: u64 = 1_900_000_000;

/// The journal that [`token`] names.
const JOURNAL: [u8; 8] = [7; 8];

fn door() -> Door {
    restored(JOURNAL, Closed::default(), &[])
}
fn restored(journal: [u8; 8], closed: Closed, uses: &[Use]) -> Door {
    Door::new(mesh(), key(1).id(), journal, closed, uses.iter().cloned())
}
/// The nonce of another token of the same journal.
fn other(n: u8) -> [u8; 16] {
    nonce(JOURNAL, [n; 8])
}
fn enrol_with(token: &Token, n: u8) -> Enrol {
    let signer = (0..=255)
        .map(key)
        .find(|it| it.id() == token.enroller)
        .expect("an enroller");
    Enrol {
        token: token.seal(&signer).expect("a sound token"),
        curve: curve(n),
        name: None,
    }
}
fn ask(door: &mut Door, token: &Token, n: u8) -> Result<Entry, Refusal> {
    ask_on(door, token, n, &roster_of(&founding()))
}
fn ask_on(door: &mut Door, token: &Token, n: u8, roster: &Roster) -> Result<Entry, Refusal> {
    let outputs = door.handle(key(n).id(), &enrol_with(token, n), roster, NOW)?;
    match outputs.last() {
        Some(Output::Admit(entry)) => Ok(entry.clone()),
        other => panic!("not admitted: {other:?}"),
    }
}

#[test]
fn a_use_is_journalled_before_it_is_answered() {
    let mut door = door();
    let roster = roster_of(&founding());
    let outputs = door
        .handle(key(2).id(), &enrol_with(&token(), 2), &roster, NOW)
        .expect("in");
    let [Output::Persist(used), Output::Admit(entry)] = outputs.as_slice() else {
        panic!("{outputs:?}")
    };
    assert_eq!((used.nonce, &used.entry), ([7; 16], entry));
    assert_eq!((entry.node, entry.curve), (key(2).id(), curve(2)));
    assert_eq!(
        (entry.name, entry.role, entry.place),
        (label("a"), Role::Agent, place())
    );
    assert_eq!((entry.floor, entry.issued), (0, 1));
    assert_eq!(codec::decode::<Use>(&codec::encode(used)), Ok(used.clone()));
}

#[test]
fn the_same_keys_get_the_same_bytes_over_a_restart_and_past_the_expiry() {
    let mut first = door();
    let roster = roster_of(&founding());
    let knock = enrol_with(&token(), 2);
    let outputs = first.handle(key(2).id(), &knock, &roster, NOW).expect("in");
    let [Output::Persist(used), Output::Admit(entry)] = outputs.as_slice() else {
        panic!("{outputs:?}")
    };
    let answer = enter(&key(1), entry.clone());
    let later = mesh_with(&[answer.clone(), enter(&key(1), entry_of_another())]);
    let mut restarted = restored(JOURNAL, Closed::default(), std::slice::from_ref(used));
    for door in [&mut first, &mut restarted] {
        let again = door
            .handle(key(2).id(), &knock, &roster_of(&later), u64::MAX)
            .expect("in");
        let [Output::Admit(entry)] = again.as_slice() else {
            panic!("{again:?}")
        };
        assert_eq!(enter(&key(1), entry.clone()), answer);
        assert_eq!(ask(door, &token(), 3), Err(Refusal::Used));
    }
}
fn entry_of_another() -> Entry {
    entry(30, 0, 77)
}

#[test]
fn a_token_admits_as_many_keys_as_it_has_uses_and_numbers_them() {
    let mut door = door();
    let token = Token { uses: 3, ..token() };
    let taken = roster_of(&mesh_with(&[enter(
        &key(1),
        Entry {
            name: label("a-2"),
            ..entry(9, 0, 5)
        },
    )]));
    let names: Vec<_> = (2..=4)
        .map(|n| ask_on(&mut door, &token, n, &taken).map(|it| (it.name.to_string(), it.issued)))
        .collect();
    let expected = [("a-1", 6), ("a-3", 7), ("a-4", 8)];
    let expected = expected.map(|(name, issued)| Ok((name.to_string(), issued)));
    // The second is not `a-2`, which somebody has; nor is the third `a-3` again.
    assert_eq!(names, expected);
    assert_eq!(ask_on(&mut door, &token, 5, &taken), Err(Refusal::Used));
    assert_eq!(door.used(&token.nonce), 3);
}

#[test]
fn one_use_and_two_keys() {
    let mut door = door();
    assert!(ask(&mut door, &token(), 2).is_ok());
    assert_eq!(ask(&mut door, &token(), 3), Err(Refusal::Used));
}

#[test]
fn each_refusal_leaves_the_door_as_it_was() {
    let mut door = door();
    let good = token();
    let knock = enrol_with(&good, 2);
    let roster = roster_of(&founding());
    let mut at = |key, enrol: &Enrol, roster: &Roster, now| {
        let why = door.handle(key, enrol, roster, now).unwrap_err();
        assert_eq!(door.used(&[7; 16]), 0);
        why
    };
    let two = key(2).id();
    assert_eq!(at(two, &knock, &roster, good.expires_s), Refusal::Expired);
    assert_eq!(at(WEAK, &knock, &roster, NOW), Refusal::WeakKey);
    let no_curve = Enrol {
        curve: CurveKey([0; 32]),
        ..knock.clone()
    };
    assert_eq!(at(two, &no_curve, &roster, NOW), Refusal::WeakKey);
    let mut forged = knock.clone();
    forged.token[3] ^= 1;
    assert_eq!(
        at(two, &forged, &roster, NOW),
        Refusal::Token(TokenError::Altered)
    );
    let cut = Enrol {
        token: knock.token[..80].to_vec(),
        ..knock.clone()
    };
    assert_eq!(
        at(two, &cut, &roster, NOW),
        Refusal::Token(TokenError::Truncated)
    );
    let foreign = Token {
        root: key(50).id(),
        mesh: mesh_of(&key(50).id()),
        ..good.clone()
    };
    assert_eq!(
        at(two, &enrol_with(&foreign, 2), &roster, NOW),
        Refusal::WrongMesh
    );
    let others = Token {
        enroller: key(3).id(),
        ..good.clone()
    };
    assert_eq!(
        at(two, &enrol_with(&others, 2), &roster, NOW),
        Refusal::WrongEnroller
    );
    let gone = roster_of(&mesh_with(&[revocation(1, 1, 0)]));
    assert_eq!(at(two, &knock, &gone, NOW), Refusal::NotAnEnroller);
    let revoked = roster_of(&mesh_with(&[revocation(2, 1, 0)]));
    assert_eq!(at(two, &knock, &revoked, NOW), Refusal::Revoked);
    let others_link = Enrol {
        curve: curve(1),
        ..knock.clone()
    };
    assert_eq!(at(two, &others_link, &roster, NOW), Refusal::LinkKeyTaken);
    let named = roster_of(&mesh_with(&[enter(
        &key(1),
        Entry {
            name: label("a"),
            ..entry(9, 0, 5)
        },
    )]));
    assert_eq!(at(two, &knock, &named, NOW), Refusal::NameTaken(label("a")));
    let wire = Refused::from(Refusal::Used);
    assert_eq!(
        (wire.code.as_str(), wire.reason.is_empty()),
        ("token_used", false)
    );
}

#[test]
fn names_and_link_keys_given_a_moment_ago_are_taken_too() {
    let mut door = door();
    assert!(ask(&mut door, &token(), 2).is_ok());
    let second = Token {
        nonce: other(8),
        ..token()
    };
    assert_eq!(
        ask(&mut door, &second, 3),
        Err(Refusal::NameTaken(label("a")))
    );
    let third = Token {
        nonce: other(9),
        name: None,
        ..token()
    };
    let knock = Enrol {
        curve: curve(2),
        ..enrol_with(&third, 3)
    };
    let roster = roster_of(&founding());
    assert_eq!(
        door.handle(key(3).id(), &knock, &roster, NOW),
        Err(Refusal::LinkKeyTaken)
    );
    // The name of a revoked node is free again.
    let revoked = roster_of(&mesh_with(&[revocation(2, 1, 0)]));
    assert_eq!(
        ask_on(&mut door, &second, 3, &revoked).map(|it| it.name),
        Ok(label("a"))
    );
}

#[test]
fn a_member_with_another_token_is_enrolled_again_on_a_higher_floor() {
    let mut door = door();
    let first = ask(&mut door, &token(), 2).expect("in");
    let open = Token {
        nonce: other(8),
        name: None,
        role: Role::Lead,
        ..token()
    };
    // Before its first entry has reached the roster, and after.
    let known = roster_of(&mesh_with(&[enter(&key(1), first.clone())]));
    let second = ask_on(&mut door, &open, 2, &known).expect("in");
    assert_eq!(
        (second.floor, second.role, second.name),
        (1, Role::Lead, first.name)
    );
    let third = Token {
        nonce: other(9),
        ..open
    };
    assert_eq!(ask(&mut door, &third, 2).map(|it| it.floor), Ok(2));
    // The first token again: its first answer; with another link key: refused.
    assert_eq!(ask_on(&mut door, &token(), 2, &known), Ok(first));
    let other = Enrol {
        curve: curve(40),
        ..enrol_with(&token(), 2)
    };
    assert_eq!(
        door.handle(key(2).id(), &other, &known, NOW),
        Err(Refusal::OtherLinkKey)
    );
}

#[test]
fn a_joiner_may_choose_where_the_token_leaves_the_name_open() {
    let mut door = door();
    let open = Token {
        name: None,
        uses: 2,
        ..token()
    };
    let roster = roster_of(&founding());
    let knock = Enrol {
        name: Some(label("mine")),
        ..enrol_with(&open, 2)
    };
    let outputs = door.handle(key(2).id(), &knock, &roster, NOW).expect("in");
    assert!(matches!(&outputs[1], Output::Admit(entry) if entry.name == label("mine")));
    let unnamed = ask(&mut door, &open, 3).expect("in");
    assert_eq!(
        unnamed.name.to_string(),
        format!("n-{}", key(3).id().short())
    );
}

/// The journal was lost: whether a token was used, nobody knows.
#[test]
fn a_token_of_another_journal_admits_nobody() {
    let mut first = door();
    let used = token();
    assert!(ask(&mut first, &used, 2).is_ok());
    let mut without = restored([1; 8], Closed::default(), &[]);
    for n in [2, 3] {
        assert_eq!(ask(&mut without, &used, n), Err(Refusal::Void));
    }
    assert_eq!(Refused::from(Refusal::Void).code, "token_void");
    let new = Token {
        nonce: nonce([1; 8], [0; 8]),
        ..used
    };
    assert!(ask(&mut without, &new, 3).is_ok());
}

#[test]
fn what_is_left_out_of_the_journal_makes_no_token_good_again() {
    let mut first = door();
    let roster = roster_of(&founding());
    let knock = enrol_with(&token(), 2);
    let outputs = first.handle(key(2).id(), &knock, &roster, NOW).expect("in");
    let Output::Persist(used) = &outputs[0] else {
        panic!("{outputs:?}")
    };
    let end = token().expires_s;
    assert!(
        !used.is_over(end + USE_KEPT_S - 1),
        "asking again is allowed for a week"
    );
    assert!(used.is_over(end + USE_KEPT_S));
    let unknown = Use {
        expires_s: 0,
        ..used.clone()
    };
    assert!(
        !unknown.is_over(u64::MAX),
        "written before ends were written down"
    );
    // The use is gone, and the clock is set back to before the token's end.
    let mut later = restored(JOURNAL, Closed::default().and(used), &[]);
    assert_eq!(ask(&mut later, &token(), 3), Err(Refusal::Expired));
    let longer = Token {
        expires_s: end + 1,
        nonce: other(8),
        ..token()
    };
    let entry = ask(&mut later, &longer, 3).expect("in");
    assert!(entry.issued > used.entry.issued, "{entry:?}");
}

#[test]
fn who_would_hang_nowhere_in_the_tree_stays_outside() {
    let mesh_of = |role| {
        let founder = (key(1).id(), curve(1), label("n-1"));
        roster_of(&found(
            &root(),
            founder.0,
            founder.1,
            founder.2,
            role,
            place(),
        ))
    };
    let elsewhere = Place {
        sector: label("s2"),
        ..place()
    };
    // A second top, one above the top, beside it, beneath an agent, and in a sector without any.
    for (top, role, place) in [
        (Role::Orchestrator, Role::Orchestrator, place()),
        (Role::Coordinator, Role::Orchestrator, place()),
        (Role::Coordinator, Role::Coordinator, place()),
        (Role::Agent, Role::Lead, place()),
        (Role::Agent, Role::Agent, place()),
        (Role::Lead, Role::Agent, elsewhere),
    ] {
        let token = Token {
            role,
            place,
            ..token()
        };
        let mut door = door();
        let why = ask_on(&mut door, &token, 2, &mesh_of(top));
        assert_eq!(why, Err(Refusal::NoParent(role)), "{role} beneath {top}");
        assert_eq!(door.used(&token.nonce), 0);
    }
    for (top, role) in [
        (Role::Orchestrator, Role::Coordinator),
        (Role::Coordinator, Role::Lead),
        (Role::Lead, Role::Agent),
    ] {
        let token = Token { role, ..token() };
        assert!(ask_on(&mut door(), &token, 2, &mesh_of(top)).is_ok());
    }
    // The top itself may come back as what it was, and as nothing less.
    let again = |role| Token {
        name: None,
        role,
        ..token()
    };
    let top = mesh_of(Role::Orchestrator);
    assert!(ask_on(&mut door(), &again(Role::Orchestrator), 1, &top).is_ok());
    let less = ask_on(&mut door(), &again(Role::Lead), 1, &top);
    assert_eq!(less, Err(Refusal::NoParent(Role::Lead)));
}
