//! `init` and `invite`: what they make, what they refuse, and by which exit code.

use std::os::unix::fs::PermissionsExt;

use chorus_protocol::trust::Token;

use crate::chorus::{Homes, names};

const INVITE: [&str; 5] = ["invite", "--sector", "s1", "--cluster", "c1"];

fn said_bound(homes: &Homes, name: &str, port: u16) {
    let file = homes.path(name).join("run/addresses.json");
    std::fs::write(file, format!("{{\"door\": \"tcp://127.0.0.1:{port}\"}}")).unwrap();
}

#[test]
fn init_makes_a_home_whose_secrets_are_its_owners_alone() {
    let homes = Homes::new();
    let said = homes.init("a");
    assert_eq!(said["role"], "orchestrator");
    assert_eq!(said["node"].as_str().unwrap().len(), 64);
    let home = homes.path("a");
    for key in [
        "identity/node.key",
        "identity/curve.key",
        "operator/root.key",
    ] {
        let mode = std::fs::metadata(home.join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let config = std::fs::read_to_string(home.join("chorus.toml")).unwrap();
    assert!(config.contains("listen = \"127.0.0.1:0\""), "{config}");
    assert!(
        !config.contains("advertise"),
        "only what was given: {config}"
    );
}

#[test]
fn a_used_home_is_refused_and_stays_as_it_is() {
    let homes = Homes::new();
    homes.init("a");
    let key = homes.path("a").join("identity/node.key");
    let before = std::fs::read(&key).unwrap();
    let words = ["init", "--mesh", "m", "--name", "b"];
    homes
        .run("a", &[&words[..], &["--json"]].concat())
        .failure(4, "home_used");
    let in_words = homes.run("a", &words);
    assert_eq!((in_words.exit, in_words.stdout.as_str()), (4, ""));
    assert!(in_words.stderr.contains("hint:"), "{}", in_words.stderr);
    assert_eq!(std::fs::read(&key).unwrap(), before);
}

#[test]
fn what_is_left_of_a_node_without_its_key_is_not_taken_over() {
    let homes = Homes::new();
    homes.init("a");
    std::fs::remove_file(homes.path("a").join("identity/node.key")).unwrap();
    homes
        .run("a", &["init", "--mesh", "m", "--name", "a", "--json"])
        .failure(4, "home_used");
    assert!(homes.path("a").join("operator/root.key").exists());
}

#[test]
fn a_refused_init_leaves_nothing_behind() {
    let homes = Homes::new();
    for words in [
        ["--name", "No", "--sector", "s"],
        ["--name", "a", "--sector", "s/t"],
        ["--name", "a", "--role", "king"],
        ["--name", "a", "--role", "agent"],
        ["--name", "a", "--listen", "here"],
    ] {
        let words = [&["init", "--mesh", "m", "--json"][..], &words].concat();
        let said = homes.run("a", &words);
        assert_eq!(said.exit, 2, "{}", said.stdout);
        said.json("chorus.error/1");
    }
    assert!(!homes.path("a").exists());
}

#[test]
fn an_init_that_cannot_write_takes_away_what_it_made() {
    let homes = Homes::new();
    let home = homes.path("a");
    std::fs::create_dir(&home).unwrap();
    // A file where a folder must be.
    std::fs::write(home.join("run"), "").unwrap();
    homes
        .run("a", &["init", "--mesh", "m", "--name", "a", "--json"])
        .failure(1, "home_io");
    assert_eq!(names(&home), ["run"]);
}

#[test]
fn a_configuration_that_was_there_first_is_heeded_and_kept() {
    let homes = Homes::new();
    let file = homes.path("a").join("chorus.toml");
    let words = ["init", "--mesh", "m", "--name", "a", "--json"];
    std::fs::create_dir(homes.path("a")).unwrap();
    std::fs::write(&file, "[net]\nlisten = \"here\"\n").unwrap();
    homes.run("a", &words).failure(2, "bad_setting");
    let text = "[net]\nlisten = \"127.0.0.1:0\"\n";
    std::fs::write(&file, text).unwrap();
    let flags = ["--listen", "127.0.0.1:7000"];
    homes
        .run("a", &[&words[..], &flags].concat())
        .failure(2, "config_exists");
    assert_eq!(homes.run("a", &words).exit, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_configuration_that_the_same_words_wrote_is_gone_on_with() {
    let homes = Homes::new();
    let init = |listen| ["init", "--mesh=m", "--name=a", "--json", "--listen", listen];
    let (words, other) = (init("127.0.0.1:9"), init("127.0.0.1:8"));
    assert_eq!(homes.run("first", &words).exit, 0);
    // As a kill leaves it that came before there was a key.
    let (first, cut) = (homes.path("first"), homes.path("cut"));
    std::fs::create_dir(&cut).unwrap();
    std::fs::copy(first.join("chorus.toml"), cut.join("chorus.toml")).unwrap();
    homes.run("cut", &other).failure(2, "config_exists");
    assert_eq!(homes.run("cut", &words).exit, 0);
}

#[test]
fn invite_prints_only_a_token_that_says_what_was_asked() {
    let homes = Homes::new();
    let made = homes.init("a");
    said_bound(&homes, "a", 12_345);
    let words = [
        "--name", "b", "--role", "lead", "--cap", "enrol", "--uses", "3", "--ttl", "2h",
    ];
    let said = homes.run("a", &[&INVITE[..], &words].concat());
    assert_eq!(said.exit, 0, "{}", said.stderr);
    assert_eq!(said.stdout.lines().count(), 1);
    let token = Token::parse(said.stdout.trim()).unwrap();
    assert_eq!(token.enroller.to_string(), made["node"].as_str().unwrap());
    assert_eq!(token.mesh.to_string(), made["mesh"].as_str().unwrap());
    assert_eq!(token.doors, ["127.0.0.1:12345"]);
    assert_eq!((token.role.as_str(), token.uses), ("lead", 3));
    assert_eq!(token.place.sector.as_str(), "s1");
    let caps: Vec<&str> = token.caps.iter().map(|cap| cap.as_str()).collect();
    assert_eq!(caps, ["enrol"]);
}

#[test]
fn the_doors_of_a_token_are_the_advertised_hosts() {
    let homes = Homes::new();
    homes.init("a");
    said_bound(&homes, "a", 12_345);
    let set = ["--set", "net.advertise=a.lan,fd00::1", "--json"];
    let said = homes.run("a", &[&INVITE[..], &set].concat());
    let doors = &said.json("chorus.invite/1")["doors"];
    assert_eq!(
        *doors,
        serde_json::json!(["a.lan:12345", "[fd00::1]:12345"])
    );
}

#[test]
fn invite_works_while_a_node_holds_the_home() {
    let homes = Homes::new();
    homes.init("a");
    said_bound(&homes, "a", 12_345);
    let home = chorus_storage::Home::at(homes.path("a"));
    let _lock = home.lock().unwrap();
    let _store = chorus_storage::sled_store::open(&home.db()).unwrap();
    assert_eq!(homes.run("a", &INVITE).exit, 0);
}

#[test]
fn an_invitation_that_cannot_be_kept_is_not_made() {
    let homes = Homes::new();
    let json = |words: &[&str]| homes.run("a", &[&INVITE[..], words, &["--json"]].concat());
    json(&[]).failure(2, "no_node");
    homes.init("a");
    json(&[]).failure(1, "no_door");
    said_bound(&homes, "a", 12_345);
    for words in [
        ["--ttl", "1w"],
        ["--ttl", "0s"],
        ["--uses", "0"],
        ["--uses", "99999999999"],
        ["--role", "king"],
        ["--role", "orchestrator"],
        ["--cap", "bogus"],
    ] {
        let why = json(&words).failure(2, "bad_flag");
        assert!(why["message"].as_str().unwrap().contains(words[1]), "{why}");
    }
    for (words, allowed) in [
        (["--cap", "bogus"], "enrol"),
        (["--uses", "99999999999"], "1 to 10000"),
        (["--role", "orchestrator"], "coordinator, lead or agent"),
    ] {
        let why = json(&words).failure(2, "bad_flag");
        assert!(why["message"].as_str().unwrap().contains(allowed), "{why}");
    }
    std::fs::remove_file(homes.path("a").join("mesh/delegation")).unwrap();
    json(&[]).failure(4, "not_an_enroller");
}

#[test]
fn a_key_that_cannot_be_reached_is_told_from_one_that_is_not_there() {
    let homes = Homes::new();
    homes.init("a");
    let identity = homes.path("a").join("identity");
    // No mode keeps root out of a folder, but there is no way through a file for anybody.
    std::fs::rename(&identity, homes.path("a").join("aside")).unwrap();
    std::fs::write(&identity, "").unwrap();
    let key = identity.join("node.key").display().to_string();
    let init = ["init", "--mesh", "m", "--name", "a"];
    for words in [&INVITE[..], &["run"], &["up", "--token", "t"], &init] {
        let said = homes.run("a", &[words, &["--json"]].concat());
        let why = said.failure(1, "home_io");
        assert!(why["message"].as_str().unwrap().contains(&key), "{why}");
    }
    // The key itself, in whose place something else stands.
    std::fs::remove_file(&identity).unwrap();
    std::fs::create_dir_all(identity.join("node.key")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(identity.join("node.key"), mode).unwrap();
    let why = homes.run("a", &["run", "--json"]).failure(1, "home_io");
    assert!(why["message"].as_str().unwrap().contains(&key), "{why}");
}

#[test]
fn nobody_is_invited_whom_nobody_in_the_mesh_could_be_above() {
    let homes = Homes::new();
    let init = [
        "init",
        "--mesh",
        "m",
        "--name",
        "a",
        "--role",
        "coordinator",
    ];
    let at = ["--sector", "s1", "--listen", "127.0.0.1:0"];
    assert_eq!(homes.run("a", &[&init[..], &at].concat()).exit, 0);
    said_bound(&homes, "a", 12_345);
    let ask = |role, sector| {
        let words = ["invite", "--role", role, "--sector", sector];
        homes.run("a", &[&words[..], &["--cluster", "c1", "--json"]].concat())
    };
    ask("lead", "s1").json("chorus.invite/1");
    ask("agent", "s1").json("chorus.invite/1");
    for (role, sector) in [("coordinator", "s1"), ("lead", "s2"), ("agent", "s2")] {
        let why = ask(role, sector).failure(2, "bad_flag");
        let message = why["message"].as_str().unwrap();
        assert!(message.contains(role) && message.contains(sector), "{why}");
        let hint = why["hint"].as_str().unwrap();
        assert!(hint.contains("a, the coordinator"), "{why}");
    }
}
