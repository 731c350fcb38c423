//! Faults: what is wrong with the agents of each cluster, by the classes of the seed, and whether
//! somebody above has to know (seed 6.1; J4, J5).
//!
//! | class | seen by | what is done at once | escalated when |
//! |---|---|---|---|
//! | AGENT_CRASH | the agent is offline, or its command ends again and again | it is given no work; a command is started again | what was started in its place ends too |
//! | IMPEDANCE_SPIKE | it takes more than twice what it took over the last hour | it is routed around | several of a cluster do |
//!
//! TRANSIENT_NETWORK is of links and not of agents: see [`crate::delivery::Outbox::tries`].

use std::collections::BTreeMap;

use super::reading::Reading;
use super::registry::Registry;
use super::score::State;
use crate::ids::{AgentName, Place};

/// How many of them are named.
const NAMED_MAX: usize = 8;
/// So many of a cluster are several.
const SEVERAL: u32 = 2;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is not there, or not for long.
    AgentCrash,
    /// It is much slower than it was.
    ImpedanceSpike,
}

impl Kind {
    /// As the seed calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::AgentCrash => "AGENT_CRASH",
            Kind::ImpedanceSpike => "IMPEDANCE_SPIKE",
        }
    }

    /// Whether an agent has it, and whether that is more than can be mended where it is.
    fn of(self, it: &Reading) -> (bool, bool) {
        match self {
            Kind::AgentCrash => (
                it.state == State::Offline || it.flags.crashing,
                it.flags.crashing,
            ),
            Kind::ImpedanceSpike => (it.flags.spiking && it.is_live(), false),
        }
    }
}

/// What is wrong with some agents of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// The cluster.
    pub place: Place,
    /// How many.
    pub many: u32,
    /// The first of them by name, at most 8.
    pub agents: Vec<AgentName>,
    /// Whether somebody above has to know.
    pub escalated: bool,
}

/// Those of all clusters. O(agents).
pub fn faults(registry: &Registry) -> Vec<Fault> {
    let mut found: BTreeMap<(Kind, Place), Fault> = BTreeMap::new();
    for (agent, reading) in registry.iter() {
        for kind in [Kind::AgentCrash, Kind::ImpedanceSpike] {
            let (has, lost) = kind.of(reading);
            if !has {
                continue;
            }
            let place = reading.place;
            let fault = found.entry((kind, place)).or_insert_with(|| Fault {
                kind,
                place,
                many: 0,
                agents: Vec::new(),
                escalated: false,
            });
            fault.many = fault.many.saturating_add(1);
            if fault.agents.len() < NAMED_MAX {
                fault.agents.push(*agent);
            }
            let several = kind == Kind::ImpedanceSpike && fault.many >= SEVERAL;
            fault.escalated |= lost || several;
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Label, NodeId};
    use crate::impedance::{Class, Profile};
    use crate::units::Micros;

    fn label(text: &str) -> Label {
        Label::new(text).expect("a name")
    }

    fn well(_: &mut Reading) {}
    fn gone(it: &mut Reading) {
        it.state = State::Offline;
    }
    fn spikes(it: &mut Reading) {
        it.flags.spiking = true;
    }
    fn ends(it: &mut Reading) {
        it.flags.crashing = true;
    }

    /// A cluster, and what is made of an agent of it that is well.
    type Case = (&'static str, fn(&mut Reading));

    /// The faults of these: by kind and cluster, how many, and whether that is escalated.
    fn found(agents: &[Case]) -> Vec<(&'static str, String, u32, bool)> {
        let mut profile = Profile::new(Class::Edge);
        profile.heard(0, Micros::ZERO);
        let mut registry = Registry::default();
        for (n, (cluster, change)) in (0..).zip(agents) {
            let place = Place {
                sector: label("s1"),
                cluster: label(cluster),
            };
            let mut reading = Reading::of(&profile, place, Vec::new(), Micros::ZERO);
            change(&mut reading);
            let node = NodeId([n; 32]);
            let agent = label("e");
            registry.update(AgentName { node, agent }, reading, Micros::ZERO);
        }
        let row = |it: Fault| {
            assert_eq!(it.agents.len(), NAMED_MAX.min(it.many as usize));
            let cluster = it.place.cluster.to_string();
            (it.kind.name(), cluster, it.many, it.escalated)
        };
        faults(&registry).into_iter().map(row).collect()
    }

    #[test]
    fn one_spike_is_routed_around_and_several_of_a_cluster_are_escalated() {
        assert_eq!(found(&[("c1", well), ("c2", well)]), []);
        let spike = |cluster: &str, many, escalated| {
            ("IMPEDANCE_SPIKE", cluster.to_owned(), many, escalated)
        };
        let agents: [Case; 3] = [("c1", spikes), ("c2", spikes), ("c2", well)];
        assert_eq!(
            found(&agents),
            [spike("c1", 1, false), spike("c2", 1, false)]
        );
        let agents: [Case; 3] = [("c1", spikes), ("c2", spikes), ("c2", spikes)];
        assert_eq!(
            found(&agents),
            [spike("c1", 1, false), spike("c2", 2, true)]
        );
    }

    #[test]
    fn who_is_gone_has_crashed_and_who_ends_again_and_again_is_escalated() {
        let crash = |many, escalated| ("AGENT_CRASH", "c1".to_owned(), many, escalated);
        let agents: [Case; 9] = [("c1", gone); 9];
        assert_eq!(found(&agents), [crash(9, false)]);
        let agents: [Case; 3] = [("c1", gone), ("c1", ends), ("c1", well)];
        assert_eq!(found(&agents), [crash(2, true)]);
    }
}
