//! The bytes of records, the Merkle tree over them and Ed25519, against the vectors that other
//! libraries made (pymerkle, PyNaCl).

use chorus_protocol::ids::{Digest, NodeId};
use chorus_protocol::memory::checkpoint::{Record, merkle};
use chorus_protocol::wire::Identity;
use chorus_protocol::wire::identity::PublicKey;
use serde_json::Value;

fn vectors() -> Value {
    let text = include_str!("../../tests/vectors/merkle_ed25519.json");
    serde_json::from_str(text).expect("JSON")
}

fn rows<'v>(vectors: &'v Value, name: &str) -> &'v Vec<Value> {
    vectors[name].as_array().expect("an array")
}

fn hex<const N: usize>(value: &Value) -> [u8; N] {
    let text = value.as_str().expect("hex digits");
    let bytes = data_encoding::HEXLOWER.decode(text.as_bytes());
    let bytes = bytes.expect("hex digits");
    bytes.try_into().expect("as many as there must be")
}

/// A number of the file. The reader of JSON here may miss its last bit.
fn is_near(exact: f64, row: &Value, name: &str) -> bool {
    let read = row[name].as_f64().expect("a number");
    (exact - read).abs() <= 2.0 * f64::EPSILON * exact.abs()
}

/// The records' bytes, read and made again.
fn records(vectors: &Value) -> Vec<[u8; 28]> {
    let record = |row: &Value| {
        let bytes = hex(&row["leaf_hex"]);
        let (index, record) = Record::of_bytes(&bytes).expect("a record");
        assert_eq!(row["index"], index, "{row}");
        assert_eq!(row["lamport"], record.lamport, "{row}");
        assert!(is_near(record.phase, row, "phase"), "{row}");
        assert!(is_near(record.omega, row, "omega"), "{row}");
        assert_eq!(record.to_bytes(index), bytes, "{row}");
        bytes
    };
    rows(vectors, "records").iter().map(record).collect()
}

#[test]
fn roots_are_those_of_pymerkle() {
    let vectors = vectors();
    let leaves: Vec<Digest> = records(&vectors)
        .iter()
        .map(|it| merkle::leaf(it))
        .collect();
    assert_eq!(leaves.len(), 30);
    let roots = rows(&vectors, "roots");
    assert_eq!(roots.len(), 5);
    for root in roots {
        let n = root["n"].as_u64().expect("a number") as usize;
        let expected = Digest(hex(&root["root"]));
        assert_eq!(merkle::root(&leaves[..n]), expected, "of {n}");
        for at in 0..n {
            let path = merkle::path(&leaves[..n], at);
            let by = merkle::root_by(leaves[at], at as u64, n as u64, &path);
            assert_eq!(by, Some(expected), "{at} of {n}");
        }
    }
}

#[test]
fn signatures_are_those_of_libsodium() {
    let vectors = vectors();
    let signed = rows(&vectors, "ed25519");
    assert_eq!(signed.len(), 3);
    for row in signed {
        let identity = Identity::from_seed(&hex(&row["seed"]));
        assert_eq!(identity.id(), NodeId(hex(&row["public"])));
        let message = row["message"].as_str().expect("hex digits");
        let message = data_encoding::HEXLOWER.decode(message.as_bytes());
        let message = message.expect("hex digits");
        let signature = hex(&row["signature"]);
        assert_eq!(identity.sign(&[&message]), signature);
        let key = PublicKey::new(&identity.id()).expect("a sound key");
        assert!(key.verifies(&message, &signature));
    }
}
