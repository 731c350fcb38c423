//! Values that were damaged behind sled's back: listed, never served, and gone when told.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::store::{full_key, open_sled};
use super::*;
use crate::store::{Batch, Error, Store, Tree};

/// A store with this many keys of each of two trees.
fn build(dir: &Path, count: u32) {
    let mut store = open(dir).unwrap().store;
    for n in 0..count {
        let key = n.to_be_bytes();
        let batch =
            Batch::new()
                .put(Tree::Memory, key, [7; 20])
                .put(Tree::Checkpoints, key, [8; 20]);
        store.apply(&batch).unwrap();
    }
    store.flush().unwrap();
}

/// Waits until nobody has the log open: sled's threads let go of it some time after the drop.
fn wait_for_lock(log: &Path) {
    let log = std::fs::File::open(log).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while flock(&log, FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(Instant::now() < deadline, "still locked");
        std::thread::yield_now();
    }
}

/// Flips one bit of the value of so many keys of each tree.
fn damage(dir: &Path, harms: [(Tree, u32); 2]) {
    wait_for_lock(&dir.join("db"));
    let db = open_sled(dir, None).unwrap();
    for (tree, count) in harms {
        for n in 0..count {
            let key = full_key(tree, &n.to_be_bytes());
            let mut sealed = db.get(&key).unwrap().unwrap().to_vec();
            sealed[9] ^= 4;
            db.insert(key, sealed).unwrap();
        }
    }
    db.flush().unwrap();
}

#[test]
fn what_is_damaged_is_listed_and_not_served_until_it_is_deleted_or_written() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("db");
    build(&dir, 30);
    damage(&dir, [(Tree::Memory, 3), (Tree::Checkpoints, 1)]);
    let opened = open(&dir).unwrap();
    assert!(matches!(opened.recovery, Recovery::RolledBack { .. }));
    let key = |n: u32| n.to_be_bytes().to_vec();
    let expected = [
        (Tree::Memory, key(0)),
        (Tree::Memory, key(1)),
        (Tree::Memory, key(2)),
        (Tree::Checkpoints, key(0)),
    ];
    assert_eq!(
        (&opened.damaged[..], opened.damaged_more),
        (&expected[..], 0)
    );
    let mut store = opened.store;
    let reader = store.reader();
    let usage = store.usage_of(Tree::Memory);
    assert_eq!((usage.records, usage.bytes, usage.damaged), (30, 720, 3));
    for (tree, key) in &expected {
        assert!(matches!(store.get(*tree, key), Err(Error::Damaged { .. })));
        assert!(matches!(reader.get(*tree, key), Err(Error::Damaged { .. })));
    }
    let page = reader.scan(Tree::Memory, b"", None, 100).unwrap();
    assert_eq!((page.rows.len(), page.damaged.len()), (27, 3));

    let mend = Batch::new()
        .delete(Tree::Memory, key(0))
        .delete(Tree::Memory, key(1))
        .put(Tree::Memory, key(2), "from a replica")
        .delete(Tree::Checkpoints, key(0));
    store.apply(&mend).unwrap();
    store.flush().unwrap();
    assert_eq!(store.get(Tree::Memory, &key(1)).unwrap(), None);
    assert_eq!(store.usage_of(Tree::Memory).records, 28);
    drop(store);
    let opened = open(&dir).unwrap();
    assert_eq!(opened.recovery, Recovery::Clean);
    assert_eq!((opened.damaged.len(), opened.damaged_more), (0, 0));
    assert_eq!(opened.store.usage_of(Tree::Memory).records, 28);
}

#[test]
fn the_list_is_bounded_for_each_tree_and_the_rest_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("db");
    let max = DAMAGED_LISTED_MAX as u32;
    build(&dir, max + 10);
    damage(&dir, [(Tree::Memory, max + 5), (Tree::Checkpoints, 2)]);
    let opened = open(&dir).unwrap();
    let of = |tree| opened.damaged.iter().filter(|(it, _)| *it == tree).count();
    assert_eq!((of(Tree::Memory), of(Tree::Checkpoints)), (max as usize, 2));
    assert_eq!(opened.damaged_more, 5);
    assert_eq!(
        opened.store.usage_of(Tree::Memory).damaged,
        u64::from(max) + 5
    );
}

