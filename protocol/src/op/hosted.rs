//! Hosted: the agents of this node, and what was measured of each.

use std::collections::BTreeMap;

use super::census::{Census, Group, Kind, Select};
use super::{Agent, Took};
use crate::arrival::predict::{self, Aim, Prediction};
use crate::ids::{AgentName, Label, NodeId, Place};
use crate::impedance::{Profile, Reading, Weight};
use crate::units::Micros;

/// The agents of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosted(BTreeMap<Label, One>);

#[derive(Debug, Clone)]
struct One {
    kind: Kind,
    profile: Profile,
    /// Questions that it was given and has not answered.
    open: u16,
}

impl Hosted {
    /// These are hosted now; gives those that are no more. What was measured of one that was
    /// hosted before stays.
    pub fn set(&mut self, agents: Vec<Agent>, now: Micros) -> Vec<Label> {
        let mut before = std::mem::take(&mut self.0);
        for Agent {
            name,
            class,
            capabilities,
            context,
        } in agents
        {
            let kind = Kind::new(class, &capabilities);
            let known = before.remove(&name);
            let alike = known.filter(|it| it.kind.class == class);
            let mut one = alike.unwrap_or_else(|| One {
                kind: kind.clone(),
                profile: Profile::new(class),
                open: 0,
            });
            one.kind = kind;
            one.profile.loaded(context);
            one.profile.heard(one.open, now);
            self.0.insert(name, one);
        }
        before.into_keys().collect()
    }

    /// Those of `node`, this one, that a question is for.
    pub fn able(&self, select: &Select, node: NodeId) -> impl Iterator<Item = Label> {
        let meant = move |name: Label| {
            let name = AgentName { node, agent: name };
            select.agent.is_none_or(|it| it == name)
        };
        let able = self.0.iter().filter(|(_, one)| select.is_for(&one.kind));
        able.map(|(name, _)| *name).filter(move |name| meant(*name))
    }

    /// How an agent is expected to do with a message of `weight`, and behind how many others.
    pub fn predict(
        &self,
        agent: &Label,
        weight: Weight,
        aim: Aim,
        window: Micros,
    ) -> Option<(Prediction, u16)> {
        let one = self.0.get(agent)?;
        let prediction = predict::predict(&one.profile, weight, one.open, aim, window);
        Some((prediction, one.open))
    }

    /// An agent was given a question.
    pub fn given(&mut self, agent: &Label) {
        if let Some(one) = self.0.get_mut(agent) {
            one.open = one.open.saturating_add(1);
        }
    }

    /// An agent is done with a question of `weight`, that it was given behind `queue` others.
    pub fn done(
        &mut self,
        agent: &Label,
        took: Option<Took>,
        weight: Weight,
        queue: u16,
        now: Micros,
    ) {
        let Some(one) = self.0.get_mut(agent) else {
            return;
        };
        one.open = one.open.saturating_sub(1);
        let profile = &mut one.profile;
        profile.heard(one.open, now);
        profile.ended(took.is_some(), now);
        if let Some(took) = took {
            profile.waited(queue, took.waited);
            profile.processed(took.worked, weight);
        }
    }

    /// An agent is done with a question of which nothing is kept any more.
    pub fn forgotten(&mut self, agent: &Label, now: Micros) {
        if let Some(one) = self.0.get_mut(agent) {
            one.open = one.open.saturating_sub(1);
            one.profile.heard(one.open, now);
        }
    }

    /// A message was READY `actual` after it was sent.
    pub fn learn(&mut self, agent: &Label, prediction: &Prediction, actual: Micros) {
        if let Some(one) = self.0.get_mut(agent) {
            predict::learn(&mut one.profile, prediction, actual);
        }
    }

    /// An agent's command has ended so often without an answer in between.
    pub fn crashed(&mut self, agent: &Label, ends: u32) {
        if let Some(one) = self.0.get_mut(agent) {
            one.profile.crashed(ends);
        }
    }

    /// An agent gave back an echo.
    pub fn echoed(&mut self, agent: &Label, elapsed: Micros, held: Micros, now: Micros) {
        if let Some(one) = self.0.get_mut(agent) {
            one.profile.echoed(elapsed, held);
            one.profile.heard(one.open, now);
        }
    }

    /// What a mesh is told of each of them, that stand at `place`.
    pub fn readings(&self, place: Place, now: Micros) -> impl Iterator<Item = (Label, Reading)> {
        self.0.iter().map(move |(name, one)| {
            let can = one.kind.capabilities.clone();
            (*name, Reading::of(&one.profile, place, can, now))
        })
    }

    /// How many of which kind they are, and how soon READY.
    pub fn census(&self) -> Census {
        let mut kinds: BTreeMap<&Kind, Group> = BTreeMap::new();
        for one in self.0.values() {
            let window = Micros::ZERO;
            let prediction = predict::predict(
                &one.profile,
                Weight::STANDARD,
                one.open,
                Aim::HELD_95,
                window,
            );
            let group = kinds.entry(&one.kind).or_default();
            group.add(prediction.lead.0.div_ceil(1_000));
        }
        let kinds = kinds.into_iter().map(|(kind, it)| (kind.clone(), it));
        Census {
            nodes: vec![1],
            kinds: kinds.collect(),
        }
    }
}
