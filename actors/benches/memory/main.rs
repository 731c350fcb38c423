//! What replicated memory costs, beside what it is made of: puts and gets against libp2p's
//! Kademlia over bare sled, an import against a signature and a batched insert for each record,
//! a comparison of two stores and the filling of an empty one against a copy's bytes. Both sides
//! of each ratio are measured in one run.
//!
//! `cargo bench -p chorus-actors --bench memory [-- put | copy]`

mod bare;
mod copying;
mod latency;
mod mesh;
// The tests use all of it.
#[allow(dead_code)]
#[path = "../../tests/mesh/seats.rs"]
mod seats;

use std::path::PathBuf;

use chorus_protocol::ids::Role;

use seats::Post;

const ONE_SECTOR: [Post; 3] = [
    (Role::Orchestrator, "s1", "c1"),
    (Role::Agent, "s1", "c1"),
    (Role::Agent, "s1", "c1"),
];

/// From one sector to the other three nodes write one after the other.
const TWO_SECTORS: [Post; 5] = [
    (Role::Orchestrator, "hq", "hq"),
    (Role::Coordinator, "s1", "c0"),
    (Role::Agent, "s1", "c1"),
    (Role::Coordinator, "s2", "c0"),
    (Role::Agent, "s2", "c1"),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |what: &str| {
        let mut words = words.iter().filter(|it| !it.starts_with("--")).peekable();
        words.peek().is_none() || words.any(|it| it == what)
    };
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}", std::process::id()));
    runtime().block_on(async {
        if is_wanted("put") {
            latency::run(&dir.join("three"), "3 nodes", &ONE_SECTOR).await;
            let what = "5 nodes in two sectors";
            latency::run(&dir.join("five"), what, &TWO_SECTORS).await;
        }
        if is_wanted("copy") {
            copying::run(&dir.join("copy")).await;
        }
    });
    std::fs::remove_dir_all(dir).expect("our own folder");
}

/// As a node's process has it.
fn runtime() -> tokio::runtime::Runtime {
    let mut one = tokio::runtime::Builder::new_current_thread();
    one.enable_all().build().expect("a runtime")
}
