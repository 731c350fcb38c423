//! Pages: items packed for one frame, and the pages that a newcomer needs first.

use std::sync::Arc;

use serde_bytes::ByteBuf;

use crate::ids::{Digest, NodeId, Role};
use crate::trust::item::{Claim, Item};
use crate::trust::roster::{Member, Roster};
use crate::trust::set::Set;
use crate::wire::message::Items;

/// Most bytes of items on one page; with the frame around them they stay below
/// [`crate::wire::codec::BODY_BYTES_MAX`].
pub const PAGE_BYTES_MAX: usize = 48 * 1024;
/// What MessagePack puts before the bytes of an item.
const ITEM_HEAD: usize = 3;

/// Where an item stands in an answer: revocations travel first, then what
/// others depend on.
pub fn place(item: &Item) -> (u8, Digest) {
    let class = match item.claim() {
        Claim::Revocation(_) => 0,
        Claim::Delegation(_) => 1,
        Claim::Snapshot(_) => 2,
        Claim::Entry(_) => 3,
        Claim::Announcement(_) => 4,
    };
    (class, *item.digest())
}

/// Packs items, in order, into at most `pages_max` pages. Also says how many fitted.
pub fn pack<'i>(items: impl Iterator<Item = &'i Item>, pages_max: usize) -> (Vec<Items>, usize) {
    let mut pages: Vec<Items> = Vec::new();
    let (mut taken, mut room) = (0, 0);
    for item in items {
        let size = item.bytes().len() + ITEM_HEAD;
        if size > room {
            if pages.len() == pages_max {
                break;
            }
            pages.push(Items::default());
            room = PAGE_BYTES_MAX;
        }
        if let Some(page) = pages.last_mut() {
            page.items.push(ByteBuf::from(item.bytes()));
            room -= size;
            taken += 1;
        }
    }
    (pages, taken)
}

/// What proves that `node` belongs: its entry, and the delegation of whoever
/// signed it. Empty when it does not.
pub fn credentials(set: &Set, roster: &Roster, node: &NodeId) -> Items {
    let Some(member) = roster.shared(node) else {
        return Items::default();
    };
    let proves = |item: &&Arc<Item>| match item.claim() {
        Claim::Delegation(it) => it.node == member.issuer,
        _ => item.member().is_some_and(|it| Arc::ptr_eq(it, member)),
    };
    let proof: Vec<&Arc<Item>> = set.by_slot().filter(proves).collect();
    one_page(proof.into_iter())
}

/// What proves that `node` was revoked. Empty when it was not.
pub fn revocation(set: &Set, node: &NodeId) -> Items {
    let ends =
        |item: &&Arc<Item>| matches!(item.claim(), Claim::Revocation(it) if it.node == *node);
    one_page(set.by_slot().filter(ends))
}

/// What `node` needs to know whom it may obey and whom to attach to, most needed
/// first, as much as one page holds: its own entry, whoever may enrol,
/// revocations, its possible parents with their addresses, its cluster. The
/// rest it fetches.
pub fn welcome(set: &Set, roster: &Roster, node: &NodeId) -> Items {
    let Some(own) = roster.get(node) else {
        return Items::default();
    };
    let mut items: Vec<(u8, &Arc<Item>)> = Vec::new();
    for item in set.by_slot() {
        let urgency = match item.claim() {
            Claim::Delegation(_) => Some(1),
            Claim::Snapshot(_) => Some(2),
            Claim::Revocation(_) => Some(4),
            Claim::Entry(entry) => distance(own, &entry.node, roster),
            Claim::Announcement(it) => distance(own, &it.node, roster),
        };
        items.extend(urgency.map(|urgency| (urgency, item)));
    }
    items.sort_by_key(|(urgency, _)| *urgency);
    one_page(items.into_iter().map(|(_, item)| item))
}

/// How soon a newcomer needs to hear of another member; `None`: it can wait.
fn distance(own: &Member, other: &NodeId, roster: &Roster) -> Option<u8> {
    let other = &roster.get(other)?.entry;
    let own = &own.entry;
    let same_sector = other.place.sector == own.place.sector;
    let same_cluster = same_sector && other.place.cluster == own.place.cluster;
    match other.role {
        _ if other.node == own.node => Some(0),
        _ if roster.may_enrol(&other.node) => Some(2),
        Role::Lead if same_cluster => Some(3),
        Role::Coordinator if same_sector => Some(3),
        Role::Orchestrator => Some(3),
        _ if same_cluster => Some(5),
        _ => None,
    }
}

fn one_page<'i>(items: impl Iterator<Item = &'i Arc<Item>>) -> Items {
    pack(items.map(Arc::as_ref), 1).0.pop().unwrap_or_default()
}
