//! Operations: a question or a task for many agents, and what one answer is made of theirs.

pub mod gather;
pub mod quorum;
