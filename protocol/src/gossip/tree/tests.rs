//! The search for a parent, step by step.

use super::*;

const A: NodeId = NodeId([1; 32]);
const B: NodeId = NodeId([2; 32]);

fn ms(ms: u64) -> Micros {
    Micros::from_millis(ms)
}

#[test]
fn the_first_that_answers_is_the_parent_and_the_next_is_tried_when_it_is_lost() {
    let (mut tree, config) = (Tree::new(Role::Agent, 0), Config::default());
    tree.set_candidates(vec![A, B], Role::Orchestrator, ms(0));
    assert_eq!(tree.tick(&config, ms(0)), [Step::Dial(A)]);
    assert_eq!(tree.tick(&config, ms(1_900)), []);
    assert_eq!(
        tree.tick(&config, ms(2_000)),
        [Step::Hangup(A), Step::Dial(B)]
    );
    assert_eq!(tree.answered(A, None, &config, ms(2_050)), [], "too late");
    assert_eq!(
        tree.answered(B, None, &config, ms(2_100)),
        [Step::Attach(B)]
    );
    // A is better: it is tried again after a while, beside B.
    assert_eq!(tree.tick(&config, ms(7_100)), [Step::Dial(A)]);
    let moved = [Step::Detach(B, "a better parent is back"), Step::Attach(A)];
    assert_eq!(tree.answered(A, None, &config, ms(7_200)), moved);
    assert_eq!(
        tree.tick(&config, ms(11_100)),
        [],
        "the farewell may need more tries"
    );
    assert_eq!(tree.tick(&config, ms(11_200)), [Step::Hangup(B)]);
    assert_eq!(
        tree.tick(&config, ms(60_000)),
        [],
        "nobody is better than the first"
    );
    tree.lost(A, "silent", &config, ms(60_000));
    assert_eq!(tree.tick(&config, ms(60_000)), [Step::Dial(B)]);
}

#[test]
fn every_better_candidate_is_tried_again_and_not_the_first_alone() {
    const C: NodeId = NodeId([3; 32]);
    let (mut tree, config) = (Tree::new(Role::Agent, 0), Config::default());
    tree.set_candidates(vec![A, B, C], Role::Orchestrator, ms(0));
    for s in 0..3 {
        tree.tick(&config, ms(2_000 * s));
    }
    assert_eq!(
        tree.answered(C, None, &config, ms(4_100)),
        [Step::Attach(C)]
    );
    assert_eq!(tree.tick(&config, ms(9_100)), [Step::Dial(A)]);
    assert_eq!(
        tree.tick(&config, ms(11_100)),
        [Step::Hangup(A), Step::Dial(B)]
    );
    assert_eq!(tree.tick(&config, ms(13_100)), [Step::Hangup(B)]);
    assert_eq!(tree.tick(&config, ms(18_100)), [Step::Dial(A)]);
}

#[test]
fn a_round_in_vain_makes_an_orphan_that_goes_on_trying() {
    let (mut tree, config) = (Tree::new(Role::Agent, 0), Config::default());
    tree.set_candidates(vec![A], Role::Orchestrator, ms(0));
    tree.tick(&config, ms(0));
    assert_eq!(
        tree.tick(&config, ms(2_000)),
        [Step::Hangup(A), Step::Orphan]
    );
    assert_eq!(tree.tick(&config, ms(2_500)), [Step::Dial(A)]);
}

#[test]
fn after_a_round_in_vain_one_candidate_after_the_other_gets_more_time() {
    let (mut tree, config) = (Tree::new(Role::Agent, 0), Config::default());
    tree.set_candidates(vec![A, B], Role::Orchestrator, ms(0));
    let (given, now) = in_vain(&mut tree, &config, 8);
    let expected = [2_000, 2_000, 5_000, 2_000, 2_000, 5_000, 5_000, 2_000];
    assert_eq!(given, expected);
    tree.tick(&config, now + ms(500));
    tree.answered(A, None, &config, now + ms(600));
    tree.lost(A, "silent", &config, now + ms(700));
    tree.tick(&config, now + ms(700));
    let steps = tree.tick(&config, now + ms(2_700));
    assert_eq!(steps[0], Step::Hangup(B), "as patient as at first");
}