#[test]
fn a_page_that_cannot_be_read_costs_its_own_records_and_no_others() {
    const COUNT: u32 = 4_000;
    // A leaf of sled's splits at 16 records.
    const PAGE_MAX: u64 = 32;
    let value = |n: u32| (n + 1).to_be_bytes().repeat(250);
    let key = |n: u32| n.wrapping_mul(0x9e37_79b9).to_be_bytes();
    let root = tempfile::tempdir().unwrap();
    let good = root.path().join("good");
    let mut store = open(&good).unwrap().store;
    for n in 0..COUNT {
        let batch = Batch::new().put(Tree::Memory, key(n), value(n));
        store.apply(&batch).unwrap();
    }
    store.flush().unwrap();
    drop(store);
    // From now on sled finds its pages by a snapshot, as it does after every start.
    drop(open(&good).unwrap());
    wait_for_lock(&good.join("db"));
    // One flipped bit each, until one of them is in a page that is in use.
    let log = std::fs::read(good.join("db")).unwrap();
    for part in 1..40 {
        let dir = root.path().join(format!("harmed-{part}"));
        make_copy(&good, &dir);
        let mut harmed = log.clone();
        harmed[log.len() / 40 * part] ^= 4;
        std::fs::write(dir.join("db"), harmed).unwrap();
        let opened = open(&dir).unwrap();
        for n in 0..COUNT {
            let found = opened.store.get(Tree::Memory, &key(n)).unwrap();
            assert!(found.is_none_or(|it| it == value(n)), "{part}: {n}");
        }
        let lost = u64::from(COUNT) - opened.store.usage_of(Tree::Memory).records;
        let said = matches!(opened.recovery, Recovery::RolledBack { .. });
        if said && (1..=PAGE_MAX).contains(&lost) {
            drop(opened);
            assert_eq!(open(&dir).unwrap().recovery, Recovery::Clean);
            return;
        }
    }
    panic!("no bit cost a page and no more");
}

#[test]
fn damage_that_a_read_meets_is_stepped_over_and_nothing_is_written_after_it() {
    const COUNT: u32 = 6_000;
    let value = |n: u32| (n + 1).to_be_bytes().repeat(1_500);
    let key = |n: u32| {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
        key
    };
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("db");
    let mut store = open(&dir).unwrap().store;
    for n in 0..COUNT {
        let batch = Batch::new().put(Tree::Memory, key(n), value(n));
        store.apply(&batch).unwrap();
    }
    store.flush().unwrap();
    drop(store);
    // More than is kept in memory, so that most of it is read from the files again.
    let mut store = open(&dir).unwrap().store;
    let log = std::fs::read(dir.join("db")).unwrap();
    let file = File::options().write(true).open(dir.join("db")).unwrap();
    for at in (0..log.len()).step_by(128 * 1024).map(|at| at + 70_000) {
        if let Some(byte) = log.get(at).filter(|it| **it != 0) {
            file.write_all_at(&[byte ^ 4], at as u64).unwrap();
        }
    }
    let (mut from, mut rows, mut gaps) = (None::<Vec<u8>>, 0, 0);
    loop {
        let page = store.reader().scan(Tree::Memory, b"", from.as_deref(), 100);
        let page = page.unwrap();
        for (at, found) in page.rows {
            let first = u32::from_be_bytes(found[..4].try_into().unwrap());
            assert!(at == key(first - 1) && found == value(first - 1));
            rows += 1;
        }
        gaps += page.gaps.len();
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    println!("{rows} of {COUNT} read, {gaps} gaps");
    assert!(
        gaps > 0 && rows < COUNT && rows > COUNT / 4,
        "{rows}, {gaps}"
    );
    let more = Batch::new().put(Tree::Memory, key(COUNT), value(COUNT));
    assert!(matches!(store.apply(&more), Err(Error::Broken { .. })));
    assert!(matches!(store.flush(), Err(Error::Broken { .. })));
}

fn make_copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("blobs")).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
