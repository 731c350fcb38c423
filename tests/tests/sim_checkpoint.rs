//! C6 and C7: checkpoints in a world of faults. A durable epoch is on all of its holders'
//! disks, any one of which gives back the same vector; loss, cuts, restarts, full disks and
//! lying neighbours cost an epoch at worst, never a durable one.

use chorus_protocol::memory::checkpoint::{Event, Kind, State};
use chorus_protocol::units::Micros;
use chorus_tests::epochs::sectors::{N, SHAPE, config, durable, world};
use chorus_tests::epochs::{Epochs, expect};
use chorus_tests::world::watch;

/// How many epochs were made so far.
fn made(world: &Epochs) -> usize {
    let made = world.log.iter();
    made.filter(|it| matches!(it.1, Event::Made(..))).count()
}

/// Waits until the next epoch is made.
fn next_made(world: &mut Epochs) {
    let count = made(world);
    assert!(world.until(Micros::from_secs(60), |w| made(w) > count));
}

#[test]
fn any_one_that_is_left_has_the_vector_that_all_had() {
    watch::seeds("survivor", watch::many(6), |seed| {
        let mut world = world(seed);
        world.loss = [0.0, 0.2, 0.5][seed as usize % 3];
        durable(&mut world, 120)?;
        let survivor = 1 + seed as usize * 7 % (N - 1);
        let before = world.durable(0).ok_or("nothing durable")?;
        for at in (0..N).filter(|at| *at != survivor) {
            world.crash(at);
            world.machines[at].disk.clear();
        }
        world.pass(Micros::from_secs(60));
        let after = world.durable(survivor).ok_or("it is lost")?;
        expect(after.bytes() == before.bytes(), "it is another")?;
        // After a restart too.
        world.crash(survivor);
        world.start(survivor);
        world.pass(Micros::from_secs(60));
        let after = world.durable(survivor).ok_or("it is lost")?;
        expect(after.bytes() == before.bytes(), "it is another")?;
        world.sound()
    });
}

#[test]
fn a_side_that_is_cut_off_makes_a_branch_and_after_it_there_is_one_mesh() {
    watch::seeds("branch", watch::many(4), |seed| {
        let mut world = world(seed);
        durable(&mut world, 60)?;
        let epoch = world.view(1).durable;
        // The first sector: its coordinator is the top of it.
        world.cut_off(1..12);
        world.pass(Micros::from_secs(45));
        let view = world.view(1);
        expect(
            view.last
                .is_some_and(|(_, members, state)| members == 11 && state == State::Branch),
            &format!("no branch of the sector: {view:?}"),
        )?;
        expect(view.durable >= epoch, "the durable one was given up")?;
        let kept = |at: usize| {
            world
                .durable(at)
                .is_some_and(|it| it.header().kind == Kind::Whole)
        };
        expect((0..N).all(kept), "a branch took the place of the whole")?;
        world.cut_off([]);
        durable(&mut world, 90)?;
        world.sound()
    });
}

#[test]
fn restarts_of_anybody_cost_an_epoch_at_worst_and_no_number_is_used_twice() {
    watch::seeds("restarts", watch::many(6), |seed| {
        let mut world = world(seed);
        world.loss = 0.1;
        durable(&mut world, 60)?;
        world.restarts(seed, 3);
        let before = world.view(0).durable;
        durable(&mut world, 120)?;
        expect(world.view(0).durable >= before, "the count went back")?;
        world.sound()
    });
}

#[test]
fn the_root_that_lost_its_disk_goes_on_above_what_the_others_have() {
    let mut world = world(1);
    durable(&mut world, 60).unwrap();
    world.pass(Micros::from_secs(60));
    let before = world.view(5).durable.unwrap();
    assert!(before >= 5);
    world.crash(0);
    world.machines[0].disk.clear();
    world.start(0);
    let more = |w: &Epochs| w.agree(0..N, N) && w.view(0).durable > Some(before);
    assert!(
        world.until(Micros::from_secs(60), more),
        "{:?}",
        world.view(0)
    );
    world.sound().unwrap();
}

#[test]
fn who_comes_late_is_given_the_last_durable_one_before_it_counts() {
    let mut world = Epochs::dark(N, SHAPE, config(), 3);
    let (late, lead) = (N - 1, 5);
    (0..N)
        .filter(|at| *at != late)
        .for_each(|at| world.start(at));
    assert!(world.until(Micros::from_secs(60), |w| w.durable(lead).is_some()));
    // Well before the next epoch.
    world.start(late);
    world.pass(Micros::from_secs(2));
    let given = world.durable(late).expect("the last durable one");
    assert_eq!(given.bytes(), world.durable(lead).unwrap().bytes());
    assert!(given.member(&world.node(late)).is_none());
    durable(&mut world, 60).unwrap();
    world.sound().unwrap();
}

#[test]
fn who_has_not_written_the_last_durable_one_at_the_cut_off_is_no_holder() {
    let mut world = Epochs::dark(N, SHAPE, config(), 13);
    let late = N - 1;
    (0..N)
        .filter(|at| *at != late)
        .for_each(|at| world.start(at));
    world.machines[late].write = Micros::from_secs(4);
    assert!(world.until(Micros::from_secs(60), |w| w.durable(0).is_some()));
    next_made(&mut world);
    let before = world.view(0).last.unwrap().0;
    world.pass(Micros::from_secs(8));
    world.start(late);
    let after = |w: &Epochs| {
        let durable = w.durable(0);
        durable.is_some_and(|it| it.header().epoch > before)
    };
    assert!(world.until(Micros::from_secs(60), after));
    let row = *world.durable(0).unwrap().member(&world.node(late)).unwrap();
    assert!(!row.holds, "it was counted on before it had the last one");
    durable(&mut world, 60).unwrap();
    world.sound().unwrap();
}

