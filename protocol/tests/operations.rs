//! Operations over a tree of machines in virtual time: a question goes down to all agents, and one
//! answer comes up, whoever is slow, silent or dead.

#[path = "operations/arrival.rs"]
mod arrival;
#[path = "operations/measures.rs"]
mod measures;
#[path = "operations/mesh.rs"]
mod mesh;
#[path = "operations/readings.rs"]
mod readings;
#[path = "operations/truth.rs"]
mod truth;

use std::collections::BTreeSet;

use chorus_protocol::ids::Incarnation;
use chorus_protocol::impedance::Class;
use chorus_protocol::op::answers::{Answers, Group, Unready, Why};
use chorus_protocol::op::census::{Census, Group as Agents, Kind};
use chorus_protocol::op::gather::Part;
use chorus_protocol::op::order::{Ask, Said as Told};
use chorus_protocol::op::quorum::Decision;
use chorus_protocol::op::{Input, OperationId, Order, Output, Refusal, Request, Said, Select};
use chorus_protocol::units::{Micros, Noise, Seeded};
use mesh::{Does, HOP, Mesh, What, id, label, ready};

/// Three sectors with two leads each, and on each lead ten agents.
fn sixty(does: impl Fn(usize) -> Does) -> Mesh {
    let mut mesh = Mesh::tree(3, 2);
    let mut agent = 0;
    for node in [2, 3, 5, 6, 8, 9] {
        let names: Vec<String> = (0..10).map(|n| format!("a{n}")).collect();
        let mut agents: Vec<(&str, &[&str], Does)> = Vec::new();
        for name in &names {
            agents.push((name, &["echo"], does(agent)));
            agent += 1;
        }
        mesh.host(node, &agents);
    }
    mesh.run(Micros::from_millis(50));
    mesh
}

const WINDOW: Micros = Micros::from_millis(500);

#[test]
fn all_agents_are_asked_and_a_leads_ten_answers_are_one_word_upward() {
    let mut mesh = sixty(|_| ready("yes", 5));
    let census = mesh.nodes[0].as_ref().unwrap().census();
    assert_eq!(census.agents(), 60);
    assert_eq!(census.by_capability()[&label("echo")], 60);
    let began = mesh.now;
    mesh.ask(Select::default(), WINDOW);
    mesh.run(Micros::from_secs(5));
    let (at, report) = mesh.report();
    // Down two hops, five milliseconds of work, and up again: nobody waits for the window.
    assert_eq!(at.since(began), Micros::from_millis(13));
    assert_eq!(report.outcome.decision, Decision::Proceed);
    assert_eq!(report.outcome.tally.ready, 60);
    let groups = &report.answers.groups;
    assert_eq!((groups.len(), groups[0].many), (1, 60));
    assert_eq!(groups[0].answer.as_slice(), b"yes");
    let mut words = std::mem::take(&mut mesh.words);
    words.sort_unstable();
    assert_eq!(words, (1..10).collect::<Vec<_>>(), "one word of each");
}

#[test]
fn only_those_that_can_are_asked_and_nobody_is_refused_by_name() {
    let mut mesh = Mesh::tree(2, 1);
    mesh.host(
        2,
        &[("a", &["gpu"], ready("a", 1)), ("b", &[], ready("b", 1))],
    );
    mesh.host(0, &[("c", &["gpu"], ready("c", 1))]);
    mesh.run(Micros::from_millis(50));
    let select = |can| Select::able(label(can));
    mesh.ask(select("cooking"), WINDOW);
    assert_eq!(
        mesh.heard.pop().map(|it| it.1),
        Some(Output::Refused(7, Refusal::Nobody))
    );
    mesh.ask(select("gpu"), WINDOW);
    mesh.run(Micros::from_secs(1));
    let (_, report) = mesh.report();
    assert_eq!(report.outcome.tally.expected(), 2);
    let answers: Vec<_> = report
        .answers
        .groups
        .iter()
        .map(|it| &it.answer[..])
        .collect();
    assert_eq!(answers, [b"a", b"c"]);
}

#[test]
fn one_that_takes_45_seconds_changes_nothing_for_the_others_and_is_heard_in_the_end() {
    // A10: the same with it and without it.
    let outcome = |slow: bool| {
        let mut mesh = sixty(|n| match n {
            17 if slow => ready("at last", 45_000),
            _ => ready("yes", 2_000),
        });
        let began = mesh.now;
        mesh.ask(Select::default(), Micros::from_secs(5));
        mesh.run(Micros::from_secs(60));
        let (at, report) = mesh.report();
        (at.since(began), report.clone(), mesh.late())
    };
    let (took, with, late) = outcome(true);
    let (without_took, without, none_late) = outcome(false);
    assert_eq!((with.outcome.tally.ready, late), (59, 1));
    assert_eq!((without.outcome.tally.ready, none_late), (60, 0));
    assert_eq!(with.outcome.decision, without.outcome.decision);
    assert_eq!(with.answers.groups.len(), 1);
    // The nodes above it cannot know at once that it will be silent.
    assert!(took.since(without_took) <= Micros::from_millis(4), "{took}");
}

