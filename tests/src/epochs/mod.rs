//! A world of checkpoint machines alone: who is whose parent follows from who runs and who
//! reaches whom, commands arrive in order however often a frame is lost, and disks are written
//! a little later than they are asked. Gossip and delivery have tests of their own.

pub mod large;
pub mod sectors;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chorus_protocol::ids::{Incarnation, NodeId, Role};
use chorus_protocol::membership::topology;
use chorus_protocol::memory::checkpoint::{
    Around, Checkpoints, Config, Cut, Event, Input, Name, Order, Output, Plan, Record, Setting,
    View, What, coding,
};
use chorus_protocol::units::{Micros, Noise, Seeded};

use crate::world::fabric::{Fabric, Shape, key};
pub use watch::expect;

const TICK: Micros = Micros::from_millis(100);
const RETRY: Micros = Micros::from_millis(250);
/// What a disk takes to write a file, if it is not a slow one.
const WRITE: Micros = Micros::from_millis(8);
/// What it takes to cut a checkpoint into fragments.
const CODE: Micros = Micros::from_millis(300);

/// The files of a machine.
pub type Disk = BTreeMap<(Name, u8), Arc<[u8]>>;

/// What a liar makes of what it sends: to whom, and what.
pub type Lie = fn(&Epochs, NodeId, &mut Order);

/// One machine.
#[derive(Debug)]
pub struct Machine {
    /// What a crash leaves.
    pub disk: Disk,
    /// What a crash ends.
    pub run: Option<Checkpoints>,
    /// Which run it is.
    pub boot: u64,
    /// Whether nothing can be written.
    pub full: bool,
    /// What its disk takes to write a file.
    pub write: Micros,
    /// What it makes of its own words.
    pub lie: Option<Lie>,
    around: Around,
}

#[derive(Debug)]
enum Due {
    Tick,
    Order(usize, usize, Order),
    Write(usize, u64, Name, What, Arc<[u8]>),
    Code(usize, u64, Name, Plan, Arc<[u8]>, BTreeSet<u32>),
}

/// The world.
#[derive(Debug)]
pub struct Epochs {
    /// Keys, places and the roster.
    pub fabric: Arc<Fabric>,
    /// The machines; the first is the orchestrator.
    pub machines: Vec<Machine>,
    /// Virtual time.
    pub now: Micros,
    /// The share of frames that are lost and sent again.
    pub loss: f64,
    /// Which of the machines are on the other side of a cut.
    pub apart: BTreeSet<usize>,
    /// Machines that know nothing of checkpoints.
    pub strangers: BTreeSet<usize>,
    /// Machines whose parents take them for dead.
    pub suspects: BTreeSet<usize>,
    /// What the machines said for people.
    pub log: Vec<(usize, Event)>,
    /// What must never happen, and did.
    pub violations: Vec<String>,
    /// How many orders of checkpoints each stranger was sent.
    pub unasked: u64,
    config: Config,
    queue: BTreeMap<(Micros, u64), Due>,
    arrivals: BTreeMap<(usize, usize), Micros>,
    /// Who had what on disk, ever.
    written: BTreeSet<(usize, Name)>,
    made: BTreeMap<(NodeId, u64), Name>,
    seq: u64,
    noise: Seeded,
}

impl Epochs {
    /// A world in which every machine runs.
    pub fn new(n: usize, shape: Shape, config: Config, seed: u64) -> Self {
        let mut world = Self::dark(n, shape, config, seed);
        (0..n).for_each(|at| world.start(at));
        world
    }

    /// One in which none runs yet.
    pub fn dark(n: usize, shape: Shape, config: Config, seed: u64) -> Self {
        let machine = || Machine {
            disk: Disk::new(),
            run: None,
            boot: 0,
            full: false,
            write: WRITE,
            lie: None,
            around: Around::default(),
        };
        let mut world = Self {
            fabric: Fabric::of(n, shape),
            machines: std::iter::repeat_with(machine).take(n).collect(),
            now: Micros::from_secs(1),
            loss: 0.0,
            apart: BTreeSet::new(),
            strangers: BTreeSet::new(),
            suspects: BTreeSet::new(),
            log: Vec::new(),
            violations: Vec::new(),
            unasked: 0,
            config,
            queue: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            written: BTreeSet::new(),
            made: BTreeMap::new(),
            seq: 0,
            noise: Seeded::new(seed),
        };
        world.at(TICK, Due::Tick);
        world
    }

