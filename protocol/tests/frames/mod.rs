//! Frames of fixed keys: one of each kind, with the receiver and the roster that open them.

mod checkpoints;
mod operations;
mod parcels;

use std::sync::Arc;

use chorus_protocol::ids::{
    CurveKey, Digest, Incarnation, Label, MeshId, NodeId, Place, Role, Stamp,
};
use chorus_protocol::memory::checkpoint::Order;
use chorus_protocol::phase::field::{PartialSum, Scope, Sum};
use chorus_protocol::trust::item::{
    Address, Announcement, Claim, Delegation, Entry, Item, Revocation, Snapshot,
};
use chorus_protocol::trust::{Token, mesh_of};
use chorus_protocol::units::Micros;
use chorus_protocol::wire::envelope::{Receiver, Signer};
use chorus_protocol::wire::identity::PublicKey;
use chorus_protocol::wire::message::{
    Alive, Command, Deliver, Delivered, Echo, Echoed, Enrol, Heartbeat, Items, Message, PeerEntry,
    PeerNews, PeerState, PhaseNews, Probe, ProbeRequest, Refused, StampTold, SumNews,
};
use chorus_protocol::wire::{Audience, Channel, Identity, Refusal, Topic, Verified, open, seal};
use serde_bytes::ByteBuf;

/// Where the sender stands in its history.
pub const STAMP: Stamp = Stamp {
    incarnation: Incarnation::new(1, 7),
    lamport: 0x01_0203_0405,
};

/// One frame and what it was made from.
pub struct Sample {
    pub name: &'static str,
    pub topic: Option<Topic>,
    pub to: Option<Audience>,
    pub message: Message,
    pub frame: Vec<u8>,
}

/// Everybody.
pub struct Cast {
    pub root: Identity,
    pub sender: Identity,
    pub receiver: Identity,
    pub mesh: MeshId,
    pub key: PublicKey,
}

pub fn label(text: &str) -> Label {
    Label::new(text).expect("a label")
}

impl Cast {
    pub fn new() -> Self {
        let [root, sender, receiver] = [1, 2, 3].map(|seed| Identity::from_seed(&[seed; 32]));
        Self {
            mesh: mesh_of(&root.id()),
            key: PublicKey::new(&sender.id()).expect("a sound key"),
            root,
            sender,
            receiver,
        }
    }

    pub fn receiver_of<'a>(&'a self, node: &'a NodeId) -> Receiver<'a> {
        Receiver {
            mesh: &self.mesh,
            node,
            incarnation: Incarnation::new(0, 3),
        }
    }

    /// Opens as the receiver does whose roster holds the sender alone.
    pub fn open(
        &self,
        bytes: &[u8],
        channel: Channel,
        topic: Option<&Topic>,
    ) -> Result<Verified, Refusal> {
        let node = self.receiver.id();
        open(bytes, channel, topic, self.receiver_of(&node), |id| {
            if *id == self.sender.id() {
                Signer::Member(&self.key, STAMP.incarnation.floor())
            } else {
                Signer::Unknown
            }
        })
    }

