//! Running: one operation at one node. What its agents and its children said, and what of that
//! was passed on.

use std::collections::BTreeMap;

use super::answers::{Answers, Group, REASON_BYTES_MAX, Unready, Why, beginning};
use super::gather::{self, Gather, Outcome};
use super::order::Said as Told;
use super::{AgentName, OperationId, Order, Output, Report, Said};
use crate::ids::{Label, NodeId};
use crate::units::Micros;

/// What is known is passed on when for so long nothing was added to it, so that answers that
/// come together are one word.
const QUIET: Micros = Micros::from_millis(2);
/// But it does not wait for longer than this part of the window, and these times.
const PACE_PARTS: u64 = 20;
const PACE: (Micros, Micros) = (Micros::from_millis(20), Micros::from_millis(500));

/// Who says something about an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// An agent of this node.
    Agent(Label),
    /// A child, for all that is beneath it.
    Child(NodeId),
}

/// For whom an operation is carried out here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Whoever asked at this node, by the ticket.
    Asker(u64),
    /// The parent that passed it on.
    Parent(NodeId),
}

/// One operation.
#[derive(Debug, Clone)]
pub(super) struct Running {
    whose: For,
    gather: Gather<Source>,
    ends: Micros,
    pace: Micros,
    answers: BTreeMap<Source, Answers>,
    /// Of those.
    bytes: usize,
    unready: BTreeMap<Source, Unready>,
    /// Since when something is known that was not passed on, and when the last of it came.
    unsaid: Option<(Micros, Micros)>,
    /// How it ended, until that is told to the asker.
    done: Option<Outcome>,
    over: bool,
    /// What was said is kept no more: nobody is told of it again.
    closed: bool,
}

impl Running {
    pub fn new(
        whose: For,
        config: gather::Config,
        sources: Vec<(Source, u32)>,
        now: Micros,
    ) -> Self {
        let nobody = sources.is_empty();
        let (shortest, longest) = PACE;
        let pace = Micros(config.window.0 / PACE_PARTS);
        let pace = pace.max(shortest).min(longest);
        Self {
            whose,
            gather: Gather::new(config, sources, now),
            ends: now + config.window,
            pace,
            answers: BTreeMap::new(),
            bytes: 0,
            unready: BTreeMap::new(),
            // Where nobody is asked, that is all there is to say.
            unsaid: nobody.then_some((now, now)),
            done: None,
            over: false,
            closed: false,
        }
    }

    pub fn next_deadline(&self) -> Micros {
        let ends = if self.closed {
            Micros::NEVER
        } else {
            self.ends
        };
        self.say_at().min(ends)
    }

    /// When what is known is passed on.
    fn say_at(&self) -> Micros {
        self.unsaid.map_or(Micros::NEVER, |(first, last)| {
            let latest = first + self.pace;
            match first < self.ends && latest >= self.ends {
                // The window is about to close.
                true => first + QUIET,
                false => latest.min(last + QUIET),
            }
        })
    }

    /// Something is known that was not.
    fn learned(&mut self, now: Micros) {
        let first = self.unsaid.map_or(now, |it| it.0);
        self.unsaid = Some((first, now));
    }

    /// The parent asks for what it asked for before. False if this node itself asks it.
    pub fn is_asked_again(&mut self, parent: NodeId, now: Micros) -> bool {
        if matches!(self.whose, For::Asker(_)) {
            return false;
        }
        self.whose = For::Parent(parent);
        self.learned(now);
        true
    }

    /// Counts. False when the input is not taken.
    pub fn input(
        &mut self,
        input: gather::Input<Source>,
        now: Micros,
        out: &mut Vec<Output>,
    ) -> bool {
        let Ok(outputs) = self.gather.handle(input, now) else {
            return false;
        };
        self.learned(now);
        for output in outputs {
            match (output, self.whose) {
                (gather::Output::Done(outcome), _) => self.done = Some(outcome),
                (gather::Output::Late(many), For::Asker(ticket)) => {
                    out.push(Output::Late(ticket, many));
                }
                // The asker's count decides who is late.
                (gather::Output::Late(_), For::Parent(_)) => {}
            }
        }
        true
    }

    /// Keeps what an agent of this node said; see [`Self::note_all`].
    pub fn note(&mut self, source: Source, one: AgentName, said: Said, room: usize) {
        let short = |why: &str| beginning(why, REASON_BYTES_MAX);
        let (answers, why) = match said {
            Said::Ready(answer) => {
                let group = Group {
                    answer: answer.into(),
                    many: 1,
                    one,
                };
                let answers = Answers {
                    groups: vec![group],
                    left_out: 0,
                };
                (answers, None)
            }
            Said::Conflict(why) => (Answers::default(), Some(Why::Conflict(short(&why)))),
            Said::Lost(why) => (Answers::default(), Some(Why::Lost(short(&why)))),
        };
        let unready = Unready {
            named: why.map(|why| (one, why)).into_iter().collect(),
            more: 0,
        };
        self.note_all(source, answers, unready, room);
    }

    /// Keeps what a source said, in place of what it said before; of its answers that do not
    /// find room only how many they are.
    pub fn note_all(&mut self, source: Source, answers: Answers, unready: Unready, room: usize) {
        if self.closed {
            return;
        }
        let answers = match answers.bytes() <= room {
            true => answers,
            false => Answers {
                left_out: u32::try_from(answers.many()).unwrap_or(u32::MAX),
                groups: Vec::new(),
            },
        };
        self.bytes += answers.bytes();
        if let Some(before) = self.answers.insert(source, answers) {
            self.bytes -= before.bytes();
        }
        self.unready.insert(source, unready);
    }

    /// Bytes of answers that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says what is to be said by now. True when the operation is over with this.
    pub fn tell(&mut self, operation: OperationId, now: Micros, out: &mut Vec<Output>) -> bool {
        // The window closes without a word of anybody.
        if !self.over && now >= self.ends {
            self.input(gather::Input::Tick, now, out);
        }
        let settled = self.gather.is_settled();
        let due = self.unsaid.is_some() && (settled || now >= self.say_at());
        let over = match self.whose {
            For::Asker(ticket) => self.tell_asker(operation, ticket, due, out),
            For::Parent(parent) => {
                if due {
                    out.push(Output::Send(parent, Order::Said(self.told(operation))));
                    self.unsaid = None;
                }
                settled || now >= self.ends
            }
        };
        // A parent's window closes before ours, which began later.
        if now >= self.ends {
            self.close();
        }
        let newly = over && !self.over;
        self.over |= over;
        newly
    }

    /// True when the asker was told the end.
    fn tell_asker(
        &mut self,
        operation: OperationId,
        ticket: u64,
        due: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        if self.over {
            self.unsaid = None;
            return false;
        }
        if let Some(outcome) = self.done.take() {
            let report = Report {
                operation,
                outcome,
                answers: Answers::merged(self.answers.values()),
                unready: Unready::merged(self.unready.values()),
            };
            out.push(Output::Done(ticket, Box::new(report)));
            self.close();
            return true;
        }
        if due {
            out.push(Output::Progress(ticket, self.gather.tally()));
            self.unsaid = None;
        }
        false
    }

    fn close(&mut self) {
        self.closed = true;
        self.answers.clear();
        self.unready.clear();
        self.bytes = 0;
    }

    fn told(&self, operation: OperationId) -> Told {
        Told {
            operation,
            expected: u32::try_from(self.gather.expected()).unwrap_or(u32::MAX),
            part: self.gather.sum(),
            answers: Answers::merged(self.answers.values()).cut(),
            unready: Unready::merged(self.unready.values()).cut(),
        }
    }
}
