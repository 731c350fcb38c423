//! What the disk gives back at the start: items, stamps and used tokens; what is
//! taken in the place of what was lost; and what has to be said of that.

use std::time::{Duration, Instant};

use chorus_protocol::ids::{Digest, Incarnation, NodeId, Stamp};
use chorus_protocol::memory::key::Position;
use chorus_protocol::trust::directory::Directory;
use chorus_protocol::trust::item::{Claim, Item, digest_of};
use chorus_protocol::trust::mesh_of;
use chorus_protocol::wire::codec;
use chorus_protocol::wire::message::Items;
use chorus_storage::checkpoints::{Checkpoints, Files};
use chorus_storage::home::{Home, HomeError, Lock, write_atomic};
use chorus_storage::store::{Batch, Error, Store, Tree};
use chorus_storage::{boot, clock, sled_store};

use crate::memory;
use crate::node::StartError;
use crate::store::Disk;
use crate::uses::{self, Uses};

/// The mirror's file in `mesh/`.
const MIRROR: &str = "roster";
/// In [`Tree::Meta`]: there was a mirror once, so one that is not there is missing.
pub(crate) const MIRRORED: &[u8] = b"mirrored";
/// In [`Tree::Meta`]: the store was damaged, and mended by who could not say it in a status.
const MENDED: &[u8] = b"mended";
/// In [`Tree::Meta`]: the run since which nothing of memory was lost here.
pub(crate) const MEMORY_SINCE: &[u8] = b"memory_since";
/// In [`Tree::Meta`]: whose store it is, and the start that last wrote into it. The count of
/// starts stands beside the keys, so a store that is of another time, or another's, does not fit.
const MEMORY_RUN: &[u8] = b"memory_run";

