//! Puts and gets between nodes that know each other.

use chorus_actors::memory::realm::Event;

use super::nodes::{KEY, Node, id, label, node, node_with};

#[test]
fn a_value_put_is_handed_up_and_one_on_disk_is_got() {
    let (mut one, mut two) = (node(1), node(2));
    one.knows(&[1, 2], &[&two]);
    two.knows(&[1, 2], &[&one]);

    assert_eq!(one.put(b"new", &[two.id]), (vec![two.id], vec![]));
    assert_eq!(two.given(), (one.id, label("a"), b"new".to_vec()));
    assert!(one.get("a", 1).is_empty(), "a put is kept by nobody here");

    two.store(KEY, b"kept");
    one.store(KEY, b"own");
    let got = one.get("a", 1);
    assert_eq!(
        got.get(&two.id).map(Vec::as_slice),
        Some(b"kept".as_slice())
    );
    assert_eq!(got.len(), 1, "its own is not among them");
}

#[test]
fn a_large_value_passes_and_one_that_is_too_large_is_refused_here() {
    let (mut one, mut two) = (node(1), node(2));
    one.knows(&[1, 2], &[&two]);
    two.knows(&[1, 2], &[&one]);
    let large = vec![5; 128 * 1024];
    assert_eq!(one.put(&large, &[two.id]), (vec![two.id], vec![]));
    assert_eq!(two.given().2, large);
    two.store(KEY, &large);
    assert_eq!(one.get("a", 1).get(&two.id), Some(&large));

    let larger = vec![5; 128 * 1024 + 1];
    assert_eq!(one.put(&larger, &[two.id]), (vec![], vec![two.id]));
    assert_eq!(one.count("orders_invalid"), 1);
}

/// What is put goes where it is sent and nowhere else, and a get ends when it has enough.
#[test]
fn five_nodes_put_and_get() {
    let mut nodes: Vec<Node> = (1..=5).map(node).collect();
    for at in 0..5 {
        let others: Vec<&Node> = nodes
            .iter()
            .filter(|other| other.id != nodes[at].id)
            .collect();
        nodes[at].knows(&[1, 2, 3, 4, 5], &others);
    }
    let to = [id(2), id(3), id(5)];
    let (reached, failed) = nodes[0].put(b"v", &to);
    assert_eq!(reached.len(), 3, "{reached:?}, not {failed:?}");
    for n in [1, 2, 4] {
        assert_eq!(nodes[n].given(), (id(1), label("a"), b"v".to_vec()));
        nodes[n].store(KEY, &[n as u8]);
    }
    let given = |event: &Event| matches!(event, Event::Put { .. }).then_some(());
    assert_eq!(nodes[3].event_now(given), None);
    let got = nodes[3].get("a", 3);
    assert_eq!(got.len(), 3);
    assert_eq!(got[&id(3)], [2]);
    assert_eq!(nodes[3].get("a", 1).len(), 1, "no more than were wanted");
}

/// A bucket of the routing table has twenty places, and half of all nodes belong in one.
#[test]
fn a_put_goes_to_more_nodes_than_the_routing_table_holds() {
    let mut one = node(1);
    let numbers: Vec<u8> = (1..=60).collect();
    let others: Vec<Node> = numbers[1..].iter().map(|n| node(*n)).collect();
    for other in &others {
        other.knows(&numbers, &[]);
    }
    one.knows(&numbers, &others.iter().collect::<Vec<_>>());
    let to: Vec<_> = others.iter().map(|other| other.id).collect();
    let (reached, failed) = one.put(b"v", &to);
    assert_eq!((reached.len(), failed), (59, vec![]));
    one.counted("table_full", 1);
}

#[test]
fn a_put_says_whom_it_did_not_reach() {
    let (mut one, two) = (node(1), node(2));
    let gone = node(3);
    one.knows(&[1, 2, 3], &[&two, &gone]);
    two.knows(&[1, 2, 3], &[]);
    drop(gone);
    let (reached, mut failed) = one.put(b"v", &[two.id, id(3), id(4), one.id]);
    failed.sort();
    let mut expected = vec![id(3), id(4), one.id];
    expected.sort();
    assert_eq!((reached, failed), (vec![two.id], expected));
}

#[test]
fn an_order_for_a_realm_it_is_not_in_ends_at_once() {
    let mut one = node(1);
    assert_eq!(one.put_in("b", b"v", &[id(2)]), (vec![], vec![id(2)]));
    assert!(one.get("b", 1).is_empty());
    assert_eq!(one.count("orders_invalid"), 2);
}

/// `2` is in both realms, `1` in one and `3` in the other.
#[test]
fn what_is_in_one_realm_stays_there() {
    let (mut one, mut three) = (node(1), node_with(3, |with| with.realms = vec![label("b")]));
    let mut two = node_with(2, |with| with.realms = vec![label("a"), label("b")]);
    for (side, realm) in [(&one, "a"), (&three, "b")] {
        side.knows(&[1, 2, 3], &[]);
        side.peer(realm, &two);
    }
    two.knows(&[1, 2, 3], &[&one]);
    two.peer("b", &three);

    assert_eq!(one.put(b"v", &[two.id]), (vec![two.id], vec![]));
    assert_eq!(two.given(), (one.id, label("a"), b"v".to_vec()));
    one.store(KEY, b"of one");
    assert!(three.get("b", 9).is_empty(), "nobody told it of node 1");
    // A member, but not in this realm: reachable, and not spoken with.
    three.dial(one.id, one.at());
    three.connected(one.id);
    assert_eq!(three.put_in("b", b"v", &[one.id]), (vec![], vec![one.id]));
    assert!(three.get("b", 9).is_empty());
    assert_eq!(two.put_in("b", b"w", &[three.id]), (vec![three.id], vec![]));
    assert_eq!(three.given(), (two.id, label("b"), b"w".to_vec()));
    let leaked = |event: &Event| matches!(event, Event::Put { .. }).then_some(());
    assert_eq!(one.event_now(leaked), None);
    assert_eq!(three.event_now(leaked), None);
    assert_eq!(one.count("gets_received"), 0);
}

#[test]
fn a_node_that_does_not_listen_puts_and_gets_and_is_asked_for_nothing() {
    let mut silent = node_with(1, |with| with.listen = None);
    let mut two = node(2);
    silent.knows(&[1, 2], &[&two]);
    two.knows(&[1, 2], &[]);
    silent.store(KEY, b"own");
    two.store(KEY, b"kept");
    assert_eq!(silent.realms.address(), None);
    assert_eq!(silent.put(b"v", &[two.id]), (vec![two.id], vec![]));
    assert_eq!(two.given().2, b"v");
    assert_eq!(silent.get("a", 1).len(), 1);
    assert!(two.get("a", 1).is_empty());
    assert_eq!(silent.count("gets_received"), 0);
}
