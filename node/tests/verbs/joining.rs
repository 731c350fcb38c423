//! `join` at the door of a real node: in, refused, and nobody there.

use crate::chorus::{Homes, Said, names};

fn invite(homes: &Homes, words: &[&str]) -> String {
    let place = ["invite", "--sector", "s1", "--cluster", "c1"];
    let said = homes.run("a", &[&place[..], words].concat());
    assert_eq!(said.exit, 0, "{}", said.stderr);
    said.stdout.trim().to_owned()
}

fn join(homes: &Homes, name: &str, token: &str) -> Said {
    homes.run(name, &["join", token, "--json", "--listen", "127.0.0.1:0"])
}

#[test]
fn a_token_lets_in_as_many_as_it_says_and_they_can_run() {
    let homes = Homes::new();
    homes.init("a");
    let _enroller = homes.start("a", &[]);
    let token = invite(&homes, &["--name", "b"]);

    // A home that cannot be made uses up no token.
    std::fs::create_dir(homes.path("blocked")).unwrap();
    std::fs::write(homes.path("blocked").join("run"), "").unwrap();
    join(&homes, "blocked", &token).failure(1, "home_io");

    let joined = join(&homes, "b", &token).json("chorus.join/1");
    assert_eq!(
        (&joined["name"], &joined["sector"]),
        (&"b".into(), &"s1".into())
    );
    join(&homes, "b", &token).failure(4, "home_used");

    join(&homes, "c", &token).failure(4, "token_used");
    assert!(!homes.path("c").exists());

    // Who was let in can run, and may not let in others.
    let _newcomer = homes.start("b", &[]);
    let said = homes.run(
        "b",
        &["invite", "--sector", "s", "--cluster", "c", "--json"],
    );
    said.failure(4, "not_an_enroller");
    // A setting that contradicts the roster keeps it from running.
    let said = homes.run("b", &["run", "--json", "--set", "node.name=x"]);
    let why = said.failure(2, "differs_from_roster");
    assert!(why["message"].as_str().unwrap().contains("`b`"), "{why}");
}

#[test]
fn two_that_only_connect_outward_fit_on_one_machine_and_listen_to_nobody_else() {
    let homes = Homes::new();
    homes.init("a");
    let _enroller = homes.start("a", &[]);
    let token = invite(&homes, &["--uses", "2"]);
    let mut running = Vec::new();
    for name in ["b", "c"] {
        let words = ["join", &token, "--name", name, "--json"];
        homes.run(name, &words).json("chorus.join/1");
        running.push(homes.start(name, &[]));
        let said = std::fs::read(homes.path(name).join("run/addresses.json")).unwrap();
        let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
        let router = said["router"].as_str().unwrap();
        assert!(router.starts_with("tcp://127.0.0.1:"), "{said}");
    }
}

#[test]
fn nobody_at_the_door_is_unreachable_and_nothing_is_written() {
    let homes = Homes::new();
    homes.init("a");
    // A port that nobody has: bound once, and free again.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let door = format!("{{\"door\": \"tcp://{}\"}}", free.local_addr().unwrap());
    drop(free);
    std::fs::write(homes.path("a").join("run/addresses.json"), door).unwrap();
    let token = invite(&homes, &[]);
    std::fs::create_dir(homes.path("b")).unwrap();
    join(&homes, "b", &token).failure(3, "unreachable");
    assert!(names(&homes.path("b")).is_empty());
    join(&homes, "c", &token).failure(3, "unreachable");
    assert!(!homes.path("c").exists());
}

#[test]
fn a_bad_token_is_told_what_is_wrong_with_it() {
    let homes = Homes::new();
    homes.init("a");
    let file = homes.path("a").join("run/addresses.json");
    std::fs::write(file, r#"{"door": "tcp://127.0.0.1:1"}"#).unwrap();
    let token = invite(&homes, &[]);
    let cut = &token[..token.len() - 8];
    let mut altered = token.clone().into_bytes();
    let at = altered.len() - 40;
    altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    for (bad, word) in [
        ("hello", "not a chorus token"),
        ("chorus2.AAAA", "version"),
        ("chorus1.A!", "does not belong"),
        (cut, "token"),
        (&altered, "altered"),
    ] {
        let why = join(&homes, "b", bad).failure(2, "bad_token");
        assert!(why["message"].as_str().unwrap().contains(word), "{why}");
    }
    assert!(!homes.path("b").exists());
}

#[test]
fn a_name_that_is_taken_is_refused_where_the_token_is_made() {
    let homes = Homes::new();
    homes.init("a");
    let _enroller = homes.start("a", &[]);
    join(&homes, "b", &invite(&homes, &["--name", "b"])).json("chorus.join/1");
    let ask = |words: &[&str]| {
        let place = ["invite", "--sector", "s1", "--cluster", "c1", "--json"];
        homes.run("a", &[&place[..], words].concat())
    };
    for taken in ["a", "b"] {
        let why = ask(&["--name", taken]).failure(4, "name_taken");
        assert!(why["message"].as_str().unwrap().contains(taken), "{why}");
    }
    // Several get numbers behind it.
    ask(&["--name", "b", "--uses", "2"]).json("chorus.invite/1");
    ask(&["--name", "c"]).json("chorus.invite/1");
    // Who was shut out has it no more.
    homes
        .run("a", &["revoke", "b", "--json"])
        .json("chorus.revoke/1");
    ask(&["--name", "b"]).json("chorus.invite/1");
}
