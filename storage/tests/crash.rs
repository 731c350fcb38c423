//! kill -9 at random points: whatever was acknowledged is there again.
//!
//! The test starts itself as a child that writes and acknowledges on stdout;
//! the parent kills it after a random number of acknowledgements.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use chorus_protocol::units::{Noise, Seeded};
use chorus_storage::boot;
use chorus_storage::home::{Home, write_key};
use chorus_storage::sled_store::{self, Recovery};
use chorus_storage::{Batch, Journal, Store, Tree};

const CHILD_HOME: &str = "CHORUS_CRASH_CHILD_HOME";

fn payload(n: u64) -> Vec<u8> {
    vec![n as u8; 20 + (n as usize * 37) % 3000]
}

fn last(store: &impl Store) -> u64 {
    let found = store.get(Tree::Meta, b"last").unwrap();
    found.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()))
}

/// Not a test of its own: what the child does until it is killed.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_HOME) else {
        return;
    };
    let home = Home::at(dir);
    let _lock = home.lock().unwrap();
    let mut started = boot::start(&home).unwrap();
    let mut store = sled_store::open(&home.db()).unwrap().store;
    let mut journal = Journal::open(&home.journal(), |_| ()).unwrap().journal;
    let mut out = std::io::stdout();
    writeln!(out, "\nboot {} {}", started.boot(), started.lamport_from()).unwrap();
    for n in last(&store) + 1.. {
        let batch = Batch::new()
            .put(Tree::Peers, n.to_be_bytes(), payload(n))
            .put(Tree::Meta, "last", n.to_be_bytes());
        store.apply(&batch).unwrap();
        // Every third write is left to the next flush, so that kills meet unflushed state.
        if n % 3 == 0 {
            store.flush().unwrap();
            writeln!(out, "store {n}").unwrap();
        }
        let seq = journal.append(1, &payload(journal.last().0 + 1)).unwrap();
        writeln!(out, "journal {}", seq.0).unwrap();
        let lamport = started.lamport_reserved() + 5;
        started.reserve(lamport).unwrap();
        writeln!(out, "lamport {lamport}").unwrap();
        out.flush().unwrap();
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Acknowledged {
    store: u64,
    journal: u64,
    lamport: u64,
    boot: u64,
}

/// Runs a child, kills it after `lines` lines, and takes in all that it said.
fn run_and_kill(home: &Path, lines: u64, acknowledged: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_that_writes_until_it_is_killed",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD_HOME, home)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let (mut seen, mut line) = (0, String::new());
    while reader.read_line(&mut line).unwrap() > 0 {
        // Only a whole line was said.
        if let (Some((what, rest)), true) = (line.trim_end().split_once(' '), line.ends_with('\n'))
        {
            let number = |at: usize| rest.split(' ').nth(at).and_then(|word| word.parse().ok());
            seen += 1;
            match (what, number(0)) {
                ("store", Some(n)) => acknowledged.store = n,
                ("journal", Some(n)) => {
                    assert_eq!(
                        n,
                        acknowledged.journal.max(n - 1) + 1,
                        "a number was used twice"
                    );
                    acknowledged.journal = n;
                }
                ("lamport", Some(n)) => acknowledged.lamport = n,
                ("boot", Some(n)) => {
                    assert_eq!(n, acknowledged.boot + 1, "the boot number");
                    assert!(
                        number(1) >= Some(acknowledged.lamport),
                        "Lamport time went back"
                    );
                    acknowledged.boot = n;
                }
                _ => seen -= 1,
            }
            if seen == lines {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    child.wait().unwrap();
    assert!(
        seen >= lines,
        "the child ended by itself after {seen} lines"
    );
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = if std::env::var_os("CHORUS_SOAK").is_some() {
        100
    } else {
        12
    };
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    home.create().unwrap();
    write_key(&home.node_key(), &[1; 32]).unwrap();
    boot::create(&home).unwrap();
    let mut noise = Seeded::new(2026);
    let mut acknowledged = Acknowledged::default();
    for round in 0..rounds {
        run_and_kill(dir.path(), 1 + noise.bits() % 60, &mut acknowledged);
        let opened = sled_store::open(&home.db()).unwrap();
        assert_eq!(opened.recovery, Recovery::Clean, "round {round}");
        let last = last(&opened.store);
        assert!(
            last >= acknowledged.store,
            "round {round}: {last} of {acknowledged:?}"
        );
        for n in 1..=last {
            let found = opened.store.get(Tree::Peers, &n.to_be_bytes()).unwrap();
            assert_eq!(
                found,
                Some(payload(n)),
                "round {round}: record {n} of {acknowledged:?}"
            );
        }
        let mut count = 0;
        let opened = Journal::open(&home.journal(), |record| {
            count += 1;
            assert_eq!(
                (record.seq.0, record.payload),
                (count, payload(count)),
                "round {round}"
            );
        });
        let opened = opened.unwrap();
        assert!(
            opened.recovery.is_whole() && opened.recovery.aside.is_empty(),
            "round {round}: {:?}",
            opened.recovery
        );
        assert!(
            count >= acknowledged.journal,
            "round {round}: {count} of {acknowledged:?}"
        );
    }
    println!("kill -9: {rounds} rounds, {acknowledged:?}, lost 0");
}
