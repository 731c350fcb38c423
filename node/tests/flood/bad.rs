//! Bad frames, each with the one counter under which a node must refuse it.

use chorus_protocol::ids::{Incarnation, NodeId, Place, Role, Stamp};
use chorus_protocol::phase::field::{PartialSum, Scope, Sum};
use chorus_protocol::trust::mesh_of;
use chorus_protocol::units::{Micros, Noise, Seeded};
use chorus_protocol::wire::envelope::Receiver;
use chorus_protocol::wire::identity::PublicKey;
use chorus_protocol::wire::message::{Echo, Items, PhaseNews, SumNews};
use chorus_protocol::wire::{Audience, Channel, Identity, Message, Signer, Topic, open, seal};

use crate::client::{Member, Target};
use crate::mutate::mutate;

/// Bytes before the body of a frame.
const HEAD: usize = 69;
/// A body's beginning up to and with its sender.
const SENDER: usize = 8 + 32;

/// A frame, where it goes, and what the node must count for it.
pub struct Shot {
    pub channel: Channel,
    pub topic: Vec<u8>,
    pub bytes: Vec<u8>,
    pub counter: &'static str,
}

/// Who signs bad frames, with what a good member said, as anybody may have recorded it.
pub struct Villain {
    pub member: Member,
    pub revoked: Identity,
    pub place: Place,
    /// Frames of the good member: channel, topic, bytes. The first is a phase that the
    /// node has applied.
    pub recorded: Vec<(Channel, Vec<u8>, Vec<u8>)>,
}

impl Villain {
    fn phase(&self, theta: f64) -> Message {
        Message::Phase(PhaseNews {
            place: self.place,
            theta,
            omega: 6.5,
            age_us: 0,
        })
    }

    /// A recorded frame, damaged: after its signature was made, so that it can only be
    /// refused, or before this villain signs it, so that the damage reaches the decoder.
    /// None where the damage left a sound frame.
    pub fn mutated(
        &self,
        good: &Member,
        target: &Target,
        noise: &mut Seeded,
        sign: bool,
    ) -> Option<Shot> {
        let count = self.recorded.len() as u64;
        let [from, other] = [0; 2].map(|_| &self.recorded[(noise.bits() % count) as usize]);
        let (channel, topic) = (from.0, from.1.clone());
        let bytes = if sign {
            let mut body = from.2[HEAD..].to_vec();
            body[8..SENDER].copy_from_slice(self.member.identity.id().as_bytes());
            mutate(&mut body, &other.2[HEAD..], noise);
            self.member.signed(channel, &body)
        } else {
            let mut bytes = from.2.clone();
            mutate(&mut bytes, &other.2, noise);
            bytes
        };
        let counter = self.refusal(&bytes, channel, &topic, good, target)?;
        Some(Shot {
            channel,
            topic,
            bytes,
            counter,
        })
    }

