//! Set: all items that count, merged by union.
//!
//! Each item has a *slot*, and of two items in one slot the higher rank stays:
//! a join, so the order, the grouping and the repetition of merges do not matter.
//! What an item's place depends on only ever grows (delegations, revocations,
//! adoptions are never taken out), so what is dead stays dead:
//!
//! - an entry or announcement of a revoked node is dead (a revocation wins for
//!   ever over a key; adopting entries stay, they are counted);
//! - an entry by an enroller waits for the enroller's delegation, and dies when
//!   the enroller is revoked *and* the promised adoptions are here;
//! - an announcement waits for an entry of its node.
//!
//! What waits is bounded; the oldest goes first and can be fetched again.
//! Beyond [`ENTRIES_MAX`] new entries are refused: the one case where two
//! directories could differ for good, and it is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{Digest, NodeId};
use crate::trust::founding::enrol;
use crate::trust::item::{Claim, Item};

/// Most entries that count (the seeds' largest mesh has 30,000 nodes).
pub const ENTRIES_MAX: usize = 32_768;
/// Most items that wait for another item.
pub const WAITING_MAX: usize = 1_024;

/// What an item is about. The order matters: a slot's standing depends only on
/// slots before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// All revocations are kept: the root may have signed two with one serial.
    Revocation(NodeId, Digest),
    /// All delegations are kept.
    Delegation(NodeId, Digest),
    /// The newest snapshot.
    Snapshot,
    /// One for each member and issuer, so that an enroller's fall leaves what
    /// others said of the same member.
    Entry {
        node: NodeId,
        adopts: Option<NodeId>,
        issuer: NodeId,
    },
    /// The newest announcement of a node.
    Announcement(NodeId),
}

impl Slot {
    fn of(item: &Item) -> Self {
        match item.claim() {
            Claim::Revocation(it) => Slot::Revocation(it.node, *item.digest()),
            Claim::Delegation(it) => Slot::Delegation(it.node, *item.digest()),
            Claim::Snapshot(_) => Slot::Snapshot,
            Claim::Entry(it) => Slot::Entry {
                node: it.node,
                adopts: it.adopts,
                issuer: *item.issuer(),
            },
            Claim::Announcement(it) => Slot::Announcement(it.node),
        }
    }

    /// All slots of entries for one node.
    fn entries_of(node: NodeId) -> std::ops::RangeInclusive<Slot> {
        const LAST: NodeId = NodeId([0xff; 32]);
        Slot::Entry {
            node,
            adopts: None,
            issuer: NodeId([0; 32]),
        }..=Slot::Entry {
            node,
            adopts: Some(LAST),
            issuer: LAST,
        }
    }
}

/// How an item stands against another in its slot.
fn rank(item: &Item) -> (u64, u64, Digest) {
    let (major, minor) = match item.claim() {
        Claim::Entry(it) => (it.floor as u64, it.issued),
        Claim::Announcement(it) => (it.stamp.incarnation.0, it.stamp.lamport),
        Claim::Snapshot(it) => (it.serial_upto, it.entries as u64),
        Claim::Revocation(_) | Claim::Delegation(_) => (0, 0),
    };
    (major, minor, *item.digest())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not yet looked at.
    New,
    Current,
    /// With its number in the queue.
    Waiting(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Current,
    Wait,
    Dead,
    Full,
}

#[derive(Debug, Clone)]
struct Held {
    item: Arc<Item>,
    standing: Standing,
}

/// What a merge changed.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    /// Items that count now and did not.
    pub added: Vec<Arc<Item>>,
    /// Items that counted and do so no more.
    pub removed: Vec<Digest>,
    /// Entries refused because the set is full.
    pub full: u32,
    /// Waiting items dropped for newer ones.
    pub dropped: u32,
}

/// The items that count, and those that wait.
#[derive(Debug, Clone)]
pub struct Set {
    root: NodeId,
    slots: BTreeMap<Slot, Held>,
    current: BTreeMap<Digest, Arc<Item>>,
    waiting: BTreeMap<u64, Slot>,
    waited: u64,
    entries: usize,
    /// For each revoked enroller: how many entries adopt its word.
    adopted: BTreeMap<NodeId, u32>,
    entries_max: usize,
}

