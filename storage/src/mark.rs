//! A high-water mark beside a log: the last number that was acknowledged.
//!
//! It is written after the log's own sync and is not synced itself. It outlives
//! a killed process (the page cache does), and after a power cut it can only be
//! behind. So a log that ends *below* its mark lost something acknowledged,
//! which a checksum alone cannot tell from a torn, never acknowledged tail.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::crc::crc32;

#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
}

/// What stood in the mark's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No file, or an empty one.
    Nothing,
    /// The last acknowledged number.
    At(u64),
    /// Bytes that are not a mark.
    Damaged,
}

impl Mark {
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Found)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut bytes = [0; 12];
        let mut read = 0;
        while read < bytes.len() {
            match file.read_at(&mut bytes[read..], read as u64)? {
                0 => break,
                n => read += n,
            }
        }
        let (number, crc) = bytes.split_at(8);
        let found = if read == 0 {
            Found::Nothing
        } else if read == 12 && crc32(&[number]).to_le_bytes() == crc {
            Found::At(number.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
        } else {
            Found::Damaged
        };
        Ok((Self { file }, found))
    }

    pub(crate) fn set(&self, number: u64) -> io::Result<()> {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let crc = crc32(&[&bytes[..8]]);
        bytes[8..].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&bytes, 0)
    }
}
