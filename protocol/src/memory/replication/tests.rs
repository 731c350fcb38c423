//! What neighbours say that is too much, too often or not true.

use super::*;
use crate::causality::version::{Replica, Version};
use crate::ids::{Digest, Incarnation, MeshId};
use crate::memory::key::Key;
use crate::memory::parcel::Look;
use crate::memory::record::Write;
use crate::units::{Noise, Seeded};
use crate::wire::identity::Identity;
use serde_bytes::ByteBuf;

const NOW: Micros = Micros::from_secs(100);

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

/// Node 1, a carrier as nodes 2 and 3 are, of a mesh of six.
fn machine() -> State {
    let mut state = State::new(node(1), Config::default());
    let nodes = (1..=6).map(node).collect();
    let carriers = (1..=3).map(node).collect();
    state.handle(Input::Members { nodes, carriers }, NOW);
    for n in 2..=4 {
        state.handle(Input::Connected(node(n)), NOW);
    }
    state
}

fn record(lamport: u64) -> Record {
    let identity = Identity::from_seed(&[9; 32]);
    let write = Write {
        key: Key::shared("k").expect("a key"),
        dot: Dot {
            replica: Replica {
                node: identity.id(),
                since: Incarnation(1),
            },
            lamport,
        },
        seen: Version::default(),
        value: Some(vec![1]),
        expires_s: None,
    };
    Record::seal(&identity, &MeshId([7; 32]), write).expect("a record")
}

fn merged(from: Option<u8>, record: &Record) -> Input {
    let is = Some(*record.digest());
    Input::Merged {
        from: from.map(node),
        fresh: true,
        record: record.clone(),
        change: Some(Change { was: None, is }),
    }
}

fn arrived(from: u8, record: &Record) -> Input {
    Input::Arrived {
        from: node(from),
        record: record.clone(),
    }
}

fn asked(from: u8, question: Question) -> Input {
    Input::Asked {
        from: node(from),
        question,
        ticket: 1,
    }
}

fn stored(dot: &Dot, nodes: impl IntoIterator<Item = u8>) -> Question {
    Question::Stored {
        dots: vec![*dot],
        nodes: nodes.into_iter().map(node).collect(),
    }
}

