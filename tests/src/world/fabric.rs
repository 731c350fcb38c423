//! The fabric: keys, places and rosters of a simulated mesh, made once for each shape.
//!
//! Signatures are real, so they are made and checked once and shared by all
//! worlds of a shape: a thousand seeded worlds cost no more keys than one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use chorus_protocol::ids::{CurveKey, Label, MeshId, NodeId, Place, Role, Stamp};
use chorus_protocol::membership::topology::Member;
use chorus_protocol::trust::directory::{Directory, Input};
use chorus_protocol::trust::item::{Announcement, Claim, Entry, Item};
use chorus_protocol::trust::{found, mesh_of};
use chorus_protocol::wire::Identity;

/// Nobody's name: the owner of a roster that every machine copies.
const NOBODY: NodeId = NodeId([0xff; 32]);

/// How the machines of a mesh stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// One orchestrator and agents right under it.
    Flat,
    /// One orchestrator, sectors of a coordinator and `clusters` clusters, each a
    /// lead and agents that make `size` together.
    Tree {
        /// Clusters in a sector.
        clusters: usize,
        /// Machines in a cluster.
        size: usize,
    },
    /// As [`Shape::Tree`], with two orchestrators and two coordinators in each sector.
    Spare {
        /// Clusters in a sector.
        clusters: usize,
        /// Machines in a cluster.
        size: usize,
    },
}

impl Shape {
    /// Clusters of ten, ten to a sector.
    pub const TREE: Shape = Shape::Tree {
        clusters: 10,
        size: 10,
    };
    /// Clusters of five, two to a sector, every seat twice.
    pub const SPARE: Shape = Shape::Spare {
        clusters: 2,
        size: 5,
    };

    /// The roles and places of `n` machines; machine 0 is the orchestrator.
    pub fn places(self, n: usize) -> Vec<(Role, Place)> {
        let label = |text: String| Label::new(&text).expect("a label of the fabric");
        let place = |s: usize, c: usize| Place {
            sector: label(format!("s{s}")),
            cluster: label(format!("c{c}")),
        };
        let (clusters, size, seats) = match self {
            Shape::Flat => (1, usize::MAX, 0),
            Shape::Tree { clusters, size } => (clusters, size, 1),
            Shape::Spare { clusters, size } => (clusters, size, 2),
        };
        let mut all = vec![(Role::Orchestrator, place(0, 0)); seats.max(1)];
        let mut sector = 0;
        while all.len() < n {
            sector += 1;
            all.extend(std::iter::repeat_n(
                (Role::Coordinator, place(sector, 0)),
                seats,
            ));
            for cluster in 1..=clusters {
                all.extend((seats > 0).then_some((Role::Lead, place(sector, cluster))));
                let agents = if seats > 0 { size - 1 } else { n };
                for _ in 0..agents {
                    if all.len() >= n {
                        break;
                    }
                    all.push((Role::Agent, place(sector, cluster)));
                }
                if all.len() >= n {
                    break;
                }
            }
        }
        all.truncate(n);
        all
    }
}

/// The keys and rosters of one shape.
#[derive(Debug)]
pub struct Fabric {
    /// The mesh's root.
    pub root: Identity,
    /// The mesh.
    pub mesh: MeshId,
    /// Every machine, in the order of the shape.
    pub members: Vec<Member>,
    /// The items that found the mesh, then one entry for each machine but the first.
    founding: Vec<Vec<u8>>,
    entries: Vec<Vec<u8>>,
    /// Everybody's directory.
    pub everybody: Arc<Directory>,
}

impl Fabric {
    /// The fabric of `n` machines in this shape.
    pub fn of(n: usize, shape: Shape) -> Arc<Self> {
        type Made = Mutex<BTreeMap<(usize, Shape), Arc<Fabric>>>;
        static MADE: OnceLock<Made> = OnceLock::new();
        let mut made = MADE
            .get_or_init(Made::default)
            .lock()
            .expect("nobody panics in here");
        made.entry((n, shape))
            .or_insert_with(|| Arc::new(Self::make(n, shape)))
            .clone()
    }

    fn make(n: usize, shape: Shape) -> Self {
        let root = key(u64::MAX);
        let mesh = mesh_of(&root.id());
        let places = shape.places(n);
        let member = |(at, (role, place)): (usize, &(Role, Place))| Member {
            node: key(at as u64).id(),
            role: *role,
            place: *place,
        };
        let members: Vec<Member> = places.iter().enumerate().map(member).collect();
        let name = |at: usize| Label::new(&format!("n{at}")).expect("a label of the fabric");
        let curve = |at: usize| {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&(at as u64).to_be_bytes());
            CurveKey(bytes)
        };
        let first = members[0];
        let founding = found(
            &root,
            first.node,
            curve(0),
            name(0),
            first.role,
            first.place,
        );
        let entry = |(at, member): (usize, &Member)| {
            let entry = Entry {
                node: member.node,
                curve: curve(at),
                name: name(at),
                role: member.role,
                place: member.place,
                caps: Vec::new(),
                floor: 0,
                issued: at as u64 + 1,
                adopts: None,
            };
            Item::seal(&root, &mesh, &Claim::Entry(Arc::new(entry)))
        };
        let entries: Vec<Vec<u8>> = members.iter().enumerate().skip(1).map(entry).collect();
        let items: Vec<Vec<u8>> = founding.iter().chain(&entries).cloned().collect();
        let (everybody, _) = Directory::new(mesh, root.id(), NOBODY, &items);
        assert_eq!(everybody.roster().len(), n, "the fabric's roster is whole");
        Self {
            root,
            mesh,
            members,
            founding,
            entries,
            everybody: Arc::new(everybody),
        }
    }

    /// What one machine says of where it listens, in the run and at the time of `stamp`.
    pub fn announcement(&self, at: usize, stamp: Stamp) -> Vec<u8> {
        let announcement = Announcement {
            node: self.members[at].node,
            stamp,
            addresses: Vec::new(),
        };
        let claim = Claim::Announcement(Arc::new(announcement));
        Item::seal(&key(at as u64), &self.mesh, &claim)
    }

    /// The directory of one who knows only these machines.
    pub fn directory_of(&self, known: impl Iterator<Item = usize>) -> Arc<Directory> {
        let (mut directory, _) = Directory::new(self.mesh, self.root.id(), NOBODY, &self.founding);
        let entries = known
            .filter(|&at| at > 0)
            .map(|at| self.entries[at - 1].clone());
        directory.handle(Input::Own(entries.collect()), Default::default());
        Arc::new(directory)
    }
}

/// The key of one machine: a function of its number.
pub fn key(at: u64) -> Identity {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&at.to_be_bytes());
    Identity::from_seed(&seed)
}
