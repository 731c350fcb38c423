//! History: what was done to a mesh of memories and what it acknowledged, and whether that
//! holds against what the disks say.
//!
//! What a write had truly seen is written down here from the store that it was made on, and
//! not taken from the version that it names: a version that claims too much, or a merge that
//! drops what nobody had seen, is found out by the difference. A write is *held* by a set of
//! siblings when it is one of them or one of them had truly seen it. It is *gone* when the
//! last disk that held it was wiped; nothing else may lose one that was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::causality::version::Dot;
use chorus_protocol::ids::{Digest, NodeId};
use chorus_protocol::memory::key::{Key, Position};
use chorus_protocol::memory::placement::Placement;
use chorus_protocol::memory::record::Record;
use chorus_protocol::memory::replication::{Found, Reached, Want};
use chorus_protocol::memory::siblings::Siblings;
use chorus_protocol::units::Micros;

use super::{Node, World};

/// One write, or a deletion.
#[derive(Debug)]
struct Written {
    key: Key,
    node: usize,
    is_value: bool,
    /// Everything under its key that its author had seen, and what that had seen.
    past: BTreeSet<Dot>,
    /// The node where it was made said that it is on its disk.
    acknowledged: bool,
    /// The last disk that held it was wiped.
    gone: bool,
    /// How often its node had been wiped.
    wipes: Vec<u32>,
}

#[derive(Debug)]
struct Counted {
    dot: Dot,
    want: Want,
    holders: BTreeSet<NodeId>,
}

/// What was done, and what was found to be wrong while it was.
#[derive(Debug)]
pub struct History {
    written: BTreeMap<Dot, Written>,
    /// What each node has read of each key since its disk was last wiped.
    read: Vec<BTreeMap<Key, BTreeSet<Dot>>>,
    /// What stood on each disk since when.
    stood: BTreeMap<(usize, Position), Vec<(Micros, Digest)>>,
    counted: BTreeMap<u64, Counted>,
    looked: BTreeMap<(usize, u64), (Position, Digest, Micros)>,
    wipes: Vec<u32>,
    wrong: Wrong,
}

/// What is wrong, by what it is about: how often, and the first of them.
type Wrong = BTreeMap<&'static str, (usize, String)>;

fn add(wrong: &mut Wrong, about: &'static str, what: String) {
    wrong.entry(about).or_insert((0, what)).0 += 1;
}

