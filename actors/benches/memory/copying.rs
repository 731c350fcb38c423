//! Many records: imported, copied to an empty node, and reconciled after two nodes wrote apart.
//! Bytes are those of questions and answers, both ways, as the full node counts them; a full
//! copy is the bytes of the records alone.

use std::path::Path;
use std::time::{Duration, Instant};

use chorus_actors::memory::{MemoryHandle, MemoryView};
use chorus_protocol::ids::Role;
use chorus_protocol::memory::key::Key;
use chorus_protocol::units::{Noise, Seeded};
use chorus_protocol::wire::Identity;

use crate::bare::Sled;
use crate::mesh::Mesh;

const RECORDS: usize = 100_000;
const BATCH: usize = 500;
const VALUE_BYTES: usize = 200;
/// In how many records the stores differ: half of them is written on either side.
const DIFFERENT: usize = 100;
/// What a signed record holds beside its value: author and signature.
const SIGNED_BYTES: usize = 32 + 64;

pub async fn run(dir: &Path) {
    let posts = [(Role::Orchestrator, "s1", "c1"), (Role::Agent, "s1", "c1")];
    let mut mesh = Mesh::new(dir, &posts);
    mesh.start(0);
    import(mesh.memory(0), &Sled::open(&dir.join("bare"))).await;
    let full = record_bytes(mesh.memory(0)).await;

    mesh.start(1);
    let (bytes, took) = same(&mesh).await;
    println!(
        "memory: an empty node is filled with {RECORDS} records in {took:.1} s; {:.1} MB go over \
         the wire, the records are {:.1}: {:.2} x; goal 1.4",
        bytes / 1e6,
        full / 1e6,
        bytes / full
    );

    mesh.stop(1);
    apart(mesh.memory(0), "a").await;
    mesh.stop(0);
    mesh.start(1);
    apart(mesh.memory(1), "b").await;
    mesh.start(0);
    let (bytes, took) = same(&mesh).await;
    println!(
        "memory: two stores of {RECORDS} records that differ in {DIFFERENT} agree after {:.0} kB \
         and {took:.1} s: {:.2} % of the bytes of a full copy; goal 5",
        bytes / 1e3,
        100.0 * bytes / full
    );
    mesh.stop_all();
}

async fn import(memory: &MemoryHandle, bare: &Sled) {
    let identity = Identity::from_seed(&[1; 32]);
    let mut noise = Seeded::new(1);
    let mut value = || -> Vec<u8> {
        let words = std::iter::repeat_with(|| noise.bits().to_le_bytes());
        words.flatten().take(VALUE_BYTES).collect()
    };
    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    for round in 0..RECORDS / BATCH {
        let numbers = round * BATCH..(round + 1) * BATCH;
        let all: Vec<(Key, Vec<u8>)> = numbers.map(|n| (key("k", n), value())).collect();
        for who in [round % 2, (round + 1) % 2] {
            let batch = all.clone();
            let begun = Instant::now();
            if who == 0 {
                let done = memory.import(batch).await.expect("imported");
                ours += begun.elapsed();
                assert_eq!(done.written, BATCH);
            } else {
                let sealed = |(key, mut value): (Key, Vec<u8>)| {
                    let signature = identity.sign(&[&value]);
                    value.extend(identity.id().0);
                    value.extend(signature);
                    assert_eq!(value.len(), VALUE_BYTES + SIGNED_BYTES);
                    (key.id().position().0.to_vec(), value)
                };
                bare.write(&batch.into_iter().map(sealed).collect::<Vec<_>>());
                theirs += begun.elapsed();
            }
        }
    }
    println!(
        "memory: import of {RECORDS} records of {VALUE_BYTES} bytes: {:.0} a second; a signature \
         and a place in a durable batch of {BATCH} in bare sled for each: {:.0}; {:.2} x; goal 2",
        RECORDS as f64 / ours.as_secs_f64(),
        RECORDS as f64 / theirs.as_secs_f64(),
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
}

fn key(name: &str, n: usize) -> Key {
    Key::shared(&format!("{name}{n}")).expect("a key")
}

/// Writes one side's half of what is to differ.
async fn apart(memory: &MemoryHandle, side: &str) {
    let batch = (0..DIFFERENT / 2).map(|n| (key(side, n), vec![7; VALUE_BYTES]));
    let done = memory.import(batch.collect()).await.expect("imported");
    assert_eq!(done.written, DIFFERENT / 2);
}

/// The bytes of all records that a node holds.
async fn record_bytes(memory: &MemoryHandle) -> f64 {
    let (mut bytes, mut from) = (0, None);
    loop {
        let page = memory.list(from, BATCH).await.expect("a page");
        let records = page.sets.iter().flat_map(|set| set.iter());
        bytes += records.map(|it| it.bytes().len()).sum::<usize>();
        from = page.next;
        if from.is_none() {
            return bytes as f64;
        }
    }
}

/// Waits until both hold the same: bytes that went between them since both run, and seconds.
async fn same(mesh: &Mesh) -> (f64, f64) {
    let begun = Instant::now();
    let before = asked(&mesh.view(0).await);
    loop {
        let one = mesh.view(0).await;
        let is_same = |view: &MemoryView| view.digest == one.digest;
        if is_same(&mesh.view(1).await) {
            return (asked(&one) - before, begun.elapsed().as_secs_f64());
        }
        assert!(begun.elapsed() < Duration::from_secs(300), "{one:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn asked(view: &MemoryView) -> f64 {
    let is_bytes = |name: &str| name.starts_with("ask_bytes_");
    let counted = view.counters.iter().filter(|(name, _)| is_bytes(name));
    counted.map(|(_, many)| *many).sum::<u64>() as f64
}
