//! A member that lies about others: an agent with a valid key says of everybody,
//! with the greatest stamp there is, that it lives and that it is dead. Nobody who
//! runs is evicted for it, neither while it may speak nor after its revocation. And one that
//! says that it sums up thousands: nobody counts more live nodes than there are for it. Nor does anybody write down
//! all that one announces who does it without end.

use chorus_protocol::ids::{Incarnation, Role, Stamp};
use chorus_protocol::membership::topology::Member;
use chorus_protocol::phase::field::{PartialSum, Scope, Sum};
use chorus_protocol::trust::revoke;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::{Alive, Message, PeerEntry, PeerNews, PeerState, SumNews};
use chorus_protocol::wire::topic::Topic;
use chorus_tests::world::fabric::Shape;
use chorus_tests::world::{Options, World, watch};

/// Greater than any honest one.
const MAX: Stamp = Stamp {
    incarnation: Incarnation(u32::MAX as u64),
    lamport: u64::MAX,
};

/// `liar` says this of everybody, and that it has just heard each of them.
fn slander(world: &mut World, liar: usize, state: PeerState) {
    let members = world.fabric.clone();
    let entry = |node| PeerEntry {
        node,
        stamp: MAX,
        state,
        theta: None,
        age_ms: 0,
    };
    let peers = members.members.iter().map(|me| entry(me.node)).collect();
    world.publish(liar, Topic::Heartbeat, Message::Peers(PeerNews { peers }));
    for me in &members.members {
        let alive = Alive {
            node: me.node,
            stamp: Some(MAX),
            nonce: 1,
        };
        world.publish(liar, Topic::Heartbeat, Message::Alive(alive));
    }
}

/// Who was evicted without being silent, and who keeps a stamp that nobody said.
fn harm(world: &World, liar: usize, down: &[usize]) -> Result<(), String> {
    let wronged = world.evictions();
    let wrong = |(_, at, of): &&(Micros, usize, usize)| *at != liar && !down.contains(of);
    if let Some(first) = wronged.iter().find(wrong) {
        return Err(format!("(when, at whom, who) evicted: {first:?}"));
    }
    for (at, machine) in world.machines.iter().enumerate() {
        let Some(run) = &machine.run else { continue };
        // What is kept over a restart is what one who lost its count is told.
        if let Some((node, _)) = run.gossip.stamps().find(|(_, kept)| *kept == MAX) {
            return Err(format!(
                "{at} believes the stamp of {}",
                world.number(&node)
            ));
        }
    }
    world.check()
}

#[test]
fn an_agent_that_lies_about_everybody_harms_nobody() {
    watch::seeds("slander", watch::many(4), |seed| {
        let shape = [Shape::TREE, Shape::SPARE][seed as usize % 2];
        let mut world = World::new(Options {
            shape,
            ..Options::new(30, seed)
        });
        world
            .until(Micros::from_secs(30), World::whole)
            .ok_or("did not settle")?;
        world.pass(Micros::from_secs(10));
        let (liar, state) = (
            29,
            [PeerState::Live, PeerState::Evicted][seed as usize / 2 % 2],
        );
        // A coordinator that hears the lie, and one whose children come back to it.
        let coordinator = [1, 2][seed as usize % 2];
        for _ in 0..20 {
            slander(&mut world, liar, state);
            world.pass(Micros::from_millis(500));
        }
        harm(&world, liar, &[])?;
        world.crash(coordinator);
        slander(&mut world, liar, state);
        world.pass(Micros::from_secs(5));
        world.start(coordinator);
        let back = world.until(Micros::from_secs(10), |w| {
            w.whole() && w.view(coordinator).parent.is_some()
        });
        back.ok_or("the coordinator that was restarted is an orphan")?;
        slander(&mut world, liar, state);
        harm(&world, liar, &[coordinator])?;
        let node = world.fabric.members[liar].node;
        let roster = world.run(0).directory.roster().clone();
        world.own(0, revoke(&world.fabric.root, &roster, node, "lied"));
        world.pass(Micros::from_secs(120));
        world.crash(liar);
        world.pass(Micros::from_secs(30));
        harm(&world, liar, &[coordinator, liar])?;
        let wrong = world.misjudged();
        let wrong: Vec<_> = wrong.iter().filter(|(at, _)| *at != liar).collect();
        match wrong.as_slice() {
            [] => Ok(()),
            wrong => Err(format!("misjudged (who, whom): {wrong:?}")),
        }
    });
}

