//! Roster: who belongs, as the set of items says; a value that is looked things up in.
//!
//! It is made by [`Roster::of`] and never changed. For one key the entry with
//! the highest (floor, issued, digest) counts; a revoked key has none. Of two
//! members that claim one name or one link key the lower [`NodeId`] has it;
//! both stay members, and [`Roster::duplicate_names`] tells the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{CurveKey, Digest, Label, NodeId};
use crate::membership::topology;
use crate::trust::census::Census;
use crate::trust::item::{Announcement, Claim, Entry};
use crate::trust::set::Set;
use crate::wire::envelope::Signer;
use crate::wire::identity::PublicKey;

/// The power, and the capability, to enrol others.
pub const ENROL: &str = "enrol";

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What was signed of it.
    pub entry: Arc<Entry>,
    /// Its key, checked.
    pub key: PublicKey,
    /// On whose word.
    pub issuer: NodeId,
}

/// Who belongs.
#[derive(Debug, Clone)]
pub struct Roster {
    root: NodeId,
    belonging: Arc<Belonging>,
    announcements: Vec<Arc<Announcement>>,
}

/// What does not change with an announcement, and so is shared.
#[derive(Debug)]
struct Belonging {
    members: Vec<Arc<Member>>,
    by_curve: Vec<(CurveKey, usize)>,
    by_name: Vec<(Label, usize)>,
    revoked: BTreeSet<NodeId>,
    enrollers: BTreeSet<NodeId>,
    issued: BTreeMap<NodeId, u64>,
    serials: BTreeSet<u64>,
    serial_upto: u64,
    census: Census,
}

impl Roster {
    /// What a set says.
    pub fn of(set: &Set) -> Self {
        Self {
            root: *set.root(),
            belonging: Arc::new(Belonging::of(set)),
            announcements: announcements(set),
        }
    }

    /// What a set says that differs from the one of this roster in
    /// announcements alone.
    pub(crate) fn with_announcements_of(&self, set: &Set) -> Self {
        Self {
            root: self.root,
            belonging: self.belonging.clone(),
            announcements: announcements(set),
        }
    }

    /// Whether somebody here might be the parent of such a one: without, it would hang nowhere
    /// in the tree, and nobody would ever hear of it.
    pub fn has_parent_for(&self, child: &topology::Member) -> bool {
        self.members().any(|member| {
            let above = member.entry.in_tree();
            above.node != child.node && topology::may_hang_beneath(child, &above)
        })
    }

    /// The mesh's root key.
    pub fn root(&self) -> &NodeId {
        &self.root
    }
    /// How many members there are.
    pub fn len(&self) -> usize {
        self.belonging.members.len()
    }
    /// Whether nobody belongs.
    pub fn is_empty(&self) -> bool {
        self.belonging.members.is_empty()
    }
    /// The members, by [`NodeId`].
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.belonging.members.iter().map(Arc::as_ref)
    }
    /// How many of them stand where.
    pub fn census(&self) -> &Census {
        &self.belonging.census
    }
    /// A member by its key.
    pub fn get(&self, node: &NodeId) -> Option<&Member> {
        self.shared(node).map(Arc::as_ref)
    }
    /// The member of a link key.
    pub fn by_curve(&self, curve: &CurveKey) -> Option<&Member> {
        let members = &self.belonging.members;
        first(&self.belonging.by_curve, curve).map(|at| members[at].as_ref())
    }
    /// The member that has a name.
    pub fn by_name(&self, name: &Label) -> Option<&Member> {
        let members = &self.belonging.members;
        first(&self.belonging.by_name, name).map(|at| members[at].as_ref())
    }
    /// Names that more than one member claims.
    pub fn duplicate_names(&self) -> BTreeSet<Label> {
        let pairs = self.belonging.by_name.windows(2);
        pairs
            .filter(|pair| pair[0].0 == pair[1].0)
            .map(|pair| pair[0].0)
            .collect()
    }
    /// What the roster says of a frame's sender.
    pub fn signer(&self, node: &NodeId) -> Signer<'_> {
        match self.get(node) {
            Some(member) => Signer::Member(&member.key, member.entry.floor),
            None if self.is_revoked(node) => Signer::Revoked,
            None => Signer::Unknown,
        }
    }
    /// Whether a key belongs no more.
    pub fn is_revoked(&self, node: &NodeId) -> bool {
        self.belonging.revoked.contains(node)
    }
    /// The keys that belong no more.
    pub fn revoked(&self) -> &BTreeSet<NodeId> {
        &self.belonging.revoked
    }
    /// Whether a key may sign entries: the root may, and delegates that have
    /// not been revoked.
    pub fn may_enrol(&self, node: &NodeId) -> bool {
        *node == self.root || self.belonging.enrollers.contains(node)
    }
    /// The link keys that sockets admit.
    pub fn allowed_curve_keys(&self) -> BTreeSet<[u8; 32]> {
        self.belonging
            .by_curve
            .iter()
            .map(|(curve, _)| curve.0)
            .collect()
    }
    /// Where a member said that it listens.
    pub fn address(&self, node: &NodeId) -> Option<&Announcement> {
        let at = self
            .announcements
            .binary_search_by_key(node, |it| it.node)
            .ok()?;
        Some(&self.announcements[at])
    }
    /// All that members announced, by [`NodeId`].
    pub fn announcements(&self) -> impl ExactSizeIterator<Item = &Announcement> {
        self.announcements.iter().map(Arc::as_ref)
    }
    /// The highest counter that an issuer is known to have used; 0 for none.
    pub fn last_issued(&self, issuer: &NodeId) -> u64 {
        self.belonging.issued.get(issuer).copied().unwrap_or(0)
    }
    /// The highest serial of a revocation that is known to exist; 0 for none.
    pub fn last_serial(&self) -> u64 {
        self.belonging.serial_upto
    }
    /// How many revocations are known to exist and are not here. More than 0
    /// means that this roster is old (rolled back, or still being fetched).
    pub fn missing_revocations(&self) -> u64 {
        self.belonging.serial_upto - self.belonging.serials.len() as u64
    }

    pub(crate) fn shared(&self, node: &NodeId) -> Option<&Arc<Member>> {
        let members = &self.belonging.members;
        let at = members
            .binary_search_by_key(node, |member| member.entry.node)
            .ok()?;
        Some(&members[at])
    }

    /// Members here and not in `old`, members of `old` that are not here, and
    /// members whose entry is another.
    pub(crate) fn changes_since(&self, old: &Roster) -> Changes {
        let mut changes = Changes::default();
        if Arc::ptr_eq(&self.belonging, &old.belonging) {
            return changes;
        }
        for member in &self.belonging.members {
            match old.shared(&member.entry.node) {
                None => changes.admitted.push(member.entry.node),
                // Two opened copies of one item are two allocations of equal content.
                Some(before) if Arc::ptr_eq(before, member) || before == member => {}
                Some(_) => changes.altered.push(member.entry.node),
            }
        }
        let gone = old.members().map(|member| member.entry.node);
        let gone = gone.filter(|node| self.get(node).is_none());
        let mut lost: BTreeSet<NodeId> = gone.collect();
        lost.extend(self.revoked().difference(old.revoked()));
        changes.revoked = lost.into_iter().collect();
        changes
    }
}

