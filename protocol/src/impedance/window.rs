//! The last N samples of something, kept in order of arrival and by size.
//!
//! A ring of `f32` and beside it the ring's positions sorted by value, one byte each: a sample
//! costs a search and a move of at most N bytes, and any quantile is a look at one or two places.
//! A node that predicts for 30,000 agents at once cannot sort for each.

/// The last `N` samples, in whatever unit they came; `N` is at most 255. 5·N + 2 bytes, rounded
/// up to a multiple of 4.
#[derive(Debug, Clone)]
pub struct Window<const N: usize> {
    values: [f32; N],
    /// Positions in `values`, those in use first, by the value there.
    order: [u8; N],
    /// Where the next sample goes.
    next: u8,
    len: u8,
}

impl<const N: usize> Default for Window<N> {
    fn default() -> Self {
        const { assert!(0 < N && N <= 255) };
        Self {
            values: [0.0; N],
            order: [0; N],
            next: 0,
            len: 0,
        }
    }
}

impl<const N: usize> Window<N> {
    /// How many samples there are, at most `N`.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a sample; the oldest goes when there are `N`. What is not finite is not taken.
    pub fn push(&mut self, value: f32) {
        if !value.is_finite() {
            return;
        }
        let (at, mut len) = (self.next, self.len());
        if len == N {
            let old = self.order.iter().position(|slot| *slot == at);
            let old = old.unwrap_or(N - 1);
            self.order.copy_within(old + 1.., old);
            len -= 1;
        }
        let place = self.below(len, value);
        self.order.copy_within(place..len, place + 1);
        self.order[place] = at;
        self.values[at as usize] = value;
        self.len = (len + 1) as u8;
        self.next = ((at as usize + 1) % N) as u8;
    }

    /// How many of the first `len` in order are below `value`.
    fn below(&self, len: usize, value: f32) -> usize {
        self.order[..len].partition_point(|slot| self.values[*slot as usize] < value)
    }

    /// The sample at `rank` of the sorted ones.
    fn at(&self, rank: usize) -> f32 {
        self.values[self.order[rank] as usize]
    }

    /// The quantile `q` in [0, 1], between neighbours by a straight line; `None` without samples.
    pub fn quantile(&self, q: f32) -> Option<f32> {
        let last = self.len().checked_sub(1)?;
        let rank = (q.clamp(0.0, 1.0) * last as f32).min(last as f32);
        let (low, share) = (rank as usize, rank.fract());
        let high = (low + 1).min(last);
        Some(self.at(low) + share * (self.at(high) - self.at(low)))
    }

    /// The middle one.
    pub fn median(&self) -> Option<f32> {
        self.quantile(0.5)
    }

    /// How many samples are in `low..=high`.
    pub fn count_between(&self, low: f32, high: f32) -> usize {
        let up_to = |slot: &u8| self.values[*slot as usize] <= high;
        let above = self.order[..self.len()].partition_point(up_to);
        above.saturating_sub(self.below(self.len(), low))
    }

    /// Mean and variance (of the samples themselves, not of what they were drawn from).
    pub fn moments(&self) -> Option<(f64, f64)> {
        let samples = self.values[..self.len()].iter().map(|v| f64::from(*v));
        let n = f64::from(self.len);
        let mean = samples.clone().sum::<f64>() / n;
        let variance = samples.map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        (!self.is_empty()).then_some((mean, variance))
    }

    /// The median of the newest `K` samples; `None` while there are fewer.
    pub fn newest_median<const K: usize>(&self) -> Option<f32> {
        if self.len() < K || K == 0 || K > N {
            return None;
        }
        let mut newest: [f32; K] = std::array::from_fn(|back| {
            let at = (self.next as usize + N - 1 - back) % N;
            self.values[at]
        });
        newest.sort_unstable_by(f32::total_cmp);
        Some((newest[(K - 1) / 2] + newest[K / 2]) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside a plain list that is sorted each time.
        #[test]
        fn is_the_sorted_list_of_the_last(samples in prop::collection::vec(-9i8..9, 1..40)) {
            let mut window = Window::<10>::default();
            for (at, sample) in samples.iter().enumerate() {
                window.push(f32::from(*sample));
                let mut last: Vec<f32> =
                    samples[(at + 1).saturating_sub(10)..=at].iter().map(|s| f32::from(*s)).collect();
                let newest = window.newest_median::<3>();
                prop_assert_eq!(newest.is_some(), last.len() >= 3);
                if let [.., a, b, c] = last[..] {
                    prop_assert_eq!(newest, Some(a.max(b).min(a.min(b).max(c))));
                }
                last.sort_by(f32::total_cmp);
                prop_assert_eq!(window.len(), last.len());
                for (rank, value) in last.iter().enumerate() {
                    prop_assert_eq!(window.at(rank), *value);
                }
                let inside = last.iter().filter(|v| (-2.0..=3.0).contains(*v)).count();
                prop_assert_eq!(window.count_between(-2.0, 3.0), inside);
            }
        }
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let mut window = Window::<4>::default();
        assert_eq!(window.median(), None);
        assert_eq!(window.moments(), None);
        for sample in [9.0, 4.0, 1.0, 2.0, 3.0] {
            window.push(sample);
        }
        assert_eq!(window.median(), Some(2.5));
        assert_eq!(window.quantile(0.0), Some(1.0));
        assert_eq!(window.quantile(1.0), Some(4.0));
        assert!((window.quantile(0.9).unwrap_or_default() - 3.7).abs() < 1e-6);
        assert_eq!(window.moments(), Some((2.5, 1.25)));
    }

    #[test]
    fn what_is_not_a_number_is_not_a_sample() {
        let mut window = Window::<4>::default();
        for bad in [f32::NAN, f32::INFINITY] {
            window.push(bad);
        }
        assert!(window.is_empty());
        window.push(1.0);
        assert_eq!(window.quantile(f32::NAN), Some(1.0));
    }
}
