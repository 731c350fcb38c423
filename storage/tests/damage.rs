//! Damaged files: opening never panics, nothing wrong is served, and what is missing is said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chorus_protocol::units::{Noise, Seeded};
use chorus_storage::sled_store::{self, Recovery};
use chorus_storage::{Batch, Error, Journal, Store, Tree};

fn cases(gate: u64) -> u64 {
    if std::env::var_os("CHORUS_SOAK").is_some() {
        gate * 10
    } else {
        gate
    }
}

fn below(noise: &mut Seeded, n: usize) -> usize {
    (noise.bits() % n as u64) as usize
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file under `dir` with something in it, in a fixed order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if fs::metadata(&path).unwrap().len() > 0 && !path.ends_with("ballast") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Does one harm to one file of `dir`, and says which.
fn harm(dir: &Path, noise: &mut Seeded) -> String {
    let files = files(dir);
    let path = &files[below(noise, files.len())];
    let mut bytes = fs::read(path).unwrap();
    let what = match noise.bits() % 8 {
        0 => {
            fs::remove_file(path).unwrap();
            return format!("deleted {}", path.display());
        }
        1 | 2 => {
            let cut = 1 + below(noise, bytes.len().min(4096));
            bytes.truncate(bytes.len() - cut);
            format!("cut {cut} from the end")
        }
        3 => {
            let start = below(noise, bytes.len());
            let end = bytes.len().min(start + 512);
            bytes[start..end].fill(0);
            format!("zeroed {start}..{end}")
        }
        _ => {
            // Most of a sled segment is padding: aim at bytes that are in use.
            let used: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] != 0).collect();
            let bit = below(noise, used.len() * 8);
            bytes[used[bit / 8]] ^= 1 << (bit % 8);
            format!("flipped bit {} of byte {}", bit % 8, used[bit / 8])
        }
    };
    fs::write(path, bytes).unwrap();
    format!("{what} of {}", path.display())
}

fn value(noise: &mut Seeded, n: usize) -> Vec<u8> {
    (0..n).map(|_| noise.bits() as u8 | 1).collect()
}

type Truth = BTreeMap<(Tree, Vec<u8>), Vec<u8>>;

/// A store of `records`, some of them rewritten, closed properly. `large` values
/// make sled keep nodes in files of their own (`blobs/`).
fn build_store(dir: &Path, records: u32, large: usize) -> Truth {
    let mut noise = Seeded::new(11);
    let mut store = sled_store::open(dir).unwrap().store;
    let mut truth = Truth::new();
    for n in 0..records * 4 / 3 {
        let tree = Tree::ALL[below(&mut noise, 3)];
        let key = format!("key-{}", n % records).into_bytes();
        let value = value(&mut noise, large + 50 + (n as usize * 7) % 900);
        store
            .apply(&Batch::new().put(tree, key.clone(), value.clone()))
            .unwrap();
        truth.insert((tree, key), value);
        if n % 20 == 0 {
            store.flush().unwrap();
        }
    }
    store.flush().unwrap();
    truth
}

/// What must hold however the files were harmed.
fn check_store(dir: &Path, truth: &Truth, harm: &str) -> &'static str {
    let opened = sled_store::open(dir).unwrap_or_else(|e| panic!("{harm}: {e}"));
    let (mut missing, mut stale, mut damaged) = (0, 0, 0);
    for ((tree, key), value) in truth {
        match opened.store.get(*tree, key) {
            Ok(Some(found)) => stale += u32::from(found != *value),
            Ok(None) => missing += 1,
            Err(Error::Damaged { .. }) => damaged += 1,
            Err(e) => panic!("{harm}: {e}"),
        }
    }
    for tree in Tree::ALL {
        let page = opened
            .store
            .scan(tree, b"", None, 10_000)
            .unwrap_or_else(|e| panic!("{harm}: {e}"));
        assert!(
            page.rows
                .iter()
                .all(|(k, _)| truth.contains_key(&(tree, k.clone()))),
            "{harm}: an unknown key"
        );
    }
    // Whatever is not as it was acknowledged must have been said.
    if missing + stale > 0 {
        assert!(
            matches!(
                opened.recovery,
                Recovery::RolledBack { .. } | Recovery::RebuiltEmpty { .. }
            ),
            "{harm}: {missing} missing, {stale} stale, {:?}",
            opened.recovery
        );
    }
    assert_eq!(damaged, opened.damaged.len(), "{harm}");
    let mut store = opened.store;
    store
        .apply(&Batch::new().put(Tree::Meta, "after", "harm"))
        .unwrap_or_else(|e| panic!("{harm}: {e}"));
    store.flush().unwrap_or_else(|e| panic!("{harm}: {e}"));
    drop(store);
    let again = sled_store::open(dir).unwrap_or_else(|e| panic!("{harm}, second opening: {e}"));
    assert_eq!(
        again.store.get(Tree::Meta, b"after").unwrap().as_deref(),
        Some(&b"harm"[..]),
        "{harm}: {:?}, then {:?}",
        opened.recovery,
        again.recovery
    );
    assert_eq!(again.recovery, Recovery::Clean, "{harm}");
    match opened.recovery {
        Recovery::Clean => "clean",
        Recovery::RolledBack { .. } => "rolled back",
        Recovery::SnapshotSetAside => "snapshot set aside",
        Recovery::RebuiltEmpty { .. } => "rebuilt empty",
    }
}