    /// A frame around any body, signed as the sender would.
    pub fn signed(&self, channel: Channel, body: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 4] = [
            b"chorus/frame/1\0",
            self.mesh.as_bytes(),
            &[channel.byte()],
            body,
        ];
        let signature = self.sender.sign(&parts);
        [b"CHRS\x01".as_slice(), &signature, body].concat()
    }

    fn place() -> Place {
        Place {
            sector: label("s1"),
            cluster: label("c2"),
        }
    }

    /// A record, what stands under its key, and one question and answer of each kind.
    pub fn parcels(&self) -> Vec<(&'static str, Vec<u8>)> {
        parcels::all(self)
    }

    /// One item of each kind.
    pub fn items(&self) -> Vec<(&'static str, Vec<u8>)> {
        let node = self.sender.id();
        let entry = Entry {
            node,
            curve: CurveKey([0x44; 32]),
            name: label("s1-c2-a1"),
            role: Role::Agent,
            place: Self::place(),
            caps: vec![label("memory:write")],
            floor: 1,
            issued: 9,
            adopts: None,
        };
        let announcement = Announcement {
            node,
            stamp: STAMP,
            addresses: vec![Address {
                host: "a1.example".into(),
                router: 7400,
                publisher: 7401,
                subscriber: 7402,
                door: 7404,
                memory: 7403,
            }],
        };
        let revocation = Revocation {
            node,
            serial: 1,
            reason: "stolen".into(),
            adopted: 0,
        };
        let delegation = Delegation {
            node,
            may: vec![label("enrol")],
        };
        let snapshot = Snapshot {
            serial_upto: 1,
            entries: 2,
        };
        let by_root = |claim| Item::seal(&self.root, &self.mesh, &claim);
        vec![
            ("item_entry", by_root(Claim::Entry(Arc::new(entry)))),
            ("item_revocation", by_root(Claim::Revocation(revocation))),
            ("item_delegation", by_root(Claim::Delegation(delegation))),
            ("item_snapshot", by_root(Claim::Snapshot(snapshot))),
            (
                "item_announcement",
                Item::seal(
                    &self.sender,
                    &self.mesh,
                    &Claim::Announcement(Arc::new(announcement)),
                ),
            ),
        ]
    }

    /// A token of the root's own.
    pub fn token(&self) -> Vec<u8> {
        let token = Token {
            mesh: self.mesh,
            root: self.root.id(),
            enroller: self.root.id(),
            enroller_curve: CurveKey([0x33; 32]),
            doors: vec!["op.example:7404".into()],
            role: Role::Agent,
            place: Self::place(),
            name: Some(label("s1-c2-a1")),
            caps: vec![label("memory:write")],
            expires_s: 2_000_000_000,
            uses: 1,
            nonce: [0x55; 16],
        };
        token.seal(&self.root).expect("a sound token")
    }

    /// One frame of each kind of message and of each kind of command.
    pub fn samples(&self) -> Vec<Sample> {
        let (node, other) = (self.sender.id(), self.receiver.id());
        let heartbeats = Some(Topic::Heartbeat);
        let place = Self::place();
        let to = Some(Audience {
            node: other,
            incarnation: Some(Incarnation::new(0, 3)),
        });
        let sum = |scope, members: u32| Sum {
            scope,
            part: PartialSum {
                weight: f64::from(members),
                re: 1.5,
                im: -0.25,
                sum_omega: 6.5 * f64::from(members),
                members,
                age: Micros(120_000),
                lamport: 77,
            },
        };
        let items = || Items {
            items: self
                .items()
                .into_iter()
                .map(|(_, it)| ByteBuf::from(it))
                .collect(),
        };
        let sums = SumNews {
            own: sum(Scope::cluster(place.sector, place.cluster), 3),
            above: vec![sum(Scope::sector(place.sector), 9), sum(Scope::MESH, 30)],
            top: Role::Orchestrator,
        };
        let peer = PeerEntry {
            node: other,
            stamp: STAMP,
            state: PeerState::Suspect,
            theta: Some(0.5),
            age_ms: 1_200,
        };
        let deliver = |seq, command| {
            Message::Deliver(Deliver {
                seq,
                id: 40 + seq,
                command,
                age_ms: 0,
            })
        };
        let about = |seq, name, order| (name, None, to, deliver(seq, Command::Checkpoint(order)));
        let asked = |seq, name, order| (name, None, to, deliver(seq, Command::Operation(order)));
        let told = [
            (
                "phase",
                Some(Topic::Phase(place)),
                None,
                Message::Phase(PhaseNews {
                    place,
                    theta: 1.25,
                    omega: 6.5,
                    age_us: 0,
                }),
            ),
            (
                "sums",
                Some(Topic::ClusterSum(place.sector, place.cluster)),
                None,
                Message::Sums(sums),
            ),
            (
                "heartbeat",
                heartbeats,
                None,
                Message::Heartbeat(Heartbeat {
                    items: 5,
                    digest: Digest([0x66; 32]),
                    parent: Some(other),
                    late_us: 250,
                }),
            ),
            (
                "peers",
                heartbeats,
                None,
                Message::Peers(PeerNews { peers: vec![peer] }),
            ),
            (
                "probe",
                heartbeats,
                None,
                Message::Probe(Probe {
                    target: other,
                    nonce: 17,
                }),
            ),
            (
                "probe_request",
                heartbeats,
                None,
                Message::ProbeRequest(ProbeRequest {
                    target: other,
                    via: vec![node],
                    nonce: 18,
                }),
            ),
            (
                "alive",
                heartbeats,
                None,
                Message::Alive(Alive {
                    node,
                    stamp: None,
                    nonce: 17,
                }),
            ),
            ("echo", None, to, Message::Echo(Echo { sent_us: 123_456 })),
            (
                "echoed",
                None,
                to,
                Message::Echoed(Echoed {
                    sent_us: 123_456,
                    hold_us: 78,
                }),
            ),
            ("stamp_ask", None, to, Message::StampAsk),
            (
                "stamp_told",
                None,
                to,
                Message::StampTold(StampTold { stamp: Some(STAMP) }),
            ),
            ("deliver_attach", None, to, deliver(1, Command::Attach)),
            (
                "deliver_attached",
                None,
                to,
                deliver(2, Command::Attached { accepted: true }),
            ),
            ("deliver_detach", None, to, deliver(3, Command::Detach)),
            (
                "deliver_pull",
                None,
                to,
                deliver(
                    4,
                    Command::Pull {
                        buckets: vec![0x77; 256 * 8],
                    },
                ),
            ),
            ("deliver_page", None, to, deliver(5, Command::Page(items()))),
            about(6, "deliver_have", checkpoints::have()),
            about(7, "deliver_open", checkpoints::open()),
            about(8, "deliver_part", Order::Part(checkpoints::chunk(self))),
            about(9, "deliver_copy", Order::Copy(checkpoints::chunk(self))),
            about(10, "deliver_held", checkpoints::held()),
            about(11, "deliver_durable", checkpoints::durable(self)),
            asked(12, "deliver_census", operations::census()),
            asked(13, "deliver_ask", operations::ask(self)),
            asked(14, "deliver_said", operations::said(self)),
            asked(15, "deliver_readings", operations::readings(self)),
            (
                "delivered",
                None,
                to,
                Message::Delivered(Delivered {
                    session: Incarnation::new(0, 3),
                    seq: 5,
                }),
            ),
            (
                "enrol",
                None,
                None,
                Message::Enrol(Enrol {
                    token: self.token(),
                    curve: CurveKey([0x44; 32]),
                    name: None,
                }),
            ),
            ("welcome", None, None, Message::Welcome(items())),
            ("introduce", None, None, Message::Introduce(items())),
            ("introduced", None, None, Message::Introduced),
            (
                "refused",
                None,
                None,
                Message::Refused(Refused {
                    code: "token_used".into(),
                    reason: "the token has been used up; ask for a new one".into(),
                }),
            ),
        ];
        told.into_iter()
            .map(|(name, topic, to, message)| Sample {
                name,
                topic,
                to,
                frame: seal(&self.sender, &self.mesh, STAMP, to, &message),
                message,
            })
            .collect()
    }
}
