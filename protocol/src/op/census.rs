//! Census: how many agents of which kind there are beneath a node, how soon they are READY, and which of
//! them a question is for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentName, Label};
use crate::impedance::Class;
use crate::impedance::histogram::Histogram;
use crate::units::Noise;

/// Most agents that one node answers for.
pub const AGENTS_MAX: u32 = 1_000_000;
/// Most kinds that a node tells of what is beneath it, and most capabilities of one.
pub const KINDS_MAX: usize = 256;
const CAPABILITIES_MAX: usize = 16;
/// Most bytes of their capabilities' names, so that they fit a frame.
const NAMES_BYTES_MAX: usize = 16 * 1024;
/// Most bins of their leads, for the same.
const FILLED_MAX: usize = 2_000;
/// Most steps from a node down to one that it counts.
pub const DEPTH_MAX: usize = 6;
/// Bins of the leads: 0 to 8,191 ms; what is longer counts as that.
const BINS: usize = 160;

/// Which agents are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select {
    /// Only those that can do all of this.
    pub capabilities: Vec<Label>,
    /// Only those of this class; `None`: of any but people, who have a time scale of their own.
    pub class: Option<Class>,
    /// So many of them, chosen by lot; `None`: all.
    pub sample: Option<u32>,
    /// Only this one.
    pub agent: Option<AgentName>,
    /// Not the agents but the nodes so many steps down, which confirm that they are there.
    pub tier: Option<u8>,
}

impl Select {
    /// All that can do this.
    pub fn able(capability: Label) -> Self {
        Self {
            capabilities: vec![capability],
            ..Self::default()
        }
    }

    /// Whether it is for agents of this kind.
    pub fn is_for(&self, kind: &Kind) -> bool {
        let class = match self.class {
            Some(class) => kind.class == class,
            // Who is named is meant.
            None => !kind.class.is_human() || self.agent.is_some(),
        };
        class && self.capabilities.iter().all(|it| kind.can(it))
    }

    /// What a child is asked for.
    #[must_use]
    pub fn beneath(&self) -> Self {
        Self {
            tier: self.tier.map(|it| it.saturating_sub(1)),
            ..self.clone()
        }
    }

    /// Whether it is within its limits.
    pub fn is_sound(&self) -> bool {
        let tier = self.tier.is_none_or(|it| usize::from(it) < DEPTH_MAX);
        self.capabilities.len() <= CAPABILITIES_MAX && self.sample != Some(0) && tier
    }
}

/// What agents are alike in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kind {
    /// Their class.
    pub class: Class,
    /// What they can do, in order.
    pub capabilities: Vec<Label>,
}

impl Kind {
    /// Of a class, with these capabilities in any order; of more than 16 the first.
    pub fn new(class: Class, capabilities: &[Label]) -> Self {
        let mut capabilities = capabilities.to_vec();
        capabilities.sort_unstable();
        capabilities.dedup();
        capabilities.truncate(CAPABILITIES_MAX);
        Self {
            class,
            capabilities,
        }
    }

    fn can(&self, capability: &Label) -> bool {
        self.capabilities.binary_search(capability).is_ok()
    }

    fn is_sound(&self) -> bool {
        let ordered = self.capabilities.is_sorted_by(|a, b| a < b);
        ordered && self.capabilities.len() <= CAPABILITIES_MAX
    }

    fn bytes(&self) -> usize {
        let names = self.capabilities.iter().map(|it| it.as_str().len() + 1);
        names.sum()
    }
}

/// Agents of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// How many.
    pub many: u32,
    /// How long before T a message of weight 1 must leave their hosts, in ms, for them to be
    /// READY nineteen times in twenty.
    pub leads: Histogram<BINS>,
}

impl Group {
    /// With one more agent.
    pub fn add(&mut self, lead_ms: u64) {
        self.many = self.many.saturating_add(1);
        self.leads.add(lead_ms);
    }

    fn merge(&mut self, other: &Group) {
        self.many = self.many.saturating_add(other.many).min(AGENTS_MAX);
        self.leads.merge(&other.leads);
    }
}

/// Agents by their kinds, and the nodes by how far down they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// The nodes: the sender, its children, their children; at most [`DEPTH_MAX`].
    pub nodes: Vec<u32>,
    /// In order; at most [`KINDS_MAX`].
    pub kinds: Vec<(Kind, Group)>,
}

