//! Whose phases a sum holds, so that nobody is counted twice, and how many groups are locked.
//!
//! The same node can reach a listener twice: in its cluster's sum and, once the
//! lead is silent, by itself. A sum therefore carries the scope of its
//! contributors, and overlapping scopes are never added (row B8 builds on that:
//! one order parameter for each cluster, sector and the mesh).

use std::f64::consts::{FRAC_PI_4, TAU};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::field::PartialSum;
use crate::ids::{ClusterId, SectorId};

/// A part of the tree: the mesh (no names), a sector, or a cluster of a sector.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Scope {
    /// The sector, or none for the whole mesh.
    pub sector: Option<SectorId>,
    /// The cluster, or none for the whole sector.
    pub cluster: Option<ClusterId>,
}

impl Scope {
    /// Everything.
    pub const MESH: Scope = Scope {
        sector: None,
        cluster: None,
    };

    /// All of a sector.
    pub const fn sector(sector: SectorId) -> Self {
        Self {
            sector: Some(sector),
            cluster: None,
        }
    }

    /// A cluster of a sector.
    pub const fn cluster(sector: SectorId, cluster: ClusterId) -> Self {
        Self {
            sector: Some(sector),
            cluster: Some(cluster),
        }
    }

    /// Whether every node of `other` is one of this scope's. A cluster without
    /// a sector names nothing; it is taken for the mesh, which overlaps with all.
    pub fn contains(&self, other: &Scope) -> bool {
        match (self.sector, self.cluster) {
            (None, _) => true,
            (Some(_), None) => self.sector == other.sector,
            (Some(_), Some(_)) => self == other,
        }
    }

    /// Whether a node can be in both.
    pub fn overlaps(&self, other: &Scope) -> bool {
        self.contains(other) || other.contains(self)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.sector, self.cluster) {
            (None, _) => f.write_str("mesh"),
            (Some(sector), None) => write!(f, "{sector}"),
            (Some(sector), Some(cluster)) => write!(f, "{sector}/{cluster}"),
        }
    }
}

/// A partial sum that says whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    /// The contributors are all of this scope.
    pub scope: Scope,
    /// What they add up to.
    pub part: PartialSum,
}

/// Why sums were not added. Nothing has changed; keep one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Two parts could hold the same node.
    #[error("{0} and {1} overlap: a node would count twice")]
    Overlap(Scope, Scope),
    /// A part reaches beyond what the whole claims to be.
    #[error("{part} is not a part of {whole}")]
    Outside {
        /// The part's scope.
        part: Scope,
        /// The scope it was to be added under.
        whole: Scope,
    },
}

impl Sum {
    /// The sum for `scope`, as of now: its disjoint `parts`, and `own`, nodes
    /// that speak for themselves (the one that adds, or siblings heard
    /// directly) and so are in none of the parts.
    pub fn combined(scope: Scope, own: &[PartialSum], parts: &[Sum]) -> Result<Sum, Refused> {
        for (i, part) in parts.iter().enumerate() {
            if !scope.contains(&part.scope) {
                return Err(Refused::Outside {
                    part: part.scope,
                    whole: scope,
                });
            }
            // At most 100 children, so every pair is cheaper than an index.
            if let Some(twin) = parts[..i].iter().find(|p| p.scope.overlaps(&part.scope)) {
                return Err(Refused::Overlap(twin.scope, part.scope));
            }
        }
        let all: Vec<PartialSum> = own
            .iter()
            .copied()
            .chain(parts.iter().map(|p| p.part))
            .collect();
        Ok(Sum {
            scope,
            part: PartialSum::merged(&all),
        })
    }
}

/// A group with an order parameter of at least this is locked in itself.
pub const LOCKED_ORDER_MIN: f64 = 0.9;

/// Locked groups whose mean phases are further apart than this, in radians, are
/// not locked to each other. In one locked mesh a group of n is about
/// spread/(K·√n) off, 0.09 at n = 2 with the defaults; π/4 leaves room for age.
pub const PHASE_GAP_MIN: f64 = FRAC_PI_4;

