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
use chorus_storage::home::read_key;
use chorus_storage::{Batch, Home, Store, Tree, sled_store};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cli::Context;
use crate::control::{self, Request};
use crate::error::{Failure, exit};
use crate::home;
use crate::live::Live;

/// How long a running node may take until its own roster shows the revocation; shorter
/// than a control connection lasts.
const CONFIRM_MAX: Duration = Duration::from_secs(3);
/// The fewest hex digits of a key that name a node.
const PREFIX_MIN: usize = 8;

pub async fn run(ctx: Context, node: String, reason: Option<String>) -> Result<(), Failure> {
    let loaded = home::load(&ctx.dir)?;
    let root = root_key(&loaded.home)?;
    let reason = reason.unwrap_or_default();
    let request = Request::Revoke {
        node: node.clone(),
        reason: reason.clone(),
    };
    let done = match control::ask(&loaded.home, &request).await {
        Ok(lines) => lines.into_iter().next().unwrap_or_default(),
        Err(failure) if failure.code == "not_running" => {
            let directory = loaded.directory()?;
            let (node, items) = items(&root, directory.roster(), &node, &reason)?;
            keep(&loaded.home, &items)?;
            done(directory.roster(), &node, items.len(), false)
        }
        Err(failure) => return Err(failure),
    };
    let name = done["name"].as_str().unwrap_or_default();
    let words = match done["running"].as_bool() {
        Some(true) => format!("{name} is revoked, and its neighbours are being told"),
        _ => format!("{name} is revoked; the mesh hears of it when this node runs again"),
    };
    ctx.answer(&done, &words);
    Ok(())
}

/// Does it inside the node that runs in `home`.
pub async fn in_running(
    live: &Live,
    home: &Home,
    snapshot: &Snapshot,
    name: &str,
    reason: &str,
) -> Result<Value, Failure> {
    let root = root_key(home)?;
    let (node, items) = items(&root, &snapshot.roster, name, reason)?;
    drop(root);
    let count = items.len();
    if !live.own(items).await {
        return Err(control::stopping());
    }
    let deadline = Instant::now() + CONFIRM_MAX;
    while Instant::now() < deadline {
        let now = live.snapshot().await.ok_or_else(control::stopping)?;
        if now.roster.is_revoked(&node) {
            tracing::warn!(node = %node, reason, "revoked");
            return Ok(done(&snapshot.roster, &node, count, true));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Err(Failure::new(
        exit::NOT_CONFIRMED,
        "not_confirmed",
        "the revocation was made, but the node's roster does not show it yet",
    )
    .hint("look with `chorus doctor`, and try again"))
}

fn root_key(home: &Home) -> Result<Identity, Failure> {
    let path = home.root_key();
    if !path.exists() {
        let message = format!(
            "there is no {}: only the mesh's root revokes",
            path.display()
        );
        return Err(Failure::refused("no_root_key", message)
            .hint("run it in the home where the mesh was made with `chorus init`"));
    }
    Ok(Identity::from_seed(&read_key(&path).map_err(home::broken)?))
}

/// The node that is meant, and the items that revoke it.
fn items(
    root: &Identity,
    roster: &Roster,
    name: &str,
    reason: &str,
) -> Result<(NodeId, Vec<Vec<u8>>), Failure> {
    if root.id() != *roster.root() {
        let message = "operator/root.key is the key of another mesh; nothing was changed";
        return Err(Failure::refused("other_root", message));
    }
    let node = find(roster, name)?;
    let items = revoke(root, roster, node, reason);
    if items.is_empty() {
        let message = format!("{name} is revoked already; nothing was changed");
        return Err(Failure::refused("revoked_already", message));
    }
    Ok((node, items))
}

/// The one member, or revoked key, that `name` means.
fn find(roster: &Roster, name: &str) -> Result<NodeId, Failure> {
    let named = roster
        .members()
        .filter(|member| member.entry.name.as_str() == name);
    let mut found: Vec<NodeId> = named.map(|member| member.entry.node).collect();
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
        .hint("`chorus peers` lists names and keys")),
        several => {
            let keys: Vec<String> = several.iter().map(NodeId::to_string).collect();
            Err(Failure::usage(
                "ambiguous",
                format!(
                    "`{name}` means {} nodes; nothing was changed",
                    several.len()
                ),
            )
            .hint(format!("name one by its key: {}", keys.join(", "))))
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

fn done(roster: &Roster, node: &NodeId, items: usize, running: bool) -> Value {
    let name = roster.get(node).map(|member| member.entry.name.to_string());
    json!({
        "schema": "chorus.revoke/1",
        "node": node.to_string(),
        "name": name.unwrap_or_else(|| node.short()),
        "items": items,
        "running": running,
    })
}
