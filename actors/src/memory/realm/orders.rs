//! The orders about who there is; the others are handed on.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use chorus_protocol::ids::{Label, NodeId};
use libp2p::{Multiaddr, PeerId};
use libp2p_kad::RoutingUpdate;
use tokio::time::Instant;

use super::behaviour::Kad;
use super::counters::count;
use super::ids::{multiaddr, peer_of};
use super::runner::Runner;
use super::traffic::Order;

impl Runner {
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Members(members) => self.set_members(members),
            Order::Peer { realm, node, addrs } => self.enter(realm, node, &addrs),
            Order::Forget { realm, node } => self.leave(realm, node),
            Order::Dial { node, addrs } => self.keep(node, &addrs),
            Order::Put {
                id,
                realm,
                key,
                value,
                to,
            } => self.put(id, realm, key, value, to),
            Order::Get {
                id,
                realm,
                key,
                want,
            } => self.get(id, realm, key, want),
            Order::Ask { id, to, bytes } => self.ask(id, to, bytes),
            Order::Answer { reply, bytes } => self.answer(reply, bytes),
            // The loop sees this one.
            Order::Stop => {}
        }
    }

    fn set_members(&mut self, mut members: BTreeSet<NodeId>) {
        members.remove(&self.me);
        for gone in self.members.difference(&members) {
            let peer = peer_of(gone);
            // Whatever connection it has is closed by this.
            self.swarm.behaviour_mut().members.disallow_peer(peer);
            for place in 0..self.realms.len() {
                if let Some(kad) = self.swarm.behaviour_mut().kad(place) {
                    kad.remove_peer(&peer);
                }
            }
            self.book.remove(&peer);
            self.puts.remove(gone);
        }
        for new in members.difference(&self.members) {
            let peer = peer_of(new);
            self.swarm.behaviour_mut().members.allow_peer(peer);
        }
        self.members = members;
    }

    fn enter(&mut self, realm: Label, node: NodeId, addrs: &[SocketAddr]) {
        let place = self.place(&realm);
        let Some(place) = place.filter(|_| self.members.contains(&node)) else {
            return count(&self.counters.orders_invalid);
        };
        let (peer, addrs) = (peer_of(&node), multiaddrs(addrs));
        let Some(kad) = self.swarm.behaviour_mut().kad(place) else {
            return;
        };
        if self.book.is_in(&peer, &realm, &addrs) && is_in_table(kad, peer) {
            // Entering it anew would have Kademlia look around in the realm each time.
            return;
        }
        kad.remove_peer(&peer);
        let mut full = false;
        for addr in &addrs {
            full |= kad.add_address(&peer, addr.clone()) == RoutingUpdate::Failed;
        }
        if full {
            count(&self.counters.table_full);
        }
        self.book.enter(peer, realm, addrs);
    }

    fn leave(&mut self, realm: Label, node: NodeId) {
        let peer = peer_of(&node);
        let place = self.place(&realm);
        if let Some(kad) = place.and_then(|place| self.swarm.behaviour_mut().kad(place)) {
            kad.remove_peer(&peer);
        }
        self.book.leave(&peer, &realm);
    }

    fn keep(&mut self, node: NodeId, addrs: &[SocketAddr]) {
        if !self.members.contains(&node) {
            return count(&self.counters.orders_invalid);
        }
        let (now, connected) = (Instant::now(), self.is_connected(&node));
        let addrs = multiaddrs(addrs);
        self.book.keep(peer_of(&node), addrs, connected, now);
    }
}

fn is_in_table(kad: &mut Kad, peer: PeerId) -> bool {
    kad.kbucket(peer).is_some_and(|bucket| {
        let mut entries = bucket.iter();
        entries.any(|entry| *entry.node.key.preimage() == peer)
    })
}

fn multiaddrs(addrs: &[SocketAddr]) -> Vec<Multiaddr> {
    addrs.iter().map(|at| multiaddr(*at)).collect()
}
