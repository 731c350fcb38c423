//! What shares a flush, what fails with it, and in which order who is told.

use std::sync::Mutex;

use chorus_protocol::ids::{CurveKey, Label, Place as Where, Role};
use chorus_protocol::trust::item::Entry;
use chorus_storage::faulty::Schedule;
use chorus_storage::store::VALUE_BYTES_MAX;
use chorus_storage::{FaultyStore, Home, Journal, Page, Tree, Usage, boot};

use super::*;

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// The twin, which writes down each call that changes it, and how long the journal was.
struct Watched(FaultyStore, Log, Home);

impl Store for Watched {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(tree, key)
    }
    fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, Error> {
        self.0.scan(tree, prefix, from, limit)
    }
    fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        let applied = self.0.apply(batch);
        note(&self.1, if applied.is_ok() { "apply" } else { "refuse" });
        applied
    }
    fn flush(&mut self) -> Result<(), Error> {
        note(&self.1, format!("flush, {} uses", uses(&self.2)));
        self.0.flush()
    }
    fn usage(&self) -> Usage {
        self.0.usage()
    }
    fn usage_of(&self, tree: Tree) -> Usage {
        self.0.usage_of(tree)
    }
    fn reader(&self) -> Reader {
        self.0.reader()
    }
}

fn note(log: &Log, what: impl Into<String>) {
    log.lock().unwrap().push(what.into());
}

/// How many uses the journal holds on disk.
fn uses(home: &Home) -> usize {
    let mut count = 0;
    chorus_storage::journal::read(&home.journal(), |it| {
        count += usize::from(it.kind == JOURNAL_USE)
    })
    .unwrap();
    count
}

/// A store whose requests wait until [`Bench::run`].
struct Bench {
    handle: StoreHandle,
    requests: Receiver<Request>,
    disk: Disk,
    log: Log,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(schedule: Schedule) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        home.create().unwrap();
        boot::create(&home).unwrap();
        let log = Log::default();
        let store = Watched(
            FaultyStore::new(1, schedule),
            log.clone(),
            Home::at(dir.path()),
        );
        let (sender, requests) = sync_channel(QUEUE_MAX);
        let handle = StoreHandle::new(sender, Arc::default(), store.reader());
        let disk = Disk {
            store: Box::new(store),
            journal: Journal::open(&home.journal(), drop).unwrap().journal,
            mirror: home.mesh().join("roster"),
            checkpoints: chorus_storage::Checkpoints::of(&home),
            boot: boot::start(&home).unwrap(),
        };
        Self {
            handle,
            requests,
            disk,
            log,
            _dir: dir,
        }
    }

    /// Counts up what stands under `key`; `done` notes what stood there before.
    fn count(&self, key: &'static str) {
        let log = self.log.clone();
        self.handle.update(
            move |store| {
                let before = store.get(Tree::Memory, key.as_bytes())?;
                let before = before.map_or(0, |it| it[0]);
                Ok((
                    Batch::new().put(Tree::Memory, key, [before.wrapping_add(1)]),
                    before,
                ))
            },
            move |result: Result<u8, String>| match result {
                Ok(before) => note(&log, format!("{key} had {before}")),
                Err(_) => note(&log, format!("{key} failed")),
            },
        );
    }

    fn put(&self, key: &'static str, value: Vec<u8>) {
        let log = self.log.clone();
        self.handle.update(
            move |_| Ok((Batch::new().put(Tree::Memory, key, value), ())),
            move |result| note(&log, format!("{key} {}", ended(result.is_ok()))),
        );
    }

    fn write(&self, what: &'static str, writes: Vec<Write>) {
        let log = self.log.clone();
        self.handle.write(
            writes,
            Box::new(move |result| note(&log, format!("{what} {}", ended(result.is_ok())))),
        );
    }

    /// Does everything that waits, as the store's thread does, and says what happened.
    fn run(self) -> (Vec<String>, Option<Fatal>) {
        let (fail, mut failed) = mpsc::channel(1);
        let state = self.handle.state.clone();
        self.handle.stop();
        run(self.disk, &self.requests, &state, &fail);
        (self.log.lock().unwrap().clone(), failed.try_recv().ok())
    }
}

fn ended(ok: bool) -> &'static str {
    if ok { "done" } else { "failed" }
}

fn entry() -> Entry {
    let label = Label::new("a").unwrap();
    Entry {
        node: NodeId([1; 32]),
        curve: CurveKey([1; 32]),
        name: label,
        role: Role::Agent,
        place: Where {
            sector: label,
            cluster: label,
        },
        caps: Vec::new(),
        floor: 0,
        issued: 7,
        adopts: None,
    }
}

fn stamps(n: u8) -> Vec<Write> {
    vec![Write::Stamps(vec![(NodeId([n; 32]), Stamp::default())])]
}

#[test]
fn who_waits_shares_one_flush_and_is_told_after_it_in_order() {
    let bench = Bench::new(Schedule::default());
    bench.count("a");
    bench.write("stamps", stamps(1));
    bench.count("a");
    bench.count("b");
    let expected = [
        "apply",
        "apply",
        "apply",
        "apply",
        "flush, 0 uses",
        "a had 0",
        "stamps done",
        "a had 1",
        "b had 0",
    ];
    assert_eq!(bench.run().0, expected);
}

