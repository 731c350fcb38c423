//! Running: one operation at one node. What its agents and its children said, and what of that
//! was passed on.

use std::sync::Arc;

use super::answers::{Unready, Why};
use super::arriving::Arriving;
use super::census::{Kind, Select};
use super::gather::{self, Gather, Outcome, Part};
use super::heard::Heard;
use super::order::{Request, Said as Told};
use super::{AgentName, OperationId, Order, Output, Report, Said};
use crate::arrival::reliability::Table;
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
    /// This node itself.
    Node,
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
    pub request: Arc<Request>,
    pub arriving: Arriving,
    select: Select,
    gather: Gather<Source>,
    ends: Micros,
    pace: Micros,
    pub heard: Heard,
    /// Since when something is known that was not passed on, and when the last of it came.
    unsaid: Option<(Micros, Micros)>,
    /// The parent knows who was silent shortly before the window closes.
    called: bool,
    /// How it ended, until that is told to the asker.
    done: Option<Outcome>,
    /// Whoever asked has gone.
    abandoned: bool,
    /// Answers that came after it, until that is told to the asker.
    late: u32,
    over: bool,
}

impl Running {
    pub fn new(
        whose: For,
        request: Arc<Request>,
        arriving: Arriving,
        select: Select,
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
            request,
            arriving,
            select,
            gather: Gather::new(config, sources, now),
            ends: now + config.window,
            pace,
            heard: Heard::default(),
            // Where nobody is asked, that is all there is to say.
            unsaid: nobody.then_some((now, now)),
            called: false,
            done: None,
            abandoned: false,
            late: 0,
            over: false,
        }
    }

    /// When [`Self::tell`] or the agents' schedule has anything to do.
    pub fn next_deadline(&self) -> Micros {
        let settled = self.unsaid.is_some() && self.gather.is_settled();
        if settled || self.done.is_some() || (self.abandoned && !self.over) {
            return Micros::ZERO;
        }
        let ends = if self.heard.is_closed() {
            Micros::NEVER
        } else {
            self.ends
        };
        let arriving = self.arriving.next_deadline();
        self.say_at().min(self.call_at()).min(ends).min(arriving)
    }

    /// When the parent is told who is silent, while it still counts: our window closes after its.
    fn call_at(&self) -> Micros {
        let owed = matches!(self.whose, For::Parent(_)) && !self.gather.is_settled();
        match owed && !self.called {
            true => self.ends.since(self.pace),
            false => Micros::NEVER,
        }
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
    pub fn input(&mut self, input: gather::Input<Source>, now: Micros) -> bool {
        let Ok(outputs) = self.gather.handle(input, now) else {
            return false;
        };
        self.follow(outputs, now);
        true
    }

    /// A child is gone, and the way to `its` agents with it. They are named if nothing was said of them:
    /// with the first answer comes who had not answered yet.
    pub fn gone(&mut self, child: NodeId, its: &[(AgentName, Kind)], now: Micros) {
        let source = Source::Child(child);
        // In an operation for which it was not asked it is a stranger.
        if !self.input(gather::Input::Gone(source), now) || self.heard.is_closed() {
            return;
        }
        let mut gone = self.gather.gone();
        let is_silent = gone.any(|(it, _, part)| it == source && part == Part::default());
        let select = &self.select;
        if is_silent && self.is_for_agents() && select.sample.is_none() {
            let meant = its.iter().filter(|(name, kind)| {
                select.is_for(kind) && select.agent.is_none_or(|it| it == *name)
            });
            self.heard.gone(child, meant.map(|it| it.0));
        }
    }

    /// At T, those that held count.
    pub fn release(&mut self, now: Micros) {
        let held = self.arriving.release(now);
        if held.is_empty() {
            return;
        }
        self.heard.release();
        let ready = |agent| (Source::Agent(agent), 1, Part::READY);
        let outputs = self.gather.said_all(held.into_iter().map(ready), now);
        self.follow(outputs, now);
    }

    /// Whoever asked waits no more: it is over.
    pub fn left(&mut self, ticket: u64, now: Micros) {
        if self.whose == For::Asker(ticket) && !self.over {
            self.ends = now;
            self.input(gather::Input::Tick, now);
            self.done = None;
            self.abandoned = true;
        }
    }

    fn follow(&mut self, outputs: Vec<gather::Output>, now: Micros) {
        self.learned(now);
        for output in outputs {
            match (output, self.whose) {
                (gather::Output::Done(outcome), For::Asker(_)) => self.done = Some(outcome),
                (gather::Output::Late(many), For::Asker(_)) => self.late += many,
                // The asker's count decides, and who is late.
                (_, For::Parent(_)) => {}
            }
        }
    }

    /// Counts one of this node.
    pub fn count(&mut self, source: Source, part: Part, now: Micros) {
        self.input(gather::Input::Said(source, 1, part), now);
    }

    /// An agent of this node has said what became of it; its answer is kept if there is `room`.
    pub fn said(&mut self, one: AgentName, said: Said, room: usize, now: Micros) {
        match said {
            Said::Ready(answer) => {
                let holds = self.arriving.holds(one.agent, now);
                self.heard.answered(one, answer.into(), holds, room);
                if !holds {
                    self.count(Source::Agent(one.agent), Part::READY, now);
                }
            }
            Said::Conflict(why) => self.misses(one, Part::CONFLICT, Why::conflict(&why), now),
            Said::Lost(why) => self.misses(one, Part::LOST, Why::lost(&why), now),
        }
    }

    /// An agent of this node is not ready, for a reason that is kept.
    pub fn misses(&mut self, one: AgentName, part: Part, why: Why, now: Micros) {
        self.count(Source::Agent(one.agent), part, now);
        self.heard.misses(one, why);
    }

    /// Whether all agents were asked at once.
    pub fn is_cascade(&self) -> bool {
        self.select == Select::default() && !self.arriving.is_timed()
    }

    /// Whether it is put to agents, and not to nodes, which confirm that they are there.
    pub fn is_for_agents(&self) -> bool {
        self.select.tier.is_none()
    }

    /// When the window closes.
    pub fn ends(&self) -> Micros {
        self.ends
    }

    /// It is over: of who says no more only the count is kept.
    pub fn shrink(&mut self) {
        self.gather.fold(|it| matches!(it, Source::Agent(_)));
        self.arriving.shrink();
    }

    /// Bytes of answers that are kept.
    pub fn bytes(&self) -> usize {
        self.heard.bytes()
    }

    /// Says what is to be said by now. True when the operation is over with this.
    pub fn tell(&mut self, operation: OperationId, now: Micros, out: &mut Vec<Output>) -> bool {
        // The window closes without a word of anybody.
        if !self.over && now >= self.ends {
            self.input(gather::Input::Tick, now);
        }
        if now >= self.call_at() {
            self.called = true;
            if self.arriving.silent().next().is_some() {
                self.learned(now);
            }
        }
        let settled = self.gather.is_settled();
        let due = self.unsaid.is_some() && (settled || now >= self.say_at());
        let over = match self.whose {
            For::Asker(ticket) => self.tell_asker(operation, ticket, due, now, out),
            For::Parent(parent) => {
                if due {
                    out.push(Output::Send(parent, Order::Said(self.told(operation, now))));
                    self.unsaid = None;
                }
                settled || now >= self.ends
            }
        };
        // A parent's window closes before ours, which began later.
        if now >= self.ends && !self.heard.is_closed() {
            self.close(now);
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
        now: Micros,
        out: &mut Vec<Output>,
    ) -> bool {
        if self.over {
            if self.late > 0 {
                let answers = self.heard.answers();
                out.push(Output::Late(
                    ticket,
                    std::mem::take(&mut self.late),
                    answers,
                ));
            }
            self.unsaid = None;
            return false;
        }
        if self.abandoned {
            return true;
        }
        if let Some(outcome) = self.done.take() {
            let report = Report {
                operation,
                outcome,
                answers: self.heard.answers(),
                unready: self.unready_so_far(),
                arrivals: self.arrivals(&outcome, now),
            };
            out.push(Output::Done(ticket, Box::new(report)));
            self.unsaid = self.unsaid.filter(|_| self.late > 0);
            self.close(now);
            return true;
        }
        if due {
            out.push(Output::Progress(ticket, self.gather.tally()));
            self.unsaid = None;
        }
        false
    }

    /// How near to T all were, so far: those too of which only a child that is gone could say it. Where
    /// the window `is_over`, who is silent was lost to it.
    fn table(&self, is_over: bool) -> Box<Table> {
        let mut table = self.heard.arrivals(self.arriving.table(is_over));
        for (source, expected, part) in self.gather.gone() {
            if let (Source::Child(child), true) = (source, self.is_for_agents()) {
                let known = self.heard.told_of(&child) + u64::from(part.skipped);
                table.lose(u64::from(expected).saturating_sub(known));
            }
        }
        table
    }

    /// The same when it is decided: those too of whom nobody said anything until the window was over.
    fn arrivals(&self, outcome: &Outcome, now: Micros) -> Box<Table> {
        let is_over = now >= self.ends;
        let mut table = self.table(is_over);
        let tally = outcome.tally;
        let known = table.sent() + u64::from(tally.skipped);
        if is_over && self.is_for_agents() {
            table.lose(tally.expected().saturating_sub(known));
        }
        table
    }

    fn close(&mut self, now: Micros) {
        self.arriving.close(now >= self.ends);
        self.heard.close();
    }

    fn told(&self, operation: OperationId, now: Micros) -> Told {
        // This may be the last word that the parent counts.
        let is_over = now + self.pace >= self.ends;
        Told {
            operation,
            expected: u32::try_from(self.gather.expected()).unwrap_or(u32::MAX),
            part: self.gather.sum(),
            answers: self.heard.answers().cut(),
            unready: self.unready_so_far().cut(),
            arrivals: Some(self.table(is_over)).filter(|it| it.sent() > 0),
        }
    }

    /// Who is not ready, those of this node too that were asked and say nothing.
    fn unready_so_far(&self) -> Unready {
        let mut unready = self.heard.unready();
        let silent = self.arriving.silent();
        let silent = silent.map(|it| (it, Why::lost("it has not answered")));
        unready.named.extend(silent);
        unready.named.sort_by_key(|it| it.0);
        unready
    }
}
