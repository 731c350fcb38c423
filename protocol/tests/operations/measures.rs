//! What is counted as what, how often the parent is told, and what is kept for how long.

use chorus_protocol::ids::{Incarnation, NodeId, Place};
use chorus_protocol::impedance::{Class, Profile, Reading};
use chorus_protocol::op::readings::ROWS_MAX;
use chorus_protocol::op::{Agent, Input, Operations, Order, Output, Select, When};
use chorus_protocol::units::Micros;

use crate::mesh::{id, label};
use crate::readings::{name, placed};

const SECOND: Micros = Micros::from_secs(1);
const WINDOW: Micros = Micros::from_millis(500);

#[test]
fn nodes_that_confirm_are_no_operation_and_a_cascade_asks_all_at_once() {
    let mut mesh = placed();
    mesh.run(mesh.now + SECOND);
    let nodes = Select {
        tier: Some(1),
        ..Select::default()
    };
    let some = Select {
        capabilities: vec![label("vision")],
        ..Select::default()
    };
    let mut counted = (0, 0);
    for (select, when, more) in [
        (nodes, When::Now, (0, 0)),
        (some, When::Now, (1, 0)),
        (Select::default(), When::In(WINDOW), (1, 0)),
        (Select::default(), When::Now, (1, 1)),
    ] {
        mesh.ask_when(select.clone(), WINDOW, when);
        mesh.run(mesh.now + SECOND + SECOND);
        let machine = mesh.nodes[0].as_ref().unwrap();
        let counts = machine.readings().kpis().window(SECOND.times(60), mesh.now);
        let now = (counts.operations, counts.cascades.total());
        let expected = (counted.0 + more.0, counted.1 + more.1);
        assert_eq!(now, expected, "{select:?} {when:?}");
        counted = now;
    }
}

/// A node with one agent beneath a parent.
fn beneath(parent: NodeId) -> Operations {
    let mut node = Operations::new(id(1), Incarnation::new(0, 1));
    let agent = Agent {
        name: label("e"),
        class: Class::Edge,
        capabilities: Vec::new(),
        context: None,
    };
    node.handle(Input::Agents(vec![agent]), Micros::ZERO);
    let around = Input::Around(Some((parent, Incarnation(1))), Default::default());
    node.handle(around, Micros::ZERO);
    node
}

#[test]
fn leads_that_change_all_the_time_go_up_four_times_a_second() {
    let mut node = beneath(id(0));
    let mut told = 0;
    for step in 1..=200u64 {
        let now = Micros::from_millis(10 * step);
        // Slower and slower, so that the lead is another each time.
        let echoed = Input::Echoed(label("e"), Micros::from_millis(step * step), Micros::ZERO);
        let have = |it: &Output| matches!(it, Output::Send(_, Order::Have(_)));
        told += node
            .handle(echoed, now)
            .iter()
            .filter(|it| have(it))
            .count();
    }
    assert!((4..=8).contains(&told), "{told} in two seconds");
}

#[test]
fn whoever_is_gone_for_an_hour_is_forgotten_and_not_before() {
    let mut mesh = placed();
    mesh.run(mesh.now + SECOND);
    mesh.dies(4);
    let mut known = |after: u64| {
        mesh.run(Micros::from_secs(after));
        mesh.give(0, Input::Tick);
        let machine = mesh.nodes[0].as_ref().unwrap();
        (
            machine.readings().registry().len(),
            machine.readings().kpis().agents().0,
        )
    };
    assert_eq!(known(3_590), (8, 8), "nobody is erased for being slow");
    assert_eq!(known(3_620), (4, 4));
}

#[test]
fn an_agent_that_has_moved_is_counted_where_it_is_and_nowhere_else() {
    let mut profile = Profile::new(Class::Edge);
    profile.heard(0, Micros::ZERO);
    let mut node = Operations::new(id(0), Incarnation::new(0, 1));
    node.handle(Input::Around(None, [id(1)].into()), Micros::ZERO);
    for cluster in ["c1", "c2", "c2", "c1"] {
        let (sector, cluster) = (label("s1"), label(cluster));
        let place = Place { sector, cluster };
        let reading = Reading::of(&profile, place, Vec::new(), Micros::ZERO);
        let rows = Order::Readings(vec![(name(1, "e"), reading)]);
        node.handle(Input::Order(id(1), rows), Micros::ZERO);
        assert_eq!(node.readings().kpis().agents(), (1, 1), "in {cluster}");
    }
}

#[test]
fn the_registry_and_what_comes_before_its_sender_are_bounded_and_counted() {
    let mut profile = Profile::new(Class::Edge);
    profile.heard(0, Micros::ZERO);
    let place = Place {
        sector: label("s1"),
        cluster: label("c1"),
    };
    let reading = Reading::of(&profile, place, Vec::new(), Micros::ZERO);
    let word = |from: usize| {
        let rows = from..from + 64;
        let row = |n: usize| {
            (
                name(100 + n / 1_000, &format!("a{}", n % 1_000)),
                reading.clone(),
            )
        };
        Order::Readings(rows.map(row).collect())
    };
    let mut node = Operations::new(id(0), Incarnation::new(0, 1));
    // Not a child yet: the newest of it is kept until it is one.
    for n in 0..200 {
        node.handle(Input::Order(id(1), word(64 * n)), Micros::ZERO);
    }
    let early = (200 - 128) * 64;
    let readings = node.readings();
    assert_eq!((readings.registry().len(), readings.dropped()), (0, early));
    let children = [id(1)].into();
    node.handle(Input::Around(None, children), Micros::ZERO);
    assert_eq!(node.readings().registry().len(), 8_192);
    for n in 0..1_000 {
        node.handle(Input::Order(id(1), word(64 * n)), Micros::ZERO);
    }
    let over = early + (64_000 - ROWS_MAX) as u64;
    let readings = node.readings();
    assert_eq!(
        (readings.registry().len(), readings.dropped()),
        (ROWS_MAX, over)
    );
}
