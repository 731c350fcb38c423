//! Meshes of real processes that are given time: cut, slow, lossy, restarted, with a bridge
//! for each sector in network namespaces. In one program, because they mostly wait and so
//! can run beside each other.

mod cuts;
mod delay;
mod fabric;
mod latency;
mod legs;
mod losses;
mod names;
mod own_door;
#[path = "../support/phase.rs"]
mod phase;
mod restarts;
mod sectors;
#[path = "../support/mod.rs"]
mod support;
mod tasks;

/// Whether the long form is asked for.
fn soak() -> bool {
    std::env::var_os("CHORUS_SOAK").is_some()
}