#[test]
fn who_finds_another_parent_says_to_it_what_it_has() {
    for offset in 1..=8 {
        let mut world = world(14);
        durable(&mut world, 60).unwrap();
        // A lead that is no holder, since it cannot write, dies with what it was told.
        world.machines[2].full = true;
        world.pass(Micros::from_secs(45));
        next_made(&mut world);
        world.pass(Micros::from_millis(50 * offset));
        world.crash(2);
        let partial = |w: &Epochs| {
            let partial = w.log.iter();
            partial
                .filter(|it| matches!(it.1, Event::Partial(..)))
                .count()
        };
        let before = partial(&world);
        world.pass(Micros::from_secs(35));
        assert_eq!(partial(&world), before, "killed after {offset} times 50 ms");
        world.sound().unwrap();
    }
}

#[test]
fn a_full_disk_keeps_an_epoch_partial_and_nothing_else_happens() {
    let mut world = world(4);
    durable(&mut world, 60).unwrap();
    let before = world.durable(0).unwrap();
    world.machines[9].full = true;
    world.pass(Micros::from_secs(200));
    // Twelve epochs later: never given up for the partial ones after it.
    let is_partial = |it: &&(usize, Event)| matches!(&it.1, Event::Partial(_, missing) if *missing == [world.node(9)]);
    let partial = world.log.iter().filter(is_partial).count();
    assert!(partial >= 1, "{:?}", world.log);
    let after = world.durable(0).unwrap();
    // Whoever cannot write is behind, and the next epochs do without it.
    assert!(after.header().epoch > before.header().epoch);
    assert!(!after.member(&world.node(9)).unwrap().holds);
    assert!(world.machines.iter().all(|it| it.disk.len() <= 16));
    world.machines[9].full = false;
    durable(&mut world, 90).unwrap();
    world.sound().unwrap();
}

#[test]
fn a_slow_disk_is_waited_for_and_one_that_is_killed_meanwhile_has_said_nothing() {
    for slow in [0, 1, 2, 9] {
        let mut world = world(11);
        world.machines[slow].write = Micros::from_secs(4);
        durable(&mut world, 90).unwrap();
        world.sound().unwrap();
        // Killed before it was written: nobody counted on it.
        next_made(&mut world);
        world.suspect([1]); // when it is back, it is given what it may have missed
        world.suspect([]);
        world.pass(Micros::from_secs(2));
        world.crash(slow);
        if slow == 0 {
            // What the top itself does not have nobody has seen.
            let last = world.log.iter().rev().find_map(|(_, event)| match event {
                Event::Made(name, ..) => Some(*name),
                _ => None,
            });
            let last = last.unwrap();
            let mut disks = world.machines.iter().map(|machine| &machine.disk);
            assert!(!disks.any(|disk| disk.keys().any(|(name, _)| *name == last)));
        }
        world.pass(Micros::from_secs(40));
        world.sound().unwrap();
    }
}

#[test]
fn the_last_durable_one_stays_however_many_partial_ones_follow() {
    let mut world = world(5);
    durable(&mut world, 60).unwrap();
    let before = world.durable(0).unwrap();
    // Half of each epoch's holders die right after its cut-off, others come back.
    for round in 0..12 {
        next_made(&mut world);
        let victim = if round % 2 == 0 { 4 } else { 15 };
        world.crash(victim);
        world.pass(Micros::from_secs(32));
        world.start(victim);
    }
    let partial = world
        .log
        .iter()
        .filter(|it| matches!(it.1, Event::Partial(..)));
    assert!(partial.count() >= 8);
    let held = world.durable(20).unwrap();
    assert!(held.header().epoch >= before.header().epoch);
    world.sound().unwrap();
}

#[test]
fn who_was_taken_for_dead_when_it_was_handed_down_is_given_it_after_all() {
    watch::seeds("flap", watch::many(3), |seed| {
        let mut world = world(seed);
        durable(&mut world, 60)?;
        next_made(&mut world);
        // An agent, a lead, a coordinator.
        let victim = [9, 7, 12][seed as usize % 3];
        world.suspect([victim]);
        world.pass(Micros::from_secs(3));
        world.suspect([]);
        world.pass(Micros::from_secs(40));
        let partial = world
            .log
            .iter()
            .find(|it| matches!(it.1, Event::Partial(..)));
        expect(partial.is_none(), &format!("{partial:?}"))?;
        world.sound()
    });
}

#[test]
fn one_that_takes_no_part_is_listed_and_is_asked_for_nothing() {
    let mut world = Epochs::dark(N, SHAPE, config(), 6);
    let stranger = 10;
    world.strangers.insert(stranger);
    (0..N).for_each(|at| world.start(at));
    let all = |w: &Epochs| w.durable(0).is_some_and(|it| it.members().len() == N);
    assert!(world.until(Micros::from_secs(60), all));
    let row = *world
        .durable(0)
        .unwrap()
        .member(&world.node(stranger))
        .unwrap();
    assert!(!row.holds);
    assert_eq!(world.unasked, 0);
    world.sound().unwrap();
}
