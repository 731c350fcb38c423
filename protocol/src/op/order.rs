//! Order: what neighbours in the tree say to each other about operations, as commands that must
//! arrive.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::answers::{Answers, Unready};
use super::gather::Part;
use crate::ids::{Incarnation, Label, NodeId};

/// Most bytes of a question.
pub const QUESTION_BYTES_MAX: usize = 32 * 1024;
/// Most agents that one node answers for.
pub const AGENTS_MAX: u32 = 1_000_000;
/// Most capabilities that a node tells of what is beneath it.
pub const CAPABILITIES_MAX: usize = 256;

/// An operation: who began it, in which run, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationId {
    /// The node that began it.
    pub origin: NodeId,
    /// The run of that node.
    pub run: Incarnation,
    /// Its number in that run, from 1 on.
    pub number: u64,
}

/// An agent: the node that hosts it, and its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentName {
    /// The host.
    pub node: NodeId,
    /// The name in the host's configuration.
    pub agent: Label,
}

/// Which agents are asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select {
    /// Only those that can do this; `None`: all.
    pub capability: Option<Label>,
}

/// What agents are asked, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Which operation it is.
    pub operation: OperationId,
    /// Who is asked.
    pub select: Select,
    /// How much of the window is left when this is sent, microseconds.
    pub left_us: u64,
    /// The question, at most [`QUESTION_BYTES_MAX`].
    #[serde(with = "serde_bytes")]
    pub question: Vec<u8>,
}

/// How far the agents beneath the sender, and its own, are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Which operation.
    pub operation: OperationId,
    /// How many agents it is about.
    pub expected: u32,
    /// What they have said.
    pub part: Part,
    /// Their answers.
    pub answers: Answers,
    /// Who of them is not ready.
    pub unready: Unready,
}

/// How many agents there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// All.
    pub agents: u32,
    /// By what they can do, in order; at most [`CAPABILITIES_MAX`].
    pub by_capability: Vec<(Label, u32)>,
}

impl Census {
    /// Of the agents of a node, by what each can do, and of those beneath it.
    pub fn sum<'a>(
        own: impl Iterator<Item = &'a [Label]>,
        below: impl Iterator<Item = &'a Census>,
    ) -> Census {
        let mut agents = 0u32;
        let mut by_capability: BTreeMap<Label, u32> = BTreeMap::new();
        for capabilities in own {
            agents = agents.saturating_add(1);
            for capability in capabilities.iter().collect::<BTreeSet<_>>() {
                *by_capability.entry(*capability).or_default() += 1;
            }
        }
        for census in below {
            agents = agents.saturating_add(census.agents);
            for (capability, many) in &census.by_capability {
                let sum = by_capability.entry(*capability).or_default();
                *sum = sum.saturating_add(*many);
            }
        }
        let agents = agents.min(AGENTS_MAX);
        let by_capability = by_capability.into_iter().take(CAPABILITIES_MAX);
        Census {
            agents,
            by_capability: by_capability
                .map(|(capability, many)| (capability, many.min(agents)))
                .collect(),
        }
    }

    /// How many of them are asked.
    pub fn count(&self, select: &Select) -> u32 {
        let Some(capability) = &select.capability else {
            return self.agents;
        };
        let found = self
            .by_capability
            .binary_search_by_key(capability, |it| it.0);
        found.map_or(0, |at| self.by_capability[at].1)
    }

    /// Whether it is in order and within its limits.
    pub fn is_sound(&self) -> bool {
        let ordered = self.by_capability.is_sorted_by(|a, b| a.0 < b.0);
        let within = self.by_capability.iter().all(|it| it.1 <= self.agents);
        let bounded = self.agents <= AGENTS_MAX && self.by_capability.len() <= CAPABILITIES_MAX;
        ordered && within && bounded
    }
}

/// What is said, and which way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Up: how many agents there are at the sender and beneath it. Said to each new parent, and
    /// again when it changes.
    Have(Census),
    /// Down: "ask them".
    Ask(Ask),
    /// Up: how far they are. The whole of it each time; it only grows.
    Said(Said),
}
