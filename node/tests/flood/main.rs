//! A flood of bad frames at a live node, over its real sockets (fault 21; row D4): each is
//! refused under its own counter, every good frame between them is applied, and the
//! process does not grow. 50,000 of them; a million with `CHORUS_SOAK=1`.

mod bad;
mod client;
#[path = "../../../protocol/tests/frames/mutate.rs"]
mod mutate;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bad::{Shot, Villain};
use chorus_protocol::ids::{Digest, Label, Place};
use chorus_protocol::units::Seeded;
use chorus_protocol::wire::message::{Echo, Heartbeat, Items, PhaseNews};
use chorus_protocol::wire::{Audience, Channel, Identity, Message, Topic};
use chorus_storage::Home;
use chorus_storage::home::read_key;
use client::{Links, Member, Target, socket};
use support::{Process, enrol, found, succeed, until};

const SEED: u64 = 20_260_102;
/// Bad frames between two waits for the node. Far below its 1,024 permits, so that a
/// frame that is missing at the end was not dropped for want of one.
const BATCH: usize = 320;
/// By how much the process may grow, kB.
const GROWTH_MAX_KB: u64 = 32 * 1024;
/// Between two rounds at the door, which hears 50 messages a second.
const DOOR_EVERY: Duration = Duration::from_millis(600);

/// A node, a good and a bad member that the test plays, and what was sent.
struct Flood {
    node: Process,
    target: Target,
    good: (Member, Links),
    villain: Villain,
    links: Links,
    noise: Seeded,
    /// By counter, what the node must say at the end.
    expected: BTreeMap<&'static str, u64>,
    _dir: tempfile::TempDir,
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

impl Flood {
    fn start(context: &zmq::Context) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Process::new(dir.path(), "node", None);
        found(&node, "127.0.0.1");
        node.start();
        let members = ["good", "bad", "gone"].map(|name| {
            let member = Process::new(dir.path(), name, None);
            enrol(&node, &member, ["agent", "s1", "c1"], &[]);
            member
        });
        succeed(node.command().args(["revoke", "gone"]));
        let gone = Home::at(&members[2].home).node_key();
        let revoked = Identity::from_seed(&read_key(&gone).unwrap());

        let incarnation = node.status().unwrap()["incarnation"].as_u64().unwrap();
        let target = Target::of(&node.home, incarnation);
        let [mut good, mut bad] = [0, 1].map(|at| Member::of(&members[at].home, target.mesh));
        // Whatever it signs and the node believes is a jump.
        bad.lamport = 1 << 63;
        let good_links = Links::new(context, &mut good, &target);
        let links = Links::new(context, &mut bad, &target);
        let villain = Villain {
            member: bad,
            revoked,
            place: Place {
                sector: label("s1"),
                cluster: label("c1"),
            },
            recorded: Vec::new(),
        };
        Self {
            node,
            target,
            good: (good, good_links),
            villain,
            links,
            noise: Seeded::new(SEED),
            expected: BTreeMap::new(),
            _dir: dir,
        }
    }

    fn expect(&mut self, counter: &'static str) {
        *self.expected.entry(counter).or_default() += 1;
    }

    fn heartbeat(&self) -> Message {
        Message::Heartbeat(Heartbeat {
            items: 0,
            digest: Digest([0; 32]),
            parent: Some(self.target.node),
            late_us: 0,
        })
    }

    /// Both members become the node's children, so that their phases count.
    fn attach(&mut self) {
        let beat = self.heartbeat();
        let (good, links) = &mut self.good;
        links.publish(Topic::HEARTBEATS, &good.seal(None, &beat));
        let bad = &mut self.villain.member;
        self.links
            .publish(Topic::HEARTBEATS, &bad.seal(None, &beat));
        self.settle();
    }

    /// Waits until the node has handled all that both published.
    fn settle(&mut self) {
        let (good, links) = &mut self.good;
        links.settle(good, &self.target);
        self.links.settle(&mut self.villain.member, &self.target);
    }

    /// One good phase, which must be applied.
    fn phase(&mut self) -> (Vec<u8>, Vec<u8>) {
        let topic = Topic::Phase(self.villain.place).to_bytes();
        let news = Message::Phase(PhaseNews {
            place: self.villain.place,
            theta: 1.0,
            omega: 6.5,
            age_us: 0,
        });
        let (good, links) = &mut self.good;
        let frame = good.seal(None, &news);
        links.publish(&topic, &frame);
        self.expect("applied");
        (topic, frame)
    }

