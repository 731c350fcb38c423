//! Parcel: what nodes say to each other about records.
//!
//! A fresh write travels as a Kademlia value: the records as [`Siblings::encode`] puts them.
//! Everything else is a [`Question`] and its [`Answer`], MessagePack, over a protocol of our
//! own on the same connections. Lists of fixed things are packed into one binary each.
//!
//! [`Siblings::encode`]: super::siblings::Siblings::encode

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::causality::version::Dot;
use crate::ids::{Digest, NodeId};
use crate::memory::key::Position;

/// Most bytes of a question or an answer.
pub const PARCEL_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of records in one answer or push: half of that, and one set more.
pub const RECORDS_BYTES: usize = PARCEL_BYTES_MAX / 2;
/// Most branches whose leaves one question compares: 2.3 KiB each at most.
pub const BRANCHES_MAX: usize = 64;
/// Most heads of one answer. A round moves records of [`RECORDS_BYTES`] at most, some 1,200 of
/// 200-byte values: heads and keys beyond that are sent again in the next.
pub const HEADS_MAX: usize = 1_536;
/// Most keys that one question fetches.
pub const FETCH_MAX: usize = HEADS_MAX;
/// Most writes that one [`Question::Stored`] names.
pub const DOTS_MAX: usize = 1024;
/// Most nodes that one list names.
pub const NODES_MAX: usize = 1024;
/// Bytes of a head: a position, and half of the digest of what stands there.
pub const HEAD_BYTES: usize = 48;

/// What one node asks or tells another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// "Is this what you have, of what both of us should?" [`Answer::Same`] or
    /// [`Answer::Branches`].
    Sum(Digest),
    /// "Here are my leaves' sums of these branches: what is in those that differ?" Each is
    /// the branch's number and the sums of those of its leaves where something stands.
    /// [`Answer::Heads`].
    Leaves(Vec<(u8, ByteBuf)>),
    /// "I have something in these leaves that I should not hold and you should: where does
    /// what you have differ?" Each is the leaf's number and its sum. [`Answer::Heads`].
    Strays(Vec<(u16, ByteBuf)>),
    /// "Send what stands at these positions", 32 bytes each. [`Answer::Records`].
    Fetch(ByteBuf),
    /// "Take these records." [`Answer::Taken`], once they are durable.
    Push(Vec<ByteBuf>),
    /// "These writes, which you gave me, are durable on these nodes." [`Answer::Taken`].
    Stored {
        /// The writes.
        dots: Vec<Dot>,
        /// Where they are on disk.
        nodes: Vec<NodeId>,
    },
    /// "Who has this?" [`Answer::Seen`].
    Look(Look),
}

/// A question that carriers pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Who wants to know, and its number for this, so that nobody is asked twice.
    pub asker: NodeId,
    /// The asker's number.
    pub nonce: u64,
    /// The key's position.
    pub at: [u8; 32],
    /// What the asker has: the digest of its siblings.
    pub has: Digest,
    /// Where it is asked who has this write, or one that has seen it, and nothing else.
    pub dot: Option<Dot>,
    /// How long the answer is of use, milliseconds.
    pub within_ms: u32,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The sums agree.
    Same,
    /// The sums of 256 branches.
    Branches(ByteBuf),
    /// For each leaf that differs, as many as fit: its number and the heads of its keys,
    /// [`HEAD_BYTES`] each.
    Heads(Vec<(u16, ByteBuf)>),
    /// The siblings at positions that were asked for, as many as fit.
    Records(Vec<ByteBuf>),
    /// Done; of a push this many records were new.
    Taken(u32),
    /// These nodes have what the asker has; these siblings stand where others do.
    Seen {
        /// Who has the same.
        nodes: Vec<NodeId>,
        /// What else was found.
        others: Vec<ByteBuf>,
    },
    /// Not now: the sender may ask again later.
    Busy,
}

/// A key's position and half of its siblings' digest.
pub fn head(position: &Position, set: &Digest) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..32].copy_from_slice(&position.0);
    head[32..].copy_from_slice(&set.0[..16]);
    head
}

/// What follows from comparing the heads of one leaf: positions to fetch and to push. A key
/// whose siblings differ is both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What they have and we have not, or differently.
    pub fetch: Vec<Position>,
    /// What we have and they have not, or differently.
    pub push: Vec<Position>,
}

impl Difference {
    /// Compares two lists of heads, in the order of their positions; one that is out of
    /// order, or no list of heads, differs in more than it should and costs its sender.
    pub fn add(&mut self, ours: &[u8], theirs: &[u8]) {
        let list = |bytes: &[u8]| -> std::collections::BTreeMap<Position, [u8; 16]> {
            let heads = bytes.chunks_exact(HEAD_BYTES);
            let split = heads.filter_map(|head| {
                let (at, set) = head.split_at(32);
                Some((Position(at.try_into().ok()?), set.try_into().ok()?))
            });
            split.collect()
        };
        let (ours, theirs) = (list(ours), list(theirs));
        let lacks = |a: &std::collections::BTreeMap<_, _>, at: &Position, set: &[u8; 16]| {
            a.get(at) != Some(set)
        };
        let fetch = theirs.iter().filter(|(at, set)| lacks(&ours, at, set));
        self.fetch.extend(fetch.map(|(at, _)| *at));
        let push = ours.iter().filter(|(at, set)| lacks(&theirs, at, set));
        self.push.extend(push.map(|(at, _)| *at));
    }

    /// Leaves out what stands at the other node alone: who offers what it should not hold
    /// takes nothing that it has not.
    pub fn keep(&mut self) {
        let here: std::collections::BTreeSet<Position> = self.push.iter().copied().collect();
        self.fetch.retain(|at| here.contains(at));
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.fetch.is_empty() && self.push.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_what_each_side_lacks() {
        let at = |n: u8| Position([n; 32]);
        let heads = |list: &[(u8, u8)]| -> Vec<u8> {
            let each = list.iter();
            each.flat_map(|(n, set)| head(&at(*n), &Digest([*set; 32])))
                .collect()
        };
        let mut found = Difference::default();
        found.add(
            &heads(&[(1, 1), (2, 2), (4, 4)]),
            &heads(&[(1, 1), (2, 9), (3, 3)]),
        );
        assert_eq!(found.fetch, [at(2), at(3)]);
        assert_eq!(found.push, [at(2), at(4)]);
        found.keep();
        assert_eq!(found.fetch, [at(2)], "what both have");
        let mut none = Difference::default();
        none.add(&heads(&[(1, 1)]), &heads(&[(1, 1)]));
        assert!(none.is_empty());
        none.add(&[], &[7; HEAD_BYTES - 1]);
        assert!(none.is_empty(), "no whole head");
    }
}
