//! Memory in the simulated mesh: three sectors behind carriers, cut and healed.

use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::replication::Want;
use chorus_protocol::units::Micros;
use chorus_tests::memory::{Seat, World, seats};

/// An orchestrator, and three sectors of a coordinator and three others: thirteen nodes.
fn three_sectors(seed: u64) -> World {
    World::new(seed, &seats(3, 3))
}

/// The nodes of a sector, its carrier first.
fn sector(n: usize) -> [usize; 4] {
    [4 * n - 3, 4 * n - 2, 4 * n - 1, 4 * n]
}

fn key(name: &str) -> Key {
    Key::shared(name).expect("a key")
}

fn agree(world: &World) -> bool {
    (1..world.nodes.len()).all(|n| world.digest(n) == world.digest(0))
}

#[test]
fn what_is_written_on_any_node_is_soon_on_every_other() {
    let mut world = three_sectors(1);
    world.run(Micros::from_secs(2));
    for n in 0..13 {
        world.write(n, &key(&format!("k{n}")), Some(vec![n as u8]));
    }
    world.run(Micros::from_millis(500));
    for n in 0..13 {
        for reader in 0..13 {
            assert_eq!(world.values(reader, &key(&format!("k{n}"))), [[n as u8]]);
        }
    }
    assert!(agree(&world));
}

#[test]
fn a_quorum_counts_the_copies_in_all_sectors_and_is_never_clamped() {
    let mut world = three_sectors(2);
    world.run(Micros::from_secs(2));
    let within = Micros::from_secs(5);
    let all = world.write_to(6, &key("all"), b"x", Want::Nodes(13), within);
    let more = world.write_to(6, &key("more"), b"x", Want::Nodes(14), within);
    let majority = world.write_to(6, &key("half"), b"x", Want::Majority, within);
    world.run(Micros::from_secs(6));
    let reached = |put| {
        let mut ended = world.reached.iter().filter(|(_, it)| it.put == put);
        ended
            .next()
            .map(|(_, it)| (it.asked, it.nodes.len(), it.is_enough()))
    };
    assert_eq!(reached(all), Some((13, 13, true)));
    assert_eq!(reached(more), Some((14, 13, false)));
    assert!(matches!(reached(majority), Some((7, 7.., true))));
}

#[test]
fn a_sector_that_is_cut_off_writes_on_and_nothing_is_lost_when_it_comes_back() {
    let mut world = three_sectors(3);
    world.write(1, &key("old"), Some(b"old".to_vec()));
    world.write(1, &key("gone"), Some(b"gone".to_vec()));
    world.run(Micros::from_secs(2));
    world.cut(&sector(1));
    world.write(2, &key("both"), Some(b"inside".to_vec()));
    world.write(9, &key("both"), Some(b"outside".to_vec()));
    world.write(3, &key("in"), Some(b"in".to_vec()));
    world.write(12, &key("out"), Some(b"out".to_vec()));
    world.write(12, &key("gone"), None);
    let within = Micros::from_secs(5);
    let small = world.write_to(2, &key("small"), b"x", Want::Majority, within);
    let large = world.write_to(9, &key("large"), b"x", Want::Majority, within);
    world.run(Micros::from_secs(60));
    let reached = |put| world.reached.iter().find(|(_, it)| it.put == put);
    assert!(reached(small).is_some_and(|(_, it)| !it.is_enough() && it.nodes.len() == 4));
    assert!(reached(large).is_some_and(|(_, it)| it.is_enough()));
    assert!(!agree(&world));
    world.heal();
    world.run(Micros::from_secs(10));
    assert!(agree(&world));
    for n in 0..13 {
        assert_eq!(
            world.values(n, &key("both")).len(),
            2,
            "a conflict, not a loss"
        );
        for name in ["in", "out", "old", "small", "large"] {
            assert_eq!(world.values(n, &key(name)).len(), 1, "{name}");
        }
        assert!(
            world.values(n, &key("gone")).is_empty(),
            "it does not come back"
        );
    }
}

#[test]
fn a_look_finds_the_copies_in_every_sector_and_what_stands_elsewhere() {
    let mut world = three_sectors(4);
    world.run(Micros::from_secs(2));
    world.write(2, &key("k"), Some(b"v".to_vec()));
    world.run(Micros::from_secs(1));
    world.look(11, &key("k"), 1, Micros::from_secs(2));
    world.run(Micros::from_secs(3));
    let (n, found) = &world.found[0];
    assert_eq!((*n, found.look, found.complete), (11, 1, true));
    assert_eq!(found.nodes.len(), 12, "all but the asker");
    world.cut(&[4]);
    world.write(4, &key("k"), Some(b"w".to_vec()));
    world.heal();
    world.look(3, &key("k"), 2, Micros::from_millis(500));
    world.run(Micros::from_millis(600));
    let (_, found) = &world.found[1];
    assert_eq!(found.others.len(), 1, "the newer value is found at once");
}

