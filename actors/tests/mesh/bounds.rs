//! How much a node takes: floods are cut, what it holds is bounded, and what makes room is
//! let in; and what is more than one frame or parcel comes over whole.

use std::time::Duration;

use chorus_actors::memory::MemoryError;
use chorus_protocol::memory::key::Key;
use chorus_protocol::wire::codec;
use serde_bytes::ByteBuf;

use super::lies::{Scene, counter, has, options, put, values};
use super::*;

const BYTES_MAX: u64 = 256 * 1024;

#[tokio::test]
async fn a_flood_fills_memory_to_its_bound_and_deletions_make_room() {
    let scene = Scene::new(|plan| plan.memory.bytes_max = BYTES_MAX).await;
    let (victim, other) = (&scene.nodes[0], &scene.nodes[1]);
    put(other, "shared/plan", b"good").await;
    has(victim, "shared/plan", b"good").await;
    let mut liar = scene.liar(2).await;
    let value = vec![b'1'; 12_000];
    for n in 0..60 {
        let record = liar.record(&format!("shared/flood-{n}"), n + 1, &value);
        liar.push(victim, vec![record.bytes().to_vec()]).await;
    }
    // To the last byte.
    let small = |n: u64| liar.record(&format!("shared/small-{n}"), n + 1, b"1");
    let small: Vec<_> = (0..80).map(|n| small(n).bytes().to_vec()).collect();
    liar.push(victim, small).await;
    let full = victim.snapshot().await.unwrap();
    assert!(full.memory.bytes <= BYTES_MAX, "{:?}", full.memory);
    assert!(counter(&full, "records_over_quota") >= 30);
    let key = Key::new("shared/more").unwrap();
    let memory = victim.memory();
    let more = memory.put(key, Some(value.clone()), options(None));
    assert!(matches!(more.await, Err(MemoryError::Quota { .. })));
    assert_eq!(values(victim, "shared/plan").await, [b"good"]);

    // What another node deletes is deleted here too, and gives its room back.
    for n in 0..8 {
        let key = Key::new(&format!("shared/flood-{n}")).unwrap();
        let within = Some(Duration::from_secs(10));
        let got = other.memory().get(key.clone(), within).await.unwrap();
        assert!(!got.siblings.is_empty(), "flood-{n} is nowhere");
        other.memory().put(key, None, options(None)).await.unwrap();
    }
    until(victim, "room again", |s| {
        s.memory.bytes < BYTES_MAX - 4 * 12_000
    })
    .await;
    put(victim, "shared/more", &value).await;
    has(other, "shared/more", &value).await;
    scene.stop().await;
}

#[tokio::test]
async fn a_flood_of_puts_is_cut_and_others_are_served() {
    let scene = Scene::new(|_| {}).await;
    let (victim, other) = (&scene.nodes[0], &scene.nodes[1]);
    let mut liar = scene.liar(2).await;
    for round in 0..10u64 {
        for n in 0..100 {
            let key = format!("shared/flood-{round}-{n}");
            let record = liar.record(&key, 100 * round + n + 1, b"x");
            let set = codec::encode(&vec![ByteBuf::from(record.bytes())]);
            liar.put(victim, record.key_id().0, set);
        }
        let key = format!("shared/good-{round}");
        put(other, &key, b"on").await;
        has(victim, &key, b"on").await;
        // So many orders may be under way at the liar's side.
        let done = |s: &Snapshot| {
            let come = counter(s, "puts_received") + counter(s, "puts_over_rate");
            come >= 100 * (round + 1)
        };
        until(victim, "all of them came", done).await;
    }
    let snapshot = victim.snapshot().await.unwrap();
    assert!(counter(&snapshot, "puts_over_rate") > 0);
    scene.stop().await;
}