    /// Starts a machine with what is on its disk.
    pub fn start(&mut self, at: usize) {
        let directory = &self.fabric.everybody;
        let setting = Setting {
            mesh: self.fabric.mesh,
            identity: Arc::new(key(at as u64)),
            roster: directory.roster().clone(),
            digest: *directory.digest(),
        };
        let machine = &mut self.machines[at];
        let copies = machine.disk.iter().filter(|((_, what), _)| *what == 0);
        let files = copies.map(|((name, _), copy)| {
            let certificate = machine.disk.get(&(*name, 1));
            (copy.to_vec(), certificate.map(|it| it.to_vec()))
        });
        let (run, damaged) = Checkpoints::new(self.config, setting, files.collect(), self.now);
        let names: Vec<Name> = machine
            .disk
            .keys()
            .filter(|it| it.1 == 0)
            .map(|it| it.0)
            .collect();
        for number in damaged {
            machine.disk.retain(|(name, _), _| *name != names[number]);
        }
        machine.run = Some(run);
        machine.boot += 1;
        machine.around = Around::default();
        self.look_around();
    }

    /// Kills a machine; its disk stays.
    pub fn crash(&mut self, at: usize) {
        self.machines[at].run = None;
        self.look_around();
    }

    /// Cuts these off from all others, or nobody.
    pub fn cut_off(&mut self, apart: impl IntoIterator<Item = usize>) {
        self.apart = apart.into_iter().collect();
        self.look_around();
    }

    /// Lets their parents take these for dead, or nobody.
    pub fn suspect(&mut self, suspects: impl IntoIterator<Item = usize>) {
        self.suspects = suspects.into_iter().collect();
        self.look_around();
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

    /// Lets time pass until `done`; whether that came within `most`.
    pub fn until(&mut self, most: Micros, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + most;
        while self.now < end {
            if done(self) {
                return true;
            }
            self.pass(TICK);
        }
        done(self)
    }

    /// A node's name.
    pub fn node(&self, at: usize) -> NodeId {
        self.fabric.members[at].node
    }

    /// What a machine that runs says of its checkpoints.
    pub fn view(&self, at: usize) -> View {
        self.machines[at].run.as_ref().expect("it runs").view()
    }

    fn at(&mut self, after: Micros, due: Due) {
        self.seq += 1;
        self.queue.insert((self.now + after, self.seq), due);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Tick => {
                (0..self.machines.len()).for_each(|at| self.handle(at, Input::Tick));
                self.at(TICK, Due::Tick);
            }
            Due::Order(from, to, order) => {
                if !self.reaches(from, to) || self.machines[to].run.is_none() {
                    // Delivery tries again; who was killed says it no more.
                    if self.machines[from].run.is_some() {
                        self.at(RETRY, Due::Order(from, to, order));
                    }
                    return;
                }
                if self.strangers.contains(&to) {
                    self.unasked += 1;
                    return;
                }
                let from = self.node(from);
                self.handle(to, Input::Order(from, order));
            }
            Due::Write(at, boot, name, what, bytes) => {
                let machine = &mut self.machines[at];
                if machine.boot != boot || machine.run.is_none() {
                    return; // killed before it was on disk
                }
                let done = !machine.full;
                if done {
                    machine.disk.insert((name, what as u8), bytes.clone());
                    if what == What::Copy {
                        self.written.insert((at, name));
                        self.seen(name, &bytes);
                    }
                }
                self.handle(at, Input::Persisted(name, what, done));
            }
            Due::Code(at, boot, name, plan, bytes, numbers) => {
                if self.machines[at].boot == boot {
                    let coded = coding::encode(&bytes, &plan, &numbers);
                    self.handle(at, Input::Coded(name, coded));
                }
            }
        }
    }

    fn handle(&mut self, at: usize, input: Input) {
        if self.strangers.contains(&at) {
            return;
        }
        let Some(run) = self.machines[at].run.as_mut() else {
            return;
        };
        let outputs = run.handle(input, self.now);
        for output in outputs {
            self.perform(at, output);
        }
    }

