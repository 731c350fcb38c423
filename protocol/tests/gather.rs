//! Gather against every order in which answers can come, and against those that lie.

use std::collections::BTreeMap;

use chorus_protocol::op::gather::{
    Config, Error, Gather, Input, Outcome, Output, Part, share_in_time,
};
use chorus_protocol::op::quorum::Decision;
use chorus_protocol::units::{Micros, Noise, Seeded};

const MS: Micros = Micros::from_millis(1);

fn agents(many: u32) -> Gather<u32> {
    Gather::new(Config::default(), (0..many).map(|n| (n, 1)), Micros::ZERO)
}

fn done(outputs: &[Output]) -> Option<Outcome> {
    outputs.iter().find_map(|output| match output {
        Output::Done(outcome) => Some(*outcome),
        Output::Late(_) => None,
    })
}

#[test]
fn t_leaves_time_for_those_that_are_needed_and_half_of_the_others() {
    let rank = |expected: u32, minimum| {
        let rank = share_in_time(expected, minimum) * f64::from(expected);
        rank.ceil() as u32
    };
    for (expected, minimum, many) in [
        (1, 950, 1),
        (12, 950, 12),
        (20, 950, 19),
        (40, 950, 39),
        (100, 950, 97),
        (30_000, 950, 29_250),
        (7, 500, 5),
        (100, 0, 50),
        (100, 1_000, 100),
    ] {
        assert_eq!(rank(expected, minimum), many, "{expected}, {minimum}");
    }
    assert!((1..3_000).all(|all| rank(all, 1_000) == all && rank(all, 950) * 20 >= all * 19));
}

#[test]
fn it_ends_with_the_answer_that_makes_it_certain() {
    let mut gather = agents(100);
    for n in 0..94 {
        let outputs = gather.handle(Input::Said(n, 1, Part::READY), MS).unwrap();
        assert_eq!(outputs, [], "after {n}");
    }
    let outputs = gather.handle(Input::Said(94, 1, Part::READY), MS).unwrap();
    let outcome = done(&outputs).unwrap();
    assert_eq!(outcome.decision, Decision::Proceed);
    assert!(outcome.success);
    assert_eq!((outcome.tally.ready, outcome.tally.transit), (95, 5));
    assert_eq!(gather.next_deadline(), Micros::NEVER);
    // Who answers now is late, once.
    let late = Input::Said(95, 1, Part::READY);
    assert_eq!(gather.handle(late, MS).unwrap(), [Output::Late(1)]);
    assert_eq!(gather.handle(late, MS).unwrap(), []);
    assert_eq!(gather.tally(), outcome.tally);
}

#[test]
fn what_is_let_go_of_those_that_say_no_more_changes_no_count() {
    let (mut whole, mut folded) = (agents(10), agents(10));
    let words = [Part::READY, Part::CONFLICT, Part::LOST, Part::SKIPPED];
    for (n, part) in (0..8).zip(words.into_iter().cycle()) {
        // Half of them come late.
        let at = if n < 4 { MS } else { Micros::from_millis(600) };
        let input = Input::Said(n, 1, part);
        assert_eq!(whole.handle(input, at), folded.handle(input, at));
        folded.fold(|it| *it != 0);
        let count = |it: &Gather<u32>| (it.tally(), it.sum(), it.expected(), it.open());
        assert_eq!(count(&whole), count(&folded), "after {n}");
    }
    let again = |n| Input::Said(n, 1, Part::READY);
    assert_eq!(folded.handle(again(0), MS), Ok(vec![]), "it was kept");
    assert_eq!(folded.handle(again(1), MS), Err(Error::Stranger));
    assert_eq!(folded.waited_for().collect::<Vec<_>>(), [8, 9]);
}

#[test]
fn whoever_is_patient_waits_for_the_answers_that_decide_nothing() {
    let config = Config {
        patient: true,
        ..Config::default()
    };
    let begin = || Gather::new(config, (0..100).map(|n| (n, 1)), Micros::ZERO);
    let (mut all, mut most) = (begin(), begin());
    for n in 0..99 {
        for gather in [&mut all, &mut most] {
            let outputs = gather.handle(Input::Said(n, 1, Part::READY), MS).unwrap();
            assert_eq!(outputs, [], "after {n}");
        }
    }
    let outputs = all.handle(Input::Said(99, 1, Part::READY), MS).unwrap();
    assert_eq!(done(&outputs).unwrap().tally.ready, 100);
    let outputs = most.handle(Input::Tick, most.next_deadline()).unwrap();
    assert_eq!(done(&outputs).unwrap().tally.ready, 99);
}

