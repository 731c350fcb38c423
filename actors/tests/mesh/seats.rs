//! Nodes on loopback for a test or a bench: their keys, their homes, and how each knows the others.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use chorus_actors::transport::sockets::{CurveKeys, Ports};
use chorus_actors::{MemoryPlan, Node, Plan};
use chorus_protocol::gossip::Config;
use chorus_protocol::ids::{CurveKey, Incarnation, Label, NodeId, Place, Role, Stamp};
use chorus_protocol::trust::item::{Address, Announcement, Claim, Entry, Item};
use chorus_protocol::wire::Identity;
use chorus_storage::home::Home;
use chorus_storage::store::{Batch, Store, Tree};
use chorus_storage::{boot, sled_store};

/// One member and its keys.
pub struct Seat {
    pub seed: [u8; 32],
    pub curve: CurveKeys,
    pub entry: Entry,
}

/// Who a seat is for: role, sector, cluster.
pub type Post = (Role, &'static str, &'static str);

/// A seat for each post, with the same signing keys every time.
pub fn seats(posts: &[Post]) -> Vec<Seat> {
    let seat = |(n, (role, sector, cluster)): (usize, &Post)| {
        let seed = [n as u8 + 1; 32];
        let curve = CurveKeys::generate().unwrap();
        let entry = Entry {
            node: Identity::from_seed(&seed).id(),
            curve: CurveKey(curve.public),
            name: Label::new(&format!("n{n}")).unwrap(),
            role: *role,
            place: Place {
                sector: Label::new(sector).unwrap(),
                cluster: Label::new(cluster).unwrap(),
            },
            caps: Vec::new(),
            floor: 0,
            issued: n as u64 + 1,
            adopts: None,
        };
        Seat { seed, curve, entry }
    };
    posts.iter().enumerate().map(seat).collect()
}

/// Makes a home that knows these members.
pub fn settle(dir: &Path, root: &Identity, members: &[Seat]) {
    let home = Home::at(dir);
    home.create().unwrap();
    boot::create(&home).unwrap();
    let mesh = chorus_protocol::trust::mesh_of(&root.id());
    let entry = |member: &Seat| Claim::Entry(Arc::new(member.entry.clone()));
    let items: Vec<_> = members
        .iter()
        .map(|member| Item::seal(root, &mesh, &entry(member)))
        .collect();
    keep(dir, &items);
}

/// Starts the node of a home.
pub async fn start(dir: &Path, seat: &Seat, root: &NodeId) -> Node {
    start_with(dir, seat, root, |_| {}).await
}

/// Starts a node with its plan changed.
pub async fn start_with(
    dir: &Path,
    seat: &Seat,
    root: &NodeId,
    change: impl FnOnce(&mut Plan),
) -> Node {
    let mut plan = Plan {
        home: Home::at(dir),
        identity: Identity::from_seed(&seat.seed),
        curve: seat.curve.clone(),
        root: *root,
        root_key: None,
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ports: Ports::default(),
        advertise: vec!["127.0.0.1".into()],
        gossip: Config::default(),
        memory: MemoryPlan::default(),
        checkpoints: Default::default(),
        agents: Vec::new(),
    };
    change(&mut plan);
    Node::start(plan).await.unwrap()
}

/// The ports of a running node.
pub fn ports(node: &Node) -> Ports {
    let port = |endpoint: &str| endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let bound = node.bound();
    Ports {
        router: port(&bound.router),
        publisher: port(&bound.publisher),
        subscriber: port(&bound.subscriber),
        door: port(&bound.door),
        memory: node.memory_address().unwrap().port(),
    }
}

/// Puts an announcement of a running node into a resting node's store.
pub fn tell_address(dir: &Path, node: &Node, seat: &Seat, root: &Identity) {
    tell_ports(dir, &ports(node), seat, root);
}

/// Puts an announcement of a seat's node into a resting node's store. Where its memory
/// listens is not in it: that is heard from the node itself.
pub fn tell_ports(dir: &Path, ports: &Ports, seat: &Seat, root: &Identity) {
    let announcement = Announcement {
        node: seat.entry.node,
        // Before all that the node says of itself.
        stamp: Stamp {
            incarnation: Incarnation::new(0, 1),
            lamport: 0,
        },
        addresses: vec![Address {
            host: "127.0.0.1".into(),
            router: ports.router,
            publisher: ports.publisher,
            subscriber: ports.subscriber,
            door: ports.door,
            memory: 0,
        }],
    };
    let mesh = chorus_protocol::trust::mesh_of(&root.id());
    let claim = Claim::Announcement(Arc::new(announcement));
    let item = Item::seal(&Identity::from_seed(&seat.seed), &mesh, &claim);
    keep(dir, &[item]);
}

fn keep(dir: &Path, items: &[Vec<u8>]) {
    let mut store = sled_store::open(&Home::at(dir).db()).unwrap().store;
    let batch = items.iter().fold(Batch::new(), |batch, item| {
        let digest = chorus_protocol::trust::item::digest_of(item);
        batch.put(Tree::Roster, digest.0.to_vec(), item.clone())
    });
    store.apply(&batch).unwrap();
    store.flush().unwrap();
}
