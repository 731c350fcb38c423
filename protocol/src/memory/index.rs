//! Index: digests by which two stores find where they differ.
//!
//! Keys fall into 65,536 leaves by the first two bytes of their position. A leaf's sum is
//! the wrapping sum of what its keys come to, so a change costs one subtraction and one
//! addition, and no leaf is ever read again for it. A *range* is one of 256 branches of 256
//! leaves each. Two stores compare one sum of everything that both should hold, then the
//! sums of the branches, then of the leaves of those branches that differ, then the keys of
//! the leaves that differ: what they send grows with the difference.
//!
//! A sum tells honest replicas apart; it is no proof. A member that wants its records left
//! out of a comparison can choose them so that sums agree, and harms only these.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::ids::Digest;
use crate::memory::key::Position;

/// Leaves of the whole index, and of one branch.
pub const LEAVES: usize = 65_536;
/// Leaves of one branch.
pub const BRANCH_LEAVES: usize = 256;
/// Bytes of a sum on the wire, inside a list of them.
pub const SUM_BYTES: usize = 8;

/// What a set of keys comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Keys.
    pub keys: u64,
    value: [u128; 2],
}

impl Sum {
    fn of(position: &Position, set: &Digest) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(position.0)
            .chain_update(set.0)
            .finalize()
            .into();
        let lane = |at: usize| {
            let bytes = hash[at..at + 16].try_into();
            bytes.map_or(0, u128::from_le_bytes)
        };
        Self {
            keys: 1,
            value: [lane(0), lane(16)],
        }
    }

    /// Adds what other keys come to.
    pub fn add(&mut self, other: &Sum) {
        self.keys = self.keys.wrapping_add(other.keys);
        for (mine, theirs) in self.value.iter_mut().zip(other.value) {
            *mine = mine.wrapping_add(theirs);
        }
    }

    fn take(&mut self, other: &Sum) {
        self.keys = self.keys.wrapping_sub(other.keys);
        for (mine, theirs) in self.value.iter_mut().zip(other.value) {
            *mine = mine.wrapping_sub(theirs);
        }
    }

    /// 32 bytes that are equal where the sums are.
    pub fn digest(&self) -> Digest {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.value[0].to_le_bytes());
        bytes[16..].copy_from_slice(&self.value[1].to_le_bytes());
        Digest(bytes)
    }

    /// As it goes over the wire inside a list.
    pub fn short(&self) -> [u8; SUM_BYTES] {
        let mut short = [0; SUM_BYTES];
        short.copy_from_slice(&self.value[0].to_le_bytes()[..SUM_BYTES]);
        short
    }
}

/// Which leaves a comparison is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaves {
    /// All of them.
    All,
    /// One bit for each leaf.
    Some(Box<[u64]>),
}

impl Leaves {
    /// Those that `holds` says.
    pub fn of(mut holds: impl FnMut(u16) -> bool) -> Self {
        let mut bits = vec![0u64; LEAVES / 64];
        let mut all = true;
        for leaf in 0..=u16::MAX {
            match holds(leaf) {
                true => bits[usize::from(leaf) / 64] |= 1 << (leaf % 64),
                false => all = false,
            }
        }
        if all {
            return Leaves::All;
        }
        Leaves::Some(bits.into())
    }

    /// Whether this leaf is one of them.
    pub fn has(&self, leaf: u16) -> bool {
        match self {
            Leaves::All => true,
            Leaves::Some(bits) => bits[usize::from(leaf) / 64] >> (leaf % 64) & 1 == 1,
        }
    }

    /// Those that are in both.
    pub fn common(&self, other: &Leaves) -> Leaves {
        match (self, other) {
            (Leaves::All, other) | (other, Leaves::All) => other.clone(),
            (Leaves::Some(a), Leaves::Some(b)) => {
                Leaves::Some(a.iter().zip(b.iter()).map(|(a, b)| a & b).collect())
            }
        }
    }
}

/// The sums of one store. An empty leaf costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Index {
    leaves: BTreeMap<u16, Sum>,
    all: Sum,
}

impl Index {
    /// The set under a key was `was` and is `is`; `None` where there was or is none.
    pub fn change(&mut self, position: &Position, was: Option<&Digest>, is: Option<&Digest>) {
        let leaf = self.leaves.entry(position.leaf()).or_default();
        if let Some(set) = was {
            let sum = Sum::of(position, set);
            leaf.take(&sum);
            self.all.take(&sum);
        }
        if let Some(set) = is {
            let sum = Sum::of(position, set);
            leaf.add(&sum);
            self.all.add(&sum);
        }
        if *leaf == Sum::default() {
            self.leaves.remove(&position.leaf());
        }
    }

    /// The sum over these leaves.
    pub fn sum(&self, within: &Leaves) -> Sum {
        if *within == Leaves::All {
            return self.all;
        }
        let mut all = Sum::default();
        for (leaf, sum) in &self.leaves {
            if within.has(*leaf) {
                all.add(sum);
            }
        }
        all
    }

    /// The sums of the branches, [`SUM_BYTES`] each.
    pub fn branches(&self, within: &Leaves) -> Vec<u8> {
        let mut branches = vec![Sum::default(); LEAVES / BRANCH_LEAVES];
        for (leaf, sum) in &self.leaves {
            if within.has(*leaf) {
                branches[usize::from(leaf >> 8)].add(sum);
            }
        }
        branches.iter().flat_map(Sum::short).collect()
    }

