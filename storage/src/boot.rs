//! The boot record: how often this identity started, and how far its Lamport time is reserved.
//!
//! It stands beside the keys and not in the store, so that a lost store costs
//! no incarnation. It is made durable *before* its number is used, and never
//! goes back. One line, readable by a person: `chorus-boot 1 BOOT LAMPORT CRC`.

use std::fs;
use std::io;

use chorus_protocol::ids::Stamp;

use crate::crc::crc32;
use crate::home::{Home, HomeError, write_atomic};
use crate::store::Error;

/// Why a node has no incarnation to start under.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Keys without a record: the home comes from a backup without it, or lost
    /// it. Ask parent and siblings for the highest stamp they saw from this
    /// node, then [`restore_above`] it.
    #[error(
        "the boot record is missing although the keys are there; ask the peers for the last stamp"
    )]
    Missing,
    /// The record fails its checksum. Do as with [`BootError::Missing`].
    #[error("the boot record is damaged; ask the peers for the last stamp")]
    Damaged,
    /// [`create`] on a home that has a record. Nothing changed.
    #[error("there is a boot record already; nothing changed")]
    Exists,
    /// The counter of starts is used up. Enrol the node again: that raises its floor.
    #[error("the counter of starts is used up; enrol this node again")]
    UsedUp,
    /// The record could not be read or made durable. The number was not used.
    #[error(transparent)]
    Home(#[from] HomeError),
}

impl From<BootError> for Error {
    fn from(error: BootError) -> Self {
        match error {
            BootError::Home(why) => why.into(),
            other => Error::Io {
                what: "the boot record".into(),
                source: io::Error::other(other),
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    boot: u32,
    lamport: u64,
}

/// A started node's record, and the right to reserve more of Lamport time.
#[derive(Debug)]
pub struct Boot {
    home: Home,
    entry: Entry,
    lamport_from: u64,
}

/// Writes the first record, boot 0, when the identity is made.
pub fn create(home: &Home) -> Result<(), BootError> {
    match read(home) {
        Err(BootError::Missing) => write(
            home,
            Entry {
                boot: 0,
                lamport: 0,
            },
        ),
        Ok(_) | Err(BootError::Damaged) => Err(BootError::Exists),
        Err(other) => Err(other),
    }
}

/// Whether there is a readable record: `Missing` or `Damaged` where there is none.
pub fn check(home: &Home) -> Result<(), BootError> {
    read(home).map(drop)
}

/// Counts this start and makes that durable before it returns. Call it under the home's lock.
pub fn start(home: &Home) -> Result<Boot, BootError> {
    let last = read(home)?;
    let boot = last.boot.checked_add(1).ok_or(BootError::UsedUp)?;
    let entry = Entry {
        boot,
        lamport: last.lamport,
    };
    write(home, entry)?;
    Ok(Boot {
        home: home.clone(),
        entry,
        lamport_from: last.lamport,
    })
}

/// Writes a record at `seen`, the highest stamp that peers saw from this node,
/// or keeps a readable one that is higher. The next [`start`] is above both.
pub fn restore_above(home: &Home, seen: Stamp) -> Result<(), BootError> {
    let seen = Entry {
        boot: seen.incarnation.boot(),
        lamport: seen.lamport,
    };
    if seen.boot == u32::MAX {
        return Err(BootError::UsedUp);
    }
    let entry = match read(home) {
        Ok(old) => Entry {
            boot: old.boot.max(seen.boot),
            lamport: old.lamport.max(seen.lamport),
        },
        Err(BootError::Missing | BootError::Damaged) => seen,
        Err(other) => return Err(other),
    };
    write(home, entry)
}

impl Boot {
    /// This start's number: the `boot` part of the incarnation.
    pub fn boot(&self) -> u32 {
        self.entry.boot
    }
    /// Lamport times up to this one may have been used before: go on above it.
    pub fn lamport_from(&self) -> u64 {
        self.lamport_from
    }
    /// Lamport times up to this one may be used now.
    pub fn lamport_reserved(&self) -> u64 {
        self.entry.lamport
    }

    /// Whether the disk has room for a start: for the next record and for a store
    /// that opens.
    pub fn has_room(&self) -> bool {
        let free = self.home.free_bytes();
        free.is_ok_and(|free| free > 2 * crate::sled_store::FREE_BYTES_MIN)
    }

    /// Reserves Lamport time up to `lamport`, durable when this returns. On an
    /// error the old reservation stands. A lower number changes nothing.
    pub fn reserve(&mut self, lamport: u64) -> Result<(), BootError> {
        if lamport <= self.entry.lamport {
            return Ok(());
        }
        let entry = Entry {
            lamport,
            ..self.entry
        };
        write(&self.home, entry)?;
        self.entry = entry;
        Ok(())
    }
}

fn read(home: &Home) -> Result<Entry, BootError> {
    let path = home.boot();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(BootError::Missing),
        Err(e) => return Err(HomeError::io(&path, e).into()),
    };
    parse(&text).ok_or(BootError::Damaged)
}

fn parse(text: &[u8]) -> Option<Entry> {
    let mut words = std::str::from_utf8(text)
        .ok()?
        .split_ascii_whitespace()
        .skip(2);
    let boot = words.next()?.parse().ok()?;
    let lamport = words.next()?.parse().ok()?;
    let entry = Entry { boot, lamport };
    // One way to write each record, so comparing checks every byte of it.
    (line(entry).as_bytes() == text).then_some(entry)
}

fn write(home: &Home, entry: Entry) -> Result<(), BootError> {
    Ok(write_atomic(&home.boot(), line(entry).as_bytes(), 0o600)?)
}

fn line(entry: Entry) -> String {
    let words = format!("chorus-boot 1 {} {}", entry.boot, entry.lamport);
    format!("{words} {:08x}\n", crc32(&[words.as_bytes()]))
}
