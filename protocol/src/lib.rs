//! The pure part of Chorus: values and state machines of a mesh of agents.
//!
//! Nothing here reads a clock, draws a random number, opens a socket or waits:
//! time ([`units::Micros`]), randomness ([`units::Noise`]) and bytes come in as
//! arguments, and what should happen leaves as values. So the same code runs in
//! a process on a Pi and three thousand times over in a simulated world.
//!
//! Each room is one idea; each file says in its first line what it is.

pub mod arrival;
pub mod causality;
pub mod conflict;
pub mod delivery;
pub mod gossip;
pub mod ids;
pub mod impedance;
pub mod membership;
pub mod memory;
pub mod op;
pub mod phase;
pub mod trust;
pub mod units;
pub mod wire;