impl Census {
    /// Of several one. Kinds that find no room count as agents of their class that can do
    /// nothing in particular.
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Census>) -> Census {
        let mut kinds: BTreeMap<&Kind, Group> = BTreeMap::new();
        for (kind, group) in all.into_iter().flat_map(|it| &it.kinds) {
            kinds.entry(kind).or_default().merge(group);
        }
        let (mut bytes, mut filled) = (0, 0);
        let mut room = KINDS_MAX - Class::ALL.len();
        let mut sum: BTreeMap<Kind, Group> = BTreeMap::new();
        for (kind, group) in kinds {
            bytes += kind.bytes();
            filled += group.leads.filled();
            let fits = bytes <= NAMES_BYTES_MAX && filled <= FILLED_MAX;
            let kind = match room > 0 && fits {
                true => kind.clone(),
                false => Kind::new(kind.class, &[]),
            };
            room = room.saturating_sub(1);
            sum.entry(kind).or_default().merge(&group);
        }
        Census {
            nodes: Vec::new(),
            kinds: sum.into_iter().collect(),
        }
    }

    /// Of a node and its children one.
    pub fn with_below<'a>(own: &'a Census, below: impl Iterator<Item = &'a Census>) -> Census {
        let below: Vec<&Census> = below.collect();
        let mut nodes = vec![1];
        for (depth, many) in below.iter().flat_map(|it| it.nodes.iter().enumerate()) {
            let depth = depth + 1;
            if depth < DEPTH_MAX {
                nodes.resize(nodes.len().max(depth + 1), 0);
                nodes[depth] = many.saturating_add(nodes[depth]).min(AGENTS_MAX);
            }
        }
        Census {
            nodes,
            ..Census::sum(below.into_iter().chain([own]))
        }
    }

    /// All of them, people too.
    pub fn agents(&self) -> u32 {
        self.sum_of(|_| true)
    }

    /// How many could be asked, agents or nodes, a sample's size aside.
    pub fn count(&self, select: &Select) -> u32 {
        if let Some(tier) = select.tier {
            return self.nodes.get(usize::from(tier)).copied().unwrap_or(0);
        }
        self.sum_of(|kind| select.is_for(kind))
    }

    fn sum_of(&self, of: impl Fn(&Kind) -> bool) -> u32 {
        let kinds = self.kinds.iter().filter(|(kind, _)| of(kind));
        let sum = kinds.fold(0u32, |sum, (_, group)| sum.saturating_add(group.many));
        sum.min(AGENTS_MAX)
    }

    /// The lead in ms that at least the share `q` of those that are asked get by with.
    pub fn lead_ms(&self, select: &Select, q: f64) -> Option<u64> {
        let asked = self.kinds.iter().filter(|(kind, _)| select.is_for(kind));
        let mut leads = Histogram::<BINS>::default();
        asked.for_each(|(_, group)| leads.merge(&group.leads));
        leads.bound(q)
    }

    /// How many can do what.
    pub fn by_capability(&self) -> BTreeMap<Label, u32> {
        let mut all = BTreeMap::new();
        for (kind, group) in &self.kinds {
            for capability in &kind.capabilities {
                *all.entry(*capability).or_default() += group.many;
            }
        }
        all
    }

    /// How many of each class there are.
    pub fn by_class(&self) -> BTreeMap<Class, u32> {
        let mut all = BTreeMap::new();
        for (kind, group) in &self.kinds {
            *all.entry(kind.class).or_default() += group.many;
        }
        all
    }

    /// Whether it is in order and within its limits.
    pub fn is_sound(&self) -> bool {
        let ordered = self.kinds.is_sorted_by(|a, b| a.0 < b.0);
        let within = |(kind, group): &(Kind, Group)| {
            kind.is_sound() && group.many > 0 && group.many <= AGENTS_MAX
        };
        let nodes = self.nodes.iter().all(|it| *it <= AGENTS_MAX);
        let bounded = self.kinds.len() <= KINDS_MAX && nodes && self.nodes.len() <= DEPTH_MAX;
        ordered && bounded && self.kinds.iter().all(within)
    }
}

