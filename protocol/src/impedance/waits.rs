//! How long messages wait in an agent's queue: a line through its last 64 waits, by ridge least squares.
//!
//! wait = max(0, c0 + c1·queue). The depth is the one known when the message was sent, stale as
//! it is: that is what a prediction will be made from. The ridge pulls the slope to the seed's
//! tenth of a service for each message in the queue (seed 3.1), not to 0: of an agent whose queue
//! was the same all the time nothing else is known when it grows.

use super::class::PRIOR_UNTIL;

/// How many (queue, wait) pairs are kept.
pub const PAIRS: usize = 64;

/// The penalty on the slope's distance from its prior, in squared messages: as much as one pair
/// whose queue is one message off the mean.
const RIDGE: f32 = 1.0;

/// The last pairs and what a line through them needs. 404 bytes.
#[derive(Debug, Clone)]
pub struct Waits {
    wait_ms: [f32; PAIRS],
    queue: [u16; PAIRS],
    next: u8,
    len: u8,
    /// The means of the pairs.
    mean_queue: f32,
    mean_wait_ms: f32,
    /// Σ(q − mean)² and Σ(q − mean)(w − mean).
    sqq: f32,
    sqw: f32,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            wait_ms: [0.0; PAIRS],
            queue: [0; PAIRS],
            next: 0,
            len: 0,
            mean_queue: 0.0,
            mean_wait_ms: 0.0,
            sqq: 0.0,
            sqw: 0.0,
        }
    }
}

impl Waits {
    /// How many pairs there are, at most [`PAIRS`].
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a message that was sent when `queue` stood before it and waited `wait_ms`. A wait
    /// that is negative or no number is not taken.
    pub fn push(&mut self, queue: u16, wait_ms: f32) {
        if !wait_ms.is_finite() || wait_ms < 0.0 {
            return;
        }
        let at = self.next as usize;
        (self.queue[at], self.wait_ms[at]) = (queue, wait_ms);
        self.next = ((at + 1) % PAIRS) as u8;
        self.len = (self.len + 1).min(PAIRS as u8);
        self.sum();
    }

    /// The wait in milliseconds behind `queue` messages, where a message in the queue is taken to
    /// cost `prior_ms` until the pairs say otherwise.
    pub fn predict_ms(&self, queue: u16, prior_ms: f32) -> f32 {
        if self.len() < PRIOR_UNTIL {
            return prior_ms * f32::from(queue);
        }
        let slope = (self.sqw + RIDGE * prior_ms) / (self.sqq + RIDGE);
        (self.mean_wait_ms + slope * (f32::from(queue) - self.mean_queue)).max(0.0)
    }

    /// The sums from all pairs anew: sums that are kept up to date would drift.
    fn sum(&mut self) {
        let len = self.len();
        let pairs = || {
            let queues = self.queue[..len].iter().map(|q| f64::from(*q));
            queues.zip(self.wait_ms[..len].iter().map(|w| f64::from(*w)))
        };
        let n = len as f64;
        let (queues, waits) = pairs().fold((0.0, 0.0), |sum, (q, w)| (sum.0 + q, sum.1 + w));
        let (queue, wait) = (queues / n, waits / n);
        let (sqq, sqw) = pairs().fold((0.0, 0.0), |sum, (q, w)| {
            (
                sum.0 + (q - queue).powi(2),
                sum.1 + (q - queue) * (w - wait),
            )
        });
        (self.mean_queue, self.mean_wait_ms) = (queue as f32, wait as f32);
        (self.sqq, self.sqw) = (sqq as f32, sqw as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let mut waits = Waits::default();
        for n in 0..200u16 {
            let queue = n % 5;
            waits.push(queue, 3.0 + 20.0 * f32::from(queue));
        }
        assert_eq!(waits.len(), PAIRS);
        // The ridge takes one part in 1 + Σ(q − mean)², here about 127.
        assert!((waits.predict_ms(4, 0.0) - 83.0).abs() < 0.5, "{waits:?}");
        assert!((waits.predict_ms(10, 0.0) - 203.0).abs() < 1.5, "{waits:?}");
    }

    #[test]
    fn the_oldest_pairs_are_forgotten() {
        let mut waits = Waits::default();
        for n in 0..PAIRS as u16 * 2 {
            let slow = if n < PAIRS as u16 { 1_000.0 } else { 1.0 };
            waits.push(n % 3, slow);
        }
        assert!((waits.predict_ms(1, 0.0) - 1.0).abs() < 1e-3, "{waits:?}");
    }

    #[test]
    fn a_queue_that_never_changed_costs_by_the_prior_when_it_grows() {
        let mut waits = Waits::default();
        assert_eq!(waits.predict_ms(7, 5.0), 35.0, "nothing is known yet");
        (0..9).for_each(|_| waits.push(2, 40.0));
        assert_eq!(waits.predict_ms(2, 5.0), 40.0);
        assert_eq!(waits.predict_ms(12, 5.0), 90.0);
    }

    #[test]
    fn a_wait_is_never_negative_nor_taken_from_nonsense() {
        let mut waits = Waits::default();
        (0..9).for_each(|n| waits.push(n, if n < 8 { 0.0 } else { 900.0 }));
        for bad in [f32::NAN, f32::INFINITY, -1.0] {
            waits.push(3, bad);
        }
        assert_eq!(waits.len(), 9);
        assert_eq!(waits.predict_ms(0, 0.0), 0.0);
    }
}
