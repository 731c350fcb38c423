//! Many who want something from the sockets of the mesh: strangers' connections, and a
//! member's subscriptions.

use std::net::SocketAddr;

use chorus_actors::transport::counters::read;
use chorus_actors::transport::sockets::{Command, CurveKeys};
use tokio::net::TcpStream;

use crate::nodes::*;

/// Strangers before the three sockets together.
const STRANGERS: usize = 2_400;
/// Of whom so many come in: at each socket 128 before its gate is shut, 64 that the kernel
/// had taken by then, and on a busy machine as many again while the thread waited for its turn.
const LET_IN_MAX: usize = 1_200;

/// Both ends of every connection here are this process's.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// Connections that this process has accepted at this port.
fn accepted(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let rows = table.lines().map(|row| row.split_whitespace().collect());
    let established = |row: &Vec<&str>| row[1].ends_with(&local) && row[3] == "01";
    // Without an inode it waits in the kernel.
    rows.filter(|row| established(row) && row[9] != "0").count()
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_crowd_of_strangers_takes_a_bounded_number_of_descriptors_and_harms_no_member() {
    raise_open_files();
    let (parent_keys, child_keys, late_keys) = (keys(), keys(), keys());
    let mut parent = node(config(&parent_keys, &[&child_keys, &late_keys]));
    parent.hear("up");
    let child = |keys: &CurveKeys, parent: &Node| {
        let child = node(config(keys, &[&parent.keys]));
        child.hear("down");
        child.dial(parent);
        child
    };
    let (mut member, bound) = (child(&child_keys, &parent), parent.bound.clone());
    let endpoints = [bound.router, bound.publisher, bound.subscriber];
    let addresses = endpoints.map(|it| it["tcp://".len()..].parse::<SocketAddr>().unwrap());
    exchange(&mut parent, &mut member, "before").await;

    let crowd: Vec<_> = (0..STRANGERS)
        .map(|n| tokio::spawn(TcpStream::connect(addresses[n % 3])))
        .collect();
    holds("all three gates are shut", || {
        read(&parent.counters.gate_shut) >= 3
    })
    .await;
    let admitted = read(&parent.counters.zap_admitted);
    exchange(&mut parent, &mut member, "meanwhile").await;
    let let_in: usize = addresses.iter().map(|it| accepted(it.port())).sum();
    assert!(let_in <= LET_IN_MAX, "{let_in}");
    assert_eq!(read(&parent.counters.zap_admitted), admitted);

    let mut late = child(&late_keys, &parent);
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
    drop(crowd);
    exchange(&mut parent, &mut late, "after").await;
    exchange(&mut parent, &mut member, "after").await;
    assert!(read(&parent.counters.unshaken) > 0);
}

/// A client with these keys that listens to that node.
fn listener(context: &zmq::Context, keys: &CurveKeys, node: &Node) -> zmq::Socket {
    let socket = context.socket(zmq::SUB).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_curve_serverkey(&node.keys.public).unwrap();
    socket.set_curve_publickey(&keys.public).unwrap();
    socket.set_curve_secretkey(&keys.secret).unwrap();
    socket.connect(&node.bound.publisher).unwrap();
    socket
}

#[tokio::test]
async fn a_member_that_wants_endless_topics_is_shut_out_and_the_others_hear_on() {
    let (parent_keys, child_keys, greedy_keys) = (keys(), keys(), keys());
    let mut parent = node(config(&parent_keys, &[&child_keys, &greedy_keys]));
    parent.hear("up");
    let mut child = node(config(&child_keys, &[&parent_keys]));
    child.hear("down");
    child.dial(&parent);
    exchange(&mut parent, &mut child, "before").await;

    let greedy = listener(&zmq::Context::new(), &greedy_keys, &parent);
    greedy.set_subscribe(b"down").unwrap();
    holds("it hears what it may hear", || {
        parent.publish("down", "to all");
        greedy.recv_multipart(zmq::DONTWAIT).is_ok()
    })
    .await;
    for n in 0..100 {
        greedy
            .set_subscribe(format!("more {n}").as_bytes())
            .unwrap();
    }
    holds("it is shut out", || {
        read(&parent.counters.topics_refused) == 1
    })
    .await;
    exchange(&mut parent, &mut child, "after").await;
    holds("it is refused when it comes back", || {
        read(&parent.counters.zap_refused) >= 1
    })
    .await;
    while greedy.recv_multipart(zmq::DONTWAIT).is_ok() {}
    exchange(&mut parent, &mut child, "later").await;
    assert!(greedy.recv_multipart(zmq::DONTWAIT).is_err());
    assert_eq!(read(&parent.counters.topics_refused), 1);
}

#[tokio::test]
async fn a_long_topic_is_not_read_at_all() {
    let (parent_keys, greedy_keys) = (keys(), keys());
    let parent = node(config(&parent_keys, &[&greedy_keys]));
    let context = zmq::Context::new();
    let greedy = listener(&context, &greedy_keys, &parent);
    let ended = zmq::SocketEvent::DISCONNECTED.to_raw();
    greedy.monitor("inproc://long", i32::from(ended)).unwrap();
    let events = context.socket(zmq::PAIR).unwrap();
    events.connect("inproc://long").unwrap();
    greedy.set_subscribe(b"down").unwrap();
    let hears = || {
        parent.publish("down", "hello");
        greedy.recv_multipart(zmq::DONTWAIT).is_ok()
    };
    holds("it hears what it wants", hears).await;
    greedy.set_subscribe(&[7; 600]).unwrap();
    holds("it is cut off", || {
        events.recv_multipart(zmq::DONTWAIT).is_ok()
    })
    .await;
    assert_eq!(read(&parent.counters.topics_refused), 0);
}

#[tokio::test]
async fn a_parent_that_wants_endless_topics_is_told_nothing_more() {
    let (child, parent_keys) = (node(config(&keys(), &[])), keys());
    let greedy = zmq::Context::new().socket(zmq::SUB).unwrap();
    greedy.set_linger(0).unwrap();
    greedy.set_curve_server(true).unwrap();
    greedy.set_curve_secretkey(&parent_keys.secret).unwrap();
    greedy.bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = greedy.get_last_endpoint().unwrap().unwrap();
    greedy.set_subscribe(b"up").unwrap();
    child.send(Command::Dial {
        key: parent_keys.public,
        router: endpoint.clone(),
        publisher: None,
        subscriber: Some(endpoint),
    });
    let hears = || {
        child.publish("up", "hello");
        greedy.recv_multipart(zmq::DONTWAIT).is_ok()
    };
    holds("it hears what it wants", hears).await;
    for n in 0..100 {
        greedy
            .set_subscribe(format!("more {n}").as_bytes())
            .unwrap();
    }
    holds("that was too much", || {
        read(&child.counters.topics_refused) == 1
    })
    .await;
    holds("it hears nothing more", || !hears()).await;
}
