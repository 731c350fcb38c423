//! Those who do harm: noise on the port, floods of puts, nobody who reads the events.

use std::io::{Read, Write};
use std::net::TcpStream;

use chorus_actors::memory::realm::{Event, Order};

use super::nodes::{KEY, label, node, node_with};

#[test]
fn noise_on_the_port_is_counted_and_harmless() {
    let (one, mut two) = (node(1), node(2));
    one.knows(&[1, 2], &[]);
    two.knows(&[1, 2], &[&one]);
    for n in 0..8u8 {
        let mut noise = TcpStream::connect(one.at()).expect("a connection");
        let _ = noise.write_all(&vec![n.wrapping_mul(37); 100_000]);
        let _ = noise.shutdown(std::net::Shutdown::Write);
        let _ = noise.read_to_end(&mut Vec::new());
    }
    one.counted("handshakes_failed", 8);
    assert_eq!(one.count("connections_opened"), 0);
    assert_eq!(two.put(b"v", &[one.id]), (vec![one.id], vec![]));
}

#[test]
fn a_connection_that_says_nothing_ends() {
    let one = node(1);
    let mut quiet = TcpStream::connect(one.at()).expect("a connection");
    let mut said = Vec::new();
    // Until the other side closes it.
    let _ = quiet.read_to_end(&mut said);
    one.counted("handshakes_failed", 1);
}

#[test]
fn one_address_has_so_many_handshakes() {
    let one = node_with(1, |with| with.limits.handshakes_per_address = 2);
    let connect = || TcpStream::connect(one.at()).expect("a connection");
    let _quiet = [connect(), connect()];
    let mut third = connect();
    // It is closed at once, which the first ones are after some seconds.
    let _ = third.read_to_end(&mut Vec::new());
    one.counted("connections_over_limit", 1);
    assert_eq!(one.count("handshakes_failed"), 0);
    one.counted("handshakes_failed", 2);
    connect();
    one.counted("handshakes_failed", 3);
}

#[test]
fn a_flood_of_puts_is_cut_to_its_rate_and_leaves_that_of_others_alone() {
    let mut flooded = node_with(1, |with| with.limits.puts_per_second = 1);
    let (mut loud, mut quiet) = (node(2), node(3));
    flooded.knows(&[1, 2, 3], &[]);
    for side in [&loud, &quiet] {
        side.knows(&[1, 2, 3], &[&flooded]);
    }
    for _ in 0..200 {
        loud.order(Order::Put {
            id: 1,
            realm: label("a"),
            key: KEY,
            value: b"loud".to_vec(),
            to: vec![flooded.id],
        });
    }
    flooded.counted("puts_over_rate", 1);
    assert_eq!(quiet.put(b"quiet", &[flooded.id]).0, [flooded.id]);
    while flooded.given().2 != b"quiet" {}
    let (taken, over) = (
        flooded.count("puts_received"),
        flooded.count("puts_over_rate"),
    );
    assert!(taken < over, "{taken} taken, {over} not");
    assert_eq!(
        loud.put(b"loud", &[flooded.id]).1,
        [],
        "the flood is told nothing"
    );
}

/// So many come of one agent in half a second that waits for the copies of each write.
#[test]
fn who_writes_as_fast_as_disks_take_it_is_no_flood() {
    let (mut one, two) = (node(1), node(2));
    one.knows(&[1, 2], &[]);
    two.knows(&[1, 2], &[&one]);
    for id in 0..250 {
        two.order(Order::Put {
            id,
            realm: label("a"),
            key: KEY,
            value: b"v".to_vec(),
            to: vec![one.id],
        });
    }
    for _ in 0..250 {
        one.given();
    }
    assert_eq!(one.count("puts_over_rate"), 0);
}

#[test]
fn events_that_nobody_takes_are_dropped_and_the_ends_of_orders_are_not() {
    let mut deaf = node_with(1, |with| with.limits.events_max = 4);
    let mut two = node(2);
    deaf.knows(&[1, 2], &[&two]);
    two.knows(&[1, 2], &[&deaf]);
    for _ in 0..20 {
        assert_eq!(two.put(b"v", &[deaf.id]).0, [deaf.id]);
    }
    deaf.counted("events_dropped", 1);
    for id in 0..20 {
        deaf.order(Order::Put {
            id,
            realm: label("a"),
            key: KEY,
            value: b"w".to_vec(),
            to: vec![two.id],
        });
        two.given();
    }
    for n in 0..20 {
        let over = |event: &Event| matches!(event, Event::PutDone { id, .. } if *id == n);
        deaf.event("the end of a put", |event| over(event).then_some(()));
    }
}
