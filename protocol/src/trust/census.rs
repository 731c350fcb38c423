//! Census: how many members stand where, so that what a node says of those beneath it can be
//! held against the roster without going through it for each frame.
//!
//! Counts are members, whether they live or not. Who may stand beneath whom is
//! [`crate::membership::topology::may_hang_beneath`]'s to say; a test holds the two together.

use std::collections::BTreeMap;

use crate::ids::{ClusterId, Place, Role, SectorId};
use crate::phase::field::Scope;

/// How many members stand where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    all: Tiers,
    sectors: BTreeMap<SectorId, Sector>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sector {
    all: Tiers,
    clusters: BTreeMap<ClusterId, Tiers>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tiers {
    orchestrators: u32,
    coordinators: u32,
    leads: u32,
    agents: u32,
}

impl Tiers {
    fn add(&mut self, role: Role) {
        let tier = match role {
            Role::Orchestrator => &mut self.orchestrators,
            Role::Coordinator => &mut self.coordinators,
            Role::Lead => &mut self.leads,
            Role::Agent => &mut self.agents,
        };
        *tier = tier.saturating_add(1);
    }

    /// How many stand on a lower tier than `role`.
    fn under(&self, role: Role) -> u32 {
        let tiers = [
            (Role::Coordinator, self.coordinators),
            (Role::Lead, self.leads),
            (Role::Agent, self.agents),
        ];
        let lower = tiers.iter().filter(|(tier, _)| *tier > role);
        lower.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    fn total(&self) -> u32 {
        self.orchestrators
            .saturating_add(self.under(Role::Orchestrator))
    }
}

impl Census {
    /// Counts members by their role and place.
    pub fn of(members: impl Iterator<Item = (Role, Place)>) -> Self {
        let mut census = Self::default();
        for (role, place) in members {
            census.all.add(role);
            let sector = census.sectors.entry(place.sector).or_default();
            sector.all.add(role);
            let cluster = sector.clusters.entry(place.cluster).or_default();
            cluster.add(role);
        }
        census
    }

    /// How many members a scope has.
    pub fn of_scope(&self, scope: &Scope) -> u32 {
        match (scope.sector, scope.cluster) {
            (None, _) => self.all.total(),
            (Some(sector), None) => self.sector(&sector).total(),
            (Some(sector), Some(cluster)) => self.cluster(&sector, &cluster).total(),
        }
    }

    /// How many members may hang beneath a seat, in whatever tree.
    pub fn beneath(&self, role: Role, place: &Place) -> u32 {
        match role {
            Role::Orchestrator => self.all.under(role),
            Role::Coordinator | Role::Lead => self.sector(&place.sector).under(role),
            Role::Agent => 0,
        }
    }

    /// How many members hang beneath a seat while every other seat is taken: a lead has its
    /// cluster's agents, and others of its sector only while theirs is dead.
    pub fn regular(&self, role: Role, place: &Place) -> u32 {
        match role {
            Role::Orchestrator => 0,
            Role::Coordinator => self.beneath(role, place),
            Role::Lead => self.cluster(&place.sector, &place.cluster).agents,
            Role::Agent => 0,
        }
    }

    fn sector(&self, sector: &SectorId) -> Tiers {
        self.sectors
            .get(sector)
            .map(|it| it.all)
            .unwrap_or_default()
    }

    fn cluster(&self, sector: &SectorId, cluster: &ClusterId) -> Tiers {
        let sector = self.sectors.get(sector);
        let cluster = sector.and_then(|it| it.clusters.get(cluster));
        cluster.copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Label, NodeId};
    use crate::membership::topology::{Member, may_hang_beneath};

    const ROLES: [Role; 4] = [
        Role::Orchestrator,
        Role::Coordinator,
        Role::Lead,
        Role::Agent,
    ];

    /// Two sectors of two clusters; the cluster `c1` exists in both.
    fn mesh() -> Vec<Member> {
        let label = |text: &str| Label::new(text).unwrap();
        let seats = [
            (0, "hq", "hq", 2),
            (1, "s1", "s1", 1),
            (1, "s2", "s2", 2),
            (2, "s1", "c1", 2),
            (2, "s1", "c2", 1),
            (2, "s2", "c1", 1),
            (3, "s1", "c1", 4),
            (3, "s1", "c2", 5),
            (3, "s2", "c1", 7),
        ];
        let mut members = Vec::new();
        for (role, sector, cluster, count) in seats {
            let place = Place {
                sector: label(sector),
                cluster: label(cluster),
            };
            for _ in 0..count {
                members.push(Member {
                    node: NodeId([members.len() as u8; 32]),
                    role: ROLES[role],
                    place,
                });
            }
        }
        members
    }

    #[test]
    fn the_count_beneath_a_seat_is_of_those_that_may_hang_there() {
        let mesh = mesh();
        let census = Census::of(mesh.iter().map(|it| (it.role, it.place)));
        for above in &mesh {
            let beneath = mesh.iter().filter(|it| may_hang_beneath(it, above));
            let counted = census.beneath(above.role, &above.place);
            assert_eq!(counted as usize, beneath.count(), "{above:?}");
            assert!(census.regular(above.role, &above.place) <= counted);
        }
    }

    #[test]
    fn a_scope_has_the_members_that_stand_in_it() {
        let mesh = mesh();
        let census = Census::of(mesh.iter().map(|it| (it.role, it.place)));
        let place = mesh[5].place;
        assert_eq!(census.of_scope(&Scope::MESH) as usize, mesh.len());
        assert_eq!(census.of_scope(&Scope::sector(place.sector)), 13);
        let c1 = Scope::cluster(place.sector, place.cluster);
        assert_eq!(census.of_scope(&c1), 6);
        assert_eq!(census.regular(Role::Lead, &place), 4);
        let nowhere = Label::new("s9").unwrap();
        assert_eq!(census.of_scope(&Scope::sector(nowhere)), 0);
    }
}
