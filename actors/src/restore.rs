//! What the disk gives back at the start: items, stamps and used tokens, and
//! what is taken in the place of a store that was lost.

use chorus_protocol::ids::{NodeId, Stamp};
use chorus_protocol::trust::door::Use;
use chorus_protocol::trust::item::digest_of;
use chorus_protocol::wire::codec;
use chorus_protocol::wire::message::Items;
use chorus_storage::home::Home;
use chorus_storage::journal::Journal;
use chorus_storage::store::{Batch, Store, Tree};
use chorus_storage::{boot, sled_store};

use crate::node::StartError;
use crate::store::{Disk, JOURNAL_USE};

/// The mirror's file in `mesh/`.
const MIRROR: &str = "roster";
/// What the disk gave back.
pub(crate) struct Restored {
    pub disk: Disk,
    pub items: Vec<Vec<u8>>,
    pub stamps: Vec<(NodeId, Stamp)>,
    pub uses: Vec<Use>,
}

/// Opens store and journal and reads what they hold.
pub(crate) fn restore(home: &Home, boot: boot::Boot) -> Result<Restored, StartError> {
    let failed = |why: String| StartError::Store(why);
    let mut opened = sled_store::open(&home.db()).map_err(|e| failed(e.to_string()))?;
    if opened.recovery != sled_store::Recovery::Clean {
        tracing::warn!(recovery = ?opened.recovery, "the store was damaged; peers fill it again");
    }
    let mut uses = Vec::new();
    let journal = Journal::open(&home.journal(), |record| {
        if record.kind == JOURNAL_USE {
            match codec::decode(&record.payload) {
                Ok(it) => uses.push(it),
                Err(why) => tracing::warn!(%why, "a journal record that is no use of a token"),
            }
        }
    })
    .map_err(|e| failed(e.to_string()))?;
    if !journal.recovery.is_whole() {
        tracing::warn!(recovery = ?journal.recovery, "the journal was damaged");
    }
    let rows = |tree| all(&opened.store, tree).map_err(&failed);
    let mut items: Vec<Vec<u8>> = rows(Tree::Roster)?
        .into_iter()
        .map(|(_, item)| item)
        .collect();
    // A store that was lost is filled again from what is kept beside the keys.
    let mut refill = Batch::new();
    for item in mirrored(home) {
        let digest = digest_of(&item);
        refill = refill.put(Tree::Roster, digest.0.to_vec(), item.clone());
        items.push(item);
    }
    let stamps = rows(Tree::Peers)?
        .into_iter()
        .filter_map(|(node, stamp)| {
            Some((NodeId(node.try_into().ok()?), codec::decode(&stamp).ok()?))
        })
        .collect();
    let filled = opened
        .store
        .apply(&refill)
        .and_then(|()| opened.store.flush());
    filled.map_err(|e| failed(e.to_string()))?;
    let disk = Disk {
        mirror: home.mesh().join(MIRROR),
        store: opened.store,
        journal: journal.journal,
        boot,
    };
    Ok(Restored {
        disk,
        items,
        stamps,
        uses,
    })
}

/// The items beside the keys: those of the founding or the welcome, and the
/// mirror that the running node keeps. The directory drops what does not count.
fn mirrored(home: &Home) -> Vec<Vec<u8>> {
    let read = |name: &str| std::fs::read(home.mesh().join(name)).ok();
    let mirror = read(MIRROR).and_then(|bytes| codec::decode::<Items>(&bytes).ok());
    let mirror = mirror.into_iter().flat_map(|mirror| mirror.items);
    let single = ["entry", "delegation"].into_iter().filter_map(read);
    single.chain(mirror.map(|item| item.into_vec())).collect()
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Every row of a tree.
fn all(store: &dyn Store, tree: Tree) -> Result<Rows, String> {
    let mut rows = Vec::new();
    let mut from: Option<Vec<u8>> = None;
    loop {
        let page = store
            .scan(tree, &[], from.as_deref(), 1_000)
            .map_err(|e| e.to_string())?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(rows),
        }
    }
}
