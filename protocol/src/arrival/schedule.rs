//! Schedule: when to send to whom, so that all are READY at T (seed 3.1, 3.2; G7, H1, H2, H4).
//!
//! Send times fall into buckets of 10 ms, counted back from T: the same predictions give the same
//! batches whatever the time is. To a receiver that holds a message never leaves later than its
//! lead says; to one that cannot, in the nearest bucket, since early is as bad as late.
//!
//! Who would need a longer lead than there is time left is skipped and said so. The skipped stay
//! in the denominator: [`Schedule::expected`] counts them. Each target gets the compensation made
//! for it and nobody else's: a message to 30,000 that told all leads would be a megabyte, and
//! would tell each about all the others.

use std::cmp::Reverse;

use crate::arrival::predict::{Aim, Prediction};
use crate::units::Micros;

/// The width of a bucket of send times (seed 3.2).
pub const BUCKET: Micros = Micros::from_millis(10);

/// How a message to one target was timed (seed 2.4, `compensation_applied`): its own entry, which
/// travels with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compensation {
    /// How long before T it is sent.
    pub lead: Micros,
    /// How much of that is expected to be processing.
    pub processing: Micros,
    /// How probable it is that the target is READY within the window; in (0, 1).
    pub confidence: f32,
    /// Whether the target holds to T.
    pub aim: Aim,
}

/// A target that is sent to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned<K> {
    /// Who.
    pub agent: K,
    /// Its own.
    pub compensation: Compensation,
}

/// What is sent at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<K> {
    /// When, by the clock that T is on.
    pub at: Micros,
    /// To whom, in the order of their names.
    pub targets: Vec<Planned<K>>,
}

/// A target for which it is too late (`insufficient_lead_time`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skip<K> {
    /// Who.
    pub agent: K,
    /// The lead that it would need.
    pub would_need: Micros,
    /// What is left until T.
    pub available: Micros,
}

/// Everything about one message to many.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule<K> {
    /// T, by the sender's monotonic clock.
    pub ready_at: Micros,
    /// From the first to the last.
    pub batches: Vec<Batch<K>>,
    /// Who is not sent to, in the order of their names.
    pub skipped: Vec<Skip<K>>,
}

impl<K> Schedule<K> {
    /// How many were to be READY at T, the skipped among them: the denominator of every rate.
    pub fn expected(&self) -> usize {
        self.planned() + self.skipped.len()
    }

    /// How many are sent to.
    pub fn planned(&self) -> usize {
        self.batches.iter().map(|batch| batch.targets.len()).sum()
    }

    /// When the first batch leaves.
    pub fn begins_at(&self) -> Option<Micros> {
        self.batches.first().map(|batch| batch.at)
    }
}

/// Plans for `ready_at`, both it and `now` by the sender's monotonic clock. A target that is
/// named more than once is sent to once, by its longest lead. O(n log n) of the targets.
pub fn schedule<K: Ord + Copy>(
    ready_at: Micros,
    now: Micros,
    targets: impl IntoIterator<Item = (K, Prediction)>,
) -> Schedule<K> {
    let mut targets: Vec<_> = targets.into_iter().collect();
    targets.sort_by_key(|(agent, prediction)| (*agent, Reverse(prediction.lead)));
    targets.dedup_by_key(|(agent, _)| *agent);

    let available = ready_at.since(now);
    let (possible, late): (Vec<_>, Vec<_>) = targets
        .into_iter()
        .partition(|(_, prediction)| prediction.lead <= available);
    let mut planned: Vec<_> = possible
        .into_iter()
        .map(|(agent, prediction)| plan(agent, &prediction, available))
        .collect();
    // It keeps the order of names within a bucket.
    planned.sort_by_key(|target| Reverse(target.compensation.lead));

    let alike = |a: &Planned<K>, b: &Planned<K>| a.compensation.lead == b.compensation.lead;
    let batches = planned.chunk_by(alike).map(|targets| Batch {
        at: ready_at.since(targets[0].compensation.lead),
        targets: targets.to_vec(),
    });
    let skip = |(agent, prediction): (K, Prediction)| Skip {
        agent,
        would_need: prediction.lead,
        available,
    };
    Schedule {
        ready_at,
        batches: batches.collect(),
        skipped: late.into_iter().map(skip).collect(),
    }
}

