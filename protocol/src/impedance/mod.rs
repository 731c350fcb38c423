//! Impedance: how long an agent takes until a message is READY, measured of that agent (seed parts 2.2, 2.3 and 4).
//!
//! | file | what it is |
//! |---|---|
//! | [`class`] | the six classes: what they are best for, and what to expect of one unmeasured |
//! | [`window`] | the last N samples, by age and by size at once |
//! | [`waits`] | the line from the depth of a queue to the wait in it |
//! | [`hour`] | how many operations of the last hour went well |
//! | [`score`] | Z on the scale of 0 to 1,000, weights, flags and states |
//! | [`profile`] | all that was measured of one agent, and what follows |

pub mod class;
pub mod hour;
pub mod profile;
pub mod score;
pub mod waits;
pub mod window;

pub use class::Class;
pub use profile::Profile;
pub use score::{Flags, Score, State, Weight};
