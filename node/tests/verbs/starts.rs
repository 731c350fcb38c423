//! `doctor` on a home whose node does not run says what `run` would say there, and neither of
//! them, nor any other verb, writes in a home that belongs to another user.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::time::{Duration, Instant};

use serde_json::Value;

use chorus_storage::Home;

use crate::chorus::{Homes, names};

/// What `doctor` says of the start: its exit code, the grade and the words.
fn start(homes: &Homes, name: &str) -> (i32, String, String) {
    let said = homes.run(name, &["doctor", "--json"]);
    let told: Value = serde_json::from_str(said.stdout.lines().next().unwrap()).unwrap();
    let rows = told["checks"].as_array().unwrap();
    let row = rows.iter().find(|row| row["check"] == "start").unwrap();
    let text = |key: &str| row[key].as_str().unwrap().to_owned();
    (said.exit, text("grade"), text("detail") + &text("hint"))
}

fn fails(homes: &Homes, words: &[&str]) {
    let (exit, grade, said) = start(homes, "a");
    assert_eq!((exit, grade.as_str()), (1, "fail"), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn doctor_fails_where_run_would_refuse_or_wait() {
    let homes = Homes::new();
    homes.init("a");
    assert_eq!(start(&homes, "a").1, "ok");

    let file = homes.path("a").join("chorus.toml");
    let before = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{before}\n[node]\nrole = \"lead\"\n")).unwrap();
    fails(&homes, &["node.role", "take the setting out"]);
    let run = || homes.run("a", &["run", "--json"]);
    run().failure(2, "differs_from_roster");
    fs::write(&file, before).unwrap();

    let boot = homes.path("a").join("identity/boot");
    let before = fs::read(&boot).unwrap();
    fs::write(&boot, "garbage").unwrap();
    fails(&homes, &["identity/boot", "--above"]);
    fs::write(&boot, before).unwrap();
    assert_eq!(start(&homes, "a").1, "ok");

    homes.run("a", &["revoke", "a", "--force"]);
    fails(&homes, &["revoked", "new keys"]);
    run().failure(4, "revoked");
}

#[test]
fn a_start_waits_for_who_holds_the_home_for_a_moment() {
    let homes = Homes::new();
    homes.init("a");
    let held = Home::at(homes.path("a")).lock().unwrap();
    let freed = std::thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(held);
    });
    homes
        .start("a", &["--set", "net.listen=127.0.0.1:0"])
        .stop();
    freed.join().unwrap();
    let _held = Home::at(homes.path("a")).lock().unwrap();
    homes.run("a", &["run", "--json"]).failure(4, "home_busy");
}

#[test]
fn the_superuser_does_not_write_in_another_users_home() {
    let homes = Homes::new();
    homes.init("a");
    let home = homes.path("a");
    if fs::metadata(&home).unwrap().uid() != 0 {
        println!(
            "skipped: the_superuser_does_not_write_in_another_users_home only the superuser could"
        );
        return;
    }
    let before = names(&home);
    chown(&home, Some(65_532), None).unwrap();
    fs::remove_file(home.join("lock")).unwrap();
    let why = homes
        .run("a", &["run", "--json"])
        .failure(2, "not_the_owner");
    let hint = why["hint"].as_str().unwrap();
    assert!(hint.contains("sudo -u '#65532' chorus"), "{why}");
    fails(&homes, &["65532", "sudo -u"]);
    homes
        .run("a", &["revoke", "a", "--force", "--json"])
        .failure(2, "not_the_owner");
    assert!(!home.join("lock").exists(), "something was written");

    // Nor is one made in a folder that is somebody else's.
    let empty = homes.path("empty");
    fs::create_dir(&empty).unwrap();
    chown(&empty, Some(65_532), None).unwrap();
    let words = ["init", "--mesh", "m", "--name", "b", "--json"];
    homes.run("empty", &words).failure(2, "not_the_owner");
    assert!(names(&empty).is_empty());

    chown(&home, Some(0), None).unwrap();
    homes.start("a", &[]).stop();
    let after = names(&home);
    assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
}
