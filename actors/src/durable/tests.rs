//! What waits for the disk, on a disk and sockets that the test plays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chorus_protocol::ids::{Label, Place, Role};
use chorus_protocol::trust::directory::{BUCKET_BYTES, BUCKETS, Directory};
use chorus_protocol::trust::door::{Closed, Door};
use chorus_protocol::trust::item::{Claim, Entry, Item};
use chorus_protocol::trust::token::{Token, nonce};
use chorus_protocol::trust::{found, mesh_of};
use chorus_protocol::wire::Identity;
use chorus_protocol::wire::message::{Command, Enrol, Items};
use ractor::Actor;
use tokio::sync::mpsc::{
    UnboundedReceiver as Receiver, UnboundedSender as Sender, unbounded_channel as channel,
};

use super::*;
use crate::directory::{Arguments, DirectoryActor};
use crate::memory::ToMemory;
use crate::messages::{Ring, ToCheckpoints, ToGossip, ToTransport};
use crate::store::{Done, StoreHandle};

/// An actor that hands on what it is told.
struct Ear<M>(std::marker::PhantomData<fn(M)>);

impl<M: ractor::Message> Actor for Ear<M> {
    type Msg = M;
    type State = Sender<M>;
    type Arguments = Sender<M>;
    async fn pre_start(
        &self,
        _: ActorRef<M>,
        to: Sender<M>,
    ) -> Result<Sender<M>, ActorProcessingErr> {
        Ok(to)
    }
    async fn handle(
        &self,
        _: ActorRef<M>,
        message: M,
        to: &mut Sender<M>,
    ) -> Result<(), ActorProcessingErr> {
        let _ = to.send(message);
        Ok(())
    }
}

pub(crate) async fn ear<M: ractor::Message>() -> (ActorRef<M>, Receiver<M>) {
    let (sender, receiver) = channel();
    let ear = Ear(std::marker::PhantomData);
    (Actor::spawn(None, ear, sender).await.unwrap().0, receiver)
}

/// An enroller's directory, whose disk and sockets are played by the test.
struct Enroller {
    root: Identity,
    actor: ActorRef<ToDirectory>,
    disk: Box<dyn FnMut() -> Option<(Vec<Write>, Done)>>,
    told: Receiver<ToTransport>,
    _gossip: Receiver<ToGossip>,
    _memory: Receiver<ToMemory>,
    _checkpoints: Receiver<ToCheckpoints>,
}

const CURVE: CurveKey = CurveKey([9; 32]);
const SOON: Duration = Duration::from_secs(10);

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}
fn place() -> Place {
    let label = label("s1");
    Place {
        sector: label,
        cluster: label,
    }
}

impl Enroller {
    async fn new() -> Self {
        let (root, identity) = ([1; 32], [2; 32]);
        let (root, identity) = (Identity::from_seed(&root), Identity::from_seed(&identity));
        let (mesh, own) = (mesh_of(&root.id()), identity.id());
        let curve = CurveKey([2; 32]);
        let items = found(&root, own, curve, label("op"), Role::Orchestrator, place());
        let (directory, _) = Directory::new(mesh, root.id(), own, &items);
        let (store, disk) = StoreHandle::by_hand();
        let ring = Arc::new(Ring::default());
        let (transport, told) = ear().await;
        let (gossip, _gossip) = ear().await;
        let (memory, _memory) = ear().await;
        ring.transport.set(transport).unwrap();
        ring.gossip.set(gossip).unwrap();
        ring.memory.set(memory).unwrap();
        let (checkpoints, _checkpoints) = ear().await;
        ring.checkpoints.set(checkpoints).unwrap();
        let arguments = Arguments {
            mesh,
            identity: Arc::new(identity),
            root_key: None,
            directory,
            forget: Vec::new(),
            door: Door::new(mesh, own, [0; 8], Closed::default(), []),
            epoch: Instant::now(),
            store,
            ring,
        };
        let actor = Actor::spawn(None, DirectoryActor, arguments).await;
        Self {
            root,
            actor: actor.unwrap().0,
            disk: Box::new(disk),
            told,
            _gossip,
            _memory,
            _checkpoints,
        }
    }

    fn entry(&self, key: NodeId) -> Entry {
        Entry {
            node: key,
            curve: CURVE,
            name: label("a"),
            role: Role::Agent,
            place: place(),
            caps: Vec::new(),
            floor: 0,
            issued: 7,
            adopts: None,
        }
    }

    fn enrol(&self, key: NodeId, way: u8) {
        let enroller = Identity::from_seed(&[2; 32]);
        let token = Token {
            mesh: mesh_of(&self.root.id()),
            root: self.root.id(),
            enroller: enroller.id(),
            enroller_curve: CurveKey([2; 32]),
            doors: vec!["127.0.0.1:1".into()],
            role: Role::Agent,
            place: place(),
            name: None,
            caps: Vec::new(),
            expires_s: u64::MAX,
            uses: 1,
            nonce: nonce([0; 8], [1; 8]),
        };
        let enrol = Enrol {
            token: token.seal(&enroller).unwrap(),
            curve: CURVE,
            name: None,
        };
        let reply = DoorReply(vec![way]);
        let (link, key) = (CURVE, key);
        let message = ToDirectory::Enrol {
            key,
            link,
            enrol,
            reply,
        };
        self.actor.cast(message).unwrap();
    }