#[test]
fn who_is_silent_is_in_transit_when_the_window_closes() {
    let mut mesh = sixty(|n| if n < 12 { Does::Hangs } else { ready("yes", 5) });
    let began = mesh.now;
    mesh.ask(Select::default(), WINDOW);
    mesh.run(Micros::from_secs(5));
    let (at, report) = mesh.report();
    assert_eq!(at.since(began), WINDOW);
    let tally = report.outcome.tally;
    assert_eq!((tally.ready, tally.transit, tally.expected()), (48, 12, 60));
    assert_eq!(report.outcome.decision, Decision::Wait);
    let progress = mesh
        .heard
        .iter()
        .any(|(_, it)| matches!(it, Output::Progress(..)));
    assert!(progress, "one sees how far it is");
}

#[test]
fn the_dead_are_in_the_count_and_nobody_waits_for_them() {
    let mut mesh = sixty(|_| ready("yes", 5));
    // A lead with its ten, after the question left and before it came.
    mesh.ask(Select::default(), WINDOW);
    mesh.later(Micros::from_millis(1), 2, What::Dies);
    let began = mesh.now;
    mesh.run(Micros::from_secs(5));
    let (at, report) = mesh.report();
    let tally = report.outcome.tally;
    assert_eq!((tally.ready, tally.transit, tally.expected()), (50, 10, 60));
    assert!(at.since(began) < Micros::from_millis(50), "{at}");
}

#[test]
fn conflicts_and_the_lost_are_named_with_their_reasons() {
    let mut mesh = sixty(|n| match n {
        3..10 => Does::Says(Said::Conflict("it was blue".into()), 3),
        20 => Does::Says(Said::Lost("429".into()), 3),
        _ => ready("red", 5),
    });
    mesh.ask(Select::default(), WINDOW);
    mesh.run(Micros::from_secs(5));
    let (_, report) = mesh.report();
    assert_eq!(report.outcome.decision, Decision::ResolveConflicts);
    assert_eq!(report.outcome.tally.conflict, 7);
    let reasons = report.unready.named.iter().map(|(_, why)| why.clone());
    let reasons: Vec<Why> = reasons.collect();
    let blue = reasons
        .iter()
        .filter(|it| **it == Why::Conflict("it was blue".into()));
    assert_eq!(blue.count(), 7, "{reasons:?}");
}

#[test]
fn words_of_strangers_are_refused_and_change_nothing() {
    let mut mesh = sixty(|_| Does::Hangs);
    mesh.ask(Select::default(), WINDOW);
    mesh.run(mesh.now + HOP + HOP + HOP);
    let operation = OperationId {
        origin: id(0),
        run: Incarnation::new(0, 1),
        number: 1,
    };
    let said = |expected, ready, operation| {
        let part = Part {
            ready,
            ..Part::default()
        };
        Order::Said(Told {
            operation,
            expected,
            part,
            answers: Default::default(),
            unready: Default::default(),
            arrivals: Default::default(),
        })
    };
    let other = OperationId {
        number: 2,
        ..operation
    };
    let ask = Order::Ask(Box::new(Ask {
        operation: other,
        select: Select::default(),
        left_us: 1,
        arrive_us: None,
        request: Request::new(Vec::new()),
    }));
    let have = |kinds: &[(&str, u32)]| {
        let kind = |(can, many): &(&str, u32)| {
            let leads = Default::default();
            let agents = Agents { many: *many, leads };
            (Kind::new(Class::Edge, &[label(can)]), agents)
        };
        Order::Have(Census {
            nodes: vec![1],
            kinds: kinds.iter().map(kind).collect(),
        })
    };
    let lies = [
        (id(50), said(20, 20, operation)), // who was never asked
        (id(1), said(20, 21, operation)),  // of more than there are
        (id(1), said(u32::MAX, 0, operation)),
        (id(1), said(20, 20, other)),
        (id(1), ask.clone()), // a child asks
        (id(50), ask),
        (id(1), have(&[("b", 1), ("a", 1)])),
        (id(1), have(&[("a", 2_000_000)])),
    ];
    let before = mesh.nodes[0].as_ref().unwrap().census().clone();
    for (n, (from, lie)) in lies.into_iter().enumerate() {
        mesh.give(0, Input::Order(from, lie.clone()));
        let root = mesh.nodes[0].as_ref().unwrap();
        assert_eq!(root.refused(), n as u64 + 1, "{lie:?}");
    }
    assert_eq!(*mesh.nodes[0].as_ref().unwrap().census(), before);
    mesh.run(Micros::from_secs(5));
    assert_eq!(mesh.report().1.outcome.tally.transit, 60);
}

