//! A mesh of memories: replication machines with stores in memory, connections that can be
//! cut, slow or deaf, disks that take their time, virtual time. Everything that happens
//! follows from the seed.

mod chaos;
mod history;
mod node;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::ids::{Digest, MeshId, NodeId};
use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::record::Record;
use chorus_protocol::memory::replication::{Config, Found, Input, Reached, State, Want};
use chorus_protocol::memory::siblings::Siblings;
use chorus_protocol::units::{Micros, Noise, Seeded};

pub use chaos::Chaos;
pub use history::History;
pub use node::Node;

/// The mesh of all of them.
pub const MESH: MeshId = MeshId([7; 32]);
/// Between two ticks of a machine.
const TICK: Micros = Micros::from_millis(100);

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The sector whose realm it is in.
    pub sector: u8,
    /// Whether it is in the backbone's realm too and holds everything.
    pub carrier: bool,
}

/// An orchestrator, and so many sectors of a coordinator and so many others.
pub fn seats(sectors: u8, others: usize) -> Vec<Seat> {
    let seat = |sector, carrier| Seat { sector, carrier };
    let mut seats = vec![seat(0, true)];
    for sector in 1..=sectors {
        seats.push(seat(sector, true));
        seats.extend(std::iter::repeat_n(seat(sector, false), others));
    }
    seats
}

/// Merging as it should be, or broken on purpose, for the test of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merging {
    /// By versions.
    Right,
    /// The higher Lamport time wins.
    LastWriterWins,
    /// A deletion leaves nothing behind.
    NoTombstones,
    /// By versions, but what is still on its way to the disk is told to be there.
    Hasty,
}

/// All of them.
#[derive(Debug)]
pub struct World {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// How they merge.
    pub merging: Merging,
    /// Bytes of everything that was sent.
    pub sent: usize,
    /// Frames and bytes that were sent, by what they are.
    pub traffic: BTreeMap<&'static str, (usize, usize)>,
    /// Ended counts, by node.
    pub reached: Vec<(usize, Reached)>,
    /// Ended looks, by node.
    pub found: Vec<(usize, Found)>,
    /// What was done and what came of it.
    pub history: History,
    config: Config,
    ids: BTreeMap<NodeId, usize>,
    /// Who holds memory; everybody, as long as nobody says otherwise.
    members: BTreeSet<usize>,
    now: Micros,
    cuts: BTreeSet<(usize, usize)>,
    links: BTreeSet<(usize, usize)>,
    /// What one direction of a connection takes longer.
    slow: BTreeMap<(usize, usize), Micros>,
    /// Directions in which all is lost without anybody being told.
    deaf: BTreeSet<(usize, usize)>,
    events: BTreeMap<(Micros, u64), (usize, wire::Event)>,
    order: u64,
    noise: Seeded,
    puts: u64,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl World {
    /// Nodes in these seats, connected as far as their realms go.
    pub fn new(seed: u64, seats: &[Seat]) -> Self {
        Self::with(seed, seats, Config::default())
    }

    /// The same with another configuration.
    pub fn with(seed: u64, seats: &[Seat], config: Config) -> Self {
        let nodes: Vec<Node> = (0..seats.len())
            .map(|n| Node::new(n, seats[n], &config))
            .collect();
        let each = nodes.iter().enumerate();
        let mut world = Self {
            ids: each.map(|(n, it)| (it.identity.id(), n)).collect(),
            members: (0..seats.len()).collect(),
            history: History::new(seats.len()),
            nodes,
            config,
            merging: Merging::Right,
            sent: 0,
            traffic: BTreeMap::new(),
            reached: Vec::new(),
            found: Vec::new(),
            now: Micros::from_secs(1),
            cuts: BTreeSet::new(),
            links: BTreeSet::new(),
            slow: BTreeMap::new(),
            deaf: BTreeSet::new(),
            events: BTreeMap::new(),
            order: 0,
            noise: Seeded::new(seed),
            puts: 0,
        };
        for n in 0..seats.len() {
            world.introduce(n);
        }
        world.relink();
        world
    }

    /// The present time.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// From now on these hold memory.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = usize>) {
        self.members = members.into_iter().collect();
        for n in 0..self.nodes.len() {
            self.introduce(n);
        }
    }

    fn introduce(&mut self, n: usize) {
        let members = self.members.iter().map(|it| &self.nodes[*it]);
        let carriers = members.clone().filter(|it| it.seat.carrier);
        let input = Input::Members {
            carriers: carriers.map(|it| it.identity.id()).collect(),
            nodes: members.map(|it| it.identity.id()).collect(),
        };
        self.input(n, input);
    }

    /// Cuts every connection between these nodes and the others.
    pub fn cut(&mut self, apart: &[usize]) {
        for n in 0..self.nodes.len() {
            for side in apart {
                if !apart.contains(&n) {
                    self.cuts.insert(pair(n, *side));
                }
            }
        }
        self.relink();
    }

    /// What one node says to another takes so much longer.
    pub fn slow(&mut self, from: usize, to: usize, by: Micros) {
        self.slow.insert((from, to), by);
    }

    /// What one node says to another is lost, and neither is told.
    pub fn deafen(&mut self, from: usize, to: usize) {
        self.deaf.insert((from, to));
    }

