//! What each node knows of the agents beneath it, and what follows: one of them is asked by name, and nodes
//! confirm tier by tier.

use chorus_protocol::ids::{AgentName, Place};
use chorus_protocol::impedance::{Class, Flags, Need, Reading, State};
use chorus_protocol::op::readings::Readings;
use chorus_protocol::op::{Input, Order, Output, Refusal, Select};
use chorus_protocol::units::Micros;

use crate::mesh::{HOP, Mesh, What, id, label, ready};

const SECOND: Micros = Micros::from_secs(1);
const WINDOW: Micros = Micros::from_millis(500);

pub fn name(node: usize, agent: &str) -> AgentName {
    AgentName {
        node: id(node),
        agent: label(agent),
    }
}

fn readings(mesh: &Mesh, node: usize) -> &Readings {
    mesh.nodes[node].as_ref().unwrap().readings()
}

pub fn state(mesh: &Mesh, node: usize, agent: &AgentName) -> Option<State> {
    readings(mesh, node)
        .registry()
        .get(agent)
        .map(|it| it.state)
}

/// Two sectors of two leads, each with a fast agent and one that takes a second.
pub fn placed() -> Mesh {
    let mut mesh = Mesh::tree(2, 2);
    for node in [2, 3, 5, 6] {
        let place = Place {
            sector: label(if node < 4 { "s1" } else { "s2" }),
            cluster: label(&format!("c{node}")),
        };
        mesh.give(node, Input::Place(place));
        mesh.host(
            node,
            &[
                ("fast", &["text"], ready("fast", 2)),
                ("slow", &["text", "vision"], ready("slow", 1_000)),
            ],
        );
    }
    mesh
}

#[test]
fn the_top_knows_each_agent_within_a_second_and_the_best_of_them() {
    let mut mesh = placed();
    mesh.run(mesh.now + SECOND);
    let registry = readings(&mesh, 0).registry();
    assert_eq!(registry.len(), 8);
    assert_eq!(
        readings(&mesh, 1).registry().len(),
        4,
        "a sector has itself"
    );
    // Measured, they are told apart.
    for _ in 0..10 {
        for node in [2, 3, 5, 6] {
            for agent in ["fast", "slow"] {
                mesh.give(node, Input::Echoed(label(agent), Micros(100), Micros::ZERO));
            }
        }
        mesh.ask(Select::default(), Micros::from_secs(5));
        mesh.run(mesh.now + SECOND + SECOND);
    }
    mesh.heard.clear();
    let registry = readings(&mesh, 0).registry();
    let best = registry.best(5, Need::of(&[label("text")]));
    let fast: Vec<_> = best.iter().map(|it| it.agent.agent).collect();
    assert_eq!(fast, vec![label("fast"); 4], "the others are over the cap");
    let slow = registry.get(&name(5, "slow")).unwrap();
    assert!(
        slow.z_ms.abs_diff(1_000) < 20 && slow.flags.slow,
        "{slow:?}"
    );
    assert_eq!(readings(&mesh, 0).via(&name(5, "slow")), Some(id(4)));
}

#[test]
fn who_is_beneath_a_node_that_is_gone_is_offline_until_it_is_heard_again() {
    let mut mesh = placed();
    mesh.run(mesh.now + SECOND);
    mesh.dies(4);
    mesh.run(mesh.now + SECOND);
    let gone = name(6, "fast");
    assert_eq!(state(&mesh, 0, &gone), Some(State::Offline));
    assert_eq!(state(&mesh, 0, &name(3, "fast")), Some(State::Active));
    assert_eq!(readings(&mesh, 0).registry().len(), 8, "nobody is erased");
    let counts = readings(&mesh, 0).kpis().window(SECOND, mesh.now);
    assert!(counts.available < counts.observed, "{counts:?}");

    // It has moved to another sector; what its old parent says of it counts no more.
    let row = |state| {
        let reading = readings(&mesh, 0).registry().get(&gone).cloned().unwrap();
        Order::Readings(vec![(gone, Reading { state, ..reading })])
    };
    let (active, offline) = (row(State::Active), row(State::Offline));
    mesh.give(0, Input::Order(id(1), active));
    assert_eq!(state(&mesh, 0, &gone), Some(State::Active));
    mesh.give(0, Input::Order(id(4), offline.clone()));
    assert_eq!(
        state(&mesh, 0, &gone),
        Some(State::Active),
        "it is no child"
    );
    mesh.give(0, Input::Order(id(1), offline));
    assert_eq!(state(&mesh, 0, &gone), Some(State::Offline));
}

