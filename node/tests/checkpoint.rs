//! Checkpoints of real processes (C6, C7): all but one are killed with SIGKILL and their disks deleted,
//! and the survivor gives back, byte for byte, the phase vector that every node printed
//! before; a flipped byte is refused; who lost or missed one is given it by its parent.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::{BRANCH, Process, enrol, found, until, whole};

/// Three sectors of two clusters each, as many agents in them as make `n` with those above.
fn posts(n: usize) -> Vec<(String, [String; 3])> {
    let post = |name: String, role: &str, sector: &str, cluster: &str| {
        (name, [role, sector, cluster].map(str::to_owned))
    };
    let mut posts = vec![post("operator".into(), "orchestrator", "hq", "hq")];
    for s in ["s1", "s2", "s3"] {
        posts.push(post(s.into(), "coordinator", s, s));
        for c in ["c1", "c2"] {
            posts.push(post(format!("{s}-{c}-lead"), "lead", s, c));
        }
    }
    for agent in 0..n.saturating_sub(posts.len()) {
        let (s, c) = (1 + agent % 3, 1 + agent / 3 % 2);
        let (sector, cluster) = (format!("s{s}"), format!("c{c}"));
        posts.push(post(
            format!("{sector}-{cluster}-a{agent}"),
            "agent",
            &sector,
            &cluster,
        ));
    }
    posts.truncate(n);
    posts
}

/// A mesh that makes a checkpoint every `period` seconds.
fn mesh(dir: &Path, posts: &[(String, [String; 3])], period: u32) -> Vec<Process> {
    let mut nodes: Vec<Process> = Vec::new();
    for (name, post) in posts {
        let mut node = Process::new(dir, name, None);
        match nodes.first() {
            None => found(&node, "127.0.0.1"),
            Some(operator) => {
                let post = [0, 1, 2].map(|at| post[at].as_str());
                enrol(operator, &node, post, &["127.0.0.1"]);
            }
        }
        settle(&node, period);
        node.start();
        nodes.push(node);
    }
    nodes
}

fn settle(node: &Process, period: u32) {
    let config = node.home.join("chorus.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        format!("{text}\n[memory]\ncheckpoint_s = {period}\n"),
    )
    .unwrap();
}

fn branch(dir: &Path, period: u32) -> Vec<Process> {
    let posts = BRANCH.map(|(name, post)| (name.to_owned(), post.map(str::to_owned)));
    mesh(dir, &posts, period)
}

/// What a `checkpoint` verb says, and its exit code.
fn checkpoint(node: &Process, words: &[&str]) -> (i32, Value) {
    let mut command = node.command();
    let output = command.arg("checkpoint").args(words).output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap_or(-1), said)
}

/// The epoch of the last durable one of `n` members, if that is what is here, and its CSV.
fn reconstructed(node: &Process, n: usize) -> Option<(u64, String)> {
    let out = node.home.with_extension("csv");
    let words = ["reconstruct", "--epoch", "last", "--out"];
    let (code, said) = checkpoint(node, &[&words[..], &[out.to_str().unwrap()]].concat());
    if code != 0 {
        assert_eq!(said["code"], "no_durable_epoch", "{said}");
        return None;
    }
    assert_eq!(
        (&said["verified"], &said["state"]),
        (&Value::Bool(true), &Value::from("durable"))
    );
    let whole = said["members"] == n && said["holders"] == n;
    let text = fs::read_to_string(out).unwrap();
    whole.then(|| (said["epoch"].as_u64().unwrap(), text))
}

/// Waits until all nodes give back one and the same durable epoch of all of them.
fn durable_everywhere(nodes: &[Process], limit: Duration) -> (u64, String) {
    let mut last = None;
    until("one durable epoch at every node", limit, || {
        let first = reconstructed(&nodes[0], nodes.len());
        let mut others = nodes.iter().map(|node| reconstructed(node, nodes.len()));
        let same = first.is_some() && others.all(|other| other == first);
        last = first.filter(|_| same);
        last.is_some()
    });
    last.unwrap()
}