impl Set {
    /// A set of nothing, under this root key.
    pub fn new(root: NodeId) -> Self {
        Self::with_limit(root, ENTRIES_MAX)
    }

    pub(crate) fn with_limit(root: NodeId, entries_max: usize) -> Self {
        Self {
            root,
            slots: BTreeMap::new(),
            current: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waited: 0,
            entries: 0,
            adopted: BTreeMap::new(),
            entries_max,
        }
    }

    /// The root key.
    pub fn root(&self) -> &NodeId {
        &self.root
    }
    /// How many items count.
    pub fn len(&self) -> usize {
        self.current.len()
    }
    /// Whether nothing counts.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }
    /// How many items wait for another.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
    /// Whether an item counts already.
    pub fn holds(&self, digest: &Digest) -> bool {
        self.current.contains_key(digest)
    }
    /// The items that count, by digest.
    pub fn items(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.current.values()
    }
    /// The items of one bucket that count, by digest.
    pub fn bucket(&self, bucket: u8) -> impl Iterator<Item = &Arc<Item>> {
        let (mut first, mut last) = ([0; 32], [0xff; 32]);
        (first[0], last[0]) = (bucket, bucket);
        self.current
            .range(Digest(first)..=Digest(last))
            .map(|(_, item)| item)
    }
    /// The items that count, by what they are about: revocations, delegations,
    /// the snapshot, entries by node, announcements by node.
    pub(crate) fn by_slot(&self) -> impl Iterator<Item = &Arc<Item>> {
        let counts = |held: &&Held| held.standing == Standing::Current;
        self.slots.values().filter(counts).map(|held| &held.item)
    }

    /// Everything, also what waits.
    #[cfg(test)]
    pub(crate) fn held(&self) -> impl Iterator<Item = &Item> {
        self.slots.values().map(|held| held.item.as_ref())
    }

    /// Whether an item would take its slot from what is there.
    pub(crate) fn is_newer(&self, item: &Item) -> bool {
        let held = self.slots.get(&Slot::of(item));
        held.is_none_or(|held| rank(&held.item) < rank(item))
    }

    /// Merges items of this mesh, in any order.
    pub fn apply(&mut self, items: impl IntoIterator<Item = Item>) -> Delta {
        let mut delta = Delta::default();
        let mut touched = BTreeSet::new();
        let mut decides_others = false;
        for item in items {
            if !self.is_newer(&item) {
                continue;
            }
            let slot = Slot::of(&item);
            match slot {
                Slot::Delegation(..) => decides_others = true,
                // An enroller takes others with it; anyone else goes alone.
                Slot::Revocation(node, _) if self.is_delegated(&node) => decides_others = true,
                Slot::Revocation(node, _) => {
                    touched.extend(
                        self.slots
                            .range(Slot::entries_of(node))
                            .map(|(slot, _)| *slot),
                    );
                    touched.insert(Slot::Announcement(node));
                }
                Slot::Entry { node, adopts, .. } => {
                    if let Some(enroller) = adopts.filter(|_| !self.slots.contains_key(&slot)) {
                        *self.adopted.entry(enroller).or_default() += 1;
                        decides_others = true;
                    }
                    touched.insert(Slot::Announcement(node));
                }
                Slot::Snapshot | Slot::Announcement(_) => {}
            }
            let held = Held {
                item: Arc::new(item),
                standing: Standing::New,
            };
            if let Some(old) = self.slots.insert(slot, held) {
                self.release(slot, &old, &mut delta);
            }
            touched.insert(slot);
        }
        if decides_others {
            touched.extend(self.slots.keys());
        }
        for slot in touched {
            self.settle(slot, &mut delta);
        }
        while self.waiting.len() > WAITING_MAX {
            if let Some((_, slot)) = self.waiting.pop_first() {
                self.slots.remove(&slot);
                delta.dropped += 1;
            }
        }
        delta
    }

