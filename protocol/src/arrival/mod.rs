//! Arrival: messages sent early enough that every agent is READY at one time T (seed part 3).
//!
//! READY means loaded and holding at T, not answered.
//!
//! | file | what it is |
//! |---|---|
//! | [`predict`] | how long before T a message must leave for one agent, and how sure that is |
//! | [`schedule`] | when to send to whom, and for whom it is too late |
//! | [`reliability`] | what was predicted against what came |
//! | [`offset`] | what the clock of a receiver shows at T, so that it can hold until then |
//! | [`trial`] | all of it in a model of agents, beside other ways: for benches and tests, no node calls it |

pub mod offset;
pub mod predict;
pub mod reliability;
pub mod schedule;
pub mod trial;

pub use offset::Offset;
pub use predict::{Aim, Prediction};
pub use reliability::Outcome;
pub use schedule::{Compensation, Schedule};
