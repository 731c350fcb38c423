//! Chunks: what is longer than a frame, in pieces, and put together again.

use sha2::{Digest as _, Sha256};

use crate::ids::Digest;

use super::Refusal;
use super::order::Chunk;

/// Most bytes of one piece: with its frame around it, it is below the limit of a body.
pub const CHUNK_BYTES_MAX: usize = 48 * 1024;

/// The pieces of `bytes`.
pub fn cut(epoch: u64, bytes: &[u8]) -> Vec<Chunk> {
    let digest = Digest(Sha256::digest(bytes).into());
    let piece = |(number, piece): (usize, &[u8])| Chunk {
        epoch,
        digest,
        at: (number * CHUNK_BYTES_MAX) as u32,
        of: bytes.len() as u32,
        bytes: piece.to_vec(),
    };
    let pieces = bytes.chunks(CHUNK_BYTES_MAX).enumerate();
    pieces.map(piece).collect()
}

/// What has come of one whole from one sender.
#[derive(Debug, Clone, Default)]
pub struct Arriving {
    digest: Option<Digest>,
    bytes: Vec<u8>,
}

impl Arriving {
    /// Takes the next piece; the whole, of `most` bytes, when it is complete. A piece that begins
    /// a whole ends the one before: its sender has something newer to say.
    pub fn take(&mut self, chunk: Chunk, most: usize) -> Result<Option<Vec<u8>>, Refusal> {
        let of = chunk.of as usize;
        let fits = chunk.bytes.len() <= CHUNK_BYTES_MAX && !chunk.bytes.is_empty();
        if !fits || of > most {
            *self = Self::default();
            return Err(Refusal::Malformed("length"));
        }
        if self.digest != Some(chunk.digest) || chunk.at == 0 {
            *self = Self {
                digest: Some(chunk.digest),
                bytes: Vec::new(),
            };
        }
        let next = self.bytes.len();
        if chunk.at as usize != next || next + chunk.bytes.len() > of {
            *self = Self::default();
            return Err(Refusal::Malformed("order of pieces"));
        }
        self.bytes.extend_from_slice(&chunk.bytes);
        if self.bytes.len() < of {
            return Ok(None);
        }
        let whole = std::mem::take(self).bytes;
        match Sha256::digest(&whole)[..] == chunk.digest.0 {
            true => Ok(Some(whole)),
            false => Err(Refusal::Altered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_in_order_make_the_whole_and_nothing_else_does() {
        let whole: Vec<u8> = (0..3 * CHUNK_BYTES_MAX / 2).map(|i| i as u8).collect();
        let pieces = cut(7, &whole);
        assert_eq!(pieces.len(), 2);
        let mut arriving = Arriving::default();
        let mut take = |piece| arriving.take(piece, whole.len());
        assert_eq!(take(pieces[0].clone()), Ok(None));
        // Begun anew in the middle, as a sender does that was restarted.
        let mut other = cut(8, b"another");
        assert_eq!(take(other.remove(0)), Ok(Some(b"another".to_vec())));
        assert!(take(pieces[1].clone()).is_err());
        assert_eq!(take(pieces[0].clone()), Ok(None));
        let mut bent = pieces[1].clone();
        bent.bytes[0] ^= 1;
        assert_eq!(take(bent), Err(Refusal::Altered));
        assert_eq!(take(pieces[0].clone()), Ok(None));
        assert_eq!(take(pieces[1].clone()), Ok(Some(whole.clone())));
        let long = cut(9, &[whole.as_slice(), &[0]].concat());
        assert_eq!(take(long[0].clone()), Err(Refusal::Malformed("length")));
    }
}
