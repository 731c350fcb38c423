//! What it costs to reconstruct and verify a checkpoint, as a multiple of the hashing and the
//! signature checks that are in it: files read, every byte checked, who signed looked up in the
//! roster, the vector's text made, by the functions that the verb calls for it.
//!
//! Each takes turns with the bare hashes and checks of the same bytes, so that both meet the
//! same clock speed and the same neighbours; which comes first alternates. What is measured is
//! the time on the processor: a neighbour that takes it away for a while counts for neither.
//! Printed is the median of the rounds' ratios; the goal is 1.5. Then, once, the cutting into fragments and back.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chorus_protocol::ids::{Digest, MeshId, NodeId};
use chorus_protocol::memory::checkpoint::header::HEADER_BYTES;
use chorus_protocol::memory::checkpoint::{
    Certificate, Name, Part, Row, What, coding, copy, merkle, standing,
};
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::wire::identity::PublicKey;
use chorus_storage::{Checkpoints, Home};
use chorus_tests::epochs::large::checkpoint;
use chorus_tests::world::fabric::{Fabric, Shape, key};
use rustix::time::{ClockId, clock_gettime};

const SHAPE: Shape = Shape::Tree {
    clusters: 10,
    size: 30,
};
const ROUNDS: usize = 31;

fn main() {
    for members in [3_000, 30_000] {
        measure(members);
    }
}

fn measure(members: usize) {
    let fabric = Fabric::of(members, SHAPE);
    let (mesh, roster) = (&fabric.mesh, fabric.everybody.roster());
    let whole = checkpoint(mesh, &fabric.members);
    let part = Part::open(&whole, mesh).expect("a sound checkpoint");
    let header = part.header();
    let certificate = Certificate {
        epoch: header.epoch,
        signer: header.signer,
        root: header.root,
        holders: members as u32,
        members: members as u32,
    };
    let certificate = certificate.seal(&key(0), mesh);
    let tmp = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let dir = tmp.join(format!("checkpoint-{}", std::process::id()));
    let files = Checkpoints::of(&Home::at(&dir));
    std::fs::create_dir_all(&dir).expect("a folder");
    let name = Name::of(header);
    files.write(&name, What::Copy, &whole).expect("written");
    let written = files.write(&name, What::Certificate, &certificate);
    written.expect("written");

    let need = Need::of(&part, &certificate, mesh);
    let verb = || reconstruct(&files, mesh, roster);
    assert_eq!(verb().lines().count(), members);
    let mut rounds: Vec<[Duration; 2]> =
        (0..ROUNDS).map(|round| turn(round, &verb, &need)).collect();
    let ratio = |it: &[Duration; 2]| it[0].as_secs_f64() / it[1].as_secs_f64();
    rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let [took, needs] = rounds[ROUNDS / 2].map(|it| it.as_secs_f64() * 1e3);
    println!(
        "checkpoint: {members} members, {} parts, {} bytes: reconstructed and verified in \
         {took:.1} ms, its hashes and signature checks alone {needs:.1} ms, ratio {:.2} \
         [goal 1.5]",
        part.pieces().len(),
        whole.len(),
        ratio(&rounds[ROUNDS / 2]),
    );
    std::fs::remove_dir_all(dir).expect("our own folder");
    fragments(&part);
}

/// What a parent spends on the fragments of its agents, and who rebuilds the whole of the last
/// 150, none of which is a part of the bytes themselves.
fn fragments(part: &Part) {
    let plan = copy::plan(part, 150).expect("enough holders");
    let wanted: BTreeSet<u32> = (plan.of as u32 - 150..plan.of as u32).collect();
    let begun = Instant::now();
    let coded = coding::encode(part.bytes(), &plan, &wanted).expect("a sound plan");
    let cut = begun.elapsed();
    let pieces = coded.pieces.iter();
    let pieces = pieces.map(|(number, (_, piece))| (*number, piece.as_slice()));
    let begun = Instant::now();
    let back = coding::rebuild(&plan, &pieces.collect()).expect("enough");
    let rebuilt = begun.elapsed();
    assert!(back == part.bytes()[..], "other bytes");
    println!(
        "checkpoint: {} members, cut into fragments of {} bytes and all of them hashed in {:.0} \
         ms; rebuilt of 150 in {:.0} ms: {}",
        part.members().len(),
        plan.piece_bytes(),
        cut.as_secs_f64() * 1e3,
        rebuilt.as_secs_f64() * 1e3,
        memory(),
    );
}

