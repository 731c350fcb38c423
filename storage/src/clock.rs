//! The system's clock, for what ends at a time of day. It orders nothing.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in seconds; 0 for a clock that stands before 1970.
pub fn unix_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |span| span.as_secs())
}
