//! The limiter of the door: which messages at the door are taken.
//!
//! A stranger's key costs it nothing, but a connection costs it a place in the porter's line.
//! So the first message of every connection is taken, of which there are only as many as the
//! porter lets in; whoever goes on talking shares one rate with all others who do.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Connections that are remembered as having spoken: many times what the porter has open at
/// once. One that is forgotten while it stands has a first message once more.
const SPOKEN_MAX: usize = 1024;

/// Who has spoken, and what the others may still say.
#[derive(Debug)]
pub struct DoorLimiter {
    spoken: BTreeSet<Vec<u8>>,
    order: VecDeque<Vec<u8>>,
    again: Bucket,
}

impl DoorLimiter {
    /// All messages but first ones share `rate` a second.
    pub fn new(rate: u32) -> Self {
        Self {
            spoken: BTreeSet::new(),
            order: VecDeque::new(),
            again: Bucket::new(rate),
        }
    }

    /// Whether a message of the connection with this routing id is to be taken.
    pub fn take(&mut self, connection: &[u8], now: Instant) -> bool {
        if self.spoken.contains(connection) {
            return self.again.take(now);
        }
        if self.order.len() >= SPOKEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.spoken.remove(&oldest);
        }
        self.spoken.insert(connection.to_vec());
        self.order.push_back(connection.to_vec());
        true
    }
}

/// A token bucket: `rate` tokens a second, at most one second's worth saved up.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: u32,
    tokens: f64,
    filled: Option<Instant>,
}

impl Bucket {
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            rate,
            tokens: f64::from(rate),
            filled: None,
        }
    }

    /// Takes one token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = self
            .filled
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.filled = Some(now);
        let rate = f64::from(self.rate);
        self.tokens = (self.tokens + since.as_secs_f64() * rate).min(rate);
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_talks_on_shares_a_rate_and_a_newcomer_is_heard_beside_it() {
        let mut limiter = DoorLimiter::new(2);
        let now = Instant::now();
        let took =
            |limiter: &mut DoorLimiter, at| (0..100).filter(|_| limiter.take(b"loud", at)).count();
        assert_eq!(took(&mut limiter, now), 1 + 2);
        assert!(limiter.take(b"new", now));
        assert!(!limiter.take(b"new", now));
        assert_eq!(took(&mut limiter, now + Duration::from_millis(500)), 1);
    }

    #[test]
    fn what_is_remembered_of_connections_is_bounded() {
        let mut limiter = DoorLimiter::new(1);
        let now = Instant::now();
        for n in 0..=SPOKEN_MAX {
            assert!(limiter.take(&n.to_be_bytes(), now));
        }
        assert_eq!(limiter.spoken.len(), SPOKEN_MAX);
        assert_eq!(limiter.order.len(), SPOKEN_MAX);
    }
}
