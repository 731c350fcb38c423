//! What the store costs for a replicated memory: 100,000 records of 450 bytes, written in
//! batches of 500 through `update`, each batch durable before the next is asked for.
//!
//! Beside it, in the same run and in turn, the same records go into bare sled with one of
//! its own flushes a batch. That flush leaves out the fsync that the store makes, so bare
//! sled is also measured with an fsync of its log after each flush: that is what the same
//! promise costs without checksums, counts and summary. The batches of the three take
//! turns, so that all meet the same disk and neighbours.
//!
//! Then processes of their own write such a store and open it: what they have in memory,
//! how long the opening takes, and how much lies on disk.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use chorus_actors::store::{Disk, StoreHandle, start};
use chorus_protocol::units::{Noise, Seeded};
use chorus_storage::{Batch, Home, Journal, Store, Tree, boot, sled_store};

const RECORDS: usize = 100_000;
const BATCH: usize = 500;
const VALUE_BYTES: usize = 450;
const KEY_BYTES: usize = 32;
/// As the store sets it.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

type Record = ([u8; KEY_BYTES], Vec<u8>);

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "fill", dir] => fill(Path::new(dir)),
        [_, "open", dir] => open(Path::new(dir)),
        _ => all(),
    }
}

fn all() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}", std::process::id()));
    compare(&dir.join("compare"));
    let home = dir.join("home");
    for what in ["fill", "open"] {
        let own = std::env::current_exe().expect("our own file");
        let done = Command::new(own).arg(what).arg(&home).status();
        assert!(done.expect("a process").success(), "{what}");
    }
    std::fs::remove_dir_all(dir).expect("our own folder");
}

/// Records in an order of their own: keys are hashes, so a batch meets all of the tree.
struct Records(Seeded);

impl Records {
    fn batch(&mut self) -> Vec<Record> {
        let bytes = |noise: &mut Seeded, n: usize| -> Vec<u8> {
            let words = std::iter::repeat_with(|| noise.bits().to_le_bytes());
            words.flatten().take(n).collect()
        };
        let record = |_| {
            let key = bytes(&mut self.0, KEY_BYTES);
            let value = bytes(&mut self.0, VALUE_BYTES);
            (key.try_into().expect("32 bytes"), value)
        };
        (0..BATCH).map(record).collect()
    }
}

fn compare(dir: &Path) {
    let mut bare = Bare::open(&dir.join("bare"), false);
    let mut synced = Bare::open(&dir.join("synced"), true);
    let store = Own::start(&dir.join("home"));
    let mut records = Records(Seeded::new(1));
    let mut spent = [Duration::ZERO; 3];
    for round in 0..RECORDS / BATCH {
        let batch = records.batch();
        for turn in 0..3 {
            let who = (round + turn) % 3;
            let begun = Instant::now();
            match who {
                0 => bare.write(&batch),
                1 => synced.write(&batch),
                _ => store.write(&batch),
            }
            spent[who] += begun.elapsed();
        }
    }
    let rate = |who: usize| RECORDS as f64 / spent[who].as_secs_f64();
    println!(
        "store: {:.0} records of {VALUE_BYTES} bytes a second, {BATCH} in each durable batch; \
         bare sled {:.0}, with an fsync {:.0}: {:.2} and {:.2} of it; goal 0.8",
        rate(2),
        rate(0),
        rate(1),
        rate(2) / rate(0),
        rate(2) / rate(1)
    );
    store.stop();
}

/// sled with the store's settings, and nothing else.
struct Bare {
    db: sled::Db,
    log: Option<File>,
}

impl Bare {
    fn open(dir: &Path, sync: bool) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(1000));
        let db = config.open().expect("a database");
        let log = sync.then(|| File::open(dir.join("db")).expect("its log"));
        Self { db, log }
    }

    fn write(&mut self, records: &[Record]) {
        let mut batch = sled::Batch::default();
        for (key, value) in records {
            batch.insert(key, value.as_slice());
        }
        self.db.apply_batch(batch).expect("applied");
        self.db.flush().expect("flushed");
        if let Some(log) = &self.log {
            log.sync_data().expect("synced");
        }
    }
}

/// The store as a node has it.
struct Own {
    handle: StoreHandle,
    thread: std::thread::JoinHandle<()>,
}

impl Own {
    fn start(dir: &Path) -> Self {
        let home = Home::at(dir);
        home.create().expect("a home");
        boot::create(&home).expect("a record of starts");
        let disk = Disk {
            store: Box::new(sled_store::open(&home.db()).expect("a store").store),
            journal: Journal::open(&home.journal(), drop)
                .expect("a journal")
                .journal,
            mirror: home.mesh().join("roster"),
            checkpoints: chorus_storage::Checkpoints::of(&home),
            boot: boot::start(&home).expect("a start"),
        };
        let (fail, _) = tokio::sync::mpsc::channel(1);
        let (handle, thread) = start(disk, fail).expect("a thread");
        Self { handle, thread }
    }

    fn write(&self, records: &[Record]) {
        let mut batch = Batch::new();
        for (key, value) in records {
            batch = batch.put(Tree::Memory, *key, value.as_slice());
        }
        let (tell, told) = sync_channel(1);
        let done = move |result| tell.send(result).expect("somebody waits");
        self.handle.update(move |_| Ok((batch, ())), done);
        told.recv().expect("an answer").expect("durable");
    }

    fn stop(self) {
        self.handle.stop();
        self.thread.join().expect("the store's thread");
    }
}

fn fill(dir: &Path) {
    let store = Own::start(dir);
    let mut records = Records(Seeded::new(1));
    (0..RECORDS / BATCH).for_each(|_| store.write(&records.batch()));
    let usage = store.handle.reader().usage_of(Tree::Memory).expect("open");
    println!(
        "store: {} records, {:.1} MB, written: {}; goal 80",
        usage.records,
        usage.bytes as f64 / 1e6,
        memory()
    );
    store.stop();
}

fn open(dir: &Path) {
    let home = Home::at(dir);
    let log = std::fs::metadata(home.db().join("db"))
        .expect("a log")
        .len();
    let begun = Instant::now();
    let opened = sled_store::open(&home.db()).expect("a store");
    let took = begun.elapsed();
    let usage = opened.store.usage_of(Tree::Memory);
    assert_eq!(usage.records, RECORDS as u64);
    println!(
        "store: {} records opened and read through in {:.2} s, {:.0} MB on disk: {}; goal 80",
        usage.records,
        took.as_secs_f64(),
        log as f64 / 1e6,
        memory()
    );
}

/// What this process has in memory.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let mb = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kb = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        kb.expect("a number") * 1024.0 / 1e6
    };
    format!(
        "{:.1} MB in memory, at most {:.1}",
        mb("VmRSS"),
        mb("VmHWM")
    )
}
