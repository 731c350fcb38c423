//! Codec: named MessagePack, with limits checked before anything is decoded.
//!
//! `rmp-serde` alone accepts trailing bytes, nests as deep as the stack goes and
//! believes the lengths it reads. [`scan`] walks the bytes once, without
//! recursion or allocation, and refuses all of that first; it refuses NaN and
//! infinities too, so no machine behind it ever meets one.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of a gossip frame's body.
pub const GOSSIP_BYTES_MAX: usize = 4 * 1024;
/// Most bytes of any other body.
pub const BODY_BYTES_MAX: usize = 60 * 1024;
/// Deepest nesting of maps and arrays.
pub const DEPTH_MAX: usize = 12;

/// Why bytes are not a value of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Malformed {
    /// The value ends before its own lengths say so.
    #[error("truncated")]
    Truncated,
    /// Bytes follow the value.
    #[error("trailing bytes")]
    Trailing,
    /// Maps or arrays within each other beyond [`DEPTH_MAX`].
    #[error("nested too deeply")]
    TooDeep,
    /// A NaN or an infinity.
    #[error("a number that is not finite")]
    NotFinite,
    /// A MessagePack type that the wire does not use (extensions, 0xc1).
    #[error("a type that the wire does not use")]
    BadType,
    /// Sound MessagePack, but not the fields that were expected.
    #[error("unexpected fields or values")]
    BadShape,
    /// A frame on a topic that its message does not belong to.
    #[error("topic and message disagree")]
    WrongTopic,
}

/// Walks `bytes` as one MessagePack value.
pub fn scan(bytes: &[u8]) -> Result<(), Malformed> {
    // For each open map or array: how many values are still to come in it.
    let mut open = [0u32; DEPTH_MAX];
    let mut depth = 0;
    let mut at = 0;
    let uint = |at: usize, n: usize| -> Result<usize, Malformed> {
        let slice = bytes.get(at..at + n).ok_or(Malformed::Truncated)?;
        Ok(slice
            .iter()
            .fold(0usize, |value, &b| (value << 8) | b as usize))
    };
    loop {
        let marker = *bytes.get(at).ok_or(Malformed::Truncated)?;
        at += 1;
        // (bytes of payload to step over, values nested inside)
        let (skip, inside) = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
            0x80..=0x8f => (0, 2 * (marker & 0x0f) as usize),
            0x90..=0x9f => (0, (marker & 0x0f) as usize),
            0xa0..=0xbf => ((marker & 0x1f) as usize, 0),
            0xc4 | 0xd9 => (1 + uint(at, 1)?, 0),
            0xc5 | 0xda => (2 + uint(at, 2)?, 0),
            0xc6 | 0xdb => (4 + uint(at, 4)?, 0),
            0xca => {
                let bits = uint(at, 4)? as u32;
                if !f32::from_bits(bits).is_finite() {
                    return Err(Malformed::NotFinite);
                }
                (4, 0)
            }
            0xcb => {
                let high = (uint(at, 4)? as u64) << 32;
                let bits = high | uint(at + 4, 4)? as u64;
                if !f64::from_bits(bits).is_finite() {
                    return Err(Malformed::NotFinite);
                }
                (8, 0)
            }
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 => (2, 0),
            0xce | 0xd2 => (4, 0),
            0xcf | 0xd3 => (8, 0),
            0xdc => (2, uint(at, 2)?),
            0xdd => (4, uint(at, 4)?),
            0xde => (2, 2 * uint(at, 2)?),
            0xdf => (4, uint(at, 4)?.saturating_mul(2)),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(Malformed::BadType),
        };
        at = at
            .checked_add(skip)
            .filter(|&end| end <= bytes.len())
            .ok_or(Malformed::Truncated)?;
        if inside > 0 {
            // Each value takes a byte at least.
            if inside > bytes.len() - at {
                return Err(Malformed::Truncated);
            }
            if depth == DEPTH_MAX {
                return Err(Malformed::TooDeep);
            }
            open[depth] = inside as u32;
            depth += 1;
            continue;
        }
        loop {
            if depth == 0 {
                return if at == bytes.len() {
                    Ok(())
                } else {
                    Err(Malformed::Trailing)
                };
            }
            open[depth - 1] -= 1;
            if open[depth - 1] > 0 {
                break;
            }
            depth -= 1;
        }
    }
}

/// Scans, then decodes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    scan(bytes)?;
    decode_scanned(bytes)
}

/// Decodes bytes that [`scan`] has accepted.
pub(crate) fn decode_scanned<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    rmp_serde::from_slice(bytes).map_err(|_| Malformed::BadShape)
}

/// Encodes with field names.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("invariant: wire types always encode into memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_of_damage_has_its_name() {
        let good = encode(&(1u8, "two", vec![3.0f64]));
        assert_eq!(scan(&good), Ok(()));
        assert_eq!(scan(&good[..good.len() - 1]), Err(Malformed::Truncated));
        assert_eq!(
            scan(&[good.as_slice(), &[0]].concat()),
            Err(Malformed::Trailing)
        );
        assert_eq!(scan(&[0x91; 140_000]), Err(Malformed::TooDeep));
        assert_eq!(scan(&encode(&f64::NAN)), Err(Malformed::NotFinite));
        assert_eq!(scan(&encode(&f32::INFINITY)), Err(Malformed::NotFinite));
        assert_eq!(scan(&[0xc1]), Err(Malformed::BadType));
        assert_eq!(
            scan(&[0xdd, 0xff, 0xff, 0xff, 0xff]),
            Err(Malformed::Truncated)
        );
        assert_eq!(
            scan(&[0xdf, 0xff, 0xff, 0xff, 0xff]),
            Err(Malformed::Truncated)
        );
        assert_eq!(
            scan(&[0xc6, 0xff, 0xff, 0xff, 0xff]),
            Err(Malformed::Truncated)
        );
        assert_eq!(scan(&[]), Err(Malformed::Truncated));
        assert_eq!(decode::<u8>(&encode(&"text")), Err(Malformed::BadShape));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_scan_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = scan(&bytes);
        }

        #[test]
        fn what_is_encoded_is_accepted(
            value in proptest::collection::btree_map(".{0,40}", proptest::collection::vec(any::<i64>(), 0..20), 0..20),
        ) {
            let bytes = encode(&value);
            prop_assert_eq!(scan(&bytes), Ok(()));
            prop_assert_eq!(decode(&bytes), Ok(value));
        }
    }
}
