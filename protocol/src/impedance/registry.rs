//! Registry: the newest reading of every agent, and who is best for what (seed 2.3, 4.2, 4.3; F4, F14, F15).
//!
//! Each coordinator holds one for the whole mesh. Those that may be given work stand in ordered
//! sets, by what they can do, by cluster and by class, each by (Z in ms, name). So the best of
//! 30,000 is the first of a set, and the next best come after it one by one:
//!
//! | asked | costs |
//! |---|---|
//! | the N best that can do a thing | O(log agents + N) |
//! | that can do several things | a walk of the smallest of their sets |
//! | the best of a cluster | a walk of the cluster, at most 100 |
//! | an update that moves an agent | O(capabilities · log agents); without a move O(log agents) |
//!
//! Invariants: an agent is in its sets exactly if its reading says active; a person is a candidate
//! only for who asks for class F. Which of two readings of an agent is the newer is for the gate of who said it to
//! decide, not for this; the answer is the same for every order of updates of different agents.
//!
//! An agent takes about 0.6 KB here with three capabilities: 19 MB for 30,000.

use std::collections::{BTreeMap, BTreeSet, btree_set};
use std::iter::Peekable;

use super::class::Class;
use super::profile::OFFLINE_AFTER;
use super::reading::Reading;
use super::score::{Score, State};
use super::summary::{Cluster, Tally};
use crate::ids::{AgentName, Label, Place};
use crate::trust::item::CAPS_MAX;
use crate::units::Micros;

/// An agent that may be given work, as the sets order them: the lower Z, then the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Z in whole milliseconds at weight 1, not capped.
    pub z_ms: u32,
    /// Who.
    pub agent: AgentName,
}

/// What a message needs of whom it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'a> {
    /// All of these it can do.
    pub capabilities: &'a [Label],
    /// Of this class; `None` is any but people, who have a time scale of their own.
    pub class: Option<Class>,
    /// The highest Z that will do, in milliseconds; `None` is any.
    pub z_ms_max: Option<u32>,
}

impl<'a> Need<'a> {
    /// Anybody who can do all of `capabilities`, under the seed's cap of 500.
    pub const fn of(capabilities: &'a [Label]) -> Self {
        Self {
            capabilities,
            class: None,
            z_ms_max: Some(Score::CAP.get() as u32),
        }
    }

    /// An agent of `class`, however slow; the only way to be given a person.
    pub const fn of_class(class: Class, capabilities: &'a [Label]) -> Self {
        Self {
            capabilities,
            class: Some(class),
            z_ms_max: None,
        }
    }

    /// The same under another cap.
    pub const fn up_to(self, z_ms_max: Option<u32>) -> Self {
        Self { z_ms_max, ..self }
    }

    fn is_met_by(&self, reading: &Reading) -> bool {
        let is_of_class = match self.class {
            Some(class) => reading.class == class,
            None => !reading.class.is_human(),
        };
        let can = |capability| reading.capabilities.binary_search(capability).is_ok();
        is_of_class && self.capabilities.iter().all(can)
    }
}

/// An agent's row.
#[derive(Debug, Clone)]
struct Row {
    reading: Reading,
    told_at: Micros,
}

/// A set that candidates stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Can(Label),
    In(Place),
    Of(Class),
}

/// The registry. See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    rows: BTreeMap<AgentName, Row>,
    sets: BTreeMap<Key, BTreeSet<Candidate>>,
}

impl Registry {
    /// How many agents are known.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The newest reading of an agent.
    pub fn get(&self, agent: &AgentName) -> Option<&Reading> {
        self.rows.get(agent).map(|row| &row.reading)
    }

