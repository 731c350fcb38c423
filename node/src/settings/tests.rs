//! What is valid, and how a mistake is told.

use super::*;

fn read(flags: &[(&str, &str)]) -> Result<Settings, Failure> {
    let flags: Vec<_> = flags
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    let file = std::path::Path::new("/nonexistent/chorus.toml");
    Settings::of(layers::read(file, std::iter::empty(), &flags)?)
}

#[test]
fn the_defaults_are_those_of_the_protocol() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.gossip, gossip::Config::default());
    let memory = (settings.memory.copies, settings.memory.bytes_max);
    let plan = MemoryPlan::default();
    assert_eq!(memory, (plan.copies, plan.bytes_max));
    assert_eq!(settings.checkpoints, checkpoint::Config::default());
}

#[test]
fn a_bad_value_is_named_with_its_key_and_what_is_allowed() {
    for (key, value) in [
        ("net.listen", "here:1"),
        ("net.listen", "0.0.0.0:65532"),
        ("net.advertise", "a b"),
        ("net.advertise", "host:7400"),
        ("gossip.period_ms", "0"),
        ("gossip.period_ms", "soon"),
        ("gossip.phase_ttl_ms", "150"),
        ("phase.dt_s", "nan"),
        ("phase.dt_s", "1"),
        ("membership.rounds", "256"),
        ("membership.silence_ms", "199"),
        ("membership.silence_heartbeat_ms", "5000"),
        ("membership.ttl_ms", "11700"),
        ("memory.copies", "0"),
        ("memory.copies", "101"),
        ("memory.bytes_max", "1048575"),
        ("memory.bytes_max", "1GiB"),
        ("metrics.listen", "7409"),
        ("log.level", "loud"),
        ("node.role", "king"),
        ("node.name", "Bob"),
    ] {
        let failure = read(&[(key, value)]).unwrap_err();
        assert_eq!((failure.exit, failure.code.as_str()), (2, "bad_setting"));
        let allowed = KEYS.iter().find(|it| it.name == key).unwrap().allowed;
        for word in [key, value, allowed, "command line"] {
            assert!(failure.message.contains(word), "{word} in {failure}");
        }
    }
}

#[test]
fn where_two_values_disagree_both_are_named() {
    let failure = read(&[("gossip.period_ms", "900")]).unwrap_err();
    assert!(failure.message.contains("gossip.phase_ttl_ms = 1000"));
    assert_eq!(failure.hint, "gossip.period_ms is 900 (from command line)");
}

#[test]
fn the_layers_lie_on_one_another_and_say_so() {
    let dir = std::env::temp_dir().join(format!("chorus-layers-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("chorus.toml");
    std::fs::write(
        &file,
        "[gossip]\nperiod_ms = 50\nnews_ms = 60\nheartbeat_ms = 70\n[store]\n",
    )
    .unwrap();
    let environment = [
        ("CHORUS__GOSSIP__NEWS_MS", "61"),
        ("CHORUS__GOSSIP__HEARTBEAT_MS", "71"),
        ("CHORUS_DIR", "elsewhere"),
    ];
    let environment = environment.map(|(k, v)| (k.to_string(), v.to_string()));
    let flags = [("gossip.heartbeat_ms".to_string(), "72".to_string())];
    let values = layers::read(&file, environment.into_iter(), &flags).unwrap();
    let said = |key| (values[key].value.clone(), values[key].origin.to_string());
    let told = |n, origin: &str| (Value::Integer(n), origin.to_string());
    assert_eq!(said("gossip.phase_ttl_ms"), told(1000, "default"));
    assert_eq!(
        said("gossip.period_ms"),
        told(50, &file.display().to_string())
    );
    assert_eq!(said("gossip.news_ms"), told(61, "$CHORUS__GOSSIP__NEWS_MS"));
    assert_eq!(said("gossip.heartbeat_ms"), told(72, "command line"));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn ports_follow_from_the_first() {
    let ports = read(&[("net.listen", "[::1]:7400")]).unwrap().ports;
    let listed = [
        ports.router,
        ports.publisher,
        ports.subscriber,
        ports.memory,
        ports.door,
    ];
    assert_eq!(listed, [7400, 7401, 7402, 7403, 7404]);
    assert_eq!(
        read(&[("net.listen", "127.0.0.1:0")]).unwrap().ports.door,
        0
    );
}
