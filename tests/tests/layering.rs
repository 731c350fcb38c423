//! Layering: in `protocol <- storage <- actors <- node` no crate depends on one to its right.
//!
//! Read from `cargo metadata`, so that it holds for what is built and not for what
//! somebody meant to write.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The crates from left to right. A crate may depend on those left of it only.
const ORDER: [&str; 5] = [
    "chorus-protocol",
    "chorus-storage",
    "chorus-actors",
    "chorus-node",
    "chorus-tests",
];

/// What a crate must never name, on its own or through those left of it.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    (
        "chorus-protocol",
        &[
            "tokio",
            "ractor",
            "zmq",
            "zmq-sys",
            "sled",
            "libp2p",
            "getrandom",
            "rand",
            "rustix",
        ],
    ),
    (
        "chorus-storage",
        &[
            "tokio",
            "ractor",
            "zmq",
            "zmq-sys",
            "libp2p",
            "getrandom",
            "rand",
        ],
    ),
    ("chorus-actors", &["clap", "ratatui", "axum", "config"]),
];

/// For each workspace crate: the names that it depends on when it is built. What only
/// its tests or its build script use is no part of a layer.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let used = package["dependencies"].as_array().expect("dependencies");
            let built = used
                .iter()
                .filter(|dependency| dependency["kind"].is_null());
            let names = built.map(|dependency| text(&dependency["name"])).collect();
            (text(&package["name"]), names)
        })
        .collect()
}

/// What stands at `name` or left of it: its own dependencies and, through workspace
/// crates, theirs.
fn reached<'a>(
    name: &str,
    all: &'a BTreeMap<String, BTreeSet<String>>,
    seen: &mut BTreeSet<&'a str>,
) {
    for dependency in all.get(name).into_iter().flatten() {
        if seen.insert(dependency) {
            reached(dependency, all, seen);
        }
    }
}

#[test]
fn every_workspace_crate_has_its_place() {
    let all = dependencies();
    let mut expected: BTreeSet<&str> = ORDER.into();
    // The bindings stand below `actors` and know nothing of the mesh.
    expected.insert("zmq-sys");
    assert_eq!(
        all.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        expected
    );
    assert!(
        all["zmq-sys"]
            .iter()
            .all(|name| !name.starts_with("chorus-"))
    );
}

#[test]
fn no_crate_depends_on_one_to_its_right() {
    let all = dependencies();
    for (place, name) in ORDER.iter().enumerate() {
        for dependency in &all[*name] {
            let theirs = ORDER.iter().position(|other| other == dependency);
            assert!(
                theirs.is_none_or(|theirs| theirs < place),
                "{name} must not depend on {dependency}: it stands to its right"
            );
        }
    }
}

/// What carries memory on the wire is one crate's business; `tidy` holds it to one folder.
#[test]
fn only_actors_depends_on_libp2p() {
    for (name, used) in dependencies() {
        let found = used.iter().find(|used| used.starts_with("libp2p"));
        assert_eq!(
            found.is_some(),
            name == "chorus-actors",
            "{name}: {found:?}"
        );
    }
}

#[test]
fn no_crate_names_what_belongs_to_another_layer() {
    let all = dependencies();
    for (name, forbidden) in FORBIDDEN {
        let mut seen = BTreeSet::new();
        reached(name, &all, &mut seen);
        for bad in forbidden {
            assert!(!seen.contains(bad), "{name} must not depend on {bad}");
        }
    }
}
