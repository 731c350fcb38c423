//! Real nodes in one process, over real sockets on loopback: they attach, couple
//! and know each other; one that is stopped is missed, and back when it returns.

mod apart;
mod bounds;
mod lies;
mod member;
mod memory;
mod seats;

use std::time::{Duration, Instant};

use chorus_actors::{Fatal, MemoryPlan, Node, Plan, Snapshot};
use chorus_protocol::ids::{Incarnation, Label, NodeId, Role};
use chorus_protocol::wire::Identity;

use seats::{Post, Seat, ports, seats, settle, start, start_with, tell_address, tell_ports};

/// Waits until `holds`, or fails with what it saw last.
async fn until(node: &Node, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Duration {
    let began = Instant::now();
    loop {
        let snapshot = node.snapshot().await.unwrap();
        if holds(&snapshot) {
            return began.elapsed();
        }
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "{}: not {what}: {snapshot:#?}",
            node.name()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn two_nodes_couple_and_a_stopped_one_is_missed_and_taken_back() {
    let root = Identity::from_seed(&[200; 32]);
    let seats = seats(&[(Role::Orchestrator, "hq", "hq"), (Role::Agent, "s1", "c1")]);
    let dirs: Vec<_> = seats.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    for dir in &dirs {
        settle(dir.path(), &root, &seats);
    }
    let top = start(dirs[0].path(), &seats[0], &root.id()).await;
    // The agent learns where its parent is as a member would: from its directory.
    tell_address(dirs[1].path(), &top, &seats[0], &root);
    let leaf = start(dirs[1].path(), &seats[1], &root.id()).await;
    let coupled = |s: &Snapshot| s.view.members == 2 && s.view.peers[0] == 1;
    until(&leaf, "coupled", coupled).await;
    until(&top, "coupled", coupled).await;
    let first = leaf.snapshot().await.unwrap();
    until(&top, "in step", |s| s.view.order > 0.95).await;
    leaf.stop().await;
    until(&top, "missing its child", |s| s.view.peers == [0, 0, 1]).await;
    let leaf = start(dirs[1].path(), &seats[1], &root.id()).await;
    until(&top, "coupled again", coupled).await;
    until(&leaf, "coupled again", coupled).await;
    let second = leaf.snapshot().await.unwrap();
    assert!(second.incarnation > first.incarnation);
    assert!(second.lamport > first.lamport, "the clock went back");
    leaf.stop().await;
    top.stop().await;
}

#[tokio::test]
async fn an_actor_that_ends_is_seen_and_the_node_runs_again_as_a_new_incarnation() {
    let root = Identity::from_seed(&[201; 32]);
    let seats = seats(&[(Role::Orchestrator, "hq", "hq")]);
    let dir = tempfile::tempdir().unwrap();
    settle(dir.path(), &root, &seats);
    let node = start(dir.path(), &seats[0], &root.id()).await;
    let first = node.snapshot().await.unwrap();
    node.actors().gossip.get().unwrap().kill();
    let fatal = tokio::time::timeout(Duration::from_secs(10), node.failed()).await;
    assert!(matches!(fatal, Ok(Fatal::Actor(_))), "{fatal:?}");
    node.stop().await;
    let node = start(dir.path(), &seats[0], &root.id()).await;
    let second = node.snapshot().await.unwrap();
    assert!(second.incarnation > first.incarnation);
    node.stop().await;
}
