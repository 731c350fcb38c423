//! Stores that meet late: halves of a mesh that never heard of each other become one memory
//! (N1), and a node that has nothing is given far more than one frame holds (N5).

use std::collections::BTreeSet;
use std::time::Duration;

use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::siblings::SIBLINGS_MAX;

use super::lies::{put, standing, values};
use super::member::{Liar, content};
use super::*;

/// The first is the parent of both halves, and comes last.
const HALVES: [Post; 5] = [
    (Role::Orchestrator, "hq", "hq"),
    (Role::Coordinator, "s1", "c0"),
    (Role::Agent, "s1", "c1"),
    (Role::Coordinator, "s2", "c0"),
    (Role::Agent, "s2", "c1"),
];

/// Waits until all hold the same.
async fn of_one_mind(nodes: &[&Node]) {
    let began = Instant::now();
    loop {
        let mut digests = BTreeSet::new();
        for node in nodes {
            let snapshot = node.snapshot().await.unwrap();
            digests.insert(format!("{:?}", snapshot.memory.digest));
        }
        if digests.len() == 1 {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "{digests:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn halves_that_started_apart_become_one_memory_when_their_parent_comes() {
    let root = Identity::from_seed(&[212; 32]);
    let seats = seats(&HALVES);
    let dirs: Vec<_> = seats.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    for dir in &dirs {
        settle(dir.path(), &root, &seats);
    }
    // The parent was there once, so that both halves know where it will be.
    let top = start(dirs[0].path(), &seats[0], &root.id()).await;
    let at = ports(&top);
    top.stop().await;
    let mut nodes = Vec::new();
    for half in [[1, 2], [3, 4]] {
        tell_ports(dirs[half[0]].path(), &at, &seats[0], &root);
        let coordinator = start(dirs[half[0]].path(), &seats[half[0]], &root.id()).await;
        tell_address(dirs[half[1]].path(), &coordinator, &seats[half[0]], &root);
        let agent = start(dirs[half[1]].path(), &seats[half[1]], &root.id()).await;
        until(&coordinator, "with its agent", |s| s.memory.neighbours == 1).await;
        nodes.extend([coordinator, agent]);
    }
    for (n, node) in nodes.iter().enumerate() {
        let own = format!("own/{}/x", node.id());
        put(node, &own, format!("{n}").as_bytes()).await;
        for m in 0..40 {
            put(
                node,
                &format!("shared/of-{n}-{m}"),
                format!("{n}").as_bytes(),
            )
            .await;
        }
    }
    // Within a half the second writer has seen the first, between the halves nobody has.
    let both = Key::new("shared/both").unwrap();
    for n in [0, 2] {
        put(&nodes[n], "shared/both", format!("{n}").as_bytes()).await;
        of_one_mind(&[&nodes[n], &nodes[n + 1]]).await;
        put(
            &nodes[n + 1],
            "shared/both",
            format!("{}", n + 1).as_bytes(),
        )
        .await;
        of_one_mind(&[&nodes[n], &nodes[n + 1]]).await;
    }
    for node in &nodes {
        let snapshot = node.snapshot().await.unwrap();
        assert_eq!(
            (snapshot.memory.records, snapshot.memory.neighbours),
            (83, 1)
        );
    }

    let top = start_with(dirs[0].path(), &seats[0], &root.id(), |plan| {
        plan.ports = at
    })
    .await;
    nodes.push(top);
    // They go on writing while they meet.
    for (n, node) in nodes.iter().enumerate() {
        put(node, &format!("shared/late-{n}"), b"late").await;
    }
    for node in &nodes {
        until(node, "whole", |s| s.memory.records == 2 * 82 + 1 + 5).await;
    }
    of_one_mind(&nodes.iter().collect::<Vec<_>>()).await;
    for node in &nodes {
        let mut there = values(node, "shared/both").await;
        there.sort();
        assert_eq!(
            there,
            [b"1", b"3"],
            "what both halves came to, as a conflict"
        );
        assert_eq!(values(node, "shared/of-3-39").await, [b"3"]);
        assert_eq!(values(node, "shared/of-0-0").await, [b"0"]);
    }
    let memory = nodes[1].memory();
    let got = memory.get(both, Some(Duration::from_secs(10)));
    let got = got.await.unwrap();
    assert_eq!((got.replicas, got.complete), (5, true));
    put(&nodes[1], "shared/both", b"one").await;
    of_one_mind(&nodes.iter().collect::<Vec<_>>()).await;
    for node in &nodes {
        assert_eq!(values(node, "shared/both").await, [b"one"]);
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_has_nothing_is_given_far_more_than_a_parcel_holds() {
    const KEYS: usize = 30_000;
    const CROWDED: usize = 60;
    let root = Identity::from_seed(&[213; 32]);
    let posts = [
        (Role::Orchestrator, "hq", "hq"),
        (Role::Coordinator, "s1", "c0"),
        (Role::Agent, "s2", "c0"),
    ];
    let seats = seats(&posts);
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    for dir in &dirs {
        settle(dir.path(), &root, &seats);
    }
    let top = start(dirs[0].path(), &seats[0], &root.id()).await;
    let key = |n: usize| Key::shared(&format!("k{n}")).unwrap();
    let memory = top.memory();
    for first in (0..KEYS).step_by(500) {
        let batch = (first..first + 500).map(|n| (key(n), format!("{n:0200}").into_bytes()));
        memory.import(batch.collect()).await.unwrap();
    }
    // Keys with as many siblings as there may be, near the largest that a set may be.
    let mut other = Liar::start(&seats[2], &root.id(), &top, content).await;
    for n in 0..CROWDED {
        let one = |m: u64| {
            let record = other.record(&format!("shared/crowd-{n}"), m, &vec![b'7'; 3_600]);
            record.bytes().to_vec()
        };
        let all: Vec<_> = (1..=SIBLINGS_MAX as u64).map(one).collect();
        assert_eq!(other.push(&top, all).await, SIBLINGS_MAX as u32);
    }
    drop(other);
    tell_address(dirs[1].path(), &top, &seats[0], &root);
    let empty = start(dirs[1].path(), &seats[1], &root.id()).await;
    let mut held = (0, Instant::now());
    loop {
        let now = empty.snapshot().await.unwrap().memory.records;
        if now == (KEYS + CROWDED) as u64 {
            break;
        }
        if now > held.0 {
            held = (now, Instant::now());
        }
        assert!(
            held.1.elapsed() < Duration::from_secs(60),
            "it stays at {now}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    of_one_mind(&[&top, &empty]).await;
    let all = standing(&empty.memory(), &format!("shared/crowd-{}", CROWDED - 1)).await;
    assert_eq!(all.len(), SIBLINGS_MAX);
    assert_eq!(
        values(&empty, "shared/k29999").await,
        [format!("{:0200}", 29_999).as_bytes()]
    );
    empty.stop().await;
    top.stop().await;
}