    /// What may be damaged: frames as the good member sends them.
    fn record(&mut self) {
        let (topic, phase) = self.phase();
        let echo = Message::Echo(Echo { sent_us: 7 });
        let to = Some(Audience {
            node: self.target.node,
            incarnation: Some(self.target.incarnation),
        });
        let beat = self.heartbeat();
        let good = &mut self.good.0;
        let page = Items {
            items: vec![serde_bytes::ByteBuf::from(good.entry.bytes()); 3],
        };
        let page = chorus_protocol::wire::message::Deliver {
            seq: 1,
            id: 1,
            command: chorus_protocol::wire::message::Command::Page(page),
            age_ms: 0,
        };
        self.villain.recorded = vec![
            (Channel::Gossip, topic, phase),
            (
                Channel::Gossip,
                Topic::HEARTBEATS.to_vec(),
                good.seal(None, &beat),
            ),
            (Channel::Link, Vec::new(), good.seal(to, &echo)),
            (
                Channel::Link,
                Vec::new(),
                good.seal(to, &Message::Deliver(page)),
            ),
        ];
        self.settle();
    }

    fn fire(&mut self, shot: &Shot, over_good: bool) {
        let links = if over_good {
            &mut self.good.1
        } else {
            &mut self.links
        };
        match shot.channel {
            Channel::Gossip => links.publish(&shot.topic, &shot.bytes),
            Channel::Link if shot.bytes.is_empty() => return, // a greeting, not a frame
            _ => links.tell(&shot.bytes),
        }
        self.expect(shot.counter);
        if ["applied", "stale", "absurd"].contains(&shot.counter) {
            self.expect("lamport_jump");
        }
    }

    /// One batch of bad frames, with good ones between them on the same sockets.
    fn batch(&mut self) -> usize {
        let mut shots = self.villain.each_kind(&self.target);
        shots.extend(self.villain.lies());
        let mut fired = 0;
        for round in 0..BATCH {
            let sign = round % 2 == 0;
            let (good, target) = (&self.good.0, &self.target);
            let damaged = self.villain.mutated(good, target, &mut self.noise, sign);
            if let Some(shot) = damaged {
                // What nobody signed goes over the link of the one it is forged from.
                self.fire(&shot, !sign);
                fired += 1;
            }
            if let Some(shot) = shots.get(round / 8).filter(|_| round % 8 == 0) {
                self.fire(shot, false);
                fired += 1;
            }
            if round % 20 == 0 {
                self.phase();
            }
        }
        // A replay over the very link that it came by.
        let (topic, frame) = (
            self.villain.recorded[0].1.clone(),
            self.villain.recorded[0].2.clone(),
        );
        self.good.1.publish(&topic, &frame);
        self.expect("stale");
        for links in [&mut self.links, &mut self.good.1] {
            let parts: [&[u8]; 3] = [b"hb", b"", b""];
            links.tells.send_multipart(parts, 0).unwrap();
            links.dealer.send_multipart(&parts[1..], 0).unwrap();
        }
        *self.expected.entry("malformed").or_default() += 4;
        let (good, links) = &mut self.good;
        links.exchange(good, &self.target);
        self.settle();
        self.expect("lamport_jump"); // the villain's own probe
        fired + 5
    }

    /// Bad questions at the door, and good ones between them that are answered.
    fn at_the_door(&mut self, context: &zmq::Context) -> usize {
        let (good, target) = (&self.good.0, &self.target);
        let shots = self.villain.at_the_door(good, target, &mut self.noise);
        let introduce = Message::Introduce(Items {
            items: vec![serde_bytes::ByteBuf::from(good.entry.bytes())],
        });
        for some in shots.chunks(8) {
            some.iter().for_each(|(_, counter)| self.expect(counter));
            let before: Vec<&[u8]> = some.iter().map(|(bytes, _)| bytes.as_slice()).collect();
            let (good, links) = &mut self.good;
            let answer = links.knock(context, good, &self.target, &before, &introduce);
            assert_eq!(answer, Some(Message::Introduced), "{:?}", self.counters());
        }
        shots.len()
    }

    /// Messages that are too long for the sockets: the node hangs up on them.
    fn too_long(&self, context: &zmq::Context) {
        for (at, bytes) in [("router", 70_000), ("door", 5_000), ("router", 8_000_000)] {
            let curve = &self.villain.member.curve;
            let dealer = socket(context, zmq::DEALER, curve, &self.target);
            let events = format!("inproc://events{bytes}");
            let mask = zmq::SocketEvent::DISCONNECTED.to_raw();
            dealer.monitor(&events, i32::from(mask)).unwrap();
            let monitor = context.socket(zmq::PAIR).unwrap();
            monitor.connect(&events).unwrap();
            dealer.connect(&self.target.at(at)).unwrap();
            dealer.send(vec![0; bytes], 0).unwrap();
            assert_eq!(
                monitor.poll(zmq::POLLIN, 20_000),
                Ok(1),
                "{bytes} bytes at {at}: it did not hang up"
            );
            // libzmq blocks for ever on events that nobody reads: none from here on.
            let _ = dealer.monitor(&events, 0);
        }
    }

