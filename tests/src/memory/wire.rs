//! What goes from node to node, what becomes of it on the way, and what the shell around a
//! machine does with its outputs.

use std::collections::VecDeque;

use chorus_protocol::ids::NodeId;
use chorus_protocol::memory::key::Position;
use chorus_protocol::memory::parcel::{
    Answer, Difference, FETCH_MAX, HEAD_BYTES, HEADS_MAX, Question, RECORDS_BYTES,
};
use chorus_protocol::memory::record::Record;
use chorus_protocol::memory::replication::{Input, Output};
use chorus_protocol::memory::siblings::Siblings;
use chorus_protocol::units::{Micros, Noise};
use chorus_protocol::wire::codec;
use serde_bytes::ByteBuf;

use super::node::Job;
use super::{MESH, World, pair};

/// How long who asks waits for an answer that was lost.
const LOST: Micros = Micros::from_secs(5);

#[derive(Debug)]
pub(super) enum Event {
    /// From whom.
    Put(usize, Record),
    /// From whom, its number.
    Ask(usize, u64, Question),
    /// From whom, the asker's number.
    Answer(usize, u64, Option<Answer>),
    /// With whom the difference is fetched and pushed.
    Exchange(usize, Difference),
    /// With whom that is done, how much it was, and whether nothing differed.
    Exchanged(usize, usize, bool),
    /// The disk of this run has taken what waits.
    Flush(u64),
}

impl Event {
    /// The node at the other end.
    fn other(&self) -> Option<usize> {
        match self {
            Event::Put(from, _) | Event::Ask(from, ..) | Event::Answer(from, ..) => Some(*from),
            Event::Exchange(with, _) | Event::Exchanged(with, ..) => Some(*with),
            Event::Flush(_) => None,
        }
    }

    fn size(&self) -> (&'static str, usize) {
        let name = |it: &Question| match it {
            Question::Sum(_) => "sum",
            Question::Leaves(_) => "leaves",
            Question::Strays(_) => "strays",
            Question::Fetch(_) => "fetch",
            Question::Push(_) => "push",
            Question::Stored { .. } => "stored",
            Question::Look(_) => "look",
        };
        match self {
            Event::Put(_, record) => ("put", record.bytes().len()),
            Event::Ask(_, _, it) => (name(it), codec::encode(it).len()),
            Event::Answer(_, _, Some(Answer::Taken(_))) => {
                ("taken", codec::encode(&Answer::Taken(0)).len())
            }
            Event::Answer(_, _, Some(it)) => ("answer", codec::encode(it).len()),
            _ => ("nothing", 0),
        }
    }
}

fn bytes(all: &[ByteBuf]) -> usize {
    all.iter().map(|it| it.len() + 5).sum()
}

