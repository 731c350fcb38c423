//! A member played by the test: the keys of a real home, and its links to a live node.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use chorus_actors::transport::sockets::CurveKeys;
use chorus_protocol::ids::{Incarnation, MeshId, NodeId, Stamp};
use chorus_protocol::trust::{Claim, Item, mesh_of};
use chorus_protocol::wire::envelope::Receiver;
use chorus_protocol::wire::identity::PublicKey;
use chorus_protocol::wire::message::{Command, Deliver, Delivered, Echo, Probe};
use chorus_protocol::wire::{Audience, Channel, Identity, Message, Signer, Topic, open, seal};
use chorus_storage::Home;
use chorus_storage::home::read_key;
use serde_json::Value;

/// How long a live node may take to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The node that is spoken to, as its home says.
pub struct Target {
    pub mesh: MeshId,
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub key: PublicKey,
    pub curve: [u8; 32],
    addresses: Value,
}

impl Target {
    pub fn of(home: &Path, incarnation: u64) -> Self {
        let home = Home::at(home);
        let root = std::fs::read_to_string(home.mesh().join("root.pub")).unwrap();
        let node = Identity::from_seed(&read_key(&home.node_key()).unwrap()).id();
        let addresses = std::fs::read(home.addresses()).unwrap();
        Self {
            mesh: mesh_of(&root.trim().parse().unwrap()),
            node,
            incarnation: Incarnation(incarnation),
            key: PublicKey::new(&node).unwrap(),
            curve: CurveKeys::from_secret(read_key(&home.curve_key()).unwrap()).public,
            addresses: serde_json::from_slice(&addresses).unwrap(),
        }
    }

    /// Where one of its sockets, or its metrics, are.
    pub fn at(&self, what: &str) -> String {
        let at = self.addresses[what].as_str().unwrap();
        at.replace("0.0.0.0", "127.0.0.1")
    }

    /// Its page of metrics.
    pub fn metrics(&self) -> String {
        let url = self.at("metrics");
        let (host, path) = url
            .strip_prefix("http://")
            .unwrap()
            .split_once('/')
            .unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }
}

/// What a member is: its keys, its run and its Lamport time.
pub struct Member {
    pub identity: Identity,
    pub curve: CurveKeys,
    pub mesh: MeshId,
    pub entry: Item,
    pub incarnation: Incarnation,
    pub lamport: u64,
}

impl Member {
    /// The member whose home this is; no process of its own may run.
    pub fn of(home: &Path, mesh: MeshId) -> Self {
        let home = Home::at(home);
        let entry = std::fs::read(home.mesh().join("entry")).unwrap();
        let entry = Item::open(&entry, &mesh).unwrap();
        let Claim::Entry(claim) = entry.claim() else {
            panic!("the home keeps no entry");
        };
        Self {
            identity: Identity::from_seed(&read_key(&home.node_key()).unwrap()),
            curve: CurveKeys::from_secret(read_key(&home.curve_key()).unwrap()),
            mesh,
            incarnation: Incarnation::new(claim.floor, 1),
            lamport: 0,
            entry,
        }
    }

    /// The stamp of the next frame.
    pub fn stamp(&mut self) -> Stamp {
        self.lamport += 1;
        Stamp {
            incarnation: self.incarnation,
            lamport: self.lamport,
        }
    }

    pub fn seal(&mut self, to: Option<Audience>, message: &Message) -> Vec<u8> {
        let stamp = self.stamp();
        seal(&self.identity, &self.mesh, stamp, to, message)
    }

    /// A frame around any body, signed as this member would.
    pub fn signed(&self, channel: Channel, body: &[u8]) -> Vec<u8> {
        let mesh = self.mesh.as_bytes();
        let parts: [&[u8]; 4] = [b"chorus/frame/1\0", mesh, &[channel.byte()], body];
        let signature = self.identity.sign(&parts);
        [b"CHRS\x01".as_slice(), &signature, body].concat()
    }
}

/// Its three sockets, connected as WIRE.md section 4 says.
pub struct Links {
    pub dealer: zmq::Socket,
    pub hears: zmq::Socket,
    pub tells: zmq::Socket,
    /// Sequence number of the last command sent, and of the last that came.
    delivered: u64,
    taken: u64,
    nonce: u64,
    /// Messages given to the gossip sockets, the link and the door.
    pub sent: [u64; 3],
}

/// A socket of `curve`, not connected yet.
pub fn socket(
    context: &zmq::Context,
    kind: zmq::SocketType,
    curve: &CurveKeys,
    target: &Target,
) -> zmq::Socket {
    let socket = context.socket(kind).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_sndtimeo(PATIENCE.as_millis() as i32).unwrap();
    socket.set_curve_serverkey(&target.curve).unwrap();
    socket.set_curve_publickey(&curve.public).unwrap();
    socket.set_curve_secretkey(&curve.secret).unwrap();
    socket
}

