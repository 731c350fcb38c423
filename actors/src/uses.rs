//! The journal in which an enroller counts the uses of its tokens: what stands in
//! it, and that a lost one takes its tokens with it.
//!
//! It begins with a random id, which every token made here names. When the
//! journal is missing, or has lost something that was acknowledged, nobody can
//! tell any more which tokens were used: it goes on under a new id, and tokens of
//! the old one are refused. The same holds when the clock stands before the end of
//! tokens whose uses were left out: it was ahead then, or is behind now. Without a new
//! id every token that ends before that would be refused, new ones too, for as long.

use std::collections::BTreeMap;

use chorus_protocol::trust::door::{Closed, Use};
use chorus_protocol::trust::token::JournalId;
use chorus_protocol::wire::codec;
use chorus_storage::home::Home;
use chorus_storage::journal::{self, Journal, Recovery, Seq};
use chorus_storage::store::Error;

/// A token's use.
pub const JOURNAL_USE: u8 = 1;
/// From here on uses are counted under this id.
pub const JOURNAL_BEGUN: u8 = 2;
/// What is remembered of uses that were left out.
pub const JOURNAL_CLOSED: u8 = 3;

/// The open journal and what it holds.
#[derive(Debug)]
pub struct Uses {
    /// Ready to append.
    pub journal: Journal,
    /// Its id.
    pub id: JournalId,
    /// Uses that count, in order.
    pub uses: Vec<Use>,
    /// What is remembered of the others.
    pub closed: Closed,
    /// Whether it began anew just now: tokens that were made before are void.
    pub began: bool,
}

/// What reading gives, record by record.
#[derive(Debug, Default)]
struct Read {
    records: usize,
    begun: Option<(Seq, JournalId)>,
    uses: Vec<Use>,
    closed: Closed,
}

