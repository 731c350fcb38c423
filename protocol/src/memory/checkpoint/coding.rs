//! Coding: a whole cut into pieces of equal length, any `needed` of which give it back.
//!
//! Reed-Solomon over GF(2^16), as the crate `reed-solomon-simd` computes it (Leopard's code).
//! The first `needed` pieces are the bytes themselves, with zeros at the end; the others are
//! made of them. A piece alone is proven by its audit path in the Merkle tree over all of them.
//!
//! The code works on each 64 bytes of a piece by themselves, so all pieces are made together in
//! narrow strips: at 30,000 pieces of 17 KB only some megabytes are at hand at once.

use std::collections::{BTreeMap, BTreeSet};

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use sha2::{Digest as _, Sha256};

use crate::ids::Digest;

use super::{BYTES_MAX, MEMBERS_MAX, Refusal, merkle};

/// Lengths of pieces are multiples of this, bytes: what the code works on at once.
const GRAIN: usize = 64;
/// How much of each piece is made at once, bytes: a multiple of [`GRAIN`].
const STRIP: usize = 4 * GRAIN;

/// How a whole is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How long the whole is, bytes.
    pub bytes: usize,
    /// How many pieces give it back.
    pub needed: usize,
    /// How many there are.
    pub of: usize,
}

/// What has come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coded {
    /// The Merkle root over all pieces.
    pub root: Digest,
    /// Those that were asked for, by number, each with its audit path.
    pub pieces: BTreeMap<u32, (Vec<Digest>, Vec<u8>)>,
}

impl Plan {
    /// Whether pieces are made so: half of them can be lost, and there are not too many.
    pub fn is_sound(&self) -> bool {
        let spare = self.of.saturating_sub(self.needed);
        (1..=BYTES_MAX).contains(&self.bytes)
            && self.of <= MEMBERS_MAX
            && 2 * self.needed <= self.of
            && ReedSolomonEncoder::supports(self.needed, spare)
    }

    /// How long each piece is, bytes.
    pub fn piece_bytes(&self) -> usize {
        let bytes = self.bytes.div_ceil(self.needed.max(1));
        bytes.next_multiple_of(GRAIN)
    }

    /// Where the strips of a piece begin, and how long they are.
    fn strips(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let bytes = self.piece_bytes();
        let starts = (0..bytes).step_by(STRIP);
        starts.map(move |at| (at, STRIP.min(bytes - at)))
    }
}

/// Cuts `whole`, and keeps the pieces whose numbers are `wanted`.
pub fn encode(whole: &[u8], plan: &Plan, wanted: &BTreeSet<u32>) -> Result<Coded, Refusal> {
    if !plan.is_sound() || whole.len() != plan.bytes {
        return Err(BAD_PLAN);
    }
    let (needed, long) = (plan.needed, plan.piece_bytes());
    let mut whole = whole.to_vec();
    whole.resize(needed * long, 0);
    let mut hashes = vec![Sha256::new_with_prefix([0]); plan.of];
    let mut pieces: BTreeMap<u32, Vec<u8>> = wanted
        .iter()
        .filter(|number| (**number as usize) < plan.of)
        .map(|number| (*number, Vec::with_capacity(long)))
        .collect();
    let mut coder = ReedSolomonEncoder::new(needed, plan.of - needed, STRIP).or(Err(BAD_PLAN))?;
    for (at, wide) in plan.strips() {
        let reset = coder.reset(needed, plan.of - needed, wide);
        reset.or(Err(BAD_PLAN))?;
        let given: Vec<&[u8]> = (0..needed)
            .map(|number| &whole[number * long + at..][..wide])
            .collect();
        for strip in &given {
            coder.add_original_shard(strip).or(Err(BAD_PLAN))?;
        }
        let made = coder.encode().or(Err(BAD_PLAN))?;
        let strips = given.iter().copied().chain(made.recovery_iter());
        for ((number, hash), strip) in (0..).zip(&mut hashes).zip(strips) {
            hash.update(strip);
            if let Some(piece) = pieces.get_mut(&number) {
                piece.extend_from_slice(strip);
            }
        }
    }
    let leaves: Vec<Digest> = hashes
        .into_iter()
        .map(|hash| Digest(hash.finalize().into()))
        .collect();
    let paths = merkle::paths(&leaves, wanted);
    let proven = pieces.into_iter().zip(paths);
    Ok(Coded {
        root: merkle::root(&leaves),
        pieces: proven
            .map(|((number, piece), path)| (number, (path, piece)))
            .collect(),
    })
}

