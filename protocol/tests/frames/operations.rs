//! What frames about operations say: a question to those that can `text`, and how far ten are.

use chorus_protocol::ids::{Incarnation, Label};
use chorus_protocol::op::answers::{Answers, Group, Unready, Why};
use chorus_protocol::op::gather::Part;
use chorus_protocol::op::order::{Ask, Census, Said};
use chorus_protocol::op::{AgentName, OperationId, Order, Select};

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
    Order::Have(Census {
        agents: 10,
        by_capability: vec![(text(), 8)],
    })
}

pub fn ask(cast: &Cast) -> Order {
    Order::Ask(Ask {
        operation: operation(cast),
        select: Select {
            capability: Some(text()),
        },
        left_us: 500_000,
        question: b"which version runs?".to_vec(),
    })
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
    Order::Said(Said {
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
