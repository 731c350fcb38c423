//! Arrival: messages sent early enough that every agent is READY at one time T (seed part 3).
//!
//! | file | what it is |
//! |---|---|
//! | [`predict`] | how long before T a message must leave for one agent, and how sure that is |

pub mod predict;

pub use predict::{Aim, Prediction};
