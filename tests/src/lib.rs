//! What the tests of the whole stand on: the simulated world.

pub mod world;