impl World {
    /// Connects whoever can reach each other now, and disconnects the others.
    pub(super) fn relink(&mut self) {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                let (one, two) = (&self.nodes[a], &self.nodes[b]);
                let realm =
                    one.seat.sector == two.seat.sector || one.seat.carrier && two.seat.carrier;
                let can = realm && one.up && two.up && !self.cuts.contains(&(a, b));
                let (x, y) = (one.identity.id(), two.identity.id());
                if can && self.links.insert((a, b)) {
                    self.input(a, Input::Connected(y));
                    self.input(b, Input::Connected(x));
                } else if !can && self.links.remove(&(a, b)) {
                    self.lose(a, b);
                    self.input(a, Input::Disconnected(y));
                    self.input(b, Input::Disconnected(x));
                }
            }
        }
    }

    /// What is on its way between two nodes is lost, and questions end without an answer.
    fn lose(&mut self, a: usize, b: usize) {
        let between =
            |to: usize, event: &Event| event.other().is_some_and(|it| pair(it, to) == (a, b));
        let events = &mut self.events;
        let lost: Vec<_> = events
            .extract_if(.., |_, (to, event)| between(*to, event))
            .collect();
        for (_, (to, event)) in lost {
            match event {
                Event::Ask(from, ask, _) => {
                    self.later(Micros(1_000), from, Event::Answer(to, ask, None));
                }
                Event::Answer(from, ask, _) => {
                    self.later(Micros(1_000), to, Event::Answer(from, ask, None));
                }
                Event::Exchange(with, _) | Event::Exchanged(with, ..) => {
                    self.later(Micros(1_000), to, Event::Exchanged(with, 0, false));
                }
                Event::Put(..) | Event::Flush(_) => {}
            }
        }
    }

    pub(super) fn deliver(&mut self, to: usize, event: Event) {
        if !self.nodes[to].up {
            return;
        }
        match event {
            Event::Put(from, record) => {
                let from = Some(self.nodes[from].identity.id());
                let fresh = true;
                self.enqueue(
                    to,
                    Job::Take {
                        from,
                        fresh,
                        record,
                    },
                );
            }
            Event::Ask(from, ask, question) => {
                let node = &mut self.nodes[to];
                node.tickets += 1;
                let ticket = node.tickets;
                node.waiting.insert(ticket, (from, ask));
                let from = self.nodes[from].identity.id();
                let asked = Input::Asked {
                    from,
                    question,
                    ticket,
                };
                self.input(to, asked);
            }
            Event::Answer(from, ask, answer) => {
                let from = self.nodes[from].identity.id();
                self.input(to, Input::Answered { from, ask, answer });
            }
            Event::Exchange(with, differs) => self.exchange(to, with, &differs),
            Event::Exchanged(with, moved, alike) => {
                let with = self.nodes[with].identity.id();
                self.input(to, Input::Compared { with, moved, alike });
            }
            Event::Flush(run) if self.nodes[to].run == run => self.flush(to),
            Event::Flush(_) => {}
        }
    }

    pub(super) fn later(&mut self, after: Micros, to: usize, event: Event) {
        self.order += 1;
        let at = self.now + after;
        self.events.insert((at, self.order), (to, event));
    }

    fn send(&mut self, from: usize, to: usize, event: Event) {
        let (name, size) = event.size();
        self.count(name, size);
        if self.deaf.contains(&(from, to)) {
            match event {
                Event::Ask(_, ask, _) => self.later(LOST, from, Event::Answer(to, ask, None)),
                Event::Answer(from, ask, _) => {
                    self.later(LOST, to, Event::Answer(from, ask, None));
                }
                _ => {}
            }
            return;
        }
        let delay = Micros((1_000.0 + 20_000.0 * self.noise.uniform()) as u64);
        let slow = self.slow.get(&(from, to)).copied();
        self.later(delay + slow.unwrap_or(Micros::ZERO), to, event);
    }

    fn count(&mut self, name: &'static str, size: usize) {
        self.sent += size;
        let so_far = self.traffic.entry(name).or_default();
        *so_far = (so_far.0 + 1, so_far.1 + size);
    }

    fn index(&self, node: &NodeId) -> usize {
        *self.ids.get(node).expect("a node of this world")
    }

    pub(super) fn input(&mut self, n: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now;
            for output in self.nodes[n].machine.handle(input, now) {
                inputs.extend(self.perform(n, output));
            }
        }
    }

    fn perform(&mut self, n: usize, output: Output) -> Option<Input> {
        match output {
            Output::Spread(to, record) => {
                for node in to {
                    let to = self.index(&node);
                    self.send(n, to, Event::Put(n, record.clone()));
                }
            }
            Output::Ask { to, ask, question } => {
                let to = self.index(&to);
                match self.links.contains(&pair(n, to)) {
                    true => self.send(n, to, Event::Ask(n, ask, question)),
                    false => self.later(Micros(1_000), n, Event::Answer(to, ask, None)),
                }
            }
            Output::Reply(ticket, answer) => self.reply(n, ticket, answer),
            Output::ReplyHeads(ticket, leaves) => {
                // Whole leaves, as many as fit, and one in any case.
                let mut many = 0;
                let heads = leaves
                    .into_iter()
                    .map(|leaf| (leaf, self.nodes[n].heads(leaf)));
                let fit = heads.take_while(|(_, heads)| {
                    let first = many == 0;
                    many += heads.len() / HEAD_BYTES;
                    first || many <= HEADS_MAX
                });
                let fit = fit.map(|(leaf, heads)| (leaf, ByteBuf::from(heads)));
                let heads = Answer::Heads(fit.collect());
                self.reply(n, ticket, heads);
            }
            Output::ReplyRecords(ticket, positions) => {
                let records = self.records(n, &positions);
                self.reply(n, ticket, Answer::Records(records));
            }
            Output::Merge {
                from,
                records,
                ticket,
            } => {
                let records: Vec<_> = records.into_iter().map(ByteBuf::from).collect();
                self.take(n, from, &records);
                if let Some(ticket) = ticket {
                    self.enqueue(n, Job::Taken(ticket));
                }
            }
            Output::Compare(with, leaves) => self.compare(n, with, &leaves, false),
            Output::Offer(with, leaves) => self.compare(n, with, &leaves, true),
            Output::Holds { look, at, has, dot } => {
                let held = self.nodes[n].store.get(&at);
                let found = match dot {
                    // Only what is on disk counts as a copy.
                    Some(dot) => {
                        let held = self.nodes[n].disk(&at).filter(|set| set.has_seen(&dot));
                        held.map(|set| (set.digest(), Vec::new()))
                    }
                    None => held.map(|set| match set.digest() == has {
                        true => (has, Vec::new()),
                        false => (set.digest(), set.encode()),
                    }),
                };
                return Some(Input::Holds { look, found });
            }
            Output::Reached(reached) => {
                self.history.reached(&reached, &self.nodes, &self.ids);
                self.reached.push((n, reached));
            }
            Output::Found(found) => {
                self.history.found(n, &found, &self.ids, self.now);
                self.found.push((n, found));
            }
        }
        None
    }

    pub(super) fn reply(&mut self, n: usize, ticket: u64, answer: Answer) {
        let waiting = self.nodes[n].waiting.remove(&ticket);
        let Some((to, ask)) = waiting else {
            assert!(!self.nodes[n].up, "a question is answered once");
            return;
        };
        if self.links.contains(&pair(n, to)) {
            self.send(n, to, Event::Answer(n, ask, Some(answer)));
        }
    }

    fn records(&self, n: usize, positions: &[Position]) -> Vec<ByteBuf> {
        let mut bytes = 0;
        let held = positions
            .iter()
            .take(FETCH_MAX)
            .filter_map(|at| self.nodes[n].store.get(at));
        let records = held.flat_map(Siblings::iter);
        let fit = records.take_while(|it| {
            bytes += it.bytes().len();
            bytes <= RECORDS_BYTES
        });
        fit.map(|it| ByteBuf::from(it.bytes())).collect()
    }

    fn take(&mut self, n: usize, from: NodeId, records: &[ByteBuf]) {
        for bytes in records {
            if let Ok(record) = Record::open(bytes, &MESH, |_| true) {
                let (from, fresh) = (Some(from), false);
                self.enqueue(
                    n,
                    Job::Take {
                        from,
                        fresh,
                        record,
                    },
                );
            }
        }
    }

    /// What the shell does with its reader: it fetches and pushes what differs. Here that is
    /// one event instead of two questions and their answers; the bytes are counted as theirs.
    fn compare(&mut self, n: usize, with: NodeId, leaves: &[(u16, Vec<u8>)], offer: bool) {
        let mut differs = Difference::default();
        for (leaf, theirs) in leaves {
            differs.add(&self.nodes[n].heads(*leaf), theirs);
        }
        if offer {
            differs.keep();
        }
        let with = self.index(&with);
        let way = |way| self.slow.get(&way).copied().unwrap_or(Micros::ZERO);
        let slow = way((n, with)) + way((with, n));
        self.later(Micros(20_000) + slow, n, Event::Exchange(with, differs));
    }

    fn exchange(&mut self, n: usize, with: usize, differs: &Difference) {
        if self.deaf.contains(&(n, with)) || self.deaf.contains(&(with, n)) {
            return self.later(LOST, n, Event::Exchanged(with, 0, false));
        }
        let moved = differs.fetch.len() + differs.push.len();
        let fetched = self.records(with, &differs.fetch);
        let pushed = self.records(n, &differs.push);
        self.count("fetched", bytes(&fetched) + 32 * differs.fetch.len());
        self.count("pushed", bytes(&pushed));
        self.take(n, self.nodes[with].identity.id(), &fetched);
        self.take(with, self.nodes[n].identity.id(), &pushed);
        // Once both disks have taken it.
        let alike = differs.is_empty();
        self.later(Micros(50_000), n, Event::Exchanged(with, moved, alike));
    }
}
