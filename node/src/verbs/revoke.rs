//! `revoke`: shuts a node out of the mesh for good, with the root's key.
//!
//! The key lies in the home where the mesh was made. If a node runs there, it makes the
//! items, because it alone knows the newest roster, and gossips them at once; otherwise
//! they wait in the store for the next start.

use std::time::Duration;

use chorus_actors::Snapshot;
use chorus_protocol::ids::NodeId;
use chorus_protocol::trust::item::digest_of;
use chorus_protocol::trust::{Roster, revoke};
use chorus_protocol::wire::Identity;
use chorus_protocol::wire::message::PeerState;
use chorus_storage::{Batch, Home, Store, Tree, sled_store};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cli::Context;
use crate::control::{self, Request};
use crate::error::{Failure, exit};
use crate::home::{self, Loaded};
use crate::live::Live;

/// How long a running node may take until its own roster shows the revocation; shorter
/// than a control connection lasts.
const CONFIRM_MAX: Duration = Duration::from_secs(3);
/// The fewest hex digits of a key that name a node.
const PREFIX_MIN: usize = 4;

/// Who is to be shut out.
#[derive(Debug, Clone, Copy)]
pub struct Whom<'a> {
    /// Its name, or the first hex digits of its key, at least [`PREFIX_MIN`].
    pub name: &'a str,
    /// Even where it is this node, or the one that made the mesh.
    pub force: bool,
}

pub async fn run(
    ctx: Context,
    node: String,
    reason: Option<String>,
    force: bool,
) -> Result<(), Failure> {
    let loaded = home::load(&ctx.dir)?;
    let root = root_key(&loaded)?;
    let reason = reason.unwrap_or_default();
    let request = Request::Revoke {
        node: node.clone(),
        reason: reason.clone(),
        force,
    };
    let done = match control::ask(&loaded.home, &request).await {
        Ok(lines) => lines.into_iter().next().unwrap_or_default(),
        Err(failure) if failure.code == "not_running" => {
            let directory = loaded.directory()?;
            let whom = Whom { name: &node, force };
            let (node, items) = items(&loaded, &root, directory.roster(), whom, &reason)?;
            keep(&loaded.home, &items)?;
            done(directory.roster(), &node, items.len(), None)
        }
        Err(failure) => return Err(asked(failure)),
    };
    let name = done["name"].as_str().unwrap_or_default();
    let words = match (done["running"].as_bool(), done["live"].as_u64()) {
        (Some(true), Some(0)) => format!(
            "{name} is revoked; nobody is connected now: it goes out as soon as somebody is"
        ),
        (Some(true), _) => format!("{name} is revoked, and its neighbours are being told"),
        _ => format!("{name} is revoked; the mesh hears of it when this node runs again"),
    };
    ctx.answer(&done, &words)
}

/// What is to be said when the node was asked and no answer came: it may still read the
/// question when it goes on.
fn asked(mut failure: Failure) -> Failure {
    if matches!(failure.code.as_str(), "no_answer" | "answer_cut") {
        failure.message += "; it was asked, and may still do it";
        failure.hint = "look whether it is done with `chorus peers --all` once the node answers; \
            asking again does no harm"
            .to_owned();
    }
    failure
}

/// Does it inside the node that runs in `home`.
pub async fn in_running(
    live: &Live,
    home: &Home,
    snapshot: &Snapshot,
    whom: Whom<'_>,
    reason: &str,
) -> Result<Value, Failure> {
    let loaded = home::load(home.dir())?;
    let root = root_key(&loaded)?;
    let (node, items) = items(&loaded, &root, &snapshot.roster, whom, reason)?;
    drop(root);
    let count = items.len();
    if !live.own(items).await {
        return Err(control::stopping());
    }
    let deadline = Instant::now() + CONFIRM_MAX;
    while Instant::now() < deadline {
        let now = live.snapshot().await.ok_or_else(control::stopping)?;
        let unwritten = now.counters.iter().find(|it| it.0 == "items_unwritten");
        // Told to neighbours with what one of them said, it may still wait for our own disk.
        if now.roster.is_revoked(&node) && unwritten.is_none_or(|it| it.1 == 0) {
            tracing::warn!(node = %node, reason, "revoked");
            return Ok(done(
                &snapshot.roster,
                &node,
                count,
                Some(live_beside(&now, &node)),
            ));
        }
        sleep(Duration::from_millis(20)).await;
    }
    let last = live.snapshot().await.ok_or_else(control::stopping)?;
    if last
        .counters
        .iter()
        .any(|it| it.0 == "disk_full" && it.1 > 0)
    {
        let message = "the disk of this node is full: the revocation is made and waits for room; \
            until then it is not durable here, and others may not have been told";
        return Err(
            Failure::new(exit::NOT_CONFIRMED, "disk_full", message).hint(
                "make room on the disk that holds the home and leave the node running: it goes out \
             by itself within seconds",
            ),
        );
    }
    Err(Failure::new(
        exit::NOT_CONFIRMED,
        "not_confirmed",
        "the revocation was made, but the node's roster does not show it yet",
    )
    .hint("look with `chorus doctor`, and try again"))
}

/// How many live to be told, besides this node and the one that is shut out.
fn live_beside(snapshot: &Snapshot, revoked: &NodeId) -> usize {
    let told = snapshot.peers.iter().filter(|peer| {
        let other = peer.node != snapshot.me.node && peer.node != *revoked;
        other && peer.state == PeerState::Live
    });
    told.count()
}