    /// Mends every connection.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.slow.clear();
        self.deaf.clear();
        self.relink();
    }

    /// Stops a node's process; what is on its disk stays.
    pub fn kill(&mut self, n: usize) {
        self.nodes[n].stop();
        self.relink();
    }

    /// Starts it again, with the store as it was or `wiped`.
    pub fn start(&mut self, n: usize, wiped: bool) {
        if wiped {
            self.history.wiped(n, &self.nodes);
        }
        let config = self.config.clone();
        for stands in self.nodes[n].start(config, wiped) {
            self.input(n, stands);
        }
        self.introduce(n);
        self.relink();
    }

    /// Whether a node's process runs.
    pub fn is_up(&self, n: usize) -> bool {
        self.nodes[n].up
    }

    /// Writes on a node, durably and at once; `None` deletes.
    pub fn write(&mut self, n: usize, key: &Key, value: Option<Vec<u8>>) -> Record {
        let key = key.clone();
        let put = None;
        let record = self.apply(n, node::Job::Write { key, value, put });
        self.saved(n);
        record.expect("a record")
    }

    /// Writes and counts the copies for so long; the end is in [`World::reached`].
    pub fn write_to(
        &mut self,
        n: usize,
        key: &Key,
        value: &[u8],
        want: Want,
        within: Micros,
    ) -> u64 {
        let put = self.next_put(want, within);
        let (key, value) = (key.clone(), Some(value.to_vec()));
        let number = put.number;
        let put = Some(put);
        self.apply(n, node::Job::Write { key, value, put });
        self.saved(n);
        number
    }

    /// As [`World::write`] or [`World::write_to`], once the disk has taken it.
    pub fn submit(
        &mut self,
        n: usize,
        key: &Key,
        value: Option<Vec<u8>>,
        count: Option<(Want, Micros)>,
    ) {
        let put = count.map(|(want, within)| self.next_put(want, within));
        let key = key.clone();
        self.enqueue(n, node::Job::Write { key, value, put });
    }

    fn next_put(&mut self, want: Want, within: Micros) -> node::Put {
        self.puts += 1;
        let until = self.now + within;
        node::Put {
            number: self.puts,
            want,
            until,
        }
    }

    /// Looks for other copies of what a node has.
    pub fn look(&mut self, n: usize, key: &Key, look: u64, within: Micros) {
        let has = self.siblings(n, key).digest();
        let at = key.id().position();
        self.history.looks(n, look, at, has, self.now);
        let input = Input::Look {
            look,
            at,
            has,
            until: self.now + within,
        };
        self.input(n, input);
    }

    /// Reads what stands under a key on a node, as a client there does.
    pub fn read(&mut self, n: usize, key: &Key) -> Siblings {
        let held = self.siblings(n, key);
        self.history.read(n, key, &held, self.now);
        held
    }

    /// What stands under a key on a node.
    pub fn siblings(&self, n: usize, key: &Key) -> Siblings {
        let held = self.nodes[n].store.get(&key.id().position());
        held.cloned().unwrap_or_default()
    }

    /// The values under a key on a node.
    pub fn values(&self, n: usize, key: &Key) -> Vec<Vec<u8>> {
        let held = self.siblings(n, key);
        held.values(0)
            .filter_map(|it| it.write().value.clone())
            .collect()
    }

    /// What the whole store of a node comes to.
    pub fn digest(&self, n: usize) -> Digest {
        self.nodes[n].machine.sum().digest()
    }

    /// The machine of a node.
    pub fn machine(&self, n: usize) -> &State {
        &self.nodes[n].machine
    }

    /// Whether a node should hold a key: it is one of the holders, or carries everything.
    pub fn should_hold(&self, n: usize, key: &Key) -> bool {
        let leaf = key.id().position().leaf();
        self.nodes[n].machine.should_hold(leaf)
    }

    /// Fills a node's store as an import does: nobody is given the records one by one.
    pub fn import(&mut self, n: usize, records: impl IntoIterator<Item = Record>) {
        for record in records {
            let (from, fresh) = (None, false);
            self.apply(
                n,
                node::Job::Take {
                    from,
                    fresh,
                    record,
                },
            );
        }
        self.saved(n);
        let now = self.now;
        self.nodes[n].machine.compare_soon(now);
    }

    /// Lets so much time pass.
    pub fn run(&mut self, span: Micros) {
        let end = self.now + span;
        let mut tick = self.now + TICK;
        while self.now < end {
            let next = self.events.first_key_value().map(|((at, _), _)| *at);
            if let Some(at) = next.filter(|at| *at <= tick) {
                self.now = self.now.max(at);
                if let Some((_, (to, event))) = self.events.pop_first() {
                    self.deliver(to, event);
                }
                continue;
            }
            self.now = tick;
            tick = tick + TICK;
            for n in 0..self.nodes.len() {
                if self.nodes[n].up {
                    self.input(n, Input::Tick);
                }
            }
        }
    }

    /// A number below `many`, from the seed.
    pub fn any(&mut self, many: usize) -> usize {
        (self.noise.uniform() * many as f64) as usize % many.max(1)
    }
}