/// Whether what is locked is locked together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Locking {
    /// The order parameter of all groups together, in [0, 1].
    pub order: f64,
    /// How many groups are locked in themselves but stand apart from each other.
    pub locked_groups: usize,
}

impl Locking {
    /// Looks at groups side by side: the clusters of a sector, the sectors of a mesh.
    ///
    /// Parts of fewer than two members are no group (their r is 1 by itself) and
    /// count for the order only. A group that overlaps with an earlier one is
    /// left out. The order of the whole is reported, not asked for: a small
    /// cluster that drifts apart in a large mesh hardly lowers it.
    pub fn of(parts: &[(Scope, PartialSum)]) -> Self {
        let is_group = |part: &PartialSum| part.members >= 2;
        let disjoint: Vec<PartialSum> = parts
            .iter()
            .enumerate()
            .filter(|(i, (scope, part))| {
                let twin = |(s, p): &(Scope, PartialSum)| is_group(p) && s.overlaps(scope);
                !(is_group(part) && parts[..*i].iter().any(twin))
            })
            .map(|(_, (_, part))| part.rotated(part.age))
            .collect();
        let mut phases: Vec<f64> = disjoint
            .iter()
            .filter(|part| is_group(part) && part.order() >= LOCKED_ORDER_MIN)
            .map(PartialSum::mean_phase)
            .collect();
        phases.sort_by(f64::total_cmp);
        // Round the circle, each wide gap ends one group; one gap or none is one group.
        let gaps = phases
            .iter()
            .zip(phases.iter().cycle().skip(1))
            .filter(|(here, next)| (*next - *here).rem_euclid(TAU) > PHASE_GAP_MIN)
            .count();
        Self {
            order: PartialSum::merged(&disjoint).order(),
            locked_groups: gaps.max(usize::from(!phases.is_empty())),
        }
    }

