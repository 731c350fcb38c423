//! A member that announces itself without end, and what comes of what is held back.

use super::directory::{directory, page};
use super::world::World;
use super::*;
use crate::trust::directory::*;
use crate::trust::pace::Pace;
use crate::units::Micros;

/// The mesh of nodes 1 to 4.
fn four() -> Vec<Vec<u8>> {
    let enter = |n| enter(&key(1), entry(n, 0, u64::from(n)));
    mesh_with(&[2, 3, 4].map(enter))
}

fn lamport(of: &Directory, n: u8) -> Option<u64> {
    Some(of.roster().address(&key(n).id())?.stamp.lamport)
}

#[test]
fn who_announces_itself_without_end_is_written_down_seldom_and_others_at_once() {
    const A_SECOND: u64 = 20;
    let mut it = directory(1, &four());
    let (mut writes, mut said) = (0, 0);
    for second in 0..60 {
        let now = Micros::from_secs(second);
        for _ in 0..A_SECOND {
            said += 1;
            // From whom it comes makes no difference.
            let from = [2, 3][said as usize % 2];
            let outputs = it.handle(page(from, &[announce(2, said)]), now);
            let writes_here = |it: &&Output| matches!(it, Output::Persist(_));
            writes += outputs.iter().filter(writes_here).count() as u64;
        }
    }
    assert_eq!(writes, ANNOUNCEMENTS_MAX + 59 / 5);
    assert_eq!(it.held(), said - writes);
    assert_ne!(lamport(&it, 2), Some(said));
    let now = Micros::from_secs(60);
    it.handle(page(2, &[announce(3, 1)]), now);
    assert_eq!(lamport(&it, 3), Some(1));
    it.handle(page(3, &[announce(2, said)]), now);
    assert_eq!(lamport(&it, 2), Some(said));
}

#[test]
fn who_restarts_at_every_second_for_a_minute_is_never_held_back() {
    let mut it = directory(1, &four());
    for second in 1..=60 {
        it.handle(page(2, &[announce(2, second)]), Micros::from_secs(second));
        assert_eq!(lamport(&it, 2), Some(second));
    }
    assert_eq!(it.held(), 0);
}

#[test]
fn what_is_old_or_a_strangers_or_our_own_takes_from_nobody() {
    let mut it = directory(1, &four());
    let many = 10 * ANNOUNCEMENTS_MAX;
    it.handle(page(2, &[announce(2, many)]), Micros::ZERO);
    for n in 1..many {
        for (from, of) in [(2, 2), (3, 9)] {
            let outputs = it.handle(page(from, &[announce(of, n)]), Micros::ZERO);
            assert!(outputs.is_empty(), "{outputs:?}");
        }
        it.handle(Input::Own(vec![announce(1, n)]), Micros::ZERO);
        assert_eq!(lamport(&it, 1), Some(n));
    }
    it.handle(page(2, &[announce(2, many + 1)]), Micros::ZERO);
    let entry = enter(&key(1), entry(9, 0, 9));
    it.handle(page(2, &[entry]), Micros::ZERO);
    assert_eq!(lamport(&it, 2), Some(many + 1));
    assert_eq!((lamport(&it, 9), it.held()), (Some(many - 1), 0));
}

#[test]
fn what_is_remembered_ends_when_a_member_may_announce_as_much_as_any() {
    let mut pace = Pace::default();
    for _ in 0..3 {
        assert!(pace.take(key(2).id(), Micros::ZERO));
    }
    assert!(pace.take(key(3).id(), Micros::ZERO));
    pace.forget(ANNOUNCE_EVERY);
    assert_eq!(pace.len(), 1);
    pace.forget(ANNOUNCE_EVERY.times(3));
    assert_eq!(pace.len(), 0);
}

#[test]
fn what_was_held_back_is_fetched_and_asked_for_no_oftener_than_anything_else() {
    const SECONDS: usize = 118; // ends between heartbeats
    let homes: Vec<_> = (1..5).map(|n| (n, four())).collect();
    let mut world = World::new(&homes, &[(4, 3), (4, 1), (3, 1), (1, 2)], 0);
    (0..10).for_each(|_| world.second());
    world.pulls = 0;
    let mut said = 0;
    for _ in 0..SECONDS {
        for _ in 0..5 {
            said += 1;
            world.give(key(4).id(), Input::Own(vec![announce(4, said)]));
            world.deliver();
        }
        world.second();
    }
    let held = |n: u8| world.nodes[&key(n).id()].0.held();
    assert!([1, 3].iter().all(|n| held(*n) > 0));
    // Eight ways to ask, each at most once in `ASK_AGAIN`.
    let most = 8 * (SECONDS / 3 + 1);
    assert!(world.pulls <= most, "{} pulls, at most {most}", world.pulls);
    let took = world.agree(30);
    assert_eq!(lamport(&world.nodes[&key(2).id()].0, 4), Some(said));
    println!("the last of {said} was everywhere after {took} s");
}
