//! A7 (and §7 of the mathematics): after a cut of any length the second authentic
//! frame on each way at the latest is applied, and every machine is in the root's
//! sum within 10 s. With the seeds' own bound put in, the same check goes red.

use chorus_protocol::units::Micros;
use chorus_tests::world::fabric::Shape;
use chorus_tests::world::{Options, World, watch};

const SETTLE: Micros = Micros::from_secs(30);
const HEAL: Micros = Micros::from_secs(10);

/// What is cut.
#[derive(Debug, Clone, Copy)]
enum Side {
    /// The orchestrator alone.
    Root,
    /// One machine half-way down the list.
    One,
    /// Every second machine.
    Half,
}

/// Cuts and heals a mesh that had settled.
fn cut_and_heal(options: Options, side: Side, span: Micros) -> Result<World, String> {
    let n = options.n;
    let mut world = World::new(options);
    world.until(SETTLE, World::whole).ok_or_else(|| {
        format!(
            "n={n}: {} of {n} in the root's sum at the start",
            world.view(0).members
        )
    })?;
    world.pass(Micros::from_secs(2));
    let inside: Vec<usize> = match side {
        Side::Root => vec![0],
        Side::One => vec![n / 2],
        Side::Half => (0..n).step_by(2).collect(),
    };
    world.isolate(&inside);
    world.pass(span);
    if span > Micros::from_secs(2) && world.whole() {
        return Err(format!("n={n} {side:?}: the cut cut nothing"));
    }
    world.heal();
    let healed = world.until(HEAL, World::whole);
    world.pass(HEAL);
    let healing = world.healing.as_ref().ok_or("nothing was healed")?;
    let what = format!("n={n} {side:?} {span}");
    if !healing.deaf().is_empty() {
        return Err(format!(
            "{what}: deaf {:?}; {} frames locked out",
            healing.deaf(),
            world.counts.locked_out
        ));
    }
    if healing.heard() == 0 {
        return Err(format!("{what}: nothing was heard over the cut"));
    }
    if healed.is_none() || !world.whole() {
        return Err(format!(
            "{what}: {} of {n} in the root's sum",
            world.view(0).members
        ));
    }
    world.check()?;
    Ok(world)
}

fn sides(seed: u64) -> Side {
    [Side::Root, Side::One, Side::Half][seed as usize % 3]
}

#[test]
fn after_a_hundred_cuts_of_small_meshes_everybody_is_heard_and_summed_again() {
    watch::seeds("cut and heal", watch::many(100), |seed| {
        let n = [2, 3, 5, 10, 30][seed as usize / 3 % 5];
        let span = [1, 5, 30, 120, 60][seed as usize / 15 % 5];
        cut_and_heal(Options::new(n, seed), sides(seed), Micros::from_secs(span)).map(drop)
    });
}

#[test]
fn a_hundred_and_three_hundred_machines_heal_too() {
    watch::seeds("large cut and heal", watch::many(4), |seed| {
        let n = if seed % 4 == 3 { 300 } else { 100 };
        cut_and_heal(
            Options::new(n, seed),
            sides(seed + 2),
            Micros::from_secs(20),
        )
        .map(drop)
    });
}

#[test]
fn a_flat_mesh_heals_over_bad_links() {
    watch::seeds("flat, bad links", watch::many(6), |seed| {
        let mut options = Options {
            shape: Shape::Flat,
            ..Options::new(20, seed)
        };
        options.link = chorus_tests::world::faults::Link {
            loss: 0.05,
            ..options.link
        };
        cut_and_heal(options, sides(seed), Micros::from_secs(30)).map(drop)
    });
}

/// The test of the test: a full mesh, where every frame that is taken ticks.
fn seeds_form(n: usize, bound: bool, seed: u64) -> Options {
    let options = Options {
        shape: Shape::Flat,
        ..Options::new(n, seed)
    };
    Options {
        seed_bound: bound,
        full_mesh: true,
        ..options
    }
}

#[test]
fn with_the_seeds_bound_the_same_check_goes_red_and_without_it_stays_green() {
    for (n, span) in [(3, 8), (5, 4), (10, 2), (30, 2)] {
        let span = Micros::from_secs(span);
        watch::seeds("full mesh, no bound", watch::many(2), |seed| {
            cut_and_heal(seeds_form(n, false, seed), Side::One, span).map(drop)
        });
        watch::seeds(
            "full mesh, the seeds' bound",
            0..2,
            |seed| match cut_and_heal(seeds_form(n, true, seed), Side::One, span) {
                Ok(world) => Err(format!(
                    "n={n}: healed, {} locked out",
                    world.counts.locked_out
                )),
                Err(why) if why.contains("deaf") => Ok(()),
                Err(why) => Err(format!("red for another reason: {why}")),
            },
        );
    }
}
