//! Who is let in, what the door takes, and what a removed key loses.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chorus_actors::transport::counters::read;
use chorus_actors::transport::sockets::{
    Command, DOOR_BYTES_MAX, DoorError, Error, Event, Lane, LinkState, SocketsConfig, start,
};

use crate::nodes::*;

/// As many as may wait before a door.
const GUESTS: u32 = 64;

#[tokio::test]
async fn strangers_and_clients_without_encryption_get_and_give_nothing() {
    let (mut parent, mut children) = family(1);
    let mut outsiders = Vec::new();
    for server in [Some(&parent), None] {
        for (kind, endpoint) in [
            (zmq::SUB, &parent.bound.publisher),
            (zmq::PUB, &parent.bound.subscriber),
            (zmq::DEALER, &parent.bound.router),
        ] {
            let client = Client::new(kind, server, endpoint);
            if kind != zmq::SUB {
                let parts = [&b"up"[..], b"from outside"];
                client.socket.send_multipart(parts, zmq::DONTWAIT).unwrap();
            }
            match server {
                Some(_) => client.sees(zmq::SocketEvent::HANDSHAKE_FAILED_AUTH).await,
                None => client.sees_that_it_does_not_fit().await,
            }
            outsiders.push(client);
        }
    }
    // Whatever the outsiders could do has happened before this is over.
    exchange(&mut parent, &mut children[0], "inside").await;
    assert_eq!(read(&parent.counters.zap_refused), 3);
    for Client { socket, .. } in &outsiders {
        if socket.get_socket_type() != Ok(zmq::PUB) {
            assert_eq!(socket.recv_bytes(zmq::DONTWAIT), Err(zmq::Error::EAGAIN));
        }
    }
    while let Ok(incoming) = parent.up.gossip.try_recv() {
        assert_eq!(incoming.peer, children[0].keys.public);
    }
    while let Ok(incoming) = parent.up.link.try_recv() {
        assert_eq!(incoming.peer, children[0].keys.public);
    }
}

#[tokio::test]
async fn the_door_answers_a_stranger_and_a_closed_door_times_out() {
    let mut host = node(config(&keys(), &[]));
    let mut stranger = node(config(&keys(), &[]));
    let ask = |ticket, key, endpoint: &str, within| Command::AskDoor {
        ticket,
        key,
        endpoint: endpoint.to_owned(),
        frame: b"let me in"[..].into(),
        within,
    };
    stranger.send(ask(7, host.keys.public, &host.bound.door, PATIENCE));
    let asked = until(&mut host.up.door, || {}, |_| true).await;
    assert_eq!((asked.peer, asked.lane), (stranger.keys.public, Lane::Door));
    assert_eq!(asked.bytes, b"let me in");
    host.send(Command::AnswerDoor {
        to: asked.reply.clone().unwrap(),
        frame: b"welcome"[..].into(),
    });
    let answer = |ticket, result| Event::DoorAnswer { ticket, result };
    stranger.event(answer(7, Ok(b"welcome".to_vec()))).await;

    // The wrong key for the right door: nobody there can read the question.
    let wrong = keys().public;
    stranger.send(ask(8, wrong, &host.bound.door, Duration::from_millis(100)));
    stranger.event(answer(8, Err(DoorError::Timeout))).await;
    stranger.send(ask(9, wrong, "nonsense", PATIENCE));
    stranger.event(answer(9, Err(DoorError::Endpoint))).await;
}

#[tokio::test]
async fn a_message_too_long_for_the_door_closes_the_connection() {
    let mut host = node(config(&keys(), &[]));
    let long = Client::new(zmq::DEALER, Some(&host), &host.bound.door);
    long.socket.send(vec![0; 2 * DOOR_BYTES_MAX], 0).unwrap();
    long.sees(zmq::SocketEvent::DISCONNECTED).await;
    drop(long);
    let short = Client::new(zmq::DEALER, Some(&host), &host.bound.door);
    short.socket.send(vec![1; DOOR_BYTES_MAX], 0).unwrap();
    let asked = until(&mut host.up.door, || {}, |_| true).await;
    assert_eq!(asked.bytes, vec![1; DOOR_BYTES_MAX]);
    assert_eq!(read(&host.counters.door_received), 1);
}

#[tokio::test]
async fn a_message_of_endless_parts_at_the_door_is_cut_off_and_the_next_guest_served() {
    let mut host = node(config(&keys(), &[]));
    let endless = Client::new(zmq::DEALER, Some(&host), &host.bound.door);
    for _ in 0..16 {
        endless
            .socket
            .send(vec![0; DOOR_BYTES_MAX], zmq::SNDMORE)
            .unwrap();
    }
    // libzmq sends the parts when it has the last.
    endless.socket.send("", 0).unwrap();
    endless.sees(zmq::SocketEvent::DISCONNECTED).await;
    assert!(read(&host.counters.door_cut) >= 1);
    drop(endless);
    let guest = Client::new(zmq::DEALER, Some(&host), &host.bound.door);
    guest.socket.send("good day", 0).unwrap();
    let asked = until(&mut host.up.door, || {}, |_| true).await;
    assert_eq!(asked.bytes, b"good day");
}

