//! A machine that loses one of its legs: it still hears those beneath it, but nobody above.
//! Those who have another way up take it, nobody comes to one that has none, and when the
//! leg is back all is as before.

use std::collections::BTreeSet;

use chorus_protocol::units::Micros;
use chorus_tests::world::fabric::Shape;
use chorus_tests::world::faults::{Cut, Link};
use chorus_tests::world::{Options, World, watch};

const N: usize = 40;
/// The first sector: two coordinators, two leads, and four agents with each.
const SECTOR: std::ops::Range<usize> = 2..14;
const LEAD: usize = 4;
const CLUSTER: std::ops::Range<usize> = 4..9;

fn settled(seed: u64) -> Result<World, String> {
    World::settled(Options {
        shape: Shape::SPARE,
        // What one says arrives in order, as over TCP: first that it has lost its parent, then
        // whom it takes for dead.
        link: Link {
            stream: true,
            ..Link::GOOD
        },
        ..Options::new(N, seed)
    })
}

fn parent(world: &World, at: usize) -> Option<usize> {
    Some(world.number(&world.view(at).parent?))
}

/// Nothing passes any more between this machine and all but these.
fn leave(world: &mut World, one: usize, with: std::ops::Range<usize>) {
    let others: BTreeSet<usize> = (0..N).filter(|at| !with.contains(at)).collect();
    for (from, to) in [([one].into(), others.clone()), (others, [one].into())] {
        world.cuts.push(Cut { from, to });
    }
}

/// All but one are in the root's sum within `limit` seconds, and stay there; nobody else
/// is taken for dead by anybody else.
fn all_but_one(world: &mut World, lost: usize, limit: u64) -> Result<(), String> {
    let counted = |world: &World| world.view(0).members as usize == N - 1;
    world
        .until(Micros::from_secs(limit), counted)
        .ok_or_else(|| format!("{} in the root's sum", world.view(0).members))?;
    world.pass(Micros::from_secs(10)); // who told whom what may need one more round
    for _ in 0..300 {
        world.pass(Micros::from_millis(100));
        if !counted(world) {
            return Err(format!("later {} in it", world.view(0).members));
        }
    }
    let dead = world.evictions().into_iter();
    let dead: Vec<_> = dead
        .filter(|(_, at, of)| ![*at, *of].contains(&lost))
        .collect();
    match dead.is_empty() {
        true => Ok(()),
        false => Err(format!("evicted (when, by, whom): {dead:?}")),
    }
}

fn whole_again(world: &mut World) -> Result<(), String> {
    world.heal();
    world
        .until(Micros::from_secs(10), World::whole)
        .ok_or("not whole again")?;
    world.check()
}

#[test]
fn nobody_stays_beneath_a_coordinator_that_has_lost_the_backbone() {
    watch::seeds("a coordinator's leg", watch::many(12), |seed| {
        let mut world = settled(seed)?;
        let lost = parent(&world, LEAD).ok_or("the lead has no parent")?;
        leave(&mut world, lost, SECTOR);
        all_but_one(&mut world, lost, 15)?;
        whole_again(&mut world)
    });
}

#[test]
fn agents_leave_a_lead_that_has_nobody_above_it_and_come_home() {
    watch::seeds("a lead's leg", watch::many(12), |seed| {
        let mut world = settled(seed)?;
        leave(&mut world, LEAD, CLUSTER);
        all_but_one(&mut world, LEAD, 20)?;
        whole_again(&mut world)?;
        let home = |world: &World| world.view(LEAD).children.len() == CLUSTER.len() - 1;
        world
            .until(Micros::from_secs(15), home)
            .ok_or("its agents do not come home")?;
        Ok(())
    });
}

#[test]
fn without_a_root_nobody_leaves_anybody_for_long_in_vain() {
    watch::seeds("no root", watch::many(8), |seed| {
        let mut world = settled(seed)?;
        world.crash(0);
        world.crash(1);
        world.pass(Micros::from_secs(60));
        let parents = |world: &World| (4..14).map(|at| parent(world, at)).collect::<Vec<_>>();
        let before = parents(&world);
        world.pass(Micros::from_secs(60));
        if parents(&world) != before {
            return Err("somebody moved".into());
        }
        world.start(0);
        world.start(1);
        world
            .until(Micros::from_secs(10), World::whole)
            .ok_or("not whole again")?;
        world.check()
    });
}
