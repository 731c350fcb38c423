//! Replication: the machine that spreads fresh writes, counts where they are durable, and
//! brings stores together that have been apart.
//!
//! A fresh write goes at once to the connected nodes that should hold it. *Carriers*
//! (coordinators and the orchestrator) hold everything and pass a fresh write on to those
//! that they are connected to, so it crosses from one realm to the next. Whoever has it on
//! disk tells the one that gave it, and carriers tell on; so the writer learns how many
//! nodes have it. What was missed is found by comparing sums ([`compare`]): on connecting,
//! and every [`Config::compare_every`]. What stands on a node that should not hold it is
//! offered to those that should ([`strays`]).
//!
//! Invariants: nothing is told to be durable that [`Input::Merged`] did not say; a quorum
//! counts distinct nodes and is never clamped; no table grows beyond its stated bound.

mod compare;
mod events;
mod looks;
mod origins;
mod quorums;
mod strays;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::causality::version::Dot;
use crate::ids::{Digest, NodeId};
use crate::memory::index::{Index, Leaves};
use crate::memory::key::Position;
use crate::memory::parcel::{Answer, FETCH_MAX, Question};
use crate::memory::placement::{K, Placement};
use crate::memory::record::Record;
use crate::units::Micros;

pub use events::{Change, Input, Output};
pub use looks::Found;
pub use origins::ORIGINS_MAX;
pub use quorums::{Reached, Want};

/// How to replicate.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many nodes hold a record.
    pub copies: usize,
    /// Between two comparisons with one neighbour while they agree.
    pub compare_every: Micros,
    /// How long a neighbour may take to answer.
    pub patience: Micros,
    /// The number of this run, higher than that of every earlier one of this node: so the
    /// names of its looks are new. Whoever answered a name lately does not answer it again.
    pub run: u64,
}

impl Default for Config {
    /// Kademlia's k; 10 s keeps 19 neighbours at two small questions a second.
    fn default() -> Self {
        Self {
            copies: K,
            compare_every: Micros::from_secs(10),
            patience: Micros::from_secs(10),
            run: 0,
        }
    }
}

/// A neighbour that can be spoken to.
#[derive(Debug, Clone)]
struct Neighbour {
    /// What it should hold.
    theirs: Leaves,
    /// What both of us should hold.
    common: Leaves,
    strays: strays::Strays,
    telling: origins::Telling,
    stage: compare::Stage,
    stuck: compare::Stuck,
    /// When stores are compared next.
    compare_at: Micros,
    /// When they were last found to agree, if they have not changed since.
    agreed: Option<Micros>,
}

/// The machine.
#[derive(Debug)]
pub struct State {
    config: Config,
    me: NodeId,
    placement: Placement,
    carriers: BTreeSet<NodeId>,
    leaves: Leaves,
    index: Index,
    neighbours: BTreeMap<NodeId, Neighbour>,
    members: BTreeSet<NodeId>,
    /// Who gave a fresh write, oldest first in `order`.
    origins: BTreeMap<Dot, origins::Origin>,
    order: VecDeque<Dot>,
    counts: BTreeMap<u64, quorums::Count>,
    looks: looks::Looks,
    asks: u64,
}

impl State {
    /// A node that knows nobody yet.
    pub fn new(me: NodeId, config: Config) -> Self {
        Self {
            placement: Placement::new([me], config.copies),
            // 40 bits count the questions of one run.
            asks: (config.run & 0xff_ffff) << 40,
            config,
            me,
            members: BTreeSet::from([me]),
            carriers: BTreeSet::new(),
            leaves: Leaves::All,
            index: Index::default(),
            neighbours: BTreeMap::new(),
            origins: BTreeMap::new(),
            order: VecDeque::new(),
            counts: BTreeMap::new(),
            looks: looks::Looks::default(),
        }
    }

