//! Damage to the bytes of a frame; shared with the flood at a live node (`node/tests`).

use chorus_protocol::units::{Noise, Seeded};

/// Changes a few bytes in one of the ways that a wire or an attacker would.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], noise: &mut Seeded) {
    let mut below = |n: usize| (noise.bits() % n.max(1) as u64) as usize;
    for _ in 0..1 + below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = below(bytes.len());
        match below(7) {
            0 => bytes[at] ^= 1 << below(8),
            1 => bytes[at] = below(256) as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, below(256) as u8),
            // The markers that carry lengths and types are where parsers break.
            4 => bytes[at] = 0xc0 | below(64) as u8,
            5 => {
                let upto = (at + below(40)).min(bytes.len());
                let piece = bytes[at..upto].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[below(other.len())..]);
            }
        }
    }
}
