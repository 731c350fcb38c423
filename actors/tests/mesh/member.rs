//! A member whose keys are good and whose words are not: what it gives and answers is what
//! a test wants it to.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use chorus_actors::memory::realm::{Event, Limits, Order, Realms, Settings, Why};
use chorus_protocol::causality::version::{Dot, Replica, Version};
use chorus_protocol::ids::MeshId;
use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::parcel::{Answer, Question};
use chorus_protocol::memory::record::{Record, Write};
use chorus_protocol::wire::codec;
use serde::Serialize;
use serde_bytes::ByteBuf;
use tokio::sync::{mpsc, oneshot};

use super::*;

/// What it answers to a question.
pub type Answers = fn(&Question) -> Vec<u8>;

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Result<Vec<u8>, Why>>>>>;

pub struct Liar {
    pub identity: Identity,
    pub mesh: MeshId,
    realms: Arc<Realms>,
    realm: Label,
    waiting: Waiting,
    next: u64,
    /// What was put to it.
    pub puts: mpsc::UnboundedReceiver<Vec<u8>>,
    /// What it was asked, beside the answers that it gave.
    pub asked: mpsc::UnboundedReceiver<Question>,
}

/// The body of a record, with whatever in it.
#[derive(Serialize, Clone)]
pub struct Body {
    pub key: String,
    pub since: Incarnation,
    pub lam: u64,
    pub seen: Vec<(NodeId, Incarnation, u64)>,
    pub val: Option<ByteBuf>,
    pub exp: Option<u64>,
}

impl Body {
    pub fn of(key: &str, lam: u64, value: &[u8]) -> Self {
        Self {
            key: key.into(),
            since: Incarnation(1),
            lam,
            seen: Vec::new(),
            val: Some(ByteBuf::from(value)),
            exp: None,
        }
    }

    /// Signed as a record is, whatever it says.
    pub fn seal(&self, identity: &Identity, mesh: &MeshId) -> Vec<u8> {
        let body = codec::encode(self);
        let author = identity.id();
        let signature = identity.sign(&[b"chorus/memory/1\0", &mesh.0, &author.0, &body]);
        [&author.0[..], &signature, &body].concat()
    }
}

/// What an honest member answers that has nothing, and is content.
pub fn content(question: &Question) -> Vec<u8> {
    codec::encode(&match question {
        Question::Sum(_) => Answer::Same,
        Question::Leaves(_) | Question::Strays(_) => Answer::Heads(Vec::new()),
        Question::Fetch(_) => Answer::Records(Vec::new()),
        Question::Push(all) => Answer::Taken(all.len() as u32),
        Question::Stored { .. } => Answer::Taken(0),
        Question::Look(_) => Answer::Seen {
            nodes: Vec::new(),
            others: Vec::new(),
        },
    })
}

impl Liar {
    /// Connects to a node as the member of this seat.
    pub async fn start(seat: &Seat, root: &NodeId, victim: &Node, answers: Answers) -> Self {
        let identity = Identity::from_seed(&seat.seed);
        let mesh = chorus_protocol::trust::mesh_of(root);
        let realms = chorus_actors::memory::realms(seat.entry.place.sector);
        let settings = Settings {
            seed: seat.seed,
            mesh,
            realms: realms.clone(),
            // Who does not listen is put nothing.
            listen: Some((Ipv4Addr::LOCALHOST, 0).into()),
            lookup: Arc::new(|_| None),
            limits: Limits {
                // More than others take.
                ask_bytes_max: 8 * 1024 * 1024,
                asks_per_peer: 64,
                ..Limits::default()
            },
        };
        // It waits for a runtime of its own, which it may not do on this one.
        let started = tokio::task::spawn_blocking(|| Realms::start(settings)).await;
        let (network, mut events) = started.unwrap().unwrap();
        let network = Arc::new(network);
        let victim_id = victim.id();
        let members = [victim_id].into_iter().collect();
        network.order(Order::Members(members)).unwrap();
        let addrs = vec![victim.memory_address().unwrap()];
        let node = victim_id;
        for realm in &realms {
            let (realm, addrs) = (*realm, addrs.clone());
            network.order(Order::Peer { realm, node, addrs }).unwrap();
        }
        network.order(Order::Dial { node, addrs }).unwrap();
        let waiting = Waiting::default();
        let (connected, is_connected) = oneshot::channel();
        let (put, puts) = mpsc::unbounded_channel();
        let (ask, asked) = mpsc::unbounded_channel();
        let (answering, of) = (Arc::downgrade(&network), waiting.clone());
        tokio::spawn(async move {
            let mut connected = Some(connected);
            while let Some(event) = events.recv().await {
                match event {
                    Event::Connected(_) => {
                        if let Some(connected) = connected.take() {
                            let _ = connected.send(());
                        }
                    }
                    Event::Put { value, .. } => drop(put.send(value)),
                    Event::Asked { bytes, reply, .. } => {
                        let question: Question = codec::decode(&bytes).unwrap();
                        let bytes = answers(&question);
                        if let Some(network) = answering.upgrade() {
                            let _ = network.order(Order::Answer { reply, bytes });
                        }
                        let _ = ask.send(question);
                    }
                    Event::Answered { id, result, .. } => {
                        if let Some(reply) = of.lock().unwrap().remove(&id) {
                            let _ = reply.send(result);
                        }
                    }
                    _ => {}
                }
            }
        });
        is_connected.await.unwrap();
        // A node speaks with those of its own sector in the sector's realm, else in the
        // backbone's; the victims of these tests are of other sectors.
        let realm = *realms.last().unwrap();
        Self {
            identity,
            mesh,
            realms: network,
            realm,
            waiting,
            next: 0,
            puts,
            asked,
        }
    }

    /// Asks, and waits for the answer.
    pub async fn ask_bytes(&mut self, to: &Node, bytes: Vec<u8>) -> Result<Vec<u8>, Why> {
        self.next += 1;
        let (reply, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(self.next, reply);
        let (id, to) = (self.next, to.id());
        self.realms.order(Order::Ask { id, to, bytes }).unwrap();
        answer.await.unwrap()
    }

    pub async fn ask(&mut self, to: &Node, question: &Question) -> Option<Answer> {
        let answer = self.ask_bytes(to, codec::encode(question)).await;
        answer.ok().and_then(|bytes| codec::decode(&bytes).ok())
    }

    /// Pushes records, and says how many of them were new.
    pub async fn push(&mut self, to: &Node, records: Vec<Vec<u8>>) -> u32 {
        let records = records.into_iter().map(ByteBuf::from).collect();
        match self.ask(to, &Question::Push(records)).await {
            Some(Answer::Taken(new)) => new,
            other => panic!("no answer to a push: {other:?}"),
        }
    }

    /// Puts bytes as a fresh write.
    pub fn put(&mut self, to: &Node, key: [u8; 32], value: Vec<u8>) {
        self.next += 1;
        let order = Order::Put {
            id: self.next,
            realm: self.realm,
            key,
            value,
            to: vec![to.id()],
        };
        self.realms.order(order).unwrap();
    }

    /// A record of its own that is as it should be.
    pub fn record(&self, key: &str, lamport: u64, value: &[u8]) -> Record {
        let write = Write {
            key: Key::new(key).unwrap(),
            dot: Dot {
                replica: Replica {
                    node: self.identity.id(),
                    since: Incarnation(1),
                },
                lamport,
            },
            seen: Version::default(),
            value: Some(value.to_vec()),
            expires_s: None,
        };
        Record::seal(&self.identity, &self.mesh, write).unwrap()
    }
}