#[test]
fn a_parent_that_is_cut_off_itself_is_left_for_one_that_reaches_higher_and_no_other() {
    const C: NodeId = NodeId([3; 32]);
    let (top, mid) = (Some(Role::Orchestrator), Some(Role::Coordinator));
    let (mut tree, config) = (Tree::new(Role::Lead, 0), Config::default());
    tree.set_candidates(vec![A, B, C], Role::Orchestrator, ms(0));
    assert_eq!(tree.tick(&config, ms(0)), [Step::Dial(A)]);
    tree.answered(A, top, &config, ms(100));
    assert_eq!(tree.tick(&config, ms(60_000)), []);
    // A has lost its parent. It may find another; then the others are asked, once each.
    tree.answered(A, mid, &config, ms(60_100));
    assert_eq!(
        (tree.top(), tree.tick(&config, ms(60_200))),
        (Role::Coordinator, vec![])
    );
    assert_eq!(tree.tick(&config, ms(64_100)), []);
    assert_eq!(tree.tick(&config, ms(64_200)), [Step::Dial(B)]);
    assert_eq!(
        tree.answered(B, None, &config, ms(64_300)),
        [],
        "it has not said how high"
    );
    assert_eq!(tree.answered(B, mid, &config, ms(64_400)), [], "no higher");
    assert_eq!(
        tree.tick(&config, ms(66_200)),
        [Step::Hangup(B), Step::Dial(C)]
    );
    assert_eq!(tree.tick(&config, ms(68_200)), [Step::Hangup(C)]);
    // Nobody has a higher one: ever more seldom.
    assert_eq!(tree.tick(&config, ms(69_100)), []);
    assert_eq!(tree.tick(&config, ms(69_200)), [Step::Dial(B)]);
    tree.tick(&config, ms(71_200));
    assert_eq!(tree.tick(&config, ms(73_200)), [Step::Hangup(C)]);
    tree.set_candidates(vec![A, B], Role::Orchestrator, ms(73_300));
    assert_eq!(tree.tick(&config, ms(75_100)), [], "whoever comes or goes");
    assert_eq!(tree.tick(&config, ms(75_200)), [Step::Dial(B)]);
    let moved = [
        Step::Detach(A, "it is cut off from those above it"),
        Step::Attach(B),
    ];
    assert_eq!(tree.answered(B, top, &config, ms(75_300)), moved);
    // A is the first choice, but worth nothing until it says that it reaches as high.
    let again = [Step::Hangup(A), Step::Dial(A)];
    assert_eq!(tree.tick(&config, ms(80_300)), again);
    assert_eq!(tree.answered(A, mid, &config, ms(80_400)), []);
    let home = [Step::Detach(B, "a better parent is back"), Step::Attach(A)];
    assert_eq!(tree.answered(A, top, &config, ms(80_500)), home);
}

#[test]
fn not_all_look_for_a_higher_top_at_once_nor_among_those_that_have_no_room() {
    let (top, mid) = (Some(Role::Orchestrator), Some(Role::Coordinator));
    let config = Config::default();
    let (mut tree, mut other) = (Tree::new(Role::Lead, 0), Tree::new(Role::Lead, 255));
    for tree in [&mut tree, &mut other] {
        tree.set_candidates(vec![A, B], Role::Orchestrator, ms(0));
        tree.tick(&config, ms(0));
        tree.answered(A, mid, &config, ms(0));
        tree.tick(&config, ms(0));
    }
    assert_eq!(tree.tick(&config, ms(4_000)), [Step::Dial(B)]);
    assert_eq!(other.tick(&config, ms(5_900)), []);
    assert_eq!(other.tick(&config, ms(6_000)), [Step::Dial(B)]);
    // B is full, so it is A again, and B is not asked for a minute.
    tree.answered(B, top, &config, ms(4_100));
    tree.refused(B, &config, ms(4_200));
    assert_eq!(tree.tick(&config, ms(4_200)), [Step::Dial(A)]);
    tree.answered(A, mid, &config, ms(4_300));
    for tick in 43..642 {
        let steps = tree.tick(&config, ms(100 * tick));
        assert!(!steps.contains(&Step::Dial(B)), "{tick}");
    }
    assert_eq!(tree.tick(&config, ms(64_200)), [Step::Dial(B)]);
}

