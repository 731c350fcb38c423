//! Readings: what is known of each agent here and beneath, and what of that the parent is told (MESH-30K,
//! 2.3 and 4.3).
//!
//! Each node keeps a registry of all agents beneath it, so the top has the whole mesh and a sector
//! that is cut off has itself. A row goes up when it has changed, a quarter of a second after the
//! rows before it at the soonest. Whoever a child spoke for is offline when the child is gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::census::Kind;
use super::kpi::Kpis;
use crate::ids::{AgentName, Incarnation, NodeId};
use crate::impedance::faults::{Fault, faults};
use crate::impedance::summary::Tally;
use crate::impedance::{Reading, Registry, State};
use crate::units::Micros;

/// Most agents that a registry holds.
pub const ROWS_MAX: usize = 60_000;
/// Most rows of one word, so that it fits a frame, and most words at once.
const WORD_ROWS_MAX: usize = 64;
const WORDS_MAX: usize = 16;
/// Most words of nodes that are no children yet.
const EARLY_WORDS_MAX: usize = 128;
/// Between two times at which the parent is told.
const PACE: Micros = Micros::from_millis(250);
/// Between two points of the history, and how many are kept: the last hour.
const HISTORY_EVERY: Micros = Micros::from_secs(10);
const HISTORY_MAX: usize = 360;
/// After so long an agent that is offline is forgotten.
const FORGET_AFTER: Micros = Micros::from_secs(3_600);
/// A Z that is off by more than this part of itself and a millisecond is news.
const NEWS_PARTS: u32 = 20;

/// The mesh beneath a node at one moment, for trends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When.
    pub at: Micros,
    /// Agents, and those of them that are given work.
    pub count: u32,
    /// The latter.
    pub active: u32,
    /// The mean score of those that answer.
    pub mean: Option<f64>,
}

/// The registry of one node.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    registry: Registry,
    /// Through which child an agent is reached; one that is not here is of this node.
    via: BTreeMap<AgentName, NodeId>,
    /// What those were whose child is gone; they are that again when it is back.
    before: BTreeMap<AgentName, State>,
    /// Words of nodes that are no children yet, the oldest first: they may be here before it is known
    /// that those are.
    early: VecDeque<(NodeId, Vec<(AgentName, Reading)>)>,
    /// What the parent has not been told.
    untold: BTreeSet<AgentName>,
    parent: Option<(NodeId, Incarnation)>,
    told_at: Micros,
    history: VecDeque<Point>,
    faults: Vec<Fault>,
    kpis: Kpis,
    /// Rows for which there was no room.
    dropped: u64,
}

impl Readings {
    /// The rows.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Rows for which there was no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The child through which an agent is reached; `None` of one of this node.
    pub fn via(&self, agent: &AgentName) -> Option<NodeId> {
        self.via.get(agent).copied()
    }

