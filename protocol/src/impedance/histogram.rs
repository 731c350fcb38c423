//! A histogram that merges: counts of values, each known to one part in 32.
//!
//! A percentile of a tree cannot be had from the percentiles of its branches: the 95th of a
//! thousand clusters' 95ths is some other number. Counts add up, in any order and any grouping.
//! Each power of two is cut into 16 equal bins (as HdrHistogram does), so a value below 32 is
//! exact and a larger one at most 1/32 of itself off; the bins are the same everywhere.

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

/// Bins of each power of two.
const SUB: usize = 16;

/// Counts in `BINS` bins, 4 bytes each; what is beyond the last bin counts in it. `BINS` is 16
/// for each power of two from 2^4 on and 16 for what is below: 112 reach 1,023, and 528 reach
/// 2^36 − 1 (in microseconds 19 hours).
///
/// On the wire: pairs (bin, count) of those that are not empty, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<const BINS: usize> {
    counts: [u32; BINS],
}

impl<const BINS: usize> Default for Histogram<BINS> {
    fn default() -> Self {
        const { assert!(BINS >= 2 * SUB && BINS <= 61 * SUB && BINS.is_multiple_of(SUB)) };
        Self { counts: [0; BINS] }
    }
}

impl<const BINS: usize> Histogram<BINS> {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        let count = &mut self.counts[bin(value).min(BINS - 1)];
        *count = count.saturating_add(1);
    }

    /// Counts all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
    }

    /// How many bins are not empty.
    pub fn filled(&self) -> usize {
        self.counts.iter().filter(|count| **count > 0).count()
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The smallest value that at least the share `q` of all is not above, to one part in 32;
    /// `None` while nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        self.bin_of(q).map(middle)
    }

    /// A value that at least the share `q` of all is not above, larger than that by one part in 16 at
    /// most: [`Self::quantile`], where being too small would do harm. Of what is beyond the last
    /// bin it is not known how large it is.
    pub fn bound(&self, q: f64) -> Option<u64> {
        self.bin_of(q).map(largest)
    }

    /// The bin of the smallest value that at least the share `q` of all is not above.
    fn bin_of(&self, q: f64) -> Option<usize> {
        let total = self.total();
        // The rank is at least 1; f64 holds the totals of any mesh exactly.
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut below = 0;
        for (bin, count) in self.counts.iter().enumerate() {
            below += u64::from(*count);
            if below >= rank {
                return Some(bin);
            }
        }
        None
    }
}

/// The bin of a value: itself below 16, then 16 to each power of two.
fn bin(value: u64) -> usize {
    if value < SUB as u64 {
        return value as usize;
    }
    let exponent = value.ilog2() as usize;
    let sub = (value >> (exponent - 4)) as usize % SUB;
    SUB * (exponent - 3) + sub
}

/// The smallest value of a bin, and how far above it the largest is.
fn span(bin: usize) -> (u64, u64) {
    if bin < SUB {
        return (bin as u64, 0);
    }
    let shift = bin / SUB - 1;
    (((SUB + bin % SUB) as u64) << shift, (1 << shift) - 1)
}

/// The value that stands for a bin.
fn middle(bin: usize) -> u64 {
    let (low, width) = span(bin);
    low + width / 2
}

fn largest(bin: usize) -> u64 {
    let (low, width) = span(bin);
    low + width
}

impl<const BINS: usize> Serialize for Histogram<BINS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let filled = || {
            self.counts
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
        };
        let mut pairs = serializer.serialize_seq(Some(filled().count()))?;
        for (bin, count) in filled() {
            pairs.serialize_element(&(bin as u16, *count))?;
        }
        pairs.end()
    }
}

impl<'de, const BINS: usize> Deserialize<'de> for Histogram<BINS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<const BINS: usize>;
        impl<'de, const BINS: usize> Visitor<'de> for Pairs<BINS> {
            type Value = Histogram<BINS>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "pairs of a bin below {BINS} and a count, in order")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
                let mut histogram = Histogram::default();
                let mut least = 0;
                while let Some((bin, count)) = pairs.next_element::<(u16, u32)>()? {
                    let at = usize::from(bin);
                    if at < least || at >= BINS || count == 0 {
                        return Err(de::Error::custom("a bin out of order or range, or empty"));
                    }
                    histogram.counts[at] = count;
                    least = at + 1;
                }
                Ok(histogram)
            }
        }
        deserializer.deserialize_seq(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_is_known_to_one_part_in_32(value in 0u64..(1 << 36)) {
            let known = middle(bin(value));
            prop_assert!(bin(value) < 528);
            prop_assert_eq!(bin(known), bin(value));
            prop_assert!(known.abs_diff(value) * 32 <= value, "{} for {}", known, value);
            prop_assert!(value >= 32 || known == value);
        }

        /// However the values are split among branches.
        #[test]
        fn merged_counts_give_the_quantile_of_all(
            values in prop::collection::vec((0u64..1_001, 0usize..5), 1..300),
            q in 0.0f64..=1.0,
        ) {
            let mut branches = vec![Histogram::<112>::default(); 5];
            values.iter().for_each(|(value, branch)| branches[*branch].add(*value));
            let mut all = Histogram::default();
            branches.iter().for_each(|branch| all.merge(branch));
            let mut sorted: Vec<u64> = values.iter().map(|(value, _)| *value).collect();
            sorted.sort_unstable();
            let rank = ((q * sorted.len() as f64).ceil() as usize).max(1);
            let exact = sorted[rank - 1];
            let known = all.quantile(q).unwrap_or_default();
            prop_assert!(known.abs_diff(exact) * 32 <= exact, "{} for {}", known, exact);
            let bound = all.bound(q).unwrap_or_default();
            prop_assert!(bound >= exact && (bound - exact) * 16 <= exact, "{} for {}", bound, exact);
            prop_assert_eq!(all.total(), values.len() as u64);
        }
    }

    #[test]
    fn bins_rise_with_the_values_and_the_last_takes_the_rest() {
        assert_eq!((0..1_024).map(bin).max(), Some(111));
        assert!((1..5_000).all(|value| (bin(value) - bin(value - 1)) < 2));
        let mut narrow = Histogram::<112>::default();
        assert_eq!(narrow.quantile(0.5), None);
        narrow.add(u64::MAX);
        assert_eq!(narrow.quantile(0.5), Some(middle(111)));
        assert_eq!(bin(u64::MAX), 61 * SUB - 1);
    }

    #[test]
    fn only_what_was_counted_travels_and_nonsense_is_refused() {
        let mut sent = Histogram::<112>::default();
        for value in [3, 3, 700] {
            sent.add(value);
        }
        let json = serde_json::to_string(&sent).unwrap_or_default();
        assert_eq!(json, "[[3,2],[101,1]]");
        assert_eq!(
            serde_json::from_str::<Histogram<112>>(&json).ok(),
            Some(sent)
        );
        for bad in [
            "[[112,1]]",
            "[[3,0]]",
            "[[3,1],[3,1]]",
            "[[4,1],[3,1]]",
            "[[-1,1]]",
            "3",
        ] {
            assert!(
                serde_json::from_str::<Histogram<112>>(bad).is_err(),
                "{bad}"
            );
        }
    }
}