    /// The leaves of one branch where something stands: the second byte of each, and its sum.
    pub fn branch(&self, branch: u8, within: &Leaves) -> Vec<u8> {
        let first = u16::from(branch) << 8;
        let leaves = self.leaves.range(first..=first | 0xff);
        let within = leaves.filter(|(leaf, _)| within.has(**leaf));
        let each = within.map(|(leaf, sum)| (leaf.to_be_bytes()[1], sum.short()));
        each.flat_map(|(leaf, sum)| std::iter::once(leaf).chain(sum))
            .collect()
    }
}

impl Index {
    /// The leaves in `theirs` and not in `ours` where something stands, and their sums.
    pub fn strays(&self, ours: &Leaves, theirs: &Leaves) -> BTreeMap<u16, Sum> {
        if *ours == Leaves::All {
            return BTreeMap::new();
        }
        let strays = self.leaves.iter();
        let strays = strays.filter(|(leaf, _)| !ours.has(**leaf) && theirs.has(**leaf));
        strays.map(|(leaf, sum)| (*leaf, *sum)).collect()
    }

    /// The sum of one leaf.
    pub fn leaf(&self, leaf: u16) -> Sum {
        self.leaves.get(&leaf).copied().unwrap_or_default()
    }
}

/// Where two lists of sums differ; `None` when they are not lists of 256.
pub fn differing(ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    if ours.len() != theirs.len() || ours.len() != BRANCH_LEAVES * SUM_BYTES {
        return None;
    }
    let pairs = ours.chunks(SUM_BYTES).zip(theirs.chunks(SUM_BYTES));
    let differ = (0..=u8::MAX).zip(pairs).filter(|(_, (a, b))| a != b);
    Some(differ.map(|(at, _)| at).collect())
}

/// Which leaves of two lists of one branch differ; `None` when theirs is no such list.
pub fn differing_leaves(ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    const EACH: usize = 1 + SUM_BYTES;
    if !theirs.len().is_multiple_of(EACH) || theirs.len() > BRANCH_LEAVES * EACH {
        return None;
    }
    let list = |bytes| -> BTreeMap<u8, &[u8]> {
        let each = <[u8]>::chunks_exact(bytes, EACH);
        each.map(|it| (it[0], &it[1..])).collect()
    };
    let (ours, theirs) = (list(ours), list(theirs));
    let differs = |leaf: &u8| ours.get(leaf) != theirs.get(leaf);
    Some((0..=u8::MAX).filter(differs).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::key::Key;

    fn at(n: u32) -> Position {
        let key = Key::shared(&n.to_string()).expect("a key");
        key.id().position()
    }

    fn filled(keys: impl Iterator<Item = u32>) -> Index {
        let mut index = Index::default();
        keys.for_each(|n| index.change(&at(n), None, Some(&Digest([1; 32]))));
        index
    }

    #[test]
    fn the_same_keys_come_to_the_same_sum_in_any_order_and_nothing_to_nothing() {
        let (there, back) = (filled(0..500), filled((0..500).rev()));
        assert_eq!(there.sum(&Leaves::All), back.sum(&Leaves::All));
        assert_eq!(there.sum(&Leaves::All).keys, 500);
        let mut index = there;
        for n in 0..500 {
            index.change(&at(n), Some(&Digest([1; 32])), None);
        }
        assert_eq!(index.sum(&Leaves::All), Sum::default());
        assert!(index.leaves.is_empty(), "an empty leaf costs nothing");
    }

    #[test]
    fn a_changed_key_is_found_through_its_branch_and_leaf() {
        let (one, mut two) = (filled(0..500), filled(0..500));
        two.change(&at(7), Some(&Digest([1; 32])), Some(&Digest([2; 32])));
        assert_ne!(one.sum(&Leaves::All), two.sum(&Leaves::All));
        let all = &Leaves::All;
        let branches = differing(&one.branches(all), &two.branches(all)).expect("lists");
        let leaf = at(7).leaf();
        assert_eq!(branches, [(leaf >> 8) as u8]);
        let leaves = differing_leaves(&one.branch(branches[0], all), &two.branch(branches[0], all));
        assert_eq!(leaves.expect("lists"), [leaf as u8]);
        assert_eq!(differing(&one.branches(all), &[0; 9]), None);
        assert_eq!(differing_leaves(&[], &[0; 10]), None);
        assert_eq!(differing_leaves(&[], &[7; 9]), Some(vec![7]));
    }

    #[test]
    fn only_common_leaves_are_compared() {
        let (one, two) = (filled(0..500), filled(0..400));
        let shared: Vec<u16> = (0..400).map(|n| at(n).leaf()).collect();
        let lacks: Vec<u16> = (400..500).map(|n| at(n).leaf()).collect();
        let mine = Leaves::of(|leaf| !lacks.contains(&leaf));
        assert_eq!(one.sum(&mine), two.sum(&mine));
        let theirs = Leaves::of(|leaf| leaf < 1000 || shared.contains(&leaf));
        let common = mine.common(&theirs);
        assert!((0..=u16::MAX).all(|it| common.has(it) == (mine.has(it) && theirs.has(it))));
        assert_eq!(Leaves::of(|_| true), Leaves::All);
    }
}
