//! Carrying out: a question at one node. Who of its agents and children is asked, when, and what its own
//! agents say.

use std::sync::Arc;

use super::answers::Why;
use super::arriving::Arriving;
use super::census::draw;
use super::gather::{self, Part};
use super::order::Ask;
use super::running::{For, Running, Source};
use super::{OperationId, Operations, Order, Output, Said, Select, Took};
use crate::arrival::schedule::Skip;
use crate::ids::{Label, NodeId};
use crate::units::{Micros, Seeded};

/// A question as it is carried out at one node.
pub(super) struct Errand {
    /// For whom.
    pub whose: For,
    /// What, to whom, and for how long.
    pub ask: Ask,
    /// What a success is.
    pub config: gather::Config,
}

impl Operations {
    /// Passes the question on to all agents here and beneath, or to as many as were chosen.
    pub(super) fn carry_out(&mut self, errand: Errand, now: Micros, out: &mut Vec<Output>) {
        let Errand {
            whose,
            mut ask,
            config,
        } = errand;
        let select = ask.select.clone();
        let beneath = select.beneath();
        let (mut agents, mut below) = self.meant(&select);
        if let Some(sample) = select.sample {
            let there: Vec<u32> = agents.iter().map(|_| 1).collect();
            let there = [there, below.iter().map(|it| it.1).collect()].concat();
            let drawn = draw(&there, sample, &mut self.lot(&ask.operation));
            let (here, beneath) = drawn.split_at(agents.len());
            let mut here = here.iter();
            agents.retain(|_| here.next() == Some(&1));
            below.iter_mut().zip(beneath).for_each(|(it, n)| it.1 = *n);
            below.retain(|it| it.1 > 0);
        }
        let mut sources: Vec<(Source, u32)> =
            agents.iter().map(|it| (Source::Agent(*it), 1)).collect();
        let confirms = select.tier == Some(0);
        if confirms {
            sources.push((Source::Node, 1));
        }
        ask.select = beneath;
        for (child, expected) in below {
            sources.push((Source::Child(child), expected));
            ask.select.sample = select.sample.map(|_| expected);
            out.push(Output::Send(child, Order::Ask(Box::new(ask.clone()))));
        }
        let at = ask.arrive_us.map(|it| now + Micros(it));
        let window = at.map_or(config.window, |at| (now + config.window).since(at).times(2));
        let weight = ask.request.weight;
        let whole = ask.request.is_whole();
        let target = |agent: &Label| {
            let aim = Arriving::aim(at);
            let (prediction, queue) = self.hosted.predict(agent, weight, aim, window)?;
            Some((*agent, prediction, queue))
        };
        let targets = agents.iter().filter(|_| whole).filter_map(target).collect();
        let (arriving, skipped) = Arriving::new(self.me, at, window, targets, now);
        let mut running = Running::new(
            whose,
            Arc::new(ask.request),
            arriving,
            select,
            config,
            sources,
            now,
        );
        if confirms {
            running.count(Source::Node, Part::READY, now);
        }
        for Skip {
            agent,
            would_need,
            available,
        } in skipped
        {
            let millis = |it: Micros| u32::try_from(it.as_millis()).unwrap_or(u32::MAX);
            let why = Why::Skipped {
                would_need_ms: millis(would_need),
                available_ms: millis(available),
            };
            running.misses(self.name(agent), Part::SKIPPED, why, now);
        }
        for agent in agents.iter().filter(|_| !whole) {
            let why = Why::Lost("HASH_MISMATCH: the question is not what was sent".into());
            running.misses(self.name(*agent), Part::LOST, why, now);
        }
        self.kept.insert(ask.operation, running);
    }

    /// The agents here that a question is for, and of how many beneath which child: of all, where only
    /// some of them are to be drawn.
    fn meant(&self, select: &Select) -> (Vec<Label>, Vec<(NodeId, u32)>) {
        let agents = match select.tier {
            Some(_) => Vec::new(),
            None => self.hosted.able(select, self.me).collect(),
        };
        let beneath = select.beneath();
        let below = self.around.below().filter(|_| select.tier != Some(0));
        let via = select.agent.map(|it| self.readings.via(&it));
        let below = below.map(|(child, census)| match via {
            Some(via) => (child, u32::from(via == Some(child))),
            None => (child, census.count(&beneath)),
        });
        (agents, below.filter(|it| it.1 > 0).collect())
    }

    /// How many could be asked, a sample's size aside.
    pub(super) fn many(&self, select: &Select) -> u32 {
        // One that is known may be out of reach.
        if select.agent.is_some() {
            let (agents, below) = self.meant(select);
            return u32::from(!agents.is_empty() || !below.is_empty());
        }
        self.census().count(select)
    }

    /// The lot by which a sample is drawn here.
    fn lot(&self, operation: &OperationId) -> Seeded {
        let fold = |id: &NodeId| {
            id.0.iter()
                .fold(0u64, |it, byte| it.rotate_left(8) ^ u64::from(*byte))
        };
        let who = fold(&operation.origin) ^ fold(&self.me).rotate_left(32);
        Seeded::new(who ^ operation.run.0.rotate_left(16) ^ operation.number)
    }

    /// An agent of this node is done with a question. False when it was not asked that, or has
    /// said before what became of it.
    pub(super) fn answered(
        &mut self,
        operation: OperationId,
        agent: Label,
        said: Said,
        took: Option<Took>,
        now: Micros,
    ) -> bool {
        let room = self.kept.room();
        let one = self.name(agent);
        let answered = !matches!(said, Said::Lost(_));
        let sent = self.kept.change(&operation, |running| {
            let sent = running.arriving.done(&agent, answered, now)?;
            running.said(one, said, room, now);
            Some((sent, running.request.weight))
        });
        let Some((sent, weight)) = sent.flatten() else {
            // So many others were over since that nothing is kept of it.
            if sent.is_none() {
                self.hosted.forgotten(&agent, now);
                self.around.measured();
            }
            return false;
        };
        let took = took.filter(|_| answered);
        self.hosted.done(&agent, took, weight, sent.queue, now);
        if answered {
            let actual = now.since(sent.at);
            self.hosted.learn(&agent, &sent.prediction, actual);
        }
        self.around.measured();
        true
    }
}
