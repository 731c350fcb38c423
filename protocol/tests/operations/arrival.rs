//! One arrival: agents of very different speed are READY together at T, and who cannot be is told so.

use chorus_protocol::ids::AgentName;
use chorus_protocol::impedance::{Class, Weight};
use chorus_protocol::op::answers::Why;
use chorus_protocol::op::gather::Config;
use chorus_protocol::op::{Input, Output, Question, Refusal, Request, Said, Select, When};
use chorus_protocol::units::Micros;

use crate::mesh::{Does, HOP, Mesh, id, label, ready};

const WINDOW: Micros = Micros::from_millis(500);
const AUTO: When = When::Auto {
    limit: Micros::from_secs(5),
};

/// An agent of 5 ms, one of 300 and one of 2,000 on three leads of two sectors, measured.
fn three() -> Mesh {
    let mut mesh = Mesh::tree(2, 2);
    for (node, name, ms) in [(2, "fast", 5), (3, "slow", 300), (6, "slowest", 2_000)] {
        mesh.host(node, &[(name, &[], ready(name, ms))]);
        for _ in 0..8 {
            let echo = Input::Echoed(label(name), Micros(200), Micros(100));
            mesh.give(node, echo);
        }
        mesh.give(node, Input::Delay(HOP));
    }
    [1, 4]
        .into_iter()
        .for_each(|node| mesh.give(node, Input::Delay(HOP)));
    for _ in 0..20 {
        mesh.ask(Select::default(), Micros::from_secs(5));
        mesh.run(mesh.now + Micros::from_secs(6));
    }
    mesh.heard.clear();
    mesh.words.clear();
    mesh
}

#[test]
fn all_are_ready_at_t_and_their_words_go_up_together() {
    let mut mesh = three();
    let began = mesh.now;
    mesh.ask_when(Select::default(), WINDOW, When::In(Micros::from_secs(3)));
    mesh.run(began + Micros::from_secs(10));
    let (at, report) = mesh.report();
    assert_eq!(report.outcome.tally.ready, 3);
    // The last word leaves at T and is two hops on its way.
    assert_eq!(at.since(began), Micros::from_millis(3_004));
    let mut words = mesh.words.clone();
    words.sort_unstable();
    assert_eq!(
        words,
        [1, 2, 3, 4, 6],
        "one word of each that is above an agent"
    );
    let arrivals = &report.arrivals;
    assert_eq!((arrivals.messages(), arrivals.hit_rate()), (3, Some(1.0)));
    assert_eq!(arrivals.error(0.99), Some(Micros::ZERO), "they held");
    let idle = arrivals.mean_idle().unwrap();
    assert!(
        idle < Micros::from_millis(40),
        "a step of the schedule each: {idle}"
    );
}

#[test]
fn t_is_chosen_for_nineteen_of_twenty_and_the_limit_skips_who_is_slower() {
    let mut mesh = three();
    let began = mesh.now;
    mesh.ask_when(Select::default(), WINDOW, AUTO);
    mesh.run(began + Micros::from_secs(10));
    let (at, report) = mesh.report();
    assert_eq!(report.outcome.tally.ready, 3);
    let took = at.since(began);
    let near = Micros::from_millis(2_000)..Micros::from_millis(2_150);
    assert!(near.contains(&took), "{took}");

    mesh.heard.clear();
    let limit = Micros::from_millis(1_000);
    mesh.ask_when(Select::default(), WINDOW, When::Auto { limit });
    mesh.run(began + Micros::from_secs(20));
    let (_, report) = mesh.report();
    let tally = report.outcome.tally;
    assert_eq!((tally.ready, tally.skipped, tally.expected()), (2, 1, 3));
    let (who, why) = &report.unready.named[0];
    assert_eq!(
        *who,
        AgentName {
            node: id(6),
            agent: label("slowest")
        }
    );
    let Why::Skipped {
        would_need_ms,
        available_ms,
    } = why
    else {
        panic!("{why:?}");
    };
    assert!((2_000..2_100).contains(would_need_ms), "{would_need_ms}");
    // Twice the way down is not there.
    assert_eq!(*available_ms, 996);
    assert!(!report.outcome.success, "the skipped are in the count");
}

#[test]
fn who_fails_before_t_is_named_and_the_others_hold() {
    let mut mesh = three();
    mesh.host(
        5,
        &[
            ("broken", &[], Does::Says(Said::Lost("500".into()), 1)),
            ("silent", &[], Does::Hangs),
        ],
    );
    mesh.run(mesh.now + Micros::from_secs(1));
    let began = mesh.now;
    mesh.ask_when(Select::default(), WINDOW, When::In(Micros::from_secs(3)));
    mesh.run(began + Micros::from_secs(10));
    let (_, report) = mesh.report();
    let tally = report.outcome.tally;
    assert_eq!((tally.ready, tally.transit), (3, 2));
    assert_eq!(report.answers.many(), 3);
    let why = &report.unready.named[0].1;
    assert_eq!(*why, Why::Lost("500".into()));
    let arrivals = &report.arrivals;
    assert_eq!((arrivals.messages(), arrivals.hit_rate()), (5, Some(0.6)));
}

