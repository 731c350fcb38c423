//! Founding: the items that begin a mesh, and those that end a membership.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::ids::{CurveKey, Label, MeshId, NodeId, Place, Role};
use crate::trust::item::{Claim, Delegation, Entry, Item, Revocation, Snapshot};
use crate::trust::roster::{ENROL, Roster};
use crate::wire::identity::Identity;

/// The mesh of a root key: its SHA-256.
pub fn mesh_of(root: &NodeId) -> MeshId {
    MeshId(Sha256::digest(root.as_bytes()).into())
}

/// The items that begin a mesh: its first node's entry with the capability
/// `enrol`, the delegation that lets it enrol others, and a snapshot of no
/// revocations.
pub fn found(
    root: &Identity,
    node: NodeId,
    curve: CurveKey,
    name: Label,
    role: Role,
    place: Place,
) -> Vec<Vec<u8>> {
    let mesh = mesh_of(&root.id());
    let entry = Entry {
        node,
        curve,
        name,
        role,
        place,
        caps: vec![enrol()],
        floor: 0,
        issued: 1,
        adopts: None,
    };
    let snapshot = Snapshot {
        serial_upto: 0,
        entries: 1,
    };
    vec![
        Item::seal(root, &mesh, &Claim::Entry(Arc::new(entry))),
        delegation(root, node),
        Item::seal(root, &mesh, &Claim::Snapshot(snapshot)),
    ]
}

/// The items that end `node`'s membership for ever.
///
/// Where it was an enroller, everything that it signed falls with it, or its
/// thief could go on making members. So the root adopts, in the same breath,
/// every member that `roster` shows as enrolled by it: revoke those that should
/// go too *before* this, for what the thief made is adopted like the rest.
/// Empty when the key is revoked already.
pub fn revoke(root: &Identity, roster: &Roster, node: NodeId, reason: &str) -> Vec<Vec<u8>> {
    if roster.is_revoked(&node) {
        return Vec::new();
    }
    let mesh = mesh_of(&root.id());
    let mut issued = roster.last_issued(&root.id());
    let mut claims: Vec<Claim> = roster
        .members()
        .filter(|member| member.issuer == node && member.entry.node != node)
        .map(|member| {
            issued = issued.saturating_add(1);
            let entry = Entry {
                issued,
                adopts: Some(node),
                ..Entry::clone(&member.entry)
            };
            Claim::Entry(Arc::new(entry))
        })
        .collect();
    let serial = roster.last_serial().saturating_add(1);
    let gone = u32::from(roster.get(&node).is_some());
    let adopted = claims.len() as u32;
    claims.push(Claim::Revocation(Revocation {
        node,
        serial,
        reason: line(reason),
        adopted,
    }));
    let entries = (roster.len() as u32).saturating_sub(gone);
    claims.push(Claim::Snapshot(Snapshot {
        serial_upto: serial,
        entries,
    }));
    claims
        .iter()
        .map(|claim| Item::seal(root, &mesh, claim))
        .collect()
}

/// The item by which the root lets `node` enrol others.
pub fn delegation(root: &Identity, node: NodeId) -> Vec<u8> {
    let may = vec![enrol()];
    let claim = Claim::Delegation(Delegation { node, may });
    Item::seal(root, &mesh_of(&root.id()), &claim)
}

/// The label of the power to enrol, and of the capability that asks for it.
pub fn enrol() -> Label {
    Label::new(ENROL).expect("invariant: `enrol` is a label")
}

/// As much of a reason as a revocation may carry.
fn line(reason: &str) -> String {
    let mut line = String::new();
    for c in reason.chars().filter(|c| !c.is_control()) {
        if line.len() + c.len_utf8() > super::item::REASON_BYTES_MAX {
            break;
        }
        line.push(c);
    }
    line
}
