//! The same scenarios on real sockets: node processes in network namespaces, one
//! bridge for each sector, cuts and losses by nft (rows A7, D10, D11, E6, J1, J2).

#[path = "support/delay.rs"]
mod delay;
#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/sectors.rs"]
mod sectors;
mod support;

use std::time::{Duration, Instant};

use sectors::{Mesh, N, here};
use support::{hold, until};

fn soak() -> bool {
    std::env::var_os("CHORUS_SOAK").is_some()
}

#[test]
fn a_cut_of_any_length_heals_within_ten_seconds() {
    if !here("a_cut_of_any_length_heals_within_ten_seconds") {
        return;
    }
    let mesh = Mesh::start("cut");
    let lengths: &[u64] = if soak() {
        &[1, 5, 30, 120]
    } else {
        &[1, 5, 30]
    };
    for &seconds in lengths {
        let stale = mesh.sum("stale");
        mesh.cut(0, 1..N);
        hold(Duration::from_secs(seconds));
        mesh.heal();
        let took = mesh.whole("after the root was cut off", Duration::from_secs(10));
        println!("root cut for {seconds} s: whole after {took:.1?}");
        // A frame that is refused for its stamp is one that was overtaken; none
        // may be refused because of the cut.
        let refused = mesh.sum("stale") - stale;
        assert!(refused <= N as u64, "{refused} frames refused as stale");
    }
    // Half from half: sector 1 and its coordinator against the rest.
    for node in [1, 3, 4, 5, 6] {
        mesh.cut(node, [0, 2, 7, 8, 9].into_iter());
    }
    until("the operator misses half", Duration::from_secs(20), || {
        mesh.nodes[0].members() <= N as u64 / 2
    });
    hold(Duration::from_secs(55));
    mesh.heal();
    let took = mesh.whole("after half was cut from half", Duration::from_secs(10));
    println!("half from half for 60 s: whole after {took:.1?}");
}

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
