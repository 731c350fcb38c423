//! Who is let in: members of the same mesh, and nobody else.

use chorus_actors::memory::realm::{Event, Order};
use chorus_protocol::ids::MeshId;

use super::nodes::{KEY, id, members, node, node_with};

#[test]
fn a_stranger_gets_no_connection() {
    let (mut one, mut two, mut stranger) = (node(1), node(2), node(3));
    one.knows(&[1, 2], &[&two]);
    two.knows(&[1, 2], &[&one]);
    one.store(KEY, b"kept");
    stranger.knows(&[1, 3], &[&one]);
    assert!(stranger.get("a", 1).is_empty());
    assert_eq!(stranger.put(b"v", &[one.id]), (vec![], vec![one.id]));
    one.counted("strangers_refused", 2);
    // Neither does a member dial one.
    one.dial(stranger.id, stranger.at());
    assert_eq!(one.put(b"v", &[stranger.id]), (vec![], vec![stranger.id]));
    assert_eq!(stranger.count("strangers_refused"), 0);

    assert_eq!(two.get("a", 1).len(), 1, "members are still served");
    assert_eq!(one.count("gets_received"), 1);
    assert_eq!(one.count("puts_received"), 0);
}

#[test]
fn nobody_is_let_in_before_the_members_are_told() {
    let (one, mut two) = (node(1), node(2));
    two.knows(&[1, 2], &[&one]);
    assert_eq!(two.put(b"v", &[one.id]), (vec![], vec![one.id]));
    one.counted("strangers_refused", 1);
}

#[test]
fn another_mesh_never_speaks_though_the_keys_are_the_same() {
    let mut one = node_with(1, |with| with.mesh = MeshId([0xab; 32]));
    // Only the last byte differs: the names of the protocols are the same.
    let mut mesh = [0xab; 32];
    mesh[31] = 0;
    let mut two = node_with(2, |with| with.mesh = MeshId(mesh));
    one.knows(&[1, 2], &[&two]);
    two.knows(&[1, 2], &[&one]);
    one.store(KEY, b"kept");
    assert!(two.get("a", 1).is_empty());
    assert_eq!(one.put(b"v", &[two.id]), (vec![], vec![two.id]));
    one.counted("handshakes_failed", 1);
    two.counted("handshakes_failed", 1);
    for node in [&one, &two] {
        assert_eq!(node.count("connections_opened"), 0);
    }
}

#[test]
fn who_is_removed_is_cut_off_at_once_and_whoever_comes_back_is_let_in() {
    let (mut one, mut two) = (node(1), node(2));
    one.knows(&[1, 2], &[&two]);
    two.knows(&[1, 2], &[]);
    two.dial(one.id, one.at());
    one.connected(two.id);
    two.connected(one.id);

    one.order(Order::Members(members(&[1])));
    one.disconnected(two.id);
    two.disconnected(one.id);
    // It is still dialled by the one that was removed.
    one.counted("strangers_refused", 2);
    assert_eq!(one.put(b"v", &[two.id]), (vec![], vec![two.id]));

    one.order(Order::Members(members(&[1, 2])));
    one.connected(two.id);
    assert_eq!(one.put(b"v", &[id(2)]), (vec![id(2)], vec![]));
}

/// `2` tells `1` where `3` is, as Kademlia does.
#[test]
fn nobody_is_dialled_at_an_address_that_another_node_named() {
    let (mut one, two, mut three) = (node(1), node(2), node(3));
    one.knows(&[1, 2, 3], &[&two]);
    two.knows(&[1, 2, 3], &[&one, &three]);
    three.knows(&[1, 2, 3], &[]);
    three.store(KEY, b"kept");
    assert!(one.get("a", 1).is_empty());
    let met = |event: &Event| matches!(event, Event::Connected(node) if *node == id(1));
    assert_eq!(three.event_now(|event| met(event).then_some(())), None);

    one.peer("a", &three);
    assert_eq!(one.get("a", 1).len(), 1);
}
