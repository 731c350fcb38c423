//! The machine: one node's part in the operations that are under way.
//!
//! A question goes down the tree from the node where it was asked to all agents beneath it, and
//! what they say comes up, summed at each node. Each node asks its own agents so that they are
//! READY at T. It tells its parent how far it is at once when nobody is waited for any more, and
//! before that now and then; the count that decides is the asker's.
//!
//! Invariants: an agent is counted once, however often a question or an answer is repeated;
//! everything that is kept has a bound, and what is over it is refused and counted; only the
//! parent may ask, and only a child that was asked is heard.

use super::around::Around;
use super::carrying::Errand;
use super::census::{Census, Kind};
use super::gather;
use super::hosted::Hosted;
use super::kept::Kept;
use super::kpi::{Counts, Span};
use super::order::{Ask, QUESTION_BYTES_MAX, Request, Said as Told};
use super::readings::Readings;
use super::running::{For, Source};
use super::{
    AgentName, Input, OperationId, Order, Output, Question, Refusal, WINDOW_MAX, When, room_on,
};
use crate::ids::{Incarnation, Label, NodeId, Place};
use crate::impedance::Weight;
use crate::units::Micros;

/// What T leaves beside the agents' leads for the way down to their hosts.
const WAY_DOWN: Micros = Micros::from_millis(20);
/// The soonest T that somebody may ask for: one step of the schedule.
const SOONEST: Micros = crate::arrival::schedule::BUCKET;

/// One node's part in all operations.
#[derive(Debug, Clone)]
pub struct Operations {
    pub(super) me: NodeId,
    pub(super) run: Incarnation,
    pub(super) number: u64,
    pub(super) around: Around,
    pub(super) hosted: Hosted,
    place: Option<Place>,
    pub(super) readings: Readings,
    pub(super) kept: Kept,
    /// Words that were not taken, for they came from somebody who may not say them, or
    /// contradict what was said before.
    refused: u64,
}

impl Operations {
    /// The machine at its start.
    pub fn new(me: NodeId, run: Incarnation) -> Self {
        Self {
            me,
            run,
            number: 0,
            around: Around::default(),
            hosted: Hosted::default(),
            place: None,
            readings: Readings::default(),
            kept: Kept::default(),
            refused: 0,
        }
    }

    /// How many words of others were not taken.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes up the measures of before this run: see [`super::kpi::Kpis::resume`].
    pub fn resume(&mut self, rows: Vec<(Span, Counts)>, age: Micros) {
        self.readings.kpis_mut().resume(rows, age);
    }

    /// The agents here and beneath, as far as is known.
    pub fn census(&self) -> &Census {
        self.around.census()
    }

    /// What is known of each agent here and beneath.
    pub fn readings(&self) -> &Readings {
        &self.readings
    }

    /// When [`Input::Tick`] is next of use.
    pub fn next_deadline(&self) -> Micros {
        let tree = self.around.next_deadline();
        let due = self.kept.next_deadline().min(tree);
        due.min(self.readings.next_deadline())
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input, now: Micros) -> Vec<Output> {
        self.handle_all([input], now)
    }

    /// Several things happened, in this order; what follows is said once.
    pub fn handle_all(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        now: Micros,
    ) -> Vec<Output> {
        let mut out = Vec::new();
        // A window that has closed is closed before anything else comes in.
        self.tell(now, &mut out);
        for input in inputs {
            self.take(input, now, &mut out);
        }
        self.tell(now, &mut out);
        if self.around.is_due(now) {
            self.around.refresh(self.hosted.census(), now);
            self.read(now);
        }
        for (parent, rows) in self.readings.say(now) {
            out.push(Output::Send(parent, Order::Readings(rows)));
        }
        let have = self.around.say(now);
        out.extend(have.map(|(parent, have)| Output::Send(parent, have)));
        out
    }

