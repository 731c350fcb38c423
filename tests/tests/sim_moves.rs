//! How subtrees move: nobody leaves a parent that reaches the root for one that does not; who
//! moves is soon counted once, and no parent that was left takes it for dead, though frames
//! are lost; nor does one whose frames come in bursts, as TCP makes them.

use std::collections::BTreeSet;

use chorus_protocol::units::Micros;
use chorus_tests::world::fabric::Shape;
use chorus_tests::world::faults::{Cut, Link};
use chorus_tests::world::{Options, World, watch};

/// A mesh whose first lead is down, and whose agents have found another parent; that lead.
fn without_its_first_lead(seed: u64) -> Result<(World, usize), String> {
    let shape = [Shape::TREE, Shape::SPARE][seed as usize % 2];
    let mut world = World::settled(Options {
        shape,
        ..Options::new(40, seed)
    })?;
    let lead = [2, 4][seed as usize % 2];
    world.crash(lead);
    world.pass(Micros::from_secs(15));
    match world.whole() {
        true => Ok((world, lead)),
        false => Err(format!("{} in the root's sum", world.view(0).members)),
    }
}

/// Who else than `but` was taken for dead.
fn deaths(world: &World, but: Option<usize>) -> BTreeSet<usize> {
    let whom = world.evictions().into_iter().map(|(_, _, of)| of);
    whom.filter(|of| Some(*of) != but).collect()
}

#[test]
fn a_parent_that_was_restarted_and_has_none_itself_draws_nobody_away() {
    watch::seeds("no parent above", watch::many(8), |seed| {
        let (mut world, lead) = without_its_first_lead(seed)?;
        let above: BTreeSet<usize> = (0..lead).collect();
        for (from, to) in [([lead].into(), above.clone()), (above, [lead].into())] {
            world.cuts.push(Cut { from, to });
        }
        world.start(lead);
        for _ in 0..200 {
            world.pass(Micros::from_millis(100));
            let counted = world.view(0).members as usize;
            if counted < world.running() - 1 {
                return Err(format!("{counted} in the root's sum"));
            }
        }
        world.heal();
        let home = |w: &World| w.whole() && w.view(lead).children.len() >= 4;
        world
            .until(Micros::from_secs(10), home)
            .ok_or("its children do not come home")?;
        match deaths(&world, Some(lead)) {
            dead if dead.is_empty() => world.check(),
            dead => Err(format!("evicted: {dead:?}")),
        }
    });
}

#[test]
fn who_moves_while_frames_are_lost_is_soon_counted_once_and_taken_for_dead_by_nobody() {
    watch::seeds("moves under loss", watch::many(12), |seed| {
        let (mut world, lead) = without_its_first_lead(seed)?;
        world.link.loss = [0.1, 0.2, 0.3][seed as usize % 3];
        world.start(lead);
        let mut twice = 0;
        for _ in 0..200 {
            world.pass(Micros::from_millis(100));
            twice += usize::from(world.view(0).members as usize > world.running());
        }
        let dead = deaths(&world, Some(lead));
        if twice > 10 || !dead.is_empty() {
            return Err(format!(
                "{twice}00 ms too many in the sum; evicted: {dead:?}"
            ));
        }
        world.check()
    });
}

#[test]
fn a_machine_that_nobody_hears_harms_nobody_else() {
    watch::seeds("mute", watch::many(8), |seed| {
        let mut world = World::settled(Options {
            shape: Shape::SPARE,
            ..Options::new(40, seed)
        })?;
        let mute = [4, 9][seed as usize % 2];
        let all = (0..40).filter(|at| *at != mute).collect();
        let from = [mute].into();
        world.cuts.push(Cut { from, to: all });
        world.link.loss = 0.2;
        world.pass(Micros::from_secs(20));
        world.heal();
        let back = world.until(Micros::from_secs(15), World::whole);
        world.pass(Micros::from_secs(10));
        // It hears them, until they have left it: what it thinks of them is its own affair.
        let dead = world.evictions().into_iter();
        let dead: Vec<_> = dead
            .filter(|(_, at, of)| ![*at, *of].contains(&mute))
            .collect();
        match (back, dead.is_empty()) {
            (Some(_), true) => world.check(),
            (back, _) => Err(format!("whole after {back:?}; evicted: {dead:?}")),
        }
    });
}

#[test]
fn where_a_third_of_all_packets_is_lost_hardly_anybody_is_taken_for_dead() {
    let (runs, n) = (watch::many(10), 16);
    let limit = (runs.end - runs.start) * n as u64 / 20;
    let mut dead = 0;
    for seed in runs {
        let shape = Shape::SPARE;
        let mut world = World::settled(Options {
            shape,
            ..Options::new(n, seed)
        })
        .unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        world.link = Link {
            loss: 0.35,
            stream: true,
            ..Link::GOOD
        };
        world.pass(Micros::from_secs(30));
        dead += deaths(&world, None).len() as u64;
    }
    // TCP is silent for a quarter of a minute after six losses in a row: nobody can wait so long.
    assert!(dead <= limit, "{dead} false deaths, more than {limit}");
}