#[test]
fn rows_that_are_too_many_or_of_the_receiver_itself_are_refused() {
    let mut mesh = placed();
    mesh.run(mesh.now + SECOND);
    let reading = Reading {
        class: Class::Edge,
        place: Place {
            sector: label("s1"),
            cluster: label("c1"),
        },
        state: State::Active,
        z_ms: 1,
        net_ms: 0.0,
        unit_ms: 0.0,
        queue: 0,
        reliability: None,
        drift: 0.0,
        flags: Flags::default(),
        context: None,
        capabilities: Vec::new(),
    };
    let many = (0..65).map(|n| (name(2, &format!("x{n}")), reading.clone()));
    let own = vec![(name(0, "mine"), reading.clone())];
    for (n, rows) in [many.collect(), own].into_iter().enumerate() {
        mesh.give(0, Input::Order(id(1), Order::Readings(rows)));
        assert_eq!(mesh.nodes[0].as_ref().unwrap().refused(), n as u64 + 1);
    }
    assert_eq!(readings(&mesh, 0).registry().len(), 8);
}

#[test]
fn one_agent_is_asked_by_name_wherever_it_is() {
    let mut mesh = placed();
    mesh.run(mesh.now + SECOND);
    let select = Select {
        agent: Some(name(6, "fast")),
        ..Select::default()
    };
    mesh.words.clear();
    mesh.ask(select, WINDOW);
    mesh.run(mesh.now + SECOND);
    let (_, report) = mesh.report();
    assert_eq!(
        (report.outcome.tally.ready, report.outcome.tally.expected()),
        (1, 1)
    );
    assert_eq!(report.answers.groups[0].one, name(6, "fast"));
    assert_eq!(mesh.words, [6, 4], "nobody else has to do with it");
}

#[test]
fn one_that_is_known_and_out_of_reach_is_not_asked() {
    let mut mesh = placed();
    mesh.run(mesh.now + SECOND);
    mesh.dies(4);
    let select = Select {
        agent: Some(name(6, "fast")),
        ..Select::default()
    };
    mesh.ask(select, WINDOW);
    let last = mesh.heard.last().map(|it| &it.1);
    assert_eq!(last, Some(&Output::Refused(7, Refusal::Nobody)));
}

#[test]
fn nodes_confirm_tier_by_tier_and_a_dead_one_does_not() {
    let mut mesh = placed();
    mesh.run(mesh.now + SECOND);
    for (tier, many) in [(1, 2), (2, 4)] {
        mesh.heard.clear();
        let select = Select {
            tier: Some(tier),
            ..Select::default()
        };
        mesh.ask(select, WINDOW);
        mesh.run(mesh.now + SECOND);
        let (_, report) = mesh.report();
        let tally = report.outcome.tally;
        assert_eq!((tally.ready, tally.expected()), (many, u64::from(many)));
        assert_eq!(report.answers.many(), 0, "they confirm, and say nothing");
    }
    mesh.heard.clear();
    let clusters = Select {
        tier: Some(2),
        ..Select::default()
    };
    mesh.later(HOP, 5, What::Dies);
    mesh.ask(clusters, WINDOW);
    mesh.run(mesh.now + SECOND);
    let tally = mesh.report().1.outcome.tally;
    assert_eq!((tally.ready, tally.transit, tally.expected()), (3, 1, 4));
}

#[test]
fn what_came_before_it_was_a_child_counts_when_it_is_one_and_who_is_back_is_what_it_was() {
    let mut mesh = placed();
    mesh.run(mesh.now + SECOND);
    let agent = name(2, "fast");
    let reading = readings(&mesh, 0).registry().get(&agent).cloned().unwrap();
    let mut fresh = Mesh::new(&[None, Some(0)]);
    let around = |children: &[usize]| {
        let children = children.iter().map(|it| id(*it)).collect();
        Input::Around(None, children)
    };
    fresh.give(0, around(&[]));
    let rows = vec![(agent, reading)];
    fresh.give(0, Input::Order(id(1), Order::Readings(rows)));
    assert_eq!(state(&fresh, 0, &agent), None);
    fresh.give(0, around(&[1]));
    assert_eq!(state(&fresh, 0, &agent), Some(State::Active));
    fresh.give(0, around(&[]));
    assert_eq!(state(&fresh, 0, &agent), Some(State::Offline));
    // It was cut off for a moment, and says nothing again of what it has said.
    fresh.give(0, around(&[1]));
    assert_eq!(state(&fresh, 0, &agent), Some(State::Active));
}
