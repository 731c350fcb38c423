//! Answers: what agents said, equal ones counted together, and who is not ready. Both are bounded, so
//! that the word of thirty thousand fits a frame, and what does not fit is counted.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::ids::AgentName;

/// Most bytes of one answer.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of all answers in one frame.
const ANSWERS_BYTES_MAX: usize = 40 * 1024;
/// What a group takes beside its answer, at most, in bytes.
const GROUP_BYTES: usize = 128;
/// Most agents that are named because they are not ready.
const NAMED_MAX: usize = 64;
/// Most bytes of a reason.
pub const REASON_BYTES_MAX: usize = 120;

/// Agents that gave the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What they said.
    pub answer: ByteBuf,
    /// How many.
    pub many: u32,
    /// One of them.
    pub one: AgentName,
}

/// What agents said, the most frequent first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// By answer.
    pub groups: Vec<Group>,
    /// Agents whose answers did not find room.
    pub left_out: u32,
}

impl Answers {
    /// Of many parts one, in which equal answers are one group.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Answers>) -> Answers {
        let mut groups: BTreeMap<&[u8], (u32, AgentName)> = BTreeMap::new();
        let mut left_out = 0u32;
        for part in parts {
            left_out = left_out.saturating_add(part.left_out);
            for group in &part.groups {
                let (many, one) = groups
                    .entry(group.answer.as_slice())
                    .or_insert((0, group.one));
                *many = many.saturating_add(group.many);
                *one = group.one.min(*one);
            }
        }
        let group = |(answer, (many, one)): (&[u8], _)| Group {
            answer: ByteBuf::from(answer),
            many,
            one,
        };
        let mut groups: Vec<Group> = groups.into_iter().map(group).collect();
        groups.sort_by_key(|it| std::cmp::Reverse(it.many));
        Answers { groups, left_out }
    }

    /// Adds one agent's, to groups that stand in the order of their answers. Whether nobody had
    /// said that before.
    pub(super) fn add(&mut self, one: AgentName, answer: ByteBuf) -> bool {
        match self.groups.binary_search_by(|it| it.answer.cmp(&answer)) {
            Ok(at) => {
                let group = &mut self.groups[at];
                group.many = group.many.saturating_add(1);
                group.one = group.one.min(one);
                false
            }
            Err(at) => {
                let many = 1;
                self.groups.insert(at, Group { answer, many, one });
                true
            }
        }
    }

    /// How many gave which answer.
    pub(super) fn sums(&self) -> Sums {
        let groups = self.groups.iter();
        Sums {
            groups: groups.map(|it| (number(&it.answer), it.many)).collect(),
            left_out: self.left_out,
        }
    }

    /// Those that are not in `sums`.
    pub(super) fn without(mut self, sums: &Sums) -> Answers {
        for group in &mut self.groups {
            let number = number(&group.answer);
            let before = sums.groups.iter().find(|it| it.0 == number);
            group.many -= before.map_or(0, |it| it.1.min(group.many));
        }
        self.groups.retain(|it| it.many > 0);
        self.left_out = self.left_out.saturating_sub(sums.left_out);
        self
    }

    /// As much of it as fits a frame.
    #[must_use]
    pub fn cut(mut self) -> Answers {
        let mut bytes = 0;
        let mut left_out = self.left_out;
        self.groups.retain(|group| {
            bytes += group.answer.len() + GROUP_BYTES;
            let fits = bytes <= ANSWERS_BYTES_MAX;
            if !fits {
                left_out = left_out.saturating_add(group.many);
            }
            fits
        });
        Answers { left_out, ..self }
    }

    /// Whether it is within what [`Self::cut`] and the answers' own limit leave.
    pub fn is_sound(&self) -> bool {
        let short = |it: &Group| it.answer.len() <= ANSWER_BYTES_MAX;
        let frame = self.bytes() + GROUP_BYTES * self.groups.len() <= ANSWERS_BYTES_MAX;
        frame && self.groups.iter().all(short)
    }

    /// Bytes of the answers.
    pub fn bytes(&self) -> usize {
        self.groups.iter().map(|it| it.answer.len()).sum()
    }

    /// Of how many agents these are.
    pub fn many(&self) -> u64 {
        let groups = self.groups.iter().map(|it| u64::from(it.many));
        groups.sum::<u64>() + u64::from(self.left_out)
    }
}

/// How many gave which answer, that stands there as a number, and of how many it is not known.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    groups: Vec<(u64, u32)>,
    left_out: u32,
}

/// A number for an answer. Two with the same one can be made; whoever does hides an answer of its
/// own that came late.
fn number(answer: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(answer);
    hasher.finish()
}

/// Why an agent is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// It contradicts: what it says of that, at most [`REASON_BYTES_MAX`].
    Conflict(String),
    /// It is lost to this operation, and why: at most [`REASON_BYTES_MAX`].
    Lost(String),
    /// It was not asked, because it would have been late.
    Skipped {
        /// How long before the end it would have to be asked, milliseconds.
        would_need_ms: u32,
        /// How long there was, milliseconds.
        available_ms: u32,
    },
}

impl Why {
    /// A contradiction, in the agent's words, as many as are taken.
    pub fn conflict(why: &str) -> Self {
        Why::Conflict(beginning(why, REASON_BYTES_MAX))
    }

    /// A loss, in words, as many as are taken.
    pub fn lost(why: &str) -> Self {
        Why::Lost(beginning(why, REASON_BYTES_MAX))
    }
}

/// Agents that are not ready, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unready {
    /// Some of them, in order.
    pub named: Vec<(AgentName, Why)>,
    /// How many more there are.
    pub more: u32,
}

impl Unready {
    /// Of many parts one.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Unready>) -> Unready {
        let mut all = Unready::default();
        for part in parts {
            all.more = all.more.saturating_add(part.more);
            all.named.extend(part.named.iter().cloned());
        }
        all.named.sort_by_key(|it| it.0);
        all
    }

    /// Whether it is within what [`Self::cut`] and a reason's own limit leave.
    pub fn is_sound(&self) -> bool {
        let short = |(_, why): &(AgentName, Why)| match why {
            Why::Conflict(why) | Why::Lost(why) => why.len() <= REASON_BYTES_MAX,
            Why::Skipped { .. } => true,
        };
        self.named.len() <= NAMED_MAX && self.named.iter().all(short)
    }

    /// As much of it as fits a frame.
    #[must_use]
    pub fn cut(mut self) -> Unready {
        let over = self.named.len().saturating_sub(NAMED_MAX);
        self.named.truncate(NAMED_MAX);
        self.more = self
            .more
            .saturating_add(u32::try_from(over).unwrap_or(u32::MAX));
        self
    }
}

/// The beginning of a text, at most so many bytes.
pub fn beginning(text: &str, bytes_max: usize) -> String {
    let end = text.floor_char_boundary(bytes_max.min(text.len()));
    text[..end].to_owned()
}
