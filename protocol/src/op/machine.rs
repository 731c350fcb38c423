//! The machine: one node's part in the operations that are under way.
//!
//! A question goes down the tree from the node where it was asked to all agents beneath it, and
//! what they say comes up, summed at each node. A node tells its parent how far it is at once
//! when nobody is waited for any more, and before that now and then; the count that decides is
//! the asker's.
//!
//! Invariants: an agent is counted once, however often a question or an answer is repeated;
//! everything that is kept has a bound, and what is over it is refused and counted; only the
//! parent may ask, and only a child that was asked is heard.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::answers::{Answers, Unready};
use super::gather::{self, Part};
use super::order::{Ask, Census, QUESTION_BYTES_MAX, Said as Told};
use super::running::{For, Running, Source};
use super::{
    Agent, AgentName, Input, OperationId, Order, Output, RUNNING_MAX, Refusal, Said, Select,
    WINDOW_MAX,
};
use crate::ids::{Incarnation, Label, NodeId};
use crate::membership::topology::CHILDREN_MAX;
use crate::units::Micros;

/// Nodes of whom it is known what they have beneath them: the children, and as many that were
/// or will be.
const BELOW_MAX: usize = 2 * CHILDREN_MAX;
/// Operations that are over and still hear who is late.
const OVER_MAX: usize = 256;
/// Bytes of answers that are kept of all of them; of more only the number.
const ANSWERS_KEPT_MAX: usize = 16 * 1024 * 1024;

