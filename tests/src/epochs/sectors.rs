//! The world of the checkpoints' tests: two sectors, an epoch every ten seconds.

use chorus_protocol::memory::checkpoint::Config;
use chorus_protocol::units::Micros;

use super::Epochs;
use crate::world::fabric::Shape;

/// One sector: the orchestrator 0, the coordinator 1, leads 2 and 7 with four agents each;
/// then another sector from 12 on.
pub const SHAPE: Shape = Shape::Tree {
    clusters: 2,
    size: 5,
};
/// How many machines that is.
pub const N: usize = 23;

/// An epoch every ten seconds.
pub fn config() -> Config {
    Config::every(Micros::from_secs(10))
}

/// The world of them.
pub fn world(seed: u64) -> Epochs {
    Epochs::new(N, SHAPE, config(), seed)
}

/// Waits until everybody holds a durable one of everybody.
pub fn durable(world: &mut Epochs, limit_s: u64) -> Result<(), String> {
    world.reach("durable one of all", limit_s, |w| w.agree(0..N, N))
}
