//! Cuts by nft, of the root from all others and of half from half (rows A7, D10, D11).

use std::time::Duration;

use crate::fabric::here;
use crate::sectors::{Mesh, N};
use crate::soak;
use crate::support::{hold, until};

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
}

#[test]
fn half_cut_from_half_for_a_minute_heals_within_ten_seconds() {
    if !here("half_cut_from_half_for_a_minute_heals_within_ten_seconds") {
        return;
    }
    let mesh = Mesh::start("half");
    // Sector 1 and its coordinator against the rest.
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
