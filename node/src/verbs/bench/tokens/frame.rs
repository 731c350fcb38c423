//! What the nodes of `bench tokens` say to each other.

use serde::{Deserialize, Serialize};

use super::log::Token;

/// A message, and who sent it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The sender's number.
    pub from: usize,
    pub said: Said,
}

/// All that is ever said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// Before the start: whom the sender has heard of.
    Hello { heard: Vec<bool> },
    /// Now and then: how many tokens the sender has made; where phases are gossiped, its own.
    Gossip { made: u64, phase: Option<Moving> },
    /// The sender is at this barrier.
    Barrier { number: u64, phase: Moving },
    /// The sender has heard that the receiver is at this barrier.
    Ack { number: u64 },
    /// Tokens of the sender, of which `first` is the number of the first.
    Tokens { first: u64, tokens: Vec<Token> },
    /// The sender lacks the receiver's tokens from this one on.
    Ask { first: u64 },
}

/// A phase, and how fast it moves by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Moving {
    pub theta: f64,
    pub omega: f64,
}
