//! Making a home: whole or not at all, and after a kill gone on with.

use std::fs;

use chorus_actors::transport::sockets::CurveKeys;
use chorus_protocol::ids::NodeId;
use chorus_protocol::trust::item::digest_of;
use chorus_protocol::trust::{Claim, Item, mesh_of};
use chorus_protocol::wire::Identity;
use chorus_storage::home::{make_dir, read_key, write_atomic, write_key};
use chorus_storage::{Batch, BootError, Home, Store, Tree, boot, sled_store};

use super::{broken, store_failed};
use crate::error::Failure;

/// What a new home begins with.
#[derive(Debug)]
pub struct Founding<'a> {
    /// The node's own key.
    pub identity: &'a Identity,
    /// The key of its links.
    pub curve: &'a CurveKeys,
    /// The mesh's root public key.
    pub root: NodeId,
    /// The root's secret key; only where the mesh is made.
    pub root_key: Option<&'a Identity>,
    /// The text of `chorus.toml`, unless there is one already.
    pub config: &'a str,
}

/// Refuses a home in which a node lives, or something that is none.
pub fn refuse_used(home: &Home) -> Result<(), Failure> {
    let dir = home.dir().display();
    if home.is_used().map_err(broken)? {
        let message = format!("a node lives in {dir} already; nothing was changed");
        return Err(Failure::refused("home_used", message).hint("choose another --dir"));
    }
    if begun(home).is_some() {
        return Ok(());
    }
    let left = PARTS.iter().find(|part| {
        let mut names = fs::read_dir(home.dir().join(part)).into_iter().flatten();
        names.next().is_some()
    });
    match left {
        Some(part) => {
            let message = format!("{dir} holds no node key, but {part}/ is not empty");
            Err(Failure::refused("home_used", message)
                .hint("restore identity/node.key, or choose another --dir"))
        }
        None => Ok(()),
    }
}

/// The folders of a home that a node fills.
const PARTS: [&str; 5] = ["identity", "mesh", "operator", "db", "journal"];

/// The keys of a home whose making was cut short: by a kill or a power cut, or since the door's
/// answer, or the room for it, did not come. A door may have welcomed them, and then welcomes
/// them again with the same token, though it is used up.
pub fn begun(home: &Home) -> Option<(Identity, CurveKeys)> {
    let making = home.making();
    let identity = Identity::from_seed(&read_key(&making.join("node.key")).ok()?);
    let curve = CurveKeys::from_secret(read_key(&making.join("curve.key")).ok()?);
    Some((identity, curve))
}

/// Keeps the new keys until the home is whole. The node's is last: without it nothing is begun.
fn begin(home: &Home, founding: &Founding<'_>) -> Result<(), Failure> {
    let making = home.making();
    make_dir(&making).map_err(broken)?;
    write_key(&making.join("curve.key"), &founding.curve.secret).map_err(broken)?;
    write_key(&making.join("node.key"), &founding.identity.seed()).map_err(broken)
}

/// Takes away what a making left, all but the keys that it began with.
fn clear(home: &Home) {
    // What cannot be taken away, the next try names.
    for part in PARTS.iter().chain(&["run"]) {
        let _ = fs::remove_dir_all(home.dir().join(part));
    }
}

/// Makes a home, with the first `items` of its directory. They are asked for
/// when the folders are there and locked, so that no token is used up for a home
/// that cannot be written. The node's key, which makes it a home, is written
/// last; after a failure what was made is taken away again. The new keys stay where a door
/// may count them as a member's, which `items` notes in its argument: only they can go on
/// with that. It begins as true for keys that an earlier making has left.
pub fn make(
    home: &Home,
    founding: &Founding<'_>,
    items: impl FnOnce(&mut bool) -> Result<Vec<Vec<u8>>, Failure>,
) -> Result<(), Failure> {
    refuse_used(home)?;
    let had_dir = home.dir().exists();
    let had_config = home.config().exists();
    let lock_file = home.dir().join("lock");
    let had_lock = lock_file.exists();
    make_dir(home.dir()).map_err(broken)?;
    let lock = home.lock().map_err(broken)?;
    // Somebody may have been here between the first look and the lock.
    refuse_used(home)?;
    let before = begun(home);
    if before.is_some() {
        clear(home);
    }
    let mut counted = before.is_some_and(|(it, _)| it.id() == founding.identity.id());
    let made = begin(home, founding).and_then(|()| home.create().map_err(broken));
    let made = made.and_then(|()| fill(home, founding, &items(&mut counted)?, had_config));
    let keys_stay = made.is_err() && counted;
    if !keys_stay {
        let _ = fs::remove_dir_all(home.making());
    }
    if made.is_err() {
        clear(home);
        if !had_config {
            let _ = fs::remove_file(home.config());
        }
        if !had_lock {
            let _ = fs::remove_file(&lock_file);
        }
    }
    drop(lock);
    if made.is_err() && !had_dir && !keys_stay {
        let _ = fs::remove_dir_all(home.dir());
    }
    made
}

fn fill(
    home: &Home,
    founding: &Founding<'_>,
    items: &[Vec<u8>],
    had_config: bool,
) -> Result<(), Failure> {
    if let Some(root) = founding.root_key {
        write_key(&home.root_key(), &root.seed()).map_err(broken)?;
    }
    let root = format!("{}\n", founding.root);
    write_atomic(&home.mesh().join("root.pub"), root.as_bytes(), 0o600).map_err(broken)?;
    keep_items(home, founding, items)?;
    if !had_config {
        write_atomic(&home.config(), founding.config.as_bytes(), 0o600).map_err(broken)?;
    }
    chorus_actors::uses::begin(home).map_err(store_failed)?;
    boot::create(home).map_err(|why| match why {
        BootError::Home(why) => broken(why),
        why => Failure::failed("boot_record", why.to_string()),
    })?;
    write_key(&home.curve_key(), &founding.curve.secret).map_err(broken)?;
    write_key(&home.node_key(), &founding.identity.seed()).map_err(broken)
}

fn keep_items(home: &Home, founding: &Founding<'_>, items: &[Vec<u8>]) -> Result<(), Failure> {
    let mut store = sled_store::open(&home.db()).map_err(store_failed)?.store;
    let mut batch = Batch::new();
    for bytes in items {
        batch = batch.put(Tree::Roster, digest_of(bytes).0, bytes.as_slice());
    }
    store
        .apply(&batch)
        .and_then(|()| store.flush())
        .map_err(store_failed)?;
    let (own, mesh) = (founding.identity.id(), mesh_of(&founding.root));
    for bytes in items {
        let name = match Item::open(bytes, &mesh) {
            Ok(item) => match item.claim() {
                Claim::Entry(it) if it.node == own => "entry",
                Claim::Delegation(it) if it.node == own => "delegation",
                _ => continue,
            },
            Err(_) => continue,
        };
        write_atomic(&home.mesh().join(name), bytes, 0o600).map_err(broken)?;
    }
    Ok(())
}
