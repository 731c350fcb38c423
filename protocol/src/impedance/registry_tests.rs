//! The registry beside a scan of all agents.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::ids::NodeId;
use crate::impedance::Flags;
use crate::units::{Noise, Seeded};

const NAMES: [&str; 5] = ["vision", "db", "route", "ethics", "rare"];

fn label(text: &str) -> Label {
    Label::new(text).expect("a name")
}

fn place(n: usize) -> Place {
    Place {
        sector: label(&format!("s{}", n / 10)),
        cluster: label(&format!("c{n}")),
    }
}

fn node(n: usize) -> AgentName {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    AgentName {
        node: NodeId(id),
        agent: Label::new("e").expect("a name"),
    }
}

fn reading(class: Class, at: usize, z_ms: u32, can: &[&str]) -> Reading {
    Reading {
        class,
        place: place(at),
        state: State::Active,
        z_ms,
        net_ms: 0.0,
        unit_ms: 0.0,
        queue: 0,
        reliability: None,
        drift: 0.0,
        flags: Flags::default(),
        context: None,
        capabilities: can.iter().map(|name| label(name)).collect(),
    }
}

fn of(agents: impl IntoIterator<Item = Reading>) -> Registry {
    let mut registry = Registry::default();
    for (n, reading) in agents.into_iter().enumerate() {
        registry.update(node(n), reading, Micros::ZERO);
    }
    registry
}

fn names(candidates: Vec<Candidate>) -> Vec<usize> {
    let number = |id: AgentName| {
        id.node.0[..8]
            .iter()
            .fold(0, |n, byte| n << 8 | usize::from(*byte))
    };
    candidates.into_iter().map(|it| number(it.agent)).collect()
}

/// What the registry must say, by looking at everybody.
fn scan(registry: &Registry, within: Option<Place>, need: Need<'_>) -> Vec<Candidate> {
    let fits = |reading: &Reading| {
        let class = match need.class {
            None => reading.class != Class::Human,
            Some(class) => reading.class == class,
        };
        let can = |name: &Label| reading.capabilities.contains(name);
        class
            && reading.state == State::Active
            && need.z_ms_max.is_none_or(|cap| reading.z_ms <= cap)
            && need.capabilities.iter().all(can)
            && within.is_none_or(|place| reading.place == place)
    };
    let fitting = registry.iter().filter(|(_, reading)| fits(reading));
    let mut found: Vec<_> = fitting.map(|(agent, it)| candidate(*agent, it)).collect();
    found.sort_unstable();
    found
}

#[derive(Debug, Clone)]
enum Step {
    Update(usize, Reading),
    Remove(usize),
    Expire,
}

fn any_reading() -> impl Strategy<Value = Reading> {
    let can = prop::collection::vec(prop::sample::select(NAMES.to_vec()), 0..4);
    let state = prop_oneof![
        4 => Just(State::Active),
        1 => Just(State::Degraded),
        1 => Just(State::Quarantined)
    ];
    (
        prop::sample::select(Class::ALL.to_vec()),
        0usize..4,
        0u32..12,
        can,
        state,
    )
        .prop_map(|(class, at, z, can, state)| Reading {
            state,
            ..reading(class, at, z * 60, &can)
        })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..24, any_reading()).prop_map(|(n, reading)| Step::Update(n, reading)),
        2 => (0usize..24).prop_map(Step::Remove),
        1 => Just(Step::Expire),
    ]
}

proptest! {
    #[test]
    fn every_answer_is_that_of_a_scan(
        steps in prop::collection::vec(any_step(), 1..60),
        can in prop::collection::vec(prop::sample::select(NAMES.to_vec()), 0..3),
        class in prop::option::of(prop::sample::select(Class::ALL.to_vec())),
        z_ms_max in prop::option::of(0u32..800),
        count in 0usize..30,
    ) {
        let mut registry = Registry::default();
        for (n, step) in steps.into_iter().enumerate() {
            let now = Micros::from_secs(4 * n as u64);
            match step {
                Step::Update(n, reading) => registry.update(node(n), reading, now),
                Step::Remove(n) => {
                    let was_known = registry.get(&node(n)).is_some();
                    prop_assert_eq!(registry.remove(&node(n)), was_known);
                }
                Step::Expire => drop(registry.expire(now)),
            }
        }
        let capabilities: Vec<Label> = can.iter().map(|name| label(name)).collect();
        let need = Need { capabilities: &capabilities, class, z_ms_max };
        let expected = scan(&registry, None, need);
        prop_assert_eq!(registry.candidates(need).collect::<Vec<_>>(), expected.clone());
        prop_assert_eq!(registry.best(count, need), &expected[..count.min(expected.len())]);
        for at in 0..4 {
            let first = scan(&registry, Some(place(at)), need).first().copied();
            prop_assert_eq!(registry.best_in_cluster(place(at), need), first);
        }
        // No set is left behind, and none holds anybody twice.
        let standing: usize = registry.sets.values().map(BTreeSet::len).sum();
        let expected: usize = registry.rows.values().map(|row| keys(&row.reading).len()).sum();
        prop_assert_eq!(standing, expected);
        prop_assert!(registry.sets.values().all(|set| !set.is_empty()));
    }
}

