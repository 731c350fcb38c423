//! Impedance: how long an agent takes until a message is READY, measured of that agent (seed 2.2, 2.3 and part 4).
//!
//! | file | what it is |
//! |---|---|
//! | [`class`] | the six classes: what they are best for, and what to expect of one unmeasured |
//! | [`window`] | the last N samples, by age and by size at once |
//! | [`waits`] | the line from the depth of a queue to the wait in it |
//! | [`hour`] | how many operations of the last hour went well |
//! | [`score`] | Z on the scale of 0 to 1,000, weights, flags and states |
//! | [`profile`] | all that was measured of one agent, and what follows |
//! | [`reading`] | what of that travels |
//! | [`histogram`] | counts that merge, and quantiles from them |
//! | [`summary`] | a cluster, a sector, the mesh |
//! | [`faults`] | what is wrong with agents of a cluster |
//! | [`registry`] | the newest reading of everybody, and who is best for what |
//!
//! Absent on purpose: order between nodes' clocks (spans are measured where they begin and end),
//! and who may be told what (the roster's business).

pub mod class;
pub mod faults;
pub mod histogram;
pub mod hour;
pub mod profile;
pub mod reading;
pub mod registry;
pub mod score;
pub mod summary;
pub mod waits;
pub mod window;

pub use class::Class;
pub use profile::Profile;
pub use reading::Reading;
pub use registry::{Need, Registry};
pub use score::{Flags, Score, State, Weight};