    /// What the rules of the wire say of these bytes; none if they are sound.
    fn refusal(
        &self,
        bytes: &[u8],
        channel: Channel,
        topic: &[u8],
        good: &Member,
        target: &Target,
    ) -> Option<&'static str> {
        let receiver = Receiver {
            mesh: &target.mesh,
            node: &target.node,
            incarnation: target.incarnation,
        };
        let members = [&self.member, good].map(|it| {
            let id = it.identity.id();
            (id, PublicKey::new(&id).unwrap(), it.incarnation.floor())
        });
        let revoked = self.revoked.id();
        let roster = |from: &NodeId| match members.iter().find(|it| it.0 == *from) {
            Some((_, key, floor)) => Signer::Member(key, *floor),
            None if *from == target.node => Signer::Member(&target.key, target.incarnation.floor()),
            None if *from == revoked => Signer::Revoked,
            None => Signer::Unknown,
        };
        let topic = Topic::parse(topic);
        open(bytes, channel, topic.as_ref(), receiver, roster)
            .err()
            .map(|why| why.counter())
    }

    /// One frame of each kind that the row names, on gossip and on the link.
    pub fn each_kind(&mut self, target: &Target) -> Vec<Shot> {
        let topic = Topic::Phase(self.place).to_bytes();
        let mut shots = Vec::new();
        let mut on_gossip = |counter, bytes| {
            shots.push(Shot {
                channel: Channel::Gossip,
                topic: topic.clone(),
                bytes,
                counter,
            });
        };
        let stamp = self.member.stamp();
        let (me, mesh) = (&self.member.identity, self.member.mesh);
        let good = seal(me, &mesh, stamp, None, &self.phase(1.0));
        let body = &good[HEAD..];
        let sign = |body: &[u8]| self.member.signed(Channel::Gossip, body);
        let begun = |rest: &[u8]| sign(&[&body[..SENDER], rest].concat());
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let stranger = Identity::from_seed(&[0x5a; 32]);
        let elsewhere = mesh_of(&stranger.id());
        let re_enrolled = Stamp {
            incarnation: Incarnation::new(stamp.incarnation.floor() + 1, 1),
            ..stamp
        };
        on_gossip("forged", with(good.len() - 1, good[good.len() - 1] ^ 1));
        on_gossip("forged", with(20, good[20] ^ 0x80));
        on_gossip("truncated", good[..good.len() - 1].to_vec());
        on_gossip("truncated", begun(&[]));
        on_gossip("trailing", [good.as_slice(), &[0]].concat());
        on_gossip("trailing", sign(&[body, &[0xc0; 100]].concat()));
        on_gossip("oversized", begun(&[0xa4; 8_000]));
        on_gossip("oversized", vec![0; 60_000]);
        on_gossip("too_deep", begun(&[0x91; 3_000]));
        on_gossip("bad_type", begun(&[0xc1; 40]));
        on_gossip("not_finite", self.sealed(stamp, &self.phase(f64::NAN)));
        on_gossip("not_finite", self.sealed(stamp, &self.phase(f64::INFINITY)));
        on_gossip("wrong_version", with(4, 2));
        on_gossip("not_a_frame", with(0, b'X'));
        on_gossip("not_a_frame", Vec::new());
        on_gossip("bad_shape", with(HEAD, 0x87));
        let phase = self.phase(1.0);
        on_gossip("wrong_mesh", seal(me, &elsewhere, stamp, None, &phase));
        on_gossip(
            "unknown_signer",
            seal(&stranger, &mesh, stamp, None, &phase),
        );
        let revoked = seal(&self.revoked, &mesh, stamp, None, &phase);
        on_gossip("revoked_signer", revoked);
        on_gossip("old_enrolment", self.sealed(re_enrolled, &phase));
        // A good member's frame, repeated over another's link.
        on_gossip("second_hand", self.recorded[0].2.clone());
        shots.push(Shot {
            channel: Channel::Gossip,
            topic: b"hb".to_vec(),
            bytes: good.clone(),
            counter: "wrong_topic",
        });
        let to_another_run = Audience {
            node: target.node,
            incarnation: Some(Incarnation(target.incarnation.0 + 1)),
        };
        let to_another = Audience {
            node: stranger.id(),
            incarnation: None,
        };
        for to in [to_another_run, to_another] {
            let echo = Message::Echo(Echo { sent_us: 0 });
            shots.push(Shot {
                channel: Channel::Link,
                topic: Vec::new(),
                bytes: seal(me, &mesh, stamp, Some(to), &echo),
                counter: "wrong_audience",
            });
        }
        // Said on one channel, it is forged on another.
        shots.push(Shot {
            channel: Channel::Link,
            topic: Vec::new(),
            bytes: good,
            counter: "forged",
        });
        shots
    }

    fn sealed(&self, stamp: Stamp, message: &Message) -> Vec<u8> {
        let it = &self.member;
        seal(&it.identity, &it.mesh, stamp, None, message)
    }

    /// Sound frames of this villain that lie: about the time (it stands at 2^63), about
    /// its frequency, and about a sum that is larger than its weight.
    pub fn lies(&mut self) -> Vec<Shot> {
        let place = self.place;
        let phase = Topic::Phase(place).to_bytes();
        let mut shot = |topic, message: Message, counter| Shot {
            channel: Channel::Gossip,
            topic,
            bytes: self.member.seal(None, &message),
            counter,
        };
        let news = |theta, omega| {
            Message::Phase(PhaseNews {
                place,
                theta,
                omega,
                age_us: 0,
            })
        };
        let first = shot(phase.clone(), news(2.0, 6.5), "applied");
        let sum = Sum {
            scope: Scope::cluster(place.sector, place.cluster),
            part: PartialSum {
                weight: 1.0,
                re: 50.0,
                im: 0.0,
                sum_omega: 6.5,
                members: 1,
                age: Micros(0),
                lamport: 1,
            },
        };
        let sums = Message::Sums(SumNews {
            own: sum,
            above: Vec::new(),
            top: Role::Lead,
        });
        let of_cluster = Topic::ClusterSum(place.sector, place.cluster).to_bytes();
        let again = Shot {
            bytes: first.bytes.clone(),
            topic: phase.clone(),
            counter: "stale",
            ..first
        };
        let absurd = shot(phase, news(2.0, 1e9), "absurd");
        vec![first, again, absurd, shot(of_cluster, sums, "absurd")]
    }

    /// What a stranger may try at the door, and what is counted for it.
    pub fn at_the_door(
        &mut self,
        good: &Member,
        target: &Target,
        noise: &mut Seeded,
    ) -> Vec<(Vec<u8>, &'static str)> {
        let introduce = Message::Introduce(Items {
            items: vec![serde_bytes::ByteBuf::from(self.member.entry.bytes())],
        });
        let sound = self.member.seal(None, &introduce);
        let stamp = self.member.stamp();
        let stranger = Identity::from_seed(&[0x5b; 32]);
        let told = seal(&stranger, &target.mesh, stamp, None, &Message::Introduced);
        let unwanted = self.member.seal(None, &Message::Introduced);
        let mut flipped = sound.clone();
        flipped[sound.len() - 1] ^= 1;
        let deep = [&sound[HEAD..HEAD + SENDER], &[0x91; 3_000]].concat();
        let mut shots = vec![
            (flipped, "forged"),
            (sound[..sound.len() - 3].to_vec(), "truncated"),
            ([sound.as_slice(), b"more"].concat(), "trailing"),
            (self.member.signed(Channel::Door, &deep), "too_deep"),
            (self.recorded[0].2.clone(), "forged"),
            (told, "unknown_signer"),
            (unwanted, "door_unwanted"),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "not_a_frame"),
        ];
        for _ in 0..6 {
            let mut bytes = sound.clone();
            mutate(&mut bytes, &self.recorded[0].2, noise);
            bytes.truncate(4_000); // what is longer never passes the door's socket
            if let Some(counter) = self.refusal(&bytes, Channel::Door, b"", good, target) {
                shots.push((bytes, counter));
            }
        }
        shots
    }
}
