//! Neighbours: who is dialled, where, and in which realm.
//!
//! A *realm* is a set of nodes that can dial each other: a sector's bridge, or the backbone
//! of the *carriers*, which are the coordinators and the orchestrator. Every node can speak
//! in its sector's realm and in the backbone's; the roster says who dials whom. In its
//! sector a node dials those that announced where memory listens, up to [`DIALLED_MAX`] of
//! them, the nearest in Kademlia's sense. Carriers dial each other; so does a node whose
//! sector has no coordinator, or which has had no carrier for [`ALONE_MAX`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use chorus_protocol::ids::{Label, NodeId, Role};
use chorus_protocol::memory::placement::stands_at;
use chorus_protocol::trust::item::{Address, Entry};
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::units::Micros;

use super::realm::Order;
use crate::transport::endpoint_of;
use crate::transport::names::Names;

/// The backbone's realm. A colon may stand in a sector's name too, so it is told apart by
/// place in the list, never by this text.
const BACKBONE: &str = ":backbone";
/// Most nodes of its sector that a node dials by itself.
const DIALLED_MAX: usize = 64;
/// How long without a carrier before those of other sectors are dialled.
const ALONE_MAX: Micros = Micros::from_secs(15);
/// Between two looks whether names resolve to something else.
const LOOK_EVERY: Micros = Micros::from_secs(1);

/// The realms that a node of this sector speaks in, the sector's first.
pub fn realms(sector: Label) -> Vec<Label> {
    let backbone = Label::new(BACKBONE);
    let backbone = backbone.into_iter().filter(|it| *it != sector);
    std::iter::once(sector).chain(backbone).collect()
}

/// Who is dialled.
pub struct Neighbours {
    me: NodeId,
    realms: Vec<Label>,
    names: Names,
    connected: BTreeSet<NodeId>,
    /// What the thread between the nodes was told.
    given: BTreeMap<NodeId, (Label, Vec<SocketAddr>)>,
    /// Since when no carrier is connected.
    alone: Option<Micros>,
    look_at: Micros,
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours")
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl Neighbours {
    /// Nobody yet.
    pub fn new(me: NodeId, realms: Vec<Label>) -> Self {
        Self {
            me,
            realms,
            names: Names::new(|| {}),
            connected: BTreeSet::new(),
            given: BTreeMap::new(),
            alone: None,
            look_at: Micros::ZERO,
        }
    }

    /// Who holds memory, and who of them carries it.
    pub fn members(&self, roster: &Roster) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        let top = roster.members().map(|it| it.entry.role).min();
        let carries = |role: Role| role <= Role::Coordinator || Some(role) == top;
        let nodes = roster.members().map(|it| it.entry.node).collect();
        let carriers = roster.members().filter(|it| carries(it.entry.role));
        (nodes, carriers.map(|it| it.entry.node).collect())
    }

    pub fn connected(&mut self, node: NodeId) {
        self.connected.insert(node);
    }

    pub fn disconnected(&mut self, node: &NodeId) {
        self.connected.remove(node);
    }

    /// The realm in which this node and that one speak with each other.
    pub fn realm(&self, roster: &Roster, node: &NodeId) -> Option<Label> {
        let sector = roster.get(node)?.entry.place.sector;
        let shared = self.realms.first().filter(|it| **it == sector);
        shared.or(self.realms.last()).copied()
    }

    /// What the thread between the nodes is to be told now.
    pub fn orders(&mut self, roster: &Roster, now: Micros) -> Vec<Order> {
        let news = self.names.take_news();
        if now < self.look_at && !news {
            return Vec::new();
        }
        self.look_at = now + LOOK_EVERY;
        let wanted = self.wanted(roster, now);
        let mut orders = Vec::new();
        let gone = self.given.keys().filter(|it| !wanted.contains(*it));
        let gone: Vec<NodeId> = gone.copied().collect();
        for node in gone {
            if let Some((realm, _)) = self.given.remove(&node) {
                orders.push(Order::Forget { realm, node });
            }
        }
        for node in wanted {
            let Some(realm) = self.realm(roster, &node) else {
                continue;
            };
            let addrs = self.addresses(roster, &node);
            let told = (realm, addrs.clone());
            if addrs.is_empty() || self.given.get(&node) == Some(&told) {
                continue;
            }
            self.given.insert(node, told);
            orders.push(Order::Peer {
                realm,
                node,
                addrs: addrs.clone(),
            });
            orders.push(Order::Dial { node, addrs });
        }
        orders
    }

    /// Where a node's memory listens, as far as it announced that and its names resolve.
    fn addresses(&self, roster: &Roster, node: &NodeId) -> Vec<SocketAddr> {
        let told = roster.address(node);
        let listens = told.iter().flat_map(|it| &it.addresses);
        let endpoints = listens
            .filter(|at| at.memory != 0)
            .flat_map(|at: &Address| self.names.endpoints(&endpoint_of(&at.host, at.memory)));
        endpoints
            .filter_map(|it| it.strip_prefix("tcp://")?.parse().ok())
            .collect()
    }

    fn wanted(&mut self, roster: &Roster, now: Micros) -> BTreeSet<NodeId> {
        let (_, carriers) = self.members(roster);
        let Some(me) = roster.get(&self.me) else {
            return BTreeSet::new();
        };
        let sector = me.entry.place.sector;
        let is_ours = |it: &Entry| it.place.sector == sector && it.node != self.me;
        let ours = roster
            .members()
            .map(|it| &it.entry)
            .filter(|it| is_ours(it));
        let mut ours: Vec<NodeId> = ours.map(|it| it.node).collect();
        if ours.len() > DIALLED_MAX {
            let here = stands_at(&self.me);
            ours.sort_by_key(|node| {
                let at = stands_at(node);
                let near: Vec<u8> = at.iter().zip(here).map(|(a, b)| a ^ b).collect();
                // Carriers before all others: they are the way to other realms.
                (!carriers.contains(node), near)
            });
            ours.truncate(DIALLED_MAX);
        }
        let sector_has_one = ours.iter().any(|it| carriers.contains(it));
        let has_one = carriers.iter().any(|it| self.connected.contains(it));
        let alone = match has_one {
            true => {
                self.alone = None;
                false
            }
            false => now.since(*self.alone.get_or_insert(now)) > ALONE_MAX,
        };
        let mut wanted: BTreeSet<NodeId> = ours.into_iter().collect();
        if carriers.contains(&self.me) || !sector_has_one || alone {
            wanted.extend(carriers.iter().filter(|it| **it != self.me));
        }
        wanted
    }
}
