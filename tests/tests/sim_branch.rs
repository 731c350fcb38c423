//! N3, N4, N6: a branch that restarts does not lose what is reached through it;
//! membership costs the same however large the mesh is; what waits says for whom
//! and since when.

use chorus_protocol::trust::revoke;
use chorus_protocol::units::Micros;
use chorus_tests::world::fabric::Shape;
use chorus_tests::world::faults::Cut;
use chorus_tests::world::{Options, World, watch};

fn settled(options: Options) -> Result<World, String> {
    let n = options.n;
    let mut world = World::new(options);
    let whole = world.until(Micros::from_secs(60), World::whole);
    whole.ok_or_else(|| format!("{} of {n} in the root's sum", world.view(0).members))?;
    world.pass(Micros::from_secs(5));
    Ok(world)
}

#[test]
fn a_branch_that_restarts_loses_nobody_who_is_reached_through_it() {
    watch::seeds("branch restart", watch::many(12), |seed| {
        let shape = if seed % 2 == 0 {
            Shape::TREE
        } else {
            Shape::SPARE
        };
        let mut world = settled(Options {
            shape,
            ..Options::new(40, seed)
        })?;
        let branches: Vec<usize> = (1..40)
            .filter(|at| !world.view(*at).children.is_empty())
            .collect();
        let branch = branches[seed as usize / 2 % branches.len()];
        let away = Micros::from_millis([200, 1_500, 6_000][seed as usize % 3]);
        world.crash(branch);
        world.pass(away);
        world.start(branch);
        let back = world.until(Micros::from_secs(10), |w| {
            w.whole() && w.misjudged().is_empty()
        });
        if back.is_none() {
            let members = world.view(0).members;
            let wrong = world.misjudged();
            return Err(format!(
                "{branch} away for {away}: {members} of 40; misjudged {wrong:?}"
            ));
        }
        // Whoever was moved away comes home: the lead of an agent is its parent again.
        world.pass(Micros::from_secs(15));
        if !world.whole() {
            return Err(format!(
                "{branch}: {} of 40 after coming home",
                world.view(0).members
            ));
        }
        let lost: Vec<_> = world
            .evictions()
            .into_iter()
            .filter(|(_, _, of)| *of != branch)
            .collect();
        if !lost.is_empty() {
            return Err(format!(
                "{branch} restarted and others were evicted: {lost:?}"
            ));
        }
        world.check()
    });
}

/// The busiest machine's frames of membership in a second, over ten seconds.
fn membership_rate(n: usize) -> Result<f64, String> {
    let mut world = settled(Options::new(n, 1))?;
    let begin = world.now;
    loop {
        let wrong = world.misjudged().len();
        if wrong == 0 {
            break;
        }
        if world.now.since(begin) >= Micros::from_secs(60) {
            return Err(format!(
                "{n} machines: {wrong} pairs do not see each other after a minute"
            ));
        }
        world.pass(Micros::from_secs(5));
    }
    println!("{n} machines: everybody knows everybody at {}", world.now);
    world.pass(Micros::from_secs(5));
    world.counts.said.clear();
    world.pass(Micros::from_secs(10));
    let mut by_machine = std::collections::BTreeMap::<usize, u64>::new();
    for ((at, what), frames) in &world.counts.said {
        if !["phase", "sums", "echo", "echoed"].contains(what) {
            *by_machine.entry(*at).or_default() += frames;
        }
    }
    let most = by_machine.values().max().copied().unwrap_or_default();
    Ok(most as f64 / 10.0)
}

#[test]
fn membership_at_a_thousand_machines_costs_each_what_it_costs_at_a_hundred() {
    watch::seeds("N4", 0..1, |_| {
        let (small, large) = (membership_rate(100)?, membership_rate(1_000)?);
        println!(
            "frames of membership a second at the busiest machine: {small} of 100, {large} of 1000"
        );
        // One frame of news and a fifth of a heartbeat a second; room for a stray change.
        match small <= 3.0 && large <= 3.0 && large > 0.0 {
            true => Ok(()),
            false => Err(format!(
                "{small} frames a second of 100 machines, {large} of 1000"
            )),
        }
    });
}

#[test]
fn what_waits_says_for_whom_and_since_when() {
    watch::seeds("N6: outbox and orphan", watch::many(4), |seed| {
        let mut world = settled(Options::new(12, seed))?;
        // The coordinator cannot be heard by the root, but hears it.
        world.cuts.push(Cut {
            from: [1].into(),
            to: [0].into(),
        });
        let gone = world.fabric.members[11].node;
        let items = revoke(
            &world.fabric.root,
            world.run(0).directory.roster(),
            gone,
            "lost",
        );
        world.own(0, items);
        world.pass(Micros::from_secs(5));
        let to = world.fabric.members[1].node;
        let waits = world
            .run(0)
            .outboxes
            .get(&to)
            .map_or(0, |outbox| outbox.len());
        if waits == 0 {
            return Err("nothing waits for an acknowledgement that cannot come".into());
        }
        world.isolate(&[0]);
        world.pass(Micros::from_secs(10));
        let view = world.view(1);
        if !view.orphan || view.parent.is_some() {
            return Err(format!(
                "cut off, and says parent {:?}, orphan {}",
                view.parent, view.orphan
            ));
        }
        world.heal();
        let done = world.until(Micros::from_secs(15), |w| {
            !w.view(1).orphan
                && w.run(0)
                    .outboxes
                    .get(&to)
                    .is_none_or(|outbox| outbox.is_empty())
        });
        done.map(drop)
            .ok_or("after the heal something waits still")?;
        world.check()
    });
    let waited = std::cell::Cell::new(0);
    watch::seeds("N6: directory", watch::many(4), |seed| {
        let mut world = World::dark(Options::new(6, seed));
        world.machines[1].disk.enrolled = world.fabric.directory_of([0, 1].into_iter());
        world.start(0);
        world.pass(Micros::from_secs(1));
        world.start(1);
        let root = world.fabric.members[0].node;
        let attached = world.until(Micros::from_secs(5), |w| w.view(1).parent == Some(root));
        attached.ok_or("did not attach")?;
        // From here on it hears the root, and the root hears nothing of it.
        world.cuts.push(Cut {
            from: [1].into(),
            to: [0].into(),
        });
        world.pass(Micros::from_secs(8));
        let waiting: Vec<_> = world.run(1).directory.waiting_on().collect();
        let len = world.run(1).directory.roster().len();
        if len == 6 {
            return Ok(()); // the answer came before the cut
        }
        match waiting.as_slice() {
            [(whom, since, items)] if *whom == root && *since <= world.now && *items >= 6 => {}
            other => return Err(format!("knows {len} of 6 and waits on {other:?}")),
        }
        world.cuts.clear();
        waited.set(waited.get() + 1);
        let done = world.until(Micros::from_secs(15), |w| {
            w.run(1).directory.roster().len() == 6 && w.run(1).directory.waiting_on().count() == 0
        });
        done.map(drop).ok_or("it waits still")?;
        world.check()
    });
    assert!(waited.get() > 0, "no seed cut before the answer");
}
