//! How a ZeroMQ socket of this node is made: the options that every one has before it binds
//! or connects, and how a message is read from one.

use std::net::IpAddr;

use super::keys::{CurveKeys, Key};

/// Messages that libzmq queues for each connection and direction. Never 0, which means
/// "without limit"; 1000 is libzmq's own default and at most 64 MB for a link at worst.
const HWM: i32 = 1000;
/// Largest part of a message on a socket of the mesh, bytes.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Largest message at the door, bytes: a token or a signed entry fits, a flood does not pay.
pub const DOOR_BYTES_MAX: usize = 4 * 1024;
/// Largest message to a publisher, bytes: what CURVE needs for its handshake, and a topic.
pub const SUBSCRIPTION_BYTES_MAX: usize = 512;
/// Longest topic that is subscribed to, bytes.
pub const TOPIC_BYTES_MAX: usize = 256;
/// What CURVE adds to a part: command name, nonce, flags, authenticator. libzmq measures
/// the encrypted part, so the limit it gets is that much higher.
const CURVE_OVERHEAD: usize = 33;
/// A connection that is dead is known as such after 20 s at the latest. Asking less often
/// and waiting less long comes to the same and costs half: each agent of a cluster holds two
/// connections to each other one, on which little else is said.
const HEARTBEAT_INTERVAL_MS: i32 = 10_000;
const HEARTBEAT_TIMEOUT_MS: i32 = 10_000;
const HEARTBEAT_TTL_MS: i32 = 20_000;
const HANDSHAKE_MS: i32 = 5_000;
const CONNECT_TIMEOUT_MS: i32 = 5_000;
const RECONNECT_MS_MIN: i32 = 200;
const RECONNECT_MS_SPREAD: i32 = 300;
const RECONNECT_MS_MAX: i32 = 2_000;
const LINGER_MS: i32 = 100;
/// Parts of one message that are kept; more are read and thrown away.
const PARTS_MAX: usize = 3;

/// A socket with every limit set and no key yet.
pub(super) fn limited(
    context: &zmq::Context,
    kind: zmq::SocketType,
    bytes_max: usize,
) -> zmq::Result<zmq::Socket> {
    let socket = context.socket(kind)?;
    socket.set_maxmsgsize((bytes_max + CURVE_OVERHEAD) as i64)?;
    socket.set_sndhwm(HWM)?;
    socket.set_rcvhwm(HWM)?;
    socket.set_sndtimeo(0)?;
    socket.set_rcvtimeo(0)?;
    socket.set_linger(LINGER_MS)?;
    socket.set_heartbeat_ivl(HEARTBEAT_INTERVAL_MS)?;
    socket.set_heartbeat_timeout(HEARTBEAT_TIMEOUT_MS)?;
    socket.set_heartbeat_ttl(HEARTBEAT_TTL_MS)?;
    socket.set_handshake_ivl(HANDSHAKE_MS)?;
    Ok(socket)
}

/// A socket that listens: CURVE server, admissions judged by the ZAP handler under `domain`.
pub fn listener(
    context: &zmq::Context,
    kind: zmq::SocketType,
    keys: &CurveKeys,
    domain: &str,
    bytes_max: usize,
) -> zmq::Result<zmq::Socket> {
    let socket = limited(context, kind, bytes_max)?;
    socket.set_curve_server(true)?;
    socket.set_curve_secretkey(&keys.secret)?;
    socket.set_zap_domain(domain)?;
    if kind == zmq::XPUB {
        // Subscribers ask, and say nothing else: each of their heartbeats names the time
        // after which libzmq ends the connection if another does not come.
        socket.set_heartbeat_ivl(0)?;
    }
    if kind == zmq::ROUTER {
        // Else a frame for a peer that left is discarded without a word.
        socket.set_router_mandatory(true)?;
    }
    Ok(socket)
}

/// A socket that connects outward, to the one whose CURVE key is `server`.
pub fn dialler(
    context: &zmq::Context,
    kind: zmq::SocketType,
    keys: &CurveKeys,
    server: &Key,
) -> zmq::Result<zmq::Socket> {
    let bytes_max = match kind {
        zmq::XPUB => SUBSCRIPTION_BYTES_MAX,
        _ => FRAME_BYTES_MAX,
    };
    let socket = limited(context, kind, bytes_max)?;
    socket.set_curve_serverkey(server)?;
    socket.set_curve_publickey(&keys.public)?;
    socket.set_curve_secretkey(&keys.secret)?;
    socket.set_connect_timeout(CONNECT_TIMEOUT_MS)?;
    socket.set_reconnect_ivl(RECONNECT_MS_MIN + random_below(RECONNECT_MS_SPREAD))?;
    socket.set_reconnect_ivl_max(RECONNECT_MS_MAX)?;
    Ok(socket)
}

/// A socket for a question at the door of the one whose CURVE key is `server`. A door before
/// which a crowd stands lets go of some of those who wait, and whoever asks has a few seconds:
/// so it comes back without the growing pauses of a link.
pub fn asker(context: &zmq::Context, keys: &CurveKeys, server: &Key) -> zmq::Result<zmq::Socket> {
    let socket = dialler(context, zmq::DEALER, keys, server)?;
    socket.set_reconnect_ivl_max(0)?;
    Ok(socket)
}

/// Connects, with IPv6 allowed where the endpoint names it.
pub fn connect(socket: &zmq::Socket, endpoint: &str) -> zmq::Result<()> {
    socket.set_ipv6(endpoint.contains('['))?;
    socket.connect(endpoint)
}

/// `tcp://host:port`; port 0 lets the system choose.
pub fn tcp(host: IpAddr, port: u16) -> String {
    let port = if port == 0 {
        "*".to_owned()
    } else {
        port.to_string()
    };
    match host {
        IpAddr::V4(host) => format!("tcp://{host}:{port}"),
        IpAddr::V6(host) => format!("tcp://[{host}]:{port}"),
    }
}

/// `tcp://host:port` of a name or an address of either family.
pub(crate) fn endpoint_of(host: &str, port: u16) -> String {
    if host.contains(':') {
        return format!("tcp://[{host}]:{port}");
    }
    format!("tcp://{host}:{port}")
}

/// The endpoint under which this very node reaches a socket it bound to `bound`.
pub fn own(bound: &str) -> String {
    bound
        .replace("//0.0.0.0:", "//127.0.0.1:")
        .replace("//[::]:", "//[::1]:")
}

/// One message: its parts, and the key that the ZAP handler bound to its connection (none
/// where this side connected).
#[derive(Debug, Default)]
pub struct Received {
    pub parts: Vec<Vec<u8>>,
    pub user: Option<Key>,
}

/// Reads one whole message, or none if there is none.
pub fn receive(socket: &zmq::Socket) -> Option<Received> {
    let mut received = Received::default();
    loop {
        let mut part = socket.recv_msg(zmq::DONTWAIT).ok()?;
        if received.parts.len() < PARTS_MAX {
            if received.user.is_none() {
                received.user = part.gets("User-Id").and_then(super::zap::key_from_hex);
            }
            received.parts.push(part.to_vec());
        }
        if !part.get_more() {
            return Some(received);
        }
    }
}

/// Spread of the reconnect interval, so that a hundred children do not return at once. A
/// machine without randomness gets no spread; nothing secret hangs on it.
fn random_below(limit: i32) -> i32 {
    getrandom::u32().map_or(0, |n| (n % limit.unsigned_abs()) as i32)
}
