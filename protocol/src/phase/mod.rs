//! Phase: coupled oscillators, the tree of partial sums, and the token clock.
//!
//! Every node is an oscillator dθ = ω dt + K·Im(z·e^{−iθ}) dt + σ dW. The mean
//! field z is a sum over the live nodes, so it travels up the tree as partial
//! sums and comes down again whole: O(N) messages, and exactly the double sum.
//!
//! | file | what it is |
//! |---|---|
//! | [`kuramoto`] | one Euler-Maruyama step, a node's natural frequency, the oscillator that catches up with a clock |
//! | [`field`] | partial sums, their rotation to now, the mean field and the order parameter |
//! | [`scope`] | whose phases a sum holds; overlapping sums are refused; several locked clusters are counted |
//! | [`gate`] | the weight of a peer that goes stale, recovers, and expires |
//! | [`normal`] | the inverse of the normal distribution, for natural frequencies |
//! | [`token_clock`] | tokens at 1/f, independent of all of the above |
//!
//! What is absent on purpose: any order of events (a phase never decides what
//! came first; Lamport time does) and any sender's clock (sums carry an age).

pub mod field;
pub mod gate;
pub mod kuramoto;
pub mod normal;
pub mod scope;
pub mod token_clock;

pub use field::{Complex, Field, PartialSum};
pub use gate::Gate;
pub use kuramoto::{Oscillator, Phase};
pub use scope::{Locking, Scope, Sum};
pub use token_clock::TokenClock;
