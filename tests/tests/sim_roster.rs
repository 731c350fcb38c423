//! N1, N2 and L7 (fault 22): halves that started apart become one mesh; a machine
//! that restarts is one machine and the dead do not pile up; a revocation reaches
//! everybody within 10 s.

use chorus_protocol::trust::revoke;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::PeerState;
use chorus_tests::world::fabric::Shape;
use chorus_tests::world::faults::Link;
use chorus_tests::world::{Options, World, watch};

/// Whether everybody who runs has one and the same directory of `len` members.
fn one_roster(world: &World, len: usize) -> bool {
    let digest = world.run(0).directory.digest();
    let runs = world
        .machines
        .iter()
        .filter_map(|machine| machine.run.as_ref());
    runs.into_iter()
        .all(|run| run.directory.roster().len() == len && run.directory.digest() == digest)
}

fn lengths(world: &World) -> Vec<(usize, usize)> {
    let runs = world.machines.iter().enumerate();
    runs.filter_map(|(at, m)| Some((at, m.run.as_ref()?.directory.roster().len())))
        .collect()
}

#[test]
fn two_halves_that_started_apart_from_the_same_seats_become_one_mesh() {
    watch::seeds("halves", watch::many(6), |seed| {
        let n = 26; // two orchestrators, two sectors of twelve
        let mut world = World::dark(Options {
            shape: Shape::SPARE,
            ..Options::new(n, seed)
        });
        let west: Vec<usize> = [0].into_iter().chain(2..14).collect();
        let east: Vec<usize> = [1].into_iter().chain(14..26).collect();
        for half in [&west, &east] {
            let known = world
                .fabric
                .directory_of([0, 1].into_iter().chain(half.iter().copied()));
            for at in half {
                world.machines[*at].disk.enrolled = known.clone();
            }
        }
        world.isolate(&west);
        (0..n).for_each(|at| world.start(at));
        world.pass(Micros::from_secs(if seed % 2 == 0 { 20 } else { 60 }));
        if let Some(apart) = lengths(&world).iter().find(|(_, len)| *len != 14) {
            return Err(format!("(machine, members) before the heal: {apart:?}"));
        }
        world.heal();
        let one = world.until(Micros::from_secs(30), |w| {
            one_roster(w, n) && w.whole() && w.misjudged().is_empty()
        });
        if one.is_none() {
            let (rosters, members) = (lengths(&world), world.view(0).members);
            let wrong = world.misjudged();
            return Err(format!(
                "{members} summed; rosters {rosters:?}; misjudged {wrong:?}"
            ));
        }
        world.check()
    });
}

#[test]
fn a_machine_that_restarts_is_one_machine_and_the_dead_do_not_pile_up() {
    watch::seeds("restarts", watch::many(2), |seed| {
        let n = 8;
        let mut world = World::new(Options::new(n, seed));
        world.pass(Micros::from_secs(5));
        for round in 0..20 {
            let at = 1 + (round + seed as usize) % 7;
            match round % 4 {
                3 => world.crash_losing_disk(at),
                _ => world.crash(at),
            }
            world.pass(Micros::from_millis(700 * (round as u64 % 7)));
            world.start(at);
            world.pass(Micros::from_secs(2));
        }
        if world
            .until(Micros::from_secs(15), |w| {
                w.whole() && w.misjudged().is_empty()
            })
            .is_none()
        {
            return Err(format!("misjudged {:?}", world.misjudged()));
        }
        for at in 0..n {
            let peers = world.run(at).gossip.peer_views(0, world.now);
            if peers.len() != n - 1 || world.run(at).directory.roster().len() != n {
                return Err(format!("machine {at} counts {} peers", peers.len()));
            }
        }
        // Two die for good: evicted everywhere, and gone from the tables in an hour.
        world.crash(6);
        world.crash(7);
        world.pass(Micros::from_secs(40));
        let dead = |world: &World, at: usize| {
            let peers = world.run(at).gossip.peer_views(0, world.now);
            peers
                .iter()
                .filter(|peer| peer.state == PeerState::Evicted)
                .count()
        };
        if let Some(at) = (0..6).find(|at| dead(&world, *at) != 2) {
            return Err(format!(
                "machine {at} counts {} dead, not 2",
                dead(&world, at)
            ));
        }
        world.pass(Micros::from_secs(3_700));
        if let Some(at) =
            (0..6).find(|at| world.run(*at).gossip.peer_views(0, world.now).len() != 5)
        {
            let peers = world.run(at).gossip.peer_views(0, world.now);
            return Err(format!("machine {at} still has {peers:?}"));
        }
        world.check()
    });
}