#[test]
fn the_bytes_of_a_comparison_grow_with_the_difference_and_not_with_the_store() {
    let pair = [Seat {
        sector: 1,
        carrier: false,
    }; 2];
    let mut world = World::new(5, &pair);
    let mut base = Vec::new();
    for n in 0..5_000 {
        base.push(world.write(0, &key(&n.to_string()), Some(vec![1; 200])));
    }
    let full: usize = base.iter().map(|it| it.bytes().len()).sum();
    world.run(Micros::from_secs(30));
    assert!(agree(&world));
    world.cut(&[0]);
    for n in 0..5 {
        world.write(n % 2, &key(&n.to_string()), Some(vec![2; 200]));
    }
    world.sent = 0;
    world.heal();
    world.run(Micros::from_secs(10));
    assert!(agree(&world));
    let share = world.sent as f64 / full as f64;
    assert!(share < 0.05, "{share}: {} of {full}", world.sent);
}

#[test]
fn who_lost_its_disk_gets_everything_back_and_writes_as_another_replica() {
    let mut world = three_sectors(6);
    world.run(Micros::from_secs(2));
    world.write(5, &key("a"), Some(b"1".to_vec()));
    world.run(Micros::from_secs(1));
    // Written and durable there alone when the disk is lost: not acknowledged by others.
    world.cut(&[5]);
    world.write(5, &key("a"), Some(b"2".to_vec()));
    world.kill(5);
    world.heal();
    world.start(5, true);
    world.write(5, &key("a"), Some(b"3".to_vec()));
    world.run(Micros::from_secs(15));
    assert!(agree(&world));
    for n in 0..13 {
        let values = world.values(n, &key("a"));
        assert!(
            values.contains(&b"3".to_vec()) && values.len() == 2,
            "{values:?}"
        );
    }
}

/// Two nodes with ten keys, each of which has as many siblings here as a set takes, and as
/// many others there.
fn full_of_conflicts(seed: u64) -> World {
    let alone = |sector| Seat {
        sector,
        carrier: false,
    };
    let authors: Vec<Seat> = (1..=32).map(alone).collect();
    let mut apart = World::new(seed, &authors);
    let mut world = World::new(seed, &[alone(1), alone(1)]);
    world.cut(&[0]);
    for n in 0..10 {
        let key = key(&format!("conflict {n}"));
        for author in 0..32 {
            let record = apart.write(author, &key, Some(vec![1; 3_400]));
            world.import(author % 2, [record]);
        }
    }
    world
}

#[test]
fn a_difference_that_stays_is_not_sent_again_and_again() {
    let mut world = full_of_conflicts(7);
    world.heal();
    world.run(Micros::from_secs(120));
    let sent = |what| world.traffic.get(what).map_or(0, |it| it.0);
    assert!(!agree(&world), "sixteen there are all that a set takes");
    assert!(
        (1..=24).contains(&sent("pushed")),
        "{}: two stores, one a second, in two minutes would be 240",
        sent("pushed")
    );
}

#[test]
fn a_difference_that_stays_hides_no_other() {
    let mut world = full_of_conflicts(8);
    for n in 0..40 {
        world.write(n % 2, &key(&n.to_string()), Some(vec![2; 200]));
    }
    world.heal();
    world.run(Micros::from_secs(120));
    for n in 0..40 {
        let there = [0, 1].map(|at| world.values(at, &key(&n.to_string())).len());
        assert_eq!(there, [1, 1], "{n}");
    }
}

#[test]
fn an_import_costs_little_more_than_its_copies() {
    let mut world = three_sectors(9);
    let mut elsewhere = three_sectors(10);
    let records: Vec<_> = (0..2_000)
        .map(|n| elsewhere.write(2, &key(&n.to_string()), Some(vec![1; 200])))
        .collect();
    let copies = 12 * records.iter().map(|it| it.bytes().len()).sum::<usize>();
    world.run(Micros::from_secs(3));
    world.sent = 0;
    world.import(2, records);
    let mut seconds = 0;
    while !agree(&world) && seconds < 60 {
        world.run(Micros::from_secs(1));
        seconds += 1;
    }
    assert!(seconds <= 10, "{seconds} s until all have it");
    let share = world.sent as f64 / copies as f64;
    assert!(share < 1.5, "{share} times its copies");
}

#[test]
fn a_count_that_cannot_end_asks_less_and_less() {
    let mut world = three_sectors(11);
    world.run(Micros::from_secs(3));
    world.cut(&sector(3));
    let within = Micros::from_secs(60);
    world.write_to(2, &key("k"), b"x", Want::Nodes(13), within);
    let mut asked = |seconds| {
        world.traffic.clear();
        world.run(Micros::from_secs(seconds));
        world.traffic.get("look").map_or(0, |it| it.0)
    };
    let (first, later) = (asked(15), asked(45));
    assert!(
        first > 0 && later < first,
        "{first} in 15 s, then {later} in 45 s"
    );
}