/// The most that this process had in memory, with the roster of everybody.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    format!(
        "at most {:.0} MB in memory",
        kb.expect("a number") * 1024.0 / 1e6
    )
}

/// One round of both.
fn turn(round: usize, verb: &dyn Fn() -> String, need: &Need) -> [Duration; 2] {
    let mut spent = [Duration::ZERO; 2];
    for turn in 0..2 {
        let who = (round + turn) % 2;
        let begun = on_processor();
        match who {
            0 => drop(black_box(verb())),
            _ => need.run(),
        }
        spent[who] = on_processor() - begun;
    }
    spent
}

/// What this thread has had of the processor.
fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What the verb does with the files of a home.
fn reconstruct(files: &Checkpoints, mesh: &MeshId, roster: &Roster) -> String {
    let files = files.read_all().expect("readable").remove(0);
    let part = Part::open(&files.copy, mesh).expect("sound");
    standing::check(&part, roster, standing::From::Disk).expect("signed by who may");
    let certificate = files.certificate.expect("a certificate");
    let certificate = Certificate::open(&certificate, mesh).expect("sound");
    assert!(certificate.is_of(part.header()));
    let rows = part.members().iter().map(Row::to_csv);
    rows.fold(String::new(), |text, row| text + &row + "\n")
}

/// The bytes that must be hashed, and the signatures that must be checked.
struct Need {
    /// The leaves of each tree.
    trees: Vec<Vec<Vec<u8>>>,
    /// Who signed, what, and the signature.
    signatures: Vec<(NodeId, Vec<u8>, [u8; 64])>,
}

impl Need {
    fn of(part: &Part, certificate: &[u8], mesh: &MeshId) -> Self {
        let mut this = Self {
            trees: Vec::new(),
            signatures: Vec::new(),
        };
        let mut signed = |context: &[u8], by: NodeId, bytes: &[u8]| {
            let (body, signature) = bytes.split_at(bytes.len() - 64);
            let message = [context, mesh.as_bytes(), body].concat();
            let signature = signature.try_into().expect("64 bytes");
            this.signatures.push((by, message, signature));
        };
        for piece in part.pieces() {
            signed(b"chorus/checkpoint/1\0", piece.header.signer, &piece.signed);
            assert_eq!(piece.signed.len(), HEADER_BYTES + 64);
            let table = piece.rows.iter().map(|row| {
                let mut entry = row.node.as_bytes().to_vec();
                entry.push(u8::from(row.holds));
                entry
            });
            let records = piece.rows.iter().zip(0..);
            let records = records.map(|(row, index)| row.record.to_bytes(index).to_vec());
            let beneath = piece.beneath.iter().map(|at| &part.pieces()[*at]);
            let beneath = beneath.map(|it| it.digest().as_bytes().to_vec());
            this.trees.push(table.collect());
            this.trees.push(records.chain(beneath).collect());
        }
        signed(b"chorus/durable/1\0", part.header().signer, certificate);
        this
    }

    fn run(&self) {
        for (by, message, signature) in &self.signatures {
            let key = PublicKey::new(by).expect("a sound key");
            assert!(black_box(key.verifies(message, signature)));
        }
        for tree in &self.trees {
            let leaves: Vec<Digest> = tree.iter().map(|it| merkle::leaf(it)).collect();
            black_box(merkle::root(&leaves));
        }
    }
}