/// A target's bucket. Of who only just can be reached the bucket may have begun: it leaves now.
fn plan<K>(agent: K, prediction: &Prediction, available: Micros) -> Planned<K> {
    let buckets = match prediction.aim {
        Aim::Held { .. } => prediction.lead.0.div_ceil(BUCKET.0),
        Aim::Unheld => (prediction.lead + Micros(BUCKET.0 / 2)).0 / BUCKET.0,
    };
    Planned {
        agent,
        compensation: Compensation {
            lead: BUCKET.times(buckets).min(available),
            processing: prediction.processing,
            confidence: prediction.confidence,
            aim: prediction.aim,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::NodeId;

    const T: Micros = Micros::from_secs(100);

    fn prediction(lead_us: u64, aim: Aim) -> Prediction {
        Prediction {
            lead: Micros(lead_us),
            base: Micros(lead_us),
            processing: Micros(lead_us / 2),
            confidence: 0.5 + lead_us as f32 / 1e9,
            aim,
            is_measured: true,
        }
    }

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    /// The sends as (time before T in µs, targets).
    fn sends(schedule: &Schedule<NodeId>) -> Vec<(u64, Vec<u8>)> {
        let batch = |batch: &Batch<NodeId>| {
            let targets = batch.targets.iter().map(|target| target.agent.0[0]);
            (schedule.ready_at.since(batch.at).0, targets.collect())
        };
        schedule.batches.iter().map(batch).collect()
    }

    #[test]
    fn who_takes_longer_is_sent_to_earlier_and_equals_together() {
        let leads = [12_000, 120_000, 15_000, 119_999, 110_000];
        let targets = (0..5).map(|n| (node(n), prediction(leads[n as usize], Aim::HELD_95)));
        let schedule = schedule(T, Micros::ZERO, targets.rev());
        let expected = [
            (120_000, vec![1, 3]),
            (110_000, vec![4]),
            (20_000, vec![0, 2]),
        ];
        assert_eq!(sends(&schedule), expected);
        assert_eq!(schedule.begins_at(), Some(Micros(T.0 - 120_000)));
        assert_eq!((schedule.planned(), schedule.expected()), (5, 5));
    }

    #[test]
    fn who_cannot_hold_is_sent_to_in_the_nearest_bucket() {
        let leads = [4_999, 5_000, 14_999, 15_000];
        let targets = (0..4).map(|n| (node(n), prediction(leads[n as usize], Aim::Unheld)));
        let schedule = schedule(T, Micros::ZERO, targets);
        assert_eq!(
            sends(&schedule),
            [(20_000, vec![3]), (10_000, vec![1, 2]), (0, vec![0])]
        );
    }

    #[test]
    fn too_late_is_said_and_stays_in_the_denominator() {
        let now = Micros(T.0 - 100_000);
        let leads = [100_000, 100_001, 60_000_000, 95_001];
        let targets = (0..4).map(|n| (node(n), prediction(leads[n as usize], Aim::HELD_95)));
        let schedule = schedule(T, now, targets);
        // Both are within the first bucket, which begins now.
        assert_eq!(sends(&schedule), [(100_000, vec![0, 3])]);
        let skip = |n: u8| Skip {
            agent: node(n),
            would_need: Micros(leads[n as usize]),
            available: Micros(100_000),
        };
        assert_eq!(schedule.skipped, [skip(1), skip(2)]);
        assert_eq!((schedule.planned(), schedule.expected()), (2, 4));
    }

    #[test]
    fn when_t_is_over_everybody_is_skipped() {
        let targets = [(node(1), prediction(1, Aim::Unheld))];
        let schedule = schedule(Micros(5), Micros(9), targets);
        assert_eq!((schedule.planned(), schedule.skipped.len()), (0, 1));
        assert_eq!(schedule.skipped[0].available, Micros::ZERO);
        assert_eq!(schedule.begins_at(), None);
    }

    #[test]
    fn who_is_named_twice_is_sent_to_once() {
        let twice = [20_000, 40_000, 30_000].map(|lead| (node(1), prediction(lead, Aim::HELD_95)));
        assert_eq!(
            sends(&schedule(T, Micros::ZERO, twice)),
            [(40_000, vec![1])]
        );
    }

    proptest! {
        #[test]
        fn each_gets_its_own_in_time_and_in_one_order(
            leads in prop::collection::vec((0u64..200_000, any::<bool>()), 0..60),
            available_us in 0u64..200_000,
            turn in 0usize..60,
        ) {
            let targets: Vec<(NodeId, Prediction)> = leads.iter().enumerate().map(|(n, (lead, holds))| {
                let aim = if *holds { Aim::HELD_99 } else { Aim::Unheld };
                (node(n as u8), prediction(*lead, aim))
            }).collect();
            let now = Micros(T.0 - available_us);
            let first = schedule(T, now, targets.clone());
            let mut turned = targets.clone();
            turned.rotate_left(turn.min(targets.len()));
            prop_assert_eq!(&schedule(T, now, turned), &first);
            prop_assert_eq!(first.expected(), targets.len());
            prop_assert!(first.batches.is_sorted_by(|a, b| a.at < b.at));
            for batch in &first.batches {
                prop_assert!(batch.at >= now && !batch.targets.is_empty());
                prop_assert!(batch.targets.is_sorted_by(|a, b| a.agent < b.agent));
                for target in &batch.targets {
                    let (_, own) = &targets[target.agent.0[0] as usize];
                    let its = target.compensation;
                    prop_assert_eq!(its.confidence, own.confidence);
                    prop_assert_eq!((its.processing, its.aim), (own.processing, own.aim));
                    prop_assert_eq!(its.lead, T.since(batch.at));
                    prop_assert!(own.lead.0.abs_diff(its.lead.0) < BUCKET.0);
                    prop_assert!(own.aim == Aim::Unheld || its.lead >= own.lead);
                }
            }
            for skip in &first.skipped {
                let (_, own) = &targets[skip.agent.0[0] as usize];
                prop_assert_eq!(skip.would_need, own.lead);
                prop_assert!(own.lead.0 > available_us);
            }
        }
    }
}
