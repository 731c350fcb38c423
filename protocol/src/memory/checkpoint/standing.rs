//! Standing: who may sign which part of a checkpoint, and list whom, by the roster.

use crate::ids::{NodeId, Role};
use crate::membership::topology::{Member, may_hang_beneath};
use crate::trust::roster::Roster;

use super::{Copy, Header, Kind, Part, Refusal};

/// Where a part came from: what must hold of it differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// From the child that signed it, to be signed over: every member must be known.
    Child,
    /// From the parent, to be kept. Members that joined a moment ago may be unknown here;
    /// its signers are known.
    Parent,
    /// From the own disk: its signers may have been revoked since, or have moved.
    Disk,
}

/// The member that signs whole checkpoints: the first by name of those on the highest tier.
pub fn top(roster: &Roster) -> Option<NodeId> {
    let members = roster.members().map(|member| &member.entry);
    let first = members.min_by_key(|entry| (entry.role, entry.node));
    first.map(|entry| entry.node)
}

/// Whether the signer of this header may sign what it says to be.
pub fn signer(header: &Header, roster: &Roster, from: From) -> Result<(), Refusal> {
    let was_member = from == From::Disk && roster.is_revoked(&header.signer);
    let role = roster.get(&header.signer).map(|it| it.entry.role);
    let may = match header.kind {
        Kind::Whole => top(roster) == Some(header.signer),
        _ => role.is_some_and(|role| role != Role::Agent),
    };
    match may || was_member {
        true => Ok(()),
        false => Err(Refusal::WrongSigner),
    }
}

/// Whether everybody stands where he must for this copy.
pub fn check_copy(copy: &Copy, roster: &Roster, from: From) -> Result<(), Refusal> {
    match copy {
        Copy::Whole(whole) => check(whole.part(), roster, from),
        Copy::Fragment(fragment) => signer(&fragment.header, roster, from),
    }
}

/// Whether everybody stands where he must for this part.
pub fn check(part: &Part, roster: &Roster, from: From) -> Result<(), Refusal> {
    let seat = |node: &NodeId| Some(roster.get(node)?.entry.in_tree());
    let was_member = |node: &NodeId| from == From::Disk && roster.is_revoked(node);
    signer(part.header(), roster, from)?;
    for piece in part.pieces() {
        let signer = match seat(&piece.header.signer) {
            Some(signer) if signer.role != Role::Agent => signer,
            None if was_member(&piece.header.signer) => continue,
            _ => return Err(Refusal::WrongSigner),
        };
        if from == From::Disk {
            continue;
        }
        let beneath = piece.beneath.iter();
        let mut beneath = beneath.map(|at| seat(&part.pieces()[*at].header.signer));
        if !beneath.all(|child| child.is_some_and(|child| may_hang_beneath(&child, &signer))) {
            return Err(Refusal::WrongSigner);
        }
        let allowed = |child: Option<Member>| match child {
            Some(child) => child.role == Role::Agent && may_hang_beneath(&child, &signer),
            None => from == From::Parent,
        };
        if !piece.rows[1..].iter().all(|row| allowed(seat(&row.node))) {
            return Err(Refusal::WrongMember);
        }
    }
    Ok(())
}
