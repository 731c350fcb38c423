//! What every node holds of everybody's tokens; it merges, and two tokens under one number are seen.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Tokens of one node that are kept: far more than a bench makes.
const TOKENS_MAX: usize = 1 << 20;
/// Tokens of one answer.
const PAGE: usize = 128;

/// A token: when it left, and a word that stands for what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub lamport: u64,
    pub word: u64,
}

/// Tokens by who made them, each list whole from its first token on.
#[derive(Debug, Clone)]
pub struct Log {
    by: Vec<Vec<Token>>,
    conflicts: u64,
}

impl Log {
    pub fn new(nodes: usize) -> Self {
        Self {
            by: vec![Vec::new(); nodes],
            conflicts: 0,
        }
    }

    /// How many tokens of `node` are held.
    pub fn held(&self, node: usize) -> u64 {
        self.by.get(node).map_or(0, |it| it.len() as u64)
    }

    /// Adds what is new of `tokens`, of which `first` (from 0) is the first one's number. What
    /// lies behind a gap is left out: it will be asked for.
    pub fn merge(&mut self, node: usize, first: u64, tokens: &[Token]) {
        let Some(held) = self.by.get_mut(node) else {
            return;
        };
        for (at, token) in tokens.iter().enumerate() {
            let Some(number) = usize::try_from(first)
                .ok()
                .and_then(|it| it.checked_add(at))
            else {
                return;
            };
            match held.get(number) {
                Some(there) => self.conflicts += u64::from(there != token),
                None if number == held.len() && number < TOKENS_MAX => held.push(*token),
                None => return,
            }
        }
    }

    /// Tokens of `node` from number `first` on, as many as one answer takes.
    pub fn page(&self, node: usize, first: u64) -> &[Token] {
        let held = self.by.get(node).map_or(&[][..], Vec::as_slice);
        let first = usize::try_from(first).map_or(held.len(), |it| it.min(held.len()));
        &held[first..held.len().min(first + PAGE)]
    }

    /// How often another token came under a number that was taken: a split brain.
    pub fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// SHA-256 of all tokens in their one order: by Lamport time, then by node.
    pub fn digest(&self) -> String {
        let all = self.by.iter().enumerate();
        let mut all: Vec<(u64, usize, u64)> = all
            .flat_map(|(node, its)| its.iter().map(move |it| (it.lamport, node, it.word)))
            .collect();
        all.sort_unstable();
        let mut hash = Sha256::new();
        for (lamport, node, word) in all {
            hash.update(lamport.to_be_bytes());
            hash.update((node as u64).to_be_bytes());
            hash.update(word.to_be_bytes());
        }
        HEXLOWER.encode(&hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(lamport: u64) -> Token {
        Token {
            lamport,
            word: lamport * 7,
        }
    }

    #[test]
    fn sides_that_grew_apart_merge_to_the_same_order() {
        let (mut left, mut right) = (Log::new(2), Log::new(2));
        let (ours, theirs) = ([token(1), token(3)], [token(2), token(4), token(5)]);
        left.merge(0, 0, &ours);
        right.merge(1, 0, &theirs);
        assert_ne!(left.digest(), right.digest());
        left.merge(1, 0, right.page(1, left.held(1)));
        right.merge(0, 0, left.page(0, right.held(0)));
        assert_eq!(left.digest(), right.digest());
        assert_eq!((left.held(0), left.held(1)), (2, 3));
        assert_eq!(left.conflicts() + right.conflicts(), 0);
    }

    #[test]
    fn a_gap_is_left_open_and_a_repetition_is_nothing_new() {
        let mut log = Log::new(1);
        log.merge(0, 1, &[token(2)]);
        assert_eq!(log.held(0), 0);
        log.merge(0, 0, &[token(1), token(2)]);
        log.merge(0, 1, &[token(2), token(3)]);
        assert_eq!((log.held(0), log.conflicts()), (3, 0));
        log.merge(0, u64::MAX, &[token(2), token(3)]);
        log.merge(9, 0, &[token(2)]);
        assert_eq!((log.held(0), log.held(9)), (3, 0));
        assert_eq!(log.page(0, 2), [token(3)]);
        assert_eq!(log.page(0, u64::MAX), []);
        assert_eq!(log.page(9, 0), []);
    }

    #[test]
    fn two_tokens_under_one_number_are_a_split_brain() {
        let mut log = Log::new(1);
        log.merge(0, 0, &[token(1), token(2)]);
        log.merge(0, 1, &[token(5)]);
        assert_eq!((log.held(0), log.conflicts()), (2, 1));
    }
}