#[test]
fn the_cap_is_500_unless_another_is_asked_for() {
    let z = [501, 500, 20, 2_000];
    let registry = of(z.map(|z| reading(Class::Gpu, 0, z, &["vision"])));
    let capabilities = [label("vision")];
    let need = Need::of(&capabilities);
    assert_eq!(names(registry.best(9, need)), [2, 1]);
    assert_eq!(names(registry.best(9, need.up_to(Some(501)))), [2, 1, 0]);
    assert_eq!(names(registry.best(9, need.up_to(None))), [2, 1, 0, 3]);
}

#[test]
fn people_are_asked_by_class_or_not_at_all() {
    let registry = of([
        reading(Class::Human, 0, 90_000, &["ethics"]),
        reading(Class::Human, 0, 60_000, &["ethics"]),
        // However fast, a person is nobody to wait 500 ms for.
        reading(Class::Human, 1, 1, &[]),
        reading(Class::Local, 0, 300, &["ethics"]),
    ]);
    let capabilities = [label("ethics")];
    assert_eq!(
        names(registry.best(9, Need::of(&capabilities).up_to(None))),
        [3]
    );
    assert_eq!(names(registry.best(9, Need::of(&[]))), [3]);
    let people = Need::of_class(Class::Human, &capabilities);
    assert_eq!(names(registry.best(9, people)), [1, 0]);
    let found = registry.best_in_cluster(place(0), people);
    assert_eq!(found.map(|it| it.agent), Some(node(1)));
    let any = registry.best_in_cluster(place(1), Need::of(&[]).up_to(None));
    assert_eq!(any, None);
}

#[test]
fn only_the_active_are_given_work() {
    let states = [
        State::Degraded,
        State::Offline,
        State::Quarantined,
        State::Active,
    ];
    let mut registry = of(states.map(|state| Reading {
        state,
        ..reading(Class::Edge, 0, 10, &["route"])
    }));
    let capabilities = [label("route")];
    let need = Need::of(&capabilities);
    assert_eq!(names(registry.best(9, need)), [3]);
    registry.update(node(3), reading(Class::Edge, 0, 10, &[]), Micros::ZERO);
    assert!(registry.best(9, need).is_empty(), "it cannot any more");
    registry.update(
        node(0),
        reading(Class::Edge, 0, 10, &["route"]),
        Micros::ZERO,
    );
    assert_eq!(names(registry.best(9, need)), [0], "it recovered");
    assert_eq!(registry.len(), 4);
}

#[test]
fn who_is_silent_for_half_a_minute_goes_offline_once() {
    let mut registry = of([
        reading(Class::Edge, 0, 10, &[]),
        reading(Class::Edge, 0, 20, &[]),
    ]);
    let later = Micros::from_secs(20);
    registry.update(node(1), reading(Class::Edge, 0, 20, &[]), later);
    assert_eq!(registry.expire(OFFLINE_AFTER), []);
    assert_eq!(registry.expire(Micros(OFFLINE_AFTER.0 + 1)), [node(0)]);
    assert_eq!(registry.expire(Micros(OFFLINE_AFTER.0 + 2)), []);
    assert_eq!(names(registry.best(9, Need::of(&[]))), [1]);
    let offline = registry.get(&node(0)).map(|reading| reading.state);
    assert_eq!(offline, Some(State::Offline));
    let clusters = registry.clusters();
    assert_eq!((clusters[0].tally.count, clusters[0].tally.active), (2, 1));
}

#[test]
fn more_capabilities_than_an_entry_may_have_are_cut() {
    let many: Vec<String> = (0..100).map(|n| format!("can{n:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let registry = of([reading(Class::Edge, 0, 10, &many)]);
    let kept = registry
        .get(&node(0))
        .map(|reading| reading.capabilities.len());
    assert_eq!(kept, Some(CAPS_MAX));
    assert_eq!(registry.sets.len(), CAPS_MAX + 2);
}

/// The seed's 30,000 in its mix: what is looked at, not what time it takes.
#[test]
fn among_30_000_only_those_that_are_taken_are_looked_at() {
    let mut noise = Seeded::new(11);
    let registry = of((0..30_000).map(|n| {
        let class = Class::of_mix(n as u64);
        let z = noise.uniform() * 900.0;
        let can: &[&str] = if n % 7 == 0 {
            &["vision", "db"]
        } else {
            &["db"]
        };
        reading(class, n / 30, z as u32, can)
    }));
    let capabilities = [label("db"), label("vision")];
    let need = Need::of(&capabilities);
    assert_eq!(registry.best(50, need), scan(&registry, None, need)[..50]);
    let looked = Cell::new(0);
    let set = registry.sets.get(&Key::Can(label("vision")));
    let watched = set
        .into_iter()
        .flatten()
        .inspect(|_| looked.set(looked.get() + 1));
    assert_eq!(registry.first(watched.copied(), need).take(50).count(), 50);
    // People among them are passed by: 2 of 30.
    assert!(looked.get() < 70, "{}", looked.get());
    for n in [0, 500, 999] {
        let first = scan(&registry, Some(place(n)), need).first().copied();
        assert_eq!(registry.best_in_cluster(place(n), need), first);
    }
    assert_eq!(registry.clusters().len(), 1_000);
}