/// What was not as it should be, as counters that are 0 or 1.
pub(crate) type Findings = Vec<(&'static str, u64)>;

/// What the disk gave back.
pub(crate) struct Restored {
    pub disk: Disk,
    pub items: Vec<Vec<u8>>,
    pub stamps: Vec<(NodeId, Stamp)>,
    /// What the journal held; the journal itself is in `disk`.
    pub door: DoorState,
    /// Checkpoints, the oldest first, whose bytes nobody has checked yet.
    pub checkpoints: Vec<Files>,
    pub findings: Findings,
    /// What stands in memory.
    pub standing: Vec<(Position, Digest)>,
}

impl Restored {
    /// The run since which nothing of memory was lost here: this one, where something was. Of a
    /// store that is older than the keys nobody knows which writes it has forgotten, and under
    /// their name a later one would pass for having seen them. A start that failed before this
    /// looks like one, and costs a name.
    pub(crate) fn memory_since(
        &mut self,
        own: &NodeId,
        run: Incarnation,
    ) -> Result<Incarnation, Error> {
        let store = &mut self.disk.store;
        let names = ["store_damaged", "store_lost", "memory_damaged"];
        let lost = |(name, is): &(&str, u64)| *is > 0 && names.contains(name);
        // What cannot be read is not there.
        let stored = |name: &[u8]| store.get(Tree::Meta, name).ok().flatten();
        let before = stored(MEMORY_RUN).and_then(|it| codec::decode::<(NodeId, u32)>(&it).ok());
        let is_next =
            |(whose, boot): (NodeId, u32)| whose == *own && boot.checked_add(1) == Some(run.boot());
        let put_back = before.is_some_and(|it| !is_next(it));
        let since = stored(MEMORY_SINCE).and_then(|it| codec::decode(&it).ok());
        let since = since.filter(|_| before.is_some_and(is_next));
        let since = since.filter(|_| !self.findings.iter().any(lost));
        let here = codec::encode(&(*own, run.boot()));
        let mut began = Batch::new().put(Tree::Meta, MEMORY_RUN, here);
        if since.is_none() {
            began = began.put(Tree::Meta, MEMORY_SINCE, codec::encode(&run));
        }
        store.apply(&began)?;
        store.flush()?;
        if put_back {
            tracing::warn!(
                "the store is not that of this node's last start: an older copy, or another's, \
                 was put in its place, or starts failed since; what it lacks is fetched from the \
                 others"
            );
        }
        self.findings.push(("store_put_back", u64::from(put_back)));
        Ok(since.unwrap_or(run))
    }
}

/// The door's part of the journal.
pub(crate) struct DoorState {
    pub id: chorus_protocol::trust::token::JournalId,
    pub uses: Vec<chorus_protocol::trust::door::Use>,
    pub closed: chorus_protocol::trust::door::Closed,
}

/// Opens store and journal and reads what they hold.
pub(crate) fn restore(home: &Home, boot: boot::Boot) -> Result<Restored, StartError> {
    let mut opened = sled_store::open(&home.db())?;
    // One that cannot be read says as much.
    let told = !matches!(opened.store.get(Tree::Meta, MENDED), Ok(None));
    let damaged = warn_of_damage(&opened.recovery) || told;
    let Uses {
        journal,
        id,
        uses,
        closed,
        began,
    } = uses::open(home, clock::unix_s())?;
    if began {
        tracing::warn!(
            "the journal of used tokens is missing, lost something, or left out uses under a clock \
             that was ahead: every token that was made here before is void; make new ones with \
             `chorus invite`"
        );
    }
    let kept = all(&opened.store, Tree::Roster)?;
    let store_lost = kept.is_empty();
    let mut items: Vec<Vec<u8>> = kept.into_iter().map(|(_, item)| item).collect();
    // A store that was lost is filled again from what is kept beside the keys.
    // Of a store that is gone only the count of starts tells that there was a mirror.
    let due = match store_lost {
        true => boot.boot() > 1,
        false => !matches!(opened.store.get(Tree::Meta, MIRRORED), Ok(None)),
    };
    let (mirror, mirror_lost) = mirrored(home, due);
    let mut refill = Batch::new();
    if told {
        refill = refill.delete(Tree::Meta, MENDED);
    }
    for item in mirror {
        let digest = digest_of(&item);
        refill = refill.put(Tree::Roster, digest.0.to_vec(), item.clone());
        items.push(item);
    }
    match (store_lost, mirror_lost) {
        (true, true) => tracing::warn!(
            "the store and mesh/roster are both lost: who belongs and who was revoked comes back \
             only from peers; this node begins with its own entry"
        ),
        (true, false) => tracing::warn!(
            items = items.len(),
            "the store was lost: it begins again with mesh/roster, and peers fill it"
        ),
        (false, true) => tracing::warn!("mesh/roster is missing or damaged; it is written anew"),
        (false, false) => {}
    }
    let stamps = all(&opened.store, Tree::Peers)?
        .into_iter()
        .filter_map(|(node, stamp)| {
            Some((NodeId(node.try_into().ok()?), codec::decode(&stamp).ok()?))
        })
        .collect();
    // What is damaged there is nobody's any more: the others have it.
    let is_memory = |it: &&(Tree, Vec<u8>)| it.0 == Tree::Memory;
    let damaged_keys = opened.damaged.iter().filter(is_memory);
    let memory_damaged = damaged_keys.clone().count();
    for (tree, key) in damaged_keys {
        refill = refill.delete(*tree, key.clone());
    }
    if memory_damaged > 0 {
        tracing::warn!(
            keys = memory_damaged,
            "records of memory are damaged here; they are fetched from the others"
        );
    }
    // With what is mended goes the mark of what was lost: a kill before this run's own is
    // written must not leave the old one, which says that nothing was.
    if damaged || store_lost || memory_damaged > 0 {
        refill = refill.delete(Tree::Meta, MEMORY_SINCE);
    }
    opened.store.apply(&refill)?;
    opened.store.flush()?;
    let mut standing = Vec::new();
    memory::reading::standing(&opened.store.reader(), |at, set| standing.push((at, set)))?;
    let checkpoints = Checkpoints::of(home);
    // One that cannot be read is fetched again, or made again in a minute.
    let files = checkpoints.read_all().unwrap_or_else(|why| {
        tracing::warn!(%why, "the checkpoints cannot be read");
        Vec::new()
    });
    let disk = Disk {
        mirror: home.mesh().join(MIRROR),
        checkpoints,
        store: Box::new(opened.store),
        journal,
        boot,
    };
    let findings = [
        ("journal_began", began),
        ("store_damaged", damaged),
        ("store_lost", store_lost),
        ("mirror_lost", mirror_lost),
        ("memory_damaged", memory_damaged > 0),
    ];
    Ok(Restored {
        disk,
        items,
        stamps,
        door: DoorState { id, uses, closed },
        standing,
        checkpoints: files,
        findings: findings.map(|(name, is)| (name, u64::from(is))).to_vec(),
    })
}

/// The directory's items that this home holds, in its store and beside its keys.
/// Opens the store and lets go of it again: only for whoever has the home's lock. What it
/// mends is among the findings of the next start.
pub fn items(home: &Home) -> Result<Vec<Vec<u8>>, StartError> {
    let mut opened = sled_store::open(&home.db())?;
    if warn_of_damage(&opened.recovery) {
        // The next start finds nothing to mend, and says this.
        let said = Batch::new().put(Tree::Meta, MENDED, "1");
        let said = opened.store.apply(&said);
        if let Err(why) = said.and_then(|()| opened.store.flush()) {
            tracing::warn!(%why, "the damage will not show in the status");
        }
    }
    let mut items: Vec<Vec<u8>> = all(&opened.store, Tree::Roster)?
        .into_iter()
        .map(|(_, item)| item)
        .collect();
    items.extend(mirrored(home, false).0);
    Ok(items)
}

fn warn_of_damage(recovery: &sled_store::Recovery) -> bool {
    let damaged = *recovery != sled_store::Recovery::Clean;
    if damaged {
        tracing::warn!(?recovery, "the store was damaged; peers fill it again");
    }
    damaged
}

/// Writes the items about `own` that are kept beside the keys, where verbs read
/// them while the node runs, if they are not those of the directory. Says
/// whether one had to be mended.
pub(crate) fn keep_beside(home: &Home, directory: &Directory, own: &NodeId) -> bool {
    let mesh = &mesh_of(directory.roster().root());
    let mut mended = false;
    for item in directory.set().items() {
        let name = match item.claim() {
            Claim::Entry(it) if it.node == *own && is_own_entry(directory, item, own) => "entry",
            Claim::Delegation(it) if it.node == *own => "delegation",
            _ => continue,
        };
        let path = home.mesh().join(name);
        let before = std::fs::read(&path).ok();
        if before.as_deref() == Some(item.bytes()) {
            continue;
        }
        let sound = before.is_some_and(|bytes| Item::open(&bytes, mesh).is_ok());
        if !sound {
            mended = true;
            tracing::warn!(
                path = %path.display(),
                "missing or damaged; written anew from the store"
            );
        }
        if let Err(why) = write_atomic(&path, item.bytes(), 0o600) {
            // Verbs that need it say so; the node itself does not.
            tracing::warn!(%why, "could not be written");
        }
    }
    mended
}

/// Whether it is the entry that counts: the set may hold older ones.
fn is_own_entry(directory: &Directory, item: &Item, own: &NodeId) -> bool {
    let counts = directory.roster().get(own);
    let Claim::Entry(entry) = item.claim() else {
        return false;
    };
    counts.is_some_and(|member| member.entry == *entry)
}

/// The items beside the keys: those of the founding or the welcome, and the
/// mirror that the running node keeps. The directory drops what does not count.
/// Also whether the mirror is damaged, or `due` and not there: a run that never got as far as
/// to write it has lost nothing.
fn mirrored(home: &Home, due: bool) -> (Vec<Vec<u8>>, bool) {
    let read = |name: &str| std::fs::read(home.mesh().join(name)).ok();
    let there = read(MIRROR);
    let due = due || there.is_some();
    let mirror = there.and_then(|bytes| codec::decode::<Items>(&bytes).ok());
    let lost = mirror.is_none() && due;
    let mirror = mirror.into_iter().flat_map(|mirror| mirror.items);
    let single = ["entry", "delegation"].into_iter().filter_map(read);
    let items = single.chain(mirror.map(|item| item.into_vec())).collect();
    (items, lost)
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Every row of a tree.
fn all(store: &dyn Store, tree: Tree) -> Result<Rows, Error> {
    let mut rows = Vec::new();
    let mut from: Option<Vec<u8>> = None;
    loop {
        let page = store.scan(tree, &[], from.as_deref(), 1_000)?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(rows),
        }
    }
}

/// How long a start waits for its home: other verbs take it for a moment, and a service whose
/// start was refused for that would not be started again.
const HOME_WAIT: Duration = Duration::from_secs(2);
const HOME_LOOK: Duration = Duration::from_millis(50);

/// Takes the home, as soon as it is free.
pub(crate) async fn take(home: &Home) -> Result<Lock, HomeError> {
    let deadline = Instant::now() + HOME_WAIT;
    loop {
        match home.lock() {
            Err(HomeError::InUse { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(HOME_LOOK).await;
            }
            taken => return taken,
        }
    }
}

#[cfg(test)]
mod tests;
