//! A compacted journal holds what was kept, loses nothing in a crash, and still tells of damage.

use std::fs;
use std::path::{Path, PathBuf};

use chorus_storage::journal::{self, Journal, Opened, RECORD_BYTES_MAX, Record};

fn open(dir: &Path) -> (Opened, Vec<(u8, Vec<u8>)>) {
    let mut seen = Vec::new();
    let opened = Journal::open(dir, |record: Record| {
        seen.push((record.kind, record.payload))
    });
    (opened.unwrap(), seen)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    found.sort();
    found
}

/// A hundred records of 1 KiB, of which the last three are kept, and one more after that.
fn compacted(dir: &Path) -> Vec<(u8, Vec<u8>)> {
    let mut journal = open(dir).0.journal;
    for n in 0..100u8 {
        journal.append(1, &[n; 1024]).unwrap();
    }
    let kept: Vec<(u8, Vec<u8>)> = (97..100u8).map(|n| (1, vec![n; 1024])).collect();
    let keep: Vec<(u8, &[u8])> = kept
        .iter()
        .map(|(kind, it)| (*kind, it.as_slice()))
        .collect();
    assert!(journal.compact(&keep).unwrap());
    journal.append(2, b"after").unwrap();
    [kept, vec![(2, b"after".to_vec())]].concat()
}

#[test]
fn what_is_kept_stays_and_the_rest_takes_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let expected = compacted(dir.path());
    let bytes: u64 = segments(dir.path())
        .iter()
        .map(|p| p.metadata().unwrap().len())
        .sum();
    assert!(bytes < 4_000, "{bytes} bytes are left");
    let mut beside = Vec::new();
    journal::read(dir.path(), |record| {
        beside.push((record.kind, record.payload))
    })
    .unwrap();
    assert_eq!(beside, expected);
    for _ in 0..2 {
        let (opened, seen) = open(dir.path());
        assert!(opened.recovery.is_whole(), "{:?}", opened.recovery);
        assert_eq!(seen, expected);
        assert_eq!(
            opened.journal.last().0,
            105,
            "numbers are not given out twice"
        );
    }
    let (opened, _) = open(dir.path());
    let mut journal = opened.journal;
    assert!(journal.compact(&[(2, b"again")]).unwrap());
    drop(journal);
    assert_eq!(open(dir.path()).1, [(2, b"again".to_vec())]);
}

#[test]
fn a_crash_before_the_old_segments_are_gone_leaves_both() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).0.journal;
    journal.append(1, b"old").unwrap();
    let old = segments(dir.path());
    let bytes = fs::read(&old[0]).unwrap();
    journal.compact(&[(1, b"kept")]).unwrap();
    drop(journal);
    fs::write(&old[0], bytes).unwrap();
    let (opened, seen) = open(dir.path());
    assert!(opened.recovery.is_whole(), "{:?}", opened.recovery);
    assert_eq!(seen, [(1, b"old".to_vec()), (1, b"kept".to_vec())]);
}

#[test]
fn a_kill_anywhere_in_a_compaction_is_no_loss_and_stops_no_later_one() {
    let good = tempfile::tempdir().unwrap();
    let mark = good.path().join("mark");
    let mut journal = open(good.path()).0.journal;
    for _ in 0..4 {
        journal.append(1, &[1; RECORD_BYTES_MAX]).unwrap();
    }
    journal.append(1, b"in a second segment").unwrap();
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    let old: Vec<_> = segments(good.path()).into_iter().map(read).collect();
    assert_eq!(old.len(), 2);
    let mark_before = fs::read(&mark).unwrap();
    assert!(journal.compact(&[(2, b"kept"), (2, b"too")]).unwrap());
    drop(journal);
    let (new, whole) = read(segments(good.path()).remove(0));
    let mark_after = fs::read(&mark).unwrap();

    // How much of the new segment was written, and which of the old ones are left.
    let writing = (0..whole.len()).step_by(19).map(|bytes| (bytes, 0b11));
    for (bytes, left) in writing.chain((0..4).map(|left| (whole.len(), left))) {
        let what = format!("{bytes} bytes of the new one, old ones left: {left:02b}");
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &Path| dir.path().join(path.file_name().unwrap());
        fs::write(at(&new), &whole[..bytes]).unwrap();
        for (n, (path, content)) in old.iter().enumerate() {
            if left >> n & 1 == 1 {
                fs::write(at(path), content).unwrap();
            }
        }
        let done = bytes == whole.len();
        fs::write(at(&mark), if done { &mark_after } else { &mark_before }).unwrap();

        let (opened, seen) = open(dir.path());
        assert!(opened.recovery.is_whole(), "{what}: {:?}", opened.recovery);
        assert!(!done || seen.ends_with(&[(2, b"kept".to_vec()), (2, b"too".to_vec())]));
        let mut journal = opened.journal;
        assert!(journal.compact(&[(2, b"kept")]).unwrap(), "{what}");
        drop(journal);
        assert_eq!(open(dir.path()).1, [(2, b"kept".to_vec())], "{what}");
        assert_eq!(segments(dir.path()).len(), 1, "{what}");
    }
}

#[test]
fn a_loss_before_a_compaction_that_was_not_done_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).0.journal;
    journal.append(1, b"old").unwrap();
    let old = segments(dir.path()).remove(0);
    let bytes = fs::read(&old).unwrap();
    assert!(journal.compact(&[(1, b"kept"), (1, b"too")]).unwrap());
    drop(journal);
    // The last record, which says that all that was to be kept is there, never came.
    let new = segments(dir.path()).remove(0);
    let whole = fs::read(&new).unwrap();
    fs::write(&new, &whole[..whole.len() - 1]).unwrap();
    fs::write(&old, bytes).unwrap();
    fs::remove_file(dir.path().join("mark")).unwrap();
    open(dir.path()).0.journal.append(1, b"later").unwrap();
    assert!(open(dir.path()).0.recovery.is_whole());
    fs::remove_file(&old).unwrap();
    assert!(!open(dir.path()).0.recovery.is_whole());
}

#[test]
fn damage_after_a_compaction_is_said_and_forbids_the_next() {
    let good = tempfile::tempdir().unwrap();
    let expected = compacted(good.path());
    let segment = segments(good.path()).remove(0);
    let whole = fs::read(&segment).unwrap();
    for at in (0..whole.len()).step_by(61) {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(segment.file_name().unwrap()), bad).unwrap();
        fs::copy(good.path().join("mark"), dir.path().join("mark")).unwrap();
        let (opened, seen) = open(dir.path());
        assert!(!opened.recovery.is_whole(), "byte {at}: {seen:?}");
        assert!(seen.iter().all(|it| expected.contains(it)), "byte {at}");
        let mut journal = opened.journal;
        assert!(!journal.compact(&[]).unwrap(), "the trace of a loss went");
    }
}
