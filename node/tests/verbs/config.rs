//! `config`: what counts, where it comes from, and what is refused.

use serde_json::{Value, json};

use crate::chorus::{Homes, until};

fn with_file(text: &str) -> Homes {
    let homes = Homes::new();
    std::fs::create_dir(homes.path("a")).unwrap();
    std::fs::write(homes.path("a").join("chorus.toml"), text).unwrap();
    homes
}

#[test]
fn show_says_where_each_value_comes_from() {
    let homes = with_file("[gossip]\nperiod_ms = 50\nnews_ms = 900\n[phase]\ncoupling = 3\n");
    let words = [
        "config",
        "show",
        "--json",
        "--set",
        "net.listen=127.0.0.1:0",
    ];
    let said = homes.run_with("a", &words, &[("CHORUS__GOSSIP__NEWS_MS", "800")]);
    assert_eq!(said.exit, 0, "{}", said.stdout);
    let shown = said.json("chorus.config/1");
    let find = |key: &str| -> (Value, String) {
        let values = shown["values"].as_array().unwrap();
        let value = values.iter().find(|it| it["key"] == key).unwrap();
        (
            value["value"].clone(),
            value["origin"].as_str().unwrap().to_owned(),
        )
    };
    let file = homes.path("a").join("chorus.toml").display().to_string();
    assert_eq!(find("gossip.period_ms"), (json!(50), file.clone()));
    assert_eq!(find("phase.coupling"), (json!(3.0), file));
    assert_eq!(
        find("gossip.news_ms"),
        (json!(800), "$CHORUS__GOSSIP__NEWS_MS".into())
    );
    assert_eq!(
        find("net.listen"),
        (json!("127.0.0.1:0"), "command line".into())
    );
    assert_eq!(find("gossip.heartbeat_ms"), (json!(5000), "default".into()));
}

#[test]
fn a_bad_value_names_key_value_layer_and_what_is_allowed() {
    let homes = with_file("[gossip]\nphase_ttl_ms = 120\n");
    let why = homes
        .run("a", &["config", "check", "--json"])
        .failure(2, "bad_setting");
    let message = why["message"].as_str().unwrap();
    for word in [
        "gossip.phase_ttl_ms",
        "120",
        "1.5 gossip.period_ms",
        "chorus.toml",
    ] {
        assert!(message.contains(word), "{word} in {message}");
    }
    let words = homes.run("a", &["config", "check"]);
    assert_eq!((words.exit, words.stdout.as_str()), (2, ""));
    assert!(words.stderr.contains("gossip.phase_ttl_ms"));
}

#[test]
fn unknown_keys_are_refused_in_every_layer() {
    let file = with_file("[gossip]\nperiod = 100\n");
    let check = ["config", "check", "--json"];
    let why = file.run("a", &check).failure(2, "unknown_setting");
    assert!(why["hint"].as_str().unwrap().contains("gossip.period_ms"));
    let section = with_file("[gosip]\nperiod_ms = 100\n");
    section.run("a", &check).failure(2, "unknown_setting");
    let plain = with_file("");
    plain
        .run_with("a", &check, &[("CHORUS__GOSSIP__PERIOD", "100")])
        .failure(2, "unknown_setting");
    let set = ["--set", "gossip.period=100"];
    plain
        .run("a", &[&check[..], &set].concat())
        .failure(2, "unknown_setting");
    assert_eq!(plain.run("a", &check).exit, 0);
}

