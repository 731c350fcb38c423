//! The parts of the field that were heard, and their sums up and down the tree.
//!
//! Every part is kept as it came, with the time of its arrival, and is rotated
//! to the present whenever it is used, by the frequency of the widest sum known:
//! what is locked moves with that, and a part turned by its own would pull all. A part goes stale with the gate's weight
//! and leaves with the phase TTL. Parts in one sum are disjoint, because a node
//! has one parent: children's parts and one's own make the sum of the subtree.
//! Wider sums come from above and replace it for coupling; they are never added
//! to it.

use std::collections::BTreeMap;

use crate::ids::NodeId;
use crate::phase::field::{PartialSum, Scope, Sum};
use crate::phase::gate::Gate;
use crate::units::Micros;

use super::Config;

/// One part, as it came.
#[derive(Debug, Clone)]
struct Part {
    sum: Sum,
    /// Its age when it arrived: the sender's, and half the link's round trip.
    age: Micros,
    arrived: Micros,
    gate: Gate,
}

/// The parts heard.
#[derive(Debug, Clone, Default)]
pub(super) struct Field {
    children: BTreeMap<NodeId, Part>,
    siblings: BTreeMap<NodeId, Part>,
    /// From the parent: its own sum, then those of wider scopes.
    above: Vec<Part>,
    /// How many parts left by the TTL.
    pub expired: u64,
}

/// Whose part it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Child,
    Sibling,
}

impl Part {
    fn age_at(&self, now: Micros) -> Micros {
        self.age + now.since(self.arrived)
    }
    fn at(&self, now: Micros) -> PartialSum {
        self.sum.part.rotated(self.age_at(now))
    }
    /// As it came, with the age that it has now.
    fn aged(&self, now: Micros) -> PartialSum {
        PartialSum {
            age: self.age_at(now),
            ..self.sum.part
        }
    }
}

impl Field {
    /// Takes the newest part of a child or sibling.
    pub fn put(&mut self, whose: Whose, node: NodeId, sum: Sum, age: Micros, now: Micros) {
        let parts = match whose {
            Whose::Child => &mut self.children,
            Whose::Sibling => &mut self.siblings,
        };
        let gate = parts
            .get(&node)
            .map_or_else(Gate::default, |part| part.gate);
        parts.insert(
            node,
            Part {
                sum,
                age,
                arrived: now,
                gate,
            },
        );
    }

    /// Takes what the parent says: the sums of its scope and of wider ones.
    pub fn put_above(&mut self, sums: Vec<(Sum, Micros)>, now: Micros) {
        self.above = sums
            .into_iter()
            .map(|(sum, age)| Part {
                sum,
                age,
                arrived: now,
                gate: Gate::default(),
            })
            .collect();
    }

    /// The parent is no more.
    pub fn clear_above(&mut self) {
        self.above.clear();
    }

    /// A child or sibling is no more; whether it had a part.
    pub fn remove(&mut self, node: &NodeId) -> bool {
        self.children.remove(node).is_some() | self.siblings.remove(node).is_some()
    }

    /// How many nodes each part of these is said to hold.
    pub fn heads(&self, whose: Whose) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        let parts = match whose {
            Whose::Child => &self.children,
            Whose::Sibling => &self.siblings,
        };
        parts
            .iter()
            .map(|(node, part)| (*node, part.sum.part.members))
    }

    /// Lets `elapsed` pass: parts go stale or recover, and expired ones leave.
    pub fn step(&mut self, config: &Config, elapsed: Micros, now: Micros) {
        let ttl = config.phase_ttl;
        let mut expired = 0;
        for parts in [&mut self.children, &mut self.siblings] {
            parts.retain(|_, part| {
                let silent = now.since(part.arrived);
                let keep = part.gate.step(&config.gate, silent, elapsed);
                expired += u64::from(!keep);
                keep
            });
        }
        self.above.retain(|part| now.since(part.arrived) <= ttl);
        self.expired += expired;
    }

    /// What was not heard because we were asleep is not held against anyone.
    pub fn forgive(&mut self, span: Micros) {
        let parts = self.children.values_mut().chain(self.siblings.values_mut());
        for part in parts.chain(&mut self.above) {
            // The age must stay true: only the silence is forgiven.
            part.age = part.age + span;
            part.arrived = part.arrived + span;
        }
    }

    /// The sum over one's own subtree: `own` and the children's parts, as of now.
    pub fn subtree(&self, own: PartialSum, now: Micros) -> PartialSum {
        self.merge(own, self.children.values(), now)
    }

    /// The sum over `subtree` and the siblings' parts, for the time without a parent.
    pub fn with_siblings(&self, subtree: PartialSum, now: Micros) -> PartialSum {
        self.merge(subtree, self.siblings.values(), now)
    }

    /// Whether any sibling's part is fresh.
    pub fn has_siblings(&self) -> bool {
        !self.siblings.is_empty()
    }

    /// The sums from above, rotated to now, narrowest first.
    pub fn above(&self, now: Micros) -> impl DoubleEndedIterator<Item = Sum> + '_ {
        self.above.iter().map(move |part| Sum {
            scope: part.sum.scope,
            part: part.at(now),
        })
    }

    /// The sums from above as they came, with the age they have now, to be passed on.
    pub fn relay(&self, now: Micros) -> Vec<Sum> {
        let aged = |part: &Part| Sum {
            scope: part.sum.scope,
            part: part.aged(now),
        };
        self.above.iter().map(aged).collect()
    }

    /// The mean natural frequency that a child tells, rad/s: of a leaf its own.
    pub fn omega_of(&self, child: &NodeId) -> Option<f64> {
        Some(self.children.get(child)?.sum.part.mean_omega())
    }

    /// The children's parts as of now, for a look at locked groups.
    pub fn children(&self, now: Micros) -> Vec<(Scope, PartialSum)> {
        self.children
            .values()
            .map(|part| (part.sum.scope, part.at(now)))
            .collect()
    }

    fn merge<'a>(
        &self,
        own: PartialSum,
        parts: impl Iterator<Item = &'a Part>,
        now: Micros,
    ) -> PartialSum {
        let aged = parts.map(|part| part.aged(now).scaled(part.gate.weight()));
        let all: Vec<PartialSum> = std::iter::once(own).chain(aged).collect();
        match self.above.last() {
            Some(widest) => PartialSum::merged_at(&all, widest.sum.part.mean_omega()),
            None => PartialSum::merged(&all),
        }
    }
}