#[test]
fn a_harmed_store_opens_and_says_what_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let small = build_store(&root.path().join("small"), 300, 0);
    let large = build_store(&root.path().join("large"), 40, 30_000);
    assert!(
        files(&root.path().join("large/blobs")).len() > 1,
        "no blobs to harm"
    );
    let mut ends = BTreeMap::new();
    for seed in 0..cases(300) {
        let mut noise = Seeded::new(seed);
        let dir = root.path().join(format!("case-{seed}")).join("db");
        let (good, truth) = if seed % 4 == 0 {
            ("large", &large)
        } else {
            ("small", &small)
        };
        copy(&root.path().join(good), &dir);
        let what = format!("seed {seed}: {}", harm(&dir, &mut noise));
        *ends.entry(check_store(&dir, truth, &what)).or_insert(0) += 1;
        fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    }
    println!("store, seeds 0..{}: {ends:?}", cases(300));
    assert!(ends.len() >= 3, "the harm was too gentle: {ends:?}");
}

/// Forty records in one segment and its mark.
fn build_journal(dir: &Path) -> Vec<Vec<u8>> {
    let mut noise = Seeded::new(5);
    let mut journal = Journal::open(dir, |_| ()).unwrap().journal;
    let payloads: Vec<Vec<u8>> = (0..40).map(|n| value(&mut noise, n * 11)).collect();
    for payload in &payloads {
        journal.append(3, payload).unwrap();
    }
    payloads
}

#[test]
fn a_harmed_journal_opens_and_says_what_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let payloads = build_journal(&root.path().join("good"));
    let mut cut = 0;
    for seed in 0..cases(300) {
        let mut noise = Seeded::new(seed);
        let dir = root.path().join(format!("case-{seed}"));
        copy(&root.path().join("good"), &dir);
        let what = format!("seed {seed}: {}", harm(&dir, &mut noise));
        let mut seen = Vec::new();
        let opened =
            Journal::open(&dir, |r| seen.push(r)).unwrap_or_else(|e| panic!("{what}: {e}"));
        for record in &seen {
            assert_eq!(
                record.payload,
                payloads[record.seq.0 as usize - 1],
                "{what}"
            );
        }
        assert!(seen.is_sorted_by_key(|r| r.seq), "{what}");
        assert!(
            seen.len() == payloads.len() || !opened.recovery.is_whole(),
            "{what}: {:?}",
            opened.recovery
        );
        cut += u32::from(!opened.recovery.cuts.is_empty());
        let mut journal = opened.journal;
        let next = journal.append(3, b"after").unwrap();
        assert!(
            next.0 > 40 || opened.recovery.mark_lost,
            "{what}: a number was used twice"
        );
        drop(journal);
        let (mut last, before) = (None, seen.len());
        let mut count = 0;
        let again = Journal::open(&dir, |r| (last, count) = (Some(r), count + 1)).unwrap();
        assert_eq!(
            (count, last.map(|r| r.seq)),
            (before + 1, Some(next)),
            "{what}"
        );
        assert_eq!(again.recovery.torn_bytes, 0, "{what}: mended twice");
        fs::remove_dir_all(&dir).unwrap();
    }
    println!(
        "journal, seeds 0..{}: {cut} with records missing, each said",
        cases(300)
    );
    assert!(cut > 50, "the harm was too gentle: {cut}");
}

