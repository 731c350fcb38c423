//! Damage on a minority (row N7, fault 12): bits are flipped and ends cut off in the files of
//! the store and the journal of two nodes of five, of one that runs and of one that does not.
//! Nothing damaged is ever served; started again they say what they found, are given back
//! all that was acknowledged, and hold what the others hold.

mod support;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::{Post, Process, mesh, until, whole};

const FIVE: [Post; 5] = [
    ("operator", ["orchestrator", "hq", "hq"]),
    ("s1", ["coordinator", "s1", "s1"]),
    ("s2", ["coordinator", "s2", "s2"]),
    ("s1-c1-lead", ["lead", "s1", "c1"]),
    ("s2-c1-a1", ["agent", "s2", "c1"]),
];
/// With values of this size, more than sled keeps in memory: a running node reads its files.
const KEYS: usize = 1_500;
const VALUE_BYTES: usize = 9_000;

fn rounds() -> u64 {
    match std::env::var_os("CHORUS_SOAK") {
        Some(_) => 30,
        None => 4,
    }
}

/// Numbers from a seed.
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }
}

fn seed() -> u64 {
    let given = std::env::var("CHORUS_SEED").ok();
    let given = given.and_then(|it| it.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}: CHORUS_SEED={seed} draws the same again");
    seed
}

/// Every file with something in it, in a fixed order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let bytes = fs::metadata(&path).map_or(0, |it| it.len());
        match () {
            () if path.is_dir() => found.extend(files(&path)),
            () if bytes > 0 && !path.ends_with("ballast") => found.push(path),
            () => {}
        }
    }
    found.sort();
    found
}

