//! Compare: two stores find what one has and the other has not.
//!
//! The asker drives: its sum, then its leaves' sums of the branches that differ, then its
//! own heads against the answerer's; what is missing on either side is fetched and pushed.
//! A round moves as much as fits; the next begins at once, until the sums agree. One of two
//! drives at a time: who is asked while the sums differ leaves it to the asker.
//!
//! A round after which both sums are what they were (a full set of siblings, a disk that takes
//! nothing) is followed by a pause, and the next ones begin elsewhere, so that what cannot
//! be moved does not hide what can.

use std::collections::BTreeMap;

use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256};

use super::{Output, State};
use crate::ids::{Digest, NodeId};
use crate::memory::index::{differing, differing_leaves};
use crate::memory::parcel::{Answer, BRANCHES_MAX, Question};
use crate::units::Micros;

/// How far the comparison with one neighbour is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is under way.
    Idle,
    /// A question with this number was asked at this time.
    Waiting(u64, Micros),
    /// Our own heads are being read, since this time.
    Reading(Micros),
}

/// Between what a comparison brought and the next one of who passes it on: one import comes
/// in many rounds.
const SOON: Micros = Micros::from_secs(1);

/// How often the stores differed in the same way.
#[derive(Debug, Clone, Default)]
pub(super) struct Stuck {
    /// What both sums were.
    sums: Option<Digest>,
    /// How often they have been the same.
    times: u32,
    /// How often they have been that in all: where a round begins.
    turn: usize,
}

impl Stuck {
    /// The sums differ, and are these. Says whether it is of use to move something: at first,
    /// then after 1, 2, 5, 11, 22 and each further 32 pauses.
    fn is_of_use(&mut self, ours: &[u8], theirs: &[u8]) -> bool {
        let hash = Sha256::new().chain_update(ours).chain_update(theirs);
        let sums = Some(Digest(hash.finalize().into()));
        if self.sums != sums {
            self.sums = sums;
            self.times = 0;
            return true;
        }
        self.times = self.times.saturating_add(1);
        self.turn += 1;
        self.times.is_multiple_of(32) || self.times > 1 && self.times.is_power_of_two()
    }

    /// Turns a list so that it begins where no round has begun lately.
    fn turned<T>(&self, mut list: Vec<T>) -> Vec<T> {
        if !list.is_empty() {
            // Steps of the golden ratio come near to everything soonest.
            let step = list.len() * 618 / 1_000 + 1;
            let start = self.turn.wrapping_mul(step) % list.len();
            list.rotate_left(start);
        }
        list
    }
}

impl State {
    /// Compares with those whose turn it is.
    pub(super) fn compare_due(&mut self, now: Micros) -> Vec<Output> {
        let patience = self.config.patience;
        let is_due = |it: &super::Neighbour| match it.stage {
            Stage::Idle => now >= it.compare_at,
            Stage::Waiting(_, since) | Stage::Reading(since) => now.since(since) > patience,
        };
        let due = self.neighbours.iter().filter(|(_, it)| is_due(it));
        let due: Vec<NodeId> = due.map(|(node, _)| *node).collect();
        let mut outputs = Vec::new();
        for node in due {
            let Some(neighbour) = self.neighbours.get_mut(&node) else {
                continue;
            };
            let digest = self.index.sum(&neighbour.common).digest();
            neighbour.strays.not_offered();
            outputs.push(self.ask_on(node, Question::Sum(digest), now));
        }
        outputs
    }

    pub(super) fn ask_on(&mut self, node: NodeId, question: Question, now: Micros) -> Output {
        let output = self.ask(node, question);
        let ask = self.asks;
        if let Some(neighbour) = self.neighbours.get_mut(&node) {
            neighbour.stage = Stage::Waiting(ask, now);
        }
        output
    }

