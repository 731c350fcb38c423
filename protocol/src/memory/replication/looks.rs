//! Looks: who else has what stands here, and what stands elsewhere.
//!
//! The asker asks all its neighbours that may hold the key; carriers ask on, each node once
//! for one look. So the answers come from every realm, and the asker sees copies that no
//! index of its own could tell it of, and newer values too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_bytes::ByteBuf;

use super::{Output, State};
use crate::causality::version::Dot;
use crate::ids::{Digest, NodeId};
use crate::memory::key::Position;
use crate::memory::parcel::{Answer, Look, NODES_MAX, Question, RECORDS_BYTES};
use crate::units::Micros;

/// Looks under way at once; one more is answered with nothing.
pub(super) const LOOKS_MAX: usize = 256;
/// Looks that were answered lately, so that none is answered twice.
const ANSWERED_MAX: usize = 1024;
/// What each hop takes off the time of a look, so that its answer comes before the asker
/// stops waiting.
const HOP_MS: u32 = 150;
/// How long is looked for the copies of a write that is being counted.
const COUNT_MS: u32 = 2_000;

/// No look of a neighbour is open for longer.
pub(super) const WITHIN_MAX: Micros = Micros::from_secs(60);

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The caller's number.
    pub look: u64,
    /// Who else has exactly what stands here.
    pub nodes: BTreeSet<NodeId>,
    /// Siblings that stand elsewhere and are others.
    pub others: Vec<Vec<u8>>,
    /// Whether everybody that was asked has answered.
    pub complete: bool,
}

#[derive(Debug, Clone)]
enum For {
    /// A caller here.
    Caller(u64),
    /// A write whose copies are counted.
    Count(Dot),
    /// A neighbour; our own copy has been looked at, or not yet.
    Neighbour { ticket: u64, own: bool },
}

#[derive(Debug, Clone)]
struct Under {
    is_for: For,
    nodes: BTreeSet<NodeId>,
    others: Vec<Vec<u8>>,
    /// Questions that are not answered, and whom they were put to.
    asks: BTreeMap<u64, NodeId>,
    missed: bool,
    until: Micros,
}

/// The looks of one node.
#[derive(Debug, Default)]
pub(super) struct Looks {
    under: BTreeMap<u64, Under>,
    next: u64,
    answered: VecDeque<(NodeId, u64)>,
}

impl Looks {
    /// Whether a question was asked for a look.
    pub(super) fn is_of(&self, ask: u64) -> bool {
        self.under.values().any(|it| it.asks.contains_key(&ask))
    }

    /// How many are under way.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.under.len()
    }

    fn is_new(&mut self, look: &Look) -> bool {
        let name = (look.asker, look.nonce);
        if self.answered.contains(&name) {
            return false;
        }
        self.answered.push_back(name);
        if self.answered.len() > ANSWERED_MAX {
            self.answered.pop_front();
        }
        true
    }
}

impl State {
    pub(super) fn look(
        &mut self,
        look: u64,
        at: Position,
        has: Digest,
        until: Micros,
        now: Micros,
    ) -> Vec<Output> {
        self.asks += 1;
        let question = Look {
            asker: self.me,
            nonce: self.asks,
            at: at.0,
            has,
            dot: None,
            within_ms: u32::try_from(until.since(now).as_millis()).unwrap_or(u32::MAX),
        };
        self.looks.is_new(&question);
        self.look_on(For::Caller(look), question, None, until)
    }

    /// Asks who has a write, or has seen it.
    pub(super) fn look_for(&mut self, dot: Dot, at: Position, now: Micros) -> Vec<Output> {
        let question = Look {
            asker: self.me,
            nonce: self.ask_number(),
            at: at.0,
            has: Digest([0; 32]),
            dot: Some(dot),
            within_ms: COUNT_MS,
        };
        self.looks.is_new(&question);
        let until = now + Micros::from_millis(u64::from(COUNT_MS));
        self.look_on(For::Count(dot), question, None, until)
    }

    pub(super) fn asked_to_look(
        &mut self,
        from: NodeId,
        look: Look,
        ticket: u64,
        now: Micros,
    ) -> Vec<Output> {
        if self.looks.under.len() >= LOOKS_MAX || !self.looks.is_new(&look) {
            let nothing = Answer::Seen {
                nodes: Vec::new(),
                others: Vec::new(),
            };
            return vec![Output::Reply(ticket, nothing)];
        }
        let on = Look {
            within_ms: look.within_ms.saturating_sub(HOP_MS),
            ..look
        };
        let within = Micros::from_millis(u64::from(on.within_ms));
        let until = now + within.min(WITHIN_MAX);
        let is_for = For::Neighbour { ticket, own: false };
        self.look_on(is_for, on, Some(from), until)
    }

