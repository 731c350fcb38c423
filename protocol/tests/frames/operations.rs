//! What frames about operations say: a question to those that can `text`, and how far ten are.

use chorus_protocol::arrival::reliability::{Outcome, Table};
use chorus_protocol::ids::{Incarnation, Label, Place};
use chorus_protocol::impedance::{Class, Flags, Reading, State};
use chorus_protocol::op::answers::{Answers, Group, Unready, Why};
use chorus_protocol::op::census::{Census, Group as Agents, Kind};
use chorus_protocol::op::gather::Part;
use chorus_protocol::op::order::{Ask, Said};
use chorus_protocol::op::{AgentName, OperationId, Order, Request, Select};
use chorus_protocol::units::Micros;

use super::Cast;

fn text() -> Label {
    Label::new("text").expect("a name")
}

fn operation(cast: &Cast) -> OperationId {
    OperationId {
        origin: cast.receiver.id(),
        run: Incarnation::new(0, 3),
        number: 2,
    }
}

pub fn census() -> Order {
    let mut able = Agents::default();
    [15, 15, 400].into_iter().for_each(|it| able.add(it));
    let mut others = Agents::default();
    others.add(90);
    Order::Have(Census {
        nodes: vec![1],
        kinds: vec![
            (Kind::new(Class::Edge, &[]), others),
            (Kind::new(Class::Edge, &[text()]), able),
        ],
    })
}

pub fn ask(cast: &Cast) -> Order {
    Order::Ask(Box::new(Ask {
        operation: operation(cast),
        select: Select {
            sample: Some(8),
            ..Select::able(text())
        },
        left_us: 650_000,
        arrive_us: Some(400_000),
        request: Request::new(b"which version runs?".to_vec()),
    }))
}

pub fn readings(cast: &Cast) -> Order {
    let agent = AgentName {
        node: cast.sender.id(),
        agent: Label::new("e-1").expect("a name"),
    };
    let reading = Reading {
        class: Class::Edge,
        place: Place {
            sector: Label::new("s1").expect("a name"),
            cluster: Label::new("c2").expect("a name"),
        },
        state: State::Active,
        z_ms: 17,
        net_ms: 0.5,
        unit_ms: 11.0,
        queue: 0,
        reliability: Some(0.75),
        drift: 0.25,
        flags: Flags::default(),
        context: None,
        capabilities: vec![text()],
    };
    Order::Readings(vec![(agent, reading)])
}

pub fn said(cast: &Cast) -> Order {
    let agent = |name| AgentName {
        node: cast.sender.id(),
        agent: Label::new(name).expect("a name"),
    };
    let group = Group {
        answer: b"0.1.0".to_vec().into(),
        many: 5,
        one: agent("e-1"),
    };
    let skipped = Why::Skipped {
        would_need_ms: 900,
        available_ms: 500,
    };
    let mut arrivals = Table::default();
    let outcome = |error_us| Outcome {
        confidence: 0.5,
        error_us: Some(error_us),
        is_hit: true,
        idle: Some(Micros(9_000)),
    };
    [0, 0, 0, 0, 70]
        .iter()
        .for_each(|it| arrivals.record(&outcome(*it)));
    Order::Said(Said {
        arrivals: Some(Box::new(arrivals)),
        operation: operation(cast),
        expected: 8,
        part: Part {
            ready: 5,
            conflict: 1,
            lost: 1,
            skipped: 1,
        },
        answers: Answers {
            groups: vec![group],
            left_out: 0,
        },
        unready: Unready {
            named: vec![
                (agent("e-6"), Why::Conflict("it runs twice".into())),
                (agent("e-7"), Why::Lost("it crashed".into())),
                (agent("e-8"), skipped),
            ],
            more: 0,
        },
    })
}