    /// Gives a slot's item the standing that the slots before it leave it.
    fn settle(&mut self, slot: Slot, delta: &mut Delta) {
        let Some(held) = self.slots.get(&slot).cloned() else {
            return;
        };
        let verdict = self.verdict(&slot, held.standing);
        match (verdict, held.standing) {
            (Verdict::Current, Standing::Current) | (Verdict::Wait, Standing::Waiting(_)) => return,
            _ => self.release(slot, &held, delta),
        }
        let standing = match verdict {
            Verdict::Current => {
                self.entries += usize::from(matches!(slot, Slot::Entry { .. }));
                self.current.insert(*held.item.digest(), held.item.clone());
                delta.added.push(held.item.clone());
                Standing::Current
            }
            Verdict::Wait => {
                self.waited += 1;
                self.waiting.insert(self.waited, slot);
                Standing::Waiting(self.waited)
            }
            Verdict::Dead | Verdict::Full => {
                delta.full += u32::from(verdict == Verdict::Full);
                self.slots.remove(&slot);
                return;
            }
        };
        self.slots.insert(slot, Held { standing, ..held });
    }

    /// Takes an item out of the indices.
    fn release(&mut self, slot: Slot, held: &Held, delta: &mut Delta) {
        match held.standing {
            Standing::New => {}
            Standing::Current => {
                self.entries -= usize::from(matches!(slot, Slot::Entry { .. }));
                self.current.remove(held.item.digest());
                delta.removed.push(*held.item.digest());
            }
            Standing::Waiting(number) => {
                self.waiting.remove(&number);
            }
        }
    }

    fn verdict(&self, slot: &Slot, standing: Standing) -> Verdict {
        match slot {
            Slot::Revocation(..) | Slot::Delegation(..) | Slot::Snapshot => Verdict::Current,
            Slot::Entry {
                adopts: Some(_), ..
            } => Verdict::Current,
            Slot::Entry { node, issuer, .. } => {
                let by_root = *issuer == self.root;
                if self.is_revoked(node) {
                    Verdict::Dead
                } else if !by_root && !self.is_delegated(issuer) {
                    Verdict::Wait
                } else if !by_root && self.has_fallen(issuer) {
                    Verdict::Dead
                } else if standing != Standing::Current && self.entries >= self.entries_max {
                    Verdict::Full
                } else {
                    Verdict::Current
                }
            }
            Slot::Announcement(node) if self.is_revoked(node) => Verdict::Dead,
            Slot::Announcement(node) => {
                let mut entries = self.slots.range(Slot::entries_of(*node));
                match entries.any(|(_, held)| held.standing == Standing::Current) {
                    true => Verdict::Current,
                    false => Verdict::Wait,
                }
            }
        }
    }

    /// Whether a key has been revoked.
    pub fn is_revoked(&self, node: &NodeId) -> bool {
        self.revocations_of(node).next().is_some()
    }

    /// Whether the root ever let a key enrol others.
    pub fn is_delegated(&self, node: &NodeId) -> bool {
        let range =
            Slot::Delegation(*node, Digest([0; 32]))..=Slot::Delegation(*node, Digest([0xff; 32]));
        self.slots
            .range(range)
            .any(|(_, held)| match held.item.claim() {
                Claim::Delegation(it) => it.may.contains(&enrol()),
                _ => false,
            })
    }

    /// Whether what a revoked enroller signed counts no more.
    fn has_fallen(&self, enroller: &NodeId) -> bool {
        let adopted = self.adopted.get(enroller).copied().unwrap_or(0);
        self.revocations_of(enroller)
            .any(|promised| adopted >= promised)
    }

    /// The adoptions that each revocation of a key promises.
    fn revocations_of(&self, node: &NodeId) -> impl Iterator<Item = u32> {
        let range =
            Slot::Revocation(*node, Digest([0; 32]))..=Slot::Revocation(*node, Digest([0xff; 32]));
        self.slots
            .range(range)
            .filter_map(|(_, held)| match held.item.claim() {
                Claim::Revocation(it) => Some(it.adopted),
                _ => None,
            })
    }
}