/// The whole, of at least `needed` pieces by their numbers. Each must be proven already: a
/// forged one among them gives other bytes.
pub fn rebuild(plan: &Plan, pieces: &BTreeMap<u32, &[u8]>) -> Result<Vec<u8>, Refusal> {
    let (needed, long) = (plan.needed, plan.piece_bytes());
    let fits = |(number, piece): (&u32, &&[u8])| {
        let number = *number as usize;
        number < plan.of && piece.len() == long
    };
    if !plan.is_sound() || !pieces.iter().all(fits) {
        return Err(BAD_PLAN);
    }
    if pieces.len() < needed {
        return Err(Refusal::TooFew {
            have: pieces.len(),
            needed,
        });
    }
    let mut whole = vec![0; needed * long];
    let mut decoder = ReedSolomonDecoder::new(needed, plan.of - needed, STRIP).or(Err(BAD_PLAN))?;
    for (at, wide) in plan.strips() {
        let reset = decoder.reset(needed, plan.of - needed, wide);
        reset.or(Err(BAD_PLAN))?;
        for (number, piece) in pieces.iter().take(needed) {
            let (number, strip) = (*number as usize, &piece[at..at + wide]);
            match number.checked_sub(needed) {
                None => {
                    whole[number * long + at..][..wide].copy_from_slice(strip);
                    decoder.add_original_shard(number, strip)
                }
                Some(number) => decoder.add_recovery_shard(number, strip),
            }
            .or(Err(BAD_PLAN))?;
        }
        let restored = decoder.decode().or(Err(BAD_PLAN))?;
        for (number, strip) in restored.restored_original_iter() {
            whole[number * long + at..][..wide].copy_from_slice(strip);
        }
    }
    whole.truncate(plan.bytes);
    Ok(whole)
}

/// No pieces are made, or were made, so.
const BAD_PLAN: Refusal = Refusal::Malformed("division into fragments");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_those_of_the_crate_and_any_that_are_enough_give_all_back() {
        // Of one strip, of several, of a last one that is shorter, and not filled.
        for (bytes, needed, of) in [(1, 1, 2), (640, 5, 23), (5_000, 5, 23), (70_001, 20, 300)] {
            let plan = Plan { bytes, needed, of };
            let whole: Vec<u8> = (0..bytes).map(|at| (at * 7 / 3) as u8).collect();
            let wanted: BTreeSet<u32> = (0..of as u32).collect();
            let coded = encode(&whole, &plan, &wanted).unwrap_or_else(|why| panic!("{why}"));
            let long = plan.piece_bytes();
            let mut padded = whole.clone();
            padded.resize(needed * long, 0);
            let given: Vec<&[u8]> = padded.chunks(long).collect();
            let made = reed_solomon_simd::encode(needed, of - needed, &given);
            let made = made.unwrap_or_default();
            let expected = given.iter().copied().chain(made.iter().map(Vec::as_slice));
            let pieces = coded.pieces.values().map(|(_, piece)| piece.as_slice());
            assert!(pieces.eq(expected), "{plan:?}");
            let leaves: Vec<Digest> = coded
                .pieces
                .values()
                .map(|it| merkle::leaf(&it.1))
                .collect();
            assert_eq!(coded.root, merkle::root(&leaves));
            for step in 1..=of / needed {
                let some = (0..of).step_by(step).take(needed);
                let some = some.map(|at| (at as u32, coded.pieces[&(at as u32)].1.as_slice()));
                assert_eq!(rebuild(&plan, &some.collect()), Ok(whole.clone()), "{step}");
            }
        }
    }

    #[test]
    fn what_cannot_be_divided_is_refused() {
        let sound = Plan {
            bytes: 1_000,
            needed: 5,
            of: 23,
        };
        assert!(sound.is_sound());
        let is_sound = |bytes, needed, of| Plan { bytes, needed, of }.is_sound();
        assert!(is_sound(BYTES_MAX, 150, MEMBERS_MAX));
        assert!(!is_sound(0, 5, 23));
        assert!(!is_sound(BYTES_MAX + 1, 5, 23));
        assert!(!is_sound(1_000, 0, 23));
        assert!(!is_sound(1_000, 12, 23));
        assert!(!is_sound(1_000, 5, MEMBERS_MAX + 1));
        assert_eq!(encode(&[0; 999], &sound, &BTreeSet::new()), Err(BAD_PLAN));
        let short = [0; 64];
        let pieces = (0..5).map(|number| (number, &short[..]));
        assert_eq!(rebuild(&sound, &pieces.collect()), Err(BAD_PLAN));
        let long = vec![0; sound.piece_bytes()];
        let pieces = (19..24).map(|number| (number, long.as_slice()));
        assert_eq!(rebuild(&sound, &pieces.collect()), Err(BAD_PLAN));
    }
}
