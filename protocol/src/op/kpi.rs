//! KPI: what a node's operations came to, and how long its agents were there (MESH-30K, 11.1).
//!
//! | name | definition | goal |
//! |---|---|---|
//! | coordination success | operations that had as many ready as they asked for, of all | ≥ 99 % |
//! | window hits | messages READY within half the window of T (without T: of what was expected), of all sent | ≥ 95 % |
//! | prediction | messages READY within 50 ms of that, of all sent | ≥ 90 % |
//! | conflicts | answers that contradict, of all answers | ≤ 1 % |
//! | availability | time in which 95 % of the agents were active, of all time in which there were agents | ≥ 99.9 % |
//! | cascade p95 | 95th percentile of the time of operations without T to all agents | ≤ 1,000 ms |
//! | recovery | longest time from under 95 % active until no more, of a cluster and of a sector | ≤ 5 and 15 min |
//!
//! Of the messages sent those are left out that still had time when it was decided without them.
//!
//! Kept by hour for a day and by day for a month; rows of before a restart are taken up again.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::gather::Outcome;
use crate::arrival::reliability::Table;
use crate::ids::{Label, Place};
use crate::impedance::histogram::Histogram;
use crate::units::Micros;

/// Spans of the windows.
pub const HOUR: Micros = Micros::from_secs(3_600);
const DAY: Micros = Micros::from_secs(86_400);
/// How many hours and days are kept.
pub const HOURS_MAX: usize = 24;
pub const DAYS_MAX: usize = 30;
/// Of a thousand agents so many must be active.
const ACTIVE: u64 = 950;

/// What was counted in some span of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Operations that ended.
    pub operations: u64,
    /// Of those, with success.
    pub successes: u64,
    /// Agents' answers.
    pub answers: u64,
    /// Of those, contradictions.
    pub conflicts: u64,
    /// Messages, by how near to T they were.
    pub arrivals: Box<Table>,
    /// Times of operations without T to all agents, in µs.
    pub cascades: Box<Histogram<528>>,
    /// Time in which there were agents.
    pub observed: Micros,
    /// Of that, with enough of them active.
    pub available: Micros,
    /// Recoveries of clusters, and the longest.
    pub clusters: (u64, Micros),
    /// Recoveries of sectors, and the longest.
    pub sectors: (u64, Micros),
}

impl Counts {
    fn merge(&mut self, other: &Counts) {
        self.operations += other.operations;
        self.successes += other.successes;
        self.answers += other.answers;
        self.conflicts += other.conflicts;
        self.arrivals.merge(&other.arrivals);
        self.cascades.merge(&other.cascades);
        self.observed = self.observed + other.observed;
        self.available = self.available + other.available;
        for (sum, more) in [
            (&mut self.clusters, other.clusters),
            (&mut self.sectors, other.sectors),
        ] {
            *sum = (sum.0 + more.0, sum.1.max(more.1));
        }
    }

    /// The 95th percentile of the cascades' times.
    pub fn cascade_p95(&self) -> Option<Micros> {
        self.cascades.quantile(0.95).map(Micros)
    }
}

/// A span of time by its number, from when this node first counted anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Span {
    /// An hour.
    Hour(u64),
    /// A day.
    Day(u64),
}

/// How many agents, and of those active.
type Rate = (u64, u64);

/// The measures of one node.
#[derive(Debug, Clone, Default)]
pub struct Kpis {
    hours: VecDeque<(u64, Counts)>,
    days: VecDeque<(u64, Counts)>,
    /// Agents by cluster.
    clusters: BTreeMap<Place, Rate>,
    /// Since when a cluster is under the rate; a sector.
    low_clusters: BTreeMap<Place, Micros>,
    low_sectors: BTreeMap<Label, Micros>,
    observed_at: Micros,
    /// How long it had been counted before this run's clock began.
    before: Micros,
}

impl Kpis {
    /// Takes up what was counted before this run, which begins `age` after the first of that by
    /// the time of day. Where that clock has gone back, it goes on from the newest row.
    pub fn resume(&mut self, rows: impl IntoIterator<Item = (Span, Counts)>, age: Micros) {
        let (mut hours, mut days) = (BTreeMap::new(), BTreeMap::new());
        for (span, counts) in rows {
            match span {
                Span::Hour(at) => hours.insert(at, counts),
                Span::Day(at) => days.insert(at, counts),
            };
        }
        let begun = |rows: &BTreeMap<u64, Counts>, length: Micros| {
            let newest = rows.keys().next_back();
            newest.map_or(Micros::ZERO, |at| length.times(*at))
        };
        self.before = age.max(begun(&hours, HOUR)).max(begun(&days, DAY));
        for (rows, kept, most) in [
            (&mut self.hours, hours, HOURS_MAX),
            (&mut self.days, days, DAYS_MAX),
        ] {
            let old = kept.len().saturating_sub(most);
            *rows = kept.into_iter().skip(old).collect();
        }
    }

