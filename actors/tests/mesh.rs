//! Real nodes in one process, over real sockets on loopback: they attach, couple
//! and know each other; one that is stopped is missed, and back when it returns.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chorus_actors::transport::sockets::{CurveKeys, Ports};
use chorus_actors::{Fatal, Node, Plan, Snapshot};
use chorus_protocol::gossip::Config;
use chorus_protocol::ids::{CurveKey, Incarnation, Label, NodeId, Place, Role, Stamp};
use chorus_protocol::trust::item::{Address, Announcement, Claim, Entry, Item};
use chorus_protocol::wire::Identity;
use chorus_storage::home::Home;
use chorus_storage::store::{Batch, Store, Tree};
use chorus_storage::{boot, sled_store};

/// One member and its keys.
struct Seat {
    seed: [u8; 32],
    curve: CurveKeys,
    entry: Entry,
}

/// Who a seat is for: role, sector, cluster.
type Post = (Role, &'static str, &'static str);

fn seats(posts: &[Post]) -> Vec<Seat> {
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

fn settle(dir: &Path, root: &Identity, members: &[Seat]) {
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

async fn start(dir: &Path, seat: &Seat, root: &NodeId) -> Node {
    let plan = Plan {
        home: Home::at(dir),
        identity: Identity::from_seed(&seat.seed),
        curve: seat.curve.clone(),
        root: *root,
        root_key: None,
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ports: Ports::default(),
        advertise: vec!["127.0.0.1".into()],
        gossip: Config::default(),
    };
    Node::start(plan).await.unwrap()
}

/// Waits until `holds`, or fails with what it saw last.
async fn until(node: &Node, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Duration {
    let began = Instant::now();
    loop {
        let snapshot = node.snapshot().await.unwrap();
        if holds(&snapshot) {
            return began.elapsed();
        }
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "{}: not {what}: {snapshot:#?}",
            node.name()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn two_nodes_couple_and_a_stopped_one_is_missed_and_taken_back() {
    let root = Identity::from_seed(&[200; 32]);
    let seats = seats(&[(Role::Orchestrator, "hq", "hq"), (Role::Agent, "s1", "c1")]);
    let dirs: Vec<_> = seats.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    for dir in &dirs {
        settle(dir.path(), &root, &seats);
    }
    let top = start(dirs[0].path(), &seats[0], &root.id()).await;
    // The agent learns where its parent is as a member would: from its directory.
    tell_address(dirs[1].path(), &top, &seats[0], &root);
    let leaf = start(dirs[1].path(), &seats[1], &root.id()).await;
    let coupled = |s: &Snapshot| s.view.members == 2 && s.view.peers[0] == 1;
    until(&leaf, "coupled", coupled).await;
    until(&top, "coupled", coupled).await;
    let first = leaf.snapshot().await.unwrap();
    until(&top, "in step", |s| s.view.order > 0.95).await;
    leaf.stop().await;
    until(&top, "missing its child", |s| s.view.peers == [0, 0, 1]).await;
    let leaf = start(dirs[1].path(), &seats[1], &root.id()).await;
    until(&top, "coupled again", coupled).await;
    until(&leaf, "coupled again", coupled).await;
    let second = leaf.snapshot().await.unwrap();
    assert!(second.incarnation > first.incarnation);
    assert!(second.lamport > first.lamport, "the clock went back");
    leaf.stop().await;
    top.stop().await;
}

#[tokio::test]
async fn an_actor_that_ends_is_seen_and_the_node_runs_again_as_a_new_incarnation() {
    let root = Identity::from_seed(&[201; 32]);
    let seats = seats(&[(Role::Orchestrator, "hq", "hq")]);
    let dir = tempfile::tempdir().unwrap();
    settle(dir.path(), &root, &seats);
    let node = start(dir.path(), &seats[0], &root.id()).await;
    let first = node.snapshot().await.unwrap();
    node.actors().gossip.get().unwrap().kill();
    let fatal = tokio::time::timeout(Duration::from_secs(10), node.failed()).await;
    assert!(matches!(fatal, Ok(Fatal::Actor(_))), "{fatal:?}");
    node.stop().await;
    let node = start(dir.path(), &seats[0], &root.id()).await;
    let second = node.snapshot().await.unwrap();
    assert!(second.incarnation > first.incarnation);
    node.stop().await;
}

/// Puts an announcement of a running node into a resting node's store.
fn tell_address(dir: &Path, node: &Node, seat: &Seat, root: &Identity) {
    let port = |endpoint: &str| endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let bound = node.bound();
    let announcement = Announcement {
        node: node.id(),
        stamp: Stamp {
            incarnation: Incarnation::new(0, 1),
            lamport: 1,
        },
        addresses: vec![Address {
            host: "127.0.0.1".into(),
            router: port(&bound.router),
            publisher: port(&bound.publisher),
            subscriber: port(&bound.subscriber),
            door: port(&bound.door),
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
