//! One leg of a machine with several is cut (rows A7, D10): those beneath it go another way,
//! and nobody who can be reached over the other leg is taken for dead there.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fabric::here;
use crate::sectors::{Mesh, Row};
use crate::support::{hold, until};

/// A sector with two coordinators, both on the backbone and on the sector's bridge.
const ROWS: [Row; 6] = [
    (
        "operator",
        ["orchestrator", "hq", "hq"],
        &[("back", "10.78.0.1")],
    ),
    (
        "c1",
        ["coordinator", "s1", "s1"],
        &[("back", "10.78.0.11"), ("bs1", "10.78.1.1")],
    ),
    (
        "c2",
        ["coordinator", "s1", "s1"],
        &[("back", "10.78.0.12"), ("bs1", "10.78.1.2")],
    ),
    ("lead", ["lead", "s1", "c1"], &[("bs1", "10.78.1.3")]),
    ("a1", ["agent", "s1", "c1"], &[("bs1", "10.78.1.4")]),
    ("a2", ["agent", "s1", "c1"], &[("bs1", "10.78.1.5")]),
];
const BACKBONE: [&str; 3] = ["10.78.0.1", "10.78.0.11", "10.78.0.12"];

/// How `node` sees each of the others: name and state.
fn states(mesh: &Mesh, node: usize) -> Vec<(String, String)> {
    let peers = mesh.nodes[node].ask("peers").unwrap_or_default();
    let peers = peers["peers"].as_array().cloned().unwrap_or_default();
    let word = |peer: &Value, key: &str| peer[key].as_str().unwrap_or_default().to_owned();
    let state = |peer: &Value| (word(peer, "name"), word(peer, "state"));
    peers.iter().map(state).collect()
}

#[test]
fn who_loses_the_backbone_loses_those_beneath_it_and_nobody_on_its_other_leg() {
    let name = "who_loses_the_backbone_loses_those_beneath_it_and_nobody_on_its_other_leg";
    if !here(name) {
        return;
    }
    let mesh = Mesh::laid("legs", &ROWS, "", |_| None);
    let parent = mesh.nodes[3].status().unwrap()["parent"].clone();
    let cut = [1, 2].into_iter().find(|&at| ROWS[at].0 == parent).unwrap();
    let other = 3 - cut;
    let space = mesh.nodes[cut].space.as_deref().unwrap();
    let own = BACKBONE[cut];
    let others: Vec<&str> = BACKBONE.into_iter().filter(|it| *it != own).collect();
    mesh.fabric.cut(space, &others);

    let left = mesh.nodes.len() as u64 - 1;
    let counted = |at: &usize| mesh.nodes[*at].members() == left;
    let took = until("all but one are one mesh", Duration::from_secs(20), || {
        [0, other, 3, 4, 5].iter().all(counted)
    });
    println!("one leg cut: all but its coordinator in the root's sum after {took:.1?}");
    let status = mesh.nodes[cut].status().unwrap();
    assert_eq!(status["top"], "coordinator", "{status}");

    // On the sector's bridge everybody hears everybody, longer than any TTL.
    let end = Instant::now() + Duration::from_secs(35);
    while Instant::now() < end {
        for (at, of) in [(cut, other), (other, cut), (3, other)] {
            let states = states(&mesh, at);
            let of = (ROWS[of].0.to_owned(), "live".to_owned());
            assert!(states.contains(&of), "{} sees {states:?}", ROWS[at].0);
        }
        assert!(
            [0, other, 3, 4, 5].iter().all(counted),
            "it fell apart again"
        );
        hold(Duration::from_millis(200));
    }
    mesh.heal();
    let took = mesh.whole("after the leg was back", Duration::from_secs(10));
    println!("leg back: whole after {took:.1?}");
}