impl History {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            written: BTreeMap::new(),
            read: vec![BTreeMap::new(); nodes],
            stood: BTreeMap::new(),
            counted: BTreeMap::new(),
            looked: BTreeMap::new(),
            wipes: vec![0; nodes],
            wrong: Wrong::new(),
        }
    }

    /// Whether a set of siblings holds a write, in truth.
    fn holds(&self, set: &Siblings, dot: &Dot) -> bool {
        let has_seen = |it: &Record| {
            let written = self.written.get(it.dot());
            written.is_some_and(|it| it.past.contains(dot))
        };
        set.iter().any(|it| it.dot() == dot || has_seen(it))
    }

    fn name(&self, dot: &Dot) -> String {
        match self.written.get(dot) {
            Some(it) => {
                let what = ["deletion", "write"][usize::from(it.is_value)];
                let (key, short) = (it.key.as_str(), 20.min(it.key.as_str().len()));
                format!(
                    "the {what} {}:{} of {}",
                    it.node,
                    dot.lamport,
                    &key[..short]
                )
            }
            None => format!("{dot:?}, which nobody made"),
        }
    }

    pub(super) fn wrote(&mut self, n: usize, record: &Record, held: &Siblings, put: Option<u64>) {
        let mut past = BTreeSet::new();
        for sibling in held.iter() {
            past.insert(*sibling.dot());
            if let Some(written) = self.written.get(sibling.dot()) {
                past.extend(&written.past);
            }
        }
        let write = record.write();
        let written = Written {
            key: write.key.clone(),
            node: n,
            is_value: write.value.is_some(),
            past,
            acknowledged: false,
            gone: false,
            wipes: self.wipes.clone(),
        };
        if self.written.insert(*record.dot(), written).is_some() {
            let name = self.name(record.dot());
            add(
                &mut self.wrong,
                "names",
                format!("{name} (put {put:?}) has a name that was used"),
            );
        }
    }

    pub(super) fn acknowledged(&mut self, dot: &Dot) {
        if let Some(written) = self.written.get_mut(dot) {
            written.acknowledged = true;
        }
    }

    /// What is on a node's disk from now on.
    pub(super) fn stands(&mut self, n: usize, at: Position, set: &Siblings, now: Micros) {
        let stood = self.stood.entry((n, at)).or_default();
        stood.push((now, set.digest()));
    }

    /// A node's disk is about to be wiped.
    pub(super) fn wiped(&mut self, n: usize, nodes: &[Node]) {
        let is_gone = |(dot, it): &(&Dot, &Written)| {
            let at = it.key.id().position();
            let on = |node: &Node| node.disk(&at).is_some_and(|set| self.holds(set, dot));
            let elsewhere = |(other, node): (usize, &Node)| other != n && on(node);
            on(&nodes[n]) && !nodes.iter().enumerate().any(elsewhere)
        };
        let gone: Vec<Dot> = self
            .written
            .iter()
            .filter(is_gone)
            .map(|it| *it.0)
            .collect();
        for dot in gone {
            if let Some(written) = self.written.get_mut(&dot) {
                written.gone = true;
            }
        }
        self.read[n].clear();
        self.wipes[n] += 1;
    }

    pub(super) fn counts(&mut self, put: u64, want: Want, among: &Placement, record: &Record) {
        let counted = Counted {
            dot: *record.dot(),
            want,
            holders: among.holders(record.position().leaf()),
        };
        self.counted.insert(put, counted);
    }

    /// A count came to its end: whoever it names has it on disk, or lost the disk since.
    pub(super) fn reached(
        &mut self,
        reached: &Reached,
        nodes: &[Node],
        ids: &BTreeMap<NodeId, usize>,
    ) {
        let Some(counted) = self.counted.get(&reached.put) else {
            return add(
                &mut self.wrong,
                "quorum",
                format!("nobody counts {reached:?}"),
            );
        };
        let dot = counted.dot;
        let Some(written) = self.written.get(&dot) else {
            return;
        };
        let name = self.name(&dot);
        let mut wrong = Wrong::new();
        let asked = match counted.want {
            Want::Nodes(many) => many,
            Want::Majority => {
                if !reached.nodes.is_subset(&counted.holders) {
                    add(
                        &mut wrong,
                        "quorum",
                        format!("{name}: others count than those that should hold it"),
                    );
                }
                counted.holders.len() / 2 + 1
            }
        };
        if reached.asked != asked {
            add(
                &mut wrong,
                "quorum",
                format!("{name}: {} asked for, not {asked}", reached.asked),
            );
        }
        let at = written.key.id().position();
        for id in &reached.nodes {
            let Some(n) = ids.get(id) else {
                add(
                    &mut wrong,
                    "quorum",
                    format!("{name} is said to be on {id}, whom nobody knows"),
                );
                continue;
            };
            let held = nodes[*n].disk(&at);
            let is_held = held.is_some_and(|set| self.holds(set, &dot));
            if !is_held && self.wipes[*n] == written.wipes[*n] {
                add(
                    &mut wrong,
                    "quorum",
                    format!("{name} is said to be on disk on {n}, and is not"),
                );
            }
        }
        for (about, (many, first)) in wrong {
            self.wrong.entry(about).or_insert((0, first)).0 += many;
        }
    }

    pub(super) fn read(&mut self, n: usize, key: &Key, held: &Siblings, now: Micros) {
        let before = self.read[n].get(key).into_iter().flatten();
        let lost = before.filter(|it| !self.holds(held, it));
        let lost: Vec<String> = lost.map(|it| self.name(it)).collect();
        for name in lost {
            add(
                &mut self.wrong,
                "reads",
                format!("{n} had read {name} and does not see it at {now}"),
            );
        }
        let read = self.read[n].entry(key.clone()).or_default();
        *read = held.iter().map(|it| *it.dot()).collect();
    }

    pub(super) fn looks(&mut self, n: usize, look: u64, at: Position, has: Digest, now: Micros) {
        self.looked.insert((n, look), (at, has, now));
    }

    /// A look came to its end: whoever it names had the same while it was under way.
    pub(super) fn found(
        &mut self,
        n: usize,
        found: &Found,
        ids: &BTreeMap<NodeId, usize>,
        now: Micros,
    ) {
        let Some((at, has, since)) = self.looked.get(&(n, found.look)) else {
            return add(
                &mut self.wrong,
                "looks",
                format!("nobody looks for {found:?}"),
            );
        };
        for id in &found.nodes {
            let stood = ids.get(id).and_then(|n| self.stood.get(&(*n, *at)));
            let mut until = now;
            let did = stood.into_iter().flatten().rev().any(|(from, digest)| {
                let then = std::mem::replace(&mut until, *from);
                digest == has && then >= *since
            });
            if !did {
                add(
                    &mut self.wrong,
                    "looks",
                    format!("a look of {n} names {id}, which had another"),
                );
            }
        }
        for other in &found.others {
            let known = |it: &Record| self.written.contains_key(it.dot());
            if !Siblings::decode(other).is_ok_and(|set| set.iter().all(known)) {
                add(
                    &mut self.wrong,
                    "looks",
                    format!("a look of {n} found what nobody wrote"),
                );
            }
        }
    }

    /// How many writes there were, how many of them were acknowledged, and how many the wiped
    /// disks took with them.
    pub fn counted(&self) -> (usize, usize, usize) {
        let all = self.written.values();
        let acknowledged = all.clone().filter(|it| it.acknowledged).count();
        let gone = all.filter(|it| it.acknowledged && it.gone).count();
        (self.written.len(), acknowledged, gone)
    }

    /// What was found to be wrong, at the end of a world that was healed and left alone.
    pub fn check(&self, world: &World) -> Result<(), String> {
        let mut wrong = self.wrong.clone();
        for (dot, written) in &self.written {
            let name = self.name(dot);
            for n in 0..world.nodes.len() {
                if !world.should_hold(n, &written.key) {
                    continue;
                }
                let set = world.siblings(n, &written.key);
                if written.acknowledged && !written.gone && !self.holds(&set, dot) {
                    add(
                        &mut wrong,
                        "lost",
                        format!("{name} was acknowledged and is lost on {n}"),
                    );
                }
                let deleted = !written.is_value && written.acknowledged && !written.gone;
                for value in set.values(0).filter(|_| deleted) {
                    if written.past.contains(value.dot()) {
                        let value = self.name(value.dot());
                        add(
                            &mut wrong,
                            "back",
                            format!("{name} had seen {value}, which is back on {n}"),
                        );
                    }
                }
            }
        }
        let each = wrong.into_iter();
        let each = each.map(|(about, (many, first))| format!("{about}: {many}, first: {first}"));
        let each: Vec<String> = each.collect();
        match each.is_empty() {
            true => Ok(()),
            false => Err(each.join("; ")),
        }
    }
}
