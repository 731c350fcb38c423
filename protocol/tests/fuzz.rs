//! The fuzz targets (`protocol/fuzz`) on stable, in the gate: their own functions, fed with
//! good inputs and with damaged ones. The soak (`CHORUS_SOAK=1`) goes on a hundred times as
//! long. `CHORUS_CORPUS=DIR` writes the good inputs to `DIR/TARGET/`, where `cargo fuzz run`
//! takes them from.

#[path = "../fuzz/src/lib.rs"]
mod entry;
#[allow(dead_code, reason = "other tests use the rest of the cast")]
mod frames;
#[path = "frames/mutate.rs"]
mod mutate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use chorus_protocol::trust::item::digest_of;
use chorus_protocol::units::{Noise, Seeded};
use entry::{SIGNED, TOPICS, way};
use frames::Cast;

const SEED: u64 = 20_260_202;

/// Feeds the good inputs, then `rounds` damaged ones. How often each outcome was seen.
fn drive(
    target: &str,
    run: fn(&[u8]) -> &'static str,
    good: &[Vec<u8>],
    rounds: u32,
) -> BTreeMap<&'static str, u32> {
    if let Some(folder) = std::env::var_os("CHORUS_CORPUS") {
        let folder = PathBuf::from(folder).join(target);
        std::fs::create_dir_all(&folder).expect("a folder for the corpus");
        for input in good {
            let name = digest_of(input).short();
            std::fs::write(folder.join(name), input).expect("an input");
        }
    }
    let soak = std::env::var("CHORUS_SOAK").is_ok_and(|it| it == "1");
    let mut noise = Seeded::new(SEED);
    let mut seen = BTreeMap::new();
    for input in good {
        *seen.entry(run(input)).or_default() += 1;
    }
    for round in 0..if soak { 100 * rounds } else { rounds } {
        let pick = |noise: &mut Seeded| &good[(noise.bits() % good.len() as u64) as usize];
        let (mut input, other) = (pick(&mut noise).clone(), pick(&mut noise));
        mutate::mutate(&mut input, other, &mut noise);
        let outcome = std::panic::catch_unwind(|| run(&input));
        let outcome =
            outcome.unwrap_or_else(|_| panic!("seed {SEED}, round {round}: {input:02x?}"));
        *seen.entry(outcome).or_default() += 1;
    }
    seen
}

/// The loop is worth something only if the bytes reach every depth.
fn reached(seen: &BTreeMap<&'static str, u32>, depths: &[&str]) {
    for depth in depths {
        assert!(seen.contains_key(depth), "never {depth}: {seen:?}");
    }
}

#[test]
fn envelope() {
    let samples = Cast::new().samples();
    let inputs = |sample: &frames::Sample| {
        let topic = sample.topic.as_ref().map_or(0, |topic| {
            let name = topic.to_string();
            TOPICS
                .iter()
                .position(|it| *it == name.as_bytes())
                .expect("a topic of the list")
        });
        let way = |signed| way(sample.message.channel(), topic, signed);
        let raw = [&[way(false)], sample.frame.as_slice()].concat();
        [raw, [&[way(true)], &sample.frame[69..]].concat()]
    };
    let good: Vec<Vec<u8>> = samples.iter().flat_map(inputs).collect();
    assert!(good.iter().all(|input| entry::envelope(input) == "opened"));
    let seen = drive("envelope", entry::envelope, &good, 10_000);
    reached(
        &seen,
        &[
            "opened",
            "forged",
            "truncated",
            "trailing",
            "bad_shape",
            "not_a_frame",
        ],
    );
}

#[test]
fn roster() {
    let cast = Cast::new();
    let part = |who: u8, bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).expect("a short item");
        [&[who], length.to_be_bytes().as_slice(), bytes].concat()
    };
    // As it is, and as the same kind and body signed by the root and by a member.
    let unsigned = |item: &[u8]| [&item[..1], &item[97..]].concat();
    let items: Vec<Vec<u8>> = cast.items().into_iter().map(|(_, item)| item).collect();
    let mut good: Vec<Vec<u8>> = vec![items.iter().flat_map(|item| part(0, item)).collect()];
    for who in [1, 2] {
        good.push(
            items
                .iter()
                .flat_map(|item| part(who, &unsigned(item)))
                .collect(),
        );
        good.extend(items.iter().map(|item| part(who, &unsigned(item))));
    }
    assert_eq!(entry::roster(&part(1, &unsigned(&items[0]))), "members");
    let seen = drive("roster", entry::roster, &good, 2_000);
    reached(&seen, &["nothing taken", "items", "members"]);
}

#[test]
fn token() {
    let token = Cast::new().token();
    let good = vec![
        [&[0], token.as_slice()].concat(),
        [&[SIGNED], &token[64..]].concat(),
    ];
    assert!(good.iter().all(|input| entry::token(input) == "opened"));
    let seen = drive("token", entry::token, &good, 10_000);
    reached(&seen, &["opened", "refused"]);
}
