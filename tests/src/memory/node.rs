//! One node of the mesh: its machine, its store, and the disk that takes its time.

use std::collections::{BTreeMap, VecDeque};

use chorus_protocol::causality::version::{Dot, Replica};
use chorus_protocol::ids::{Incarnation, NodeId};
use chorus_protocol::memory::key::{Key, Position};
use chorus_protocol::memory::parcel::head;
use chorus_protocol::memory::record::{Record, Write};
use chorus_protocol::memory::replication::{Change, Config, Input, State, Want};
use chorus_protocol::memory::siblings::{Merged, Siblings};
use chorus_protocol::units::Micros;
use chorus_protocol::wire::Identity;

use super::{MESH, Merging, Seat, World};

/// A count that goes with a write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Put {
    pub(super) number: u64,
    pub(super) want: Want,
    pub(super) until: Micros,
}

/// What waits for the disk.
#[derive(Debug)]
pub(super) enum Job {
    /// A write that is made here.
    Write {
        key: Key,
        value: Option<Vec<u8>>,
        put: Option<Put>,
    },
    /// A write that somebody gave.
    Take {
        from: Option<NodeId>,
        fresh: bool,
        record: Record,
    },
    /// The answer that those before are on disk.
    Taken(u64),
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its keys.
    pub identity: Identity,
    /// Where it stands.
    pub seat: Seat,
    pub(super) machine: State,
    pub(super) store: BTreeMap<Position, Siblings>,
    /// What stood on disk where the store is ahead of it.
    undo: BTreeMap<Position, Option<Siblings>>,
    jobs: VecDeque<Job>,
    since: Incarnation,
    /// How often it was started.
    pub(super) run: u64,
    lamport: u64,
    pub(super) up: bool,
    /// Whether its disk takes anything.
    pub(super) full: bool,
    pub(super) tickets: u64,
    pub(super) waiting: BTreeMap<u64, (usize, u64)>,
}

impl Node {
    pub(super) fn new(n: usize, seat: Seat, config: &Config) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(n as u64 + 1).to_le_bytes());
        let identity = Identity::from_seed(&key);
        Self {
            machine: State::new(identity.id(), config.clone()),
            identity,
            seat,
            store: BTreeMap::new(),
            undo: BTreeMap::new(),
            jobs: VecDeque::new(),
            since: Incarnation(1),
            run: 1,
            lamport: 0,
            up: true,
            full: false,
            tickets: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// What stands on disk.
    pub fn disk(&self, at: &Position) -> Option<&Siblings> {
        match self.undo.get(at) {
            Some(was) => was.as_ref(),
            None => self.store.get(at),
        }
    }

    pub(super) fn stop(&mut self) {
        self.up = false;
        self.jobs.clear();
        self.waiting.clear();
        for (at, was) in std::mem::take(&mut self.undo) {
            match was {
                Some(was) => self.store.insert(at, was),
                None => self.store.remove(&at),
            };
        }
    }

    pub(super) fn start(&mut self, config: Config, wiped: bool) -> Vec<Input> {
        self.run += 1;
        self.up = true;
        let run = self.run;
        self.machine = State::new(self.identity.id(), Config { run, ..config });
        if wiped {
            self.store.clear();
            self.since = Incarnation(self.run);
            self.lamport = 0;
        }
        let stands = self.store.iter().map(|(at, set)| {
            let is = Some(set.digest());
            Input::Stands(*at, Change { was: None, is })
        });
        stands.collect()
    }

    fn signed(&mut self, key: Key, value: Option<Vec<u8>>) -> Record {
        let held = self.store.get(&key.id().position());
        let seen = held.map(Siblings::seen).unwrap_or_default();
        let above = seen.dots().map(|it| it.lamport).max().unwrap_or(0);
        self.lamport = self.lamport.max(above) + 1;
        let replica = Replica {
            node: self.identity.id(),
            since: self.since,
        };
        let write = Write {
            key,
            dot: Dot {
                replica,
                lamport: self.lamport,
            },
            seen,
            value,
            expires_s: None,
        };
        Record::seal(&self.identity, &MESH, write).expect("a record within its limits")
    }

    /// Whether a record would change what stands here, and is not on its way to the disk already.
    fn is_new(&self, merging: Merging, record: &Record) -> bool {
        let is_it =
            |job: &Job| matches!(job, Job::Take { record: it, .. } if it.dot() == record.dot());
        let held = self.store.get(&record.position());
        let was = held.map(Siblings::digest);
        let mut held = held.cloned().unwrap_or_default();
        let merged = merge(merging, &mut held, record);
        let is = (!held.is_empty()).then(|| held.digest());
        matches!(merged, Merged::New(_)) && was != is && !self.jobs.iter().any(is_it)
    }

    fn merge(&mut self, merging: Merging, record: &Record) -> (Merged, Change) {
        let at = record.position();
        let held = self.store.entry(at).or_default();
        let before = (!held.is_empty()).then(|| held.clone());
        let merged = merge(merging, held, record);
        let is = (!held.is_empty()).then(|| held.digest());
        if held.is_empty() {
            self.store.remove(&at);
        }
        self.lamport = self.lamport.max(record.dot().lamport);
        let was = before.as_ref().map(Siblings::digest);
        self.undo.entry(at).or_insert(before);
        (merged, Change { was, is })
    }

    pub(super) fn heads(&self, leaf: u16) -> Vec<u8> {
        let mut first = [0; 32];
        first[..2].copy_from_slice(&leaf.to_be_bytes());
        let store = self.store.range(Position(first)..);
        let leaf = store.take_while(|(at, _)| at.leaf() == leaf);
        leaf.flat_map(|(at, set)| head(at, &set.digest())).collect()
    }
}