impl Links {
    /// Connects; returns when the node answers on each of them.
    pub fn new(context: &zmq::Context, member: &mut Member, target: &Target) -> Self {
        let connected = |kind, at| {
            let socket = socket(context, kind, &member.curve, target);
            socket.connect(&target.at(at)).unwrap();
            socket
        };
        let mut links = Self {
            dealer: connected(zmq::DEALER, "router"),
            hears: connected(zmq::SUB, "publisher"),
            tells: connected(zmq::PUB, "subscriber"),
            delivered: 0,
            taken: 0,
            // Everybody hears the answers to everybody's probes.
            nonce: u64::from(member.identity.id().as_bytes()[0]) << 32,
            sent: [0; 3],
        };
        links.hears.set_subscribe(Topic::HEARTBEATS).unwrap();
        // A publisher loses what it says before it knows its subscriber.
        let deadline = Instant::now() + PATIENCE;
        while !links.answers(member, target, Duration::from_millis(100)) {
            assert!(Instant::now() < deadline, "the node never answered a probe");
        }
        links
    }

    pub fn publish(&mut self, topic: &[u8], frame: &[u8]) {
        self.sent[0] += 1;
        self.tells.send_multipart([topic, frame], 0).unwrap();
    }

    pub fn tell(&mut self, frame: &[u8]) {
        self.sent[1] += 1;
        self.dealer.send(frame, 0).unwrap();
    }

    /// Waits until the node has handled all that was published before.
    pub fn settle(&mut self, member: &mut Member, target: &Target) {
        assert!(
            self.answers(member, target, PATIENCE),
            "a probe was lost: the node does not answer"
        );
    }

    fn answers(&mut self, member: &mut Member, target: &Target, within: Duration) -> bool {
        self.nonce += 1;
        let probe = Message::Probe(Probe {
            target: target.node,
            nonce: self.nonce,
        });
        let frame = member.seal(None, &probe);
        self.publish(Topic::HEARTBEATS, &frame);
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self
                .hears
                .poll(zmq::POLLIN, left.as_millis() as i64)
                .unwrap()
                == 0
            {
                return false;
            }
            let parts = self.hears.recv_multipart(0).unwrap();
            let topic = Topic::parse(&parts[0]);
            let heard = take(&parts[1], Channel::Gossip, topic.as_ref(), member, target);
            if matches!(heard, Some(Message::Alive(it)) if it.nonce == self.nonce) {
                return true;
            }
        }
    }

    /// Sends an echo and a command over the link and waits for their answers: the very
    /// number, and the acknowledgement of this and of all commands before.
    pub fn exchange(&mut self, member: &mut Member, target: &Target) {
        let to = Some(Audience {
            node: target.node,
            incarnation: Some(target.incarnation),
        });
        self.nonce += 1;
        self.delivered += 1;
        let echo = Message::Echo(Echo {
            sent_us: self.nonce,
        });
        let deliver = Message::Deliver(Deliver {
            seq: self.delivered,
            id: self.delivered,
            command: Command::Attach,
            age_ms: 0,
        });
        for message in [&echo, &deliver] {
            self.tell(&member.seal(to, message));
        }
        let (mut echoed, mut acknowledged) = (false, false);
        let deadline = Instant::now() + PATIENCE;
        while !(echoed && acknowledged) {
            assert!(Instant::now() < deadline, "the link does not answer");
            if self.dealer.poll(zmq::POLLIN, 100).unwrap() == 0 {
                continue;
            }
            let parts = self.dealer.recv_multipart(0).unwrap();
            match take(&parts[0], Channel::Link, None, member, target) {
                Some(Message::Echoed(it)) => echoed |= it.sent_us == self.nonce,
                Some(Message::Delivered(it)) => {
                    assert!(it.seq <= self.delivered);
                    acknowledged |= it.seq == self.delivered;
                }
                // The node's own commands want an acknowledgement too.
                Some(Message::Deliver(it)) => {
                    self.taken += u64::from(it.seq == self.taken + 1);
                    let ack = Message::Delivered(Delivered {
                        session: target.incarnation,
                        seq: self.taken,
                    });
                    self.tell(&member.seal(to, &ack));
                }
                _ => {}
            }
        }
    }

    /// Says all of `before` at the door and then asks, over one new connection as every
    /// stranger does; returns the answer, none where there is no authentic one.
    pub fn knock(
        &mut self,
        context: &zmq::Context,
        member: &mut Member,
        target: &Target,
        before: &[&[u8]],
        question: &Message,
    ) -> Option<Message> {
        let door = socket(context, zmq::DEALER, &member.curve, target);
        door.connect(&target.at("door")).unwrap();
        let frame = member.seal(None, question);
        for bytes in before.iter().copied().chain([frame.as_slice()]) {
            self.sent[2] += 1;
            door.send(bytes, 0).unwrap();
        }
        // What comes before may be answers to what was said before, for others' eyes.
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if door.poll(zmq::POLLIN, 100).unwrap() > 0 {
                let answer = door.recv_multipart(0).unwrap();
                let taken = take(&answer[0], Channel::Door, None, member, target);
                if taken.is_some() {
                    return taken;
                }
            }
        }
        None
    }
}

/// What the node said, if it is authentic and for this member.
fn take(
    frame: &[u8],
    channel: Channel,
    topic: Option<&Topic>,
    member: &Member,
    target: &Target,
) -> Option<Message> {
    let own = member.identity.id();
    let receiver = Receiver {
        mesh: &target.mesh,
        node: &own,
        incarnation: member.incarnation,
    };
    let floor = target.incarnation.floor();
    let signer = |from: &NodeId| match *from == target.node {
        true => Signer::Member(&target.key, floor),
        false => Signer::Unknown,
    };
    open(frame, channel, topic, receiver, signer)
        .ok()
        .map(|it| it.message)
}
