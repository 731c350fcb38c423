//! One file of the journal: how records are framed, and how they are found again in damaged bytes.
//!
//! A frame is, in order: salt 8 B, payload length u32, CRC-32 u32, sequence u64,
//! kind u8, SHA-256 of the frame before 32 B, payload. Numbers are little-endian,
//! and the CRC covers all the rest. The salt is random for each file and stands
//! in the file's name: it is what a search for the next frame looks for after
//! damage, and because no author of a payload knows it, bytes inside a payload
//! are never taken for a frame.

use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::crc::crc32;

/// Bytes of a frame before its payload.
pub(crate) const HEADER_BYTES: usize = 57;
/// The longest payload in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

pub(crate) type Hash = [u8; 32];

/// A frame that passed its CRC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    pub(crate) kind: u8,
    pub(crate) previous: Hash,
    pub(crate) hash: Hash,
    pub(crate) payload: Range<usize>,
}

impl Frame {
    /// Where the whole frame lies.
    pub(crate) fn whole(&self) -> Range<usize> {
        self.payload.start - HEADER_BYTES..self.payload.end
    }
}

/// Appends a frame to `out` and returns its hash.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    salt: u64,
    seq: u64,
    kind: u8,
    previous: &Hash,
    payload: &[u8],
) -> Hash {
    let start = out.len();
    let length = (payload.len() as u32).to_le_bytes();
    let crc = crc32(&[
        &salt.to_le_bytes(),
        &length,
        &seq.to_le_bytes(),
        &[kind],
        previous,
        payload,
    ]);
    out.extend(salt.to_le_bytes());
    out.extend(length);
    out.extend(crc.to_le_bytes());
    out.extend(seq.to_le_bytes());
    out.push(kind);
    out.extend(previous);
    out.extend(payload);
    Sha256::digest(&out[start..]).into()
}

fn decode(bytes: &[u8], at: usize, salt: u64) -> Option<Frame> {
    let rest = &bytes[at..];
    let (found, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let ([kind], rest) = rest.split_first_chunk::<1>()?;
    let (previous, rest) = rest.split_first_chunk::<32>()?;
    let size = u32::from_le_bytes(*length) as usize;
    if size > PAYLOAD_BYTES_MAX || u64::from_le_bytes(*found) != salt {
        return None;
    }
    let payload = rest.get(..size)?;
    if crc32(&[found, length, seq, &[*kind], previous, payload]) != u32::from_le_bytes(*crc) {
        return None;
    }
    let start = at + HEADER_BYTES;
    Some(Frame {
        seq: u64::from_le_bytes(*seq),
        kind: *kind,
        previous: *previous,
        hash: Sha256::digest(&bytes[at..start + size]).into(),
        payload: start..start + size,
    })
}

/// What the bytes of one file hold.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The good frames, in ascending sequence.
    pub(crate) frames: Vec<Frame>,
    /// Bytes between good frames, or before the first, that are no frame.
    pub(crate) damaged_bytes: usize,
    /// Bytes after the last good frame.
    pub(crate) tail_bytes: usize,
}

/// Finds every good frame, also behind damage.
pub(crate) fn scan(bytes: &[u8], salt: u64) -> Scan {
    let mut scan = Scan::default();
    let (mut at, mut good_end, mut last) = (0, 0, 0);
    while at < bytes.len() {
        match decode(bytes, at, salt).filter(|frame| frame.seq > last) {
            Some(frame) => {
                scan.damaged_bytes += at - good_end;
                (at, good_end, last) = (frame.payload.end, frame.payload.end, frame.seq);
                scan.frames.push(frame);
            }
            None => at = find(bytes, at + 1, &salt.to_le_bytes()),
        }
    }
    scan.tail_bytes = bytes.len() - good_end;
    scan
}

/// Where `salt` next begins, from `at` on, or the end.
fn find(bytes: &[u8], at: usize, salt: &[u8; 8]) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.windows(8)
        .position(|w| w == salt)
        .map_or(bytes.len(), |n| at + n)
}

/// The file of the segment whose first record is `seq`.
pub(crate) fn path(dir: &Path, seq: u64, salt: u64) -> PathBuf {
    dir.join(format!("{seq:020}-{salt:016x}.seg"))
}

/// First sequence and salt from a file's name; `None` for any other file.
pub(crate) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (seq, salt) = name.strip_suffix(".seg")?.split_once('-')?;
    let (seq, salt) = (seq.parse().ok()?, u64::from_str_radix(salt, 16).ok()?);
    (path(Path::new(""), seq, salt).to_str() == Some(name)).then_some((seq, salt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut hash, mut ends) = (Vec::new(), [0; 32], vec![0]);
        for (seq, payload) in [(1, &b"one"[..]), (2, b"two"), (3, b"three")] {
            hash = encode(&mut bytes, 7, seq, 9, &hash, payload);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn each_flipped_bit_costs_exactly_the_frame_it_is_in() {
        let (bytes, ends) = three();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let hit = ends.iter().filter(|end| **end <= bit / 8).count() as u64;
            let left: Vec<u64> = scan(&bad, 7).frames.iter().map(|f| f.seq).collect();
            let expected: Vec<u64> = (1..=3).filter(|seq| *seq != hit).collect();
            assert_eq!(left, expected, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_inside_a_payload_is_not_a_frame() {
        let (inner, _) = three();
        let mut bytes = Vec::new();
        encode(&mut bytes, 8, 1, 0, &[0; 32], &inner);
        bytes[0] ^= 1;
        assert!(scan(&bytes, 8).frames.is_empty());
    }

    #[test]
    fn names_round_trip_and_others_are_ignored() {
        assert_eq!(
            parse_name("00000000000000000012-00000000000000ff.seg"),
            Some((12, 255))
        );
        for bad in [
            "12-ff.seg",
            "mark",
            "00000000000000000012-00000000000000ff.seg.damaged-1",
        ] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }
}