#[test]
fn a_failed_flush_refuses_all_that_rest_on_it_also_who_changed_nothing() {
    let bench = Bench::new(Schedule {
        flush_fails: vec![1],
        ..Schedule::default()
    });
    bench.count("a");
    let log = bench.log.clone();
    bench.handle.update(
        |store| Ok((Batch::new(), store.get(Tree::Memory, b"a")?)),
        move |result| {
            assert!(result.is_err(), "it read what the disk does not hold");
            note(&log, "reader failed");
        },
    );
    bench.write("nothing", Vec::new());
    bench.write("stamps", stamps(1));
    let (log, fatal) = bench.run();
    let expected = [
        "apply",
        "apply",
        "flush, 0 uses",
        // Whether it can go on.
        "flush, 0 uses",
        "a failed",
        "reader failed",
        "nothing done",
        "stamps failed",
    ];
    assert_eq!(log, expected);
    assert!(fatal.is_none(), "it was told to stop before");
}

#[test]
fn what_is_read_after_a_failed_flush_is_not_acknowledged() {
    let mut bench = Bench::new(Schedule {
        flush_fails: vec![1],
        ..Schedule::default()
    });
    bench
        .disk
        .store
        .apply(&Batch::new().put(Tree::Memory, "a", [1]))
        .unwrap();
    bench.disk.store.flush().unwrap_err();
    let log = bench.log.clone();
    bench.handle.update(
        |store| Ok((Batch::new(), store.get(Tree::Memory, b"a")?)),
        move |result| note(&log, format!("reader {}", ended(result.is_ok()))),
    );
    assert_eq!(bench.run().0.last().unwrap(), "reader failed");
}

#[test]
fn who_is_refused_alone_fails_alone() {
    let bench = Bench::new(Schedule {
        full: vec![2],
        ..Schedule::default()
    });
    bench.count("a");
    bench.count("b");
    bench.put("too much", vec![0; VALUE_BYTES_MAX + 1]);
    let log = bench.log.clone();
    bench.handle.update::<()>(
        |_| Err(Error::Closed),
        move |result| note(&log, result.unwrap_err()),
    );
    bench.count("a");
    let (log, fatal) = bench.run();
    let expected = [
        "apply",
        "refuse",
        "refuse",
        "apply",
        "flush, 0 uses",
        // Whether it can go on.
        "flush, 0 uses",
        "a had 0",
        "b failed",
        "too much failed",
        "the store is closed; nothing was read",
        "a had 1",
    ];
    assert_eq!(log, expected);
    assert!(fatal.is_none());
}

#[test]
fn what_stands_elsewhere_waits_for_what_was_asked_before_and_goes_before_its_own_entry() {
    let bench = Bench::new(Schedule::default());
    let used = Write::Use(Box::new(Use {
        nonce: [1; 16],
        entry: entry(),
        expires_s: 0,
    }));
    bench.write("stamps", stamps(1));
    bench.write("use", vec![used, stamps(2).remove(0)]);
    bench.count("a");
    let expected = [
        "apply",
        "flush, 0 uses",
        "stamps done",
        "apply",
        "apply",
        "flush, 1 uses",
        "use done",
        "a had 0",
    ];
    assert_eq!(bench.run().0, expected);
}

#[test]
fn a_group_is_bounded_in_requests_and_in_bytes() {
    let flushes = |bench: Bench| {
        let log = bench.run().0;
        log.iter().filter(|it| it.starts_with("flush")).count()
    };
    let bench = Bench::new(Schedule::default());
    (0..=group::GROUP_MAX).for_each(|n| bench.write("stamps", stamps(n as u8)));
    assert_eq!(flushes(bench), 2);
    let bench = Bench::new(Schedule::default());
    let values = group::GROUP_BYTES_MAX / VALUE_BYTES_MAX;
    (0..=values).for_each(|_| bench.put("k", vec![0; VALUE_BYTES_MAX]));
    assert_eq!(flushes(bench), 2);
}

#[test]
fn updates_that_wait_are_bounded_and_leave_room_for_writes() {
    let bench = Bench::new(Schedule::default());
    (0..=UPDATES_MAX).for_each(|_| bench.count("a"));
    assert_eq!(*bench.log.lock().unwrap(), ["a failed"], "at once");
    bench.write("stamps", stamps(1));
    let taken = bench.handle.updates.clone();
    assert_eq!(taken.load(Ordering::Relaxed), UPDATES_MAX);
    let log = bench.run().0;
    assert_eq!(taken.load(Ordering::Relaxed), 0);
    assert_eq!(log.iter().filter(|it| it.contains("failed")).count(), 1);
    assert!(log.contains(&"stamps done".into()) && log.contains(&"a had 255".into()));
}

#[test]
fn who_asks_a_store_that_has_stopped_is_told() {
    let bench = Bench::new(Schedule::default());
    let (handle, log) = (bench.handle.clone(), bench.log.clone());
    bench.run();
    let told = log.clone();
    handle.update(
        |_| Ok((Batch::new(), ())),
        move |it| note(&told, it.unwrap_err()),
    );
    assert_eq!(*log.lock().unwrap(), [REFUSED]);
    assert!(matches!(
        handle.reader().get(Tree::Memory, b"a"),
        Err(Error::Closed)
    ));
}