/// Which members differ between two rosters.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) admitted: Vec<NodeId>,
    pub(crate) altered: Vec<NodeId>,
    pub(crate) revoked: Vec<NodeId>,
}

impl Belonging {
    fn of(set: &Set) -> Self {
        let mut this = Self {
            members: Vec::new(),
            by_curve: Vec::new(),
            by_name: Vec::new(),
            revoked: BTreeSet::new(),
            enrollers: BTreeSet::new(),
            issued: BTreeMap::new(),
            serials: BTreeSet::new(),
            serial_upto: 0,
            census: Census::default(),
        };
        // Entries come by node; this is the rank of the last one that counted.
        let mut last_rank: Option<(NodeId, u32, u64, Digest)> = None;
        for item in set.by_slot() {
            match item.claim() {
                Claim::Revocation(it) => {
                    this.revoked.insert(it.node);
                    this.serials.insert(it.serial);
                    this.serial_upto = this.serial_upto.max(it.serial);
                }
                Claim::Delegation(it) => {
                    if set.is_delegated(&it.node) && !this.revoked.contains(&it.node) {
                        this.enrollers.insert(it.node);
                    }
                }
                Claim::Snapshot(it) => this.serial_upto = this.serial_upto.max(it.serial_upto),
                Claim::Entry(entry) => {
                    let counter = this.issued.entry(*item.issuer()).or_default();
                    *counter = entry.issued.max(*counter);
                    let Some(member) = item.member() else {
                        continue;
                    };
                    if this.revoked.contains(&entry.node) {
                        continue;
                    }
                    let rank = (entry.node, entry.floor, entry.issued, *item.digest());
                    let same = last_rank.is_some_and(|(node, ..)| node == entry.node);
                    if same && last_rank >= Some(rank) {
                        continue;
                    }
                    if same {
                        this.members.pop();
                    }
                    this.members.push(member.clone());
                    last_rank = Some(rank);
                }
                Claim::Announcement(_) => {}
            }
        }
        let members = this.members.iter().enumerate();
        this.by_curve = members
            .clone()
            .map(|(at, member)| (member.entry.curve, at))
            .collect();
        this.by_name = members
            .map(|(at, member)| (member.entry.name, at))
            .collect();
        this.by_curve.sort_unstable();
        this.by_name.sort_unstable();
        let entries = this.members.iter().map(|member| &member.entry);
        this.census = Census::of(entries.map(|entry| (entry.role, entry.place)));
        this
    }
}

fn announcements(set: &Set) -> Vec<Arc<Announcement>> {
    let announced = set.by_slot().filter_map(|item| match item.claim() {
        Claim::Announcement(it) => Some(it.clone()),
        _ => None,
    });
    announced.collect()
}

/// The value of the first pair with this key, in sorted pairs.
fn first<K: Ord>(pairs: &[(K, usize)], key: &K) -> Option<usize> {
    let at = pairs.partition_point(|(k, _)| k < key);
    pairs
        .get(at)
        .filter(|(k, _)| k == key)
        .map(|(_, value)| *value)
}