fn root_key(loaded: &Loaded) -> Result<Identity, Failure> {
    loaded.root_key()?.ok_or_else(|| {
        let path = loaded.home.root_key();
        let message = format!(
            "there is no {} of this mesh: only its root revokes",
            path.display()
        );
        Failure::refused("no_root_key", message)
            .hint("run it in the home where the mesh was made with `chorus init`")
    })
}

/// The node that is meant, and the items that revoke it.
fn items(
    loaded: &Loaded,
    root: &Identity,
    roster: &Roster,
    whom: Whom<'_>,
    reason: &str,
) -> Result<(NodeId, Vec<Vec<u8>>), Failure> {
    if root.id() != *roster.root() {
        let message = "operator/root.key is the key of another mesh; nothing was changed";
        return Err(Failure::refused("other_root", message));
    }
    let node = find(&loaded.home, roster, whom.name)?;
    if !whom.force {
        refuse_the_pillars(loaded, roster, &node, whom.name)?;
    }
    let items = revoke(root, roster, node, reason);
    if items.is_empty() {
        let message = format!("{} is revoked already; nothing was changed", whom.name);
        return Err(Failure::refused("revoked_already", message));
    }
    Ok((node, items))
}

/// A mesh that lost the node that made it, or the one in whose home its root key lies, is
/// hard to go on with: nobody enrols, or nobody is told of revocations.
fn refuse_the_pillars(
    loaded: &Loaded,
    roster: &Roster,
    node: &NodeId,
    name: &str,
) -> Result<(), Failure> {
    let member = roster.get(node);
    let made_the_mesh =
        member.is_some_and(|it| it.issuer == *roster.root() && it.entry.adopts.is_none());
    let what = if *node == loaded.identity.id() {
        "this node itself, in whose home the mesh's root key lies"
    } else if made_the_mesh {
        "the node that the mesh was made with"
    } else {
        return Ok(());
    };
    let message = format!(
        "{name} is {what}: revoked, it can run no more and its invitations admit nobody; \
         nothing was changed"
    );
    Err(Failure::refused("needs_force", message).hint("if that is meant, say --force"))
}

/// The one member, or revoked key, that `name` means. The roster keeps no names of the
/// revoked; whom this node let in, its journal still names.
fn find(home: &Home, roster: &Roster, name: &str) -> Result<NodeId, Failure> {
    let named = roster
        .members()
        .filter(|member| member.entry.name.as_str() == name);
    let mut found: Vec<NodeId> = named.map(|member| member.entry.node).collect();
    if found.is_empty() {
        let joined = super::doctor::uses(home)?.into_iter().map(|it| it.entry);
        let gone = joined.filter(|it| it.name.as_str() == name && roster.is_revoked(&it.node));
        found.extend(gone.map(|entry| entry.node).next_back());
    }
    // Names first: `cafe` is one, and what is revoked stays so.
    if found.is_empty() && name.len() >= PREFIX_MIN {
        let digits = name.to_ascii_lowercase();
        let members = roster.members().map(|member| &member.entry.node);
        let keys = members.chain(roster.revoked());
        found = keys
            .filter(|key| key.to_string().starts_with(&digits))
            .copied()
            .collect();
    }
    match found.as_slice() {
        [node] => Ok(*node),
        [] => Err(Failure::failed(
            "no_such_node",
            format!("no member has the name or key `{name}`; nothing was changed"),
        )
        .hint(format!(
            "`chorus peers` lists names and keys, and the first {PREFIX_MIN} hex digits of a key \
             are enough; one that was revoked long ago has its key alone",
        ))),
        several => {
            let named = |node: &NodeId| match roster.get(node) {
                Some(member) => format!("{node} ({})", member.entry.name),
                None => format!("{node} (revoked)"),
            };
            let keys: Vec<String> = several.iter().map(named).collect();
            Err(Failure::usage(
                "ambiguous",
                format!(
                    "`{name}` means {} nodes; nothing was changed",
                    several.len()
                ),
            )
            .hint(format!("name one by more of its key: {}", keys.join(", "))))
        }
    }
}

/// Writes items into the store of a home in which no node runs.
fn keep(home: &Home, items: &[Vec<u8>]) -> Result<(), Failure> {
    let _lock = home.lock().map_err(home::broken)?;
    let failed = |why: chorus_storage::Error| Failure::failed("store", why.to_string());
    let mut store = sled_store::open(&home.db()).map_err(failed)?.store;
    let put =
        |batch: Batch, item: &Vec<u8>| batch.put(Tree::Roster, digest_of(item).0, item.as_slice());
    let batch = items.iter().fold(Batch::new(), put);
    store
        .apply(&batch)
        .and_then(|()| store.flush())
        .map_err(failed)
}

/// `chorus.revoke/1`; `live` others are there to be told, or nobody runs here.
fn done(roster: &Roster, node: &NodeId, items: usize, live: Option<usize>) -> Value {
    let name = roster.get(node).map(|member| member.entry.name.to_string());
    json!({
        "schema": "chorus.revoke/1",
        "node": node.to_string(),
        "name": name.unwrap_or_else(|| node.short()),
        "items": items,
        "running": live.is_some(),
        "live": live.unwrap_or(0),
    })
}