/// Merges as a memory of this kind does.
fn merge(merging: Merging, held: &mut Siblings, record: &Record) -> Merged {
    let merged = match merging {
        Merging::LastWriterWins => {
            let newer = |it: &Record| it.dot().lamport < record.dot().lamport;
            let is_newer = held.iter().all(newer);
            match is_newer {
                true => {
                    *held = Siblings::default();
                    held.merge(record.clone())
                }
                false => Merged::Obsolete,
            }
        }
        _ => held.merge(record.clone()),
    };
    let gone = record.write().value.is_none() && merging == Merging::NoTombstones;
    if gone && matches!(merged, Merged::New(_)) {
        *held = Siblings::default();
    }
    merged
}

impl World {
    /// Lets the disk have something: it takes it in a moment, or never when the process dies
    /// before.
    pub(super) fn enqueue(&mut self, n: usize, job: Job) {
        if let Job::Take {
            from: Some(from),
            fresh: true,
            record,
        } = &job
            && self.nodes[n].is_new(self.merging, record)
        {
            let (from, record) = (*from, record.clone());
            self.input(n, Input::Arrived { from, record });
        }
        if self.merging == Merging::Hasty {
            self.apply(n, job);
        } else {
            self.nodes[n].jobs.push_back(job);
        }
        let run = self.nodes[n].run;
        // Who does not wait for the disk has no reason to write there soon.
        let longest = [30_000, 3_000_000][usize::from(self.merging == Merging::Hasty)];
        let after = Micros(1_000 + longest * self.any(1_000) as u64 / 1_000);
        self.later(after, n, super::wire::Event::Flush(run));
    }

    pub(super) fn flush(&mut self, n: usize) {
        while let Some(job) = self.nodes[n].jobs.pop_front() {
            self.apply(n, job);
        }
        self.saved(n);
    }

    /// Everything that a node's store has is on disk now.
    pub(super) fn saved(&mut self, n: usize) {
        let undo = std::mem::take(&mut self.nodes[n].undo);
        for at in undo.keys() {
            let set = self.nodes[n].store.get(at).cloned().unwrap_or_default();
            self.history.stands(n, *at, &set, self.now);
        }
    }

    /// Does what waits for the store, and tells the machine. Whoever calls it says when that
    /// is on disk.
    pub(super) fn apply(&mut self, n: usize, job: Job) -> Option<Record> {
        if self.nodes[n].full && !matches!(job, Job::Taken(_)) {
            return None; // refused: a client gets an error
        }
        let (from, fresh, record, put) = match job {
            Job::Write { key, value, put } => {
                let held = self.siblings(n, &key);
                let record = self.nodes[n].signed(key, value);
                self.history
                    .wrote(n, &record, &held, put.map(|it| it.number));
                (None, true, record, put)
            }
            Job::Take {
                from,
                fresh,
                record,
            } => (from, fresh, record, None),
            Job::Taken(ticket) => {
                self.reply(n, ticket, chorus_protocol::memory::parcel::Answer::Taken(0));
                return None;
            }
        };
        if let Some(put) = put {
            let count = Input::Count {
                put: put.number,
                dot: *record.dot(),
                at: record.position(),
                want: put.want,
                until: put.until,
            };
            self.history.counts(
                put.number,
                put.want,
                self.nodes[n].machine.placement(),
                &record,
            );
            self.input(n, count);
        }
        let (merged, change) = self.nodes[n].merge(self.merging, &record);
        if merged == Merged::Full {
            return Some(record);
        }
        if self.merging != Merging::Hasty {
            self.saved(n);
        }
        if from.is_none() {
            self.history.acknowledged(record.dot());
        }
        let change =
            (matches!(merged, Merged::New(_)) && change.was != change.is).then_some(change);
        let input = Input::Merged {
            from,
            fresh,
            record: record.clone(),
            change,
        };
        self.input(n, input);
        Some(record)
    }
}