    /// Handles one input.
    pub fn handle(&mut self, input: Input, now: Micros) -> Vec<Output> {
        match input {
            Input::Members { nodes, carriers } => self.members(nodes, carriers),
            Input::Connected(node) => self.connected(node, now),
            Input::Disconnected(node) => self.disconnected(&node, now),
            Input::Arrived { from, record } => self.arrived(from, record).into_iter().collect(),
            Input::Merged {
                from,
                fresh,
                record,
                change,
            } => self.merged(from, fresh, record, change, now),
            Input::Stands(at, change) => {
                self.changed(&at, &change);
                Vec::new()
            }
            Input::Count {
                put,
                dot,
                at,
                want,
                until,
            } => self.count(put, dot, &at, want, until, now),
            Input::Look {
                look,
                at,
                has,
                until,
            } => self.look(look, at, has, until, now),
            Input::Asked {
                from,
                question,
                ticket,
            } => self.asked(from, question, ticket, now),
            Input::Answered { from, ask, answer } => self.answered(from, ask, answer, now),
            Input::Compared { with, moved, alike } => {
                self.compared(&with, moved, alike, now);
                Vec::new()
            }
            Input::Holds { look, found } => self.holds(look, found, now),
            Input::Tick => {
                let mut outputs = self.compare_due(now);
                outputs.extend(self.count_again(now));
                outputs.extend(self.give_up_counts(now));
                outputs.extend(self.give_up_looks(now));
                outputs
            }
        }
    }

    // What others may ask of it.

    /// What the sum over everything here is, and of how many keys.
    pub fn sum(&self) -> crate::memory::index::Sum {
        self.index.sum(&Leaves::All)
    }

    /// How many nodes should hold a key that this one holds, and how many of the neighbours
    /// that share any with this one agreed with it at the last comparison.
    pub fn copies(&self) -> (usize, usize) {
        let agree = self.neighbours.values().filter(|it| it.agreed.is_some());
        (self.placement.copies(), agree.count())
    }

    /// The neighbours whose stores are known to lack something of ours, or have more.
    pub fn behind(&self) -> usize {
        let all = self.neighbours.values();
        all.filter(|it| it.agreed.is_none()).count()
    }

    /// Who can be spoken to.
    pub fn neighbours(&self) -> impl Iterator<Item = &NodeId> {
        self.neighbours.keys()
    }

    /// The members that hold memory, and how many hold each key.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Whether this node passes fresh writes on from realm to realm.
    pub fn carries(&self) -> bool {
        self.carriers.contains(&self.me)
    }

    /// Whether this node should hold the keys of a leaf.
    pub fn should_hold(&self, leaf: u16) -> bool {
        self.leaves.has(leaf)
    }

    /// Whether this node should hold all keys.
    pub fn holds_all(&self) -> bool {
        self.leaves == Leaves::All
    }

    /// What stands in the store was read anew: it is this, and the neighbours are compared
    /// with at once.
    pub fn stands(&mut self, all: &[(Position, Digest)], now: Micros) {
        self.index = Index::default();
        for (at, digest) in all {
            self.index.change(at, None, Some(digest));
        }
        self.compare_soon(now);
    }

    /// A number for a question that the caller puts by itself.
    pub fn ask_number(&mut self) -> u64 {
        self.asks += 1;
        self.asks
    }

    // Private, in the order of the inputs.

    fn members(&mut self, nodes: BTreeSet<NodeId>, carriers: BTreeSet<NodeId>) -> Vec<Output> {
        self.placement = Placement::new(nodes.iter().copied(), self.config.copies);
        self.members = nodes;
        self.carriers = carriers;
        self.leaves = self.leaves_of(&self.me);
        let known: Vec<NodeId> = self.neighbours.keys().copied().collect();
        for node in known {
            let theirs = self.leaves_of(&node);
            let common = self.leaves.common(&theirs);
            let Some(neighbour) = self.neighbours.get_mut(&node) else {
                continue;
            };
            if neighbour.common != common {
                neighbour.common = common;
                neighbour.agreed = None;
            }
            neighbour.theirs = theirs;
        }
        Vec::new()
    }

    fn leaves_of(&self, node: &NodeId) -> Leaves {
        match self.carriers.contains(node) {
            true => Leaves::All,
            false => self.placement.leaves(node),
        }
    }

