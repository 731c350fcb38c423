//! One node's operations without a mesh: whom it hears, what it keeps, what it says of itself.

use std::collections::BTreeSet;

use chorus_protocol::ids::{Incarnation, Label, NodeId, Place};
use chorus_protocol::impedance::Class;
use chorus_protocol::op::census::{Census, Group, Kind};
use chorus_protocol::op::gather::Config;
use chorus_protocol::op::order::{Ask, Priority};
use chorus_protocol::op::{
    Agent, Input, OperationId, Operations, Order, Output, Question, Request, Said, Select, Took,
    WINDOW_MAX, When,
};
use chorus_protocol::units::Micros;

fn id(n: usize) -> NodeId {
    NodeId([n as u8 + 1; 32])
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

#[test]
fn what_a_child_has_counts_from_when_it_is_a_child_on_and_who_is_none_fills_nothing() {
    let mut node = Operations::new(id(0), Incarnation::new(0, 1));
    let now = Micros::ZERO;
    let have = |agents| {
        let leads = Default::default();
        let group = Group {
            many: agents,
            leads,
        };
        Order::Have(Census {
            nodes: vec![1],
            kinds: vec![(Kind::new(Class::Edge, &[]), group)],
        })
    };
    node.handle(Input::Order(id(1), have(3)), now);
    assert_eq!(node.census().agents(), 0);
    node.handle(Input::Around(None, BTreeSet::from([id(1)])), now);
    assert_eq!(node.census().agents(), 3);
    for n in 2..255 {
        node.handle(Input::Order(id(n), have(1)), now);
    }
    assert_eq!(node.refused(), 54, "200 are kept");
    // A new child finds room all the same.
    node.handle(Input::Around(None, BTreeSet::from([id(1), id(254)])), now);
    node.handle(Input::Order(id(254), have(5)), now);
    assert_eq!((node.census().agents(), node.refused()), (8, 54));
    node.handle(Input::Around(None, BTreeSet::from([id(254)])), now);
    assert_eq!(node.census().agents(), 5);
}

#[test]
fn no_window_is_so_long_that_it_never_closes() {
    let mut node = Operations::new(id(1), Incarnation::new(0, 1));
    let agent = Agent {
        name: label("e"),
        class: Class::Edge,
        capabilities: Vec::new(),
        context: None,
    };
    node.handle(Input::Agents(vec![agent]), Micros::ZERO);
    node.handle(
        Input::Around(Some((id(0), Incarnation(1))), BTreeSet::new()),
        Micros::ZERO,
    );
    for number in 0..70 {
        let ask = Order::Ask(Box::new(Ask {
            operation: OperationId {
                origin: id(0),
                run: Incarnation(1),
                number,
            },
            select: Select::default(),
            left_us: u64::MAX,
            arrive_us: None,
            request: Request {
                priority: Priority::CRITICAL,
                ..Request::new(Vec::new())
            },
        }));
        let outputs = node.handle(Input::Order(id(0), ask), Micros::ZERO);
        let runs = outputs.iter().any(|it| matches!(it, Output::Run { .. }));
        assert_eq!(runs, number < 64, "{number}: beyond that it is busy");
    }
    let call = node.next_deadline();
    assert!(call < WINDOW_MAX, "who is silent is said before the end");
    node.handle(Input::Tick, call);
    node.handle(Input::Tick, node.next_deadline());
    assert_eq!(node.next_deadline(), WINDOW_MAX);
}

#[test]
fn a_parent_that_was_restarted_is_told_anew_and_begins_nothing_in_our_name() {
    let mut node = Operations::new(id(1), Incarnation::new(0, 1));
    let agent = Agent {
        name: label("e"),
        class: Class::Edge,
        capabilities: Vec::new(),
        context: None,
    };
    node.handle(Input::Agents(vec![agent]), Micros::ZERO);
    let mut around = |run| {
        let parent = Some((id(0), Incarnation(run)));
        let outputs = node.handle(Input::Around(parent, BTreeSet::new()), Micros::ZERO);
        let have = |it: &&Output| matches!(it, Output::Send(_, Order::Have(_)));
        outputs.iter().filter(have).count()
    };
    assert_eq!((around(1), around(1), around(2)), (1, 0, 1));
    let ask = Order::Ask(Box::new(Ask {
        operation: OperationId {
            origin: id(1),
            run: Incarnation::new(0, 1),
            number: 1,
        },
        select: Select::default(),
        left_us: 1_000,
        arrive_us: None,
        request: Request::new(Vec::new()),
    }));
    assert_eq!(node.handle(Input::Order(id(0), ask), Micros::ZERO), []);
    assert_eq!(node.refused(), 1);
}

/// A node that hosts so many agents.
fn hosting(many: usize) -> (Operations, Vec<Label>) {
    let mut node = Operations::new(id(0), Incarnation::new(0, 1));
    let names: Vec<Label> = (0..many).map(|n| label(&format!("a{n}"))).collect();
    let agents = names.iter().map(|name| Agent {
        name: *name,
        class: Class::Edge,
        capabilities: Vec::new(),
        context: None,
    });
    node.handle(Input::Agents(agents.collect()), Micros::ZERO);
    (node, names)
}

/// Asks all of them.
fn begin(node: &mut Operations, ticket: u64, now: Micros) -> OperationId {
    let question = Question {
        select: Select::default(),
        request: Request::new(Vec::new()),
        config: Config::default(),
        when: When::Now,
    };
    let began = node.handle(Input::Begin(ticket, Box::new(question)), now);
    let Some(Output::Began(_, operation, _)) = began.first() else {
        panic!("{began:?}");
    };
    *operation
}

#[test]
fn an_agent_that_answers_what_nothing_is_kept_of_has_no_more_to_do() {
    let (mut node, names) = hosting(1);
    let mut now = Micros::ZERO;
    let mut operations = Vec::new();
    for ticket in 0..300 {
        operations.push(begin(&mut node, ticket, now));
        now = now + Config::default().window;
        node.handle(Input::Tick, now);
    }
    let place = Place {
        sector: label("s1"),
        cluster: label("c1"),
    };
    let queue = |node: &mut Operations| {
        let echo = Input::Echoed(names[0], Micros::from_millis(1), Micros::ZERO);
        node.handle_all([echo, Input::Place(place)], now);
        let mut readings = node.readings().registry().iter();
        readings.next().map(|it| it.1.queue)
    };
    assert_eq!(queue(&mut node), Some(300));
    for operation in operations {
        let said = Said::Ready(Vec::new());
        node.handle(Input::Answered(operation, names[0], said, None), now);
    }
    assert_eq!(queue(&mut node), Some(0));
}

/// Of an answer that is no other's.
fn answer_of(n: usize, ticket: u64) -> Vec<u8> {
    let mut answer = vec![ticket as u8; 16 * 1024];
    answer[..2].copy_from_slice(&(n as u16).to_be_bytes());
    answer
}

#[test]
fn answers_that_there_is_no_room_for_are_counted() {
    let (mut node, names) = hosting(1_200);
    let operation = begin(&mut node, 1, Micros::ZERO);
    let mut done = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let said = Said::Ready(answer_of(n, 1));
        let answered = Input::Answered(operation, *name, said, Some(Took::default()));
        done.extend(node.handle(answered, Micros::ZERO));
    }
    let Some(Output::Done(_, report)) = done.iter().find(|it| matches!(it, Output::Done(..)))
    else {
        panic!("{done:?}");
    };
    // 1,140 of them are certain, and 16 MiB are kept.
    let kept = (report.answers.groups.len(), report.answers.left_out);
    assert_eq!(kept, (1_024, 1_140 - 1_024));
}

