//! Summaries of a cluster, a sector and the mesh (seed 4.2, 4.3; F12).
//!
//! All three stand on one [`Tally`] that merges: a sector's is the sum of its clusters', the
//! mesh's of its sectors'. Counts, sums and so means are exact. The 95th percentile comes from a
//! histogram and is at most one part in 32 off, exact below 32 ms (see [`super::histogram`]); one
//! made of percentiles, as in the seed, is off by any amount.
//!
//! Everybody counts. Scores are of those that answer (active and degraded) and are no people:
//! the score of who is silent is old, and people's is always 1,000, which at the seed's 2,000 of
//! 30,000 would be the 95th percentile of every mesh.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::reading::Reading;
use super::score::{Score, State};
use crate::ids::{AgentName, ClusterId, Place, SectorId};

/// A sector is healthy when more than this share of its agents is active (seed 4.3).
pub const HEALTHY: f64 = 0.95;

/// Bins of the scores: 0 to 1,023.
const BINS: usize = 112;

/// An agent by its score; ordered by score, then by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ranked {
    /// Its score.
    pub score: Score,
    /// Who.
    pub agent: AgentName,
}

/// What merges. 592 bytes here; on the wire the histogram's empty bins cost nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All agents.
    pub count: u32,
    /// Those that are given work.
    pub active: u32,
    /// Σ of the scores.
    pub sum: u64,
    /// The scores.
    pub scores: Histogram<BINS>,
    /// Of those with a score, the lowest; of equals the first by name.
    pub fastest: Option<Ranked>,
    /// The highest; of equals the last by name.
    pub slowest: Option<Ranked>,
}

impl Tally {
    /// Counts an agent.
    pub fn add(&mut self, agent: AgentName, reading: &Reading) {
        self.count = self.count.saturating_add(1);
        let is_active = reading.state == State::Active;
        self.active = self.active.saturating_add(u32::from(is_active));
        if reading.class.is_human() || !reading.is_live() {
            return;
        }
        let score = reading.score();
        let ranked = Some(Ranked { score, agent });
        self.sum = self.sum.saturating_add(score.get().into());
        self.scores.add(score.get().into());
        self.rank(ranked, ranked);
    }

    /// Counts all that `other` counted.
    pub fn merge(&mut self, other: &Tally) {
        self.count = self.count.saturating_add(other.count);
        self.active = self.active.saturating_add(other.active);
        self.sum = self.sum.saturating_add(other.sum);
        self.scores.merge(&other.scores);
        self.rank(other.fastest, other.slowest);
    }

    /// The mean score; `None` when nobody has one.
    pub fn mean(&self) -> Option<f64> {
        let scored = self.scores.total();
        (scored > 0).then(|| self.sum as f64 / scored as f64)
    }

    /// The 95th percentile of the scores, to one part in 32.
    pub fn p95(&self) -> Option<Score> {
        let p95 = self.scores.quantile(0.95)?;
        Some(Score::of_millis(p95 as f32))
    }

    /// The share that is given work; `None` of nobody.
    pub fn active_rate(&self) -> Option<f64> {
        (self.count > 0).then(|| f64::from(self.active) / f64::from(self.count))
    }

    fn rank(&mut self, fastest: Option<Ranked>, slowest: Option<Ranked>) {
        self.fastest = self.fastest.into_iter().chain(fastest).min();
        self.slowest = self.slowest.into_iter().chain(slowest).max();
    }
}

/// A cluster, by its lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Which.
    pub place: Place,
    /// Its agents.
    pub tally: Tally,
}

/// A cluster by the mean of its scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Which.
    pub cluster: ClusterId,
    /// Its mean score.
    pub mean: f64,
}

/// A sector, by its coordinator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sector {
    /// Which.
    pub sector: SectorId,
    /// How many clusters were summed.
    pub clusters: u32,
    /// All their agents.
    pub tally: Tally,
    /// The cluster with the lowest mean; of equals the first by name.
    pub healthiest: Option<Standing>,
    /// The one with the highest; of equals the last by name.
    pub sickest: Option<Standing>,
}

impl Sector {
    /// Sums those of `clusters` that stand in `sector`.
    pub fn of<'a>(sector: SectorId, clusters: impl IntoIterator<Item = &'a Cluster>) -> Self {
        let mut summary = Self {
            sector,
            clusters: 0,
            tally: Tally::default(),
            healthiest: None,
            sickest: None,
        };
        let mut standings = Vec::new();
        for cluster in clusters.into_iter().filter(|it| it.place.sector == sector) {
            summary.clusters += 1;
            summary.tally.merge(&cluster.tally);
            let cluster_id = cluster.place.cluster;
            standings.extend(cluster.tally.mean().map(|mean| Standing {
                cluster: cluster_id,
                mean,
            }));
        }
        standings.sort_by(|a, b| a.mean.total_cmp(&b.mean).then(a.cluster.cmp(&b.cluster)));
        (summary.healthiest, summary.sickest) =
            (standings.first().copied(), standings.last().copied());
        summary
    }

    /// Whether more than [`HEALTHY`] of its agents are active; an empty sector is not.
    pub fn is_healthy(&self) -> bool {
        self.tally.active_rate().is_some_and(|rate| rate > HEALTHY)
    }
}

/// The whole mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mesh {
    /// All agents.
    pub tally: Tally,
    /// Sectors with more than [`HEALTHY`] of their agents active.
    pub sectors_healthy: u32,
    /// All others.
    pub sectors_degraded: u32,
}

impl Mesh {
    /// Sums sectors.
    pub fn of<'a>(sectors: impl IntoIterator<Item = &'a Sector>) -> Self {
        let mut mesh = Self::default();
        for sector in sectors {
            mesh.tally.merge(&sector.tally);
            match sector.is_healthy() {
                true => mesh.sectors_healthy += 1,
                false => mesh.sectors_degraded += 1,
            }
        }
        mesh
    }
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