    /// Looks here, and asks on where that is ours to do.
    fn look_on(
        &mut self,
        is_for: For,
        look: Look,
        from: Option<NodeId>,
        until: Micros,
    ) -> Vec<Output> {
        let at = Position(look.at);
        let mut outputs = Vec::new();
        let mut asks = BTreeMap::new();
        if from.is_none() || self.carriers.contains(&self.me) {
            for node in self.holding(&at, from.as_ref()) {
                if node != look.asker {
                    outputs.push(self.ask(node, Question::Look(look)));
                    asks.insert(self.asks, node);
                }
            }
        }
        self.looks.next += 1;
        let number = self.looks.next;
        if from.is_some() {
            outputs.push(Output::Holds {
                look: number,
                at,
                has: look.has,
                dot: look.dot,
            });
        }
        let under = Under {
            is_for,
            nodes: BTreeSet::new(),
            others: Vec::new(),
            asks,
            missed: false,
            until,
        };
        self.looks.under.insert(number, under);
        outputs.extend(self.end_look(number, false));
        outputs
    }

    pub(super) fn holds(
        &mut self,
        look: u64,
        found: Option<(Digest, Vec<u8>)>,
        _now: Micros,
    ) -> Vec<Output> {
        let me = self.me;
        let Some(under) = self.looks.under.get_mut(&look) else {
            return Vec::new();
        };
        if let For::Neighbour { own, .. } = &mut under.is_for {
            *own = true;
        }
        match found {
            Some((_, others)) if others.is_empty() => {
                under.nodes.insert(me);
            }
            Some((_, others)) => under.others.push(others),
            None => {}
        }
        self.end_look(look, false)
    }

    pub(super) fn seen(
        &mut self,
        from: NodeId,
        ask: u64,
        mut answer: Option<Answer>,
        _now: Micros,
    ) -> Vec<Output> {
        if let Some(Answer::Seen { nodes, .. }) = &mut answer {
            nodes.truncate(NODES_MAX);
            *nodes = self.speaks_for(&from, nodes.drain(..));
        }
        let found = self.looks.under.iter_mut();
        let mut found = found.filter(|(_, it)| it.asks.contains_key(&ask));
        let Some((number, under)) = found.next() else {
            return Vec::new();
        };
        let number = *number;
        under.asks.remove(&ask);
        match answer {
            Some(Answer::Seen { nodes, others }) => {
                under.nodes.extend(nodes);
                let mut bytes: usize = under.others.iter().map(Vec::len).sum();
                for other in others {
                    bytes += other.len();
                    let other = other.into_vec();
                    if bytes <= RECORDS_BYTES && !under.others.contains(&other) {
                        under.others.push(other);
                    }
                }
            }
            _ => under.missed = true,
        }
        self.end_look(number, false)
    }

    pub(super) fn look_lost(&mut self, node: &NodeId, _now: Micros) -> Vec<Output> {
        let mut touched = Vec::new();
        for (number, under) in &mut self.looks.under {
            let before = under.asks.len();
            under.asks.retain(|_, asked| asked != node);
            if under.asks.len() != before {
                under.missed = true;
                touched.push(*number);
            }
        }
        let ended = touched.into_iter();
        ended.flat_map(|it| self.end_look(it, false)).collect()
    }

    pub(super) fn give_up_looks(&mut self, now: Micros) -> Vec<Output> {
        let under = self.looks.under.iter();
        let late = under.filter(|(_, it)| now >= it.until);
        let late: Vec<u64> = late.map(|(number, _)| *number).collect();
        let ended = late.into_iter();
        ended.flat_map(|it| self.end_look(it, true)).collect()
    }

    /// Ends a look when nothing is waited for any more, or `now_or_never`.
    fn end_look(&mut self, number: u64, now_or_never: bool) -> Vec<Output> {
        let is_over = |it: &Under| {
            let looked = !matches!(it.is_for, For::Neighbour { own: false, .. });
            now_or_never || it.asks.is_empty() && looked
        };
        if !self.looks.under.get(&number).is_some_and(is_over) {
            return Vec::new();
        }
        let Some(under) = self.looks.under.remove(&number) else {
            return Vec::new();
        };
        let complete = under.asks.is_empty() && !under.missed;
        match under.is_for {
            For::Caller(look) => vec![Output::Found(Found {
                look,
                nodes: under.nodes,
                others: under.others,
                complete,
            })],
            For::Count(dot) => {
                let nodes: Vec<_> = under.nodes.into_iter().collect();
                self.has_it(&dot, &nodes)
            }
            For::Neighbour { ticket, .. } => vec![Output::Reply(
                ticket,
                Answer::Seen {
                    nodes: under.nodes.into_iter().collect(),
                    others: under.others.into_iter().map(ByteBuf::from).collect(),
                },
            )],
        }
    }
}
