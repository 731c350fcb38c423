//! What a table of peers says of their phases: all of one moment, and near the truth.

use std::f64::consts::{PI, TAU};

use chorus_protocol::ids::Role;
use chorus_protocol::units::Micros;
use chorus_tests::world::{Options, World, watch};

/// How far a told phase may be off, radians: the noise of the seconds that a word takes
/// from one branch to the other, σ·√t = .3 after 10 s, and the neighbours' pull.
const OFF_MAX: f64 = 0.6;

#[test]
fn a_table_shows_the_phases_of_one_moment_however_long_each_word_took() {
    watch::seeds("phases", watch::many(4), |seed| {
        let n = 40;
        let mut world = World::new(Options::new(n, seed));
        let whole = world.until(Micros::from_secs(60), |w| {
            w.whole() && w.misjudged().is_empty()
        });
        whole.ok_or("never whole")?;
        world.pass(Micros::from_secs(20));
        let (mut seen, mut far) = (0, Vec::new());
        for at in 0..n {
            for peer in world.run(at).gossip.peer_views(0, world.now) {
                let of = world.number(&peer.node);
                let role = world.run(at).directory.roster().get(&peer.node);
                if role.is_none_or(|member| member.entry.role != Role::Agent) {
                    continue; // it tells the mean of its subtree
                }
                let Some(theta) = peer.theta else {
                    return Err(format!("{at} knows no phase of {of}"));
                };
                let off = (theta - world.view(of).theta + PI).rem_euclid(TAU) - PI;
                seen += 1;
                if off.abs() > OFF_MAX {
                    far.push((at, of, off, peer.age));
                }
            }
        }
        if seen < n * n / 2 || !far.is_empty() {
            return Err(format!("{} of {seen} are off: {far:?}", far.len()));
        }
        world.check()
    });
}