#[test]
fn a_torn_last_record_that_was_never_acknowledged_is_cut_without_a_word_of_loss() {
    let root = tempfile::tempdir().unwrap();
    build_journal(root.path());
    let segment = files(root.path())
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "seg"))
        .unwrap();
    let whole = fs::read(&segment).unwrap();
    for torn in 1..200 {
        // The beginning of one more frame, as a kill in the middle of a write leaves it.
        let mut bytes = whole.clone();
        bytes.extend(&whole[..torn.min(56)]);
        fs::write(&segment, bytes).unwrap();
        let mut count = 0;
        let opened = Journal::open(root.path(), |_| count += 1).unwrap();
        assert_eq!(count, 40);
        assert!(
            opened.recovery.is_whole() && opened.recovery.aside.is_empty(),
            "{:?}",
            opened.recovery
        );
        assert_eq!(opened.recovery.torn_bytes, torn.min(56) as u64);
        assert_eq!(fs::read(&segment).unwrap(), whole);
    }
}

#[test]
fn a_lost_mark_is_said_at_every_opening_until_there_is_a_new_record() {
    for harm in ["gone", "damaged"] {
        let root = tempfile::tempdir().unwrap();
        build_journal(root.path());
        let mark = root.path().join("mark");
        match harm {
            "gone" => fs::remove_file(&mark).unwrap(),
            _ => fs::write(&mark, b"not a mark").unwrap(),
        }
        // Killed after the opening, again and again.
        for _ in 0..3 {
            let opened = Journal::open(root.path(), |_| ()).unwrap();
            assert!(opened.recovery.mark_lost, "{harm}");
        }
        let mut journal = Journal::open(root.path(), |_| ()).unwrap().journal;
        journal.append(3, b"begun anew").unwrap();
        drop(journal);
        let opened = Journal::open(root.path(), |_| ()).unwrap();
        assert!(opened.recovery.is_whole(), "{harm}");
    }
}

#[test]
fn what_can_be_read_of_a_store_that_lost_something_goes_on_in_a_new_one() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("db");
    let truth = build_store(&dir, 60, 0);
    fs::remove_file(dir.join("mark")).unwrap();

    let opened = sled_store::open(&dir).unwrap();
    let Recovery::RolledBack { aside } = &opened.recovery else {
        panic!("{:?}", opened.recovery);
    };
    assert!(aside.join("db").exists());
    for ((tree, key), value) in &truth {
        assert_eq!(opened.store.get(*tree, key).unwrap().as_ref(), Some(value));
    }
    drop(opened);

    // Killed after the damaged one was set aside: the copy takes the name at the next start.
    fs::rename(&dir, root.path().join("db.new")).unwrap();
    let opened = sled_store::open(&dir).unwrap();
    assert_eq!(opened.recovery, Recovery::Clean);
    assert_eq!(opened.store.usage().records, truth.len() as u64);
    drop(opened);

    // Killed in the middle of the copy: the old one is still there, and goes first.
    fs::create_dir(root.path().join("db.new")).unwrap();
    fs::write(root.path().join("db.new/db"), b"half a copy").unwrap();
    let opened = sled_store::open(&dir).unwrap();
    assert_eq!(opened.recovery, Recovery::Clean);
    assert_eq!(opened.store.usage().records, truth.len() as u64);
    assert!(!root.path().join("db.new").exists());
}

#[test]
fn a_folder_in_place_of_a_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (db, logs) = (dir.path().join("db"), dir.path().join("journal"));
    build_store(&db, 20, 0);
    drop(Journal::open(&logs, drop).unwrap());
    let refused = |path: &Path, open: &dyn Fn() -> Option<String>| {
        let aside = dir.path().join("aside");
        fs::rename(path, &aside).unwrap();
        fs::create_dir(path).unwrap();
        let why = open().expect("a folder is no file");
        let wanted = format!("{}: Is a directory", path.display());
        assert!(why.contains(&wanted), "{why}");
        fs::remove_dir(path).unwrap();
        fs::rename(&aside, path).unwrap();
        assert_eq!(open(), None, "nothing was changed");
    };
    for name in ["mark", "conf", "db"] {
        refused(&db.join(name), &|| {
            sled_store::open(&db).err().map(|why| why.to_string())
        });
    }
    refused(&logs.join("mark"), &|| {
        Journal::open(&logs, drop).err().map(|why| why.to_string())
    });
}
