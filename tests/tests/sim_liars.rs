//! A member that lies about others: an agent with a valid key says of everybody,
//! with the greatest stamp there is, that it lives and that it is dead. Nobody who
//! runs is evicted for it, neither while it may speak nor after its revocation.

use chorus_protocol::ids::{Incarnation, Stamp};
use chorus_protocol::trust::revoke;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::{Alive, Message, PeerEntry, PeerNews, PeerState};
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
        theta: 0.0,
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
