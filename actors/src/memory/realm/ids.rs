//! Names: a node's key as libp2p's peer id and back, addresses, and what protocols are called.

use std::net::SocketAddr;

use chorus_protocol::ids::{Label, MeshId, NodeId};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, StreamProtocol};

/// A peer id of an Ed25519 key holds the key itself: identity multihash (0x00) of 36 bytes,
/// which are the protobuf message `{1: Ed25519 (1), 2: 32 bytes}`.
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The peer id of a node.
pub fn peer_of(node: &NodeId) -> PeerId {
    let mut bytes = [0; PREFIX.len() + 32];
    bytes[..PREFIX.len()].copy_from_slice(&PREFIX);
    bytes[PREFIX.len()..].copy_from_slice(node.as_bytes());
    PeerId::from_bytes(&bytes).expect("invariant: an identity multihash of 36 bytes")
}

/// The node with this peer id; none if its key is not of Ed25519.
pub fn node_of(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&PREFIX)?;
    Some(NodeId(key.try_into().ok()?))
}

/// `/ip4/…/tcp/…` of an address.
pub fn multiaddr(at: SocketAddr) -> Multiaddr {
    Multiaddr::from(at.ip()).with(Protocol::Tcp(at.port()))
}

/// The address in `/ip4/…/tcp/…`, if it is one.
pub fn socket_addr(at: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = at.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// The Kademlia of a realm: another mesh or another realm is another protocol.
pub fn kad_protocol(mesh: &MeshId, realm: &Label) -> StreamProtocol {
    protocol(format!("/chorus/{}/{realm}/kad/1", mesh_short(mesh)))
}

/// Questions and answers.
pub fn ask_protocol(mesh: &MeshId) -> StreamProtocol {
    protocol(format!("/chorus/{}/memory/1", mesh_short(mesh)))
}

/// Both sides of a handshake must have the same, or it fails: nobody of another mesh gets
/// as far as a protocol.
pub fn prologue(mesh: &MeshId) -> Vec<u8> {
    [b"chorus realm 1 ", mesh.as_bytes().as_slice()].concat()
}

fn mesh_short(mesh: &MeshId) -> String {
    mesh.to_string().chars().take(16).collect()
}

fn protocol(name: String) -> StreamProtocol {
    StreamProtocol::try_from_owned(name).expect("invariant: it begins with a slash")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_its_peer_and_back() {
        let pair = libp2p::identity::Keypair::ed25519_from_bytes([7; 32]).expect("a seed");
        let key = pair.public().try_into_ed25519().expect("Ed25519");
        let node = NodeId(key.to_bytes());
        assert_eq!(peer_of(&node), pair.public().to_peer_id());
        assert_eq!(node_of(&peer_of(&node)), Some(node));
    }

    #[test]
    fn a_peer_with_another_kind_of_key_is_no_node() {
        let hashed = [[0x12, 0x20].as_slice(), &[1; 32]].concat();
        let peer = PeerId::from_bytes(&hashed).expect("a SHA-256 multihash");
        assert_eq!(node_of(&peer), None);
    }

    #[test]
    fn addresses_go_both_ways() {
        for text in ["127.0.0.1:80", "[::1]:443"] {
            let at: SocketAddr = text.parse().expect("an address");
            assert_eq!(socket_addr(&multiaddr(at)), Some(at));
        }
        let named: Multiaddr = "/dns4/a.example/tcp/1".parse().expect("an address");
        assert_eq!(socket_addr(&named), None);
    }

    #[test]
    fn protocols_name_mesh_and_realm() {
        let mesh = MeshId([0xab; 32]);
        let realm = Label::new("south").expect("a label");
        let name = kad_protocol(&mesh, &realm).to_string();
        assert_eq!(name, "/chorus/abababababababab/south/kad/1");
        let name = ask_protocol(&mesh).to_string();
        assert_eq!(name, "/chorus/abababababababab/memory/1");
    }
}
