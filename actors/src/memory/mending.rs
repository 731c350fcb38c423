//! Mending: damage that is found while the node runs. What is damaged is never served; it is
//! taken out, and the others, who have it, are compared with at once. From then on this node
//! writes as another replica, because what was lost may have been its own write.

use std::collections::BTreeSet;

use chorus_protocol::ids::Digest;
use chorus_protocol::memory::key::Position;
use chorus_protocol::wire::codec;
use chorus_storage::store::{Batch, Error, Store, Tree};

use super::ToMemory;
use super::actor::State;
use super::writing::decode;
use crate::restore::MEMORY_SINCE;

/// Rows of one page of the scan.
const PAGE: usize = 256;

/// What mending came to.
#[derive(Debug)]
pub struct Mended {
    /// How many keys were damaged.
    pub keys: u64,
    /// What stands now.
    pub standing: Vec<(Position, Digest)>,
}

/// Takes out what is damaged at `positions`, and reads what stands. Both on the store's
/// thread, so that no write comes in between.
fn take_out(
    store: &dyn Store,
    positions: &[Position],
    since: Vec<u8>,
) -> Result<(Batch, Mended), Error> {
    let mut mended = Mended {
        keys: 0,
        standing: Vec::new(),
    };
    let mut batch = Batch::new();
    // Some may have been mended since they were met.
    let mut gone = BTreeSet::new();
    for at in positions {
        let damaged = match store.get(Tree::Memory, &at.0) {
            Err(Error::Damaged { .. }) => true,
            other => other?.is_some_and(|value| decode(&value).is_none()),
        };
        if damaged {
            batch = batch.delete(Tree::Memory, at.0.to_vec());
            gone.insert(*at);
        }
    }
    mended.keys = gone.len() as u64;
    if mended.keys == 0 {
        return Ok((batch, mended));
    }
    let mut from: Option<Vec<u8>> = None;
    loop {
        let page = store.scan(Tree::Memory, &[], from.as_deref(), PAGE)?;
        for (at, value) in page.rows {
            let at: Result<[u8; 32], _> = at.try_into();
            let digest = value.get(..32).and_then(|it| it.try_into().ok());
            if let (Ok(at), Some(digest)) = (at, digest)
                && !gone.contains(&Position(at))
            {
                mended.standing.push((Position(at), Digest(digest)));
            }
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    Ok((batch.put(Tree::Meta, MEMORY_SINCE, since), mended))
}

impl State {
    /// What stands at these positions is damaged.
    pub(super) fn mend(&mut self, positions: Vec<Position>) {
        if positions.is_empty() {
            return;
        }
        // What is written after this is another replica's, whether it turns out to be needed
        // or not: a name more costs little.
        self.writer.replica.since = self.run;
        let since = codec::encode(&self.run);
        let myself = self.myself.clone();
        self.store.update(
            move |store| take_out(store, &positions, since),
            move |result| {
                let _ = myself.cast(ToMemory::Mended(result));
            },
        );
    }

    /// It is taken out; the others have it.
    pub(super) fn mended(&mut self, result: Result<Mended, String>) {
        match result {
            Ok(mended) if mended.keys > 0 => {
                self.count("memory_damaged_found", mended.keys);
                tracing::warn!(
                    keys = mended.keys,
                    "records of memory are damaged here; they are fetched from the others"
                );
                let now = self.now();
                self.machine.stands(&mended.standing, now);
            }
            Ok(_) => {}
            Err(why) => tracing::warn!(why, "damaged records could not be taken out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use chorus_storage::FaultyStore;
    use chorus_storage::faulty::Schedule;

    use super::*;

    #[test]
    fn what_is_damaged_is_taken_out_and_what_is_whole_stays() {
        let mut store = FaultyStore::new(7, Schedule::default());
        let set = chorus_protocol::memory::siblings::Siblings::default();
        let value = |n: u8| [&[n; 32][..], &set.encode()].concat();
        for n in 0..6 {
            let batch = Batch::new().put(Tree::Memory, [n; 32], value(n));
            store.apply(&batch).expect("room");
        }
        // One whose bytes are as they were stored, and are no set.
        let odd = Batch::new().put(Tree::Memory, [6; 32], [1; 40]);
        store.apply(&odd).expect("room");
        assert!(store.flip_bit(Tree::Memory, &[2; 32]));
        let asked: Vec<Position> = (1..7).map(|n| Position([n; 32])).collect();
        let (batch, mended) = take_out(&store, &asked, vec![9]).expect("it reads");
        assert_eq!(mended.keys, 2);
        let standing = |n: u8| (Position([n; 32]), Digest([n; 32]));
        assert_eq!(mended.standing, [0, 1, 3, 4, 5].map(standing));
        store.apply(&batch).expect("room");
        let since = store.get(Tree::Meta, MEMORY_SINCE).expect("it reads");
        assert_eq!(
            since,
            Some(vec![9]),
            "written as another replica from now on"
        );
        for (n, there) in [(1, true), (2, false), (3, true), (6, false)] {
            let found = store.get(Tree::Memory, &[n; 32]).expect("it reads");
            assert_eq!(found.is_some(), there, "{n}");
        }
        let (batch, mended) = take_out(&store, &asked, vec![10]).expect("it reads");
        assert_eq!(
            (mended.keys, batch.changes().len()),
            (0, 0),
            "nothing is left"
        );
    }
}
