//! B6, E7: the field costs O(N) messages. A gossip round of 30,000 machines in a
//! settled tree is at most 62,200 frames; a smaller mesh pays in proportion.

use chorus_protocol::units::Micros;
use chorus_tests::world::fabric::Shape;
use chorus_tests::world::{Options, World, watch};

/// Frames of phases and sums that arrive in one round, once the tree has settled.
fn frames_of_a_round(n: usize) -> Result<f64, String> {
    let shape = Shape::Tree {
        clusters: 10,
        size: 30,
    };
    let mut world = World::new(Options {
        shape,
        light: true,
        ..Options::new(n, 1)
    });
    let whole = world.until(Micros::from_secs(30), World::whole);
    whole.ok_or_else(|| format!("{} of {n} in the root's sum", world.view(0).members))?;
    world.pass(Micros::from_secs(1));
    world.counts.arrived.clear();
    world.pass(Micros::from_secs(1));
    let of = |name| world.counts.arrived.get(name).copied().unwrap_or_default();
    let frames = (of("phase") + of("sums")) as f64 / 10.0;
    println!(
        "{n} machines: {frames} frames a round, all that arrived in ten: {:?}",
        world.counts.arrived
    );
    let view = world.view(0);
    if view.members as usize != n {
        return Err(format!("{} of {n} in the root's sum", view.members));
    }
    world.check()?;
    Ok(frames)
}

#[test]
fn a_round_of_a_tree_costs_two_frames_for_each_machine() {
    watch::seeds("frames of a round", 0..1, |_| {
        let sizes: &[usize] = if watch::soak() {
            &[300, 3_000, 30_000]
        } else {
            &[300, 3_000]
        };
        for &n in sizes {
            let (frames, most) = (frames_of_a_round(n)?, 62_200.0 * n as f64 / 30_000.0);
            if frames > most || frames < 1.9 * n as f64 {
                return Err(format!(
                    "{n} machines: {frames} frames a round, allowed {most}"
                ));
            }
        }
        Ok(())
    });
}
