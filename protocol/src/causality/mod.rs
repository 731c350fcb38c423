//! Causality: the Lamport clock, the gate that admits only newer state of a peer, and versions
//! that tell concurrent writes apart.

pub mod gate;
pub mod lamport;
pub mod version;