    pub(super) fn answer_sum(
        &mut self,
        from: NodeId,
        theirs: &Digest,
        ticket: u64,
        now: Micros,
    ) -> Vec<Output> {
        let next = now + self.config.compare_every;
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return vec![Output::Reply(ticket, Answer::Busy)];
        };
        let is_idle = neighbour.stage == Stage::Idle;
        if self.index.sum(&neighbour.common).digest() == *theirs {
            let mut outputs = vec![Output::Reply(ticket, Answer::Same)];
            neighbour.agreed = Some(now);
            if is_idle {
                neighbour.compare_at = neighbour.compare_at.max(next);
                outputs.extend(self.offer_strays(from, now));
            }
            return outputs;
        }
        // Both would move the same: the one with the smaller name goes on.
        let is_ours = match neighbour.stage {
            Stage::Idle => false,
            Stage::Reading(_) => true,
            Stage::Waiting(..) => self.me < from,
        };
        if is_ours {
            return vec![Output::Reply(ticket, Answer::Busy)];
        }
        neighbour.agreed = None;
        if is_idle {
            neighbour.compare_at = neighbour.compare_at.max(next);
        }
        let branches = self.index.branches(&neighbour.common);
        let answer = Answer::Branches(ByteBuf::from(branches));
        vec![Output::Reply(ticket, answer)]
    }

    pub(super) fn answer_leaves(
        &mut self,
        from: &NodeId,
        branches: &[(u8, ByteBuf)],
        ticket: u64,
    ) -> Output {
        let Some(neighbour) = self.neighbours.get(from) else {
            return Output::Reply(ticket, Answer::Busy);
        };
        let mut leaves = Vec::new();
        for (branch, theirs) in branches.iter().take(BRANCHES_MAX) {
            let ours = self.index.branch(*branch, &neighbour.common);
            let differ = differing_leaves(&ours, theirs).unwrap_or_default();
            leaves.extend(differ.iter().map(|it| u16::from_be_bytes([*branch, *it])));
        }
        let mut known = std::collections::BTreeSet::new();
        leaves.retain(|it| known.insert(*it));
        Output::ReplyHeads(ticket, leaves)
    }

    /// An answer that a comparison waits for, or one that nothing waits for any more.
    pub(super) fn comparing(
        &mut self,
        from: NodeId,
        ask: u64,
        answer: Option<Answer>,
        now: Micros,
    ) -> Vec<Output> {
        let every = self.config.compare_every;
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return Vec::new();
        };
        if !matches!(neighbour.stage, Stage::Waiting(waited, _) if waited == ask) {
            return Vec::new();
        }
        neighbour.stage = Stage::Idle;
        neighbour.compare_at = now + every;
        match answer {
            Some(Answer::Same) => {
                neighbour.agreed = Some(now);
                self.offer_strays(from, now)
            }
            Some(Answer::Branches(theirs)) => {
                neighbour.agreed = None;
                let ours = self.index.branches(&neighbour.common);
                let differ = differing(&ours, &theirs).unwrap_or_default();
                if !differ.is_empty() && !neighbour.stuck.is_of_use(&ours, &theirs) {
                    return Vec::new();
                }
                let differ = neighbour.stuck.turned(differ);
                let branch = |branch: &u8| {
                    let sums = self.index.branch(*branch, &neighbour.common);
                    (*branch, ByteBuf::from(sums))
                };
                let leaves: Vec<_> = differ.iter().take(BRANCHES_MAX).map(branch).collect();
                // None: a write came in between the two sums. The next comparison tells.
                if leaves.is_empty() {
                    return Vec::new();
                }
                vec![self.ask_on(from, Question::Leaves(leaves), now)]
            }
            Some(Answer::Heads(leaves)) => {
                let is_offer = neighbour.strays.is_offered();
                if is_offer && leaves.is_empty() {
                    neighbour.strays.taken();
                    return Vec::new();
                }
                neighbour.stage = Stage::Reading(now);
                // Each leaf once, and none that is no business of both.
                let both = match is_offer {
                    true => &neighbour.theirs,
                    false => &neighbour.common,
                };
                let leaves = leaves.into_iter().filter(|(leaf, _)| both.has(*leaf));
                let leaves = leaves.map(|(leaf, heads)| (leaf, heads.into_vec()));
                let leaves: BTreeMap<u16, Vec<u8>> = leaves.collect();
                let leaves = neighbour.stuck.turned(leaves.into_iter().collect());
                vec![match is_offer {
                    true => Output::Offer(from, leaves),
                    false => Output::Compare(from, leaves),
                }]
            }
            // No answer, or one that does not fit: it is asked again in its turn.
            _ => Vec::new(),
        }
    }

    /// What differed has been fetched and pushed, `moved` things of it.
    pub(super) fn compared(&mut self, with: &NodeId, moved: usize, alike: bool, now: Micros) {
        let every = self.config.compare_every;
        if let Some(neighbour) = self.neighbours.get_mut(with) {
            neighbour.stage = Stage::Idle;
            let is_refused = neighbour.strays.is_offered() && neighbour.strays.ended(alike);
            neighbour.compare_at = match moved {
                0 => now + every,
                _ if is_refused => now + every,
                _ => now,
            };
        }
    }

    /// A comparison brought something to a carrier: compare soon with all the others.
    pub(super) fn pass_on_soon(&mut self, from: &NodeId, now: Micros) {
        if self.carries() {
            let others = self.neighbours.iter_mut().filter(|(node, _)| *node != from);
            for (_, neighbour) in others {
                neighbour.compare_at = neighbour.compare_at.min(now + SOON);
            }
        }
    }

    /// Many records were written here that nobody was given: compare soon.
    pub fn compare_soon(&mut self, now: Micros) {
        for neighbour in self.neighbours.values_mut() {
            neighbour.compare_at = neighbour.compare_at.min(now);
            neighbour.agreed = None;
        }
    }
}
