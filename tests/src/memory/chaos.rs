//! Chaos: seeded operations on a mesh of memories under seeded faults, then a healing.

use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::replication::Want;
use chorus_protocol::memory::siblings::SIBLINGS_MAX;
use chorus_protocol::units::Micros;

use super::World;

/// Operations under faults.
#[derive(Debug)]
pub struct Chaos {
    /// The mesh.
    pub world: World,
    keys: Vec<Key>,
    /// Whose own a key is.
    owners: Vec<Option<usize>>,
    next: u64,
}

impl Chaos {
    /// On this mesh, with so many shared keys and a few that are nodes' own.
    pub fn new(world: World, shared: usize) -> Self {
        let key = |n| Key::shared(&format!("k{n}")).expect("a key");
        let mut keys: Vec<Key> = (0..shared).map(key).collect();
        let mut owners = vec![None; shared];
        let many = world.nodes.len();
        for owner in [1, many / 2, many - 1] {
            let id = world.nodes[owner].identity.id();
            keys.push(Key::own(&id, "k").expect("a key"));
            owners.push(Some(owner));
        }
        Self {
            world,
            keys,
            owners,
            next: 0,
        }
    }

    /// So many operations, with faults between them.
    pub fn rage(&mut self, operations: usize) {
        for _ in 0..operations {
            if self.world.any(4) == 0 {
                self.fault();
            }
            self.operate();
            // Often several at once, sometimes enough time for a comparison.
            let span = [5, 5, 20, 100, 400, 3_000][self.world.any(6)];
            self.world.run(Micros::from_millis(span));
        }
    }

    fn operate(&mut self) {
        let at = self.world.any(self.keys.len());
        let n = self.owners[at].unwrap_or_else(|| self.world.any(self.world.nodes.len()));
        if !self.world.is_up(n) {
            return;
        }
        self.next += 1;
        let (key, many) = (self.keys[at].clone(), self.world.nodes.len());
        let value = Some(self.next.to_le_bytes().to_vec());
        let within = Micros::from_millis([300, 2_000, 10_000][self.world.any(3)]);
        match self.world.any(16) {
            0..5 => self.world.submit(n, &key, value, None),
            5..7 => {
                let want = Want::Nodes(self.world.any(many + 2));
                self.world.submit(n, &key, value, Some((want, within)));
            }
            7..9 => {
                let count = Some((Want::Majority, within));
                self.world.submit(n, &key, value, count);
            }
            9..12 => self.world.submit(n, &key, None, None),
            12..15 => drop(self.world.read(n, &key)),
            _ => self.world.look(n, &key, self.next, within),
        }
    }

    fn fault(&mut self) {
        let many = self.world.nodes.len();
        let (n, other) = (self.world.any(many), self.world.any(many));
        match self.world.any(13) {
            0..2 => {
                let sector = self.world.nodes[n].seat.sector;
                let inside = |it: &usize| self.world.nodes[*it].seat.sector == sector;
                let apart: Vec<usize> = (0..many).filter(inside).collect();
                self.world.cut(&apart);
            }
            2 => self.world.cut(&[n]),
            3..6 if self.world.is_up(n) => self.world.kill(n),
            3..5 => self.world.start(n, false),
            5 => self.world.start(n, true),
            6..8 => {
                let by = Micros::from_millis([200, 2_000, 8_000][self.world.any(3)]);
                self.world.slow(n, other, by);
            }
            8 => self.world.deafen(n, other),
            9 => self.world.fill_disk(n, true),
            10 => self.world.fill_disk(n, false),
            11 if !self.world.nodes[n].seat.carrier => {
                // One leaves the roster, and who had left is back.
                self.world.set_members((0..many).filter(|it| *it != n));
            }
            _ => self.world.heal(),
        }
    }

    /// Everything is mended, and the stores come to agree; then what holds and what does not.
    pub fn verdict(&mut self) -> Result<(), String> {
        self.world.heal();
        self.world.set_members(0..self.world.nodes.len());
        for n in 0..self.world.nodes.len() {
            self.world.fill_disk(n, false);
            if !self.world.is_up(n) {
                self.world.start(n, false);
            }
        }
        // Three turns of comparing: what stands where it should not is offered after one.
        self.world.run(Micros::from_secs(30));
        for _ in 0..30 {
            if self.differ().is_none() {
                break;
            }
            self.resolve();
            self.world.run(Micros::from_secs(3));
        }
        for at in 0..self.keys.len() {
            for n in 0..self.world.nodes.len() {
                self.world.read(n, &self.keys[at].clone());
            }
        }
        self.world.history.check(&self.world)?;
        match self.differ() {
            Some(key) => Err(format!(
                "120 s after the heal {key} differs from node to node"
            )),
            None => Ok(()),
        }
    }

    /// A key whose holders do not have the same, by their stores and by their sums.
    fn differ(&self) -> Option<&Key> {
        let world = &self.world;
        let differs = |key: &&Key| {
            let holders = (0..world.nodes.len()).filter(|n| world.should_hold(*n, key));
            let mut sets = holders.map(|n| world.siblings(n, key).digest());
            let first = sets.next();
            sets.any(|it| Some(it) != first)
        };
        self.keys.iter().find(differs)
    }

    /// More conflicts than a set holds do not go away by themselves: somebody who sees them
    /// writes.
    fn resolve(&mut self) {
        for at in 0..self.keys.len() {
            let key = self.keys[at].clone();
            let full = |n: &usize| self.world.siblings(*n, &key).len() >= SIBLINGS_MAX;
            let writer = self.owners[at].or((0..self.world.nodes.len()).find(full));
            if let Some(n) = writer.filter(full) {
                self.world.submit(n, &key, Some(b"resolved".to_vec()), None);
            }
        }
    }
}

impl World {
    /// From now on a node's disk takes nothing more, or does again.
    pub fn fill_disk(&mut self, n: usize, full: bool) {
        self.nodes[n].full = full;
    }
}
