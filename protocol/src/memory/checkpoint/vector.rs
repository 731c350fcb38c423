//! Record: one member's line of the phase vector, exactly 28 bytes (mathematics §4).

use super::Refusal;

/// Bytes of one record: index u32, lamport u64, phase f64, omega f64, all little-endian.
pub const RECORD_BYTES: usize = 28;

/// What a node was at the cut-off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record {
    /// Its phase, radians in [0, 2π).
    pub phase: f64,
    /// Its natural frequency, rad/s.
    pub omega: f64,
    /// The newest Lamport time known of it.
    pub lamport: u64,
}

impl Record {
    /// Whether both numbers are finite: no others stand in a vector.
    pub fn is_finite(&self) -> bool {
        self.phase.is_finite() && self.omega.is_finite()
    }

    /// The exact bytes of record number `index`.
    pub fn to_bytes(&self, index: u32) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..4].copy_from_slice(&index.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.lamport.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.phase.to_le_bytes());
        bytes[20..].copy_from_slice(&self.omega.to_le_bytes());
        bytes
    }

    /// The index and the record in these bytes. Numbers that are not finite are refused.
    pub fn of_bytes(bytes: &[u8; RECORD_BYTES]) -> Result<(u32, Self), Refusal> {
        let word = |at: usize| {
            let eight = bytes[at..].first_chunk::<8>().copied();
            u64::from_le_bytes(eight.unwrap_or_default())
        };
        let index = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let record = Self {
            lamport: word(4),
            phase: f64::from_bits(word(12)),
            omega: f64::from_bits(word(20)),
        };
        match record.is_finite() {
            true => Ok((index, record)),
            false => Err(Refusal::NotFinite),
        }
    }
}

/// A number by 17 digits, of which any reader makes the same bits.
pub fn exact(number: f64) -> String {
    format!("{number:.16e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seventeen_digits_give_the_same_bits_back() {
        for number in [
            0.0,
            4.509820568935845,
            f64::MIN_POSITIVE,
            -1e300,
            std::f64::consts::TAU,
        ] {
            let text = exact(number);
            let digits = text.split('e').next().unwrap_or_default();
            assert_eq!(
                digits.bytes().filter(u8::is_ascii_digit).count(),
                17,
                "{text}"
            );
            let back: Option<f64> = text.parse().ok();
            assert_eq!(back.map(f64::to_bits), Some(number.to_bits()), "{text}");
        }
    }

    #[test]
    fn a_record_comes_back_bit_by_bit_and_is_finite() {
        let record = Record {
            phase: 4.509820568935845,
            omega: -0.0,
            lamport: u64::MAX,
        };
        let back = Record::of_bytes(&record.to_bytes(7));
        let back = back.map(|(index, back)| (index, back.to_bytes(7)));
        assert_eq!(back, Ok((7, record.to_bytes(7))));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for record in [
                Record {
                    phase: bad,
                    ..record
                },
                Record {
                    omega: bad,
                    ..record
                },
            ] {
                let refused = Record::of_bytes(&record.to_bytes(0));
                assert_eq!(refused, Err(Refusal::NotFinite));
            }
        }
    }
}
