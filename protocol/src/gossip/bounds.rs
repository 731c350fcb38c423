//! Bounds: for how many others a node may speak. What the field holds is held against the
//! roster, so that one member with a valid key cannot outweigh the mesh.
//!
//! What remains: a node within its bound is believed. A lead may count dead agents of its
//! cluster as live, at phases of its choice, and agents of its sector that hang nowhere else; a
//! coordinator so for its sector. An eighth more than the roster knows may be claimed too, as
//! [`with_slack`] says, and nobody but those further down can tell. Where all that is said
//! together is more than the roster knows, whoever claims most beyond what it has regularly is
//! left out; that may be a lead that has taken in the agents of one who goes on counting them.

use crate::ids::{NodeId, Role};
use crate::membership::topology::Member;
use crate::phase::field::{Scope, Sum};

use super::field::Whose;
use super::machine::{Gossip, wider};

/// How many nodes a sum may hold where the roster knows `known`.
///
/// Whoever is enrolled is known to its parent first, and further up a round trip later for each
/// tier. A refused sum leaves the one before in place for the phase TTL, so one newcomer at a
/// time needs no room. In a burst of them, and where a node that changed its parent is counted
/// by both for a moment, an eighth, or one, is enough for a sector not to vanish meanwhile.
fn with_slack(known: u32) -> u64 {
    let room = (known / 8).max(u32::from(known > 0));
    u64::from(known) + u64::from(room)
}

impl Gossip {
    /// Whether `from` may speak for so many; if not, that is counted.
    pub(super) fn may_sum(&mut self, from: &NodeId, sum: &Sum) -> bool {
        let most = self.seat(from).map_or(0, |seat| self.at_most(&seat));
        let within = u64::from(sum.part.members) <= most;
        self.counters.beyond_roster += u64::from(!within);
        within
    }

    /// Whether `from` can have anybody to sum up; if not, that is counted.
    pub(super) fn can_sum(&mut self, from: &NodeId) -> bool {
        let can = self.seat(from).is_some_and(|seat| seat.role != Role::Agent);
        self.counters.not_its_to_sum += u64::from(!can);
        can
    }

    /// Whether a scope can have so many; if not, that is counted.
    pub(super) fn may_hold(&mut self, sum: &Sum) -> bool {
        let most = with_slack(self.roster.census().of_scope(&sum.scope));
        let within = u64::from(sum.part.members) <= most;
        self.counters.beyond_roster += u64::from(!within);
        within
    }

    /// The scope of a node's own sum, or of its phase, by the roster and not by its word.
    pub(super) fn scope_of(&self, node: &NodeId) -> Option<Scope> {
        Some(seat_scope(&self.seat(node)?))
    }

    /// Leaves out parts until what is said together can be: every one may be within its bound
    /// and all together beyond ours. Our parent would refuse all of it for one liar.
    pub(super) fn shed(&mut self) {
        let most = self.at_most(&self.me);
        self.shed_from(Whose::Child, 1, most);
        if self.field.has_siblings() {
            let own = 1 + self.all(Whose::Child);
            let scope = wider(self.me);
            let most = with_slack(self.roster.census().of_scope(&scope));
            self.shed_from(Whose::Sibling, own, most);
        }
    }

    fn shed_from(&mut self, whose: Whose, own: u64, most: u64) {
        while own + self.all(whose) > most {
            let claims = self.field.heads(whose);
            let worst =
                claims.max_by_key(|(node, members)| (self.beyond(node, *members), *members));
            let Some((worst, _)) = worst else { return };
            self.field.remove(&worst);
            self.counters.beyond_roster += 1;
        }
    }

    fn all(&self, whose: Whose) -> u64 {
        let heads = self.field.heads(whose);
        heads.map(|(_, members)| u64::from(members)).sum()
    }

    /// How many more than it has regularly a node claims.
    fn beyond(&self, node: &NodeId, members: u32) -> u32 {
        let census = self.roster.census();
        let seat = self.seat(node);
        let regular = seat.map_or(0, |it| census.regular(it.role, &it.place));
        members.saturating_sub(regular.saturating_add(1))
    }

    /// How many a node and those beneath it can be.
    fn at_most(&self, seat: &Member) -> u64 {
        1 + with_slack(self.roster.census().beneath(seat.role, &seat.place))
    }

    fn seat(&self, node: &NodeId) -> Option<Member> {
        Some(self.roster.get(node)?.entry.in_tree())
    }
}

/// The scope of the sum over what hangs beneath a seat.
pub(super) fn seat_scope(seat: &Member) -> Scope {
    let place = seat.place;
    match seat.role {
        Role::Orchestrator => Scope::MESH,
        Role::Coordinator => Scope::sector(place.sector),
        Role::Lead | Role::Agent => Scope::cluster(place.sector, place.cluster),
    }
}

#[cfg(test)]
mod tests;
