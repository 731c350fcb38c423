//! The search for a parent, step by step.

use super::*;

const A: NodeId = NodeId([1; 32]);
const B: NodeId = NodeId([2; 32]);

fn ms(ms: u64) -> Micros {
    Micros::from_millis(ms)
}

#[test]
fn the_first_that_answers_is_the_parent_and_the_next_is_tried_when_it_is_lost() {
    let (mut tree, config) = (Tree::new(), Config::default());
    tree.set_candidates(vec![A, B], ms(0));
    assert_eq!(tree.tick(&config, ms(0)), [Step::Dial(A)]);
    assert_eq!(tree.tick(&config, ms(1_900)), []);
    assert_eq!(
        tree.tick(&config, ms(2_000)),
        [Step::Hangup(A), Step::Dial(B)]
    );
    assert_eq!(tree.answered(A, &config, ms(2_050)), [], "too late");
    assert_eq!(tree.answered(B, &config, ms(2_100)), [Step::Attach(B)]);
    // A is better: it is tried again after a while, beside B.
    assert_eq!(tree.tick(&config, ms(7_100)), [Step::Dial(A)]);
    let moved = [Step::Detach(B, "a better parent is back"), Step::Attach(A)];
    assert_eq!(tree.answered(A, &config, ms(7_200)), moved);
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
    let (mut tree, config) = (Tree::new(), Config::default());
    tree.set_candidates(vec![A, B, C], ms(0));
    for s in 0..3 {
        tree.tick(&config, ms(2_000 * s));
    }
    assert_eq!(tree.answered(C, &config, ms(4_100)), [Step::Attach(C)]);
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
    let (mut tree, config) = (Tree::new(), Config::default());
    tree.set_candidates(vec![A], ms(0));
    tree.tick(&config, ms(0));
    assert_eq!(
        tree.tick(&config, ms(2_000)),
        [Step::Hangup(A), Step::Orphan]
    );
    assert_eq!(tree.tick(&config, ms(2_500)), [Step::Dial(A)]);
}

#[test]
fn after_a_round_in_vain_one_candidate_after_the_other_gets_more_time() {
    let (mut tree, config) = (Tree::new(), Config::default());
    tree.set_candidates(vec![A, B], ms(0));
    let (given, now) = in_vain(&mut tree, &config, 8);
    let expected = [2_000, 2_000, 5_000, 2_000, 2_000, 5_000, 5_000, 2_000];
    assert_eq!(given, expected);
    tree.tick(&config, now + ms(500));
    tree.answered(A, &config, now + ms(600));
    tree.lost(A, "silent", &config, now + ms(700));
    tree.tick(&config, now + ms(700));
    let steps = tree.tick(&config, now + ms(2_700));
    assert_eq!(steps[0], Step::Hangup(B), "as patient as at first");
}

/// How long each of the next `count` candidates is given, ms, and when that ends.
fn in_vain(tree: &mut Tree, config: &Config, count: usize) -> (Vec<u64>, Micros) {
    let mut given = Vec::new();
    let (mut began, mut now) = (ms(0), ms(0));
    tree.tick(config, now);
    while given.len() < count {
        now = now + ms(100);
        let steps = tree.tick(config, now);
        if matches!(steps[..], [Step::Hangup(_), ..]) {
            given.push(now.since(began).as_millis());
        }
        if matches!(steps[..], [.., Step::Dial(_)]) {
            began = now;
        }
    }
    (given, now)
}

#[test]
fn three_dead_candidates_cost_no_more_than_a_heal_may_take() {
    let (mut tree, config) = (Tree::new(), Config::default());
    let dead: Vec<NodeId> = (0..3).map(|n| NodeId([n; 32])).collect();
    let live = NodeId([9; 32]);
    tree.set_candidates([dead, vec![live]].concat(), ms(0));
    // Healed just when the live one had been given up: when is it dialled again?
    let (mut healed, mut waits) = (None, Vec::new());
    for tick in 0..2_000 {
        let steps = tree.tick(&config, ms(100 * tick));
        if steps.contains(&Step::Hangup(live)) {
            healed = Some(tick);
        }
        if steps.contains(&Step::Dial(live)) {
            waits.extend(healed.map(|since| 100 * (tick - since)));
        }
    }
    assert_eq!(waits.iter().max(), Some(&9_500));
}

#[test]
fn a_parent_that_keeps_saying_it_is_deaf_to_us_is_left_unless_it_is_the_only_one() {
    let (mut tree, config) = (Tree::new(), Config::default());
    tree.set_candidates(vec![A, B], ms(0));
    tree.tick(&config, ms(0));
    tree.answered(A, &config, ms(100));
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
    tree.set_candidates(vec![A], ms(6_000));
    tree.tick(&config, ms(6_000));
    tree.answered(A, &config, ms(6_100));
    for s in 9..20 {
        assert_eq!(tree.heard_by_parent(false, &config, ms(s * 1_000)), []);
    }
}
