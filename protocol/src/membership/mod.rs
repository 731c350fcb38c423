//! Membership: who is there, who is silent, and who stands above whom.

pub mod detector;
pub mod peers;
pub mod topology;
pub mod twins;
