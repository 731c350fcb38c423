//! Memory of real nodes in one process: written on any, read on every other.

use std::time::Duration;

use chorus_actors::memory::{Imported, MemoryHandle, PutOptions};
use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::placement::Placement;
use chorus_protocol::memory::replication::Want;

use super::*;

const TREE: [Post; 5] = [
    (Role::Orchestrator, "hq", "hq"),
    (Role::Coordinator, "s1", "c0"),
    (Role::Agent, "s1", "c1"),
    (Role::Coordinator, "s2", "c0"),
    (Role::Agent, "s2", "c1"),
];

/// Five nodes that know each other, in two sectors; the folders last as long as they.
async fn five() -> (Vec<Node>, Vec<tempfile::TempDir>) {
    five_with(MemoryPlan::default()).await
}

async fn five_with(plan: MemoryPlan) -> (Vec<Node>, Vec<tempfile::TempDir>) {
    let root = Identity::from_seed(&[210; 32]);
    let seats = seats(&TREE);
    let dirs: Vec<_> = seats.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    for dir in &dirs {
        settle(dir.path(), &root, &seats);
    }
    let mut nodes: Vec<Node> = Vec::new();
    for (dir, seat) in dirs.iter().zip(&seats) {
        for (parent, its) in nodes.iter().zip(&seats) {
            tell_address(dir.path(), parent, its, &root);
        }
        nodes.push(start_with(dir.path(), seat, &root.id(), |it| it.memory = plan).await);
    }
    for node in &nodes {
        until(node, "coupled", |s| s.view.members == 5).await;
    }
    (nodes, dirs)
}

fn here(within_s: u64, want: Option<Want>) -> PutOptions {
    PutOptions {
        want,
        within: Duration::from_secs(within_s),
        expires_s: None,
    }
}

async fn values(memory: &MemoryHandle, key: &Key, within: Option<Duration>) -> Vec<Vec<u8>> {
    let got = memory.get(key.clone(), within).await.unwrap();
    let values = got.siblings.values(0);
    values.filter_map(|it| it.write().value.clone()).collect()
}