fn files(node: &Process, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.home.join("checkpoints")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|it| it == suffix))
        .collect();
    paths.sort();
    paths
}

#[test]
fn the_last_survivor_gives_back_the_vector_that_every_node_printed() {
    // A new epoch must not come while all are asked for the last.
    let (n, period) = match std::env::var_os("CHORUS_SOAK") {
        Some(_) => (100, 60),
        None => (24, 15),
    };
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = mesh(dir.path(), &posts(n), period);
    whole(&nodes, "at first", Duration::from_secs(120));
    let (epoch, vector) = durable_everywhere(&nodes, Duration::from_secs(300));
    // The last is an agent.
    let mut survivor = nodes.pop().unwrap();
    nodes.iter_mut().for_each(Process::kill);
    nodes
        .iter()
        .for_each(|node| fs::remove_dir_all(&node.home).unwrap());
    assert_eq!(vector.lines().count(), n + 1);
    assert_eq!(reconstructed(&survivor, n), Some((epoch, vector.clone())));

    // The same of a home in which no node runs.
    survivor.terminate();
    assert_eq!(reconstructed(&survivor, n), Some((epoch, vector.clone())));
    let (code, said) = checkpoint(&survivor, &["verify"]);
    assert_eq!((code, &said["damaged"]), (0, &Value::from(0)), "{said}");
    one_flipped_byte_is_refused(&survivor);
    assert_eq!(reconstructed(&survivor, n), Some((epoch, vector)));
}

fn one_flipped_byte_is_refused(node: &Process) {
    let (copy, certificate) = (files(node, "copy"), files(node, "durable"));
    for file in [copy.last().unwrap(), certificate.last().unwrap()] {
        let sound = fs::read(file).unwrap();
        // `tests/tests/sim_checkpoint.rs` flips each byte there is.
        let step = sound.len().div_ceil(12);
        for at in (0..sound.len()).step_by(step).chain([sound.len() - 1]) {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x10;
            fs::write(file, bytes).unwrap();
            let (code, said) = checkpoint(node, &["reconstruct"]);
            let told = (code, &said["code"]);
            let expected = (1, &Value::from("checkpoint_damaged"));
            assert_eq!(told, expected, "byte {at} of {}: {said}", file.display());
            let (code, said) = checkpoint(node, &["verify"]);
            assert_eq!((code, &said["damaged"]), (1, &Value::from(1)), "{said}");
        }
        fs::write(file, sound).unwrap();
    }
}

#[test]
fn without_a_durable_epoch_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = branch(dir.path(), 3_600);
    for words in [&["reconstruct"][..], &["verify"], &["proof", "s1"]] {
        let (code, said) = checkpoint(&nodes[1], words);
        let told = (code, &said["code"]);
        assert_eq!(told, (1, &Value::from("no_durable_epoch")), "{said}");
        assert!(said["hint"].as_str().unwrap().contains("checkpoint show"));
    }
    let (code, said) = checkpoint(&nodes[1], &["show"]);
    assert_eq!(
        (code, &said["checkpoints"]),
        (0, &Value::from(Vec::<Value>::new()))
    );
    let (code, said) = checkpoint(&nodes[1], &["reconstruct", "--epoch", "7"]);
    assert_eq!((code, &said["code"]), (1, &Value::from("no_such_epoch")));
    assert_eq!(
        nodes[1].status().unwrap()["checkpoint"]["epoch"],
        Value::Null
    );
}