/// To whom it is told on which nodes a write is.
fn told(outputs: &[Output]) -> Vec<(NodeId, Vec<NodeId>)> {
    let told = outputs.iter().filter_map(|it| match it {
        Output::Ask {
            to,
            question: Question::Stored { nodes, .. },
            ..
        } => Some((*to, nodes.clone())),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_carrier_passes_on_before_its_own_disk_and_tells_after_it() {
    let (mut state, record) = (machine(), record(1));
    let first = state.handle(arrived(2, &record), NOW);
    let others = vec![node(3), node(4)];
    assert_eq!(first, [Output::Spread(others, record.clone())]);
    let again = state.handle(arrived(3, &record), NOW);
    assert_eq!(again, [], "a full disk sends nothing round in a circle");
    let then = state.handle(merged(Some(2), &record), NOW);
    assert_eq!(told(&then), [(node(2), vec![node(1)])]);
    assert_eq!(then.len(), 1, "it is not passed on again: {then:?}");
}

/// Answers what was told.
fn taken(state: &mut State, outputs: &[Output]) -> Vec<Output> {
    let asks = outputs.iter().filter_map(|it| match it {
        Output::Ask { to, ask, .. } => Some((*to, *ask)),
        _ => None,
    });
    let answers = asks.map(|(from, ask)| Input::Answered {
        from,
        ask,
        answer: Some(Answer::Taken(0)),
    });
    answers.flat_map(|it| state.handle(it, NOW)).collect()
}

#[test]
fn where_a_write_is_goes_on_once_and_so_never_in_a_circle() {
    let (mut state, record) = (machine(), record(1));
    state.handle(arrived(2, &record), NOW);
    let own = state.handle(merged(Some(2), &record), NOW);
    taken(&mut state, &own);
    let once = state.handle(asked(3, stored(record.dot(), [3, 4])), NOW);
    assert_eq!(told(&once), [(node(2), vec![node(3), node(4)])]);
    taken(&mut state, &once);
    let again = state.handle(asked(4, stored(record.dot(), [4])), NOW);
    assert_eq!(told(&again), []);
    let others = state.handle(asked(4, stored(record.dot(), [4, 5])), NOW);
    assert_eq!(
        told(&others),
        [],
        "it carries nothing, so it knows of itself alone"
    );
    let more = state.handle(asked(3, stored(record.dot(), [4, 5])), NOW);
    assert_eq!(told(&more), [(node(2), vec![node(5)])]);
}

#[test]
fn a_neighbour_is_told_of_one_write_at_once_and_of_those_that_follow_together() {
    let mut state = machine();
    let all: Vec<Record> = (1..=3).map(record).collect();
    let first = state.handle(merged(Some(2), &all[0]), NOW);
    for record in &all[1..] {
        assert_eq!(told(&state.handle(merged(Some(2), record), NOW)), []);
    }
    let next = taken(&mut state, &first);
    let dots = all[1..].iter().map(|it| *it.dot()).collect();
    let question = Question::Stored {
        dots,
        nodes: vec![node(1)],
    };
    let is_it =
        |it: &Output| matches!(it, Output::Ask { question: asked, .. } if *asked == question);
    assert!(next.len() == 1 && is_it(&next[0]), "{next:?}");
    assert_eq!(taken(&mut state, &next), []);
    // An answer that never comes holds up nothing for longer than it is waited for.
    let more = record(4);
    let first = state.handle(merged(Some(2), &more), NOW);
    assert_eq!(told(&first).len(), 1);
    let later = NOW + Config::default().patience + Micros(1);
    let second = state.handle(merged(Some(2), &record(5)), later);
    assert_eq!(told(&second).len(), 1);
}

#[test]
fn who_is_no_member_has_nothing_on_disk() {
    let (mut state, record) = (machine(), record(1));
    let count = Input::Count {
        put: 1,
        dot: *record.dot(),
        at: record.position(),
        want: Want::Nodes(4),
        until: NOW + Micros::from_secs(1),
    };
    state.handle(count, NOW);
    state.handle(merged(None, &record), NOW);
    let outputs = state.handle(asked(2, stored(record.dot(), 2..200)), NOW);
    let reached = outputs.iter().find_map(|it| match it {
        Output::Reached(reached) => Some(reached),
        _ => None,
    });
    let nodes = reached.map(|it| it.nodes.clone());
    assert_eq!(nodes, Some((1..=6).map(node).collect()));
}

#[test]
fn a_leaf_that_is_named_a_thousand_times_is_read_once() {
    let mut state = machine();
    let sum = state.handle(Input::Tick, NOW + Micros::from_secs(20));
    let ask_of = |outputs: &[Output]| {
        let mut asks = outputs.iter().filter_map(|it| match it {
            Output::Ask { to, ask, .. } if *to == node(2) => Some(*ask),
            _ => None,
        });
        asks.next().expect("a question")
    };
    let answered = |ask, answer| Input::Answered {
        from: node(2),
        ask,
        answer: Some(answer),
    };
    let branches = Answer::Branches(ByteBuf::from([7; 2048]));
    let leaves = state.handle(answered(ask_of(&sum), branches), NOW);
    let heads = Answer::Heads(vec![(5, ByteBuf::new()); 1000]);
    let compare = state.handle(answered(ask_of(&leaves), heads), NOW);
    assert_eq!(compare, [Output::Compare(node(2), vec![(5, Vec::new())])]);
}

#[test]
fn the_looks_of_another_run_have_other_names() {
    let nonces = [1, 2].map(|run| {
        let config = Config::default();
        let mut state = State::new(node(1), Config { run, ..config });
        state.handle(Input::Connected(node(2)), NOW);
        let nodes = (1..=6).map(node).collect();
        let carriers = BTreeSet::new();
        state.handle(Input::Members { nodes, carriers }, NOW);
        let look = Input::Look {
            look: 1,
            at: Position([1; 32]),
            has: Digest([0; 32]),
            until: NOW + Micros::from_secs(1),
        };
        let outputs = state.handle(look, NOW);
        let nonce = outputs.iter().find_map(|it| match it {
            Output::Ask {
                question: Question::Look(look),
                ..
            } => Some(look.nonce),
            _ => None,
        });
        nonce.expect("a question")
    });
    assert_ne!(nonces[0], nonces[1], "or nobody answers it again");
}

#[test]
fn nobody_keeps_a_look_open_for_weeks() {
    let mut state = machine();
    let look = Look {
        asker: node(3),
        nonce: 1,
        at: [1; 32],
        has: Digest([0; 32]),
        dot: None,
        within_ms: u32::MAX,
    };
    state.handle(asked(3, Question::Look(look)), NOW);
    let outputs = state.handle(Input::Tick, NOW + looks::WITHIN_MAX);
    let is_reply = |it: &Output| matches!(it, Output::Reply(1, Answer::Seen { .. }));
    assert!(outputs.iter().any(is_reply), "{outputs:?}");
}

fn asks(outputs: &[Output], of: impl Fn(&Question) -> bool) -> Option<u64> {
    let mut asks = outputs.iter().filter_map(|it| match it {
        Output::Ask { to, ask, question } if *to == node(2) && of(question) => Some(*ask),
        _ => None,
    });
    asks.next()
}

#[test]
fn strays_are_offered_until_they_are_where_they_should_be() {
    let config = Config::default();
    let mut state = State::new(
        node(1),
        Config {
            copies: 1,
            ..config
        },
    );
    let nodes: BTreeSet<NodeId> = [1, 2].map(node).into();
    let carriers = BTreeSet::from([node(2)]);
    state.handle(Input::Members { nodes, carriers }, NOW);
    let leaf = (0..=u16::MAX).find(|leaf| !state.should_hold(*leaf));
    let mut at = [0; 32];
    at[..2].copy_from_slice(&leaf.expect("one of the other's").to_be_bytes());
    let is = Some(Digest([1; 32]));
    state.handle(Input::Stands(Position(at), Change { was: None, is }), NOW);
    let mut now = NOW;
    let mut outputs = state.handle(Input::Connected(node(2)), now);
    for (alike, again) in [(false, true), (false, true), (true, true), (true, false)] {
        let ask = asks(&outputs, |it| matches!(it, Question::Sum(_)));
        let answered = |ask, answer| Input::Answered {
            from: node(2),
            ask,
            answer: Some(answer),
        };
        let same = answered(ask.expect("a comparison"), Answer::Same);
        let offer = state.handle(same, now);
        let ask = asks(&offer, |it| matches!(it, Question::Strays(_)));
        assert_eq!(ask.is_some(), again);
        if let Some(ask) = ask {
            let heads = Answer::Heads(vec![(leaf.unwrap_or(0), ByteBuf::new())]);
            let outputs = state.handle(answered(ask, heads), now);
            assert!(matches!(outputs[..], [Output::Offer(..)]));
            let (with, moved) = (node(2), 0);
            state.handle(Input::Compared { with, moved, alike }, now);
        }
        now = now + Micros::from_secs(20);
        outputs = state.handle(Input::Tick, now);
    }
}

#[test]
fn whatever_a_neighbour_says_little_follows() {
    let mut noise = Seeded::new(1);
    let mut any = move |many: u64| noise.bits() % many;
    let (mut state, mut now) = (machine(), NOW);
    for n in 0..20_000 {
        let from = node(2 + any(4) as u8);
        let bytes = |any: &mut dyn FnMut(u64) -> u64| {
            let many = [0, 1, 9, 48, 2_048][any(5) as usize];
            ByteBuf::from((0..many).map(|_| any(256) as u8).collect::<Vec<_>>())
        };
        let dots = [*record(1).dot(), *record(2).dot()];
        let digest = Digest([any(3) as u8; 32]);
        let leaf = any(65_536) as u16;
        let question = match any(6) {
            0 => Question::Sum(digest),
            1 => Question::Leaves(vec![(leaf as u8, bytes(&mut any)); any(100) as usize]),
            2 => Question::Strays(vec![(leaf, bytes(&mut any)); any(100) as usize]),
            3 => Question::Fetch(bytes(&mut any)),
            4 => Question::Stored {
                dots: dots.repeat(any(600) as usize),
                nodes: (0..any(250)).map(|n| node(n as u8)).collect(),
            },
            _ => Question::Look(Look {
                asker: node(any(9) as u8),
                nonce: any(5_000),
                at: [any(256) as u8; 32],
                has: digest,
                dot: None,
                within_ms: any(1 << 32) as u32,
            }),
        };
        let answer = match any(6) {
            0 => Answer::Same,
            1 => Answer::Branches(bytes(&mut any)),
            2 => Answer::Heads(vec![(leaf, bytes(&mut any)); any(50) as usize]),
            3 => Answer::Records(vec![bytes(&mut any)]),
            4 => Answer::Taken(any(9) as u32),
            _ => Answer::Seen {
                nodes: vec![from],
                others: vec![bytes(&mut any); any(5) as usize],
            },
        };
        let input = match any(9) {
            0..3 => Input::Asked {
                from,
                question,
                ticket: n,
            },
            3..6 => Input::Answered {
                from,
                ask: any(state.asks + 1),
                answer: Some(answer),
            },
            6 => merged(Some(2), &record(n + 3)),
            7 => arrived(2, &record(n + 3)),
            _ => {
                now = now + Micros::from_secs(any(3));
                Input::Tick
            }
        };
        let many = state.handle(input, now).len();
        assert!(many < 2_000, "{many} at once");
    }
    assert!(state.origins.len() <= ORIGINS_MAX && state.order.len() <= ORIGINS_MAX);
    assert!(state.origins.values().all(|it| it.told.len() <= 6));
    assert!(state.looks.len() <= looks::LOOKS_MAX);
}
