//! Golden bytes: one frame of each kind as it stands on the wire, each kind of damage with
//! its own counter, and tens of thousands of mutated frames that must never panic.
//!
//! The files were written once; `protocol/WIRE.md` refers to them. If this test is red,
//! the wire has changed: that wants a new version, not new files. (For a new kind of
//! message, `CHORUS_GOLDEN=write` writes the files that are missing.)

mod frames;
#[path = "frames/mutate.rs"]
mod mutate;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use chorus_protocol::causality::gate::{Gate, Kind};
use chorus_protocol::ids::{Incarnation, NodeId};
use chorus_protocol::memory::record::Record;
use chorus_protocol::memory::siblings::Siblings;
use chorus_protocol::trust::{Item, Token, mesh_of};
use chorus_protocol::units::{Noise, Seeded};
use chorus_protocol::wire::codec;
use chorus_protocol::wire::envelope::{Receiver, Signer};
use chorus_protocol::wire::message::{Message, PhaseNews};
use chorus_protocol::wire::{Channel, Identity, Topic, open, seal};
use frames::{Cast, STAMP, Sample};
use mutate::mutate;
use serde::Serialize;

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(format!("{name}.hex"))
}

/// The bytes of a golden file: hex digits, in lines.
fn golden(name: &str, made: &[u8]) -> Vec<u8> {
    let path = file(name);
    if !path.exists() && std::env::var("CHORUS_GOLDEN").is_ok_and(|it| it == "write") {
        let digits = data_encoding::HEXLOWER.encode(made);
        let lines: Vec<&str> = (0..digits.len())
            .step_by(64)
            .map(|at| &digits[at..digits.len().min(at + 64)])
            .collect();
        fs::write(&path, lines.join("\n") + "\n").expect("a writable tree");
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let digits: String = text.split_whitespace().collect();
    data_encoding::HEXLOWER
        .decode(digits.as_bytes())
        .expect("hex digits")
}

#[test]
fn every_kind_of_frame_is_what_it_was_and_opens() {
    let cast = Cast::new();
    for sample in cast.samples() {
        let bytes = golden(sample.name, &sample.frame);
        assert_eq!(bytes, sample.frame, "{}", sample.name);
        let channel = sample.message.channel();
        let opened = cast.open(&bytes, channel, sample.topic.as_ref());
        let opened = opened.unwrap_or_else(|why| panic!("{}: {why}", sample.name));
        assert_eq!(opened.message, sample.message);
        assert_eq!((opened.from, opened.stamp), (cast.sender.id(), STAMP));
        assert_eq!(opened.to, sample.to);
    }
}

#[test]
fn no_kind_of_message_is_left_out() {
    let samples = Cast::new().samples();
    let kinds: BTreeSet<&str> = samples.iter().map(|it| it.message.name()).collect();
    // As many as `wire::message::Message` has variants; WIRE.md lists them.
    assert_eq!(kinds.len(), 18, "{kinds:?}");
    let files = fs::read_dir(file("x").parent().expect("a folder")).expect("golden files");
    let cast = Cast::new();
    let others = cast.items().len() + cast.parcels().len() + 1;
    assert_eq!(files.count(), samples.len() + others);
}

#[test]
fn items_and_tokens_are_what_they_were_and_open() {
    let cast = Cast::new();
    for (name, made) in cast.items() {
        let bytes = golden(name, &made);
        assert_eq!(bytes, made, "{name}");
        let item = Item::open(&bytes, &cast.mesh).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(item.bytes(), bytes);
    }
    let made = cast.token();
    let bytes = golden("token", &made);
    assert_eq!(bytes, made);
    let token = Token::open(&bytes).expect("a sound token");
    assert_eq!((token.mesh, token.root), (cast.mesh, cast.root.id()));
}

#[test]
fn what_is_said_of_records_is_what_it_was() {
    let cast = Cast::new();
    for (name, made) in cast.parcels() {
        assert_eq!(golden(name, &made), made, "{name}");
    }
    let record = golden("memory_record", &[]);
    let record = Record::open(&record, &cast.mesh, |_| true).expect("a sound record");
    assert_eq!(record.write().seen.len(), 1);
    let siblings = Siblings::decode(&golden("memory_siblings", &[])).expect("sound siblings");
    assert_eq!(
        siblings.len(),
        2,
        "a deletion, and a write that it had not seen"
    );
}

/// A body by hand, so that its message can be anything.
#[derive(Serialize)]
struct Body<M> {
    from: NodeId,
    mesh: serde_bytes::ByteBuf,
    inc: Incarnation,
    lam: u64,
    to: Option<()>,
    msg: M,
}

fn body<M: Serialize>(cast: &Cast, msg: M) -> Vec<u8> {
    codec::encode(&Body {
        from: cast.sender.id(),
        mesh: serde_bytes::ByteBuf::from(&cast.mesh.as_bytes()[..8]),
        inc: STAMP.incarnation,
        lam: STAMP.lamport,
        to: None,
        msg,
    })
}

fn sample(cast: &Cast, name: &str) -> Sample {
    let found = cast.samples().into_iter().find(|it| it.name == name);
    found.expect("a sample of that name")
}

/// What `open` says of bytes on the channel and topic of a phase.
fn refusal(cast: &Cast, bytes: &[u8]) -> &'static str {
    let topic = sample(cast, "phase").topic;
    match cast.open(bytes, Channel::Gossip, topic.as_ref()) {
        Ok(_) => "opened",
        Err(why) => why.counter(),
    }
}