    fn take(&mut self, input: Input, now: Micros, out: &mut Vec<Output>) {
        match input {
            Input::Tick => {}
            Input::Around(parent, children) => {
                self.readings.stand(parent);
                let come = children.iter().filter(|it| !self.around.is_child(it));
                for child in come.copied().collect::<Vec<_>>() {
                    self.readings.comes(child, self.me, now);
                }
                for child in self.around.stand(parent, children) {
                    let its = self.readings.live(child);
                    self.readings.gone(child, now);
                    self.gone(child, &its, now);
                }
            }
            Input::Delay(delay) => self.around.set_delay(delay),
            Input::Agents(agents) => {
                for agent in self.hosted.set(agents, now) {
                    self.readings.leaves(self.name(agent), now);
                }
                self.around.refresh(self.hosted.census(), now);
                self.read(now);
            }
            Input::Place(place) => {
                self.place = Some(place);
                self.read(now);
            }
            Input::Left(ticket) => {
                for operation in self.kept.ids() {
                    self.kept.change(&operation, |it| it.left(ticket, now));
                }
            }
            Input::Begin(ticket, question) => {
                if let Err(refusal) = self.begin(ticket, *question, now, out) {
                    out.push(Output::Refused(ticket, refusal));
                }
            }
            Input::Order(from, order) => {
                let taken = self.order(from, order, now, out);
                self.refused += u64::from(!taken);
            }
            Input::Answered(operation, agent, said, took) => {
                let taken = self.answered(operation, agent, said, took, now);
                self.refused += u64::from(!taken);
            }
            Input::Echoed(agent, elapsed, held) => {
                self.hosted.echoed(&agent, elapsed, held, now);
                self.around.measured();
            }
            Input::Crashed(agent, ends) => self.hosted.crashed(&agent, ends),
        }
    }

    /// Looks at the agents of this node anew.
    fn read(&mut self, now: Micros) {
        let Some(place) = self.place else {
            return;
        };
        for (agent, reading) in self.hosted.readings(place, now) {
            self.readings.measured(self.name(agent), reading, now);
        }
    }

    /// The name in the mesh of an agent of this node.
    pub(super) fn name(&self, agent: Label) -> AgentName {
        AgentName {
            node: self.me,
            agent,
        }
    }

    /// A child is gone, and the way to `its` agents with it.
    fn gone(&mut self, child: NodeId, its: &[(AgentName, Kind)], now: Micros) {
        for operation in self.kept.ids() {
            self.kept.change(&operation, |it| it.gone(child, its, now));
        }
    }

    fn begin(
        &mut self,
        ticket: u64,
        question: Question,
        now: Micros,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let Question {
            select,
            request,
            config,
            when,
        } = question;
        if request.question.len() > QUESTION_BYTES_MAX {
            return Err(Refusal::TooLarge(request.question.len()));
        }
        let many = self.many(&select);
        let expected = select.sample.map_or(many, |sample| sample.min(many));
        if expected == 0 || !select.is_sound() {
            return Err(Refusal::Nobody);
        }
        if !self.has_lane(&request) {
            return Err(Refusal::Busy(request.priority));
        }
        let half = Micros(config.window.0 / 2);
        let arrive = match when {
            When::Now => None,
            When::In(span) if span < SOONEST || span + half > WINDOW_MAX => {
                return Err(Refusal::BadTime(span));
            }
            When::In(span) => Some(span),
            When::Auto { limit } => {
                let share = gather::share_in_time(expected, config.minimum);
                let lead = self.census().lead_ms(&select, share).unwrap_or_default();
                // The census has it for the standard weight, and net and wait do not grow.
                let heavier = request.weight.factor() / Weight::STANDARD.factor();
                let lead = (lead as f32 * heavier.max(1.0)).ceil() as u64;
                let lead = Micros::from_millis(lead) + WAY_DOWN;
                Some(lead.min(limit).min(WINDOW_MAX.since(half)).max(SOONEST))
            }
        };
        let left = arrive.map_or(config.window, |arrive| arrive + half);
        self.number += 1;
        let operation = OperationId {
            origin: self.me,
            run: self.run,
            number: self.number,
        };
        out.push(Output::Began(ticket, operation, u64::from(expected)));
        let errand = Errand {
            whose: For::Asker(ticket),
            ask: Ask {
                operation,
                select,
                left_us: left.0,
                arrive_us: arrive.map(|it| it.0),
                request,
            },
            config: gather::Config {
                window: left,
                ..config
            },
        };
        self.carry_out(errand, now, out);
        Ok(())
    }

