//! Causality: the Lamport clock, and the gate that admits only newer state of a peer.

pub mod gate;
pub mod lamport;
