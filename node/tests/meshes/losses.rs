//! Losses by nft, pauses and a dead lead: nobody who runs and can be reached is evicted
//! (rows D10, D11, E6, J1, J2).

use std::time::{Duration, Instant};

use crate::fabric::here;
use crate::sectors::{Mesh, N};
use crate::support::{hold, until};

#[test]
fn losses_pauses_and_a_dead_parent_evict_nobody_who_can_be_reached() {
    if !here("losses_pauses_and_a_dead_parent_evict_nobody_who_can_be_reached") {
        return;
    }
    let mut mesh = Mesh::start("ev");
    // 5 % loss for half a minute: nobody is evicted.
    for node in &mesh.nodes {
        mesh.fabric.lossy(node.space.as_deref().unwrap(), 5);
    }
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        let status = mesh.nodes[0].status().unwrap();
        assert_eq!(
            status["peers"]["evicted"], 0,
            "false death under 5 % loss: {status}"
        );
    }
    mesh.heal();
    // A paused agent is missed, and live within 15 s of its return.
    for seconds in [10, 45] {
        mesh.nodes[4].signal("-STOP");
        hold(Duration::from_secs(seconds));
        let status = mesh.nodes[0].status().unwrap();
        assert_eq!(
            status["peers"]["evicted"], 1,
            "only the paused one: {status}"
        );
        mesh.nodes[4].signal("-CONT");
        let took = mesh.whole("after a pause", Duration::from_secs(15));
        println!("paused for {seconds} s: whole after {took:.1?}");
    }
    // The lead of sector 1 dies: its agents find the coordinator.
    mesh.nodes[3].kill();
    let took = until(
        "the orphans counted by the operator",
        Duration::from_secs(20),
        || {
            mesh.nodes[0].members() == N as u64 - 1
                && [4, 5, 6]
                    .iter()
                    .all(|&a| mesh.nodes[a].members() == N as u64 - 1)
        },
    );
    println!("lead killed: its agents are in the root's sum after {took:.1?}");
    let status = mesh.nodes[0].status().unwrap();
    assert_eq!(
        status["peers"]["evicted"], 1,
        "only the dead lead: {status}"
    );
    mesh.nodes[3].start();
    mesh.whole("after the lead's return", Duration::from_secs(15));
}