    /// Several locked clusters instead of one mesh.
    pub fn is_split(&self) -> bool {
        self.locked_groups >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Label;
    use crate::units::Micros;

    fn label(text: &str) -> Label {
        Label::new(text).expect("a label")
    }
    fn cluster(sector: &str, cluster: &str) -> Scope {
        Scope::cluster(label(sector), label(cluster))
    }
    /// `n` nodes within ±`half_width` of `theta`.
    fn group(scope: Scope, n: u32, theta: f64, half_width: f64) -> Sum {
        let mut part = PartialSum::zero();
        for i in 0..n {
            let offset = half_width * (2.0 * f64::from(i) / f64::from(n.max(2) - 1) - 1.0);
            part.add(&PartialSum::of(theta + offset, 6.0, 1.0));
        }
        Sum { scope, part }
    }

    #[test]
    fn scopes_overlap_along_the_tree_only() {
        let (s1, s2) = (Scope::sector(label("s1")), Scope::sector(label("s2")));
        let (a, b) = (cluster("s1", "c1"), cluster("s1", "c2"));
        let same_name = cluster("s2", "c1");
        for (x, y, expected) in [
            (Scope::MESH, a, true),
            (Scope::MESH, Scope::MESH, true),
            (s1, a, true),
            (a, a, true),
            (s1, s2, false),
            (s2, a, false),
            (a, b, false),
            (a, same_name, false),
        ] {
            assert_eq!(x.overlaps(&y), expected, "{x} {y}");
            assert_eq!(y.overlaps(&x), expected, "{y} {x}");
        }
        let nameless = Scope {
            sector: None,
            cluster: Some(label("c1")),
        };
        assert!(nameless.overlaps(&s1) && s1.overlaps(&nameless));
    }

    #[test]
    fn a_node_is_never_counted_twice() {
        let s1 = Scope::sector(label("s1"));
        let c1 = group(cluster("s1", "c1"), 3, 0.0, 0.1);
        let c2 = group(cluster("s1", "c2"), 4, 0.0, 0.1);
        let own = [PartialSum::of(0.0, 6.0, 1.0)];
        let sector = Sum::combined(s1, &own, &[c1, c2]).expect("disjoint");
        assert_eq!((sector.scope, sector.part.members), (s1, 8));
        assert_eq!(
            Sum::combined(s1, &[], &[c1, c1]),
            Err(Refused::Overlap(c1.scope, c1.scope))
        );
        assert_eq!(
            Sum::combined(Scope::MESH, &[], &[c1, sector]),
            Err(Refused::Overlap(c1.scope, s1))
        );
        assert_eq!(
            Sum::combined(Scope::sector(label("s2")), &[], &[c1]),
            Err(Refused::Outside {
                part: c1.scope,
                whole: Scope::sector(label("s2"))
            })
        );
    }

    fn locking(groups: &[(u32, f64, f64)]) -> Locking {
        let sums: Vec<Sum> = groups
            .iter()
            .enumerate()
            .map(|(i, (n, theta, width))| {
                group(cluster("s1", &format!("c{i}")), *n, *theta, *width)
            })
            .collect();
        of(&sums)
    }
    fn of(sums: &[Sum]) -> Locking {
        let parts: Vec<_> = sums.iter().map(|sum| (sum.scope, sum.part)).collect();
        Locking::of(&parts)
    }

    #[test]
    fn several_locked_clusters_are_told_from_one() {
        // Around 0 the groups stand on both sides of the cut of the circle.
        let one = locking(&[(30, -0.1, 0.3), (30, 0.1, 0.3), (30, 0.0, 0.3)]);
        assert_eq!((one.locked_groups, one.is_split()), (1, false));
        assert!(one.order > 0.9);
        let two = locking(&[(30, 0.0, 0.3), (30, 3.0, 0.3), (30, 0.1, 0.3)]);
        assert_eq!((two.locked_groups, two.is_split()), (2, true));
        let three = locking(&[(30, 0.0, 0.3), (30, 2.1, 0.3), (30, 4.2, 0.3)]);
        assert_eq!(three.locked_groups, 3);
        assert!(three.order < 0.1);
    }

    #[test]
    fn a_small_cluster_apart_is_seen_in_a_large_mesh() {
        let split = locking(&[(970, 0.0, 0.3), (30, 3.0, 0.3)]);
        assert!(split.order > 0.9 && split.is_split());
    }

    #[test]
    fn disorder_and_single_nodes_are_not_locked_groups() {
        let loose = locking(&[(30, 0.0, 3.0), (30, 2.0, 3.0)]);
        assert_eq!(loose.locked_groups, 0);
        let singles = locking(&[(1, 0.0, 0.0), (1, 3.0, 0.0)]);
        assert_eq!(singles.locked_groups, 0);
        assert_eq!(locking(&[]).locked_groups, 0);
    }

    #[test]
    fn a_group_seen_twice_counts_once() {
        let c0 = group(cluster("s1", "c0"), 5, 0.0, 0.1);
        let c1 = group(cluster("s1", "c1"), 5, 3.0, 0.1);
        let sector = group(Scope::sector(label("s1")), 10, 1.5, 0.1);
        let (once, twice) = (of(&[c0, c1]), of(&[c0, c1, c1, sector]));
        assert_eq!(once, twice);
        // Agents of one cluster share its scope and are not each other.
        let single = |theta| group(cluster("s1", "c0"), 1, theta, 0.0);
        assert!(of(&[single(0.0), single(3.1)]).order < 0.1);
    }

    #[test]
    fn sums_of_different_ages_are_compared_at_one_moment() {
        let fresh = group(cluster("s1", "c0"), 5, 1.5, 0.1);
        let mut old = group(cluster("s1", "c1"), 5, 0.0, 0.1);
        old.part = old.part.aged(Micros::from_millis(250)); // 6 rad/s · 0.25 s
        assert_eq!(of(&[fresh, old]).locked_groups, 1);
        old.part.age = Micros::ZERO;
        assert!(of(&[fresh, old]).is_split());
    }
}
