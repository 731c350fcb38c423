//! Memory under faults: whatever happens to nodes, disks and connections, nothing that was
//! acknowledged is lost, nothing deleted comes back, and the stores agree in the end.

use chorus_protocol::memory::replication::Config;
use chorus_tests::memory::{Chaos, Merging, World, seats};
use chorus_tests::world::watch;

/// Thirteen nodes that hold everything; in every fourth world 22, five of which hold a key.
fn chaos(seed: u64, merging: Merging) -> Chaos {
    let mut world = match seed % 4 {
        3 => {
            let copies = 5;
            let config = Config::default();
            World::with(seed, &seats(3, 6), Config { copies, ..config })
        }
        _ => World::new(seed, &seats(3, 3)),
    };
    world.merging = merging;
    let mut chaos = Chaos::new(world, 4);
    chaos.rage(120);
    chaos
}

fn judged(seed: u64, merging: Merging) -> Result<(), String> {
    chaos(seed, merging).verdict()
}

/// The check finds that a broken memory does all of this, or it is none.
fn finds(merging: Merging, faults: &[&str]) {
    let mut left = faults.to_vec();
    for seed in 0..40 {
        if let Err(why) = judged(seed, merging) {
            left.retain(|fault| !why.contains(fault));
        }
        if left.is_empty() {
            return;
        }
    }
    panic!("of {merging:?} the check does not find {left:?}");
}

#[test]
fn what_was_acknowledged_stays_and_what_was_deleted_does_not_come_back() {
    let seeds = if watch::soak() { 0..200 } else { 0..40 };
    watch::seeds("a history of memory", seeds, |seed| {
        judged(seed, Merging::Right)
    });
}

#[test]
fn a_memory_in_which_the_last_writer_wins_is_found_out() {
    finds(Merging::LastWriterWins, &["lost: ", "reads: "]);
}

#[test]
fn a_memory_that_forgets_deletions_is_found_out() {
    finds(Merging::NoTombstones, &["lost: ", "back: "]);
}

#[test]
fn a_memory_that_tells_before_the_disk_has_it_is_found_out() {
    finds(Merging::Hasty, &["lost: ", "quorum: "]);
}
