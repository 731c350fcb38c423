//! A node's home, for verbs: reading what is there, and making a new one whole or not at all.

use std::fs;
use std::io;
use std::net::{IpAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use chorus_actors::Plan;
use chorus_actors::transport::sockets::{CurveKeys, Ports};
use chorus_protocol::ids::{MeshId, NodeId};
use chorus_protocol::trust::item::{Entry, digest_of};
use chorus_protocol::trust::{Claim, Directory, Item, mesh_of};
use chorus_protocol::wire::Identity;
use chorus_storage::home::{make_dir, read_key, write_atomic, write_key};
use chorus_storage::{Batch, BootError, Home, HomeError, Store, Tree, boot, sled_store};

use serde_json::Value;

use crate::error::Failure;
use crate::settings::Settings;

/// Roster items read from the store at a time.
const PAGE_ROWS: usize = 1024;

/// What a home holds that needs no open store: a running node does not keep
/// anybody from reading it.
#[derive(Debug)]
pub struct Loaded {
    /// Where.
    pub home: Home,
    /// The node's own key.
    pub identity: Identity,
    /// The key of its links.
    pub curve: CurveKeys,
    /// The mesh's root public key.
    pub root: NodeId,
    /// The mesh.
    pub mesh: MeshId,
}

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

/// Reads the keys of the node in `dir`.
pub fn load(dir: &Path) -> Result<Loaded, Failure> {
    let home = Home::at(dir);
    if !home.is_used() {
        let message = format!("there is no node in {}", dir.display());
        return Err(Failure::usage("no_node", message).hint(
            "make one with `chorus init` or `chorus join`, or name another home with --dir",
        ));
    }
    let identity = Identity::from_seed(&read_key(&home.node_key()).map_err(broken)?);
    let curve = CurveKeys::from_secret(read_key(&home.curve_key()).map_err(broken)?);
    let root = read_root(&home)?;
    Ok(Loaded {
        mesh: mesh_of(&root),
        home,
        identity,
        curve,
        root,
    })
}

/// What a node is started with. Refuses settings that contradict the roster.
pub fn plan(loaded: Loaded, settings: &Settings) -> Result<Plan, Failure> {
    if let Some(entry) = loaded.own_entry()? {
        settings.agrees_with(&entry)?;
    }
    warn_of_unresolved(settings.advertise.clone());
    let ports = as_before(&loaded.home, settings.host, settings.ports);
    // A kill between a home's last key and this: the home is whole.
    let _ = fs::remove_dir_all(loaded.home.making());
    let root_key = loaded.root_key().unwrap_or_else(|why| {
        tracing::warn!(%why, "the mesh's root key cannot be read: nobody is let enrol others");
        None
    });
    Ok(Plan {
        root_key,
        home: loaded.home,
        identity: loaded.identity,
        curve: loaded.curve,
        root: loaded.root,
        host: settings.host,
        ports,
        advertise: settings.advertise.clone(),
        gossip: settings.gossip.clone(),
    })
}

/// The names that do not resolve here. Waits for the system's resolver, seconds at worst.
pub fn unresolved(hosts: &[String]) -> Vec<String> {
    let unknown = |host: &&String| (host.as_str(), 0).to_socket_addrs().is_err();
    hosts.iter().filter(unknown).cloned().collect()
}

/// Says beside the start, which shall not wait for it, which names nobody can reach us by.
fn warn_of_unresolved(hosts: Vec<String>) {
    let look = move || {
        for host in unresolved(&hosts) {
            tracing::warn!(
                host,
                "net.advertise: the name does not resolve on this machine; \
                 where it does not either, nobody can connect to this node by it"
            );
        }
    };
    // A thread that cannot be started costs a warning and nothing else.
    let _ = std::thread::Builder::new()
        .name("chorus-names".into())
        .spawn(look);
}

/// Where a port is left to the system, the one that the last run had, if it is
/// free: others know the node by it, and nobody could tell them of another.
fn as_before(home: &Home, host: IpAddr, asked: Ports) -> Ports {
    let text = fs::read(home.addresses()).unwrap_or_default();
    let last: Value = serde_json::from_slice(&text).unwrap_or_default();
    let port = |asked: u16, name: &str| {
        let port = last[name]
            .as_str()
            .and_then(|at| at.rsplit(':').next()?.parse().ok());
        match port {
            Some(port) if asked == 0 && TcpListener::bind((host, port)).is_ok() => port,
            _ => asked,
        }
    };
    Ports {
        router: port(asked.router, "router"),
        publisher: port(asked.publisher, "publisher"),
        subscriber: port(asked.subscriber, "subscriber"),
        door: port(asked.door, "door"),
    }
}

impl Loaded {
    /// The directory as it is on disk. Only while no node runs in this home.
    pub fn directory(&self) -> Result<Directory, Failure> {
        let _lock = self.home.lock().map_err(broken)?;
        let opened = sled_store::open(&self.home.db()).map_err(store_failed)?;
        let mut items = Vec::new();
        let mut from: Option<Vec<u8>> = None;
        loop {
            let page = opened
                .store
                .scan(Tree::Roster, &[], from.as_deref(), PAGE_ROWS)
                .map_err(store_failed)?;
            items.extend(page.rows.into_iter().map(|(_, item)| item));
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        let (directory, _) = Directory::new(self.mesh, self.root, self.identity.id(), &items);
        Ok(directory)
    }

    /// The mesh's root key; `None` where it is not, or no longer, kept in this home.
    pub fn root_key(&self) -> Result<Option<Identity>, Failure> {
        let path = self.home.root_key();
        if !path.exists() {
            return Ok(None);
        }
        let root = Identity::from_seed(&read_key(&path).map_err(broken)?);
        Ok((root.id() == self.root).then_some(root))
    }

    /// The delegation that lets this node enrol others, if the root gave it one.
    pub fn delegation(&self) -> Result<Option<Item>, Failure> {
        self.kept("delegation")
    }

    /// What the roster says of this node: as it is kept beside the store or, where that is
    /// damaged, in the store itself. The start writes the damaged file anew.
    fn own_entry(&self) -> Result<Option<Arc<Entry>>, Failure> {
        match self.kept("entry") {
            Ok(item) => Ok(item.and_then(|item| match item.claim() {
                Claim::Entry(entry) => Some(entry.clone()),
                _ => None,
            })),
            Err(why) if why.code == "home_damaged" => {
                tracing::warn!(%why, "the store and mesh/roster are asked instead");
                let _lock = self.home.lock().map_err(broken)?;
                let items = chorus_actors::items(&self.home)
                    .map_err(|why| crate::verbs::run::not_started(&why))?;
                let (directory, _) =
                    Directory::new(self.mesh, self.root, self.identity.id(), &items);
                let own = directory.roster().get(&self.identity.id());
                own.map(|own| Some(own.entry.clone())).ok_or(why)
            }
            Err(why) => Err(why),
        }
    }

    /// An item about this node that is kept beside the store as well, where
    /// verbs can read it while the node runs.
    fn kept(&self, name: &str) -> Result<Option<Item>, Failure> {
        let path = self.home.mesh().join(name);
        match fs::read(&path) {
            Ok(bytes) => Item::open(&bytes, &self.mesh).map(Some).map_err(|why| {
                let message = format!("{} is not sound: {why}", path.display());
                Failure::failed("home_damaged", message).hint(
                    "start the node, which writes it anew from its store; else restore a backup",
                )
            }),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(Failure::failed(
                "home_unreadable",
                format!("{}: {why}", path.display()),
            )),
        }
    }
}

/// Refuses a home in which a node lives, or something that is none.
pub fn refuse_used(home: &Home) -> Result<(), Failure> {
    let dir = home.dir().display();
    if home.is_used() {
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

/// The keys of a home whose making was cut short, by a kill or a power cut. A door may have
/// welcomed them, and then welcomes them again with the same token, though it is used up.
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
/// last; after a failure what was made is taken away again.
pub fn make(
    home: &Home,
    founding: &Founding<'_>,
    items: impl FnOnce() -> Result<Vec<Vec<u8>>, Failure>,
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
    if begun(home).is_some() {
        clear(home);
    }
    let made = begin(home, founding).and_then(|()| home.create().map_err(broken));
    let made = made.and_then(|()| fill(home, founding, &items()?, had_config));
    let _ = fs::remove_dir_all(home.making());
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
    if made.is_err() && !had_dir {
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

fn read_root(home: &Home) -> Result<NodeId, Failure> {
    let path = home.mesh().join("root.pub");
    let read = fs::read_to_string(&path).map_err(|why| why.to_string());
    read.and_then(|text| text.trim().parse().map_err(|why| format!("{why}")))
        .map_err(|why| {
            let message = format!("{}: {why}", path.display());
            Failure::failed("home_damaged", message).hint("restore it from a backup")
        })
}

/// A home's error as a failure.
pub fn broken(why: HomeError) -> Failure {
    let message = why.to_string();
    match why {
        HomeError::InUse { .. } => Failure::refused("home_busy", message),
        HomeError::Exposed { .. } => Failure::failed("key_exposed", message),
        HomeError::BadKey { .. } => Failure::failed("key_damaged", message),
        HomeError::Io { .. } => Failure::failed("home_io", message)
            .hint("look at who owns the folder, its mode, and the room on its disk"),
    }
}

fn store_failed(why: chorus_storage::Error) -> Failure {
    Failure::failed("store", why.to_string())
        .hint("look at the room on the disk, and whether another process has the home")
}

/// By what names the running node is reached, as `run/addresses.json` says it.
pub fn advertised(home: &Home) -> Option<Vec<String>> {
    let text = fs::read(home.addresses()).ok()?;
    let addresses: Value = serde_json::from_slice(&text).ok()?;
    serde_json::from_value(addresses["advertise"].clone()).ok()
}

/// The door's port of the running node, as `run/addresses.json` says it
/// (`"door": "tcp://HOST:PORT"`). `None` when no node has said it.
pub fn bound_door(home: &Home) -> Option<u16> {
    let text = fs::read(home.addresses()).ok()?;
    let addresses: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let (_, port) = addresses.get("door")?.as_str()?.rsplit_once(':')?;
    port.parse().ok().filter(|port| *port > 0)
}
