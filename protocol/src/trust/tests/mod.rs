//! Tests of trust: what a small mesh of fixed keys is made of, and one file for each part.

mod directory;
mod door;
mod item;
mod pace;
mod set;
mod token;
mod world;

use std::sync::Arc;

use crate::ids::{CurveKey, Incarnation, Label, MeshId, NodeId, Place, Role, Stamp};
use crate::trust::item::{Address, Announcement, Claim, Delegation, Entry, Item, Revocation};
use crate::trust::roster::Roster;
use crate::trust::set::Set;
use crate::trust::{found, mesh_of};
use crate::wire::identity::Identity;

/// The identity element: a key of small order that any signature could fit.
const WEAK: NodeId = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    NodeId(bytes)
};

fn label(text: &str) -> Label {
    text.parse().expect("a label")
}
fn place() -> Place {
    Place {
        sector: label("s1"),
        cluster: label("c1"),
    }
}
/// The identity number `n`; 0 is the root's.
fn key(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}
fn root() -> Identity {
    key(0)
}
fn mesh() -> MeshId {
    mesh_of(&root().id())
}
fn curve(n: u8) -> CurveKey {
    CurveKey([n; 32])
}

/// The entry of node `n`, as an agent named `n-N`.
fn entry(n: u8, floor: u32, issued: u64) -> Entry {
    Entry {
        node: key(n).id(),
        curve: curve(n),
        name: label(&format!("n-{n}")),
        role: Role::Agent,
        place: place(),
        caps: vec![label("memory:write")],
        floor,
        issued,
        adopts: None,
    }
}

fn seal(issuer: &Identity, claim: Claim) -> Vec<u8> {
    Item::seal(issuer, &mesh(), &claim)
}
fn enter(issuer: &Identity, entry: Entry) -> Vec<u8> {
    seal(issuer, Claim::Entry(Arc::new(entry)))
}
fn delegate(n: u8) -> Vec<u8> {
    seal(
        &root(),
        Claim::Delegation(Delegation {
            node: key(n).id(),
            may: vec![label("enrol")],
        }),
    )
}
fn revocation(n: u8, serial: u64, adopted: u32) -> Vec<u8> {
    let reason = "lost".to_string();
    seal(
        &root(),
        Claim::Revocation(Revocation {
            node: key(n).id(),
            serial,
            reason,
            adopted,
        }),
    )
}
fn announce(n: u8, lamport: u64) -> Vec<u8> {
    let host = format!("10.0.0.{n}");
    let address = Address {
        host,
        router: 7400,
        publisher: 7401,
        subscriber: 7402,
        door: 7404,
        memory: 0,
    };
    let stamp = Stamp {
        incarnation: Incarnation::new(0, 1),
        lamport,
    };
    let it = Announcement {
        node: key(n).id(),
        stamp,
        addresses: vec![address],
    };
    seal(&key(n), Claim::Announcement(Arc::new(it)))
}

/// The mesh's beginning: node 1 is the first node and may enrol.
fn founding() -> Vec<Vec<u8>> {
    found(
        &root(),
        key(1).id(),
        curve(1),
        label("n-1"),
        Role::Orchestrator,
        place(),
    )
}

fn open(bytes: &[u8]) -> Item {
    Item::open(bytes, &mesh()).expect("a sound item")
}
fn set_of(items: &[Vec<u8>]) -> Set {
    let mut set = Set::new(root().id());
    set.apply(items.iter().map(|bytes| open(bytes)));
    set
}
fn roster_of(items: &[Vec<u8>]) -> Roster {
    Roster::of(&set_of(items))
}
/// The founding and `more`.
fn mesh_with(more: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [founding().as_slice(), more].concat()
}

/// The bytes of `good` with one to four random bytes changed, cut short or grown.
fn mutated(good: &[u8], noise: &mut crate::units::Seeded) -> Vec<u8> {
    use crate::units::Noise;
    let mut bytes = good.to_vec();
    let mut below = |n: usize| (noise.bits() % n as u64) as usize;
    match below(8) {
        0 => bytes.truncate(below(good.len())),
        1 => bytes.extend((0..below(9)).map(|n| n as u8)),
        _ => {
            for _ in 0..=below(4) {
                let at = below(bytes.len());
                bytes[at] ^= 1 << below(8);
            }
        }
    }
    bytes
}