    /// All counters, by the last label's value.
    fn counters(&self) -> BTreeMap<String, u64> {
        let page = self.target.metrics();
        let mut counters = BTreeMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let family = ["chorus_refused_frames", "chorus_gossip", "chorus_events"]
                .iter()
                .any(|family| line.starts_with(family));
            let Some((series, value)) = line.rsplit_once(' ').filter(|_| family) else {
                continue;
            };
            let name = series.rsplit('"').nth(1).unwrap();
            *counters.entry(name.to_owned()).or_default() += value.parse::<u64>().unwrap();
        }
        counters
    }

    fn rss_kb(&self) -> u64 {
        let path = format!("/proc/{}/status", self.node.pid());
        let text = std::fs::read_to_string(path).expect("the process lives");
        let line = text.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.unwrap().parse().unwrap()
    }
}

#[test]
fn a_flood_of_bad_frames_costs_neither_memory_nor_good_ones() {
    let soak = std::env::var_os("CHORUS_SOAK").is_some();
    let wanted = if soak { 1_000_000 } else { 50_000 };
    let context = zmq::Context::new();
    let mut flood = Flood::start(&context);
    flood.attach();
    let before = flood.counters();
    let sent_before = (flood.good.1.sent, flood.links.sent);
    flood.record();
    flood.expect("lamport_jump");
    let (rss_before, mut rss_most) = (flood.rss_kb(), 0);
    let (began, mut door_at, mut fired) = (Instant::now(), Instant::now(), 0);
    while fired < wanted {
        fired += flood.batch();
        if door_at <= Instant::now() {
            fired += flood.at_the_door(&context);
            door_at = Instant::now() + DOOR_EVERY;
        }
        rss_most = rss_most.max(flood.rss_kb());
    }
    let took = began.elapsed();
    let page = flood.counters();
    let after = |name: &str| page.get(name).copied().unwrap_or_default();
    let grown = |name: &str| after(name) - before.get(name).copied().unwrap_or_default();
    println!(
        "{fired} bad frames and {} good ones in {took:.1?}; RSS {rss_before} kB, at most \
         {rss_most} kB; refused: {:?}",
        flood.expected["applied"], flood.expected
    );
    // Nothing was lost on the way, so that what follows is about every frame.
    let sent = |lane: usize| {
        let of = |now: &[u64; 3], then: &[u64; 3]| now[lane] - then[lane];
        of(&flood.good.1.sent, &sent_before.0) + of(&flood.links.sent, &sent_before.1)
    };
    assert_eq!(grown("gossip_received"), sent(0));
    assert_eq!(grown("link_received"), sent(1));
    assert_eq!(grown("door_received"), sent(2));
    for lost in [
        "gossip_over_share",
        "gossip_dropped",
        "door_dropped",
        "door_limited",
    ] {
        assert_eq!(after(lost), 0, "{lost}");
    }
    // Each bad frame under its own counter, and no good one under any of them: the
    // applied ones are as many as were sent.
    for (counter, count) in &flood.expected {
        assert_eq!(grown(counter), *count, "seed {SEED}: {counter}");
    }
    for kind in [
        "applied",
        "stale",
        "absurd",
        "lamport_jump",
        "malformed",
        "second_hand",
        "forged",
        "truncated",
        "trailing",
        "oversized",
        "too_deep",
        "bad_type",
        "bad_shape",
        "not_finite",
        "not_a_frame",
        "wrong_version",
        "wrong_mesh",
        "wrong_topic",
        "wrong_audience",
        "unknown_signer",
        "revoked_signer",
        "old_enrolment",
        "door_unwanted",
    ] {
        assert!(grown(kind) > 0, "never {kind}");
    }
    assert!(
        rss_most < rss_before + GROWTH_MAX_KB,
        "RSS grew from {rss_before} to {rss_most} kB"
    );
    flood.too_long(&context);
    assert!(flood.rss_kb() < rss_before + GROWTH_MAX_KB);

    // The same process, whole, and nothing panicked in it.
    flood.phase();
    let applied = before["applied"] + flood.expected["applied"];
    until("a good frame after it all", Duration::from_secs(10), || {
        flood.counters()["applied"] == applied
    });
    let status = flood.node.status().unwrap();
    assert_eq!(status["incarnation"], flood.target.incarnation.0);
    assert_eq!(status["phase"]["live"], 3, "{status}");
    // One who was shut out is known: his frames are not among the forged ones.
    let frames = &status["frames"];
    assert_eq!(frames["revoked"], grown("revoked_signer"), "{frames}");
    let log = std::fs::read_to_string(flood.node.home.with_extension("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