#[test]
fn the_window_ends_it_and_who_is_silent_stays_in_the_count() {
    let mut gather = agents(10);
    for n in 0..8 {
        gather.handle(Input::Said(n, 1, Part::READY), MS).unwrap();
    }
    let before = Micros(gather.next_deadline().0 - 1);
    assert_eq!(gather.handle(Input::Tick, before).unwrap(), []);
    assert_eq!(gather.waited_for().collect::<Vec<_>>(), [8, 9]);
    let end = gather.next_deadline();
    // The answer that comes with the end is too late, and both are said.
    let outputs = gather.handle(Input::Said(8, 1, Part::READY), end).unwrap();
    let outcome = done(&outputs).unwrap();
    assert_eq!(outputs, [Output::Done(outcome), Output::Late(1)]);
    assert_eq!((outcome.tally.ready, outcome.tally.transit), (8, 2));
    assert_eq!(outcome.decision, Decision::Wait);
    assert!(!outcome.success);
    assert_eq!(outcome.elapsed, Config::default().window);
    assert_eq!(outcome.tally.expected(), 10);
}

#[test]
fn who_was_skipped_counts_against_success() {
    let mut gather = agents(100);
    for n in 90..100 {
        let outputs = gather.handle(Input::Said(n, 1, Part::SKIPPED), MS).unwrap();
        assert_eq!(outputs, [], "without {n}");
    }
    for n in 0..84 {
        let outputs = gather.handle(Input::Said(n, 1, Part::READY), MS).unwrap();
        assert_eq!(outputs, [], "after {n}");
    }
    // With five open ones nothing but this can come of it: not 95 ready, not more than five
    // in contradiction, not more than ten on the way.
    let outputs = gather.handle(Input::Said(84, 1, Part::READY), MS).unwrap();
    let outcome = done(&outputs).unwrap();
    assert_eq!(outcome.decision, Decision::Retry);
    assert!(!outcome.success);
    assert_eq!(outcome.tally.expected(), 100);
}

#[test]
fn it_does_not_wait_for_those_that_are_gone() {
    let mut gather = agents(10);
    for n in 0..8 {
        gather.handle(Input::Said(n, 1, Part::READY), MS).unwrap();
    }
    assert_eq!(gather.handle(Input::Gone(8), MS).unwrap(), []);
    let outputs = gather.handle(Input::Gone(9), MS).unwrap();
    let outcome = done(&outputs).unwrap();
    // Nobody knows what became of them, so they are in transit still.
    assert_eq!(outcome.decision, Decision::Wait);
    assert_eq!((outcome.tally.ready, outcome.tally.transit), (8, 2));
}

#[test]
fn who_was_taken_for_gone_may_answer_in_time() {
    let mut gather = agents(2);
    gather.handle(Input::Gone(1), MS).unwrap();
    assert_eq!(
        gather.handle(Input::Said(1, 1, Part::READY), MS).unwrap(),
        []
    );
    let outputs = gather.handle(Input::Said(0, 1, Part::READY), MS).unwrap();
    assert_eq!(done(&outputs).unwrap().decision, Decision::Proceed);
}

#[test]
fn lies_change_nothing() {
    let mut gather = Gather::new(Config::default(), [(0, 10), (1, 10)], Micros::ZERO);
    let part = |ready, conflict, lost| Part {
        ready,
        conflict,
        lost,
        skipped: 0,
    };
    let mut said = |key, expected, part| gather.handle(Input::Said(key, expected, part), MS);
    assert_eq!(said(0, 10, part(5, 1, 1)), Ok(vec![]));
    assert_eq!(said(7, 1, Part::READY), Err(Error::Stranger));
    let wrong = [
        (10, part(4, 1, 2)),
        (10, part(6, 0, 1)),
        (10, part(9, 1, 1)),
        (6, part(5, 1, 6)),
        (u32::MAX, part(5, 1, 1)),
        (10, part(u32::MAX, u32::MAX, u32::MAX)),
    ];
    for (expected, part) in wrong {
        let answer = said(0, expected, part);
        assert_eq!(answer, Err(Error::Contradiction), "{expected} {part:?}");
    }
    // A repetition counts nothing twice; who was lost may answer yet.
    assert_eq!(said(0, 10, part(5, 1, 1)), Ok(vec![]));
    assert_eq!(said(0, 10, part(6, 1, 0)), Ok(vec![]));
    assert_eq!(gather.handle(Input::Gone(7), MS), Err(Error::Stranger));
    let tally = gather.tally();
    assert_eq!((tally.ready, tally.conflict, tally.transit), (6, 1, 13));
}

