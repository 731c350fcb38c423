//! Topology: the four tiers (seed 2.1), and in which order a node looks for a parent.
//!
//! A parent always stands on a higher tier than its child, so the tree has no
//! circles whatever fails. A node has an ordered list of parents and attaches to
//! the first that lives.

use crate::ids::{NodeId, Place, Role};

/// Most children of one node (seed 2.1).
pub const CHILDREN_MAX: usize = 100;
/// Most siblings that a node keeps direct links to: a whole cluster of the
/// seed's size, and an upper bound on open connections.
pub const SIBLINGS_MAX: usize = 32;

/// What the tree needs to know of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// On which tier.
    pub role: Role,
    /// Where.
    pub place: Place,
}

/// The possible parents of `me`, best first.
///
/// | tier | first | then | last |
/// |---|---|---|---|
/// | agent | leads of its cluster | coordinators of its sector, other leads of it | orchestrators |
/// | lead | coordinators of its sector | orchestrators | |
/// | coordinator | orchestrators | | |
///
/// Within a group everybody prefers the same order for the regular parents, so
/// that a cluster stays together, and an order of its own for the others, so that
/// a dead lead's agents spread.
pub fn parents(me: &Member, members: impl Iterator<Item = Member>) -> Vec<NodeId> {
    let mut found: Vec<(u8, [u8; 32], NodeId)> = members
        .filter_map(|member| Some((rank(me, &member)?, member)))
        .map(|(rank, member)| {
            let spread = rank > 0 && me.role == Role::Agent;
            let order = if spread {
                distance(&me.node, &member.node)
            } else {
                member.node.0
            };
            (rank, order, member.node)
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, _, node)| node).collect()
}

/// Whether `node` may be beneath `above` in some tree: who may be one's parent and
/// who may be further up are the same.
pub fn may_hang_beneath(node: &Member, above: &Member) -> bool {
    rank(node, above).is_some()
}

/// Which group of candidates `member` belongs to, if `me` may be its child.
fn rank(me: &Member, member: &Member) -> Option<u8> {
    if member.role >= me.role {
        return None;
    }
    let same_sector = member.place.sector == me.place.sector;
    match member.role {
        Role::Lead if same_sector && member.place.cluster == me.place.cluster => Some(0),
        Role::Coordinator if same_sector => Some(if me.role == Role::Lead { 0 } else { 1 }),
        Role::Lead if same_sector => Some(2),
        Role::Orchestrator => Some(if me.role == Role::Coordinator { 0 } else { 3 }),
        _ => None,
    }
}

/// Those on the same tier with whom `me` shares its parents: agents of a cluster,
/// leads of a sector, coordinators, orchestrators. The nearest
/// [`SIBLINGS_MAX`] after `me` in the order of names, round the circle.
pub fn siblings(me: &Member, members: impl Iterator<Item = Member>) -> Vec<NodeId> {
    let together = |other: &Member| match me.role {
        Role::Agent => other.place == me.place,
        Role::Lead => other.place.sector == me.place.sector,
        Role::Coordinator | Role::Orchestrator => true,
    };
    let mut found: Vec<NodeId> = members
        .filter(|other| other.node != me.node && other.role == me.role && together(other))
        .map(|other| other.node)
        .collect();
    found.sort_unstable();
    let after = found.partition_point(|node| *node < me.node);
    found.rotate_left(after);
    if found.len() > SIBLINGS_MAX {
        // Half after, half before: so the relation stays mutual on the circle.
        let behind = found.split_off(found.len() - SIBLINGS_MAX / 2);
        found.truncate(SIBLINGS_MAX / 2);
        found.extend(behind);
    }
    found
}

fn distance(a: &NodeId, b: &NodeId) -> [u8; 32] {
    std::array::from_fn(|i| a.0[i] ^ b.0[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BadLabel, Label};

    fn member(n: u8, role: Role, sector: &str, cluster: &str) -> Result<Member, BadLabel> {
        let place = Place {
            sector: Label::new(sector)?,
            cluster: Label::new(cluster)?,
        };
        Ok(Member {
            node: NodeId([n; 32]),
            role,
            place,
        })
    }

    #[test]
    fn an_agent_prefers_its_lead_and_falls_back_up_the_tree() -> Result<(), BadLabel> {
        let mesh = [
            member(1, Role::Orchestrator, "hq", "hq")?,
            member(2, Role::Coordinator, "s1", "s1")?,
            member(3, Role::Lead, "s1", "c1")?,
            member(4, Role::Lead, "s1", "c2")?,
            member(5, Role::Agent, "s1", "c1")?,
            member(6, Role::Coordinator, "s2", "s2")?,
        ];
        let ids = |i: usize| {
            parents(&mesh[i], mesh.iter().copied())
                .iter()
                .map(|n| n.0[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(4), [3, 2, 4, 1]);
        assert_eq!(ids(2), [2, 1]);
        assert_eq!(ids(1), [1]);
        assert_eq!(ids(0), [] as [u8; 0]);
        Ok(())
    }

    #[test]
    fn siblings_are_mutual_even_when_there_are_too_many() -> Result<(), BadLabel> {
        let mesh = (0..100)
            .map(|n| member(n, Role::Agent, "s1", "c1"))
            .collect::<Result<Vec<_>, _>>()?;
        for me in &mesh {
            let mine = siblings(me, mesh.iter().copied());
            assert_eq!(mine.len(), SIBLINGS_MAX);
            for other in &mine {
                let them = mesh[other.0[0] as usize];
                assert!(siblings(&them, mesh.iter().copied()).contains(&me.node));
            }
        }
        Ok(())
    }
}