/// One node's part in all operations.
#[derive(Debug, Clone)]
pub struct Operations {
    me: NodeId,
    run: Incarnation,
    number: u64,
    parent: Option<(NodeId, Incarnation)>,
    children: BTreeSet<NodeId>,
    agents: Vec<Agent>,
    below: BTreeMap<NodeId, Census>,
    /// The sum of both.
    census: Census,
    /// To whom that was said last, and to which run of it: a new one has forgotten it.
    said: Option<(NodeId, Incarnation)>,
    running: BTreeMap<OperationId, Running>,
    /// Those that are over, the oldest first.
    over: VecDeque<OperationId>,
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
            parent: None,
            children: BTreeSet::new(),
            agents: Vec::new(),
            below: BTreeMap::new(),
            census: Census::default(),
            said: None,
            running: BTreeMap::new(),
            over: VecDeque::new(),
            refused: 0,
        }
    }

    /// How many words of others were not taken.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The agents here and beneath, as far as is known.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// Counts the agents anew. Where that comes to something else the parent has to know.
    fn count(&mut self) {
        let census = self.counted();
        if census != self.census {
            self.census = census;
            self.said = None;
        }
    }

    fn counted(&self) -> Census {
        let own = self.agents.iter().map(|it| &it.capabilities[..]);
        let below = self.below.iter();
        let below = below.filter(|(child, _)| self.children.contains(child));
        Census::sum(own, below.map(|it| it.1))
    }

    /// When [`Input::Tick`] is next of use.
    pub fn next_deadline(&self) -> Micros {
        let due = self.running.values().map(Running::next_deadline);
        due.min().unwrap_or(Micros::NEVER)
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input, now: Micros) -> Vec<Output> {
        let mut out = Vec::new();
        // A window that has closed is closed before anything else comes in.
        self.tell(now, &mut out);
        match input {
            Input::Tick => {}
            Input::Around(parent, children) => self.stand(parent, children, now, &mut out),
            Input::Agents(agents) => {
                self.agents = agents;
                self.count();
            }
            Input::Begin {
                ticket,
                select,
                question,
                config,
            } => match self.begin(ticket, select, question, config, now, &mut out) {
                Ok(()) => {}
                Err(refusal) => out.push(Output::Refused(ticket, refusal)),
            },
            Input::Order(from, order) => {
                let taken = self.order(from, order, now, &mut out);
                self.refused += u64::from(!taken);
            }
            Input::Answered(operation, agent, said) => {
                self.answered(operation, agent, said, now, &mut out);
            }
        }
        self.tell(now, &mut out);
        self.say_have(&mut out);
        out
    }

    fn stand(
        &mut self,
        parent: Option<(NodeId, Incarnation)>,
        children: BTreeSet<NodeId>,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        let gone: Vec<NodeId> = self.children.difference(&children).copied().collect();
        self.parent = parent;
        self.children = children;
        self.count();
        for child in gone {
            let asked: Vec<OperationId> = self.running.keys().copied().collect();
            for operation in asked {
                let input = gather::Input::Gone(Source::Child(child));
                // Of an operation that it was not asked in it is a stranger.
                let _ = self.input(operation, input, now, out);
            }
        }
    }

    fn begin(
        &mut self,
        ticket: u64,
        select: Select,
        question: Vec<u8>,
        config: gather::Config,
        now: Micros,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if question.len() > QUESTION_BYTES_MAX {
            return Err(Refusal::TooLarge(question.len()));
        }
        let expected = self.census.count(&select);
        if expected == 0 {
            return Err(Refusal::Nobody);
        }
        if self.under_way() >= RUNNING_MAX {
            return Err(Refusal::Busy);
        }
        self.number += 1;
        let operation = OperationId {
            origin: self.me,
            run: self.run,
            number: self.number,
        };
        out.push(Output::Began(ticket, operation, u64::from(expected)));
        let ask = Ask {
            operation,
            select,
            left_us: config.window.0,
            question,
        };
        self.carry_out(For::Asker(ticket), ask, config, now, out);
        Ok(())
    }

    /// How many operations are not over.
    fn under_way(&self) -> usize {
        self.running.len() - self.over.len()
    }

    /// A neighbour's word. False when it is not taken.
    fn order(&mut self, from: NodeId, order: Order, now: Micros, out: &mut Vec<Output>) -> bool {
        match order {
            // It may come before it is known here that the sender is a child.
            Order::Have(census) if census.is_sound() && self.has_room_for(&from) => {
                self.below.insert(from, census);
                self.count();
                true
            }
            Order::Ask(ask) if self.is_parent(&from) => self.asked(from, ask, now, out),
            Order::Said(said) => self.said(from, said, now, out),
            Order::Have(_) | Order::Ask(_) => false,
        }
    }

    /// Whether what this node has beneath it is kept. Of those that are no children some are
    /// forgotten for one that is.
    fn has_room_for(&mut self, node: &NodeId) -> bool {
        if self.below.contains_key(node) || self.below.len() < BELOW_MAX {
            return true;
        }
        if !self.children.contains(node) {
            return false;
        }
        self.below.retain(|it, _| self.children.contains(it));
        self.below.len() < BELOW_MAX
    }

    fn is_parent(&self, node: &NodeId) -> bool {
        self.parent.is_some_and(|(parent, _)| parent == *node)
    }

    fn asked(&mut self, from: NodeId, ask: Ask, now: Micros, out: &mut Vec<Output>) -> bool {
        // Nobody else begins an operation of this node.
        if ask.question.len() > QUESTION_BYTES_MAX || ask.operation.origin == self.me {
            return false;
        }
        if let Some(running) = self.running.get_mut(&ask.operation) {
            // Asked again: by the same parent, that has lost what was said, or by a new one.
            return running.is_asked_again(from, now);
        }
        if self.under_way() >= RUNNING_MAX {
            let expected = self.census.count(&ask.select);
            let told = Told {
                operation: ask.operation,
                expected,
                part: Part {
                    lost: expected,
                    ..Part::default()
                },
                answers: Answers::default(),
                unready: Unready {
                    named: Vec::new(),
                    more: expected,
                },
            };
            out.push(Output::Send(from, Order::Said(told)));
            return true;
        }
        let config = gather::Config {
            window: Micros(ask.left_us).min(WINDOW_MAX),
            ..gather::Config::default()
        };
        self.carry_out(For::Parent(from), ask, config, now, out);
        true
    }

    /// Passes the question on to all agents here and beneath.
    fn carry_out(
        &mut self,
        whose: For,
        ask: Ask,
        config: gather::Config,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        let question: Arc<[u8]> = ask.question.as_slice().into();
        let select = ask.select;
        let able = |agent: &&Agent| {
            let wanted = select.capability;
            wanted.is_none_or(|it| agent.capabilities.contains(&it))
        };
        let mut sources = Vec::new();
        for agent in self.agents.iter().filter(able) {
            sources.push((Source::Agent(agent.name), 1));
            out.push(Output::Run {
                operation: ask.operation,
                agent: agent.name,
                question: question.clone(),
                within: config.window,
            });
        }
        for child in &self.children {
            let expected = self.below.get(child).map_or(0, |it| it.count(&select));
            if expected > 0 {
                sources.push((Source::Child(*child), expected));
                out.push(Output::Send(*child, Order::Ask(ask.clone())));
            }
        }
        let running = Running::new(whose, config, sources, now);
        self.running.insert(ask.operation, running);
    }

    fn said(&mut self, from: NodeId, told: Told, now: Micros, out: &mut Vec<Output>) -> bool {
        let source = Source::Child(from);
        let sound = told.answers.is_sound() && told.unready.is_sound();
        if !sound || told.answers.many() > u64::from(told.part.ready) {
            return false;
        }
        let input = gather::Input::Said(source, told.expected, told.part);
        if !self.input(told.operation, input, now, out) {
            return false;
        }
        let room = self.room();
        if let Some(running) = self.running.get_mut(&told.operation) {
            running.note_all(source, told.answers, told.unready, room);
        }
        true
    }

    /// How many bytes of answers may be kept beside those that are.
    fn room(&self) -> usize {
        let kept = self.running.values().map(Running::bytes);
        ANSWERS_KEPT_MAX.saturating_sub(kept.sum())
    }

    fn answered(
        &mut self,
        operation: OperationId,
        agent: Label,
        said: Said,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        let source = Source::Agent(agent);
        let name = AgentName {
            node: self.me,
            agent,
        };
        let part = match &said {
            Said::Ready(_) => Part::READY,
            Said::Conflict(_) => Part::CONFLICT,
            Said::Lost(_) => Part::LOST,
        };
        if !self.input(operation, gather::Input::Said(source, 1, part), now, out) {
            self.refused += 1;
            return;
        }
        let room = self.room();
        if let Some(running) = self.running.get_mut(&operation) {
            running.note(source, name, said, room);
        }
    }

    /// Gives an operation's count an input. False when it does not take it.
    fn input(
        &mut self,
        operation: OperationId,
        input: gather::Input<Source>,
        now: Micros,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(running) = self.running.get_mut(&operation) else {
            return false;
        };
        running.input(input, now, out)
    }

    /// Says what is to be said by now, upward and to those who asked here.
    fn tell(&mut self, now: Micros, out: &mut Vec<Output>) {
        for (operation, running) in &mut self.running {
            if running.tell(*operation, now, out) {
                self.over.push_back(*operation);
            }
        }
        while self.over.len() > OVER_MAX {
            let oldest = self.over.pop_front();
            oldest.map(|operation| self.running.remove(&operation));
        }
    }

    /// Tells the parent how many agents there are, if it does not know.
    fn say_have(&mut self, out: &mut Vec<Output>) {
        if self.said != self.parent {
            let have = |it: (NodeId, _)| Output::Send(it.0, Order::Have(self.census.clone()));
            out.extend(self.parent.map(have));
            self.said = self.parent;
        }
    }
}
