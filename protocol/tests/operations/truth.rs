//! What is altered on its way, claimed by a child, or said by a parent of yesterday.

use std::collections::BTreeSet;

use chorus_protocol::arrival::reliability::{Outcome, Table};
use chorus_protocol::ids::{AgentName, Incarnation, NodeId};
use chorus_protocol::impedance::State;
use chorus_protocol::op::order::{Ask, Said as Told};
use chorus_protocol::op::{
    Input, OperationId, Order, Output, Request, Said, Select, WINDOW_MAX, When,
};
use chorus_protocol::units::Micros;

use crate::mesh::{Does, Mesh, What, id, label, ready};

fn operation(origin: NodeId) -> OperationId {
    OperationId {
        origin,
        run: Incarnation::new(0, 1),
        number: 1,
    }
}

#[test]
fn a_question_that_is_not_what_was_sent_reaches_no_agent() {
    let mut mesh = Mesh::new(&[None, Some(0)]);
    mesh.host(1, &[("e", &[], ready("yes", 1))]);
    let mut ran = |question: &[u8]| {
        let ask = Ask {
            operation: operation(NodeId([question.len() as u8; 32])),
            select: Select::default(),
            left_us: 500_000,
            arrive_us: None,
            request: Request {
                question: question.to_vec(),
                ..Request::new(b"sent".to_vec())
            },
        };
        let node = mesh.nodes[1].as_mut().unwrap();
        let order = Input::Order(id(0), Order::Ask(Box::new(ask)));
        let outputs = node.handle(order, Micros::ZERO);
        outputs.iter().any(|it| matches!(it, Output::Run { .. }))
    };
    assert!(ran(b"sent"));
    assert!(!ran(b"other"));
}

#[test]
fn a_child_tells_of_no_more_arrivals_than_it_has_agents() {
    let mut mesh = Mesh::tree(1, 1);
    mesh.host(2, &[("e", &[], ready("yes", 400))]);
    mesh.run(Micros::from_millis(50));
    mesh.ask(Select::default(), Micros::from_millis(500));
    let says = |mesh: &mut Mesh, messages: usize, idle: Micros| {
        let mut table = Table::default();
        (0..messages).for_each(|_| {
            table.record(&Outcome {
                confidence: 0.5,
                error_us: Some(0),
                is_hit: true,
                idle: Some(idle),
            });
        });
        let said = Told {
            operation: operation(id(0)),
            expected: 1,
            part: Default::default(),
            answers: Default::default(),
            unready: Default::default(),
            arrivals: Some(Box::new(table)),
        };
        mesh.give(0, Input::Order(id(1), Order::Said(said)));
        mesh.nodes[0].as_ref().unwrap().refused()
    };
    assert_eq!(says(&mut mesh, 2, Micros::ZERO), 1);
    // Nobody holds for longer than the longest window.
    assert_eq!(says(&mut mesh, 1, WINDOW_MAX + Micros(1)), 2);
    assert_eq!(says(&mut mesh, 1, WINDOW_MAX), 2, "that can be");
}

#[test]
fn a_parent_of_yesterday_takes_nobody_away_from_the_one_of_today() {
    let mut mesh = crate::readings::placed();
    mesh.run(mesh.now + Micros::from_secs(1));
    let agent = crate::readings::name(6, "fast");
    let root = mesh.nodes[0].as_ref().unwrap().readings().registry();
    let reading = root.get(&agent).cloned().unwrap();
    let mut rows = |from, state| {
        let mut row = reading.clone();
        row.state = state;
        mesh.give(
            0,
            Input::Order(id(from), Order::Readings(vec![(agent, row)])),
        );
        crate::readings::state(&mesh, 0, &agent)
    };
    assert_eq!(rows(1, State::Active), Some(State::Active), "it has moved");
    assert_eq!(rows(4, State::Offline), Some(State::Active));
    assert_eq!(rows(1, State::Offline), Some(State::Offline));
}

