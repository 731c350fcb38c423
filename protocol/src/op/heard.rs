//! Heard: what agents of a node, and its children for all beneath them, said about one operation. As
//! much is kept as there is room for; of the rest it is known how many they are.

use std::collections::BTreeMap;

use serde_bytes::ByteBuf;

use super::AgentName;
use super::answers::{Answers, Sums, Unready, Why};
use super::order::Said as Told;
use crate::arrival::reliability::Table;
use crate::ids::NodeId;

/// Bytes of answers to an operation that are kept when they come late: as many as one word holds.
const LATE_BYTES_MAX: usize = 32 * 1024;

/// What was said about one operation.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    /// By children.
    answers: BTreeMap<NodeId, Answers>,
    unready: BTreeMap<NodeId, Unready>,
    arrivals: BTreeMap<NodeId, Box<Table>>,
    /// What of each child's answers was in time, once the window is over.
    counted: BTreeMap<NodeId, Sums>,
    /// By agents of this node that count, in the order of their answers.
    own_answers: Answers,
    own_unready: Unready,
    /// By agents of this node that hold until T.
    held: Vec<(AgentName, ByteBuf)>,
    /// Of all answers.
    bytes: usize,
    /// The window is over.
    closed: bool,
}

impl Heard {
    /// An agent of this node answered. Its answer counts at once or, if it `holds`, at T; it is
    /// kept if there is `room`, in bytes.
    pub fn answered(&mut self, one: AgentName, answer: ByteBuf, holds: bool, room: usize) {
        if answer.len() > self.room(room) {
            self.own_answers.left_out += 1;
        } else if holds {
            self.bytes += answer.len();
            self.held.push((one, answer));
        } else {
            self.count(one, answer);
        }
    }

    /// T has come for those that held.
    pub fn release(&mut self) {
        for (one, answer) in std::mem::take(&mut self.held) {
            self.bytes -= answer.len();
            self.count(one, answer);
        }
    }

    fn count(&mut self, one: AgentName, answer: ByteBuf) {
        let bytes = answer.len();
        if self.own_answers.add(one, answer) {
            self.bytes += bytes;
        }
    }

    /// An agent of this node is not ready.
    pub fn misses(&mut self, one: AgentName, why: Why) {
        if !self.closed {
            self.own_unready.named.push((one, why));
        }
    }

    /// A child said this, in place of what it said before. Once the window is over only what is
    /// late of it is kept: until its own is over too, a child says again what was in time.
    pub fn told(&mut self, child: NodeId, told: Told, room: usize) {
        let Told {
            part,
            mut answers,
            unready,
            arrivals,
            ..
        } = told;
        if let Some(counted) = self.counted.get(&child)
            && answers.many() == u64::from(part.ready)
        {
            answers = answers.without(counted);
        }
        // What this takes the place of makes room for it.
        let before = self.answers.remove(&child).map_or(0, |it| it.bytes());
        self.bytes -= before;
        if answers.bytes() > self.room(room.saturating_add(before)) {
            answers = Answers {
                left_out: u32::try_from(answers.many()).unwrap_or(u32::MAX),
                groups: Vec::new(),
            };
        }
        self.bytes += answers.bytes();
        self.answers.insert(child, answers);
        self.unready.insert(child, unready);
        if let Some(table) = arrivals.filter(|_| !self.closed) {
            self.arrivals.insert(child, table);
        }
    }

    /// A child is gone, and the way to these agents with it.
    pub fn gone(&mut self, child: NodeId, its: impl Iterator<Item = AgentName>) {
        let lost = its.map(|it| (it, Why::lost("its node, or one on the way to it, is gone")));
        let unready = Unready {
            named: lost.collect(),
            more: 0,
        };
        self.unready.insert(child, unready.cut());
    }

    /// Of the room that there is, what this operation may take.
    fn room(&self, room: usize) -> usize {
        match self.closed {
            true => room.min(LATE_BYTES_MAX.saturating_sub(self.bytes)),
            false => room,
        }
    }