#[tokio::test]
async fn what_one_node_writes_every_other_reads_and_a_quorum_counts_them() {
    let (nodes, _dirs) = five().await;
    let memory: Vec<MemoryHandle> = nodes.iter().map(Node::memory).collect();
    let key = Key::shared("plan").unwrap();
    let all = here(20, Some(Want::Nodes(5)));
    let put = memory[2]
        .put(key.clone(), Some(b"go".to_vec()), all)
        .await
        .unwrap();
    assert_eq!((put.asked, put.replicas), (5, 5));
    for reader in &memory {
        assert_eq!(values(reader, &key, None).await, [b"go"]);
    }
    // Not everybody may be connected to everybody yet.
    let began = Instant::now();
    loop {
        let within = Some(Duration::from_secs(5));
        let got = memory[4].get(key.clone(), within).await.unwrap();
        if (got.replicas, got.complete) == (5, true) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{got:?}");
    }
    // Each overwrites what it has seen: no conflict.
    let majority = here(20, Some(Want::Majority));
    let put = memory[4]
        .put(key.clone(), Some(b"on".to_vec()), majority)
        .await
        .unwrap();
    assert!(put.is_enough() && put.asked == 3);
    let more = here(5, Some(Want::Nodes(6)));
    let put = memory[0].put(key.clone(), None, more).await.unwrap();
    assert!(!put.is_enough(), "there are five nodes");
    assert_eq!(put.replicas, 5);
    assert!(values(&memory[2], &key, None).await.is_empty(), "deleted");
    let digests = |s: &Snapshot| s.memory.digest;
    let first = digests(&nodes[0].snapshot().await.unwrap());
    for node in &nodes {
        until(node, "of one mind", |s| digests(s) == first).await;
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn an_import_reaches_the_others_by_comparison() {
    let (nodes, _dirs) = five().await;
    let key = |n: usize| Key::shared(&format!("k{n}")).unwrap();
    let memory = nodes[2].memory();
    for n in 0..4 {
        let batch = (0..500).map(|m| (key(500 * n + m), vec![n as u8; 200]));
        let imported = memory.import(batch.collect()).await.unwrap();
        assert_eq!((imported.written, imported.unchanged), (500, 0));
    }
    let again = memory.import((0..500).map(|n| (key(n), vec![0; 200])).collect());
    let again = again.await.unwrap();
    assert_eq!((again.written, again.unchanged), (0, 500), "resumed");
    for node in &nodes {
        until(node, "full", |s| s.memory.records == 2_000).await;
    }
    let last = values(&nodes[4].memory(), &key(1_999), None).await;
    assert_eq!(last, [vec![3; 200]]);
    for node in nodes {
        node.stop().await;
    }
}

/// Far longer than a write takes to a neighbour.
const PATIENCE: Duration = Duration::from_secs(20);

async fn until_reads(node: &Node, key: &Key, byte: u8) {
    let began = Instant::now();
    loop {
        let values = values(&node.memory(), key, None).await;
        if values == [[byte]] {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{key}: {values:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Five of which the three above the agents hold everything, and the agents hardly anything;
/// and keys that the last one does not hold.
async fn five_with_keys_elsewhere() -> (Vec<Node>, Vec<tempfile::TempDir>, Vec<Key>) {
    let plan = MemoryPlan {
        copies: 1,
        ..MemoryPlan::default()
    };
    let (nodes, dirs) = five_with(plan).await;
    until(&nodes[4], "in touch", |s| s.memory.neighbours > 0).await;
    let placement = Placement::new(nodes.iter().map(Node::id), 1);
    let keys = (0..).map(|n| Key::shared(&format!("k{n}")).unwrap());
    let elsewhere = |key: &Key| {
        let holders = placement.holders(key.id().position().leaf());
        !holders.contains(&nodes[4].id())
    };
    let keys = keys.filter(elsewhere).take(100).collect();
    (nodes, dirs, keys)
}

#[tokio::test]
async fn a_write_has_seen_what_others_hold_also_where_its_writer_holds_nothing_of_it() {
    let (nodes, _dirs, keys) = five_with_keys_elsewhere().await;
    let [one, other] = [&nodes[2], &nodes[4]].map(Node::memory);
    for key in &keys[..10] {
        let on_a_carrier = here(20, Some(Want::Nodes(2)));
        let put = one
            .put(key.clone(), Some(vec![1]), on_a_carrier)
            .await
            .unwrap();
        assert!(put.is_enough(), "{put:?}");
        until_reads(&nodes[3], key, 1).await;
        // It takes the place of the first, which it was never asked for.
        let put = other
            .put(key.clone(), Some(vec![2]), on_a_carrier)
            .await
            .unwrap();
        assert!(put.is_enough(), "{put:?}");
        until_reads(&nodes[0], key, 2).await;
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn that_nothing_stands_there_is_known_only_when_all_who_should_hold_it_say_so() {
    let (mut nodes, _dirs) = five().await;
    let key = Key::shared("nothing").unwrap();
    let within = Some(Duration::from_secs(2));
    let known = async |nodes: &[Node], expected: bool| {
        let began = Instant::now();
        loop {
            let got = nodes[2].memory().get(key.clone(), within).await.unwrap();
            assert!(got.siblings.is_empty() && got.replicas == 0, "{got:?}");
            if got.complete == expected {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{got:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    known(&nodes, true).await;
    // It may have taken a write with it.
    nodes.pop().unwrap().stop().await;
    known(&nodes, false).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn an_import_has_seen_what_others_hold_and_is_in_conflict_with_none_of_it() {
    let (nodes, _dirs, keys) = five_with_keys_elsewhere().await;
    let [one, other] = [&nodes[2], &nodes[4]].map(Node::memory);
    let batch = |byte| keys.iter().map(|key| (key.clone(), vec![byte])).collect();
    let written = |written| Imported {
        written,
        unchanged: keys.len() - written,
    };
    assert_eq!(one.import(batch(1)).await, Ok(written(100)));
    for key in &keys {
        until_reads(&nodes[3], key, 1).await;
    }
    assert_eq!(other.import(batch(1)).await, Ok(written(0)));
    assert_eq!(other.import(batch(2)).await, Ok(written(100)));
    for key in &keys {
        until_reads(&nodes[0], key, 2).await;
    }
    for node in nodes {
        node.stop().await;
    }
}
