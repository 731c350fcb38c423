//! One suite of what a `Store` must do, run on sled and on its in-memory twin.

use chorus_storage::faulty::Schedule;
use chorus_storage::sled_store;
use chorus_storage::store::{BATCH_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use chorus_storage::{Batch, Error, FaultyStore, Page, SledStore, Store, Tree, Usage};

/// Makes stores of one kind, and ends them as a crash or a closing does.
trait Maker {
    type S: Store;
    fn fresh(&mut self) -> Self::S;
    /// The store after its process ended without a further flush.
    fn again(&mut self, store: Self::S) -> Self::S;
}

struct Sled(Vec<tempfile::TempDir>);

impl Maker for Sled {
    type S = SledStore;
    fn fresh(&mut self) -> SledStore {
        self.0.push(tempfile::tempdir().unwrap());
        sled_store::open(self.0.last().unwrap().path())
            .unwrap()
            .store
    }
    fn again(&mut self, store: SledStore) -> SledStore {
        drop(store);
        sled_store::open(self.0.last().unwrap().path())
            .unwrap()
            .store
    }
}

struct Memory(u64);

impl Maker for Memory {
    type S = FaultyStore;
    fn fresh(&mut self) -> FaultyStore {
        self.0 += 1;
        FaultyStore::new(self.0, Schedule::default())
    }
    fn again(&mut self, mut store: FaultyStore) -> FaultyStore {
        store.crash();
        store
    }
}

fn keys(page: &Page) -> Vec<&[u8]> {
    page.rows.iter().map(|(k, _)| k.as_slice()).collect()
}

fn conformance<M: Maker>(mut maker: M) {
    trees_are_apart_and_later_changes_win(&mut maker.fresh());
    scans_are_ordered_bounded_and_paged(&mut maker.fresh());
    limits_refuse_whole_batches(&mut maker.fresh());
    usage_follows_every_change(&mut maker.fresh());
    flushed_is_there_again(&mut maker);
    what_is_left_of_the_unflushed_is_a_prefix(&mut maker);
}

fn trees_are_apart_and_later_changes_win(store: &mut impl Store) {
    assert_eq!(store.get(Tree::Meta, b"k").unwrap(), None);
    store
        .apply(
            &Batch::new()
                .put(Tree::Meta, "k", "meta")
                .put(Tree::Peers, "k", "peer"),
        )
        .unwrap();
    assert_eq!(store.get(Tree::Meta, b"k").unwrap().unwrap(), b"meta");
    assert_eq!(store.get(Tree::Peers, b"k").unwrap().unwrap(), b"peer");
    assert_eq!(store.get(Tree::Roster, b"k").unwrap(), None);
    let batch = Batch::new()
        .put(Tree::Meta, "k", "1")
        .put(Tree::Meta, "k", "2")
        .delete(Tree::Peers, "k");
    store.apply(&batch).unwrap();
    assert_eq!(store.get(Tree::Meta, b"k").unwrap().unwrap(), b"2");
    assert_eq!(store.get(Tree::Peers, b"k").unwrap(), None);
    store.apply(&Batch::new().put(Tree::Meta, "", "")).unwrap();
    assert_eq!(
        store.get(Tree::Meta, b"").unwrap().unwrap(),
        b"",
        "the empty key and value are a key and a value"
    );
}

fn scans_are_ordered_bounded_and_paged(store: &mut impl Store) {
    let mut batch = Batch::new()
        .put(Tree::Roster, "a", "r")
        .put(Tree::Meta, "a", "m");
    for key in [&b"b\xff"[..], b"b", b"a", b"c", b"b\0", b"ba"] {
        batch = batch.put(Tree::Peers, key, key);
    }
    store.apply(&batch).unwrap();
    let all = store.scan(Tree::Peers, b"", None, 100).unwrap();
    assert_eq!(keys(&all), [&b"a"[..], b"b", b"b\0", b"ba", b"b\xff", b"c"]);
    assert!(all.next.is_none() && all.damaged.is_empty());
    assert!(all.rows.iter().all(|(k, v)| k == v));
    let first = store.scan(Tree::Peers, b"b", None, 3).unwrap();
    assert_eq!(
        (keys(&first), first.next.as_deref()),
        (vec![&b"b"[..], b"b\0", b"ba"], Some(&b"b\xff"[..]))
    );
    let second = store
        .scan(Tree::Peers, b"b", first.next.as_deref(), 3)
        .unwrap();
    assert_eq!(
        (keys(&second), second.next.as_deref()),
        (vec![&b"b\xff"[..]], None)
    );
    assert_eq!(
        keys(&store.scan(Tree::Peers, b"b", Some(b"a"), 1).unwrap()),
        [b"b"],
        "`from` before the prefix"
    );
    assert!(
        store
            .scan(Tree::Peers, b"b", Some(b"c"), 9)
            .unwrap()
            .rows
            .is_empty(),
        "`from` after the prefix"
    );
    assert_eq!(
        store.scan(Tree::Peers, b"x", None, 9).unwrap(),
        Page::default()
    );
}

fn limits_refuse_whole_batches(store: &mut impl Store) {
    let good = Batch::new().put(Tree::Meta, "good", "1");
    let mut many = good.clone();
    for n in 0..=BATCH_BYTES_MAX / VALUE_BYTES_MAX {
        many = many.put(Tree::Meta, n.to_string(), vec![0; VALUE_BYTES_MAX]);
    }
    let bad = [
        good.clone()
            .put(Tree::Meta, vec![0; KEY_BYTES_MAX + 1], "v"),
        good.clone()
            .put(Tree::Meta, "k", vec![0; VALUE_BYTES_MAX + 1]),
        good.clone().delete(Tree::Meta, vec![0; KEY_BYTES_MAX + 1]),
        many,
    ];
    for batch in &bad {
        assert!(matches!(store.apply(batch), Err(Error::TooLarge { .. })));
        assert_eq!(
            store.usage(),
            Usage::default(),
            "a refused batch left something"
        );
    }
    let largest = good.put(Tree::Meta, vec![7; KEY_BYTES_MAX], vec![8; VALUE_BYTES_MAX]);
    store.apply(&largest).unwrap();
    assert_eq!(
        store.get(Tree::Meta, &[7; KEY_BYTES_MAX]).unwrap().unwrap(),
        vec![8; VALUE_BYTES_MAX]
    );
}

fn usage_follows_every_change(store: &mut impl Store) {
    store
        .apply(
            &Batch::new()
                .put(Tree::Meta, "ab", "123")
                .put(Tree::Peers, "ab", "")
                .put(Tree::Meta, "ab", "1"),
        )
        .unwrap();
    assert_eq!(
        store.usage(),
        Usage {
            records: 2,
            bytes: 5,
            damaged: 0
        }
    );
    store
        .apply(
            &Batch::new()
                .put(Tree::Meta, "ab", "12345")
                .delete(Tree::Peers, "ab")
                .delete(Tree::Peers, "x"),
        )
        .unwrap();
    assert_eq!(
        store.usage(),
        Usage {
            records: 1,
            bytes: 7,
            damaged: 0
        }
    );
}

fn flushed_is_there_again<M: Maker>(maker: &mut M) {
    let mut store = maker.fresh();
    for n in 0..200u32 {
        let key = n.to_be_bytes();
        store
            .apply(&Batch::new().put(Tree::Peers, key, vec![n as u8; 300]))
            .unwrap();
    }
    store
        .apply(&Batch::new().delete(Tree::Peers, 9u32.to_be_bytes()))
        .unwrap();
    store.flush().unwrap();
    store.flush().unwrap();
    let before = (
        store.usage(),
        store.scan(Tree::Peers, b"", None, 1000).unwrap(),
    );
    let store = maker.again(store);
    assert_eq!(
        (
            store.usage(),
            store.scan(Tree::Peers, b"", None, 1000).unwrap()
        ),
        before
    );
    assert_eq!(before.1.rows.len(), 199);
}

fn what_is_left_of_the_unflushed_is_a_prefix<M: Maker>(maker: &mut M) {
    let mut store = maker.fresh();
    for n in 1..=50u8 {
        let batch = Batch::new()
            .put(Tree::Meta, "last", [n])
            .put(Tree::Peers, [n], [n]);
        store.apply(&batch).unwrap();
        if n == 20 {
            store.flush().unwrap();
        }
    }
    let store = maker.again(store);
    let last = store.get(Tree::Meta, b"last").unwrap().unwrap()[0];
    assert!(last >= 20, "flushed batches were lost: {last}");
    let peers = store.scan(Tree::Peers, b"", None, 100).unwrap();
    let expected: Vec<Vec<u8>> = (1..=last).map(|n| vec![n]).collect();
    assert_eq!(keys(&peers), expected, "a batch was half there");
}

#[test]
fn sled_conforms() {
    conformance(Sled(Vec::new()));
}

#[test]
fn the_twin_conforms_whatever_its_seed() {
    for seed in 0..50 {
        conformance(Memory(seed * 100));
    }
}

#[test]
fn the_twin_strikes_as_scheduled() {
    let mut store = FaultyStore::new(
        1,
        Schedule {
            full: vec![2],
            flush_fails: vec![2],
        },
    );
    let put = |k: &str| Batch::new().put(Tree::Meta, k, "v");
    store.apply(&put("a")).unwrap();
    assert!(matches!(store.apply(&put("b")), Err(Error::Full { .. })));
    assert_eq!(store.get(Tree::Meta, b"b").unwrap(), None);
    store.flush().unwrap();
    store.apply(&put("c")).unwrap();
    assert!(store.flush().is_err());
    assert!(
        matches!(store.apply(&put("d")), Err(Error::Broken { .. })),
        "after a failed flush nothing is known"
    );
    store.crash();
    assert_eq!(store.get(Tree::Meta, b"a").unwrap().unwrap(), b"v");
    assert!(store.flip_bit(Tree::Meta, b"a"));
    assert!(matches!(
        store.get(Tree::Meta, b"a"),
        Err(Error::Damaged { .. })
    ));
    assert_eq!(
        store.scan(Tree::Meta, b"a", None, 9).unwrap().damaged,
        [b"a"]
    );
    assert_eq!(store.usage().damaged, 2);
    store.apply(&put("a")).unwrap();
    assert_eq!(
        store.get(Tree::Meta, b"a").unwrap().unwrap(),
        b"v",
        "a new write mends it"
    );
}