#[test]
fn what_late_answers_said_is_told() {
    let mut mesh = Mesh::new(&[None]);
    mesh.host(0, &[("slow", &[], ready("at last", 2_000))]);
    mesh.ask(Select::default(), Micros::from_millis(500));
    mesh.run(Micros::from_secs(3));
    let late = mesh.heard.iter().filter_map(|(_, it)| match it {
        Output::Late(7, 1, answers) => answers.groups.first(),
        _ => None,
    });
    let said: BTreeSet<&[u8]> = late.map(|it| it.answer.as_slice()).collect();
    assert_eq!(said, BTreeSet::from([&b"at last"[..]]));
}

#[test]
fn what_was_in_time_is_not_told_as_late_though_the_node_beneath_says_it_again() {
    let mut mesh = Mesh::new(&[None, Some(0)]);
    let names: Vec<String> = (0..20).map(|n| format!("fast-{n}")).collect();
    let fast = names
        .iter()
        .map(|it| (it.as_str(), &[][..], ready("soon", 1)));
    let agents: Vec<_> = fast
        .chain([("slow", &[][..], ready("at last", 900))])
        .collect();
    mesh.host(1, &agents);
    mesh.run(Micros::from_secs(1));
    // Twenty of twenty-one are enough, so it ends long before the window does.
    mesh.ask(Select::default(), Micros::from_secs(3));
    mesh.run(Micros::from_secs(6));
    let told = mesh.heard.iter().filter_map(|(_, it)| match it {
        Output::Late(_, many, answers) => Some((*many, answers.clone())),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let (many, answers) = &told[0];
    let groups = answers.groups.iter();
    let said: Vec<_> = groups.map(|it| (it.answer.as_slice(), it.many)).collect();
    assert_eq!((*many, said), (1, vec![(&b"at last"[..], 1)]));
}

#[test]
fn who_is_silent_is_named_by_its_host_before_the_window_closes() {
    for window in [100, 1_000, 10_000] {
        let mut mesh = Mesh::tree(1, 2);
        mesh.host(2, &[("mute", &[], Does::Hangs)]);
        mesh.host(3, &[("e", &[], ready("yes", 1))]);
        mesh.run(Micros::from_millis(50));
        mesh.ask(Select::default(), Micros::from_millis(window));
        mesh.run(Micros::from_secs(12));
        let (_, report) = mesh.report();
        assert_eq!(report.outcome.tally.transit, 1, "{window} ms");
        let named: Vec<_> = report.unready.named.iter().map(|it| it.0).collect();
        assert_eq!(named, [crate::readings::name(2, "mute")], "{window} ms");
        let words = mesh.words.iter().filter(|it| **it == 2).count();
        assert!(words <= 2, "before the end and at it: {words} words");
    }
}

#[test]
fn who_is_silent_until_the_window_closes_was_lost_and_who_still_had_time_was_not() {
    // Two nodes with as many fast agents each, and one more that does this.
    let arrivals = |fast: usize, last: [Does; 2]| {
        let mut mesh = Mesh::new(&[None, Some(0)]);
        for (node, last) in last.into_iter().enumerate() {
            let names: Vec<String> = (0..fast).map(|n| format!("fast-{n}")).collect();
            let fast = names.iter();
            let fast = fast.map(|it| (it.as_str(), &[][..], ready("soon", 1)));
            let agents: Vec<_> = fast.chain([("last", &[][..], last)]).collect();
            mesh.host(node, &agents);
        }
        mesh.run(Micros::from_secs(1));
        mesh.ask(Select::default(), Micros::from_secs(3));
        mesh.run(Micros::from_secs(9));
        let (_, report) = mesh.report();
        let arrivals = &report.arrivals;
        (
            report.outcome.tally.ready,
            arrivals.messages(),
            arrivals.hit_rate(),
        )
    };
    let (soon, slow, mute) = (ready("soon", 1), ready("at last", 900), Does::Hangs);
    // 40 of 42 are enough, long before the window closes.
    assert_eq!(arrivals(20, [slow.clone(), slow]), (40, 40, Some(1.0)));
    for last in [[mute.clone(), soon.clone()], [soon, mute]] {
        assert_eq!(arrivals(3, last), (7, 8, Some(0.875)));
    }
}

#[test]
fn what_was_sent_to_a_node_that_dies_was_lost() {
    let mut mesh = Mesh::new(&[None, Some(0), Some(0)]);
    let does = [
        ("a", &[][..], ready("yes", 600)),
        ("b", &[], ready("yes", 600)),
    ];
    mesh.place();
    mesh.host(1, &does);
    mesh.host(2, &does);
    mesh.run(Micros::from_secs(1));
    mesh.ask(Select::default(), Micros::from_secs(3));
    mesh.later(Micros::from_millis(300), 2, What::Dies);
    mesh.run(Micros::from_secs(9));
    let (_, report) = mesh.report();
    let arrivals = &report.arrivals;
    assert_eq!(
        (report.outcome.tally.ready, report.outcome.tally.transit),
        (2, 2)
    );
    assert_eq!((arrivals.messages(), arrivals.sent()), (2, 4));
    assert_eq!(arrivals.hit_rate(), Some(0.5));
    let named: Vec<_> = report.unready.named.iter().map(|it| it.0).collect();
    assert_eq!(
        named,
        ["a", "b"].map(|agent| crate::readings::name(2, agent))
    );
}

/// Who is named as not ready when node 2 dies, of an `a` that answers after 600 ms and a `b` that
/// can do a thing and answers after `soon_ms`.
fn named_when_one_dies(select: Select, soon_ms: u64) -> (u32, Vec<AgentName>) {
    let mut mesh = Mesh::new(&[None, Some(0), Some(1)]);
    mesh.place();
    mesh.host(0, &[("a", &["text"], ready("yes", 600))]);
    let (a, b) = (ready("yes", 600), ready("yes", soon_ms));
    mesh.host(2, &[("a", &[], a), ("b", &["text"], b)]);
    mesh.run(Micros::from_secs(1));
    mesh.ask(select, Micros::from_secs(3));
    // The node between them, so that what is beneath it is lost too.
    mesh.later(Micros::from_millis(300), 1, What::Dies);
    mesh.run(Micros::from_secs(9));
    let (_, report) = mesh.report();
    let named = report.unready.named.iter().map(|it| it.0);
    (report.outcome.tally.transit, named.collect())
}

#[test]
fn those_of_a_node_that_is_gone_are_named_where_it_is_known_who_they_are() {
    let [a, b] = ["a", "b"].map(|agent| crate::readings::name(2, agent));
    let text = Select::able(label("text"));
    assert_eq!(named_when_one_dies(Select::default(), 600), (2, vec![a, b]));
    assert_eq!(named_when_one_dies(text.clone(), 600), (1, vec![b]));
    let only = Select {
        agent: Some(a),
        ..Select::default()
    };
    assert_eq!(named_when_one_dies(only, 600), (1, vec![a]));
    // With the answer of the one came who had not answered yet.
    assert_eq!(named_when_one_dies(Select::default(), 10), (1, vec![a]));
    // Which of them were drawn is not known either.
    let sample = Select {
        sample: Some(3),
        ..Select::default()
    };
    assert_eq!(named_when_one_dies(sample, 600), (2, vec![]));
}

#[test]
fn those_of_a_dead_node_are_lost_though_it_is_decided_while_others_hold() {
    let mut mesh = Mesh::new(&[None, Some(0), Some(1), Some(1)]);
    let no = Does::Says(Said::Conflict("no".into()), 20);
    let holding = ["a", "b", "c", "d"].map(|it| (it, &[][..], ready("yes", 1)));
    let two = [("e", &[][..], no.clone()), ("f", &[], no)];
    let agents: Vec<_> = holding.into_iter().chain(two).collect();
    mesh.host(2, &agents);
    mesh.host(3, &[("a", &[], Does::Hangs), ("b", &[], Does::Hangs)]);
    mesh.run(Micros::from_secs(1));
    let at = Micros::from_secs(1);
    mesh.ask_when(Select::default(), Micros::from_millis(500), When::In(at));
    mesh.later(Micros::from_millis(300), 3, What::Dies);
    mesh.run(Micros::from_secs(9));
    let (done, report) = mesh.report();
    assert!(done < Micros::from_secs(2), "before T: {done:?}");
    let (tally, arrivals) = (report.outcome.tally, &report.arrivals);
    assert_eq!((tally.ready, tally.conflict, tally.transit), (0, 2, 6));
    // Four hold, two have contradicted.
    assert_eq!((arrivals.messages(), arrivals.sent()), (6, 8));
}
