//! Answers of thousands in one frame: equal ones together, what does not fit counted.

use std::collections::BTreeMap;

use chorus_protocol::arrival::reliability::{Outcome, Table};
use chorus_protocol::ids::{Digest, Incarnation, Label, NodeId, Place};
use chorus_protocol::impedance::{Class, Flags, Reading, State};
use chorus_protocol::op::answers::{
    ANSWER_BYTES_MAX, Answers, Group, REASON_BYTES_MAX, Unready, Why, beginning,
};
use chorus_protocol::op::census::{Census, Group as Agents, Kind};
use chorus_protocol::op::gather::Part;
use chorus_protocol::op::order::{Order, Said};
use chorus_protocol::op::{AgentName, OperationId};
use chorus_protocol::units::Micros;
use chorus_protocol::wire::codec::{self, BODY_BYTES_MAX};
use chorus_protocol::wire::message::{Command, Deliver, Message};

fn agent(n: usize) -> AgentName {
    let mut node = [0xff; 32];
    node[..8].copy_from_slice(&(n as u64).to_be_bytes());
    AgentName {
        node: NodeId(node),
        agent: Label::new("a-name-as-long-as-can-be").unwrap(),
    }
}

fn answers(texts: &[(&[u8], u32)]) -> Answers {
    let group = |(n, (text, many)): (usize, &(&[u8], u32))| Group {
        answer: text.to_vec().into(),
        many: *many,
        one: agent(n),
    };
    Answers {
        groups: texts.iter().enumerate().map(group).collect(),
        left_out: 0,
    }
}

#[test]
fn equal_answers_are_one_group_and_the_most_frequent_comes_first() {
    let merged = Answers::merged([
        &answers(&[(b"red", 3), (b"blue", 2)]),
        &answers(&[(b"blue", 4)]),
        &Answers {
            groups: Vec::new(),
            left_out: 7,
        },
    ]);
    let groups: Vec<_> = merged
        .groups
        .iter()
        .map(|it| (&it.answer[..], it.many))
        .collect();
    assert_eq!(groups, [(&b"blue"[..], 6), (b"red", 3)]);
    assert_eq!(merged.groups[0].one, agent(0), "the first by name");
    assert_eq!((merged.left_out, merged.many()), (7, 16));
}

#[test]
fn in_whatever_order_parts_are_merged_the_same_comes_of_it() {
    let parts = [
        answers(&[(b"a", 1), (b"b", 1)]),
        answers(&[(b"b", 1), (b"c", 5)]),
        answers(&[(b"a", 1)]),
    ];
    let all = Answers::merged(&parts);
    assert_eq!(Answers::merged(parts.iter().rev()), all);
    let two = Answers::merged(&parts[..2]);
    assert_eq!(Answers::merged([&two, &parts[2]]), all);
}

#[test]
fn what_does_not_fit_a_frame_is_counted_and_the_fullest_frame_is_sent() {
    let reason = "\u{1F9EA}".repeat(REASON_BYTES_MAX);
    let reason = beginning(&reason, REASON_BYTES_MAX);
    assert_eq!(reason.len(), REASON_BYTES_MAX);
    // Few that are as long as can be, and very many of a single byte.
    for length in [ANSWER_BYTES_MAX, 1, 300] {
        let texts: Vec<Vec<u8>> = (0..3_000usize)
            .map(|n| {
                let mut text = vec![0; length];
                let number = n.to_be_bytes();
                let room = length.min(number.len());
                text[..room].copy_from_slice(&number[number.len() - room..]);
                text
            })
            .collect();
        let texts: Vec<(&[u8], u32)> = texts.iter().map(|it| (&it[..], u32::MAX / 4_000)).collect();
        let all = answers(&texts);
        let many = all.many();
        let cut = all.cut();
        assert!(cut.left_out > 0 && !cut.groups.is_empty());
        assert_eq!(cut.many(), many, "of {length} bytes each");
        let named = (0..1_000).map(|n| (agent(n), Why::Conflict(reason.clone())));
        let unready = Unready {
            named: named.collect(),
            more: 5,
        };
        let unready = unready.cut();
        assert_eq!(unready.named.len() + unready.more as usize, 1_005);
        let said = Order::Said(Said {
            operation: OperationId {
                origin: NodeId([0xff; 32]),
                run: Incarnation(u64::MAX),
                number: u64::MAX,
            },
            expected: u32::MAX,
            part: Part {
                ready: u32::MAX,
                conflict: u32::MAX,
                lost: u32::MAX,
                skipped: u32::MAX,
            },
            answers: cut,
            unready,
            arrivals: Some(Box::new(full())),
        });
        fits(said);
    }
}

#[test]
fn a_reason_is_cut_between_letters() {
    assert_eq!(beginning("añb", 2), "a");
    assert_eq!(beginning("añb", 3), "añ");
    assert_eq!(beginning("ab", 120), "ab");
}

/// Whether an order is a frame, with room for what is around it.
fn fits(order: Order) {
    let frame = Message::Deliver(Deliver {
        seq: u64::MAX,
        id: u64::MAX,
        command: Command::Operation(order),
        age_ms: u32::MAX,
    });
    let bytes = codec::encode(&frame);
    assert!(bytes.len() <= BODY_BYTES_MAX - 512, "{}", bytes.len());
    assert_eq!(codec::decode::<Message>(&bytes), Ok(frame));
}

/// A table with something in each of its bins.
fn full() -> Table {
    let mut table = Table::default();
    let mut error_us = 1i64;
    while error_us < 1 << 37 {
        for tenth in 0..10 {
            table.record(&Outcome {
                confidence: tenth as f32 / 10.0,
                error_us: Some(error_us),
                is_hit: true,
                idle: Some(Micros(1 << 40)),
            });
        }
        error_us += 1 + error_us / 20;
    }
    // Counts as long as they can be.
    (0..20).for_each(|_| {
        let twice = table.clone();
        table.merge(&twice);
    });
    table
}

#[test]
fn the_kinds_and_the_readings_of_very_many_agents_fit_a_frame() {
    let long = |n: usize| Label::new(&format!("{n:0>24}")).unwrap();
    let mut kinds = BTreeMap::new();
    for n in 0..2_000 {
        let can: Vec<Label> = (0..16).map(|it| long(100 * n + it)).collect();
        let mut group = Agents::default();
        (0..13).for_each(|octave| (0..16).for_each(|it| group.add((1 << octave) * (16 + it))));
        group.many = 500;
        kinds.insert(Kind::new(Class::ALL[n % 6], &can), group);
    }
    let census = Census {
        nodes: vec![1],
        kinds: kinds.into_iter().collect(),
    };
    let sum = Census::with_below(&census, std::iter::empty());
    assert_eq!((sum.agents(), sum.is_sound()), (1_000_000, true));
    fits(Order::Have(sum));
    let reading = Reading {
        class: Class::Human,
        place: Place {
            sector: long(1),
            cluster: long(2),
        },
        state: State::Quarantined,
        z_ms: u32::MAX,
        net_ms: f32::MAX,
        unit_ms: f32::MAX,
        queue: u16::MAX,
        reliability: Some(1.0),
        drift: f32::MAX,
        flags: Flags::default(),
        context: Some(Digest([0xff; 32])),
        capabilities: (0..16).map(long).collect(),
    };
    let row = |n| {
        let name = AgentName {
            node: NodeId([0xff; 32]),
            agent: long(n),
        };
        (name, reading.clone())
    };
    fits(Order::Readings((0..64).map(row).collect()));
}
