//! Starts after something was lost: what is found, what is said, and under which name they write.

use tempfile::TempDir;

use super::*;

/// A home of its own, with a store that holds these.
fn home_with(batch: &Batch) -> (TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    home.create().unwrap();
    boot::create(&home).unwrap();
    put(&home, batch);
    (dir, home)
}

fn put(home: &Home, batch: &Batch) {
    let mut store = sled_store::open(&home.db()).unwrap().store;
    store.apply(batch).and_then(|()| store.flush()).unwrap();
}

#[test]
fn a_store_that_was_mended_before_the_start_is_among_its_findings_once() {
    let (_dir, home) = home_with(&Batch::new().put(Tree::Roster, "item", "bytes"));
    let damaged = || {
        let restored = restore(&home, boot::start(&home).unwrap()).unwrap();
        restored.findings.contains(&("store_damaged", 1))
    };
    assert!(!damaged());
    std::fs::remove_file(home.db().join("mark")).unwrap();
    assert_eq!(items(&home).unwrap(), [b"bytes"]);
    assert_eq!(items(&home).unwrap(), [b"bytes"]);
    assert!(damaged(), "mended by who asked for the items");
    assert!(!damaged(), "said once");
}

#[test]
fn a_store_that_is_older_than_the_keys_or_anothers_writes_as_another_replica() {
    let (_dir, home) = home_with(&Batch::new().put(Tree::Roster, "item", "bytes"));
    let (own, other) = (NodeId([1; 32]), NodeId([2; 32]));
    let start = |own: &NodeId| {
        let boot = boot::start(&home).unwrap();
        let run = Incarnation::new(0, boot.boot());
        let mut restored = restore(&home, boot).unwrap();
        let since = restored.memory_since(own, run).unwrap();
        (
            since.boot(),
            restored.findings.contains(&("store_put_back", 1)),
        )
    };
    let copy = || {
        let copied = std::fs::read_dir(home.db()).unwrap().map(Result::unwrap);
        let files = copied.filter(|it| it.path().is_file());
        let read = |it: std::fs::DirEntry| (it.path(), std::fs::read(it.path()).unwrap());
        files.map(read).collect::<Vec<_>>()
    };
    assert_eq!(start(&own), (1, false), "its first run");
    assert_eq!(start(&own), (1, false), "a start like any other");
    let old = copy();
    assert_eq!(start(&own), (1, false));
    std::fs::remove_dir_all(home.db()).unwrap();
    std::fs::create_dir_all(home.db().join("blobs")).unwrap();
    for (path, bytes) in old {
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(start(&own), (4, true), "put back");
    assert_eq!(start(&own), (4, false), "said once");
    assert_eq!(start(&other), (6, true), "another's");
    assert_eq!(start(&other), (6, false));
}

#[test]
fn a_mirror_is_missing_only_where_one_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    home.create().unwrap();
    boot::create(&home).unwrap();
    std::fs::write(home.mesh().join("entry"), "an entry").unwrap();
    let lost = || {
        let restored = restore(&home, boot::start(&home).unwrap()).unwrap();
        restored.findings.contains(&("mirror_lost", 1))
    };
    // Starts that failed before they wrote it.
    assert!(!lost() && !lost());
    std::fs::write(home.mesh().join(MIRROR), [0xff]).unwrap();
    assert!(lost(), "damaged");
    std::fs::remove_file(home.mesh().join(MIRROR)).unwrap();
    put(&home, &Batch::new().put(Tree::Meta, MIRRORED, "1"));
    assert!(lost(), "missing");
}