    /// All agents in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&AgentName, &Reading)> {
        self.rows.iter().map(|(agent, row)| (agent, &row.reading))
    }

    /// The agents that meet `need`, best first. Take as many as are wanted: what is not taken
    /// costs nothing. A caller that knows of open breakers filters here.
    pub fn candidates<'a>(&'a self, need: Need<'a>) -> impl Iterator<Item = Candidate> + 'a {
        let can = need
            .capabilities
            .iter()
            .map(|capability| Key::Can(*capability));
        let smallest = can
            .chain(need.class.map(Key::Of))
            .map(|key| self.sets.get(&key))
            .min_by_key(|set| set.map_or(0, BTreeSet::len));
        // Nothing narrows it: the classes but people's, merged.
        let sets: Vec<_> = match smallest {
            Some(set) => set.into_iter().collect(),
            None => Class::ALL
                .iter()
                .filter(|class| !class.is_human())
                .filter_map(|class| self.sets.get(&Key::Of(*class)))
                .collect(),
        };
        self.first(merged(sets), need)
    }

    /// The best agent of a cluster that meets `need` (F14).
    pub fn best_in_cluster(&self, place: Place, need: Need<'_>) -> Option<Candidate> {
        let set = self.sets.get(&Key::In(place));
        self.first(merged(set.into_iter().collect()), need).next()
    }

    /// The best `count` agents of the whole mesh that meet `need` (F15).
    pub fn best(&self, count: usize, need: Need<'_>) -> Vec<Candidate> {
        self.candidates(need).take(count).collect()
    }

    /// Each cluster as it is, in the order of their places. O(agents).
    pub fn clusters(&self) -> Vec<Cluster> {
        let mut tallies = BTreeMap::<Place, Tally>::new();
        for (agent, reading) in self.iter() {
            tallies
                .entry(reading.place)
                .or_default()
                .add(*agent, reading);
        }
        let cluster = |(place, tally)| Cluster { place, tally };
        tallies.into_iter().map(cluster).collect()
    }

    /// Takes what was told of `agent` at `now`. Of more than [`CAPS_MAX`] capabilities the first
    /// that many in order count.
    pub fn update(&mut self, agent: AgentName, mut reading: Reading, now: Micros) {
        reading.capabilities.sort_unstable();
        reading.capabilities.dedup();
        reading.capabilities.truncate(CAPS_MAX);
        let row = Row {
            reading,
            told_at: now,
        };
        let is_moved = match self.rows.get(&agent) {
            Some(old) => !stand_alike(&old.reading, &row.reading),
            None => true,
        };
        if !is_moved {
            self.rows.insert(agent, row);
            return;
        }
        self.remove(&agent);
        for key in keys(&row.reading) {
            let set = self.sets.entry(key).or_default();
            set.insert(candidate(agent, &row.reading));
        }
        self.rows.insert(agent, row);
    }

    /// Forgets an agent; false if it was not known.
    pub fn remove(&mut self, agent: &AgentName) -> bool {
        let Some(row) = self.rows.remove(agent) else {
            return false;
        };
        for key in keys(&row.reading) {
            if let Some(set) = self.sets.get_mut(&key) {
                set.remove(&candidate(*agent, &row.reading));
                if set.is_empty() {
                    self.sets.remove(&key);
                }
            }
        }
        true
    }

    /// Who was not told of for [`OFFLINE_AFTER`] goes offline; gives those that just did. Ask
    /// once a second or so: O(agents).
    pub fn expire(&mut self, now: Micros) -> Vec<AgentName> {
        let is_silent = |row: &Row| {
            let is_live = row.reading.is_live();
            is_live && now.since(row.told_at) > OFFLINE_AFTER
        };
        let silent = self.rows.iter().filter(|(_, row)| is_silent(row));
        let silent: Vec<AgentName> = silent.map(|(agent, _)| *agent).collect();
        for agent in &silent {
            if let Some(row) = self.rows.get(agent) {
                let (told_at, state) = (row.told_at, State::Offline);
                let reading = Reading {
                    state,
                    ..row.reading.clone()
                };
                self.update(*agent, reading, told_at);
            }
        }
        silent
    }

    /// Those that are offline, and of which nothing was told for longer than `span`.
    pub fn silent(&self, span: Micros, now: Micros) -> Vec<AgentName> {
        let is_silent =
            |row: &Row| row.reading.state == State::Offline && now.since(row.told_at) > span;
        let silent = self.rows.iter().filter(|(_, row)| is_silent(row));
        silent.map(|(agent, _)| *agent).collect()
    }

    /// Those of `candidates` that meet `need`, as far as its cap.
    fn first<'a>(
        &'a self,
        candidates: impl Iterator<Item = Candidate> + 'a,
        need: Need<'a>,
    ) -> impl Iterator<Item = Candidate> + 'a {
        let cap = need.z_ms_max.unwrap_or(u32::MAX);
        candidates
            .take_while(move |candidate| candidate.z_ms <= cap)
            .filter(move |candidate| {
                self.get(&candidate.agent)
                    .is_some_and(|reading| need.is_met_by(reading))
            })
    }
}

fn candidate(agent: AgentName, reading: &Reading) -> Candidate {
    Candidate {
        z_ms: reading.z_ms,
        agent,
    }
}

/// The sets that an agent of this reading stands in.
fn keys(reading: &Reading) -> Vec<Key> {
    if reading.state != State::Active {
        return Vec::new();
    }
    let can = reading
        .capabilities
        .iter()
        .map(|capability| Key::Can(*capability));
    can.chain([Key::In(reading.place), Key::Of(reading.class)])
        .collect()
}

/// Whether both readings of an agent stand at the same places of the same sets.
fn stand_alike(a: &Reading, b: &Reading) -> bool {
    let standing = |it: &Reading| (it.z_ms, it.class, it.place, it.state);
    standing(a) == standing(b) && a.capabilities == b.capabilities
}

/// Several ordered sets as one.
fn merged<'a>(sets: Vec<&'a BTreeSet<Candidate>>) -> impl Iterator<Item = Candidate> + 'a {
    let mut heads: Vec<_> = sets.into_iter().map(|set| set.iter().peekable()).collect();
    std::iter::from_fn(move || {
        let next = |head: &mut Peekable<btree_set::Iter<'a, Candidate>>| head.peek().copied();
        let least = heads
            .iter_mut()
            .filter_map(|head| Some((next(head)?, head)));
        let (_, head) = least.min_by_key(|(candidate, _)| *candidate)?;
        head.next().copied()
    })
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
