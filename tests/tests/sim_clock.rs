//! A1, A5, A8 (faults 1, 17, 19): the Lamport clock never goes back over a crash,
//! no (incarnation, lamport) is used twice, and a liar at 2^63 does no harm and is
//! attributed. The world checks the first two at every frame that is said.

use chorus_protocol::trust::revoke;
use chorus_protocol::units::{Micros, Noise, Seeded};
use chorus_tests::world::faults::{Lie, Link};
use chorus_tests::world::{Options, World, watch};

#[test]
fn no_time_is_used_twice_over_a_hundred_crashes_with_and_without_a_disk() {
    watch::seeds("crashes", watch::many(4), |seed| {
        let mut world = World::new(Options {
            link: Link::BAD,
            ..Options::new(12, seed)
        });
        let mut noise = Seeded::new(seed);
        world.pass(Micros::from_secs(5));
        for _ in 0..25 {
            let victim = 1 + (noise.uniform() * 11.0) as usize;
            match noise.uniform() < 0.5 {
                true => world.crash(victim),
                false => world.crash_losing_disk(victim),
            }
            world.pass(Micros((noise.uniform() * 4e6) as u64));
            world.start(victim);
            world.pass(Micros((noise.uniform() * 4e6) as u64));
        }
        world.link = Link::GOOD;
        let boots: u32 = world.machines.iter().map(|machine| machine.disk.boot).sum();
        if boots != 12 + 25 {
            return Err(format!("{boots} starts were counted"));
        }
        if world.until(Micros::from_secs(15), World::whole).is_none() {
            return Err(format!("{} of 12 in the root's sum", world.view(0).members));
        }
        world.check()
    });
}

fn jumps_of(world: &World, from: usize) -> u64 {
    world
        .counts
        .jumps
        .iter()
        .filter(|((_, who), _)| *who == from)
        .map(|(_, n)| n)
        .sum()
}

#[test]
fn liars_at_two_to_the_63_are_attributed_and_nobody_is_locked_out() {
    watch::seeds("Lamport liars", watch::many(6), |seed| {
        let mut world = World::new(Options::new(30, seed));
        world
            .until(Micros::from_secs(30), World::whole)
            .ok_or("did not settle")?;
        world.pass(Micros::from_secs(2));
        // One agent; two agents of one lead, which outrun it together.
        let liars: &[usize] = if seed % 2 == 0 { &[5] } else { &[5, 6] };
        for liar in liars {
            world.machines[*liar].lie = Some(Lie::Lamport);
        }
        world.pass(Micros::from_secs(30));
        for liar in liars {
            if jumps_of(&world, *liar) == 0 {
                return Err(format!("liar {liar} was not attributed"));
            }
        }
        let blamed: Vec<_> = world
            .counts
            .jumps
            .iter()
            .filter(|((_, from), _)| !liars.contains(from))
            .collect();
        if !blamed.is_empty() {
            return Err(format!(
                "honest machines blamed ((at, from), frames): {blamed:?}"
            ));
        }
        if !world.whole() || !world.evictions().is_empty() {
            return Err(format!(
                "{} in the sum; {:?}",
                world.view(0).members,
                world.evictions()
            ));
        }
        // An honest machine that starts now is heard at once, and commands still pass.
        world.crash(20);
        world.pass(Micros::from_secs(5));
        world.start(20);
        if world
            .until(Micros::from_secs(10), |w| {
                w.whole() && w.misjudged().is_empty()
            })
            .is_none()
        {
            return Err(format!(
                "after a restart: misjudged {:?}",
                world.misjudged()
            ));
        }
        world.check()
    });
}

/// Its frames are never further ahead than is taken whole, so it pushes all clocks; they
/// stay together, and what its neighbours do against it still crosses.
#[test]
fn a_liar_that_pushes_the_clocks_cannot_keep_back_its_own_revocation() {
    watch::seeds("creeping liars", watch::many(4), |seed| {
        let (n, liar) = (30, 29 - seed as usize % 3);
        let mut world = World::new(Options::new(n, seed));
        world
            .until(Micros::from_secs(30), World::whole)
            .ok_or("did not settle")?;
        world.machines[liar].lie = Some(Lie::Creep);
        if seed % 2 == 1 {
            // A part is cut off meanwhile and does not move along.
            world.isolate(&(0..15).collect::<Vec<_>>());
        }
        world.pass(Micros::from_secs(60));
        world.heal();
        let node = world.fabric.members[liar].node;
        let roster = world.run(0).directory.roster().clone();
        world.own(0, revoke(&world.fabric.root, &roster, node, "lies"));
        let heard = |w: &World, at: usize| w.run(at).directory.roster().is_revoked(&node);
        let everywhere = world.until(Micros::from_secs(15), |w| {
            (0..n).all(|at| at == liar || heard(w, at))
        });
        if everywhere.is_none() {
            let late: Vec<usize> = (0..n).filter(|at| !heard(&world, *at)).collect();
            return Err(format!("{liar} revoked: not heard by {late:?}"));
        }
        world.check()
    });
}

#[test]
fn sums_too_heavy_or_too_fast_are_counted_and_not_added() {
    watch::seeds("absurd sums", watch::many(4), |seed| {
        let mut world = World::new(Options::new(30, seed));
        world
            .until(Micros::from_secs(30), World::whole)
            .ok_or("did not settle")?;
        world.pass(Micros::from_secs(5));
        let order = world.view(0).order;
        let (liar, lie) = [
            (2, Lie::HugeSum),
            (2, Lie::Fast),
            (5, Lie::HugeSum),
            (5, Lie::Fast),
        ][seed as usize % 4];
        let parent = world.view(liar).parent.ok_or("the liar has no parent")?;
        let parent = world.number(&parent);
        world.machines[liar].lie = Some(lie);
        world.pass(Micros::from_secs(10));
        if world.view(parent).counters.absurd == 0 {
            return Err(format!("{lie:?} of {liar} was taken by {parent}"));
        }
        let now = world.view(0);
        if !(now.order.is_finite() && now.order <= 1.0 + 1e-9 && now.order > order - 0.2) {
            return Err(format!("order {order} became {}", now.order));
        }
        world.check()
    });
}