/// Of so many at each place, how many are chosen there when `wanted` are drawn from all, each as
/// likely as any other. O(wanted · places).
pub fn draw(there: &[u32], wanted: u32, noise: &mut impl Noise) -> Vec<u32> {
    let mut left: Vec<u64> = there.iter().map(|it| u64::from(*it)).collect();
    let mut all: u64 = left.iter().sum();
    let mut drawn = vec![0; there.len()];
    for _ in 0..u64::from(wanted).min(all) {
        // The bias of the remainder is below one in 2^43.
        let mut ticket = noise.bits() % all;
        for (place, left) in left.iter_mut().enumerate() {
            if ticket < *left {
                *left -= 1;
                drawn[place] += 1;
                break;
            }
            ticket -= *left;
        }
        all -= 1;
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seeded;

    fn label(text: &str) -> Label {
        Label::new(text).expect("a name")
    }

    fn census(rows: &[(Class, &[&str], u32)]) -> Census {
        let kinds = rows.iter().map(|(class, can, many)| {
            let can: Vec<Label> = can.iter().map(|it| label(it)).collect();
            let mut group = Group::default();
            (0..*many).for_each(|n| group.add(u64::from(n)));
            (Kind::new(*class, &can), group)
        });
        let kinds = kinds.collect::<BTreeMap<_, _>>();
        Census {
            nodes: vec![1],
            kinds: kinds.into_iter().collect(),
        }
    }

    #[test]
    fn those_that_can_all_of_it_are_counted_and_people_only_when_they_are_meant() {
        let one = census(&[
            (Class::Edge, &["text"], 3),
            (Class::Gpu, &["vision", "text"], 2),
        ]);
        let two = census(&[(Class::Human, &["text"], 4), (Class::Edge, &["text"], 1)]);
        let sum = Census::sum([&one, &two]);
        assert!(sum.is_sound());
        assert_eq!((sum.agents(), sum.kinds.len()), (10, 3));
        let counts = |capabilities: &[&str], class| {
            let capabilities = capabilities.iter().map(|it| label(it)).collect();
            sum.count(&Select {
                capabilities,
                class,
                ..Select::default()
            })
        };
        assert_eq!(counts(&[], None), 6);
        assert_eq!(counts(&["text"], None), 6);
        assert_eq!(counts(&["text", "vision"], None), 2);
        assert_eq!(counts(&["text"], Some(Class::Human)), 4);
        assert_eq!(counts(&["vision"], Some(Class::Edge)), 0);
        assert_eq!(sum.by_capability()[&label("text")], 10);
        assert_eq!(sum.by_class()[&Class::Edge], 4);
        let vision = Select::able(label("vision"));
        assert_eq!(sum.lead_ms(&vision, 0.95), Some(1));
        assert_eq!(sum.lead_ms(&Select::able(label("no")), 0.95), None);
    }

    #[test]
    fn a_lead_is_long_enough_for_all_that_share_its_bin() {
        let mut group = Group::default();
        [970, 1_000, 1_020]
            .into_iter()
            .for_each(|lead_ms| group.add(lead_ms));
        let kinds = vec![(Kind::new(Class::Edge, &[]), group)];
        let census = Census {
            nodes: vec![1],
            kinds,
        };
        let lead = census.lead_ms(&Select::default(), 1.0);
        assert!(lead >= Some(1_020) && lead <= Some(1_084), "{lead:?}");
    }

    #[test]
    fn kinds_beyond_the_limit_are_counted_still() {
        let names: Vec<String> = (0..400).map(|n| format!("can-{n:03}")).collect();
        let rows: Vec<_> = names.iter().map(|it| [it.as_str()]).collect();
        let rows: Vec<(Class, &[&str], u32)> =
            rows.iter().map(|it| (Class::Edge, &it[..], 1)).collect();
        let sum = Census::sum([&census(&rows)]);
        assert!(sum.is_sound());
        assert_eq!(sum.agents(), 400);
        assert!(sum.kinds.len() <= KINDS_MAX);
        assert_eq!(sum.count(&Select::able(label("can-000"))), 1);
    }

    #[test]
    fn a_lot_takes_as_many_as_are_wanted_and_prefers_nobody() {
        let mut noise = Seeded::new(3);
        assert_eq!(draw(&[2, 0, 1], 9, &mut noise), [2, 0, 1]);
        let mut sums = [0u32; 3];
        for _ in 0..1_000 {
            let drawn = draw(&[60, 30, 10], 10, &mut noise);
            assert_eq!(drawn.iter().sum::<u32>(), 10);
            sums.iter_mut().zip(drawn).for_each(|(sum, it)| *sum += it);
        }
        let near = |sum: u32, mean: u32| sum.abs_diff(mean) < 150;
        assert!(
            near(sums[0], 6_000) && near(sums[1], 3_000) && near(sums[2], 1_000),
            "{sums:?}"
        );
    }
}
