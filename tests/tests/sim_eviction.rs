//! J2, A10, E6 (faults 3, 8, 14, 15): no machine that runs and can be reached is
//! evicted; one that slept is live again everywhere; children of a dead parent
//! find another and nobody else falls.

use chorus_protocol::units::Micros;
use chorus_tests::world::fabric::Shape;
use chorus_tests::world::faults::Link;
use chorus_tests::world::{Options, World, watch};

#[test]
fn nobody_is_evicted_in_ten_minutes_of_loss_and_delay() {
    watch::seeds("no false eviction", watch::many(2), |seed| {
        let mut world = World::settled(Options::new(30, seed))?;
        world.link = Link::BAD;
        world.pass(Micros::from_secs(600));
        let evictions = world.evictions();
        if !evictions.is_empty() {
            return Err(format!(
                "{} evictions, first {:?}",
                evictions.len(),
                evictions[0]
            ));
        }
        let wrong = world.misjudged();
        // At 5 % loss somebody may be suspect at this very moment; nobody for long.
        if world
            .until(Micros::from_secs(5), |w| w.misjudged().is_empty())
            .is_none()
        {
            return Err(format!("misjudged (who, whom): {wrong:?}"));
        }
        world.check()
    });
}

#[test]
fn a_machine_that_slept_is_live_again_everywhere_within_fifteen_seconds() {
    watch::seeds("pause", watch::many(12), |seed| {
        let mut world = World::settled(Options {
            shape: Shape::SPARE,
            ..Options::new(30, seed)
        })?;
        let span = Micros::from_secs([10, 45][seed as usize % 2]);
        let keep = seed % 4 < 2;
        let sleeper = [2, 5, 9, 29][seed as usize / 2 % 4];
        world.pause(sleeper, span, keep);
        world.pass(span);
        let others = world
            .evictions()
            .iter()
            .filter(|(_, _, of)| *of != sleeper)
            .count();
        if others > 0 {
            return Err(format!("{others} others evicted while {sleeper} slept"));
        }
        let before = world.evictions().len();
        if before == 0 {
            return Err(format!("nobody noticed that {sleeper} slept for {span}"));
        }
        let back = world.until(Micros::from_secs(15), |w| w.misjudged().is_empty());
        if back.is_none() {
            return Err(format!(
                "{sleeper} (kept {keep}): misjudged {:?}",
                world.misjudged()
            ));
        }
        let blamed = world
            .evictions()
            .iter()
            .filter(|(_, at, of)| *at == sleeper && *of != sleeper)
            .count();
        if blamed > 0 {
            return Err(format!(
                "the sleeper blamed {blamed} others for its own sleep"
            ));
        }
        world.check()
    });
}

#[test]
fn a_machine_that_restarts_every_second_harms_nobody_and_is_live_in_the_end() {
    watch::seeds("flapping", watch::many(4), |seed| {
        let mut world = World::settled(Options::new(30, seed))?;
        let flapper = [1, 2, 5, 25][seed as usize % 4];
        for _ in 0..60 {
            world.crash(flapper);
            world.pass(Micros::from_millis(300));
            world.start(flapper);
            world.pass(Micros::from_millis(700));
        }
        let back = world.until(Micros::from_secs(15), |w| {
            w.whole() && w.misjudged().is_empty()
        });
        if back.is_none() {
            let members = world.view(0).members;
            return Err(format!(
                "{flapper}: {members} members, misjudged {:?}",
                world.misjudged()
            ));
        }
        world.check()
    });
}

#[test]
fn the_children_of_a_dead_parent_find_another_and_nobody_else_is_evicted() {
    watch::seeds("parent killed", watch::many(8), |seed| {
        let mut world = World::settled(Options {
            shape: Shape::SPARE,
            ..Options::new(60, seed)
        })?;
        // A coordinator or a lead with children.
        let parents: Vec<usize> = (2..60)
            .filter(|at| !world.view(*at).children.is_empty())
            .collect();
        let parent = parents[seed as usize % parents.len()];
        let children = world.view(parent).children;
        world.crash(parent);
        let dead = world.fabric.members[parent].node;
        let found = world.until(Micros::from_secs(10), |w| {
            w.misjudged().is_empty()
                && children.iter().all(|child| {
                    w.view(w.number(child))
                        .parent
                        .is_some_and(|parent| parent != dead)
                })
        });
        if found.is_none() {
            return Err(format!(
                "parent {parent}: misjudged {:?}",
                world.misjudged()
            ));
        }
        if let Some(other) = world.evictions().iter().find(|(_, _, of)| *of != parent) {
            return Err(format!("parent {parent} died and {other:?} was evicted"));
        }
        world.check()
    });
}

#[test]
fn who_died_with_its_parent_is_known_dead_by_the_ttl_though_the_parent_returns() {
    watch::seeds("dead beneath a restarted parent", watch::many(8), |seed| {
        let mut world = World::settled(Options {
            shape: [Shape::SPARE, Options::new(30, seed).shape][seed as usize % 2],
            ..Options::new(30, seed)
        })?;
        let parents: Vec<usize> = (1..30)
            .filter(|at| !world.view(*at).children.is_empty())
            .collect();
        let parent = parents[seed as usize / 2 % parents.len()];
        let children = world.view(parent).children;
        let child = world.number(children.iter().next_back().expect("it has some"));
        world.crash(child);
        world.crash(parent);
        world.pass(Micros::from_secs([1, 5][seed as usize / 4 % 2]));
        world.start(parent);
        // What is left of the TTL, and the way of the word; nobody vouches for the dead.
        let known = world.until(Micros::from_secs(36), |w| w.misjudged().is_empty());
        if known.is_none() {
            return Err(format!(
                "{child} beneath {parent}: misjudged {:?}",
                world.misjudged()
            ));
        }
        world.check()
    });
}