    fn introduce(&self, key: NodeId, link: CurveKey, item: Vec<u8>) {
        let items = Items {
            items: vec![item.into()],
        };
        let reply = DoorReply(vec![0]);
        let message = ToDirectory::Introduce {
            key,
            link,
            items,
            reply,
        };
        self.actor.cast(message).unwrap();
    }

    /// The next write, to be ended by the test.
    async fn write(&mut self) -> (Vec<Write>, Done) {
        let began = Instant::now();
        loop {
            if let Some(write) = (self.disk)() {
                return write;
            }
            assert!(began.elapsed() < SOON, "nothing is written");
            tokio::task::yield_now().await;
        }
    }

    /// To whom the door speaks next, and what.
    async fn answer(&mut self) -> (u8, String) {
        loop {
            let message = tokio::time::timeout(SOON, self.told.recv()).await;
            if let ToTransport::AnswerDoor(reply, _, message) = message.unwrap().unwrap() {
                let word = match message {
                    Message::Refused(it) => it.code,
                    other => other.name().into(),
                };
                return (reply.0[0], word);
            }
        }
    }

    /// Nothing more is under way in the actor, and the door has said nothing.
    async fn silent(&mut self) {
        let (reply, seen) = tokio::sync::oneshot::channel();
        self.actor.cast(ToDirectory::Inspect(reply)).unwrap();
        seen.await.unwrap();
        while let Ok(message) = self.told.try_recv() {
            let said = matches!(message, ToTransport::AnswerDoor(..));
            assert!(!said, "{message:?}");
        }
    }
}

#[tokio::test]
async fn who_asks_again_waits_for_the_same_disk_as_who_asked_first() {
    let mut enroller = Enroller::new().await;
    let key = Identity::from_seed(&[3; 32]).id();
    enroller.enrol(key, 1);
    enroller.enrol(key, 2);
    let (writes, done) = enroller.write().await;
    assert!(matches!(writes[..], [Write::Use(_)]), "{writes:?}");
    enroller.silent().await;
    done(Err("full".into()));
    let refused = "cannot_store".to_owned();
    assert_eq!(enroller.answer().await, (1, refused.clone()));
    assert_eq!(enroller.answer().await, (2, refused));
    // Now the use is taken; the entry is what is waited for.
    enroller.enrol(key, 3);
    let (_, done) = enroller.write().await;
    done(Ok(()));
    let (writes, done) = enroller.write().await;
    assert!(matches!(writes[..], [Write::Items(_)]), "{writes:?}");
    enroller.enrol(key, 4);
    enroller.silent().await;
    done(Ok(()));
    assert_eq!(enroller.answer().await, (3, "welcome".into()));
    assert_eq!(enroller.answer().await, (4, "welcome".into()));
}

#[tokio::test]
async fn who_is_told_that_it_is_introduced_is_let_in() {
    let mut enroller = Enroller::new().await;
    let key = Identity::from_seed(&[4; 32]).id();
    let mesh = mesh_of(&enroller.root.id());
    let claim = Claim::Entry(Arc::new(enroller.entry(key)));
    // Signed by somebody who may not.
    let forged = Item::seal(&Identity::from_seed(&[5; 32]), &mesh, &claim);
    enroller.introduce(key, CURVE, forged);
    assert_eq!(enroller.answer().await, (0, "not_introduced".into()));
    let sound = Item::seal(&enroller.root, &mesh, &claim);
    for _ in 0..2 {
        enroller.introduce(key, CURVE, sound.clone());
    }
    let (_, done) = enroller.write().await;
    enroller.silent().await;
    done(Ok(()));
    for _ in 0..2 {
        assert_eq!(enroller.answer().await, (0, "introduced".into()));
    }
    // Over another link key it would be refused again.
    enroller.introduce(key, CurveKey([8; 32]), sound);
    assert_eq!(enroller.answer().await, (0, "not_introduced".into()));
}

#[test]
fn what_was_signed_here_is_never_dropped() {
    let write = |n: usize, own| Pending {
        writes: vec![Write::Reserve(n as u64)],
        then: Vec::new(),
        own,
        again: false,
    };
    let mut failed = VecDeque::new();
    let mut dropped = 0;
    dropped += usize::from(keep(&mut failed, write(0, true)));
    for n in 1..=2 * FAILED_MAX {
        dropped += usize::from(keep(&mut failed, write(n, false)));
    }
    assert_eq!((failed.len(), dropped), (FAILED_MAX + 1, FAILED_MAX));
    assert!(failed[0].own, "the own one is gone");
    assert!(matches!(failed[1].writes[..], [Write::Reserve(n)] if n == FAILED_MAX as u64 + 1));
}

#[tokio::test]
async fn after_each_pull_it_is_told_that_the_answer_is_all_there() {
    let mut enroller = Enroller::new().await;
    let key = Identity::from_seed(&[6; 32]).id();
    // One that is answered by a page, and one that is no pull at all.
    for size in [BUCKETS * BUCKET_BYTES, 1] {
        let buckets = vec![0; size];
        let message = ToDirectory::Command(key, Command::Pull { buckets });
        enroller.actor.cast(message).unwrap();
    }
    let mut told = Vec::new();
    for _ in 0..3 {
        let next = tokio::time::timeout(SOON, enroller.told.recv()).await;
        told.push(match next.unwrap().unwrap() {
            ToTransport::Deliver(to, Command::Page(_)) => (to, "page"),
            ToTransport::Answered(to) => (to, "answered"),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(told, ["page", "answered", "answered"].map(|it| (key, it)));
}