#[tokio::test]
async fn a_crowd_at_the_door_keeps_nobody_out() {
    let mut host = node(config(&keys(), &[]));
    let door = host.bound.door.strip_prefix("tcp://").unwrap().to_owned();
    let crowd: Vec<_> = (0..200)
        .map(|_| std::net::TcpStream::connect(&door).unwrap())
        .collect();
    let guest = Client::new(zmq::DEALER, Some(&host), &host.bound.door);
    guest.socket.send("good day", 0).unwrap();
    let asked = until(&mut host.up.door, || {}, |_| true).await;
    assert_eq!(asked.bytes, b"good day");
    // All but those who may wait and those who may be inside.
    assert!(read(&host.counters.door_cut) >= 200 - 64 - 64);
    drop(crowd);
}

#[tokio::test]
async fn guests_begin_their_handshakes_one_after_the_other() {
    let host = node(config(&keys(), &[]));
    let began = Instant::now();
    let guest = |_| Client::new(zmq::DEALER, Some(&host), &host.bound.door);
    let guests: Vec<_> = (0..GUESTS).map(guest).collect();
    holds("all are let in", || {
        read(&host.counters.zap_admitted) >= u64::from(GUESTS)
    })
    .await;
    // A timer's edge may take a millisecond off the first interval.
    let least = Duration::from_millis(10) * (GUESTS - 1) - Duration::from_millis(2);
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    drop(guests);
}

#[tokio::test]
async fn a_removed_key_is_cut_off_while_another_member_goes_on() {
    let (mut parent, mut children) = family(2);
    let (mut stays, mut goes) = (children.remove(0), children.remove(0));
    exchange(&mut parent, &mut goes, "before").await;
    exchange(&mut parent, &mut stays, "before").await;

    parent.send(Command::Allow(allow_list(&[&stays.keys])));
    goes.event(Event::Link {
        key: parent.keys.public,
        state: LinkState::Refused,
    })
    .await;
    assert_eq!(read(&parent.counters.rebuilt), 1);
    while parent.up.gossip.try_recv().is_ok() || parent.up.link.try_recv().is_ok() {}
    while goes.up.gossip.try_recv().is_ok() || goes.up.link.try_recv().is_ok() {}

    for _ in 0..50 {
        goes.publish("up", "still here");
        goes.tell(parent.keys.public, "still here");
        parent.tell(goes.keys.public, "are you there");
    }
    exchange(&mut parent, &mut stays, "after").await;
    assert!(goes.up.gossip.try_recv().is_err() && goes.up.link.try_recv().is_err());
    while let Ok(incoming) = parent.up.gossip.try_recv() {
        assert_eq!(incoming.peer, stays.keys.public);
    }
    while let Ok(incoming) = parent.up.link.try_recv() {
        assert_eq!(incoming.peer, stays.keys.public);
    }

    // Adding a key rebuilds nothing, and the refused child comes back by itself.
    parent.send(Command::Allow(allow_list(&[&stays.keys, &goes.keys])));
    exchange(&mut parent, &mut goes, "readmitted").await;
    assert_eq!(read(&parent.counters.rebuilt), 1);
}

#[tokio::test]
async fn a_child_that_dials_too_early_is_refused_and_let_in_later() {
    let (parent_keys, child_keys) = (keys(), keys());
    let mut parent = node(config(&parent_keys, &[]));
    parent.hear("up");
    let mut child = node(config(&child_keys, &[&parent_keys]));
    child.hear("down");
    child.dial(&parent);
    let link = |state| Event::Link {
        key: parent_keys.public,
        state,
    };
    child.event(link(LinkState::Refused)).await;
    parent.send(Command::Allow(allow_list(&[&child_keys])));
    child.event(link(LinkState::Up)).await;
    exchange(&mut parent, &mut child, "late").await;
    assert!(read(&child.counters.redialled) > 0);
    assert_eq!(read(&parent.counters.rebuilt), 0);
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut config = config(&keys(), &[]);
    config.ports.subscriber = port;
    let error = start(config, Arc::default()).map(|_| ()).unwrap_err();
    let Error::Bind { endpoint, source } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(*endpoint, format!("tcp://127.0.0.1:{port}"));
}

#[tokio::test]
async fn a_wrong_key_is_tried_again_and_again_and_refused() {
    let keys = keys();
    let node = node(SocketsConfig {
        host: IpAddr::from([0, 0, 0, 0]),
        probe_interval: Duration::from_millis(10),
        ..config(&keys, &[&keys])
    });
    holds("two probes were refused", || {
        read(&node.counters.probe_refused) >= 2
    })
    .await;
    assert_eq!(read(&node.counters.fail_open), 0);
}