    /// The last hour, the oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Point> {
        self.history.iter()
    }

    /// The mean score of those that answer, as it was last taken.
    pub fn mean_ms(&self) -> Option<f64> {
        self.history.back().and_then(|it| it.mean)
    }

    /// What is wrong with agents, as it was last looked at.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What operations came to, and how long agents were there.
    pub fn kpis(&self) -> &Kpis {
        &self.kpis
    }

    /// The same, to count an operation.
    pub(super) fn kpis_mut(&mut self) -> &mut Kpis {
        &mut self.kpis
    }

    /// An agent of this node as it is measured now.
    pub(super) fn measured(&mut self, agent: AgentName, reading: Reading, now: Micros) {
        let known = self.registry.get(&agent);
        if known.is_none_or(|it| is_news(it, &reading)) {
            self.keep(agent, reading, now);
        }
    }

    /// An agent of this node is hosted no more.
    pub(super) fn leaves(&mut self, agent: AgentName, now: Micros) {
        self.offline(&[agent], now);
    }

    /// A child's word on agents beneath it. False when it is not taken.
    pub(super) fn told(
        &mut self,
        child: NodeId,
        me: NodeId,
        rows: Vec<(AgentName, Reading)>,
        now: Micros,
    ) -> bool {
        if rows.len() > WORD_ROWS_MAX || rows.iter().any(|it| it.0.node == me) {
            return false;
        }
        for (agent, reading) in rows {
            let other = self.via.get(&agent).is_some_and(|it| *it != child);
            // It has moved to another child: the one before lost sight of it, and says so.
            if other && reading.state == State::Offline {
                continue;
            }
            if self.registry.get(&agent).is_none() && self.registry.len() >= ROWS_MAX {
                self.dropped += 1;
                continue;
            }
            self.via.insert(agent, child);
            self.before.remove(&agent);
            self.keep(agent, reading, now);
        }
        true
    }

    /// The word of a node that is no child, or not yet. It takes the room of the oldest such words:
    /// who was to become a child has become one since. False when it is too long.
    pub(super) fn early(&mut self, node: NodeId, rows: Vec<(AgentName, Reading)>) -> bool {
        if rows.len() > WORD_ROWS_MAX {
            return false;
        }
        self.early.push_back((node, rows));
        while self.early.len() > EARLY_WORDS_MAX {
            let oldest = self.early.pop_front();
            self.dropped += oldest.map_or(0, |it| it.1.len() as u64);
        }
        true
    }

    /// A node is a child from now on, perhaps again.
    pub(super) fn comes(&mut self, child: NodeId, me: NodeId, now: Micros) {
        for agent in self.of(child) {
            let back = self.before.remove(&agent).zip(self.registry.get(&agent));
            if let Some((state, reading)) = back {
                let reading = Reading {
                    state,
                    ..reading.clone()
                };
                self.keep(agent, reading, now);
            }
        }
        let (its, others) = std::mem::take(&mut self.early)
            .into_iter()
            .partition(|it| it.0 == child);
        self.early = others;
        for (_, rows) in its {
            self.told(child, me, rows, now);
        }
    }

    /// A child is gone, and whom it spoke for with it.
    pub(super) fn gone(&mut self, child: NodeId, now: Micros) {
        let its = self.of(child);
        for agent in &its {
            if let Some(reading) = self.registry.get(agent) {
                self.before.insert(*agent, reading.state);
            }
        }
        self.offline(&its, now);
    }

    /// Those beneath a child that are there.
    pub(super) fn live(&self, child: NodeId) -> Vec<(AgentName, Kind)> {
        let its = self.of(child).into_iter();
        let kind = |agent: AgentName| {
            let reading = self.registry.get(&agent)?;
            let kind = || Kind::new(reading.class, &reading.capabilities);
            (reading.state != State::Offline).then(|| (agent, kind()))
        };
        its.filter_map(kind).collect()
    }

    /// Those for whom a child speaks.
    fn of(&self, child: NodeId) -> Vec<AgentName> {
        let its = self.via.iter().filter(|(_, via)| **via == child);
        its.map(|(agent, _)| *agent).collect()
    }

    /// Another parent, or another run of it, knows nothing yet.
    pub(super) fn stand(&mut self, parent: Option<(NodeId, Incarnation)>) {
        if parent != self.parent {
            self.parent = parent;
            self.untold = self.registry.iter().map(|(agent, _)| *agent).collect();
        }
    }

    /// When [`Self::say`] is of use.
    pub(super) fn next_deadline(&self) -> Micros {
        match self.untold.is_empty() || self.parent.is_none() {
            true => Micros::NEVER,
            false => self.told_at + PACE,
        }
    }

    /// What the parent is told now.
    pub(super) fn say(&mut self, now: Micros) -> Vec<(NodeId, Vec<(AgentName, Reading)>)> {
        self.note(now);
        let Some((parent, _)) = self.parent else {
            self.untold.clear();
            return Vec::new();
        };
        if now < self.next_deadline() {
            return Vec::new();
        }
        self.told_at = now;
        let mut words = Vec::new();
        while words.len() < WORDS_MAX && !self.untold.is_empty() {
            let some: Vec<AgentName> = self.untold.iter().take(WORD_ROWS_MAX).copied().collect();
            let row = |agent: &AgentName| Some((*agent, self.registry.get(agent)?.clone()));
            words.push((parent, some.iter().filter_map(row).collect()));
            some.iter().for_each(|agent| {
                self.untold.remove(agent);
            });
        }
        words
    }

    /// Takes a point of the history, if it is time.
    fn note(&mut self, now: Micros) {
        let last = self.history.back();
        if last.is_some_and(|it| now < it.at + HISTORY_EVERY) || self.registry.is_empty() {
            return;
        }
        self.forget(now);
        self.kpis.observe(now);
        self.faults = faults(&self.registry);
        let mut tally = Tally::default();
        let rows = self.registry.iter();
        rows.for_each(|(agent, reading)| tally.add(*agent, reading));
        self.history.push_back(Point {
            at: now,
            count: tally.count,
            active: tally.active,
            mean: tally.mean(),
        });
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
    }

    /// Whoever was not heard of for long is missed no more.
    fn forget(&mut self, now: Micros) {
        for agent in self.registry.silent(FORGET_AFTER, now) {
            if let Some(reading) = self.registry.get(&agent) {
                let (place, live) = (reading.place, reading.is_live());
                self.kpis.changed(place, Some(live), None, now);
            }
            self.registry.remove(&agent);
            self.via.remove(&agent);
            self.before.remove(&agent);
            self.untold.remove(&agent);
        }
    }

    fn offline(&mut self, agents: &[AgentName], now: Micros) {
        for agent in agents {
            if let Some(reading) = self.registry.get(agent) {
                let state = State::Offline;
                let reading = Reading {
                    state,
                    ..reading.clone()
                };
                self.keep(*agent, reading, now);
            }
        }
    }

    fn keep(&mut self, agent: AgentName, reading: Reading, now: Micros) {
        let (place, live) = (reading.place, reading.is_live());
        let before = self.registry.get(&agent);
        let moved = before.filter(|it| it.place != place);
        if let Some((place, live)) = moved.map(|it| (it.place, it.is_live())) {
            self.kpis.changed(place, Some(live), None, now);
        }
        let before = before.filter(|it| it.place == place).map(Reading::is_live);
        self.kpis.changed(place, before, Some(live), now);
        self.registry.update(agent, reading, now);
        self.untold.insert(agent);
    }
}

/// Whether it matters to whoever chooses among agents.
fn is_news(before: &Reading, now: &Reading) -> bool {
    let standing = |it: &Reading| (it.class, it.place, it.state, it.flags, it.context);
    let off = before.z_ms.abs_diff(now.z_ms);
    standing(before) != standing(now)
        || before.capabilities != now.capabilities
        || off > 1 + before.z_ms / NEWS_PARTS
}
