//! Connections that are kept: again after a loss, and one way or the other when both dial.

use std::net::TcpListener;
use std::time::Duration;

use chorus_actors::memory::realm::{Event, Order, Realms, StartError};

use super::cable::Cable;
use super::nodes::{id, label, node, node_with, settings, until};

#[test]
fn a_peer_that_was_killed_is_found_again() {
    let mut one = node(1);
    let mut two = node(2);
    let at = two.at();
    one.knows(&[1, 2], &[]);
    two.knows(&[1, 2], &[]);
    one.dial(two.id, at);
    one.connected(two.id);
    two.connected(one.id);

    drop(two);
    one.disconnected(id(2));
    one.counted("dials_failed", 2);
    let mut two = node_with(2, |with| with.listen = Some(at));
    assert_eq!(two.at(), at);
    two.knows(&[1, 2], &[]);
    one.connected(two.id);
    two.connected(one.id);
    assert_eq!(one.put(b"v", &[two.id]), (vec![two.id], vec![]));
}

#[test]
fn who_is_not_there_yet_is_dialled_until_it_comes_or_is_forgotten() {
    let mut one = node(1);
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = free.local_addr().expect("its address");
    drop(free);
    one.knows(&[1, 2], &[]);
    one.dial(id(2), at);
    one.counted("dials_failed", 1);
    let two = node_with(2, |with| with.listen = Some(at));
    two.knows(&[1, 2], &[]);
    one.connected(id(2));

    one.order(Order::Forget {
        realm: label("a"),
        node: id(2),
    });
    // What was ordered before is done when this is.
    one.put(b"v", &[id(2)]);
    let failed = one.count("dials_failed");
    drop(two);
    one.disconnected(id(2));
    assert_eq!(one.put(b"v", &[id(2)]), (vec![], vec![id(2)]));
    assert!(one.count("dials_failed") <= failed + 1, "only the put's");
}

#[test]
fn a_cable_that_is_pulled_is_noticed_and_when_it_is_back_so_are_they() {
    let mut one = node_with(1, |with| with.limits.silence_max = Duration::from_secs(1));
    let mut two = node(2);
    let cable = Cable::to(two.at());
    one.knows(&[1, 2], &[]);
    two.knows(&[1, 2], &[]);
    one.dial(two.id, cable.at);
    one.connected(two.id);
    cable.pull();
    one.disconnected(two.id);
    assert_eq!(one.count("silent_cut"), 1);
    assert_eq!(one.put(b"v", &[two.id]), (vec![], vec![two.id]));

    cable.plug_in();
    one.connected(two.id);
    assert_eq!(one.put(b"v", &[two.id]), (vec![two.id], vec![]));
    // The other side has not missed the first one yet: it has both.
    assert_eq!(two.count("connections_opened"), 2);
    assert_eq!(two.given().2, b"v");
}

#[test]
fn both_sides_dial_at_once_and_are_connected() {
    for _ in 0..10 {
        let (mut one, mut two) = (node(1), node(2));
        one.knows(&[1, 2], &[]);
        two.knows(&[1, 2], &[]);
        one.dial(two.id, two.at());
        two.dial(one.id, one.at());
        one.connected(two.id);
        two.connected(one.id);
        assert_eq!(one.put(b"v", &[two.id]), (vec![two.id], vec![]));
        assert_eq!(two.put(b"v", &[one.id]), (vec![one.id], vec![]));
        let lost = |event: &Event| matches!(event, Event::Disconnected(_)).then_some(());
        assert_eq!(one.event_now(lost), None);
        assert_eq!(two.event_now(lost), None);
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_that_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = taken.local_addr().expect("its address");
    let mut with = settings(1, &["a"], &Default::default());
    with.listen = Some(at);
    let error = Realms::start(with).expect_err("the port is taken");
    assert!(matches!(error, StartError::Listen { .. }));
    assert!(error.to_string().contains(&at.to_string()), "{error}");

    // Also when another swarm has it.
    let one = node(1);
    let mut with = settings(2, &["a"], &Default::default());
    with.listen = Some(one.at());
    assert!(Realms::start(with).is_err());
}

#[test]
fn who_listens_everywhere_is_found_here() {
    let everywhere = "0.0.0.0:0".parse().expect("an address");
    let mut one = node_with(1, |with| with.listen = Some(everywhere));
    let mut two = node(2);
    one.knows(&[1, 2], &[]);
    two.knows(&[1, 2], &[]);
    two.dial(one.id, ([127, 0, 0, 1], one.at().port()).into());
    two.connected(one.id);
    one.connected(two.id);
}

#[test]
fn a_node_is_in_one_realm_or_in_two() {
    for realms in [&[][..], &["a", "a"], &["a", "b", "c"]] {
        let with = settings(1, realms, &Default::default());
        assert!(matches!(Realms::start(with), Err(StartError::Realms(_))));
    }
}

#[test]
fn a_stopped_thread_takes_no_orders_and_its_port_is_free() {
    let one = node(1);
    let at = one.at();
    one.order(Order::Stop);
    until("the end of the thread", || {
        let order = Order::Members(Default::default());
        one.realms.order(order).is_err().then_some(())
    });
    drop(one);
    node_with(1, |with| with.listen = Some(at));
}