    /// What was counted, in the `newest` hours and days.
    pub fn rows(&self, newest: usize) -> impl Iterator<Item = (Span, &Counts)> {
        let hours = self.hours.iter().rev().take(newest);
        let days = self.days.iter().rev().take(newest);
        let hours = hours.map(|(at, it)| (Span::Hour(*at), it));
        hours.chain(days.map(|(at, it)| (Span::Day(*at), it)))
    }

    /// How long ago this node first counted anything.
    fn age(&self, now: Micros) -> Micros {
        self.before + now
    }

    /// An operation ended. Whether it was a cascade: without T, to all agents.
    pub fn ended(&mut self, outcome: &Outcome, arrivals: &Table, cascade: bool, now: Micros) {
        let tally = outcome.tally;
        let mut counts = Counts {
            operations: 1,
            successes: outcome.success.into(),
            answers: u64::from(tally.ready) + u64::from(tally.conflict),
            conflicts: tally.conflict.into(),
            arrivals: Box::new(arrivals.clone()),
            ..Counts::default()
        };
        if cascade {
            counts.cascades.add(outcome.elapsed.0);
        }
        self.add(&counts, now);
    }

    /// An agent at `place` came or went: it was counted as the first before, and is as the second
    /// now; each is whether it is active, `None` where it is not counted.
    pub fn changed(
        &mut self,
        place: Place,
        before: Option<bool>,
        after: Option<bool>,
        now: Micros,
    ) {
        if before == after {
            return;
        }
        self.observe(now);
        let rate = self.clusters.entry(place).or_default();
        let one = |it: Option<bool>| (u64::from(it.is_some()), u64::from(it == Some(true)));
        let (was, is) = (one(before), one(after));
        rate.0 = (rate.0 + is.0).saturating_sub(was.0);
        rate.1 = (rate.1 + is.1).saturating_sub(was.1);
        let low = is_low(*rate);
        if rate.0 == 0 {
            self.clusters.remove(&place);
        }
        let cluster = recovered(&mut self.low_clusters, place, low, now);
        let low = is_low(self.sum(|it| it.sector == place.sector));
        let sector = recovered(&mut self.low_sectors, place.sector, low, now);
        let one = |it: Option<Micros>| it.map_or((0, Micros::ZERO), |it| (1, it));
        let counts = Counts {
            clusters: one(cluster),
            sectors: one(sector),
            ..Counts::default()
        };
        if cluster.or(sector).is_some() {
            self.add(&counts, now);
        }
    }

    /// What was counted in the last hours, days, or all of the month.
    pub fn window(&self, span: Micros, now: Micros) -> Counts {
        let mut observed = self.clone();
        observed.observe(now);
        let mut sum = Counts::default();
        let (rows, length) = match span <= DAY {
            true => (&observed.hours, HOUR),
            false => (&observed.days, DAY),
        };
        let newest = self.age(now).0 / length.0;
        let first = (newest + 1).saturating_sub(span.0.div_ceil(length.0));
        let within = rows.iter().filter(|(at, _)| *at >= first);
        within.for_each(|(_, counts)| sum.merge(counts));
        sum
    }

    /// How many agents there are, and how many of them are there.
    pub fn agents(&self) -> (u64, u64) {
        self.sum(|_| true)
    }

    /// The clusters that have not recovered, and since when.
    pub fn low(&self) -> impl Iterator<Item = (&Place, &Micros)> {
        self.low_clusters.iter()
    }

    /// Counts the time since it was last looked at.
    pub(super) fn observe(&mut self, now: Micros) {
        let span = now.since(self.observed_at);
        self.observed_at = now;
        let rate = self.sum(|_| true);
        if rate.0 > 0 && span > Micros::ZERO {
            let available = if is_low(rate) { Micros::ZERO } else { span };
            let counts = Counts {
                observed: span,
                available,
                ..Counts::default()
            };
            self.add(&counts, now);
        }
    }

    fn sum(&self, of: impl Fn(&Place) -> bool) -> Rate {
        let rates = self.clusters.iter().filter(|it| of(it.0));
        rates.fold((0, 0), |sum, (_, it)| (sum.0 + it.0, sum.1 + it.1))
    }

    fn add(&mut self, counts: &Counts, now: Micros) {
        let age = self.age(now);
        for (rows, length, most) in [
            (&mut self.hours, HOUR, HOURS_MAX),
            (&mut self.days, DAY, DAYS_MAX),
        ] {
            let at = age.0 / length.0;
            if rows.back().is_none_or(|it| it.0 != at) {
                rows.push_back((at, Counts::default()));
            }
            if rows.len() > most {
                rows.pop_front();
            }
            if let Some((_, row)) = rows.back_mut() {
                row.merge(counts);
            }
        }
    }
}