#[test]
fn a_sample_is_as_large_as_it_is_asked_for_and_people_are_asked_by_class_only() {
    let mut mesh = Mesh::tree(3, 2);
    for node in [0, 2, 3, 5, 6, 8, 9] {
        let names: Vec<String> = (0..10).map(|n| format!("a{n}")).collect();
        let agents = names.iter().map(|name| {
            let none: &[&str] = &[];
            (name.as_str(), none, ready(name, 1))
        });
        mesh.host(node, &agents.collect::<Vec<_>>());
    }
    mesh.run(Micros::from_secs(1));
    let sample = Select {
        sample: Some(12),
        ..Select::default()
    };
    mesh.ask(sample, WINDOW);
    mesh.run(Micros::from_secs(2));
    let (_, report) = mesh.report();
    let tally = report.outcome.tally;
    assert_eq!((tally.ready, tally.expected()), (12, 12));
    assert_eq!(report.answers.many(), 12);

    mesh.heard.clear();
    let people = Select {
        class: Some(Class::Human),
        ..Select::default()
    };
    mesh.ask(people, WINDOW);
    let refused = mesh.heard.pop().map(|it| it.1);
    assert_eq!(refused, Some(Output::Refused(7, Refusal::Nobody)));
}

#[test]
fn an_impossible_t_is_refused() {
    let mut mesh = three();
    for span in [Micros(9_999), Micros::from_secs(300)] {
        mesh.ask_when(Select::default(), WINDOW, When::In(span));
        let refused = mesh.heard.pop().map(|it| it.1);
        assert_eq!(refused, Some(Output::Refused(7, Refusal::BadTime(span))));
    }
}

#[test]
fn a_heavy_question_gets_the_time_that_it_takes() {
    let mut mesh = three();
    let config = Config {
        window: WINDOW,
        ..Config::default()
    };
    let question = Question {
        select: Select::default(),
        request: Request {
            weight: Weight::new(10.0).unwrap(),
            ..Request::new(b"?".to_vec())
        },
        config,
        when: When::Auto {
            limit: Micros::from_secs(60),
        },
    };
    mesh.give(0, Input::Begin(7, Box::new(question)));
    mesh.run(mesh.now + Micros::from_secs(60));
    let tally = mesh.report().1.outcome.tally;
    assert_eq!((tally.ready, tally.skipped), (3, 0));
}

#[test]
fn at_t_all_that_held_are_counted_before_it_is_decided() {
    let mut mesh = Mesh::new(&[None]);
    let names: Vec<String> = (0..100).map(|n| format!("a{n}")).collect();
    let none: &[&str] = &[];
    let agents = names
        .iter()
        .map(|name| (name.as_str(), none, ready("yes", 1)));
    mesh.host(0, &agents.collect::<Vec<_>>());
    mesh.ask_when(Select::default(), WINDOW, When::In(Micros::from_secs(1)));
    mesh.run(Micros::from_secs(3));
    let (_, report) = mesh.report();
    assert_eq!(
        report.outcome.tally.ready, 100,
        "and not the 95 that decide"
    );
    assert_eq!(report.answers.many(), 100);
}

#[test]
fn whoever_waits_no_more_takes_no_lane_and_the_silent_are_named() {
    let mut mesh = Mesh::new(&[None]);
    mesh.host(
        0,
        &[("fast", &[], ready("yes", 1)), ("silent", &[], Does::Hangs)],
    );
    let long = Micros::from_secs(100);
    // Priority 2 has 48 of 64.
    for _ in 0..48 {
        mesh.ask(Select::default(), long);
    }
    mesh.ask(Select::default(), long);
    let refused = mesh.heard.pop().map(|it| it.1);
    assert!(
        matches!(refused, Some(Output::Refused(7, Refusal::Busy(_)))),
        "{refused:?}"
    );
    mesh.give(0, Input::Left(7));
    mesh.run(mesh.now + Micros::from_secs(1));
    mesh.heard.clear();
    mesh.ask(Select::default(), WINDOW);
    mesh.run(mesh.now + Micros::from_secs(2));
    let (_, report) = mesh.report();
    assert_eq!(
        (report.outcome.tally.ready, report.outcome.tally.transit),
        (1, 1)
    );
    let silent = Why::Lost("it has not answered".into());
    assert_eq!(
        report.unready.named,
        [(
            AgentName {
                node: id(0),
                agent: label("silent")
            },
            silent
        )]
    );
}
