//! One suite of what a `Store` must do, run on sled and on its in-memory twin.

use chorus_storage::faulty::Schedule;
use chorus_storage::sled_store;
use chorus_storage::store::{BATCH_BYTES_MAX, KEY_BYTES_MAX, PAGE_BYTES_MAX, VALUE_BYTES_MAX};
use chorus_storage::{Batch, Error, FaultyStore, Page, Reader, SledStore, Store, Tree, Usage};

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
    pages_end_by_bytes_too(&mut maker.fresh());
    usage_follows_every_change(&mut maker.fresh());
    each_tree_is_counted_by_itself(&mut maker);
    readers_on_other_threads_see_whole_batches(&mut maker.fresh());
    a_reader_ends_with_its_store(maker.fresh());
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

fn pages_end_by_bytes_too(store: &mut impl Store) {
    const ROWS: usize = 2 * PAGE_BYTES_MAX / VALUE_BYTES_MAX;
    for n in 0..ROWS as u8 {
        let batch = Batch::new().put(Tree::Memory, [n], vec![n; VALUE_BYTES_MAX]);
        store.apply(&batch).unwrap();
    }
    let (mut from, mut seen, mut pages) = (None, 0, 0);
    loop {
        let page = store
            .scan(Tree::Memory, b"", from.as_deref(), ROWS)
            .unwrap();
        let bytes: usize = page.rows.iter().map(|(k, v)| k.len() + v.len()).sum();
        assert!(bytes <= PAGE_BYTES_MAX + VALUE_BYTES_MAX, "{bytes}");
        let expected = (seen..).zip(&page.rows);
        assert!(expected.into_iter().all(|(n, (k, _))| *k == [n]));
        (seen, pages) = (seen + page.rows.len() as u8, pages + 1);
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    assert_eq!((usize::from(seen), pages), (ROWS, 2));
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

fn each_tree_is_counted_by_itself<M: Maker>(maker: &mut M) {
    let mut store = maker.fresh();
    let batch = Batch::new()
        .put(Tree::Memory, "ab", "123")
        .put(Tree::Memory, "cd", "4")
        .put(Tree::Memory, "cd", "56")
        .put(Tree::Checkpoints, "c", "7")
        .delete(Tree::Meta, "absent");
    store.apply(&batch).unwrap();
    store
        .apply(&Batch::new().delete(Tree::Memory, "ab"))
        .unwrap();
    store.flush().unwrap();
    let counts = |store: &M::S| Tree::ALL.map(|tree| store.usage_of(tree));
    let of = |records, bytes| Usage {
        records,
        bytes,
        damaged: 0,
    };
    let expected = [of(0, 0), of(0, 0), of(0, 0), of(1, 4), of(1, 2)];
    assert_eq!(counts(&store), expected);
    assert_eq!(
        store.reader().usage_of(Tree::Memory).unwrap(),
        of(1, 4),
        "a reader counts as its store"
    );
    assert_eq!(store.usage(), of(2, 6));
    let store = maker.again(store);
    assert_eq!(counts(&store), expected, "after a start");
}

/// Two keys change together in each batch: whoever reads the one and then the other may
/// find the other newer, never older.
fn readers_on_other_threads_see_whole_batches(store: &mut impl Store) {
    const LAST: u8 = 50;
    let reads = |reader: Reader| {
        move || {
            let (mut last, mut rounds) = (0, 0);
            while last < LAST {
                let get = |key: &[u8]| reader.get(Tree::Memory, key).unwrap();
                let first = get(b"first").map_or(0, |it| it[0]);
                let second = get(b"second").map_or(0, |it| it[0]);
                assert!(last <= first && first <= second, "{last} {first} {second}");
                let page = reader.scan(Tree::Memory, b"", None, 9).unwrap();
                assert!(page.rows.iter().all(|(_, v)| v[0] >= first), "{page:?}");
                (last, rounds) = (second, rounds + 1);
            }
            rounds
        }
    };
    std::thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(reads(store.reader().clone())));
        for n in 1..=LAST {
            let batch =
                Batch::new()
                    .put(Tree::Memory, "first", [n])
                    .put(Tree::Memory, "second", [n]);
            store.apply(&batch).unwrap();
        }
        assert!(readers.into_iter().all(|it| it.join().unwrap() > 0));
    });
}

fn a_reader_ends_with_its_store(mut store: impl Store) {
    store
        .apply(&Batch::new().put(Tree::Memory, "k", "v"))
        .unwrap();
    let reader = store.reader();
    assert_eq!(reader.get(Tree::Memory, b"k").unwrap().unwrap(), b"v");
    assert_eq!(reader.get(Tree::Meta, b"k").unwrap(), None);
    drop(store);
    assert!(matches!(reader.get(Tree::Memory, b"k"), Err(Error::Closed)));
    assert!(matches!(
        reader.scan(Tree::Memory, b"", None, 1),
        Err(Error::Closed)
    ));
    assert!(matches!(reader.usage_of(Tree::Memory), Err(Error::Closed)));
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