#[test]
fn who_loses_its_parent_in_a_pause_of_that_search_looks_at_once() {
    let mid = Some(Role::Coordinator);
    let config = Config::default();
    for revoked in [false, true] {
        let mut tree = Tree::new(Role::Lead, 0);
        tree.set_candidates(vec![A, B], Role::Orchestrator, ms(0));
        tree.tick(&config, ms(0));
        tree.answered(A, mid, &config, ms(0));
        for tick in 0..600 {
            tree.tick(&config, ms(100 * tick));
        }
        assert!(
            tree.trying.is_empty() && tree.try_at > ms(65_000),
            "a pause"
        );
        match revoked {
            true => tree.set_candidates(vec![B], Role::Orchestrator, ms(60_000)),
            false => tree.lost(A, "silent", &config, ms(60_000)),
        };
        let steps = tree.tick(&config, ms(60_000));
        assert_eq!(steps, [Step::Dial(B)], "revoked: {revoked}");
    }
}

#[test]
fn a_search_for_a_higher_top_ends_when_the_parent_reaches_up_again() {
    let (top, low) = (Some(Role::Orchestrator), Some(Role::Lead));
    let (mut tree, config) = (Tree::new(Role::Agent, 0), Config::default());
    tree.set_candidates(vec![A, B], Role::Orchestrator, ms(0));
    tree.tick(&config, ms(0));
    tree.answered(A, low, &config, ms(100));
    tree.tick(&config, ms(200));
    assert_eq!(tree.tick(&config, ms(8_200)), [Step::Dial(B)]);
    tree.answered(A, top, &config, ms(8_300));
    tree.tick(&config, ms(8_400));
    assert_eq!(
        tree.answered(B, top, &config, ms(8_500)),
        [],
        "as high is not enough"
    );
    assert_eq!(tree.tick(&config, ms(10_200)), [Step::Hangup(B)]);
    assert_eq!(tree.tick(&config, ms(60_000)), []);
    // Where nobody stands higher, there is nothing to look for.
    tree.set_candidates(vec![A], Role::Lead, ms(60_000));
    tree.answered(A, low, &config, ms(60_100));
    assert_eq!(tree.tick(&config, ms(90_000)), []);
}

/// How long each of the next `count` candidates is given, ms, by the order in which they
/// were dialled, and when the last of them is given up.
fn in_vain(tree: &mut Tree, config: &Config, count: usize) -> (Vec<u64>, Micros) {
    let mut dialled: Vec<(NodeId, Micros, Option<u64>)> = Vec::new();
    let mut now = ms(0);
    loop {
        for step in tree.tick(config, now) {
            match step {
                Step::Dial(node) => dialled.push((node, now, None)),
                Step::Hangup(node) => {
                    let mut last = dialled.iter_mut().rev();
                    let (_, began, given) = last.find(|(it, ..)| *it == node).unwrap();
                    *given = Some(now.since(*began).as_millis());
                }
                _ => {}
            }
        }
        let given: Vec<u64> = dialled.iter().map_while(|(.., given)| *given).collect();
        if given.len() == count {
            return (given, now);
        }
        now = now + ms(100);
    }
}

