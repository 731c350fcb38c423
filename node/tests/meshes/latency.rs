//! A mesh over slow legs (fault 8): 50 ms one way, give or take 20, and one member behind
//! 300 ms. Everybody couples, nobody is evicted, and the mesh runs in step.

use std::time::Duration;

use crate::delay::Delay;
use crate::fabric::here;
use crate::phase::{COUPLING, follow, offsets};
use crate::sectors::{Mesh, N};
use crate::support::{Process, until};

/// Behind 300 ms, each way.
const FAR: &str = "s2-a2";

fn delays(name: &str) -> Option<[Delay; 2]> {
    // Each path has a sender's leg and a receiver's leg; the sender's is the slow one.
    Some(match name {
        FAR => [Delay::millis(300, 20), Delay::millis(250, 0)],
        _ => [Delay::millis(50, 20), Delay::millis(0, 0)],
    })
}

/// Evictions that a node's log tells of.
fn evictions(node: &Process) -> usize {
    let log = std::fs::read_to_string(node.home.with_extension("log")).unwrap();
    log.lines()
        .filter(|line| line.contains("to=evicted"))
        .count()
}

#[test]
fn a_mesh_over_slow_legs_couples_and_evicts_nobody() {
    if !here("a_mesh_over_slow_legs_couples_and_evicts_nobody") {
        return;
    }
    let mesh = Mesh::with("slow", "\n[phase]\nsigma = 0.0\n", delays);
    let carried = mesh.fabric.carried();
    let before: Vec<usize> = mesh.nodes.iter().map(evictions).collect();
    // The delay is there: two legs out and back, measured by the nodes' own echoes.
    let rtt = |asker: usize, of: &str| {
        let peers = mesh.nodes[asker].ask("peers")?;
        let rows = peers["peers"].as_array()?.clone();
        let row = rows.into_iter().find(|row| row["name"] == of)?;
        row["rtt_ms"].as_f64()
    };
    let measured = || Some((rtt(7, "s2-a1")?, rtt(7, FAR)?));
    until("echoes came back", Duration::from_secs(20), || {
        measured().is_some()
    });
    let (near, far) = measured().unwrap();
    println!("smallest round trip: {near:.0} ms, to the far one {far:.0} ms");
    assert!((60.0..200.0).contains(&near), "{near} ms");
    assert!((550.0..800.0).contains(&far), "{far} ms");

    let omega = |node: &Process| node.status().unwrap()["phase"]["omega"].as_f64().unwrap();
    let omegas: Vec<f64> = mesh.nodes.iter().map(omega).collect();
    let own = omegas.iter().sum::<f64>() / N as f64;
    let (frequency, said) = follow(&mesh.nodes[0]);
    let (before_mean, order) = offsets(&mesh.nodes, frequency, 20);
    println!(
        "r = {order:.4} measured, {said:.4} as the operator says; \
         frequency {frequency:.4} rad/s, mean of the own ones {own:.4}: {:+.4}",
        frequency - own
    );
    for (at, node) in mesh.nodes.iter().enumerate() {
        // Where it would stand if what it hears were not late at all.
        let lag = ((omegas[at] - own) / (COUPLING * order))
            .clamp(-1.0, 1.0)
            .asin();
        let bias = before_mean[at] - lag;
        println!(
            "{:>9}: {:+.3} rad from the mean phase, bias {bias:+.3} rad ({:+.0} ms)",
            node.name,
            before_mean[at],
            1e3 * bias / frequency
        );
    }
    assert!(order > 0.9, "out of step: r = {order}");
    assert!(said > 0.9, "the operator does not see them in step: {said}");
    mesh.whole("at the end", Duration::from_secs(10));
    for (node, before) in mesh.nodes.iter().zip(before) {
        let status = node.status().unwrap();
        assert_eq!(status["peers"]["evicted"], 0, "{}: {status}", node.name);
        assert_eq!(evictions(node), before, "{} evicted somebody", node.name);
    }
    assert!(mesh.fabric.carried() > carried, "the cables carry nothing");
}
