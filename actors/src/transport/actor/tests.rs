//! What a peer's pulls may cost, with sockets, a disk and a directory that the test plays.

use chorus_protocol::ids::{Label, Place, Role, Stamp};
use chorus_protocol::trust::{Directory, found, mesh_of};
use chorus_protocol::wire::message::{Deliver, Delivered};
use tokio::sync::oneshot;

use super::*;
use crate::durable::tests::ear;
use crate::transport::reading::permit;
use crate::transport::sockets::unstarted;

#[tokio::test]
async fn a_pull_is_not_answered_while_the_answer_to_another_waits() {
    let [root, own, peer] = [1, 2, 3].map(|n| Identity::from_seed(&[n; 32]));
    let (mesh, curve) = (mesh_of(&root.id()), CurveKey([3; 32]));
    let label = Label::new("s1").unwrap();
    let place = Place {
        sector: label,
        cluster: label,
    };
    let items = found(&root, peer.id(), curve, label, Role::Orchestrator, place);
    let (directory, _) = Directory::new(mesh, root.id(), own.id(), &items);
    let ring = Arc::new(Ring::default());
    let (listening, mut heard) = ear().await;
    ring.directory.set(listening).unwrap();
    let (sockets, _inbox, lanes, ..) = unstarted(Arc::default()).unwrap();
    let (store, _disk) = StoreHandle::by_hand();
    let mut clock = Clock::new(0);
    clock.reserved(1_000);
    let run = Incarnation::new(0, 1);
    let to = Some(Audience {
        node: own.id(),
        incarnation: Some(run),
    });
    let arguments = Arguments {
        mesh,
        identity: Arc::new(own),
        incarnation: run,
        clock,
        roster: directory.roster().clone(),
        introduction: Items::default(),
        addresses: Vec::new(),
        sockets,
        counters: Arc::default(),
        epoch: Instant::now(),
        store,
        ring,
    };
    let (actor, _) = Actor::spawn(None, TransportActor, arguments).await.unwrap();
    let says = |lamport, message| {
        let stamp = Stamp {
            incarnation: run,
            lamport,
        };
        let bytes = wire::seal(&peer, &mesh, stamp, to, &message);
        let permit = permit(&lanes.link).unwrap();
        let incoming = Incoming::now(Lane::Link, curve.0, bytes, permit);
        actor.cast(ToTransport::Incoming(vec![incoming])).unwrap();
    };
    let pull = |seq| {
        let buckets = vec![0; 2_048];
        Message::Deliver(Deliver {
            seq,
            id: seq,
            command: Order::Pull { buckets },
            age_ms: 0,
        })
    };
    let dropped = async || {
        let (reply, view) = oneshot::channel();
        actor.cast(ToTransport::Inspect(reply)).unwrap();
        let counters = view.await.unwrap().counters;
        let of = |(name, count)| (name == "pulls_dropped").then_some(count);
        counters.into_iter().find_map(of)
    };

    says(1, pull(1));
    assert_eq!(dropped().await, Some(0));
    says(2, pull(2));
    assert_eq!(dropped().await, Some(1), "the directory makes the answer");
    let page = Order::Page(Items::default());
    actor.cast(ToTransport::Deliver(peer.id(), page)).unwrap();
    actor.cast(ToTransport::Answered(peer.id())).unwrap();
    says(3, pull(3));
    assert_eq!(dropped().await, Some(2), "the answer waits");
    let delivered = Delivered {
        session: run,
        seq: 1,
    };
    says(4, Message::Delivered(delivered));
    says(5, pull(4));
    assert_eq!(dropped().await, Some(2), "the answer was acknowledged");
    actor.stop_and_wait(None, None).await.unwrap();

    let mut pulls = 0;
    while pulls < 2 {
        let message = heard.recv().await.unwrap();
        pulls += usize::from(matches!(message, ToDirectory::Command(..)));
    }
}
