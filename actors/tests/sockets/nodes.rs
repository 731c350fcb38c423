//! Nodes and clients for these tests, and ways to wait for what they do.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use chorus_actors::transport::counters::Counters;
use chorus_actors::transport::sockets::{
    Bound, Command, CurveKeys, Event, Handle, Incoming, Key, Lane, SocketsConfig, Upward, start,
};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout};

/// Far beyond what any of it takes, so that only a defect reaches it.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a condition, and two sends of what may be lost.
pub const PAUSE: Duration = Duration::from_millis(10);

pub struct Node {
    pub keys: CurveKeys,
    pub handle: Handle,
    pub bound: Bound,
    pub up: Upward,
    pub counters: Arc<Counters>,
    pub thread: JoinHandle<()>,
    /// Goes with the test, though the thread may outlive it.
    _private: tempfile::TempDir,
}

pub fn config(keys: &CurveKeys, allow: &[&CurveKeys]) -> SocketsConfig {
    SocketsConfig {
        host: IpAddr::from([127, 0, 0, 1]),
        redial_after: Duration::from_secs(1),
        ..SocketsConfig::new(keys.clone(), allow_list(allow))
    }
}

pub fn allow_list(keys: &[&CurveKeys]) -> Arc<BTreeSet<Key>> {
    Arc::new(keys.iter().map(|keys| keys.public).collect())
}

pub fn keys() -> CurveKeys {
    CurveKeys::generate().unwrap()
}

pub fn node(mut config: SocketsConfig) -> Node {
    let private = tempfile::tempdir().unwrap();
    config.private.get_or_insert_with(|| private.path().into());
    let (keys, counters) = (config.keys.clone(), Arc::new(Counters::default()));
    let (handle, bound, up, thread) = start(config, counters.clone()).unwrap();
    Node {
        keys,
        handle,
        bound,
        up,
        counters,
        thread,
        _private: private,
    }
}

impl Node {
    pub fn send(&self, command: Command) {
        self.handle.send(command).unwrap();
    }

    pub fn hear(&self, topic: &str) {
        let sub = vec![topic.into()];
        self.send(Command::Subscribe {
            sib: sub.clone(),
            sub,
        });
    }

    pub fn publish(&self, topic: &str, frame: &str) {
        self.send(Command::Publish {
            topic: topic.into(),
            frame: frame.as_bytes().into(),
        });
    }

    pub fn tell(&self, to: Key, frame: &str) {
        self.send(Command::SendTo {
            to,
            frame: frame.as_bytes().into(),
        });
    }

    pub fn dial(&self, parent: &Node) {
        self.send(Command::Dial {
            key: parent.keys.public,
            router: parent.bound.router.clone(),
            publisher: Some(parent.bound.publisher.clone()),
            subscriber: Some(parent.bound.subscriber.clone()),
        });
    }

    pub async fn event(&mut self, wanted: Event) {
        let seen =
            async { while self.up.events.recv().await.expect("the thread lives") != wanted {} };
        let reached = timeout(PATIENCE, seen).await;
        assert!(reached.is_ok(), "no {wanted:?}");
    }
}

/// Does something again and again until `wanted` comes up, and returns it.
pub async fn until(
    from: &mut UnboundedReceiver<Incoming>,
    mut again: impl FnMut(),
    wanted: impl Fn(&Incoming) -> bool,
) -> Incoming {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        again();
        while let Ok(incoming) = timeout(PAUSE, from.recv()).await {
            let incoming = incoming.expect("the thread lives");
            if wanted(&incoming) {
                return incoming;
            }
        }
    }
    panic!("it never came");
}