/// After how long, ms, the last of `dead` + 1 candidates, the only live one, is dialled: at
/// worst of many rounds when it healed just after it had been given up, and when the parent
/// is lost.
fn waits(dead: u8) -> (u64, u64) {
    let (mut tree, config) = (Tree::new(Role::Agent, 0), Config::default());
    let (parent, live) = (NodeId([100; 32]), NodeId([101; 32]));
    let dead = (0..dead).map(|n| NodeId([n; 32]));
    let after: Vec<NodeId> = dead.chain([live]).collect();
    tree.set_candidates(
        [vec![parent], after.clone()].concat(),
        Role::Orchestrator,
        ms(0),
    );
    tree.tick(&config, ms(0));
    tree.answered(parent, None, &config, ms(0));
    tree.lost(parent, "silent", &config, ms(0));
    let mut tick = 0;
    let mut dialled = |tree: &mut Tree| {
        loop {
            tick += 1;
            let steps = tree.tick(&config, ms(100 * (tick - 1)));
            let hung_up = steps.contains(&Step::Hangup(live));
            if hung_up || steps.contains(&Step::Dial(live)) {
                return (100 * (tick - 1), hung_up);
            }
        }
    };
    let (lost, _) = dialled(&mut tree);
    tree.set_candidates(after.clone(), Role::Orchestrator, ms(lost));
    let healed = (0..3 * after.len()).map(|_| {
        let (since, _) = std::iter::from_fn(|| Some(dialled(&mut tree)))
            .find(|(_, hung_up)| *hung_up)
            .unwrap();
        dialled(&mut tree).0 - since
    });
    (healed.max().unwrap(), lost)
}

#[test]
fn seven_dead_candidates_cost_no_more_than_a_heal_may_take() {
    assert_eq!(waits(1).1, 2_000);
    assert_eq!(waits(3), (5_500, 4_000));
    assert_eq!(waits(4), (6_500, 5_000));
    assert_eq!(waits(7), (9_500, 8_000));
}

#[test]
fn of_two_that_are_tried_the_first_that_answers_is_the_parent_and_the_other_is_left() {
    const C: NodeId = NodeId([3; 32]);
    let (mut tree, config) = (Tree::new(Role::Agent, 0), Config::default());
    tree.set_candidates(vec![A, B, C], Role::Orchestrator, ms(0));
    tree.tick(&config, ms(0));
    assert_eq!(tree.tick(&config, ms(1_500)), [], "the first has its time");
    tree.tick(&config, ms(2_000));
    assert_eq!(tree.tick(&config, ms(3_000)), [Step::Dial(C)]);
    assert!(tree.is_above(&B) && tree.is_above(&C) && !tree.is_above(&A));
    assert_eq!(
        tree.answered(C, None, &config, ms(3_100)),
        [Step::Hangup(B), Step::Attach(C)]
    );
    assert_eq!(tree.answered(B, None, &config, ms(3_200)), [], "too late");
}

#[test]
fn a_parent_that_keeps_saying_it_is_deaf_to_us_is_left_unless_it_is_the_only_one() {
    let (mut tree, config) = (Tree::new(Role::Agent, 0), Config::default());
    tree.set_candidates(vec![A, B], Role::Orchestrator, ms(0));
    tree.tick(&config, ms(0));
    tree.answered(A, None, &config, ms(100));
    assert_eq!(
        tree.heard_by_parent(false, &config, ms(200)),
        [],
        "old news"
    );
    for s in 3..5 {
        assert_eq!(tree.heard_by_parent(false, &config, ms(s * 1_000)), []);
    }
    assert_eq!(
        tree.heard_by_parent(false, &config, ms(5_000)),
        [Step::Detach(A, "it does not hear us")]
    );
    tree.set_candidates(vec![A], Role::Orchestrator, ms(6_000));
    tree.tick(&config, ms(6_000));
    tree.answered(A, None, &config, ms(6_100));
    for s in 9..20 {
        assert_eq!(tree.heard_by_parent(false, &config, ms(s * 1_000)), []);
    }
}
