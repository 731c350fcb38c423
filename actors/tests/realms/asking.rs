//! Questions and answers.

use std::time::Duration;

use chorus_actors::memory::realm::{Event, Order, Reply, Why};
use chorus_protocol::ids::NodeId;

use super::nodes::{Node, id, node, node_with};

fn ask(node: &Node, number: u64, to: NodeId, bytes: &[u8]) {
    node.order(Order::Ask {
        id: number,
        to,
        bytes: bytes.into(),
    });
}

fn asked(node: &mut Node) -> (Vec<u8>, Reply) {
    node.event("a question", |event| match event {
        Event::Asked { bytes, reply, .. } => Some((bytes.clone(), *reply)),
        _ => None,
    })
}

fn answered(node: &mut Node, number: u64) -> Result<Vec<u8>, Why> {
    node.event("an answer", |event| match event {
        Event::Answered { id, result, .. } if *id == number => Some(result.clone()),
        _ => None,
    })
}

fn pair() -> (Node, Node) {
    let (one, two) = (node(1), node(2));
    one.knows(&[1, 2], &[&two]);
    two.knows(&[1, 2], &[&one]);
    (one, two)
}

#[test]
fn a_question_of_a_megabyte_is_answered_with_one() {
    let (mut one, mut two) = pair();
    let mebibyte = vec![7; 1024 * 1024];
    ask(&one, 1, two.id, &mebibyte);
    let (question, reply) = asked(&mut two);
    assert_eq!(question, mebibyte);
    let bytes = mebibyte.clone();
    two.order(Order::Answer { reply, bytes });
    assert_eq!(answered(&mut one, 1), Ok(mebibyte));
}

#[test]
fn a_question_that_is_too_large_is_not_sent() {
    let (mut one, two) = pair();
    ask(&one, 1, two.id, &vec![7; 1024 * 1024 + 1]);
    assert_eq!(answered(&mut one, 1), Err(Why::TooLarge));
}

/// The asker has a larger limit than the other side.
#[test]
fn a_question_that_is_too_large_for_the_other_side_breaks_and_the_next_one_passes() {
    let mut one = node_with(1, |with| with.limits.ask_bytes_max = 4 * 1024 * 1024);
    let mut two = node(2);
    one.knows(&[1, 2], &[&two]);
    two.knows(&[1, 2], &[]);
    ask(&one, 1, two.id, &vec![7; 1024 * 1024 + 1]);
    assert_eq!(answered(&mut one, 1), Err(Why::Broken));
    two.counted("asks_broken", 1);

    ask(&one, 2, two.id, b"small");
    let (question, reply) = asked(&mut two);
    assert_eq!(question, b"small");
    let bytes = Vec::new();
    two.order(Order::Answer { reply, bytes });
    assert_eq!(answered(&mut one, 2), Ok(vec![]));
    assert_eq!(one.count("connections_opened"), 1, "the connection stood");
}

#[test]
fn one_peer_has_so_many_slots_and_another_has_its_own() {
    let mut one = node_with(1, |with| with.limits.asks_per_peer = 9);
    let mut two = node_with(2, |with| with.limits.asks_per_peer = 3);
    let mut three = node(3);
    two.knows(&[1, 2, 3], &[]);
    one.knows(&[1, 2, 3], &[&two]);
    three.knows(&[1, 2, 3], &[&two]);
    for n in 0..4 {
        ask(&one, n, two.id, b"?");
    }
    let replies: Vec<Reply> = (0..3).map(|_| asked(&mut two).1).collect();
    let busy = one.event("one turned away", |event| match event {
        Event::Answered { result, .. } => Some(result.clone()),
        _ => None,
    });
    assert_eq!(busy, Err(Why::Busy));
    two.counted("asks_over_slots", 1);

    ask(&three, 7, two.id, b"!");
    let (question, reply) = asked(&mut two);
    assert_eq!(question, b"!");
    for reply in replies.into_iter().chain([reply]) {
        let bytes = b"yes".to_vec();
        two.order(Order::Answer { reply, bytes });
    }
    assert_eq!(answered(&mut three, 7), Ok(b"yes".to_vec()));
    for _ in 0..3 {
        let yes = one.event("an answer", |event| match event {
            Event::Answered { result, .. } => Some(result.clone()),
            _ => None,
        });
        assert_eq!(yes, Ok(b"yes".to_vec()));
    }
    // Its slots are free again.
    ask(&one, 9, two.id, b"again");
    assert_eq!(asked(&mut two).0, b"again");
}

#[test]
fn who_is_no_member_or_not_there_is_not_asked() {
    let mut one = node(1);
    let gone = node(2);
    one.knows(&[1, 2], &[&gone]);
    drop(gone);
    ask(&one, 1, id(2), b"?");
    assert_eq!(answered(&mut one, 1), Err(Why::Unreachable));
    ask(&one, 2, id(3), b"?");
    assert_eq!(answered(&mut one, 2), Err(Why::NoMember));
}

#[test]
fn an_answer_that_comes_too_late_is_counted() {
    let mut one = node_with(1, |with| {
        with.limits.ask_timeout = Duration::from_millis(300)
    });
    let mut two = node(2);
    one.knows(&[1, 2], &[&two]);
    two.knows(&[1, 2], &[]);
    ask(&one, 1, two.id, b"?");
    let (_, reply) = asked(&mut two);
    assert_eq!(answered(&mut one, 1), Err(Why::Timeout));
    let bytes = b"late".to_vec();
    // The other side learns of it when it writes.
    two.order(Order::Answer { reply, bytes });
    let bytes = b"twice".to_vec();
    two.order(Order::Answer { reply, bytes });
    two.counted("answers_late", 1);
}
