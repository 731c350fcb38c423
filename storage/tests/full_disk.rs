//! A full disk: nothing is acknowledged, reads go on, and the node opens again. Needs root for a tmpfs.

mod tmpfs;

use std::process::Command;

use chorus_storage::boot;
use chorus_storage::home::{Home, write_key};
use chorus_storage::sled_store::{self, Recovery};
use chorus_storage::{Batch, Error, Journal, Store, Tree};
use tmpfs::Tmpfs;

#[test]
fn a_full_store_refuses_writes_and_serves_reads() {
    let Some(disk) = Tmpfs::mount("full store", "8m") else {
        return;
    };
    let dir = disk.path().join("db");
    let mut store = sled_store::open(&dir).unwrap().store;
    assert!(dir.join("ballast").exists());
    let mut flushed = 0u32;
    let error = loop {
        let value = vec![flushed as u8; 30_000];
        match store
            .apply(&Batch::new().put(Tree::Peers, flushed.to_be_bytes(), value))
            .and_then(|()| store.flush())
        {
            Ok(()) => flushed += 1,
            Err(error) => break error,
        }
        assert!(flushed < 400, "a disk of 8 MiB never filled");
    };
    assert!(matches!(error, Error::Full { .. }), "{error}");
    assert!(flushed > 20, "{flushed}");
    let check = |store: &dyn Store| {
        for n in 0..flushed {
            assert_eq!(
                store.get(Tree::Peers, &n.to_be_bytes()).unwrap(),
                Some(vec![n as u8; 30_000])
            );
        }
        assert_eq!(
            store.usage().records,
            u64::from(flushed),
            "a refused write left something"
        );
    };
    check(&store);
    // Somebody else takes the rest, to the last byte.
    let filler = disk.fill();
    check(&store);
    assert!(matches!(
        store.apply(&Batch::new().put(Tree::Meta, "k", "v")),
        Err(Error::Full { .. })
    ));
    drop(store);
    let opened = sled_store::open(&dir).unwrap();
    assert!(opened.ballast_freed);
    assert_eq!(opened.recovery, Recovery::Clean);
    check(&opened.store);
    drop(opened);
    disk.empty(&filler);
    let mut store = sled_store::open(&dir).unwrap().store;
    check(&store);
    store
        .apply(&Batch::new().put(Tree::Meta, "k", "v"))
        .unwrap();
    store.flush().unwrap();
}

#[test]
fn a_full_journal_refuses_whole_records_and_goes_on_when_there_is_room() {
    let Some(disk) = Tmpfs::mount("full journal", "4m") else {
        return;
    };
    let dir = disk.path().join("journal");
    let mut journal = Journal::open(&dir, |_| ()).unwrap().journal;
    journal.append(1, b"first").unwrap();
    let filler = disk.fill();
    for _ in 0..3 {
        // Larger than what is left of the last page, so that a part is written.
        let error = journal.append(1, &[2; 10_000]).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error}");
    }
    let mut count = 0;
    let opened = Journal::open(&dir, |_| count += 1).unwrap();
    assert_eq!(
        (count, opened.recovery.torn_bytes),
        (1, 0),
        "the half-written record was left"
    );
    assert!(opened.recovery.is_whole());
    drop(opened);
    disk.empty(&filler);
    assert_eq!(
        journal.append(1, &[3; 10_000]).unwrap().0,
        2,
        "the journal goes on by itself"
    );
    drop(journal);
    let mut seen = Vec::new();
    let opened = Journal::open(&dir, |r| seen.push(r.payload)).unwrap();
    assert!(opened.recovery.is_whole());
    assert_eq!(seen, [b"first".to_vec(), vec![3; 10_000]]);
}

#[test]
fn a_start_on_a_full_disk_uses_no_number() {
    let Some(disk) = Tmpfs::mount("full boot", "4m") else {
        return;
    };
    let home = Home::at(disk.path());
    home.create().unwrap();
    write_key(&home.node_key(), &[1; 32]).unwrap();
    boot::create(&home).unwrap();
    let filler = disk.fill();
    assert!(boot::start(&home).is_err());
    disk.empty(&filler);
    assert_eq!(boot::start(&home).unwrap().boot(), 1);
}

#[test]
fn a_disk_that_fills_between_write_and_flush_loses_nothing_acknowledged() {
    let (mut refused, mut stored) = (0, 0);
    // Whether sled still finds room depends on where in a segment it stands.
    for pending in 1..=16u8 {
        let Some(disk) = Tmpfs::mount("full between write and flush", "16m") else {
            return;
        };
        let dir = disk.path().join("db");
        let mut store = sled_store::open(&dir).unwrap().store;
        let put = |n: u8| Batch::new().put(Tree::Meta, [n], vec![n; 60_000]);
        store.apply(&put(0)).unwrap();
        store.flush().unwrap();
        for n in 1..=pending {
            store.apply(&put(n)).unwrap();
        }
        let filler = disk.fill();
        let acknowledged = match store.flush() {
            Ok(()) => {
                stored += 1;
                pending
            }
            Err(error) => {
                refused += 1;
                println!("{pending} pending: {error}");
                assert!(matches!(error, Error::Full { .. }), "{error}");
                // sled is out of step with its file: nothing more until it is opened again.
                assert!(matches!(store.flush(), Err(Error::Broken { .. })));
                0
            }
        };
        // Once one of sled's own threads has met the full disk, reads may be refused too,
        // even after a flush that was accepted; whether it has is a matter of moments.
        // A wrong answer it may not give.
        for n in 0..=acknowledged {
            match store.get(Tree::Meta, &[n]) {
                Ok(found) => assert_eq!(found, Some(vec![n; 60_000]), "{n} of {pending}"),
                Err(error) => assert!(matches!(error, Error::Full { .. }), "{error}"),
            }
        }
        drop(store);
        disk.empty(&filler);
        // After a refused flush only a new process opens the same files; a copy of
        // them is what it would find.
        let copy = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .arg(&dir)
            .arg(copy.path())
            .status();
        assert!(copied.unwrap().success());
        let opened = sled_store::open(&copy.path().join("db")).unwrap();
        assert_eq!(opened.recovery, Recovery::Clean);
        let mut store = opened.store;
        for n in 0..=acknowledged {
            let found = store.get(Tree::Meta, &[n]).unwrap();
            assert_eq!(found, Some(vec![n; 60_000]), "{n} of {pending}");
        }
        store.apply(&put(99)).unwrap();
        store.flush().unwrap();
    }
    println!("full at flush: {refused} refused, {stored} stored, none lost");
}