/// Does some harm to the files of a home, in place: the node may have them open.
fn harm(home: &Path, drawn: &mut Drawn) -> String {
    let mut all = files(&home.join("db"));
    // Mostly the log: everything else is small beside it.
    let log = home.join("db/db");
    all.extend(files(&home.join("journal")));
    let path = match drawn.below(3) {
        0 => all[drawn.below(all.len())].clone(),
        _ => log,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let bytes = fs::read(&path).unwrap();
    if drawn.below(4) == 0 {
        let cut = 1 + drawn.below(bytes.len().min(4096));
        file.set_len((bytes.len() - cut) as u64).unwrap();
        return format!("{cut} bytes cut from {}", path.display());
    }
    // Much of a log is padding: bytes that are in use are aimed at.
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    if used.is_empty() {
        return format!("nothing in {}", path.display());
    }
    let many = 1 + drawn.below(8);
    for _ in 0..many {
        let at = used[drawn.below(used.len())];
        let bit = 1 << drawn.below(8);
        file.write_all_at(&[bytes[at] ^ bit], at as u64).unwrap();
    }
    format!("{many} bits flipped in {}", path.display())
}

/// The value of a key: a line of JSON that says whose it is.
fn line(n: usize) -> String {
    format!(
        "{{\"id\":\"k{n}\",\"text\":\"{}\"}}",
        format!("{n} ").repeat(VALUE_BYTES / 6)
    )
}

struct Said {
    exit: i32,
    stdout: String,
    stderr: String,
}

fn memory(node: &Process, words: &[&str]) -> Said {
    let mut command = node.command();
    let output = command.arg("memory").args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said {
        exit: output.status.code().expect("it was not killed"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn digest(node: &Process) -> Option<Value> {
    let status = node.status()?;
    Some(status["memory"]["digest"].clone()).filter(|it| it.is_string())
}

fn of_one_mind(nodes: &[Process], when: &str) {
    until(
        &format!("of one mind {when}"),
        Duration::from_secs(120),
        || {
            let all: Vec<_> = nodes.iter().map(digest).collect();
            all[0].is_some() && all.iter().all(|it| *it == all[0])
        },
    );
}

/// Whatever a node with damaged files says is right, or that something is not. One that was
/// started again may not have been given all of it yet.
fn serves_nothing_damaged(
    node: &Process,
    had_all: bool,
    truth: &BTreeSet<String>,
    drawn: &mut Drawn,
    harm: &str,
) {
    for _ in 0..20 {
        let n = drawn.below(KEYS);
        let got = memory(node, &["get", &format!("k{n}"), "--local"]);
        if got.exit == 0 {
            let json: Value = serde_json::from_str(&got.stdout).unwrap();
            let values = json["values"].as_array().unwrap();
            assert_eq!(values.len(), 1, "{harm}: {}", got.stdout);
            assert!(
                truth.contains(&values[0]["value"].to_string()),
                "{harm}: k{n}"
            );
        } else {
            assert!(
                [1, 3].contains(&got.exit),
                "{harm}: {} {}",
                got.exit,
                got.stdout
            );
        }
    }
    let export = memory(node, &["export"]);
    for line in export.stdout.lines() {
        assert!(
            truth.contains(line) || line.contains("\"chorus.error/1\""),
            "{harm}: {line}"
        );
    }
    assert!(
        [0, 3, 5].contains(&export.exit),
        "{harm}: {} {}",
        export.exit,
        export.stderr
    );
    let whole = export.stdout.lines().count() == truth.len();
    assert!(
        export.exit != 0 || whole || !had_all,
        "{harm}: {}",
        export.stderr
    );
    let verify = memory(node, &["verify"]);
    assert!(
        [0, 3, 5].contains(&verify.exit),
        "{harm}: {} {}",
        verify.exit,
        verify.stdout
    );
    if verify.exit == 5 {
        let json: Value = serde_json::from_str(&verify.stdout).unwrap();
        let (many, named) = (&json["damaged"], json["damaged_at"].as_array().unwrap());
        assert!(
            many.as_u64() > Some(0) && !named.is_empty(),
            "{harm}: {json}"
        );
    }
}

#[test]
fn damage_on_a_minority_is_never_served_and_loses_nothing() {
    let seed = seed();
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = mesh(dir.path(), &FIVE);
    let lines: Vec<String> = (0..KEYS).map(line).collect();
    let file = dir.path().join("memory.jsonl");
    fs::write(&file, lines.join("\n")).unwrap();
    let truth: BTreeSet<String> = lines.into_iter().collect();
    let file = file.to_str().unwrap();
    let import = memory(&nodes[1], &["import", file, "--key", "id"]);
    assert_eq!(import.exit, 0, "{}", import.stderr);
    of_one_mind(&nodes, "at first");
    let mut said = 0;
    for round in 0..rounds() {
        let drawn = &mut Drawn(seed.wrapping_add(round << 32));
        let resting = drawn.below(nodes.len());
        let running = (resting + 1 + drawn.below(nodes.len() - 1)) % nodes.len();
        nodes[resting].kill();
        let mut harms = Vec::new();
        for at in [resting, running] {
            for _ in 0..1 + drawn.below(4) {
                let harm = harm(&nodes[at].home, drawn);
                harms.push(format!("{}: {harm}", nodes[at].name));
            }
        }
        let harms = format!("round {round}: {}", harms.join("; "));
        println!("{harms}");
        serves_nothing_damaged(&nodes[running], true, &truth, drawn, &harms);
        nodes[running].kill();
        for at in [resting, running] {
            let log = nodes[at].home.with_extension("log");
            let before = fs::read_to_string(&log).unwrap().len();
            nodes[at].start();
            let now = fs::read_to_string(&log).unwrap();
            said += usize::from(now[before..].contains("damaged"));
        }
        serves_nothing_damaged(&nodes[resting], false, &truth, drawn, &harms);
        whole(&nodes, &harms, Duration::from_secs(60));
        of_one_mind(&nodes, &harms);
        for at in [resting, running] {
            let verify = memory(&nodes[at], &["verify"]);
            assert_eq!(verify.exit, 0, "{harms}: {}", verify.stdout);
            let export = memory(&nodes[at], &["export"]);
            let held: BTreeSet<String> = export.stdout.lines().map(str::to_owned).collect();
            assert_eq!(export.exit, 0, "{harms}: {}", export.stderr);
            assert!(held == truth, "{harms}: {} of {}", held.len(), truth.len());
        }
    }
    println!("{said} starts said that something was damaged");
    assert!(said > 0, "no harm was met: nothing is shown");
}

#[test]
fn a_running_node_names_the_damage_that_it_meets_and_ends_with_its_next_write() {
    // Far more than sled keeps in memory.
    const MANY: usize = 5_000;
    let drawn = &mut Drawn(seed());
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = mesh(dir.path(), &FIVE[..2]);
    let lines: Vec<String> = (0..MANY).map(line).collect();
    let file = dir.path().join("memory.jsonl");
    fs::write(&file, lines.join("\n")).unwrap();
    let truth: BTreeSet<String> = lines.into_iter().collect();
    let words = ["import", file.to_str().unwrap(), "--key", "id"];
    assert_eq!(memory(&nodes[0], &words).exit, 0);
    of_one_mind(&nodes, "at first");
    // What it wrote in this run it would have in memory.
    nodes[1].terminate();
    nodes[1].start();
    let log = nodes[1].home.join("db/db");
    let file = OpenOptions::new().write(true).open(&log).unwrap();
    let bytes = fs::read(&log).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    for _ in 0..100 {
        let at = used[drawn.below(used.len())];
        file.write_all_at(&[bytes[at] ^ 4], at as u64).unwrap();
    }
    let verify = memory(&nodes[1], &["verify"]);
    let json: Value = serde_json::from_str(&verify.stdout).unwrap();
    assert_eq!((verify.exit, &json["ok"]), (5, &false.into()), "{json}");
    let named = json["damaged_at"].as_array().unwrap().len();
    println!(
        "{} damaged, {named} named, {} keys",
        json["damaged"], json["keys"]
    );
    assert!(named > 0 && json["keys"].as_u64() > Some(MANY as u64 / 2));
    assert_eq!(
        json["bad_total"], 0,
        "what is damaged is not served: {json}"
    );
    let export = memory(&nodes[1], &["export"]);
    assert!([3, 5].contains(&export.exit), "{}", export.stderr);
    let lines = export.stdout.lines();
    let wrong = lines.filter(|it| !truth.contains(*it) && !it.contains("chorus.error/1"));
    assert_eq!(wrong.count(), 0);

    // A write would be acknowledged and gone at the next start.
    assert_ne!(memory(&nodes[1], &["put", "more", "1"]).exit, 0);
    let mut code = None;
    until("it ends by itself", Duration::from_secs(20), || {
        code = code.or(nodes[1].ended());
        code.is_some()
    });
    let said = fs::read_to_string(nodes[1].home.with_extension("log")).unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("damaged"), "{said}");
    nodes[1].start();
    of_one_mind(&nodes, "after the damage");
    assert_eq!(memory(&nodes[1], &["verify"]).exit, 0);
    let export = memory(&nodes[1], &["export"]);
    let held: BTreeSet<String> = export.stdout.lines().map(str::to_owned).collect();
    assert!(held == truth, "{} of {MANY}", held.len());
}