    fn perform(&mut self, at: usize, output: Output) {
        match output {
            Output::Cut(epoch) => {
                let cut = self.phases(at);
                self.handle(at, Input::Cut(epoch, cut));
            }
            Output::Persist(name, what, bytes) => {
                self.watch(at, name, what);
                let Machine { boot, write, .. } = self.machines[at];
                self.at(write, Due::Write(at, boot, name, what, bytes));
            }
            Output::Code(name, plan, bytes, numbers) => {
                let boot = self.machines[at].boot;
                self.at(CODE, Due::Code(at, boot, name, plan, bytes, numbers));
            }
            Output::Forget(name) => {
                let before = self.last_durable(at);
                self.machines[at].disk.retain(|(it, _), _| *it != name);
                if before.contains(&Some(name)) {
                    let said = format!("{at} gave up its last durable one, {name:?}");
                    self.violations.push(said);
                }
            }
            Output::Send(to, mut order) => {
                if let Some(lie) = self.machines[at].lie {
                    lie(self, to, &mut order);
                }
                let members = &self.fabric.members;
                let to = members
                    .iter()
                    .position(|it| it.node == to)
                    .expect("a member");
                let lost = self.noise.uniform() < self.loss;
                let way = 5_000 + self.noise.bits() % 20_000;
                let after = Micros(way + if lost { RETRY.0 } else { 0 });
                let last = self.arrivals.entry((at, to)).or_default();
                *last = (*last + Micros(1)).max(self.now + after);
                let after = last.since(self.now);
                self.at(after, Due::Order(at, to, order));
            }
            Output::Event(event) => self.log.push((at, event)),
        }
    }

    /// The phases at a machine: a function of node and time, so that two cuts differ.
    fn phases(&self, at: usize) -> Cut {
        let record = |node: &NodeId| {
            let seed = u64::from_le_bytes(node.0[..8].try_into().expect("eight bytes"));
            let mut noise = Seeded::new(seed ^ self.now.0);
            Record {
                phase: noise.uniform() * std::f64::consts::TAU,
                omega: 6.0 + noise.uniform(),
                lamport: self.now.0,
            }
        };
        let children = self.machines[at].around.children.iter();
        let roster = self.fabric.everybody.roster();
        let leaf = |node: &&NodeId| {
            roster
                .get(node)
                .is_some_and(|it| it.entry.role == Role::Agent)
        };
        Cut {
            own: record(&self.node(at)),
            leaves: children
                .filter(leaf)
                .map(|node| (*node, record(node)))
                .collect(),
            live: self.machines.iter().filter(|it| it.run.is_some()).count() as u32,
        }
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        self.apart.contains(&a) == self.apart.contains(&b)
    }

    /// The first possible parent that runs and is reached.
    fn parent(&self, at: usize) -> Option<usize> {
        let members = &self.fabric.members;
        let runs = |it: &usize| self.machines[*it].run.is_some() && self.reaches(at, *it);
        let possible = topology::parents(&members[at], members.iter().copied());
        let number = |node: &NodeId| members.iter().position(|it| it.node == *node);
        possible.iter().filter_map(number).find(runs)
    }

    /// Tells all machines who stands around them now.
    fn look_around(&mut self) {
        let n = self.machines.len();
        let running: Vec<usize> = (0..n)
            .filter(|at| self.machines[*at].run.is_some())
            .collect();
        let parents: BTreeMap<usize, usize> = running
            .iter()
            .filter_map(|at| Some((*at, self.parent(*at)?)))
            .collect();
        for at in running {
            let parent = parents.get(&at);
            let children = parents.iter().filter(|(_, parent)| **parent == at);
            let children = children.filter(|(child, _)| !self.suspects.contains(child));
            let around = Around {
                parent: parent.map(|it| (self.node(*it), Incarnation(self.machines[*it].boot))),
                children: children.map(|(child, _)| self.node(*child)).collect(),
            };
            if self.machines[at].around != around || around.parent.is_none() {
                self.machines[at].around = around.clone();
                self.handle(at, Input::Around(around));
            }
        }
    }
}
