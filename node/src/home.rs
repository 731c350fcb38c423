//! A node's home, for verbs: reading what is there; `making` makes a new one.

mod making;

use std::fs;
use std::io;
use std::net::{IpAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use chorus_actors::Plan;
use chorus_actors::transport::sockets::{CurveKeys, Ports};
use chorus_protocol::ids::{MeshId, NodeId};
use chorus_protocol::trust::item::Entry;
use chorus_protocol::trust::{Claim, Directory, Item, mesh_of};
use chorus_protocol::wire::Identity;
use chorus_storage::home::read_key;
use chorus_storage::{Home, HomeError, Store, Tree, sled_store};

use serde_json::Value;

use crate::error::Failure;
use crate::settings::Settings;

pub use making::{Founding, begun, make, refuse_used};

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

/// Reads the keys of the node in `dir`.
pub fn load(dir: &Path) -> Result<Loaded, Failure> {
    let home = Home::at(dir);
    if !home.is_used().map_err(broken)? {
        return Err(no_node(&home));
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

/// Nobody lives there: the folder may be mistyped.
pub fn no_node(home: &Home) -> Failure {
    let message = format!("there is no node in {}", home.dir().display());
    Failure::usage("no_node", message)
        .hint("make one with `chorus init` or `chorus join`, or name another home with --dir")
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
        memory: settings.memory,
        checkpoints: settings.checkpoints,
        agents: settings.agents.clone(),
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
        memory: port(asked.memory, "memory"),
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
        let there = path.try_exists();
        if !there.map_err(|why| {
            broken(HomeError::Io {
                path: path.clone(),
                source: why,
            })
        })? {
            return Ok(None);
        }
        let root = Identity::from_seed(&read_key(&path).map_err(broken)?);
        Ok((root.id() == self.root).then_some(root))
    }

    /// The delegation that lets this node enrol others, if the root gave it one.
    pub fn delegation(&self) -> Result<Option<Item>, Failure> {
        self.kept("delegation")
    }

    /// This node's entry where the mesh was made with it: it is the top of the tree, and nobody
    /// belongs who cannot be beneath it.
    pub fn as_founder(&self) -> Result<Option<Arc<Entry>>, Failure> {
        let item = self.kept("entry")?;
        let by_root = item.filter(|item| *item.issuer() == self.root);
        Ok(by_root.and_then(|item| match item.claim() {
            Claim::Entry(entry) if entry.adopts.is_none() => Some(entry.clone()),
            _ => None,
        }))
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
    told(&why)
}

/// What a home's error says to people.
pub fn told(why: &HomeError) -> Failure {
    let message = why.to_string();
    match why {
        HomeError::InUse { .. } => Failure::refused("home_busy", message),
        HomeError::NotOwner { owner, .. } => Failure::usage("not_the_owner", message)
            .hint(format!("as its owner: sudo -u '#{owner}' chorus ...")),
        HomeError::Exposed { .. } => Failure::failed("key_exposed", message),
        HomeError::BadKey { .. } => Failure::failed("key_damaged", message),
        HomeError::Io { source, .. } => {
            let hint = match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "this user may not: run it as the user who owns the home, or mend owner and \
                     mode (0700 for its folders, 0600 for its keys)"
                }
                _ => "look at who owns the folder, its mode, and the room on its disk",
            };
            Failure::failed("home_io", message).hint(hint)
        }
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