/// Whatever dies, hangs or comes twice: it ends once, in time, everybody is in one state, and
/// nobody is ready who has not said so.
#[test]
fn every_count_is_whole_in_any_weather() {
    let mut decided = BTreeSet::new();
    for seed in 0..300 {
        let mut noise = Seeded::new(seed);
        let mut some = |n: usize| (noise.uniform() * n as f64) as usize;
        let (hang, contradict, slowest_ms) = (some(10), some(9), 1 + some(700));
        let plans: Vec<Does> = (0..60)
            .map(|_| match some(100) {
                n if n < hang => Does::Hangs,
                n if n < hang + contradict => Does::Says(Said::Conflict("no".into()), 1),
                n if n < hang + contradict + 3 => Does::Says(Said::Lost("crash".into()), 1),
                _ => ready("yes", some(slowest_ms) as u64),
            })
            .collect();
        let mut mesh = sixty(|n| plans[n].clone());
        mesh.repeats = 0.3;
        let began = mesh.now;
        mesh.ask(Select::default(), WINDOW);
        for _ in 0..some(3) {
            let (node, at) = (1 + some(9), some(600) as u64);
            mesh.later(Micros::from_millis(at), node, What::Dies);
        }
        mesh.run(Micros::from_secs(10));
        let (at, report) = mesh.report();
        let tally = report.outcome.tally;
        assert!(at.since(began) <= WINDOW, "seed {seed}");
        assert_eq!(tally.expected(), 60, "seed {seed}");
        let able = plans
            .iter()
            .filter(|it| matches!(it, Does::Says(Said::Ready(_), ms) if *ms < 500));
        let able = able.count();
        assert!(
            tally.ready as usize <= able,
            "seed {seed}: {tally:?}, {able} able"
        );
        assert!(
            report.answers.many() <= u64::from(tally.ready),
            "seed {seed}"
        );
        decided.insert(report.outcome.decision);
    }
    assert_eq!(decided.len(), 4, "{decided:?}");
}

#[test]
fn what_is_too_long_or_too_many_of_a_child_is_refused() {
    let mut mesh = sixty(|_| Does::Hangs);
    mesh.ask(Select::default(), WINDOW);
    let operation = OperationId {
        origin: id(0),
        run: Incarnation::new(0, 1),
        number: 1,
    };
    let name = |n: u32| chorus_protocol::op::AgentName {
        node: id(1),
        agent: label(&format!("a{n}")),
    };
    let said = |answers: Vec<usize>, reasons: Vec<usize>| {
        let group = |(n, bytes): (usize, usize)| Group {
            answer: vec![n as u8; bytes].into(),
            many: 1,
            one: name(0),
        };
        let named = |(n, bytes): (usize, usize)| (name(n as u32), Why::Lost("x".repeat(bytes)));
        Order::Said(Told {
            operation,
            expected: 20,
            part: Part {
                ready: 20,
                ..Part::default()
            },
            answers: Answers {
                groups: answers.into_iter().enumerate().map(group).collect(),
                left_out: 0,
            },
            unready: Unready {
                named: reasons.into_iter().enumerate().map(named).collect(),
                more: 0,
            },
            arrivals: Default::default(),
        })
    };
    let kind = Kind::new(Class::Edge, &[]);
    let group = Agents {
        many: 1_000_001,
        leads: Default::default(),
    };
    let bad = [
        said(vec![16 * 1024 + 1], vec![]),
        said(vec![15_000; 3], vec![]),
        said(vec![], vec![121]),
        said(vec![], vec![1; 65]),
        Order::Have(Census {
            nodes: vec![1],
            kinds: vec![(kind, group)],
        }),
    ];
    for (n, order) in bad.into_iter().enumerate() {
        mesh.give(0, Input::Order(id(1), order));
        assert_eq!(mesh.nodes[0].as_ref().unwrap().refused(), n as u64 + 1);
    }
    mesh.give(
        0,
        Input::Order(id(1), said(vec![16 * 1024; 2], vec![120; 64])),
    );
    assert_eq!(mesh.nodes[0].as_ref().unwrap().refused(), 5);
}