#[test]
fn answers_of_what_is_over_take_no_room_from_what_is_not() {
    let (mut node, names) = hosting(600);
    let mut now = Micros::ZERO;
    // Each has 9.4 MB of answers, and there is room for 16: first late ones, then those after
    // contradictions that decide before them, then those that are told; and all of it again.
    for ticket in 1..=6 {
        let operation = begin(&mut node, ticket, now);
        let in_time = ticket % 3 == 0;
        if ticket % 3 == 1 {
            now = now + Config::default().window;
            node.handle(Input::Tick, now);
        }
        let contradict = if ticket % 3 == 2 { 31 } else { 0 };
        let mut done = None;
        for (n, name) in names.iter().enumerate() {
            let said = match n < contradict {
                true => Said::Conflict("no".into()),
                false => Said::Ready(answer_of(n, ticket)),
            };
            let answered = Input::Answered(operation, *name, said, Some(Took::default()));
            for output in node.handle(answered, now) {
                if let Output::Done(_, report) = output {
                    done = Some(report);
                }
            }
        }
        assert_eq!(done.is_some(), ticket % 3 != 1, "{ticket}");
        if let Some(report) = done.filter(|_| in_time) {
            assert_eq!(report.answers.left_out, 0, "{ticket}");
            assert_eq!(
                report.answers.groups.len(),
                570,
                "{ticket}: 95 of 100 are certain"
            );
        }
    }
}
