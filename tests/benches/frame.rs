//! What it costs to open a frame, as a multiple of the signature check that is in it.
//!
//! Each is measured in slices of about a millisecond, in turn, so that both meet the
//! same clock speed and the same neighbours; which comes first alternates. What a check
//! costs also depends, by a tenth and more, on where in its page the stack lies, and
//! that differs from run to run and between two callers: measured at one position, the
//! ratio came out anywhere from 0.86 to 1.15. So a slice does its work at positions
//! spread over a page. Printed is the median of the slices' ratios; the goal is 1.25:
//! limits, scan, decode and gate may cost a quarter of the signature.
//!
//! The last line is what one signature costs, for the benches that count them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use chorus_protocol::causality::gate::{Gate, Kind};
use chorus_protocol::ids::{Incarnation, Label, MeshId, Place, Role, Stamp};
use chorus_protocol::phase::field::{PartialSum, Scope, Sum};
use chorus_protocol::wire::envelope::Receiver;
use chorus_protocol::wire::identity::PublicKey;
use chorus_protocol::wire::message::{Message, PhaseNews, SumNews};
use chorus_protocol::wire::{Channel, Identity, Signer, Topic, open, seal};

/// Frames at one position of the stack.
const FRAMES: u64 = 2;
/// Spread over a page in steps of four cache lines and a quarter, so that the position
/// within a line differs too.
const POSITIONS: [fn(&dyn Fn()); 16] = [
    lower::<0>,
    lower::<272>,
    lower::<544>,
    lower::<816>,
    lower::<1088>,
    lower::<1360>,
    lower::<1632>,
    lower::<1904>,
    lower::<2176>,
    lower::<2448>,
    lower::<2720>,
    lower::<2992>,
    lower::<3264>,
    lower::<3536>,
    lower::<3808>,
    lower::<4080>,
];
const SLICES: usize = 1_001;

fn main() {
    let name = |text: &str| Label::new(text).expect("a label");
    let place = Place {
        sector: name("s1"),
        cluster: name("c1"),
    };
    let phase = Message::Phase(PhaseNews {
        place,
        theta: 1.0,
        omega: 6.2,
        age_us: 0,
    });
    let sum = |scope| Sum {
        scope,
        part: PartialSum::of(1.0, 6.2, 30.0),
    };
    let sums = Message::Sums(SumNews {
        own: sum(Scope::cluster(place.sector, place.cluster)),
        above: vec![sum(Scope::sector(place.sector)), sum(Scope::MESH)],
        top: Role::Orchestrator,
    });
    let cluster = Topic::ClusterSum(place.sector, place.cluster);
    measure("phase", &phase, &Topic::Phase(place));
    measure("sums", &sums, &cluster);
    measure_signature();
}

fn measure(what: &str, message: &Message, topic: &Topic) {
    let identity = Identity::from_seed(&[7; 32]);
    let (mesh, node) = (MeshId([9; 32]), identity.id());
    let key = PublicKey::new(&node).expect("a sound key");
    let stamp = |lamport| Stamp {
        incarnation: Incarnation::new(0, 1),
        lamport,
    };
    let frames: Vec<Vec<u8>> = (1..=FRAMES)
        .map(|lamport| seal(&identity, &mesh, stamp(lamport), None, message))
        .collect();
    let receiver = Receiver {
        mesh: &mesh,
        node: &node,
        incarnation: Incarnation::new(0, 1),
    };
    // The very bytes that the signature covers, for the check alone.
    let signed: Vec<(Vec<u8>, [u8; 64])> = frames
        .iter()
        .map(|frame| {
            let body = &frame[69..];
            let covered = [b"chorus/frame/1\0", &mesh.0[..], &[0], body].concat();
            let signature: [u8; 64] = frame[5..69].try_into().expect("64 bytes");
            assert!(key.verifies(&covered, &signature));
            (covered, signature)
        })
        .collect();
    let check = || {
        for (covered, signature) in &signed {
            assert!(black_box(key.verifies(covered, signature)));
        }
    };
    let take = || {
        let mut gate = Gate::default();
        for frame in &frames {
            let opened = open(frame, Channel::Gossip, Some(topic), receiver, |_| {
                Signer::Member(&key, 0)
            });
            let opened = opened.expect("a sound frame");
            assert!(gate.admit(Kind::Field, black_box(opened).stamp));
        }
    };
    let (mut ratios, mut check_us) = (Vec::new(), Vec::new());
    for slice in 0..SLICES {
        let (checked, taken) = if slice % 2 == 0 {
            (timed(&check), timed(&take))
        } else {
            let taken = timed(&take);
            (timed(&check), taken)
        };
        ratios.push(taken.as_secs_f64() / checked.as_secs_f64());
        check_us.push(each_us(checked));
    }
    println!(
        "open {what:<6} {:>4} bytes: {:.3} x verify_strict ({:.1} us); goal 1.25",
        frames[0].len(),
        median(ratios),
        median(check_us)
    );
}

/// What a signature costs, over as many bytes as a frame of phase has.
fn measure_signature() {
    let identity = Identity::from_seed(&[7; 32]);
    let key = PublicKey::new(&identity.id()).expect("a sound key");
    let message = [7; 256];
    let signature = identity.sign(&[&message]);
    let (mut sign_us, mut check_us) = (Vec::new(), Vec::new());
    let sign = || {
        for _ in 0..FRAMES {
            black_box(identity.sign(&[black_box(&message)]));
        }
    };
    let check = || {
        for _ in 0..FRAMES {
            assert!(black_box(key.verifies(black_box(&message), &signature)));
        }
    };
    for _ in 0..SLICES {
        sign_us.push(each_us(timed(&sign)));
        check_us.push(each_us(timed(&check)));
    }
    println!(
        "signature: sign {:.1} us, verify_strict {:.1} us",
        median(sign_us),
        median(check_us)
    );
}

/// A slice: the work once at each of the positions of the stack.
fn timed(work: &dyn Fn()) -> Duration {
    let began = Instant::now();
    for position in POSITIONS {
        position(work);
    }
    began.elapsed()
}

/// Does the work with the stack lower by `BYTES`, and by what a call takes.
#[inline(never)]
fn lower<const BYTES: usize>(work: &dyn Fn()) {
    let room = black_box([0; BYTES]);
    work();
    black_box::<[u8; BYTES]>(room);
}

fn each_us(slice: Duration) -> f64 {
    slice.as_secs_f64() * 1e6 / (POSITIONS.len() as u64 * FRAMES) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