#[test]
fn each_kind_of_damage_is_refused_under_its_own_counter() {
    let cast = Cast::new();
    let good = sample(&cast, "phase").frame;
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // A body that begins as it should: a map of six, the sender.
    let begun = &good[69..69 + 8 + 32];
    let beginning = |rest: &[u8]| cast.signed(Channel::Gossip, &[begun, rest].concat());
    let phase = |theta| match sample(&cast, "phase").message {
        Message::Phase(news) => Message::Phase(PhaseNews { theta, ..news }),
        other => other,
    };
    let nan = seal(&cast.sender, &cast.mesh, STAMP, None, &phase(f64::NAN));
    let mut seen = BTreeSet::new();
    for (bytes, counter) in [
        (good.clone(), "opened"),
        (Vec::new(), "not_a_frame"),
        (b"GET / HTTP/1.1".to_vec(), "not_a_frame"),
        (with(0, b'X'), "not_a_frame"),
        (with(4, 2), "wrong_version"),
        (good[..69 + 20].to_vec(), "truncated"),
        (good[..good.len() - 1].to_vec(), "truncated"),
        ([good.as_slice(), &[0]].concat(), "trailing"),
        (beginning(&[0x91; 3_000]), "too_deep"),
        (beginning(&[0xa4; 5_000]), "oversized"),
        (nan, "not_finite"),
        (beginning(&[0xc1; 40]), "bad_type"),
        (with(69, 0x87), "bad_shape"),
        (
            cast.signed(Channel::Gossip, &body(&cast, "NoSuchMessage")),
            "bad_shape",
        ),
        (with(10, good[10] ^ 1), "forged"),
        (with(good.len() - 1, good[good.len() - 1] ^ 1), "forged"),
    ] {
        assert_eq!(refusal(&cast, &bytes), counter);
        seen.insert(counter);
    }
    assert_eq!(seen.len(), 11, "each in a counter of its own: {seen:?}");
}

