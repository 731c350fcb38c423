//! Memory in a mesh with more nodes than hold a key: 61 of them, five copies.

use std::collections::BTreeSet;

use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::replication::{Config, Want};
use chorus_protocol::units::Micros;
use chorus_tests::memory::{World, seats};

const NODES: usize = 61;

fn sectors(seed: u64) -> World {
    let copies = 5;
    let config = Config::default();
    World::with(seed, &seats(5, 11), Config { copies, ..config })
}

fn key(n: usize) -> Key {
    Key::shared(&n.to_string()).expect("a key")
}

/// Those that should have a key: its holders and the carriers.
fn should(world: &World, key: &Key) -> BTreeSet<usize> {
    let all = 0..world.nodes.len();
    all.filter(|n| world.should_hold(*n, key)).collect()
}

fn have(world: &World, key: &Key) -> BTreeSet<usize> {
    let all = 0..world.nodes.len();
    all.filter(|n| !world.siblings(*n, key).is_empty())
        .collect()
}

#[test]
fn a_write_is_on_its_holders_in_every_sector_and_on_no_others() {
    let mut world = sectors(1);
    world.run(Micros::from_secs(1));
    for n in 0..NODES {
        world.write(n, &key(n), Some(vec![1]));
    }
    world.run(Micros::from_millis(500));
    for n in 0..NODES {
        let mut want = should(&world, &key(n));
        assert!((6..=11).contains(&want.len()), "six carriers, five holders");
        want.insert(n);
        assert_eq!(have(&world, &key(n)), want, "{n}");
    }
    world.run(Micros::from_secs(30));
    for n in 0..NODES {
        let mut want = should(&world, &key(n));
        want.insert(n);
        assert_eq!(have(&world, &key(n)), want, "{n}, after comparisons");
    }
}

#[test]
fn a_majority_is_one_of_the_holders_and_a_number_is_one_of_all() {
    let mut world = sectors(2);
    world.run(Micros::from_secs(1));
    let within = Micros::from_secs(3);
    let majority = world.write_to(7, &key(7), b"x", Want::Majority, within);
    let all = world.write_to(7, &key(8), b"x", Want::Nodes(NODES), within);
    world.run(Micros::from_secs(4));
    let reached = |put| {
        let ended = world.reached.iter().find(|(_, it)| it.put == put);
        ended.map(|(_, it)| it).expect("an end")
    };
    let holders = world.machine(7).placement();
    let holders = holders.holders(key(7).id().position().leaf());
    let ended = reached(majority);
    assert!(ended.asked == 3 && ended.is_enough() && ended.nodes.is_subset(&holders));
    let mut want = should(&world, &key(8));
    want.insert(7);
    let ended = reached(all);
    assert_eq!((ended.asked, ended.nodes.len()), (NODES, want.len()));
    assert!(!ended.is_enough());
}

#[test]
fn what_a_node_wrote_that_was_alone_comes_to_those_that_should_hold_it() {
    let mut world = sectors(3);
    world.run(Micros::from_secs(1));
    world.cut(&[9]);
    for n in 0..20 {
        world.write(9, &key(n), Some(vec![1]));
    }
    world.kill(9);
    world.heal();
    world.start(9, false);
    world.run(Micros::from_secs(25));
    for n in 0..20 {
        let mut want = should(&world, &key(n));
        want.insert(9);
        assert_eq!(have(&world, &key(n)), want, "{n}");
    }
    // Offered and taken: from now on nothing is said of it.
    world.traffic.clear();
    world.run(Micros::from_secs(60));
    assert_eq!(world.traffic.get("strays"), None);
    assert_eq!(world.traffic.get("pushed"), None);
}

#[test]
fn without_its_coordinators_a_sector_keeps_what_it_writes_on_the_holders_it_has() {
    let mut world = sectors(4);
    world.run(Micros::from_secs(1));
    let sector: Vec<usize> = (2..13).collect();
    world.cut(&sector);
    for n in 0..40 {
        world.write(5, &key(n), Some(vec![1]));
    }
    world.run(Micros::from_secs(1));
    for n in 0..40 {
        let want = should(&world, &key(n));
        let inside = want.iter().filter(|it| sector.contains(it)).copied();
        let inside: BTreeSet<usize> = inside.chain([5]).collect();
        assert_eq!(have(&world, &key(n)), inside, "{n}");
    }
}

#[test]
fn when_holders_come_and_go_the_copies_follow() {
    let mut world = sectors(5);
    world.set_members(0..50);
    world.run(Micros::from_secs(1));
    for n in 0..50 {
        world.write(n, &key(n), Some(vec![1]));
    }
    world.run(Micros::from_secs(2));
    let complete = |world: &World| {
        let lacks = |n: &usize| !should(world, &key(*n)).is_subset(&have(world, &key(*n)));
        (0..50).find(lacks)
    };
    assert_eq!(complete(&world), None);
    world.set_members(0..NODES);
    assert!(complete(&world).is_some(), "others should hold some of it");
    world.run(Micros::from_secs(25));
    assert_eq!(complete(&world), None, "after eleven have joined");
    world.set_members((0..NODES).filter(|n| n % 3 != 2));
    world.run(Micros::from_secs(25));
    assert_eq!(complete(&world), None, "after a third has left");
}
