//! The in-memory twin fails when and as it was told to.

use chorus_storage::faulty::Schedule;
use chorus_storage::{Batch, Error, FaultyStore, Store, Tree};

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
    let reader = store.reader();
    assert!(matches!(
        reader.get(Tree::Meta, b"a"),
        Err(Error::Damaged { .. })
    ));
    assert_eq!(store.usage().damaged, 3, "by whomever it was met");
    assert_eq!(store.usage_of(Tree::Meta).damaged, 3);
    assert_eq!(store.usage_of(Tree::Memory).damaged, 0);
    store.apply(&put("a")).unwrap();
    assert_eq!(
        store.get(Tree::Meta, b"a").unwrap().unwrap(),
        b"v",
        "a new write mends it"
    );
    let before = store.usage().records;
    assert!(store.flip_bit(Tree::Meta, b"a"));
    store.apply(&Batch::new().delete(Tree::Meta, "a")).unwrap();
    assert_eq!(store.get(Tree::Meta, b"a").unwrap(), None);
    assert_eq!(
        store.usage().records,
        before - 1,
        "what is damaged can be deleted"
    );
}
