//! Placement: which nodes hold a key, and how likely one of them survives.
//!
//! A key is held by the `k` members nearest to it, where near means what Kademlia means:
//! the exclusive or of SHA-256 of the peer id and of the key's position (Maymounkov and
//! Mazières, 2002). The roster says who the members are, so every node knows the same
//! holders without asking. Keys of one leaf have the same holders: two nodes whose hashes
//! agree in their first two bytes stand equally near to all of them but for one in 65,536.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::ids::NodeId;
use crate::memory::index::{LEAVES, Leaves};

/// How many members hold a key (Kademlia's k, as in the paper and in libp2p).
pub const K: usize = 20;

/// What libp2p puts before an Ed25519 key to make the peer id that Kademlia hashes: an
/// identity multihash of 36 bytes around a protobuf of key type and key.
const PEER_ID: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Where a node stands among the keys.
pub fn stands_at(node: &NodeId) -> [u8; 32] {
    let hash = Sha256::new().chain_update(PEER_ID);
    hash.chain_update(node.0).finalize().into()
}

/// The members that hold keys, and how many hold each.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    /// In the order of where they stand.
    nodes: Vec<([u8; 32], NodeId)>,
    k: usize,
}

impl Placement {
    /// Of these members, `k` of whom hold each key.
    pub fn new(members: impl IntoIterator<Item = NodeId>, k: usize) -> Self {
        let mut nodes: Vec<_> = members.into_iter().map(|it| (stands_at(&it), it)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        Self { nodes, k }
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.nodes.len()
    }

    /// How many hold each key: `k`, or all where there are fewer.
    pub fn copies(&self) -> usize {
        self.k.min(self.nodes.len())
    }

    /// How many of the holders are more than half of them.
    pub fn majority(&self) -> usize {
        self.copies() / 2 + 1
    }

    /// Who holds the keys of a leaf.
    pub fn holders(&self, leaf: u16) -> BTreeSet<NodeId> {
        let mut found = BTreeSet::new();
        let mut target = [0; 32];
        target[..2].copy_from_slice(&leaf.to_be_bytes());
        nearest(&self.nodes, 0, &target, self.copies(), &mut found);
        found
    }

    /// The leaves whose keys a node holds.
    pub fn leaves(&self, node: &NodeId) -> Leaves {
        let at = (stands_at(node), *node);
        if self.nodes.binary_search(&at).is_err() {
            return Leaves::of(|_| false);
        }
        if self.copies() == self.nodes.len() {
            return Leaves::All;
        }
        let mut held = vec![false; LEAVES];
        holding(&self.nodes, 0, &at, self.copies(), &mut held);
        Leaves::of(|leaf| held[usize::from(leaf)])
    }
}

fn is_set(at: &[u8; 32], bit: usize) -> bool {
    at[bit / 8] >> (7 - bit % 8) & 1 == 1
}

/// Marks which of these leaves, that agree in their first `bit` bits, have `one` among the
/// `many` of `nodes` that stand nearest. It walks the leaves as a tree and stops where it is
/// known whether `one` is in; asking for the holders of each of 65,536 leaves takes a
/// hundred times as long.
fn holding(
    nodes: &[([u8; 32], NodeId)],
    bit: usize,
    one: &([u8; 32], NodeId),
    many: usize,
    leaves: &mut [bool],
) {
    if many == 0 || nodes.binary_search(one).is_err() {
        return;
    }
    if nodes.len() <= many || bit == 256 {
        let place = nodes.binary_search(one).unwrap_or(0);
        return leaves.fill(place < many);
    }
    let (zeros, ones) = nodes.split_at(nodes.partition_point(|(at, _)| !is_set(at, bit)));
    let side = |near: &[_], far: &[_], leaves: &mut [bool]| {
        // The near ones come first, and the far ones fill what is left.
        let taken = many.min(near.len());
        match near.len() <= many && near.binary_search(one).is_ok() {
            true => leaves.fill(true),
            false if near.len() > many => holding(near, bit + 1, one, many, leaves),
            false => holding(far, bit + 1, one, many - taken, leaves),
        }
    };
    // Beyond its two bytes a leaf stands at zeros.
    if leaves.len() == 1 {
        return side(zeros, ones, leaves);
    }
    let (low, high) = leaves.split_at_mut(leaves.len() / 2);
    side(zeros, ones, low);
    side(ones, zeros, high);
}

/// Adds the `many` of `nodes`, which agree in their first `bit` bits, that stand nearest to
/// `target`.
fn nearest(
    nodes: &[([u8; 32], NodeId)],
    bit: usize,
    target: &[u8; 32],
    many: usize,
    found: &mut BTreeSet<NodeId>,
) {
    if nodes.len() <= many || bit == 256 {
        found.extend(nodes.iter().take(many).map(|(_, node)| *node));
        return;
    }
    let (zeros, ones) = nodes.split_at(nodes.partition_point(|(at, _)| !is_set(at, bit)));
    let (near, far) = match is_set(target, bit) {
        true => (ones, zeros),
        false => (zeros, ones),
    };
    nearest(near, bit + 1, target, many.min(near.len()), found);
    if many > near.len() {
        nearest(far, bit + 1, target, many - near.len(), found);
    }
}

/// The probability that a record with `copies` on that many of `members` nodes is gone when
/// `dead` of them, any, are: the hypergeometric chance that the dead include all its holders.
pub fn lost(members: usize, dead: usize, copies: usize) -> f64 {
    (0..copies)
        .map(|n| dead.saturating_sub(n) as f64 / members.saturating_sub(n).max(1) as f64)
        .product()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(many: u16) -> Vec<NodeId> {
        let key = |n: u16| Sha256::digest(n.to_be_bytes()).into();
        (0..many).map(|n| NodeId(key(n))).collect()
    }

    #[test]
    fn the_nearest_are_those_that_a_full_sort_finds() {
        let members = members(300);
        let placement = Placement::new(members.clone(), 20);
        for leaf in [0u16, 1, 255, 256, 4_711, 40_000, u16::MAX] {
            let mut target = [0; 32];
            target[..2].copy_from_slice(&leaf.to_be_bytes());
            let mut all: Vec<_> = members.iter().map(|it| (stands_at(it), *it)).collect();
            all.sort_by_key(|(at, _)| {
                let xor: Vec<u8> = at.iter().zip(&target).map(|(a, b)| a ^ b).collect();
                xor
            });
            let want: BTreeSet<_> = all[..20].iter().map(|(_, node)| *node).collect();
            assert_eq!(placement.holders(leaf), want, "{leaf}");
        }
    }

    #[test]
    fn a_small_mesh_holds_everything_everywhere_and_a_large_one_spreads_it() {
        let few = members(12);
        let placement = Placement::new(few.clone(), K);
        assert_eq!((placement.copies(), placement.majority()), (12, 7));
        assert!(few.iter().all(|it| placement.leaves(it) == Leaves::All));
        let stranger = placement.leaves(&NodeId([0xee; 32]));
        assert!(!(0..=u16::MAX).any(|leaf| stranger.has(leaf)));

        let many = members(200);
        let placement = Placement::new(many.clone(), K);
        assert_eq!((placement.copies(), placement.majority()), (20, 11));
        for node in &many[..3] {
            let leaves = placement.leaves(node);
            let held = (0..=u16::MAX).filter(|leaf| leaves.has(*leaf)).count();
            assert!((1_000..40_000).contains(&held), "{held} of about 6,500");
            let wrong = |leaf: &u16| leaves.has(*leaf) != placement.holders(*leaf).contains(node);
            assert_eq!((0..=u16::MAX).find(wrong), None, "as the holders say");
            let leaf = (0..=u16::MAX).find(|leaf| leaves.has(*leaf));
            let holders = placement.holders(leaf.expect("a leaf"));
            assert!(holders.len() == 20 && holders.contains(node));
        }
    }

    #[test]
    fn with_99_of_100_gone_twenty_copies_are_gone_four_times_in_five() {
        assert!((lost(30_000, 29_700, 20) - 0.818).abs() < 0.001);
        assert_eq!(lost(12, 11, 12), 0.0, "on all, one is enough");
        assert_eq!(lost(12, 12, 12), 1.0);
    }
}
