//! Arriving: when each agent of this node is given a question, so that all are READY at T, and how near
//! to it they were (MESH-30K, 3.1; the times are those of `arrival::schedule`).
//!
//! An agent that is READY before T holds, and its answer goes out at T. Where there is no T, each
//! is asked at once and READY when it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::arrival::predict::{Aim, Prediction};
use crate::arrival::reliability::{Outcome, Table};
use crate::arrival::schedule::{Compensation, Planned, Skip, schedule};
use crate::ids::{AgentName, Label, NodeId};
use crate::units::Micros;

/// One agent's question, under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// When it was due to leave.
    pub at: Micros,
    /// Behind how many others.
    pub queue: u16,
    /// What was expected.
    pub prediction: Prediction,
    compensation: Compensation,
}

/// The agents of one operation at one node.
#[derive(Debug, Clone)]
pub(super) struct Arriving {
    me: NodeId,
    at: Option<Micros>,
    window: Micros,
    /// Those that are not asked yet, by when they are.
    due: VecDeque<(Micros, Label)>,
    sent: BTreeMap<Label, Sent>,
    /// READY, and holding.
    held: BTreeSet<Label>,
    table: Table,
    /// The window is over.
    closed: bool,
}

impl Arriving {
    /// Of the node `me`. Plans for T, `at`, in the middle of `window`; also gives those for which it is too late.
    pub fn new(
        me: NodeId,
        at: Option<Micros>,
        window: Micros,
        targets: Vec<(Label, Prediction, u16)>,
        now: Micros,
    ) -> (Self, Vec<Skip<Label>>) {
        let mut arriving = Self {
            me,
            at,
            window,
            due: VecDeque::new(),
            sent: BTreeMap::new(),
            held: BTreeSet::new(),
            table: Table::default(),
            closed: false,
        };
        let Some(at) = at else {
            for (agent, prediction, queue) in targets {
                let compensation = Compensation {
                    lead: prediction.lead,
                    processing: prediction.processing,
                    confidence: prediction.confidence,
                    aim: prediction.aim,
                };
                arriving.plan(now, agent, compensation, prediction, queue);
            }
            return (arriving, Vec::new());
        };
        let known: BTreeMap<Label, (Prediction, u16)> = targets
            .into_iter()
            .map(|(agent, prediction, queue)| (agent, (prediction, queue)))
            .collect();
        let plan = schedule(at, now, known.iter().map(|(agent, it)| (*agent, it.0)));
        for batch in plan.batches {
            for Planned {
                agent,
                compensation,
            } in batch.targets
            {
                let (prediction, queue) = known[&agent];
                arriving.plan(batch.at, agent, compensation, prediction, queue);
            }
        }
        (arriving, plan.skipped)
    }

    /// What is aimed at where there is a T, and where there is none.
    pub fn aim(at: Option<Micros>) -> Aim {
        at.map_or(Aim::Unheld, |_| Aim::HELD_95)
    }

    /// Whether there is a T.
    pub fn is_timed(&self) -> bool {
        self.at.is_some()
    }

    fn plan(
        &mut self,
        at: Micros,
        agent: Label,
        compensation: Compensation,
        prediction: Prediction,
        queue: u16,
    ) {
        self.due.push_back((at, agent));
        let sent = Sent {
            at,
            queue,
            prediction,
            compensation,
        };
        self.sent.insert(agent, sent);
    }

    /// When somebody is asked next, or T where somebody holds.
    pub fn next_deadline(&self) -> Micros {
        let due = self.due.front().map_or(Micros::NEVER, |it| it.0);
        let held = self.at.filter(|_| !self.held.is_empty());
        due.min(held.unwrap_or(Micros::NEVER))
    }

    /// Who is asked now.
    pub fn take_due(&mut self, now: Micros) -> Vec<Label> {
        let many = self.due.iter().take_while(|it| it.0 <= now).count();
        self.due.drain(..many).map(|it| it.1).collect()
    }

    /// Keeps no room for those that were asked.
    pub fn shrink(&mut self) {
        self.due.shrink_to_fit();
    }

    /// An agent is done, with an answer or without. How it was sent, if it was and was not done
    /// before.
    pub fn done(&mut self, agent: &Label, answered: bool, now: Micros) -> Option<Sent> {
        let sent = self.sent.remove(agent)?;
        if !self.closed {
            let outcome = match answered {
                true => Outcome::of(&sent.compensation, now.since(sent.at), self.window),
                false => Outcome::lost(&sent.compensation),
            };
            self.table.record(&outcome);
        }
        Some(sent)
    }

    /// An agent is READY. Whether it holds until T, or else counts at once.
    pub fn holds(&mut self, agent: Label, now: Micros) -> bool {
        let early = !self.closed && self.at.is_some_and(|at| now < at);
        if early {
            self.held.insert(agent);
        }
        early
    }

    /// Those that were asked and are not done.
    pub fn silent(&self) -> impl Iterator<Item = AgentName> {
        let due: BTreeSet<Label> = self.due.iter().map(|it| it.1).collect();
        let asked = self
            .sent
            .keys()
            .copied()
            .filter(move |it| !due.contains(it));
        asked.map(|agent| self.name(agent))
    }

    /// The name in the mesh of an agent of this node.
    pub fn name(&self, agent: Label) -> AgentName {
        let node = self.me;
        AgentName { node, agent }
    }

    /// At T, those that held.
    pub fn release(&mut self, now: Micros) -> BTreeSet<Label> {
        match self.at.is_some_and(|at| now >= at) {
            true => std::mem::take(&mut self.held),
            false => BTreeSet::new(),
        }
    }

    /// Nobody counts any more. Where the window is over, `is_over`, whoever has not answered was lost to
    /// it; where it was decided before that, nobody knows whether they would have been in time.
    pub fn close(&mut self, is_over: bool) {
        if !self.closed {
            self.table = self.table(is_over);
            self.closed = true;
        }
    }

    /// How near to T they were, so far; with those that are silent as lost where the window `is_over`.
    pub fn table(&self, is_over: bool) -> Table {
        let mut table = self.table.clone();
        let lost = self.sent.values().filter(|_| is_over && !self.closed);
        lost.for_each(|it| table.record(&Outcome::lost(&it.compensation)));
        table
    }
}
