//! Merkle: the tree of RFC 6962 (section 2.1) over a list, its audit paths, and their check.
//!
//! A leaf is SHA-256(0x00 ‖ data), a node SHA-256(0x01 ‖ left ‖ right); the left side of n
//! leaves takes the largest power of two below n. The reference vectors were made by another
//! library (`protocol/tests/merkle.rs`).

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::ids::Digest;

/// The hash of one leaf.
pub fn leaf(data: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(data);
    Digest(hash.finalize().into())
}

fn node(left: &Digest, right: &Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left.0);
    hash.update(right.0);
    Digest(hash.finalize().into())
}

/// How many of `n` leaves, at least 2, stand on the left.
fn left_of(n: usize) -> usize {
    (n.next_power_of_two() / 2).max(1)
}

/// The root over leaves that are hashed already. Of none it is SHA-256 of nothing.
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest(Sha256::digest([]).into()),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(left_of(many.len()));
            node(&root(left), &root(right))
        }
    }
}

/// What leads from leaf number `at` to the root: the hashes beside the way, lowest first.
/// Empty where there is no such leaf.
pub fn path(leaves: &[Digest], at: usize) -> Vec<Digest> {
    if at >= leaves.len() || leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(left_of(leaves.len()));
    let (mut way, beside) = match at < left.len() {
        true => (path(left, at), root(right)),
        false => (path(right, at - left.len()), root(left)),
    };
    way.push(beside);
    way
}

/// The paths of several leaves, in ascending order; of numbers that are no leaf's none. Each
/// hash is made once.
pub fn paths(leaves: &[Digest], of: &BTreeSet<u32>) -> Vec<Vec<Digest>> {
    let of = of.iter().map(|at| *at as usize);
    let of: Vec<usize> = of.take_while(|at| *at < leaves.len()).collect();
    let mut paths = vec![Vec::new(); of.len()];
    lay(leaves, 0, &of, &mut paths);
    paths
}

/// Lays the hashes of these leaves, the first of which is number `from`, beside the ways of
/// `of`; the root.
fn lay(leaves: &[Digest], from: usize, of: &[usize], paths: &mut [Vec<Digest>]) -> Digest {
    if of.is_empty() || leaves.len() < 2 {
        return root(leaves);
    }
    let (left, right) = leaves.split_at(left_of(leaves.len()));
    let middle = from + left.len();
    let (lower, upper) = of.split_at(of.partition_point(|at| *at < middle));
    let (beneath, above) = paths.split_at_mut(lower.len());
    let left = lay(left, from, lower, beneath);
    let right = lay(right, middle, upper, above);
    beneath.iter_mut().for_each(|path| path.push(right));
    above.iter_mut().for_each(|path| path.push(left));
    node(&left, &right)
}

/// The root that a leaf has as number `at` of `n` with this path; `None` where the path has
/// not the length that the place asks for.
pub fn root_by(leaf: Digest, at: u64, n: u64, path: &[Digest]) -> Option<Digest> {
    if at >= n {
        return None;
    }
    let (mut at, mut last, mut hash) = (at, n - 1, leaf);
    for beside in path {
        if last == 0 {
            return None;
        }
        if at % 2 == 1 || at == last {
            hash = node(beside, &hash);
            // Tiers on which this is the odd one at the end have no hash of their own.
            while at.is_multiple_of(2) && at != 0 {
                (at, last) = (at / 2, last / 2);
            }
        } else {
            hash = node(&hash, beside);
        }
        (at, last) = (at / 2, last / 2);
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_every_size_leads_to_the_root_and_no_other_does() {
        for n in 1..=65_usize {
            let leaves: Vec<Digest> = (0..n).map(|i| leaf(&[i as u8])).collect();
            let top = root(&leaves);
            let some = (0..n as u32).filter(|at| at % 3 != 1).chain([n as u32]);
            let some: BTreeSet<u32> = some.collect();
            let ways = some.iter().map(|at| path(&leaves, *at as usize));
            let ways: Vec<_> = ways.take(some.len() - 1).collect();
            assert_eq!(paths(&leaves, &some), ways, "{n}");
            for at in 0..n {
                let way = path(&leaves, at);
                let by = |leaf, at: usize, way: &[Digest]| root_by(leaf, at as u64, n as u64, way);
                assert_eq!(by(leaves[at], at, &way), Some(top), "{at} of {n}");
                assert_ne!(by(leaf(b"another"), at, &way), Some(top));
                assert_ne!(by(leaves[at], at + 1, &way), Some(top));
                let longer = [way.as_slice(), &[top]].concat();
                assert_eq!(by(leaves[at], at, &longer), None);
                if let Some((_, shorter)) = way.split_last() {
                    assert_eq!(by(leaves[at], at, shorter.iter().as_slice()), None);
                }
                for beside in 0..way.len() {
                    let mut bent = way.clone();
                    bent[beside].0[31] ^= 1;
                    assert_ne!(by(leaves[at], at, &bent), Some(top));
                }
            }
        }
    }
}