impl Read {
    fn take(&mut self, record: journal::Record) {
        self.records += 1;
        let known = match record.kind {
            JOURNAL_USE => codec::decode(&record.payload).map(|it| self.uses.push(it)),
            JOURNAL_CLOSED => codec::decode::<Closed>(&record.payload).map(|it| {
                self.closed.upto_s = self.closed.upto_s.max(it.upto_s);
                self.closed.issued = self.closed.issued.max(it.issued);
            }),
            JOURNAL_BEGUN => {
                if let Ok(id) = JournalId::try_from(record.payload.as_slice()) {
                    if self.begun.is_none_or(|(_, before)| before != id) {
                        // Tokens of the id before are void, whenever they end.
                        self.closed.upto_s = 0;
                    }
                    self.begun = Some((record.seq, id));
                }
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(why) = known {
            tracing::warn!(%why, kind = record.kind, "a journal record that cannot be read");
        }
    }
}

/// Opens the journal of `home`, begins it where that is due, and leaves out uses
/// that are over once they are more than half of it. `now_unix_s` is Unix time, 0
/// where it is not known.
pub fn open(home: &Home, now_unix_s: u64) -> Result<Uses, Error> {
    let mut read = Read::default();
    let opened = Journal::open(&home.journal(), |record| read.take(record))?;
    let (mut journal, recovery) = (opened.journal, opened.recovery);
    let mut closed = read.closed;
    let behind = now_unix_s > 0 && now_unix_s < closed.upto_s;
    let begun = read.begun;
    let begun = begun.filter(|(seq, _)| !behind && !lost_since(&recovery, *seq));
    let began = begun.is_none();
    let id = match begun {
        Some((_, id)) => id,
        None => {
            let id = getrandom::u64().map_err(|why| Error::Io {
                what: "randomness for the journal's id".into(),
                source: std::io::Error::other(why.to_string()),
            })?;
            let id = id.to_le_bytes();
            journal.append(JOURNAL_BEGUN, &id)?;
            closed.upto_s = 0;
            id
        }
    };
    let uses = counting(&read.uses, now_unix_s, &mut closed);
    let kept = uses.len() + 2;
    if read.records > 2 * kept {
        // A journal that stays long harms nobody: the next start tries again.
        match compact(&mut journal, id, closed, &uses) {
            Ok(done) => tracing::debug!(done, kept, of = read.records, "journal compacted"),
            Err(why) => tracing::warn!(%why, "the journal could not be compacted"),
        }
    }
    Ok(Uses {
        journal,
        id,
        uses,
        closed,
        began,
    })
}

/// Begins the journal of a new home, or leaves one that has begun as it is.
pub fn begin(home: &Home) -> Result<(), Error> {
    open(home, 0).map(drop)
}

/// The id under which a node of `home` counts now, read beside it; `None` where
/// no journal has begun.
pub fn journal_id(home: &Home) -> Result<Option<JournalId>, Error> {
    let mut read = Read::default();
    journal::read(&home.journal(), |record| read.take(record))?;
    Ok(read.begun.map(|(_, id)| id))
}

/// Whether something acknowledged is missing behind `seq`, or may be.
fn lost_since(recovery: &Recovery, seq: Seq) -> bool {
    let behind = |cut: &journal::Cut| cut.next.is_none_or(|next| next > seq);
    recovery.mark_lost || recovery.cuts.iter().any(behind)
}

/// The uses that still count, each once; the others go into `closed`.
fn counting(uses: &[Use], now_unix_s: u64, closed: &mut Closed) -> Vec<Use> {
    // A crash in a compaction leaves records twice; the later has the same content.
    let mut seen = BTreeMap::new();
    let mut kept = Vec::new();
    for it in uses {
        if it.is_over(now_unix_s) {
            *closed = closed.and(it);
        } else if seen.insert((it.nonce, it.entry.node), ()).is_none() {
            kept.push(it.clone());
        }
    }
    kept
}

fn compact(
    journal: &mut Journal,
    id: JournalId,
    closed: Closed,
    uses: &[Use],
) -> Result<bool, Error> {
    let mut keep = vec![
        (JOURNAL_BEGUN, id.to_vec()),
        (JOURNAL_CLOSED, codec::encode(&closed)),
    ];
    keep.extend(uses.iter().map(|it| (JOURNAL_USE, codec::encode(it))));
    let keep: Vec<(u8, &[u8])> = keep
        .iter()
        .map(|(kind, it)| (*kind, it.as_slice()))
        .collect();
    journal.compact(&keep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chorus_protocol::ids::{CurveKey, Label, NodeId, Place, Role};
    use chorus_protocol::trust::door::USE_KEPT_S;
    use chorus_protocol::trust::item::Entry;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        home.create().unwrap();
        (dir, home)
    }
    fn use_of(n: u16, expires_s: u64) -> Use {
        let label = Label::new("a").unwrap();
        let mut nonce = [0; 16];
        nonce[8..10].copy_from_slice(&n.to_le_bytes());
        Use {
            nonce,
            entry: Entry {
                node: NodeId([n as u8; 32]),
                curve: CurveKey([n as u8; 32]),
                name: label,
                role: Role::Agent,
                place: Place {
                    sector: label,
                    cluster: label,
                },
                caps: Vec::new(),
                floor: 0,
                issued: u64::from(n),
                adopts: None,
            },
            expires_s,
        }
    }
    fn append(uses: &mut Uses, it: &Use) {
        let bytes = codec::encode(it);
        uses.journal.append(JOURNAL_USE, &bytes).unwrap();
    }
    fn bytes(home: &Home) -> u64 {
        let files = std::fs::read_dir(home.journal()).unwrap();
        files.map(|it| it.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn an_id_stays_until_the_journal_is_lost() {
        let (_dir, home) = home();
        assert_eq!(journal_id(&home).unwrap(), None);
        let mut first = open(&home, 0).unwrap();
        assert!(first.began);
        append(&mut first, &use_of(1, 100));
        let id = first.id;
        drop(first);
        begin(&home).unwrap();
        let again = open(&home, 0).unwrap();
        assert_eq!((again.id, again.began, again.uses.len()), (id, false, 1));
        assert_eq!(journal_id(&home).unwrap(), Some(id));
        drop(again);
        std::fs::remove_dir_all(home.journal()).unwrap();
        assert_eq!(journal_id(&home).unwrap(), None);
        let lost = open(&home, 0).unwrap();
        assert!(lost.began && lost.id != id);
    }

    #[test]
    fn every_loss_ends_the_id_once_and_none_goes_unseen() {
        for harm in ["segment gone", "end cut off", "middle damaged", "mark gone"] {
            let (_dir, home) = home();
            let mut uses = open(&home, 0).unwrap();
            for n in 1..=3 {
                append(&mut uses, &use_of(n, 100));
            }
            let id = uses.id;
            drop(uses);
            let paths = std::fs::read_dir(home.journal()).unwrap();
            let mut paths: Vec<_> = paths.map(|it| it.unwrap().path()).collect();
            paths.sort();
            let [segment, mark] = paths.as_slice() else {
                panic!("{paths:?}")
            };
            let whole = std::fs::read(segment).unwrap();
            match harm {
                "segment gone" => std::fs::remove_file(segment).unwrap(),
                "end cut off" => std::fs::write(segment, &whole[..whole.len() - 9]).unwrap(),
                "mark gone" => std::fs::remove_file(mark).unwrap(),
                _ => {
                    let mut bad = whole.clone();
                    bad[whole.len() / 2] ^= 1;
                    std::fs::write(segment, bad).unwrap();
                }
            }
            let lost = open(&home, 0).unwrap();
            assert!(lost.began && lost.id != id, "{harm}");
            let id = lost.id;
            drop(lost);
            let later = open(&home, 0).unwrap();
            assert_eq!((later.id, later.began), (id, false), "{harm}");
        }
    }

    #[test]
    fn uses_that_are_over_are_left_out_and_stand_for_what_they_closed() {
        let (_dir, home) = home();
        let mut uses = open(&home, 0).unwrap();
        let id = uses.id;
        for n in 1..=300 {
            append(&mut uses, &use_of(n, 1_000 + u64::from(n)));
        }
        append(&mut uses, &use_of(301, 9_000_000));
        drop(uses);
        let (before, now) = (bytes(&home), 1_300 + USE_KEPT_S);
        let shorter = open(&home, now).unwrap();
        assert_eq!((shorter.id, shorter.uses.len()), (id, 1));
        assert!(bytes(&home) < before / 20, "{} of {before}", bytes(&home));
        drop(shorter);
        // The clock is set back, and nothing is good again.
        for _ in 0..2 {
            let back = open(&home, 0).unwrap();
            let closed = Closed {
                upto_s: 1_300,
                issued: 300,
            };
            assert_eq!((back.closed, back.id), (closed, id));
            assert_eq!(back.uses, [use_of(301, 9_000_000)]);
        }
    }
    #[test]
    fn a_start_under_a_clock_far_ahead_does_not_refuse_new_tokens_for_ever() {
        let (_dir, home) = home();
        let mut uses = open(&home, 1_000).unwrap();
        let id = uses.id;
        for n in 1..=9 {
            append(&mut uses, &use_of(n, 2_000_000));
        }
        drop(uses);
        let ahead = open(&home, 2_000_000 + USE_KEPT_S).unwrap();
        assert_eq!((ahead.id, ahead.uses.len()), (id, 0));
        assert_eq!(ahead.closed.upto_s, 2_000_000);
        drop(ahead);
        let right = open(&home, 1_000).unwrap();
        assert!(
            right.began && right.id != id,
            "old tokens could be used again"
        );
        let id = right.id;
        drop(right);
        for _ in 0..2 {
            let later = open(&home, 1_000).unwrap();
            assert_eq!((later.id, later.began), (id, false));
            let closed = Closed {
                upto_s: 0,
                issued: 9,
            };
            assert_eq!(later.closed, closed, "new tokens are good");
        }
    }

    #[test]
    fn a_kill_before_the_new_id_stands_leaves_the_loss_to_be_seen() {
        let (_dir, home) = home();
        let mut uses = open(&home, 0).unwrap();
        append(&mut uses, &use_of(1, 100));
        let id = uses.id;
        drop(uses);
        std::fs::remove_file(home.journal().join("mark")).unwrap();
        drop(Journal::open(&home.journal(), |_| ()).unwrap());
        let lost = open(&home, 0).unwrap();
        assert!(lost.began && lost.id != id);
    }
}