#[test]
fn a_revocation_reaches_everybody_within_ten_seconds_from_anywhere() {
    watch::seeds("revocation", watch::many(8), |seed| {
        let n = 60;
        let shape = if seed % 2 == 0 {
            Shape::TREE
        } else {
            Shape::SPARE
        };
        let mut world = World::new(Options {
            shape,
            ..Options::new(n, seed)
        });
        world
            .until(Micros::from_secs(30), World::whole)
            .ok_or("did not settle")?;
        world.pass(Micros::from_secs(10));
        if seed >= 4 {
            world.link = Link {
                loss: 0.05,
                ..world.link
            };
        }
        let (from, gone) = [(0, 59), (59, 30), (30, 29), (2, 10)][seed as usize % 4];
        let node = world.fabric.members[gone].node;
        let roster = world.run(from).directory.roster().clone();
        let items = revoke(&world.fabric.root, &roster, node, "lost");
        world.own(from, items);
        let refused = world.until(Micros::from_secs(10), |w| {
            let others = (0..n).filter(|at| *at != gone);
            others
                .clone()
                .all(|at| w.run(at).directory.roster().is_revoked(&node))
        });
        if refused.is_none() {
            let late: Vec<usize> = (0..n)
                .filter(|at| *at != gone && !world.run(*at).directory.roster().is_revoked(&node))
                .collect();
            return Err(format!("{gone} revoked at {from}: not heard by {late:?}"));
        }
        // It leaves sums and tables; a crash of it is no more than it is now.
        world.crash(gone);
        let left = world.until(Micros::from_secs(10), |w| {
            let others = (0..n).filter(|at| *at != gone);
            w.whole()
                && others
                    .clone()
                    .all(|at| w.run(at).gossip.stamp_of(&node).is_none())
        });
        left.map(drop)
            .ok_or(format!("{gone} is still in a table or sum"))?;
        world.check()
    });
}

#[test]
fn a_revocation_made_during_the_last_of_many_cuts_crosses_within_ten_seconds_of_the_heal() {
    watch::seeds("revocation over a cut", watch::many(6), |seed| {
        let n = 30;
        let mut world = World::new(Options::new(n, seed));
        world
            .until(Micros::from_secs(30), World::whole)
            .ok_or("did not settle")?;
        let inside: Vec<usize> = match seed % 3 {
            0 => vec![0],
            1 => (1..15).collect(),
            _ => (0..n).step_by(2).collect(),
        };
        // Each cut ends sessions' links, and none of the sessions.
        for gone in [29, 27, 25, 23] {
            world.isolate(&inside);
            world.pass(Micros::from_secs(40)); // longer than neighbours are remembered
            let node = world.fabric.members[gone].node;
            let roster = world.run(0).directory.roster().clone();
            world.own(0, revoke(&world.fabric.root, &roster, node, "lost"));
            world.pass(Micros::from_secs(5));
            world.crash(gone);
            world.heal();
            let all = world.until(Micros::from_secs(10), |w| one_roster(w, roster.len() - 1));
            if all.is_none() {
                return Err(format!("{gone} revoked at the root: {:?}", lengths(&world)));
            }
        }
        world.check()
    });
}
