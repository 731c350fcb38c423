//! Strays: what stands on a node that should not hold it.
//!
//! A node stores its own writes whoever should hold them, and goes on having what it held
//! before others joined that stand nearer. A fresh write goes to its holders at once; where
//! that failed, no comparison would ever find it, since that is about what both should hold.
//! So whoever has strays offers them to each neighbour that should hold them, after their
//! stores agree, until that has all of them; and again when they have changed.

use serde_bytes::ByteBuf;

use super::{Output, State};
use crate::ids::{Digest, NodeId};
use crate::memory::index::Sum;
use crate::memory::parcel::Question;
use crate::units::Micros;

/// What one neighbour was offered.
#[derive(Debug, Clone, Default)]
pub(super) struct Strays {
    /// What the strays came to that are being offered.
    offered: Option<Digest>,
    /// What those came to that it refused.
    refused: Option<Digest>,
    /// What those came to that it has.
    taken: Option<Digest>,
}

impl Strays {
    pub(super) fn is_offered(&self) -> bool {
        self.offered.is_some()
    }

    pub(super) fn not_offered(&mut self) {
        self.offered = None;
    }

    /// It has everything that was offered.
    pub(super) fn taken(&mut self) {
        self.taken = self.offered.take();
    }

    /// It was given what differs, or it is alike. Says whether the last time was in vain.
    pub(super) fn ended(&mut self, alike: bool) -> bool {
        if alike {
            self.taken();
            return false;
        }
        let offered = self.offered.take();
        offered == std::mem::replace(&mut self.refused, offered)
    }
}

impl State {
    /// Offers a neighbour what it should hold and this node should not.
    pub(super) fn offer_strays(&mut self, to: NodeId, now: Micros) -> Vec<Output> {
        let Some(neighbour) = self.neighbours.get_mut(&to) else {
            return Vec::new();
        };
        let strays = self.index.strays(&self.leaves, &neighbour.theirs);
        let mut all = Sum::default();
        strays.values().for_each(|sum| all.add(sum));
        let all = all.digest();
        if strays.is_empty() || neighbour.strays.taken == Some(all) {
            return Vec::new();
        }
        neighbour.strays.offered = Some(all);
        let sums = strays.iter();
        let sums = sums.map(|(leaf, sum)| (*leaf, ByteBuf::from(sum.short())));
        vec![self.ask_on(to, Question::Strays(sums.collect()), now)]
    }

    /// Says what stands here where a neighbour offers something else.
    pub(super) fn answer_strays(&self, sums: &[(u16, ByteBuf)], ticket: u64) -> Output {
        let differs = |(leaf, sum): &&(u16, ByteBuf)| {
            self.leaves.has(*leaf) && self.index.leaf(*leaf).short()[..] != sum[..]
        };
        let mut leaves: Vec<u16> = sums.iter().filter(differs).map(|it| it.0).collect();
        leaves.sort_unstable();
        leaves.dedup();
        Output::ReplyHeads(ticket, leaves)
    }
}