#[test]
fn unknown_settings_are_refused_by_verbs_that_read_none_too() {
    let homes = Homes::new();
    homes.init("a");
    let asked = |words: &[&str], environment: &[(&str, &str)]| {
        homes.run_with("a", &[words, &["--json"]].concat(), environment)
    };
    let why = |said: crate::chorus::Said| {
        let why = said.failure(2, "unknown_setting");
        let text = |key: &str| why[key].as_str().unwrap().to_owned();
        (text("message"), text("hint"))
    };
    for verb in ["status", "peers"] {
        let (message, hint) = why(asked(&[verb, "--set", "foo.bar=1"], &[]));
        assert!(message.contains("`foo.bar`"), "{message}");
        assert!(hint.contains("chorus config show"), "{hint}");
        let (message, _) = why(asked(&[verb], &[("CHORUS__FOO__BAR", "1")]));
        assert!(message.contains("$CHORUS__FOO__BAR"), "{message}");
    }
    // What is no path of keys is no setting either.
    let (message, _) = why(asked(&["config", "check", "--set", "net[0]=1"], &[]));
    assert!(message.contains("`net[0]`"), "{message}");
    let (_, hint) = why(asked(
        &["config", "check", "--set", "network.listen=1"],
        &[],
    ));
    assert!(hint.contains("net.listen"), "{hint}");
    // Meant as a setting, but for the underscores.
    for variable in ["CHORUS_NET_LISTEN", "CHORUS_NET__LISTEN"] {
        let (message, hint) = why(asked(&["status"], &[(variable, "127.0.0.1:0")]));
        assert!(message.contains(variable), "{message}");
        assert!(hint.contains("CHORUS__NET__LISTEN"), "{hint}");
    }
    // Other people's: scripts, compose files, services of that name in a cluster.
    let others = [
        ("CHORUS_DIR", "elsewhere"),
        ("CHORUS_IMAGE", "chorus:latest"),
        ("CHORUS_SOAK", "1"),
        ("CHORUS_PORT_7400_TCP", "tcp://10.0.0.1:7400"),
        ("CHORUS_METRICS_SERVICE_HOST", "10.0.0.2"),
    ];
    asked(&["status"], &others).failure(3, "not_running");
    assert_eq!(asked(&["config", "check"], &others).exit, 0);
}

#[test]
fn a_home_whose_file_is_gone_does_not_start_elsewhere_and_an_empty_one_is_warned_of() {
    let homes = Homes::new();
    homes.init("a");
    let file = homes.path("a").join("chorus.toml");
    let row = || {
        let told = homes
            .run("a", &["doctor", "--json"])
            .json("chorus.doctor/1");
        let rows = told["checks"].as_array().unwrap().clone();
        let row = rows.into_iter().find(|row| row["check"] == "configuration");
        row.unwrap()
    };
    assert_eq!(row()["grade"], "ok");
    std::fs::remove_file(&file).unwrap();
    for words in [&["config", "check"][..], &["run"], &["up"]] {
        let said = homes.run("a", &[words, &["--json"]].concat());
        let why = said.failure(2, "no_config");
        assert!(why["hint"].as_str().unwrap().contains("[net]"), "{why}");
    }
    assert_eq!(row()["grade"], "fail");
    std::fs::write(&file, "").unwrap();
    assert_eq!(row()["grade"], "warn");
    let running = homes.start("a", &["--set", "net.listen=127.0.0.1:0"]);
    until("it warns", || {
        running.log().contains("the configuration is empty")
    });
    running.stop();
    // A comment says that defaults are meant.
    std::fs::write(&file, "# all defaults\n").unwrap();
    assert_eq!(row()["grade"], "ok");
    // Where nobody lives yet, no file is needed.
    assert_eq!(homes.run("b", &["config", "check"]).exit, 0);
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    let homes = with_file("[net]\nlisten = \n");
    let why = homes
        .run("a", &["config", "check", "--json"])
        .failure(2, "bad_config");
    assert!(why["message"].as_str().unwrap().contains("line 2"), "{why}");
}

#[test]
fn a_wrong_command_line_is_an_object_too() {
    let homes = Homes::new();
    homes.run("a", &["confg", "--json"]).failure(2, "usage");
    let help = homes.run("a", &["--help"]);
    assert_eq!(help.exit, 0);
    for verb in ["init", "invite", "join", "config"] {
        let help = homes.run("a", &[verb, "--help"]);
        assert!(help.stdout.contains("Example:"), "{verb}");
    }
}