    /// Whether there is room on the lane: those below leave some for those above.
    fn has_lane(&self, request: &Request) -> bool {
        self.kept.under_way() < room_on(request.priority)
    }

    /// A neighbour's word. False when it is not taken.
    fn order(&mut self, from: NodeId, order: Order, now: Micros, out: &mut Vec<Output>) -> bool {
        match order {
            Order::Have(census) => self.around.have(from, census),
            Order::Readings(rows) if self.around.is_child(&from) => {
                self.readings.told(from, self.me, rows, now)
            }
            Order::Readings(rows) => self.readings.early(from, rows),
            Order::Ask(ask) if self.around.is_parent(&from) => self.asked(from, *ask, now, out),
            Order::Said(said) => self.said(from, said, now),
            Order::Ask(_) => false,
        }
    }

    fn asked(&mut self, from: NodeId, mut ask: Ask, now: Micros, out: &mut Vec<Output>) -> bool {
        // Nobody else begins an operation of this node.
        if ask.request.question.len() > QUESTION_BYTES_MAX
            || ask.operation.origin == self.me
            || !ask.select.is_sound()
        {
            return false;
        }
        // Asked again: by the same parent, that has lost what was said, or by a new one.
        let again = self
            .kept
            .change(&ask.operation, |it| it.is_asked_again(from, now));
        if let Some(taken) = again {
            return taken;
        }
        if !self.has_lane(&ask.request) {
            let expected = self.many(&ask.select);
            let told = Told::lost(ask.operation, expected);
            out.push(Output::Send(from, Order::Said(told)));
            return true;
        }
        // It was on its way.
        let delay = self.around.delay();
        let left = Micros(ask.left_us).min(WINDOW_MAX).since(delay);
        let arrive = ask.arrive_us.map(|it| Micros(it).min(left).since(delay));
        ask.left_us = left.0;
        ask.arrive_us = arrive.map(|it| it.0);
        let errand = Errand {
            whose: For::Parent(from),
            config: gather::Config {
                window: left,
                ..gather::Config::default()
            },
            ask,
        };
        self.carry_out(errand, now, out);
        true
    }

    fn said(&mut self, from: NodeId, told: Told, now: Micros) -> bool {
        let source = Source::Child(from);
        let sound = told.answers.is_sound() && told.unready.is_sound();
        let arrivals = told.arrivals.as_ref();
        let sound = sound && arrivals.is_none_or(|it| it.is_sound(WINDOW_MAX));
        let many = told.answers.many() <= u64::from(told.part.ready)
            && arrivals.is_none_or(|it| it.sent() <= u64::from(told.expected));
        if !sound || !many {
            return false;
        }
        let room = self.kept.room();
        let operation = told.operation;
        let taken = self.kept.change(&operation, |running| {
            let input = gather::Input::Said(source, told.expected, told.part);
            let taken = running.input(input, now);
            if taken {
                running.heard.told(from, told, room);
            }
            taken
        });
        taken.unwrap_or_default()
    }

    /// Does what is due by now: asks agents, lets go those that held to T, and says what is to
    /// be said, upward and to those who asked here.
    fn tell(&mut self, now: Micros, out: &mut Vec<Output>) {
        for operation in self.kept.due(now) {
            let said = out.len();
            let told = self.kept.change(&operation, |running| {
                for agent in running.arriving.take_due(now) {
                    self.hosted.given(&agent);
                    out.push(Output::Run {
                        operation,
                        agent,
                        request: running.request.clone(),
                        within: running.ends().since(now),
                    });
                }
                running.release(now);
                let over = running.tell(operation, now, out);
                (over, running.is_for_agents(), running.is_cascade())
            });
            let Some((over, for_agents, cascade)) = told else {
                continue;
            };
            for told in &out[said..] {
                if let Output::Done(_, report) = told
                    && for_agents
                {
                    let kpis = self.readings.kpis_mut();
                    kpis.ended(&report.outcome, &report.arrivals, cascade, now);
                }
            }
            if over {
                self.kept.ended(operation);
            }
        }
    }
}
