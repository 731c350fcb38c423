//! A running node whose files are taken away: its home ends it, its door's socket comes back.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::chorus::{Homes, Running, until};

/// How soon a node says that its home is lost: two looks, and a stop.
const SOON: Duration = Duration::from_secs(10);

/// Its home has just been taken away.
fn ends_with_words(mut running: Running) {
    let began = Instant::now();
    let mut exit = None;
    until("it ends", || {
        exit = running.ended();
        exit.is_some()
    });
    let (took, log) = (began.elapsed(), running.log());
    assert_eq!(exit, Some(1), "{log}");
    assert!(took < SOON, "{took:?}: {log}");
    for words in [
        "a/lock",
        "moved, removed or replaced",
        "hint: put the home back",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[test]
fn a_node_whose_home_is_moved_away_ends_and_says_why() {
    let homes = Homes::new();
    homes.init("a");
    let running = homes.start("a", &[]);
    fs::rename(homes.path("a"), homes.path("b")).unwrap();
    ends_with_words(running);
    assert!(!homes.path("a").exists(), "something was written there");
    // With it back in its place nothing has happened.
    fs::rename(homes.path("b"), homes.path("a")).unwrap();
    homes.start("a", &[]).stop();
}

#[test]
fn a_node_whose_home_is_deleted_ends() {
    let homes = Homes::new();
    homes.init("a");
    let running = homes.start("a", &[]);
    fs::remove_dir_all(homes.path("a")).unwrap();
    ends_with_words(running);
    assert!(!homes.path("a").exists(), "something was written there");
}

#[test]
fn of_two_that_run_in_a_home_that_was_replaced_the_second_stays() {
    let homes = Homes::new();
    homes.init("a");
    let first = homes.start("a", &[]);
    fs::rename(homes.path("a"), homes.path("b")).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .args([homes.path("b"), homes.path("a")])
        .status();
    assert!(copied.unwrap().success());
    let second = homes.start("a", &[]);
    until("it answers", || homes.run("a", &["status"]).exit == 0);
    ends_with_words(first);
    let status = homes.run("a", &["status", "--json"]);
    assert_eq!(status.exit, 0, "{}", status.stdout);
    second.stop();
}

#[test]
fn a_door_whose_socket_was_removed_opens_again() {
    let homes = Homes::new();
    homes.init("a");
    let running = homes.start("a", &[]);
    let invite = ["invite", "--sector", "s1", "--cluster", "c1", "--uses", "2"];
    let token = homes.run("a", &invite).stdout;
    let run = homes.path("a").join("run");
    let join = |name: &str| {
        let join = ["join", token.trim(), "--json", "--listen", "127.0.0.1:0"];
        homes.run(name, &join).json("chorus.join/1");
    };
    fs::remove_file(run.join("door.sock")).unwrap();
    join("b");
    assert!(running.log().contains("bound anew"), "{}", running.log());
    fs::remove_dir_all(&run).unwrap();
    join("c");
}
