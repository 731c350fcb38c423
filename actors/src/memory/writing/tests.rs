//! Steps that are as large as what others send.

use chorus_protocol::causality::version::Version;
use chorus_protocol::ids::Incarnation;
use chorus_storage::FaultyStore;
use chorus_storage::faulty::Schedule;
use chorus_storage::store::BATCH_BYTES_MAX;

use super::*;

const KEYS: usize = 50;

/// A value of each key by this node, none of which has seen another.
fn records(node: u8) -> Vec<Record> {
    let identity = Identity::from_seed(&[node; 32]);
    let record = |n: usize| {
        let write = Write {
            key: Key::shared(&format!("k{n}")).expect("a key"),
            dot: Dot {
                replica: Replica {
                    node: identity.id(),
                    since: Incarnation(1),
                },
                lamport: n as u64 + 1,
            },
            seen: Version::default(),
            value: Some(vec![node; VALUE_BYTES_MAX]),
            expires_s: None,
        };
        Record::seal(&identity, &MeshId([7; 32]), write).expect("a sound write")
    };
    (0..KEYS).map(record).collect()
}

#[test]
fn more_conflicting_values_than_one_batch_holds_are_taken_in_several() {
    let mut store = FaultyStore::new(1, Schedule::default());
    for node in 1..=3 {
        let mut left = records(node);
        for step in 0.. {
            assert!(
                step < KEYS,
                "each step takes something: {} left",
                left.len()
            );
            let (batch, took) = take(u64::MAX, &store, left.clone()).expect("it reads");
            assert!(batch.bytes() <= BATCH_BYTES_MAX, "{} bytes", batch.bytes());
            store.apply(&batch).expect("it fits");
            let taken: Vec<Dot> = took.done.iter().map(|it| *it.record.dot()).collect();
            left.retain(|it| !taken.contains(it.dot()));
            if left.is_empty() {
                break;
            }
        }
    }
    let at = Key::shared("k0").expect("a key").id().position();
    let held = store
        .get(Tree::Memory, &at.0)
        .expect("it reads")
        .expect("there");
    assert_eq!(decode(&held).map(|(_, set)| set.len()), Some(3));
}
