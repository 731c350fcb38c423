//! Nodes for these tests, and ways to wait for what they do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chorus_actors::memory::realm::{Event, Limits, Order, Realms, Settings};
use chorus_protocol::ids::{Label, MeshId, NodeId};
use chorus_protocol::wire::Identity;
use tokio::sync::mpsc::Receiver;

/// Far beyond what any of it takes, so that only a defect reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

pub const KEY: [u8; 32] = [9; 32];

type Disk = Arc<Mutex<BTreeMap<[u8; 32], Vec<u8>>>>;

pub struct Node {
    pub id: NodeId,
    pub realms: Realms,
    pub disk: Disk,
    events: Receiver<Event>,
    /// What was taken out while something else was waited for, oldest first.
    heard: Vec<Event>,
}

pub fn label(name: &str) -> Label {
    Label::new(name).expect("a label")
}

pub fn id(n: u8) -> NodeId {
    Identity::from_seed(&[n; 32]).id()
}

pub fn members(numbers: &[u8]) -> BTreeSet<NodeId> {
    numbers.iter().map(|n| id(*n)).collect()
}

/// Node `n` in these realms, on any port of this machine.
pub fn settings(n: u8, realms: &[&str], disk: &Disk) -> Settings {
    let disk = disk.clone();
    Settings {
        seed: [n; 32],
        mesh: MeshId([0xab; 32]),
        realms: realms.iter().map(|name| label(name)).collect(),
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        lookup: Arc::new(move |key| disk.lock().expect("the disk").get(key).cloned()),
        limits: Limits::default(),
    }
}

/// Node `n` in realm `a`, with these settings changed.
pub fn node_with(n: u8, change: impl FnOnce(&mut Settings)) -> Node {
    let disk = Disk::default();
    let mut settings = settings(n, &["a"], &disk);
    change(&mut settings);
    let (realms, events) = Realms::start(settings).expect("started");
    Node {
        id: id(n),
        realms,
        disk,
        events,
        heard: Vec::new(),
    }
}

pub fn node(n: u8) -> Node {
    node_with(n, |_| {})
}

/// Waits until `look` finds something; fails when it does not.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}

impl Node {
    pub fn at(&self) -> SocketAddr {
        self.realms.address().expect("it listens")
    }

    pub fn order(&self, order: Order) {
        self.realms.order(order).expect("room for an order");
    }

    /// Tells this node of its members, and of `others` as peers in realm `a`.
    pub fn knows(&self, numbers: &[u8], others: &[&Node]) {
        self.order(Order::Members(members(numbers)));
        for other in others {
            self.peer("a", other);
        }
    }

    pub fn peer(&self, realm: &str, other: &Node) {
        self.order(Order::Peer {
            realm: label(realm),
            node: other.id,
            addrs: vec![other.at()],
        });
    }

    pub fn dial(&self, node: NodeId, at: SocketAddr) {
        let addrs = vec![at];
        self.order(Order::Dial { node, addrs });
    }

    pub fn store(&self, key: [u8; 32], value: &[u8]) {
        self.disk
            .lock()
            .expect("the disk")
            .insert(key, value.into());
    }

    /// The first event, of those that were not taken yet, out of which `pick` makes something.
    pub fn event<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        until(what, || self.event_now(&pick))
    }

    /// The same, if it has happened already.
    pub fn event_now<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> Option<T> {
        while let Ok(event) = self.events.try_recv() {
            self.heard.push(event);
        }
        let at = self.heard.iter().position(|event| pick(event).is_some())?;
        pick(&self.heard.remove(at))
    }

    pub fn connected(&mut self, other: NodeId) {
        let is = |event: &Event| matches!(event, Event::Connected(node) if *node == other);
        self.event("a connection", |event| is(event).then_some(()));
    }

    pub fn disconnected(&mut self, other: NodeId) {
        let is = |event: &Event| matches!(event, Event::Disconnected(node) if *node == other);
        self.event("the end of a connection", |event| is(event).then_some(()));
    }

    /// Puts and waits: whom it reached, and whom not.
    pub fn put(&mut self, value: &[u8], to: &[NodeId]) -> (Vec<NodeId>, Vec<NodeId>) {
        self.put_in("a", value, to)
    }

    pub fn put_in(
        &mut self,
        realm: &str,
        value: &[u8],
        to: &[NodeId],
    ) -> (Vec<NodeId>, Vec<NodeId>) {
        self.order(Order::Put {
            id: 1,
            realm: label(realm),
            key: KEY,
            value: value.into(),
            to: to.into(),
        });
        self.event("the end of a put", |event| match event {
            Event::PutDone {
                reached, failed, ..
            } => Some((reached.clone(), failed.clone())),
            _ => None,
        })
    }

    /// The value that another node puts here.
    pub fn given(&mut self) -> (NodeId, Label, Vec<u8>) {
        self.event("a put of another", |event| match event {
            Event::Put {
                from, realm, value, ..
            } => Some((*from, *realm, value.clone())),
            _ => None,
        })
    }

    /// Gets and waits: what came from whom.
    pub fn get(&mut self, realm: &str, want: usize) -> BTreeMap<NodeId, Vec<u8>> {
        self.order(Order::Get {
            id: 2,
            realm: label(realm),
            key: KEY,
            want,
        });
        self.event("the end of a get", |event| {
            matches!(event, Event::GetDone { id: 2 }).then_some(())
        });
        let mut got = BTreeMap::new();
        while let Some((from, value)) = self.event_now(|event| match event {
            Event::Got { from, value, .. } => Some((*from, value.clone())),
            _ => None,
        }) {
            got.insert(from, value);
        }
        got
    }

    pub fn count(&self, name: &str) -> u64 {
        let counters = self.realms.counters();
        let counter = counters.iter().find(|(known, _)| *known == name);
        counter.expect("a counter of that name").1
    }

    /// Waits until a counter has come to `least`.
    pub fn counted(&self, name: &str, least: u64) {
        until(name, || (self.count(name) >= least).then_some(()));
    }
}