pub async fn holds(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

pub fn says(text: &str) -> impl Fn(&Incoming) -> bool {
    move |incoming| incoming.bytes == text.as_bytes()
}

/// Gossip and link, both ways, between a parent and a child that dialled it.
pub async fn exchange(parent: &mut Node, child: &mut Node, text: &str) {
    let (parent_key, child_key) = (parent.keys.public, child.keys.public);
    let down = format!("down {text}");
    let heard = until(
        &mut child.up.gossip,
        || parent.publish("down", &down),
        says(&down),
    )
    .await;
    assert_eq!(heard.peer, parent.keys.public);
    assert_eq!(heard.topic.as_deref(), Some(&b"down"[..]));
    let up = format!("up {text}");
    let heard = until(
        &mut parent.up.gossip,
        || child.publish("up", &up),
        says(&up),
    )
    .await;
    assert_eq!((heard.peer, heard.lane), (child.keys.public, Lane::Gossip));
    let order = format!("order {text}");
    let told = until(
        &mut child.up.link,
        || parent.tell(child_key, &order),
        says(&order),
    )
    .await;
    assert_eq!((told.peer, told.lane), (parent.keys.public, Lane::Link));
    let report = format!("report {text}");
    let told = until(
        &mut parent.up.link,
        || child.tell(parent_key, &report),
        says(&report),
    )
    .await;
    assert_eq!((told.peer, told.topic), (child.keys.public, None));
}

pub fn family(children: usize) -> (Node, Vec<Node>) {
    let parent_keys = keys();
    let child_keys: Vec<_> = (0..children).map(|_| keys()).collect();
    let parent = node(config(&parent_keys, &child_keys.iter().collect::<Vec<_>>()));
    parent.hear("up");
    let children = child_keys.iter().map(|keys| {
        let child = node(config(keys, &[&parent_keys]));
        child.hear("down");
        child.dial(&parent);
        child
    });
    let children = children.collect();
    (parent, children)
}

/// A client that is no node of ours: any mechanism, any key.
pub struct Client {
    pub socket: zmq::Socket,
    events: zmq::Socket,
    name: String,
}

impl Client {
    pub fn new(kind: zmq::SocketType, server: Option<&Node>, endpoint: &str) -> Self {
        let context = zmq::Context::new();
        let socket = context.socket(kind).unwrap();
        socket.set_linger(0).unwrap();
        if let Some(server) = server {
            let keys = keys();
            socket.set_curve_serverkey(&server.keys.public).unwrap();
            socket.set_curve_publickey(&keys.public).unwrap();
            socket.set_curve_secretkey(&keys.secret).unwrap();
        }
        if kind == zmq::SUB {
            socket.set_subscribe(b"").unwrap();
        }
        let name = "inproc://events".to_owned();
        let mask = zmq::SocketEvent::ALL.to_raw();
        socket.monitor(&name, i32::from(mask)).unwrap();
        let events = context.socket(zmq::PAIR).unwrap();
        events.connect(&name).unwrap();
        socket.connect(endpoint).unwrap();
        Self {
            socket,
            events,
            name,
        }
    }

    pub async fn sees(&self, wanted: zmq::SocketEvent) {
        self.sees_one_of(&[wanted]).await;
    }

    /// Its mechanism is not the other side's: it says so, or the other side has closed the
    /// connection first.
    pub async fn sees_that_it_does_not_fit(&self) {
        let mismatch = zmq::SocketEvent::HANDSHAKE_FAILED_PROTOCOL;
        let closed = zmq::SocketEvent::HANDSHAKE_FAILED_NO_DETAIL;
        self.sees_one_of(&[mismatch, closed]).await;
    }

    async fn sees_one_of(&self, wanted: &[zmq::SocketEvent]) {
        let mut seen = std::iter::from_fn(|| self.events.recv_multipart(zmq::DONTWAIT).ok());
        let is_wanted = |parts: Vec<Vec<u8>>| {
            let event = &parts[0][..2];
            wanted.iter().any(|it| it.to_raw().to_ne_bytes() == event)
        };
        holds(&format!("{wanted:?}"), || seen.any(is_wanted)).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // libzmq blocks for ever on events that nobody reads: none from here on.
        let _ = self.socket.monitor(&self.name, 0);
    }
}