#[test]
fn who_where_and_for_whom_are_refused_under_their_own_counters() {
    let cast = Cast::new();
    let node = cast.receiver.id();
    let phase = sample(&cast, "phase");
    let here = cast.receiver_of(&node);
    let other = mesh_of(&Identity::from_seed(&[9; 32]).id());
    let elsewhere = Receiver {
        mesh: &other,
        ..here
    };
    let on_phase = |receiver, signer| {
        let topic = phase.topic.as_ref();
        let opened = open(&phase.frame, Channel::Gossip, topic, receiver, |_| signer);
        opened.map_err(|why| why.counter()).err()
    };
    let known = Signer::Member(&cast.key, 1);
    assert_eq!(on_phase(here, known), None);
    assert_eq!(on_phase(elsewhere, known), Some("wrong_mesh"));
    assert_eq!(on_phase(here, Signer::Unknown), Some("unknown_signer"));
    assert_eq!(on_phase(here, Signer::Revoked), Some("revoked_signer"));
    assert_eq!(
        on_phase(here, Signer::Member(&cast.key, 2)),
        Some("old_enrolment")
    );

    let counter = |frame: &[u8], channel, topic: Option<Topic>| {
        let opened = cast.open(frame, channel, topic.as_ref());
        opened.map_err(|why| why.counter()).err()
    };
    let heartbeats = Some(Topic::Heartbeat);
    let elsewhere = Topic::parse(b"phase/s1/c3");
    for topic in [heartbeats, elsewhere, None] {
        assert_eq!(
            counter(&phase.frame, Channel::Gossip, topic),
            Some("wrong_topic")
        );
    }
    // The channel is signed: what was said on one cannot be repeated on another.
    assert_eq!(counter(&phase.frame, Channel::Link, None), Some("forged"));

    let echo = sample(&cast, "echo");
    let restarted = Receiver {
        incarnation: Incarnation::new(0, 4),
        ..here
    };
    let root = cast.root.id();
    let third = cast.receiver_of(&root);
    for receiver in [restarted, third] {
        let opened = open(&echo.frame, Channel::Link, None, receiver, |_| known);
        assert_eq!(opened.map_err(|why| why.counter()), Err("wrong_audience"));
    }
}

/// Opening has no memory: a replayed frame opens, and the gate behind refuses it.
#[test]
fn a_replay_is_the_gates_business() {
    let cast = Cast::new();
    let phase = sample(&cast, "phase");
    let mut gate = Gate::default();
    let mut admitted = |frame: &[u8]| {
        let opened = cast.open(frame, Channel::Gossip, phase.topic.as_ref());
        gate.admit(Kind::Field, opened.expect("authentic").stamp)
    };
    assert!(admitted(&phase.frame));
    assert!(!admitted(&phase.frame));
}

#[test]
fn no_mutated_frame_panics_and_good_ones_between_them_open() {
    const SEED: u64 = 20_260_101;
    let soak = std::env::var("CHORUS_SOAK").is_ok_and(|it| it == "1");
    let rounds = if soak { 1_000_000 } else { 50_000 };
    let cast = Cast::new();
    let samples = cast.samples();
    let mut noise = Seeded::new(SEED);
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..rounds {
        let pick = |noise: &mut Seeded| &samples[(noise.bits() % samples.len() as u64) as usize];
        let (from, other) = (pick(&mut noise), pick(&mut noise));
        let (channel, topic) = (from.message.channel(), from.topic.as_ref());
        // Half of them are signed after the damage, so that it reaches the decoder.
        let bytes = if round % 2 == 0 {
            let mut bytes = from.frame.clone();
            mutate(&mut bytes, &other.frame, &mut noise);
            bytes
        } else {
            let mut body = from.frame[69..].to_vec();
            mutate(&mut body, &other.frame[69..], &mut noise);
            cast.signed(channel, &body)
        };
        let opened = cast.open(&bytes, channel, topic);
        let outcome = opened
            .as_ref()
            .map_or_else(|why| why.counter(), |_| "opened");
        *outcomes.entry(outcome).or_default() += 1;
        if round % 2 == 0 && opened.is_ok() {
            // A splice can give another good frame whole; nothing else may open.
            let ours = samples.iter().any(|it| it.frame == bytes);
            assert!(ours, "seed {SEED}, round {round}: a forgery opened");
        }
        if round % 10 == 0 {
            let good = cast.open(&other.frame, other.message.channel(), other.topic.as_ref());
            assert!(good.is_ok(), "seed {SEED}, round {round}: {good:?}");
        }
    }
    // The loop is worth something only if the damage reaches every depth.
    for deep in [
        "truncated",
        "trailing",
        "bad_type",
        "bad_shape",
        "forged",
        "opened",
    ] {
        assert!(outcomes.contains_key(deep), "never {deep}: {outcomes:?}");
    }
}
