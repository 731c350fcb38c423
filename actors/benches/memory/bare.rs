//! The yardstick: libp2p's Kademlia over bare sled, and nothing else. Each node is a swarm on a
//! thread of its own; what it is given is in sled's log, with an fsync, before it answers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::iter::{Empty, empty};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use libp2p::core::upgrade::Version;
use libp2p::futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::{Config, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, Transport, noise, yamux};
use libp2p_kad::store::{Error, RecordStore, Result as Stored};
use libp2p_kad::{
    Behaviour, Event, GetRecordOk, Mode, ProviderRecord, QueryId, QueryResult, Quorum, Record,
    RecordKey,
};
use tokio::sync::{mpsc, oneshot};

/// As the store of a node sets it.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
const IDLE_MAX: Duration = Duration::from_secs(3600);

/// sled with the settings of a node's store, durable by itself after each write.
pub struct Sled {
    db: sled::Db,
    log: File,
}

impl Sled {
    pub fn open(dir: &Path) -> Self {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        let db = config.open().expect("a database");
        let log = File::open(dir.join("db")).expect("its log");
        Self { db, log }
    }

    /// Writes all of these in one batch. sled's own flush leaves out the fsync.
    pub fn write(&self, rows: &[(Vec<u8>, Vec<u8>)]) {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            batch.insert(&key[..], &value[..]);
        }
        self.db.apply_batch(batch).expect("applied");
        self.db.flush().expect("flushed");
        self.log.sync_data().expect("synced");
    }
}

impl RecordStore for Sled {
    type RecordsIter<'a> = Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        let value = self.db.get(key).expect("read")?;
        Some(Cow::Owned(Record::new(key.clone(), value.to_vec())))
    }

    fn put(&mut self, record: Record) -> Stored<()> {
        self.write(&[(record.key.to_vec(), record.value)]);
        Ok(())
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        empty()
    }

    fn add_provider(&mut self, _: ProviderRecord) -> Stored<()> {
        Err(Error::MaxProvidedKeys)
    }

    fn providers(&self, _: &RecordKey) -> Vec<ProviderRecord> {
        Vec::new()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        empty()
    }

    fn remove_provider(&mut self, _: &RecordKey, _: &PeerId) {}
}

#[derive(Debug)]
enum Do {
    Know(PeerId, Multiaddr),
    /// Until so many others have it on disk.
    Put(Vec<u8>, Vec<u8>, NonZeroUsize, oneshot::Sender<usize>),
    /// Until everybody was asked: how many have it, this node included.
    Get(Vec<u8>, oneshot::Sender<usize>),
}

/// A node of them.
pub struct Node {
    orders: mpsc::UnboundedSender<Do>,
    peer: PeerId,
    at: Multiaddr,
    thread: JoinHandle<()>,
}

/// So many nodes that know each other, with folders below `dir`.
pub fn mesh(dir: &Path, many: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..many).map(|n| Node::start(dir, n)).collect();
    for node in &nodes {
        for other in nodes.iter().filter(|other| other.peer != node.peer) {
            node.order(Do::Know(other.peer, other.at.clone()));
        }
    }
    nodes
}

impl Node {
    fn start(dir: &Path, n: usize) -> Self {
        let sled = Sled::open(&dir.join(format!("bare{n}")));
        let key = Keypair::ed25519_from_bytes([100 + n as u8; 32]).expect("a seed");
        let peer = key.public().to_peer_id();
        let (orders, taken) = mpsc::unbounded_channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            crate::runtime().block_on(run(swarm(&key, sled), taken, tell));
        });
        let at = told.recv().expect("an address");
        Self {
            orders,
            peer,
            at,
            thread,
        }
    }

    /// Puts; the answer comes when so many others have it on disk: how many did when that was
    /// over.
    pub fn put(
        &self,
        key: Vec<u8>,
        value: Vec<u8>,
        others: NonZeroUsize,
    ) -> oneshot::Receiver<usize> {
        let (reply, answer) = oneshot::channel();
        self.order(Do::Put(key, value, others, reply));
        answer
    }

    /// Gets from everybody; how many have it.
    pub async fn get(&self, key: Vec<u8>) -> usize {
        let (reply, answer) = oneshot::channel();
        self.order(Do::Get(key, reply));
        answer.await.expect("an answer")
    }

    pub fn stop(self) {
        drop(self.orders);
        self.thread.join().expect("the swarm's thread");
    }

    fn order(&self, order: Do) {
        self.orders.send(order).expect("the swarm runs");
    }
}

fn swarm(key: &Keypair, sled: Sled) -> Swarm<Behaviour<Sled>> {
    let noise = noise::Config::new(key).expect("a key");
    let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
    let transport = tcp
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .boxed();
    let peer = key.public().to_peer_id();
    let config = libp2p_kad::Config::new(StreamProtocol::new("/bare/kad/1"));
    let mut kad = Behaviour::with_config(peer, sled, config);
    kad.set_mode(Some(Mode::Server));
    let config = Config::with_tokio_executor().with_idle_connection_timeout(IDLE_MAX);
    Swarm::new(transport, kad, peer, config)
}

#[derive(Default)]
struct Under {
    puts: HashMap<QueryId, oneshot::Sender<usize>>,
    gets: HashMap<QueryId, (usize, oneshot::Sender<usize>)>,
}

async fn run(
    mut swarm: Swarm<Behaviour<Sled>>,
    mut orders: mpsc::UnboundedReceiver<Do>,
    tell: std::sync::mpsc::Sender<Multiaddr>,
) {
    let any = "/ip4/127.0.0.1/tcp/0".parse().expect("an address");
    swarm.listen_on(any).expect("listens");
    let mut under = Under::default();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some(order) => under.obey(swarm.behaviour_mut(), order),
            },
            event = swarm.select_next_some() => match event {
                SwarmEvent::NewListenAddr { address, .. } => tell.send(address).expect("awaited"),
                SwarmEvent::Behaviour(event) => under.hear(event),
                _ => {}
            },
        }
    }
}

impl Under {
    fn obey(&mut self, kad: &mut Behaviour<Sled>, order: Do) {
        match order {
            Do::Know(peer, at) => {
                kad.add_address(&peer, at);
            }
            Do::Put(key, value, others, reply) => {
                let record = Record::new(key, value);
                let query = kad.put_record(record, Quorum::N(others));
                self.puts.insert(query.expect("stored here"), reply);
            }
            Do::Get(key, reply) => {
                let query = kad.get_record(RecordKey::from(key));
                self.gets.insert(query, (0, reply));
            }
        }
    }

    fn hear(&mut self, event: Event) {
        let Event::OutboundQueryProgressed {
            id, result, step, ..
        } = event
        else {
            return;
        };
        match result {
            QueryResult::PutRecord(done) => {
                let reached = match done {
                    Ok(_) => usize::MAX,
                    Err(libp2p_kad::PutRecordError::QuorumFailed { success, .. }) => success.len(),
                    Err(libp2p_kad::PutRecordError::Timeout { success, .. }) => success.len(),
                };
                if let Some(reply) = self.puts.remove(&id) {
                    let _ = reply.send(reached);
                }
            }
            QueryResult::GetRecord(found) => {
                let Some((many, _)) = self.gets.get_mut(&id) else {
                    return;
                };
                *many += usize::from(matches!(found, Ok(GetRecordOk::FoundRecord(_))));
                if step.last
                    && let Some((many, reply)) = self.gets.remove(&id)
                {
                    let _ = reply.send(many);
                }
            }
            _ => {}
        }
    }
}