    /// Bytes of answers that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answers of those that count.
    pub fn answers(&self) -> Answers {
        Answers::merged(self.answers.values().chain([&self.own_answers]))
    }

    /// Who is not ready.
    pub fn unready(&self) -> Unready {
        Unready::merged(self.unready.values().chain([&self.own_unready]))
    }

    /// How near to T all were, with those of this node.
    pub fn arrivals(&self, own: Table) -> Box<Table> {
        let mut table = Box::new(own);
        self.arrivals.values().for_each(|it| table.merge(it));
        table
    }

    /// Of how many messages a child has said how near to T they were.
    pub fn told_of(&self, child: &NodeId) -> u64 {
        self.arrivals.get(child).map_or(0, |it| it.sent())
    }

    /// Whether the window is over.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The window is over: what was said until now is told to nobody any more.
    pub fn close(&mut self) {
        let answers = self.answers.iter();
        *self = Self {
            counted: answers.map(|(child, it)| (*child, it.sums())).collect(),
            closed: true,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::answers::Group;
    use super::super::gather::Part;
    use super::super::{OperationId, order};
    use super::*;
    use crate::ids::{Incarnation, Label};

    const CHILD: NodeId = NodeId([1; 32]);

    /// A child's word: answers of so many bytes, and how many were left out.
    fn word(answers: &[(u8, usize)], left_out: u32) -> Told {
        let one = AgentName {
            node: CHILD,
            agent: Label::new("e").expect("a name"),
        };
        let group = |&(letter, bytes): &(u8, usize)| Group {
            answer: ByteBuf::from(vec![letter; bytes]),
            many: 1,
            one,
        };
        let answers = Answers {
            groups: answers.iter().map(group).collect(),
            left_out,
        };
        let ready = u32::try_from(answers.many()).expect("few");
        order::Said {
            operation: OperationId {
                origin: CHILD,
                run: Incarnation::new(0, 1),
                number: 1,
            },
            expected: ready,
            part: Part {
                ready,
                ..Part::default()
            },
            answers,
            unready: Unready::default(),
            arrivals: None,
        }
    }

    fn letters(heard: &Heard) -> (Vec<u8>, u32) {
        let answers = heard.answers();
        let mut letters: Vec<u8> = answers.groups.iter().map(|it| it.answer[0]).collect();
        letters.sort_unstable();
        (letters, answers.left_out)
    }

    #[test]
    fn a_longer_word_finds_the_room_of_the_one_before() {
        let mut heard = Heard::default();
        heard.close();
        let room = usize::MAX;
        heard.told(CHILD, word(&[(b'a', 12 << 10)], 0), room);
        heard.told(CHILD, word(&[(b'a', 12 << 10), (b'b', 12 << 10)], 0), room);
        assert_eq!(letters(&heard), (vec![b'a', b'b'], 0));
        assert_eq!(heard.bytes(), 24 << 10);
        // Where all operations together have no room, what they have of this one is its own.
        heard.told(CHILD, word(&[(b'c', 24 << 10)], 0), 0);
        assert_eq!(letters(&heard), (vec![b'c'], 0));
        heard.told(CHILD, word(&[(b'd', 33 << 10)], 0), room);
        assert_eq!((letters(&heard), heard.bytes()), ((vec![], 1), 0));
    }

    #[test]
    fn what_was_left_out_in_time_is_not_left_out_again() {
        let mut heard = Heard::default();
        heard.told(CHILD, word(&[(b'a', 8)], 5), usize::MAX);
        heard.close();
        heard.told(CHILD, word(&[(b'a', 8), (b'b', 8)], 5), usize::MAX);
        assert_eq!(letters(&heard), (vec![b'b'], 0));
        heard.told(CHILD, word(&[(b'a', 8), (b'b', 8)], 7), usize::MAX);
        assert_eq!(letters(&heard), (vec![b'b'], 2));
    }
}