fn is_low((all, active): Rate) -> bool {
    active * 1_000 < all * ACTIVE
}

/// Notes whether something is under the rate; how long it was when it is no more.
fn recovered<K: Ord>(
    low: &mut BTreeMap<K, Micros>,
    key: K,
    is_low: bool,
    now: Micros,
) -> Option<Micros> {
    if is_low {
        low.entry(key).or_insert(now);
        return None;
    }
    low.remove(&key).map(|since| now.since(since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::quorum::{Decision, Tally};

    fn place(cluster: &str) -> Place {
        Place {
            sector: Label::new("s1").expect("a name"),
            cluster: Label::new(cluster).expect("a name"),
        }
    }

    fn minutes(n: u64) -> Micros {
        Micros::from_secs(60 * n)
    }

    fn outcome(ready: u32, conflict: u32, ms: u64) -> Outcome {
        let tally = Tally {
            ready,
            conflict,
            ..Tally::default()
        };
        Outcome {
            tally,
            decision: Decision::Proceed,
            success: conflict == 0,
            elapsed: Micros::from_millis(ms),
        }
    }

    #[test]
    fn operations_are_counted_by_hour_and_by_day() {
        let mut kpis = Kpis::default();
        kpis.ended(&outcome(9, 1, 20), &Table::default(), true, minutes(1));
        kpis.ended(&outcome(10, 0, 40), &Table::default(), false, minutes(61));
        let hour = kpis.window(HOUR, minutes(62));
        assert_eq!((hour.operations, hour.successes), (1, 1));
        assert_eq!(hour.cascade_p95(), None);
        let day = kpis.window(DAY, minutes(62));
        assert_eq!((day.operations, day.successes), (2, 1));
        assert_eq!((day.answers, day.conflicts), (20, 1));
        let p95 = day.cascade_p95().unwrap_or_default();
        assert!(p95.0.abs_diff(20_000) < 700, "{p95}");
        let month = kpis.window(DAY.times(30), minutes(62));
        assert_eq!(month.operations, 2);
        let later = kpis.window(DAY, DAY.times(3));
        assert_eq!(later.operations, 0, "the day before yesterday");
    }

    #[test]
    fn what_was_counted_before_a_restart_is_taken_up_again() {
        let end = |kpis: &mut Kpis, at| {
            kpis.ended(&outcome(9, 1, 20), &Table::default(), true, at);
        };
        let mut before = Kpis::default();
        (0..40).for_each(|hour| end(&mut before, minutes(60 * hour + 1)));
        let rows = || {
            before
                .rows(100)
                .map(|(span, counts)| (span, counts.clone()))
        };
        let after = |age| {
            let mut kpis = Kpis::default();
            kpis.resume(rows(), age);
            end(&mut kpis, minutes(1));
            let of = |span| kpis.window(span, minutes(1)).operations;
            (of(HOUR), of(DAY), of(DAY.times(30)), kpis.age(minutes(1)))
        };
        let age = minutes(60 * 41);
        assert_eq!(after(age), (1, 23, 41, age + minutes(1)), "an hour later");
        assert_eq!(after(minutes(60 * 24 * 7)).2, 41, "a week later");
        assert_eq!(after(minutes(60 * 24 * 60)).2, 1, "two months later");
        // By a clock that has gone back it is the newest hour.
        let newest = minutes(60 * 39);
        assert_eq!(after(Micros::ZERO), (2, 25, 41, newest + minutes(1)));
    }

    #[test]
    fn time_under_the_rate_is_not_available_and_ends_with_a_recovery() {
        let mut kpis = Kpis::default();
        for n in 0..10 {
            let at = place(if n < 5 { "c1" } else { "c2" });
            kpis.changed(at, None, Some(true), minutes(10));
        }
        kpis.changed(place("c1"), Some(true), Some(false), minutes(20));
        assert_eq!(kpis.low().count(), 1);
        kpis.changed(place("c1"), Some(false), Some(true), minutes(24));
        assert_eq!(kpis.low().count(), 0);
        let month = kpis.window(DAY.times(30), minutes(30));
        assert_eq!(
            (month.observed, month.available),
            (minutes(20), minutes(16))
        );
        assert_eq!(
            (month.clusters, month.sectors),
            ((1, minutes(4)), (1, minutes(4)))
        );
        // Who is taken out of the count is missed no more.
        kpis.changed(place("c2"), Some(true), Some(false), minutes(30));
        kpis.changed(place("c2"), Some(false), None, minutes(31));
        assert_eq!(kpis.low().count(), 0);
    }
}
