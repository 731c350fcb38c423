//! The simulated world: N machines on virtual time, composed as the actors compose
//! them, with faults between them. One seed names everything that happens.
//!
//! | file | what |
//! |---|---|
//! | `fabric.rs` | keys, places and rosters of a mesh |
//! | `machine.rs` | one machine: a disk, and a run that a crash ends |
//! | `faults.rs` | loss, delay, cuts, lies |
//! | `traffic.rs` | frames from machine to machine |
//! | `work.rs` | outputs of the machines performed |
//! | `watch.rs` | what is counted, and what must never happen |
//!
//! What is absent: signatures on frames (they are values; `wire` has its own
//! tests), sockets, and any clock but this one.

pub mod fabric;
pub mod faults;
pub mod machine;
mod traffic;
pub mod watch;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;

use chorus_protocol::gossip::{Config, Event, Input, View};
use chorus_protocol::ids::{Incarnation, NodeId};
use chorus_protocol::trust::directory;
use chorus_protocol::units::{Micros, Noise, Seeded};
use chorus_protocol::wire::Verified;

use fabric::{Fabric, Shape};
use faults::{Cut, Link};
use machine::Machine;
use watch::{Counts, Healing};

/// What kind of world.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many machines.
    pub n: usize,
    /// How they stand to each other.
    pub shape: Shape,
    /// What names everything that happens.
    pub seed: u64,
    /// What links do to frames.
    pub link: Link,
    /// How the machines gossip.
    pub gossip: Config,
    /// The seeds' bound on the gap between two clocks (mathematics §7): a frame
    /// beyond it is dropped and does not advance the clock.
    pub seed_bound: bool,
    /// Every publication reaches every machine, as in the seeds.
    pub full_mesh: bool,
    /// For tens of thousands of machines: one directory for all that nobody
    /// exchanges, and no peer exchange, for N tables of N nodes fit no memory.
    pub light: bool,
}

impl Options {
    /// A tree of `n` machines with good links.
    pub fn new(n: usize, seed: u64) -> Self {
        Self {
            n,
            shape: Shape::TREE,
            seed,
            link: Link::GOOD,
            gossip: Config::default(),
            seed_bound: false,
            full_mesh: false,
            light: false,
        }
    }
}

/// Something that will happen.
#[derive(Debug)]
enum Due {
    Tick(usize, Incarnation),
    Open {
        child: usize,
        parent: usize,
        run: Incarnation,
    },
    Frame {
        from: usize,
        to: usize,
        frame: Arc<Verified>,
    },
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// Keys and places.
    pub fabric: Arc<Fabric>,
    /// The machines; the first is the orchestrator.
    pub machines: Vec<Machine>,
    /// Virtual time since the beginning.
    pub now: Micros,
    /// What links do.
    pub link: Link,
    /// Who does not hear whom.
    pub cuts: Vec<Cut>,
    /// What was counted.
    pub counts: Counts,
    /// What the machines said for people: when, which machine, what.
    pub log: Vec<(Micros, usize, Event)>,
    /// What is watched since the last heal.
    pub healing: Option<Healing>,
    options: Options,
    index: BTreeMap<NodeId, usize>,
    queue: BTreeMap<(Micros, u64), Due>,
    /// When the last frame on each stream arrives: (from, to, whether it is addressed).
    arrivals: BTreeMap<(usize, usize, bool), Micros>,
    seq: u64,
    noise: Seeded,
}

impl World {
    /// A world in which every machine has just been switched on.
    pub fn new(options: Options) -> Self {
        let mut world = Self::dark(options);
        for at in 0..world.machines.len() {
            world.start(at);
        }
        world
    }

    /// One that is whole within 30 s, and ten seconds later nobody misjudges anybody.
    pub fn settled(options: Options) -> Result<Self, String> {
        let n = options.n;
        let mut world = Self::new(options);
        world
            .until(Micros::from_secs(30), Self::whole)
            .ok_or_else(|| format!("{} of {n} in the root's sum", world.view(0).members))?;
        world.pass(Micros::from_secs(10));
        match world.misjudged().as_slice() {
            [] => Ok(world),
            wrong => Err(format!("settled, but misjudged (who, whom): {wrong:?}")),
        }
    }

    /// A world in which no machine runs yet.
    pub fn dark(options: Options) -> Self {
        let fabric = Fabric::of(options.n, options.shape);
        let enrolled = match options.light {
            true => fabric.directory_of(std::iter::empty()),
            false => fabric.everybody.clone(),
        };
        let machines = fabric
            .members
            .iter()
            .map(|me| Machine::new(*me, enrolled.clone()));
        Self {
            machines: machines.collect(),
            now: Micros::from_secs(1),
            link: options.link,
            cuts: Vec::new(),
            counts: Counts::default(),
            log: Vec::new(),
            healing: None,
            index: fabric
                .members
                .iter()
                .enumerate()
                .map(|(at, me)| (me.node, at))
                .collect(),
            queue: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            seq: 0,
            noise: Seeded::new(options.seed),
            fabric,
            options,
        }
    }

