//! `checkpoint reconstruct --from`: a checkpoint of 3,001 members in fragments, as homes that
//! are left hold them. Any 150 give back the very vector; 149 do not; what is damaged, of
//! another mesh or there twice is left out and said.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use chorus_protocol::ids::{Digest, MeshId, NodeId};
use chorus_protocol::memory::checkpoint::copy::{numbers, plan};
use chorus_protocol::memory::checkpoint::{
    Certificate, Kind, Name, Part, Record, Row, Seal, Stem, What, Whole, coding,
};
use chorus_protocol::units::{Noise, Seeded};
use chorus_protocol::wire::Identity;
use chorus_storage::checkpoints::Checkpoints;
use chorus_storage::home::read_key;
use chorus_storage::{Home, home};
use serde_json::Value;
use support::{Process, found};

const MEMBERS: usize = 3_001;
const NEEDED: usize = 150;
const EPOCH: u64 = 41;

/// A checkpoint of a mesh, signed by its first node alone.
fn part(top: &Identity, mesh: &MeshId, epoch: u64) -> Part {
    let mut noise = Seeded::new(epoch);
    let mut row = |node| Row {
        node,
        holds: true,
        record: Record {
            phase: noise.uniform(),
            omega: 6.0 + noise.uniform(),
            lamport: epoch,
        },
    };
    let mut rows = vec![row(top.id())];
    let mut names = Seeded::new(1);
    rows.extend((1..MEMBERS).map(|_| row(NodeId(std::array::from_fn(|_| names.bits() as u8)))));
    let stem = Stem {
        kind: Kind::Whole,
        epoch,
        parent: Digest([1; 32]),
        roster: Digest([2; 32]),
        live: MEMBERS as u32,
    };
    Part::open(&Part::seal(top, mesh, stem, rows, &[]), mesh).unwrap()
}

fn certificate(top: &Identity, mesh: &MeshId, part: &Part) -> Vec<u8> {
    let header = part.header();
    let certificate = Certificate {
        epoch: header.epoch,
        signer: header.signer,
        root: header.root,
        holders: MEMBERS as u32,
        members: MEMBERS as u32,
    };
    certificate.seal(top, mesh)
}

/// Homes that hold one fragment each, and a certificate; and the vector as CSV.
fn homes(
    dir: &Path,
    top: &Identity,
    mesh: &MeshId,
    wanted: impl Iterator<Item = u32>,
) -> (Vec<PathBuf>, String) {
    let part = part(top, mesh, EPOCH);
    let rows = part.members().iter().map(Row::to_csv);
    let csv = rows.fold("node,phase,omega,lamport\n".into(), |text, row| {
        text + row.as_str() + "\n"
    });
    let name = Name::of(part.header());
    let durable = certificate(top, mesh, &part);
    let wanted: Vec<u32> = wanted.collect();
    let plan = plan(&part, NEEDED).unwrap();
    let coded = coding::encode(part.bytes(), &plan, &wanted.iter().copied().collect()).unwrap();
    let seal = Seal {
        fragments: coded.root,
        plan,
        members: MEMBERS,
    };
    let sealed = seal.seal(part.signed(), top, mesh);
    let whole = Whole::sealed(part, seal, sealed);
    let holders = whole.part().holders().zip(0..);
    let whose = holders.filter(|(_, number)| wanted.contains(number));
    let whose = numbers(whole.part(), &whose.map(|(row, _)| row.node).collect());
    let fragments = whole.fragments(&coded, &whose).unwrap();
    let write = |(number, bytes): (u32, &std::sync::Arc<[u8]>)| {
        let home = dir.join(format!("{number}"));
        fs::create_dir_all(&home).unwrap();
        let files = Checkpoints::of(&Home::at(&home));
        files.write(&name, What::Copy, bytes).unwrap();
        files.write(&name, What::Certificate, &durable).unwrap();
        home
    };
    let numbered = whose.iter().map(|(node, at)| (*at, &fragments[node]));
    (numbered.map(write).collect(), csv)
}

/// What `checkpoint reconstruct` says, its exit code, and the CSV.
fn reconstruct(node: &Process, from: &[PathBuf]) -> (i32, Value, String) {
    let out = node.home.with_extension("csv");
    let _ = fs::remove_file(&out);
    let mut command = node.command();
    command
        .args(["checkpoint", "reconstruct", "--out"])
        .arg(&out);
    if !from.is_empty() {
        command.arg("--from").args(from);
    }
    let output = command.output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let csv = fs::read_to_string(out).unwrap_or_default();
    (output.status.code().unwrap_or(-1), said, csv)
}

fn shown(node: &Process) -> Vec<Value> {
    let output = node.command().args(["checkpoint", "show"]).output();
    let said: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    said["checkpoints"].as_array().unwrap().clone()
}

fn only_copy(home: &Path) -> PathBuf {
    let files = fs::read_dir(home.join("checkpoints")).unwrap();
    let mut files = files.map(|it| it.unwrap().path());
    files
        .find(|it| it.extension().is_some_and(|it| it == "copy"))
        .unwrap()
}

