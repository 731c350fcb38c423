//! A home's files: keys that stay secret, one process at a time, a boot number that never goes back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chorus_protocol::ids::{Incarnation, Stamp};
use chorus_storage::boot::{self, BootError};
use chorus_storage::home::{Home, HomeError, read_key, write_atomic, write_key};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn made() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("home"));
    home.create().unwrap();
    write_key(&home.node_key(), &[7; 32]).unwrap();
    (dir, home)
}

#[test]
fn folders_and_keys_are_for_their_owner_alone() {
    let (_dir, home) = made();
    for path in [
        home.dir().to_path_buf(),
        home.identity(),
        home.mesh(),
        home.db(),
        home.journal(),
    ] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    write_key(&home.root_key(), &[0xab; 32]).unwrap();
    assert_eq!(mode(&home.root_key()), 0o600);
    assert_eq!(mode(home.root_key().parent().unwrap()), 0o700);
    assert_eq!(
        fs::read_to_string(home.root_key()).unwrap(),
        "ab".repeat(32) + "\n"
    );
    assert_eq!(read_key(&home.root_key()).unwrap(), [0xab; 32]);
    assert!(home.is_used().unwrap() && !Home::at("/nowhere").is_used().unwrap());
}

#[test]
fn an_exposed_or_broken_key_is_refused_by_name() {
    let (_dir, home) = made();
    for bits in [0o640, 0o604, 0o620] {
        fs::set_permissions(home.node_key(), fs::Permissions::from_mode(bits)).unwrap();
        let error = read_key(&home.node_key()).unwrap_err();
        assert!(matches!(error, HomeError::Exposed { mode, .. } if mode == bits));
        assert!(error.to_string().contains("node.key"), "{error}");
    }
    let digits = "1f".repeat(32);
    let bad = [
        "".into(),
        digits[1..].into(),
        format!("{digits}0\n"),
        format!("{digits}\n\n"),
        digits.replace('f', "g"),
    ];
    for text in bad {
        write_atomic(&home.node_key(), text.as_bytes(), 0o600).unwrap();
        let error = read_key(&home.node_key()).unwrap_err();
        assert!(
            matches!(error, HomeError::BadKey { .. }),
            "{text:?}: {error}"
        );
        assert!(
            !error.to_string().contains("1f1f"),
            "the error shows the key"
        );
    }
    fs::write(home.node_key(), digits.to_uppercase()).unwrap();
    assert_eq!(
        read_key(&home.node_key()).unwrap(),
        [0x1f; 32],
        "without its newline and in capitals it is still a key"
    );
}

#[test]
fn a_second_process_is_told_who_has_the_home() {
    let (_dir, home) = made();
    let lock = home.lock().unwrap();
    match home.lock() {
        Err(HomeError::InUse { holder, .. }) => assert_eq!(holder, std::process::id().to_string()),
        other => panic!("{other:?}"),
    }
    drop(lock);
    home.lock().unwrap();
}

#[test]
fn a_home_is_lost_when_the_locked_file_is_no_longer_at_its_path() {
    let (dir, home) = made();
    let aside = dir.path().join("aside");
    let lock = home.lock().unwrap();
    assert!(!lock.is_lost());
    fs::rename(home.dir(), &aside).unwrap();
    assert!(lock.is_lost(), "moved away");
    fs::write(home.dir(), "").unwrap();
    assert!(lock.is_lost(), "a file in its place");
    fs::remove_file(home.dir()).unwrap();
    home.create().unwrap();
    drop(home.lock().unwrap());
    assert!(lock.is_lost(), "another home in its place");
    fs::remove_dir_all(home.dir()).unwrap();
    std::os::unix::fs::symlink(home.dir(), home.dir()).unwrap();
    assert!(!lock.is_lost(), "an error that says nothing of it");
    fs::remove_file(home.dir()).unwrap();
    std::os::unix::fs::symlink(&aside, home.dir()).unwrap();
    assert!(!lock.is_lost(), "the same one, by another way");
}