    /// Switches a machine on, somewhere in the next tenth of a second.
    pub fn start(&mut self, at: usize) {
        assert!(self.machines[at].run.is_none(), "machine {at} runs already");
        let seed = self.noise.bits();
        let offset = Micros((self.noise.uniform() * 1e5) as u64);
        let shared = self
            .options
            .light
            .then(|| machine::known(&self.fabric.everybody));
        self.machines[at].start(&self.options.gossip, shared, seed, self.now);
        let run = self.machines[at]
            .run
            .as_ref()
            .expect("just started")
            .incarnation;
        self.at(self.now + offset, Due::Tick(at, run));
    }

    /// Kills a machine; its disk stays.
    pub fn crash(&mut self, at: usize) {
        let Some(run) = self.machines[at].run.take() else {
            return;
        };
        let runs = run.gossip.stamps().map(|(node, it)| (node, it.incarnation));
        self.machines[at].disk.runs.extend(runs);
        for parent in run.dialled.keys() {
            self.machines[*parent].inbound.remove(&at);
        }
        for sibling in &run.siblings {
            self.machines[*sibling].listeners.remove(&at);
        }
    }

    /// Kills a machine and its store with it; its keys and boot record stay. It
    /// was joined again with what the orchestrator gives to a newcomer.
    pub fn crash_losing_disk(&mut self, at: usize) {
        self.crash(at);
        let node = self.machines[at].me.node;
        let root = self.machines[0]
            .run
            .as_ref()
            .expect("the orchestrator runs");
        let welcome = root.directory.welcome(&node);
        let items: Vec<Vec<u8>> = welcome
            .items
            .into_iter()
            .map(|item| item.into_vec())
            .collect();
        let (mesh, root) = (self.fabric.mesh, self.fabric.root.id());
        let (directory, _) = directory::Directory::new(mesh, root, root, &items);
        let disk = &mut self.machines[at].disk;
        disk.enrolled = Arc::new(directory);
        disk.items.clear();
        disk.runs.clear();
    }

    /// Stops a machine for `span` as SIGSTOP does; `keep`: frames wait for it.
    pub fn pause(&mut self, at: usize, span: Micros, keep: bool) {
        self.machines[at].asleep = Some((self.now + span, keep));
    }

    /// Nothing goes between these and all others.
    pub fn isolate(&mut self, inside: &[usize]) {
        let a = inside.iter().copied().collect();
        let b = (0..self.machines.len())
            .filter(|at| !inside.contains(at))
            .collect();
        self.cuts.push(Cut {
            from: Clone::clone(&a),
            to: Clone::clone(&b),
        });
        self.cuts.push(Cut { from: b, to: a });
    }

    /// Ends all cuts, and watches every way that was cut.
    pub fn heal(&mut self) {
        let cuts = std::mem::take(&mut self.cuts);
        self.healing = Some(Healing::new(self.now, cuts));
    }

    /// Lets `span` pass.
    pub fn pass(&mut self, span: Micros) {
        let until = self.now + span;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((time, _), due) = entry.remove_entry();
            self.now = time;
            self.happen(due);
        }
        self.now = until;
    }

    /// Lets time pass until `done`, looked at every tenth of a second; how long
    /// that took, or `None` when `most` was not enough.
    pub fn until(&mut self, most: Micros, mut done: impl FnMut(&World) -> bool) -> Option<Micros> {
        let begin = self.now;
        loop {
            if done(self) {
                return Some(self.now.since(begin));
            }
            if self.now.since(begin) >= most {
                return None;
            }
            self.pass(Micros::from_millis(100));
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Tick(at, run) => self.tick(at, run),
            Due::Open { child, parent, run } => self.open(child, parent, run),
            Due::Frame { from, to, frame } => self.arrive(from, to, frame),
        }
    }

    fn at(&mut self, time: Micros, due: Due) {
        self.seq += 1;
        self.queue.insert((time.max(self.now), self.seq), due);
    }

    fn tick(&mut self, at: usize, incarnation: Incarnation) {
        let now = self.now;
        let machine = &mut self.machines[at];
        let Some(run) = machine
            .run
            .as_mut()
            .filter(|run| run.incarnation == incarnation)
        else {
            return;
        };
        match machine.asleep {
            Some((until, _)) if until > now => return self.at(until, Due::Tick(at, incarnation)),
            _ => machine.asleep = None,
        }
        let outputs = run.gossip.handle(Input::Tick, now, &mut run.noise);
        let next = run.gossip.next_deadline();
        self.perform(at, outputs);
        self.tick_directory(at);
        self.flush_all(at);
        self.at(next.max(now + Micros(1)), Due::Tick(at, incarnation));
    }

    /// Makes items at one machine, as `chorus revoke` does.
    pub fn own(&mut self, at: usize, items: Vec<Vec<u8>>) {
        self.direct(at, directory::Input::Own(items));
    }

    /// How many machines run.
    pub fn running(&self) -> usize {
        self.machines
            .iter()
            .filter(|machine| machine.run.is_some())
            .count()
    }

    /// What one machine sees now; it must run.
    pub fn view(&self, at: usize) -> View {
        self.run(at).gossip.view(self.now)
    }

    /// The run of a machine that must run.
    pub fn run(&self, at: usize) -> &machine::Run {
        self.machines[at].run.as_ref().expect("the machine runs")
    }

    /// Which machine bears this name.
    pub fn number(&self, node: &NodeId) -> usize {
        self.index[node]
    }

    /// Whether the root's sum holds exactly those that run.
    pub fn whole(&self) -> bool {
        self.view(0).members as usize == self.running()
    }
}