#[test]
fn a_source_knows_better_how_many_it_answers_for() {
    let mut gather = Gather::new(Config::default(), [(0, 10), (1, 0)], Micros::ZERO);
    assert_eq!(gather.expected(), 10);
    // Four more than was known there; and here seven are not known any more, so they are lost.
    let none = Part::default();
    assert_eq!(gather.handle(Input::Said(0, 3, none), MS), Ok(vec![]));
    assert_eq!(gather.handle(Input::Said(1, 4, none), MS), Ok(vec![]));
    assert_eq!((gather.expected(), gather.tally().transit), (14, 14));
    let ready = |ready| Part { ready, ..none };
    assert_eq!(gather.handle(Input::Said(0, 3, ready(3)), MS), Ok(vec![]));
    let outputs = gather.handle(Input::Said(1, 4, ready(4)), MS).unwrap();
    let outcome = done(&outputs).unwrap();
    assert_eq!((outcome.tally.ready, outcome.tally.transit), (7, 7));
    assert_eq!((gather.sum().ready, gather.sum().lost), (7, 7));
}

#[test]
fn of_nobody_nothing_is_decided() {
    let mut nobody = Gather::<u32>::new(Config::default(), [], Micros::ZERO);
    assert_eq!(nobody.handle(Input::Tick, Micros::from_secs(9)), Ok(vec![]));
}

/// The same agents asked one by one, and over a tree of two levels that passes on what it knows
/// after each answer, in any order, with repetitions: one outcome.
#[test]
fn a_tree_gathers_what_one_node_would() {
    for seed in 0..200 {
        let mut noise = Seeded::new(seed);
        let mut below = |n: usize| (noise.uniform() * n as f64) as usize;
        let parents = 1 + below(5);
        let many = 1 + below(60);
        // Everybody's answer: its parent, what it says, and when.
        let mut answers: Vec<(usize, u32, Part, u64)> = (0..many as u32)
            .map(|agent| {
                let part = [
                    Part::READY,
                    Part::READY,
                    Part::READY,
                    Part::CONFLICT,
                    Part::LOST,
                ];
                (below(parents), agent, part[below(5)], below(700) as u64)
            })
            .collect();
        answers.sort_by_key(|it| it.3);
        let mut expected = BTreeMap::new();
        for (parent, ..) in &answers {
            *expected.entry(*parent as u32).or_insert(0) += 1;
        }
        let mut flat = agents(many as u32);
        let mut top = Gather::new(Config::default(), expected.clone(), Micros::ZERO);
        let mut parts = BTreeMap::new();
        let (mut of_flat, mut of_top) = (None, None);
        for (parent, agent, part, at_ms) in answers {
            let now = Micros::from_millis(at_ms);
            let sum: &mut Part = parts.entry(parent).or_default();
            sum.ready += part.ready;
            sum.conflict += part.conflict;
            sum.lost += part.lost;
            let of_parent = expected[&(parent as u32)];
            let outputs = flat.handle(Input::Said(agent, 1, part), now).unwrap();
            of_flat = of_flat.or(done(&outputs));
            for _ in 0..=below(2) {
                let outputs = top
                    .handle(Input::Said(parent as u32, of_parent, *sum), now)
                    .unwrap();
                of_top = of_top.or(done(&outputs));
            }
        }
        let end = Config::default().window;
        of_flat = of_flat.or(done(&flat.handle(Input::Tick, end).unwrap()));
        of_top = of_top.or(done(&top.handle(Input::Tick, end).unwrap()));
        assert_eq!(of_flat, of_top, "seed {seed}");
        assert_eq!(
            of_flat.unwrap().tally.expected(),
            many as u64,
            "seed {seed}"
        );
    }
}