#[test]
fn any_that_are_enough_give_the_vector_back_and_fewer_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Process::new(dir.path(), "operator", None);
    found(&node, "127.0.0.1");
    let home = Home::at(&node.home);
    let top = Identity::from_seed(&read_key(&home.node_key()).unwrap());
    let root = Identity::from_seed(&read_key(&home.root_key()).unwrap());
    let mesh = chorus_protocol::trust::mesh_of(&root.id());
    let left = dir.path().join("left");
    // Every third, so that most are none of the bytes themselves.
    let (homes, csv) = homes(&left, &top, &mesh, (0..160).map(|at| at * 3));
    let (code, said, _) = reconstruct(&node, &[]);
    assert_eq!((code, &said["code"]), (1, &Value::from("no_durable_epoch")));

    let (code, said, given) = reconstruct(&node, &homes[10..]);
    assert_eq!(code, 0, "{said}");
    assert!(given == csv, "another vector");
    assert_eq!(said["state"], "durable", "{said}");
    assert_eq!(said["rebuilt"]["of"], "fragments", "{said}");
    let (code, said, given) = reconstruct(&node, &homes[11..]);
    assert_eq!(
        (code, &said["code"], given.as_str()),
        (1, &Value::from("too_few_fragments"), ""),
        "{said}"
    );
    assert!(
        said["message"].as_str().unwrap().contains("149 of the 150"),
        "{said}"
    );

    // Damaged, the same twice (its folder of files this time), and of another mesh.
    let bent = only_copy(&homes[0]);
    let mut bytes = fs::read(&bent).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&bent, &bytes).unwrap();
    let other = MeshId([7; 32]);
    let (foreign, _) = self::homes(&dir.path().join("foreign"), &top, &other, 0..1);
    let twice = homes[20].join("checkpoints");
    let more = [homes[..1].to_vec(), foreign, vec![twice]].concat();
    let (code, said, _) = reconstruct(&node, &[&homes[11..], &more].concat());
    assert_eq!(
        (code, &said["code"]),
        (1, &Value::from("too_few_fragments"))
    );
    let (code, said, given) = reconstruct(&node, &[&homes[10..], &more].concat());
    assert_eq!(code, 0, "{said}");
    assert!(given == csv, "another vector");
    let rebuilt = &said["rebuilt"];
    assert_eq!(
        (&rebuilt["refused"], &rebuilt["twice"]),
        (&2.into(), &1.into())
    );

    // One that is in the own home is shown as what it is, and counts; a node that runs reads
    // the others itself.
    home::make_dir(&node.home.join("checkpoints")).unwrap();
    let own = only_copy(&homes[10]);
    for file in [own.clone(), own.with_extension("durable")] {
        let name = file.file_name().unwrap();
        fs::copy(&file, node.home.join("checkpoints").join(name)).unwrap();
    }
    let row = &shown(&node)[0];
    assert_eq!(
        (&row["held"], &row["members"]),
        (&"fragment".into(), &MEMBERS.into())
    );
    assert_eq!(
        row["fragment"],
        serde_json::json!({"number": 30, "needed": 150})
    );
    let (code, said, _) = reconstruct(&node, &[]);
    assert_eq!(
        (code, &said["code"]),
        (1, &Value::from("only_a_fragment")),
        "{said}"
    );
    let (code, _, given) = reconstruct(&node, &homes[11..]);
    assert_eq!((code, given == csv), (0, true));
    node.start();
    let (code, said, given) = reconstruct(&node, &homes[11..]);
    assert_eq!((code, given == csv), (0, true), "{said}");
    let (code, said, _) = reconstruct(&node, &[left.join("nowhere")]);
    assert_eq!(
        (code, &said["code"]),
        (2, &Value::from("no_such_folder")),
        "{said}"
    );
}

#[test]
fn a_whole_copy_among_them_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let node = Process::new(dir.path(), "operator", None);
    found(&node, "127.0.0.1");
    let home = Home::at(&node.home);
    let top = Identity::from_seed(&read_key(&home.node_key()).unwrap());
    let root = Identity::from_seed(&read_key(&home.root_key()).unwrap());
    let mesh = chorus_protocol::trust::mesh_of(&root.id());
    let (homes, csv) = homes(&dir.path().join("left"), &top, &mesh, 0..3);
    // An earlier one is whole here: it does not take the last one's place in silence.
    let earlier = part(&top, &mesh, EPOCH - 1);
    let name = Name::of(earlier.header());
    let files = Checkpoints::of(&home);
    let durable = certificate(&top, &mesh, &earlier);
    files.write(&name, What::Copy, earlier.bytes()).unwrap();
    files.write(&name, What::Certificate, &durable).unwrap();
    let (code, said, _) = reconstruct(&node, &homes);
    assert_eq!(
        (code, &said["code"]),
        (1, &Value::from("too_few_fragments"))
    );
    assert!(
        said["hint"].as_str().unwrap().contains("--epoch 40"),
        "{said}"
    );
    // A parent's copy of the last one.
    let last = part(&top, &mesh, EPOCH);
    let parent = dir.path().join("parent");
    fs::create_dir_all(&parent).unwrap();
    let files = Checkpoints::of(&Home::at(&parent));
    files
        .write(&Name::of(last.header()), What::Copy, last.bytes())
        .unwrap();
    let (code, said, given) = reconstruct(&node, &[homes, vec![parent]].concat());
    assert_eq!((code, given == csv), (0, true), "{said}");
    assert_eq!(said["rebuilt"]["of"], "a whole copy", "{said}");
}
