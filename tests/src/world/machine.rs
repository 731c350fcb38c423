//! One machine: a disk that outlives it, and a run that a crash ends.

use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::TAU;
use std::sync::Arc;

use chorus_protocol::causality::lamport::Clock;
use chorus_protocol::delivery::{Inbox, Outbox};
use chorus_protocol::gossip::{Config, Gossip, Known};
use chorus_protocol::ids::{Digest, Incarnation, NodeId, Stamp};
use chorus_protocol::membership::topology::Member;
use chorus_protocol::phase::kuramoto::Phase;
use chorus_protocol::trust::directory::{Directory, Input};
use chorus_protocol::units::{Micros, Noise, Seeded};

use super::faults::Lie;

/// What a machine finds again after a crash.
#[derive(Debug, Clone)]
pub struct Disk {
    /// How often it started; kept beside the keys, as is the next.
    pub boot: u32,
    /// Lamport time reserved.
    pub reserved: u64,
    /// The newest run seen of each other machine.
    pub runs: BTreeMap<NodeId, Incarnation>,
    /// The directory that it was enrolled with …
    pub enrolled: Arc<Directory>,
    /// … and the items that came since.
    pub items: BTreeMap<Digest, Vec<u8>>,
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    /// Its name, role and place.
    pub me: Member,
    /// What a crash leaves.
    pub disk: Disk,
    /// What a crash ends; `None`: it is down.
    pub run: Option<Run>,
    /// Asleep until then; whether frames wait for it meanwhile.
    pub(super) asleep: Option<(Micros, bool)>,
    /// What it says that is not so.
    pub lie: Option<Lie>,
    /// Who has a link to it of their own, and who listens to it as a sibling.
    pub(super) inbound: BTreeSet<usize>,
    pub(super) listeners: BTreeSet<usize>,
    /// The last stamp that it used in any run.
    pub(super) said: Stamp,
}

/// One run of a machine.
#[derive(Debug)]
pub struct Run {
    /// Which.
    pub incarnation: Incarnation,
    /// Its clock.
    pub clock: Clock,
    /// Its gossip.
    pub gossip: Gossip,
    /// Its directory.
    pub directory: Directory,
    /// Commands on their way to others.
    pub outboxes: BTreeMap<NodeId, Outbox>,
    pub(super) inboxes: BTreeMap<NodeId, Inbox>,
    /// Links of its own, and since when each is open.
    pub(super) dialled: BTreeMap<usize, Micros>,
    pub(super) siblings: BTreeSet<usize>,
    pub(super) tree_topics: Vec<Vec<u8>>,
    pub(super) sibling_topics: Vec<Vec<u8>>,
    pub(super) noise: Seeded,
}

impl Machine {
    /// A machine that has not started yet.
    pub(super) fn new(me: Member, enrolled: Arc<Directory>) -> Self {
        let disk = Disk {
            boot: 0,
            reserved: 0,
            runs: BTreeMap::new(),
            enrolled,
            items: BTreeMap::new(),
        };
        Self {
            me,
            disk,
            run: None,
            asleep: None,
            lie: None,
            inbound: BTreeSet::new(),
            listeners: BTreeSet::new(),
            said: Stamp::default(),
        }
    }

    /// Begins a run with what is on the disk, or with a directory shared by all.
    pub(super) fn start(&mut self, config: &Config, shared: Option<Known>, seed: u64, now: Micros) {
        self.disk.boot += 1;
        let incarnation = Incarnation::new(0, self.disk.boot);
        let mut noise = Seeded::new(seed);
        let mut directory = Directory::clone(&self.disk.enrolled);
        if !self.disk.items.is_empty() {
            directory.handle(Input::Own(self.disk.items.values().cloned().collect()), now);
        }
        let theta = Phase::try_from(noise.uniform() * TAU).expect("a phase in [0, 2π)");
        let known = shared.unwrap_or_else(|| known(&directory));
        let mut gossip = Gossip::new(config.clone(), self.me, known, theta, now);
        for (node, run) in &self.disk.runs {
            gossip.restore(
                *node,
                Stamp {
                    incarnation: *run,
                    lamport: 0,
                },
                now,
            );
        }
        let mut run = Run {
            incarnation,
            clock: Clock::new(self.disk.reserved),
            gossip,
            directory,
            outboxes: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            dialled: BTreeMap::new(),
            siblings: BTreeSet::new(),
            tree_topics: Vec::new(),
            sibling_topics: Vec::new(),
            noise,
        };
        run.reserve(&mut self.disk);
        self.run = Some(run);
        self.asleep = None;
    }
}

impl Run {
    /// Makes more Lamport time durable when little is left.
    pub(super) fn reserve(&mut self, disk: &mut Disk) {
        if let Some(upto) = self.clock.wants() {
            disk.reserved = disk.reserved.max(upto);
            self.clock.reserved(disk.reserved);
        }
    }

    /// Whether one of the prefixes that are wanted begins this topic.
    pub(super) fn wants(&self, topic: &[u8], sibling: bool) -> bool {
        let prefixes = if sibling {
            &self.sibling_topics
        } else {
            &self.tree_topics
        };
        prefixes.iter().any(|prefix| topic.starts_with(prefix))
    }
}

/// The directory as gossip needs it.
pub(super) fn known(directory: &Directory) -> Known {
    Known {
        roster: directory.roster().clone(),
        items: directory.items(),
        digest: *directory.digest(),
    }
}