#[test]
fn a_side_that_lost_its_root_makes_branches_and_keeps_what_was_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = branch(dir.path(), 3);
    let (epoch, _) = durable_everywhere(&nodes, Duration::from_secs(120));
    let mut root = nodes.remove(0);
    root.kill();
    let newest = |node: &Process| {
        let (_, said) = checkpoint(node, &["reconstruct", "--branch"]);
        (said["state"] == "branch" && said["members"] == 3).then_some(said)
    };
    until("a branch at every node", Duration::from_secs(60), || {
        nodes.iter().all(|node| newest(node).is_some())
    });
    let said = newest(&nodes[2]).unwrap();
    assert_eq!(
        (&said["signer_name"], &said["verified"]),
        (&"s1".into(), &true.into())
    );
    let (code, last) = checkpoint(&nodes[2], &["reconstruct"]);
    assert_eq!(
        (code, &last["state"]),
        (0, &Value::from("durable")),
        "{last}"
    );
    assert!(last["epoch"].as_u64().unwrap() >= epoch);
    assert_eq!(last["members"], 4, "{last}");

    // The root comes back, and goes on above the branches' numbers.
    root.start();
    nodes.insert(0, root);
    let above = said["epoch"].as_u64().unwrap();
    until("a durable one above", Duration::from_secs(120), || {
        nodes
            .iter()
            .all(|node| reconstructed(node, nodes.len()).is_some_and(|(epoch, _)| epoch > above))
    });
}

#[test]
fn what_was_damaged_or_missed_comes_again_from_the_parent() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = branch(dir.path(), 4);
    let n = nodes.len();
    durable_everywhere(&nodes, Duration::from_secs(120));
    let agent = n - 1;
    nodes[agent].kill();
    // All that it has is damaged, each in another place.
    for (number, file) in files(&nodes[agent], "copy").iter().enumerate() {
        let mut bytes = fs::read(file).unwrap();
        let at = (number * 97 + 5) % bytes.len();
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
    }
    let (code, said) = checkpoint(&nodes[agent], &["reconstruct"]);
    assert_eq!(
        (code, &said["code"]),
        (1, &Value::from("checkpoint_damaged"))
    );
    nodes[agent].start();
    let limit = Duration::from_secs(60);
    until("it has a durable one again, and counts", limit, || {
        reconstructed(&nodes[agent], n).is_some()
    });
    let (code, said) = checkpoint(&nodes[agent], &["verify"]);
    assert_eq!((code, &said["damaged"]), (0, &Value::from(0)), "{said}");

    // One that joins later has the last one before it counts.
    let mut late = Process::new(dir.path(), "late", None);
    enrol(&nodes[0], &late, ["agent", "s1", "c1"], &["127.0.0.1"]);
    settle(&late, 4);
    late.start();
    nodes.push(late);
    durable_everywhere(&nodes, Duration::from_secs(120));

    // One member's record, proven to another node, and refused when it is bent.
    let (code, proof) = checkpoint(&nodes[0], &["proof", "late"]);
    assert_eq!(code, 0, "{proof}");
    let file = dir.path().join("proof.json");
    let path = file.to_str().unwrap();
    fs::write(&file, proof.to_string()).unwrap();
    let (code, said) = checkpoint(&nodes[2], &["verify", "--proof", path]);
    assert_eq!(
        (code, &said["root"], &said["name"]),
        (0, &proof["root"], &proof["name"])
    );
    let record = proof["record"].as_str().unwrap().to_owned();
    let mut bents = vec![
        proof
            .to_string()
            .replace(&record, &record.replace(['1', '2'], "3")),
    ];
    // What is said beside the bytes is refused too where it is another.
    for field in [
        "phase", "omega", "lamport", "epoch", "root", "branch", "holds",
    ] {
        let mut bent = proof.clone();
        assert!(!bent[field].is_null(), "{field}");
        bent[field] = "1".into();
        bents.push(bent.to_string());
    }
    for bent in bents {
        fs::write(&file, &bent).unwrap();
        let (code, said) = checkpoint(&nodes[2], &["verify", "--proof", path]);
        let refused = [Value::from("proof_refused"), "bad_proof".into()];
        assert!(
            code != 0 && refused.contains(&said["code"]),
            "{bent}: {said}"
        );
    }
}