#[test]
fn a_long_home_has_a_short_socket_that_both_sides_find() {
    let near = Home::at("/var/lib/chorus");
    assert_eq!(
        near.control_socket(None, 5),
        Path::new("/var/lib/chorus/run/control.sock")
    );
    let far = Home::at(format!("/{}", "x".repeat(90)));
    let fallback = far.control_socket(None, 5);
    assert!(fallback.starts_with("/tmp/chorus-5"));
    let runtime = far.control_socket(Some(Path::new("/run/user/5")), 5);
    assert!(runtime.starts_with("/run/user/5/chorus"));
    assert_eq!(
        far.control_socket(Some(Path::new(&"/y".repeat(60))), 5),
        fallback
    );
    for path in [fallback, runtime] {
        assert!(path.as_os_str().len() <= 100);
    }
    assert_ne!(
        far.control_socket(None, 5),
        Home::at(format!("/{}", "y".repeat(90))).control_socket(None, 5)
    );
}

#[test]
fn an_atomic_write_leaves_the_old_bytes_when_it_fails() {
    let (_dir, home) = made();
    let path = home.dir().join("file");
    write_atomic(&path, b"old", 0o600).unwrap();
    // A folder where the temporary file would go: the write cannot even begin.
    fs::create_dir(home.dir().join(".file.tmp")).unwrap();
    assert!(write_atomic(&path, b"new", 0o600).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    fs::remove_dir(home.dir().join(".file.tmp")).unwrap();
    fs::write(home.dir().join(".file.tmp"), "left by a crash, and exposed").unwrap();
    write_atomic(&path, b"new", 0o600).unwrap();
    assert_eq!(
        (fs::read(&path).unwrap().as_slice(), mode(&path)),
        (&b"new"[..], 0o600)
    );
    assert!(!home.dir().join(".file.tmp").exists());
}

#[test]
fn a_thousand_starts_never_go_back_whatever_a_crash_left() {
    let (_dir, home) = made();
    boot::create(&home).unwrap();
    let temporary = home.identity().join(".boot.tmp");
    let mut top = 0;
    for n in 1..=1000u32 {
        // A crash between write and rename: all, a part or none of a next record.
        if n % 3 == 0 {
            let record = fs::read(home.boot()).unwrap();
            fs::write(&temporary, &record[..record.len() * (n as usize % 7) / 6]).unwrap();
        }
        let mut started = boot::start(&home).unwrap();
        assert_eq!(started.boot(), n);
        assert!(
            started.lamport_from() >= top,
            "Lamport time went back at start {n}"
        );
        top = started.lamport_from() + u64::from(n) * 10;
        started.reserve(top).unwrap();
        started.reserve(1).unwrap();
        assert_eq!(started.lamport_reserved(), top);
    }
}

#[test]
fn every_damaged_byte_of_the_record_is_noticed() {
    let (_dir, home) = made();
    boot::create(&home).unwrap();
    assert!(matches!(boot::create(&home), Err(BootError::Exists)));
    boot::start(&home).unwrap().reserve(9_876).unwrap();
    let good = fs::read(home.boot()).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(home.boot(), &bad).unwrap();
        assert!(
            matches!(boot::start(&home), Err(BootError::Damaged)),
            "bit {bit}"
        );
    }
    for length in 0..good.len() {
        fs::write(home.boot(), &good[..length]).unwrap();
        assert!(
            matches!(boot::start(&home), Err(BootError::Damaged)),
            "length {length}"
        );
    }
    assert!(
        matches!(boot::create(&home), Err(BootError::Exists)),
        "a damaged record is not a new identity"
    );
}

#[test]
fn a_lost_record_is_rebuilt_above_what_peers_saw() {
    let (_dir, home) = made();
    assert!(matches!(boot::start(&home), Err(BootError::Missing)));
    let seen = |boot, lamport| Stamp {
        incarnation: Incarnation::new(3, boot),
        lamport,
    };
    boot::restore_above(&home, seen(41, 7_000)).unwrap();
    boot::restore_above(&home, seen(12, 9_000)).unwrap();
    let started = boot::start(&home).unwrap();
    assert_eq!((started.boot(), started.lamport_from()), (42, 9_000));
    assert!(matches!(
        boot::restore_above(&home, seen(u32::MAX, 0)),
        Err(BootError::UsedUp)
    ));
    boot::restore_above(&home, seen(u32::MAX - 1, 0)).unwrap();
    assert_eq!(boot::start(&home).unwrap().boot(), u32::MAX);
    assert!(matches!(boot::start(&home), Err(BootError::UsedUp)));
}