/// A sum over `members` nodes, all at `theta`, under the scope of where `liar` stands.
fn forged(world: &World, liar: usize, members: u32, theta: f64) -> (Topic, Sum) {
    let Member { role, place, .. } = world.fabric.members[liar];
    let weight = f64::from(members);
    let part = PartialSum {
        members,
        ..PartialSum::of(theta, 6.3, weight)
    };
    let (sector, cluster) = (place.sector, place.cluster);
    let (topic, scope) = match role {
        Role::Orchestrator => (Topic::MeshSum, Scope::MESH),
        Role::Coordinator => (Topic::SectorSum(sector), Scope::sector(sector)),
        _ => (
            Topic::ClusterSum(sector, cluster),
            Scope::cluster(sector, cluster),
        ),
    };
    (topic, Sum { scope, part })
}

/// What a machine other than the liar and those that have it for their parent holds of the
/// mesh: more than there are, hardly any of those, or no order.
fn misled(world: &World, liar: usize, (least, order): (usize, f64)) -> Result<(), String> {
    let n = world.machines.len();
    let name = world.fabric.members[liar].node;
    for at in (0..n).filter(|at| *at != liar) {
        let view = world.view(at);
        let below = view.parent == Some(name);
        if view.members as usize > n
            || !(below || view.members as usize >= least && view.order > order)
        {
            let (live, r) = (view.members, view.order);
            return Err(format!("{liar} lies, {at} sees {live} live, r {r}"));
        }
    }
    Ok(())
}

#[test]
fn a_member_that_sums_up_more_than_there_are_sways_nobody() {
    const N: usize = 23;
    watch::seeds("forged sums", watch::many(3), |seed| {
        let mut world = World::new(Options::new(N, seed));
        world
            .until(Micros::from_secs(30), World::whole)
            .ok_or("did not settle")?;
        world.pass(Micros::from_secs(20));
        misled(&world, 0, (N, 0.9))?;
        // An agent, a lead and the coordinator, who says it to those beneath it too. Its
        // own sum is refused or overtaken with what it forges; nobody else's is. Those beneath
        // a parent that lies follow it wherever it leads them, and that shows in the order.
        let (coordinator, lead, agent) = (1, 2, 3);
        let sizes = [2, 20, 27, 100, 1_000_000, u32::MAX];
        for (liar, least) in [
            (agent, (N - 1, 0.9)),
            (lead, (N - 10, 0.0)),
            (coordinator, (1, 0.0)),
        ] {
            for members in sizes {
                for said in 0..30 {
                    let (topic, own) = forged(&world, liar, members, f64::from(said));
                    let mesh = Sum {
                        scope: Scope::MESH,
                        ..own
                    };
                    let above = if liar == coordinator {
                        vec![mesh]
                    } else {
                        vec![]
                    };
                    let top = Role::Orchestrator;
                    let within = liar == coordinator && members <= N as u32;
                    let within = within || (liar == lead && members <= 10);
                    if !within {
                        world.publish(liar, topic, Message::Sums(SumNews { own, above, top }));
                    }
                    world.pass(Micros::from_millis(50));
                    misled(&world, liar, least).map_err(|e| format!("{e}: {members}"))?;
                }
            }
        }
        let counted = |at| world.view(at).counters;
        match (counted(0), counted(1), counted(3)) {
            (root, _, _) if root.beyond_roster == 0 => Err("the root counts none".into()),
            (_, it, _) if it.beyond_roster == 0 => Err("the coordinator counts none".into()),
            (_, _, it) if it.beyond_roster == 0 => Err("an agent counts none".into()),
            _ => world.check(),
        }
    });
}

#[test]
fn a_member_that_announces_itself_without_end_is_held_back_and_its_last_word_known() {
    watch::seeds("announcements", watch::many(3), |seed| {
        let mut world = World::settled(Options::new(23, seed))?;
        world.link.loss = [0.0, 0.05][seed as usize % 2];
        let liar = [22, 2, 1][seed as usize % 3];
        let stamp = |lamport| Stamp {
            incarnation: Incarnation::new(0, 1),
            lamport,
        };
        for said in 1..=600 {
            let item = world.fabric.announcement(liar, stamp(said));
            world.own(liar, vec![item]);
            world.pass(Micros::from_millis(100));
        }
        // Whoever has a link to it takes 64, and one more every 5 s; the others are spared.
        let held: Vec<u64> = (0..23).map(|at| world.run(at).directory.held()).collect();
        if !held.iter().any(|held| *held > 500) || held[liar] > 0 {
            return Err(format!("of what {liar} announces is held back: {held:?}"));
        }
        let node = world.fabric.members[liar].node;
        let known = world.until(Micros::from_secs(30), |w| {
            let digest = w.run(liar).directory.digest();
            let same = (0..23).all(|at| w.run(at).directory.digest() == digest);
            same && w.misjudged().is_empty()
        });
        let roster = world.run(0).directory.roster();
        if known.is_none() || roster.address(&node).map(|it| it.stamp) != Some(stamp(600)) {
            let wrong = world.misjudged();
            return Err(format!(
                "{liar}'s last word is not known; misjudged {wrong:?}"
            ));
        }
        world.check()
    });
}