    fn connected(&mut self, node: NodeId, now: Micros) -> Vec<Output> {
        let theirs = self.leaves_of(&node);
        self.neighbours.insert(
            node,
            Neighbour {
                common: self.leaves.common(&theirs),
                theirs,
                strays: strays::Strays::default(),
                telling: origins::Telling::default(),
                stage: compare::Stage::Idle,
                stuck: compare::Stuck::default(),
                compare_at: now,
                agreed: None,
            },
        );
        self.compare_due(now)
    }

    fn disconnected(&mut self, node: &NodeId, now: Micros) -> Vec<Output> {
        self.neighbours.remove(node);
        self.look_lost(node, now)
    }

    fn merged(
        &mut self,
        from: Option<NodeId>,
        fresh: bool,
        record: Record,
        change: Option<Change>,
        now: Micros,
    ) -> Vec<Output> {
        let at = record.position();
        let dot = *record.dot();
        let mut outputs = Vec::new();
        if let Some(change) = change {
            self.changed(&at, &change);
            if let (false, Some(from)) = (fresh, &from) {
                self.pass_on_soon(from, now);
            }
            if fresh && from.is_none() {
                outputs.extend(self.spread(None, record));
            }
        }
        if let (Some(from), true) = (from, fresh) {
            outputs.extend(self.tell(from, vec![dot], vec![self.me], now));
        }
        outputs.extend(self.has_it(&dot, &[self.me]));
        outputs
    }

    fn arrived(&mut self, from: NodeId, record: Record) -> Option<Output> {
        // Where the disk takes nothing it is new each time: it goes on once all the same.
        if !self.carries() || self.origins.contains_key(record.dot()) {
            return None;
        }
        self.remember(*record.dot(), from);
        self.spread(Some(&from), record)
    }

    /// Gives a fresh write to those that should hold it.
    fn spread(&self, from: Option<&NodeId>, record: Record) -> Option<Output> {
        let to = self.holding(&record.position(), from);
        (!to.is_empty()).then_some(Output::Spread(to, record))
    }

    /// The neighbours that should hold a key, but for one.
    fn holding(&self, at: &Position, but: Option<&NodeId>) -> Vec<NodeId> {
        let holds =
            |(node, it): &(&NodeId, &Neighbour)| Some(*node) != but && it.theirs.has(at.leaf());
        let nodes = self.neighbours.iter().filter(holds);
        nodes.map(|(node, _)| *node).collect()
    }

    fn changed(&mut self, at: &Position, change: &Change) {
        self.index
            .change(at, change.was.as_ref(), change.is.as_ref());
    }

    fn ask(&mut self, to: NodeId, question: Question) -> Output {
        let ask = self.ask_number();
        Output::Ask { to, ask, question }
    }

    fn asked(&mut self, from: NodeId, question: Question, ticket: u64, now: Micros) -> Vec<Output> {
        match question {
            Question::Sum(digest) => self.answer_sum(from, &digest, ticket, now),
            Question::Leaves(branches) => vec![self.answer_leaves(&from, &branches, ticket)],
            Question::Strays(sums) => vec![self.answer_strays(&sums, ticket)],
            Question::Fetch(positions) => {
                let each = positions.chunks_exact(32).take(FETCH_MAX);
                let each = each.filter_map(|it| Some(Position(it.try_into().ok()?)));
                vec![Output::ReplyRecords(ticket, each.collect())]
            }
            Question::Push(records) => vec![Output::Merge {
                from,
                records: records.into_iter().map(|it| it.into_vec()).collect(),
                ticket: Some(ticket),
            }],
            Question::Stored { dots, nodes } => {
                let mut outputs = vec![Output::Reply(ticket, Answer::Taken(0))];
                outputs.extend(self.told(&from, &dots, &nodes, now));
                outputs
            }
            Question::Look(look) => self.asked_to_look(from, look, ticket, now),
        }
    }

    fn answered(
        &mut self,
        from: NodeId,
        ask: u64,
        answer: Option<Answer>,
        now: Micros,
    ) -> Vec<Output> {
        if self.looks.is_of(ask) {
            return self.seen(from, ask, answer, now);
        }
        if self.is_telling(&from, ask) {
            return self.tell_more(from, now).into_iter().collect();
        }
        self.comparing(from, ask, answer, now)
    }
}

#[cfg(test)]
mod tests;
