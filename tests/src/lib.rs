//! What the tests of the whole stand on: the simulated world, and those of checkpoints and of
//! memory.

pub mod epochs;
pub mod memory;
pub mod world;
