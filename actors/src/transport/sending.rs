//! Outward: what the transport dials, signs, sends and sends again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chorus_protocol::gossip::{Input, Output};
use chorus_protocol::ids::{CurveKey, NodeId, Stamp};
use chorus_protocol::trust::item::{Address, Announcement, Claim, Item};
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::{Command as Order, Items, Message};
use chorus_protocol::wire::{self, Audience};
use ractor::{ActorProcessingErr, ActorRef};

use crate::gossip::since;
use crate::messages::{ToDirectory, ToGossip, ToTransport};
use crate::store::Write;
use crate::transport::actor::State;
use crate::transport::backoff::Backoff;
use crate::transport::endpoint_of;
use crate::transport::sockets::Command;

/// How long after a refused reservation the next is tried: the disk is full, and half a
/// block is left.
const RESERVE_AGAIN: Micros = Micros::from_secs(5);

impl State {
    pub(super) fn perform(&mut self, output: Output) -> Result<(), ActorProcessingErr> {
        match output {
            Output::Publish(topic, message) => {
                if let Some(frame) = self.seal(None, &message) {
                    self.order(Command::Publish {
                        topic: topic.to_bytes(),
                        frame,
                    });
                }
            }
            Output::Send(to, message) => self.send(to, message),
            Output::Deliver(to, order) => self.deliver(to, order),
            Output::Dial(node) => {
                if self.address(&node).is_none() {
                    let input = Input::Unreachable(node);
                    return self.a.ring.gossip(ToGossip::Input(input));
                }
                let next = self.dialled.entry(node).or_default();
                *next = next.wrapping_add(1);
                self.dial(node);
            }
            // The outbox stays: its session goes on with the next link. A new one
            // would count from 1 again and be taken for repetitions.
            Output::Hangup(node) => {
                if let Some(key) = self.curve(&node) {
                    self.order(Command::Hangup { key });
                }
            }
            Output::Siblings(siblings) => self.listen_to(siblings),
            Output::Subscribe { tree, siblings } => self.order(Command::Subscribe {
                sub: tree,
                sib: siblings,
            }),
            Output::Compare(..) | Output::Event(_) => {} // the gossip actor's
        }
        Ok(())
    }

    /// Whether the mesh's root has shut this very node out.
    pub(super) fn is_shut_out(&self) -> bool {
        self.a.roster.is_revoked(&self.a.identity.id())
    }

    /// Dials a node. One that was shut out is let in by nobody, unless another takes it in
    /// again: it tries that seldom.
    pub(super) fn dial(&mut self, node: NodeId) {
        if !self.is_shut_out() || self.backoff.is_over(node, since(self.a.epoch)) {
            self.dial_now(node);
        }
    }

    pub(super) fn dial_now(&mut self, node: NodeId) {
        let (Some(key), Some(address)) = (self.curve(&node), self.address(&node)) else {
            return;
        };
        self.order(Command::Dial {
            key,
            router: endpoint_of(&address.host, address.router),
            publisher: Some(endpoint_of(&address.host, address.publisher)),
            subscriber: Some(endpoint_of(&address.host, address.subscriber)),
        });
    }

    pub(super) fn listen_to(&mut self, siblings: BTreeSet<NodeId>) {
        let mut reached = BTreeMap::new();
        for node in &siblings {
            let told = self.a.roster.address(node);
            let publisher = |at: &Address| endpoint_of(&at.host, at.publisher);
            let publishers: Vec<String> =
                told.map_or_else(Vec::new, |it| it.addresses.iter().map(publisher).collect());
            let (Some(key), false) = (self.curve(node), publishers.is_empty()) else {
                continue; // dialled when it announces itself
            };
            if self.siblings.get(node) != Some(&publishers) {
                let publishers = publishers.clone();
                self.order(Command::DialSibling { key, publishers });
            }
            reached.insert(*node, publishers);
        }
        let gone = self.siblings.keys().filter(|it| !reached.contains_key(it));
        let gone: Vec<_> = gone.filter_map(|node| self.curve(node)).collect();
        for key in gone {
            self.order(Command::HangupSibling { key });
        }
        (self.wanted, self.siblings) = (siblings, reached);
    }

    pub(super) fn deliver(&mut self, to: NodeId, order: Order) {
        let outbox = self.outboxes.entry(to).or_default();
        if let Some(run) = self.runs.get(&to) {
            outbox.receiver(*run);
        }
        if outbox.push(order, since(self.a.epoch)).is_err() {
            self.count("outbox_full");
        }
        self.poll(to);
    }

    /// Sends what is due to anybody, first or again.
    pub(super) fn poll_all(&mut self) {
        for node in self.outboxes.keys().copied().collect::<Vec<_>>() {
            self.poll(node);
        }
    }

    /// Sends what is due to a node.
    pub(super) fn poll(&mut self, node: NodeId) {
        let outbox = self.outboxes.get_mut(&node);
        let Some((run, due)) = outbox.and_then(|it| it.poll(since(self.a.epoch))) else {
            return;
        };
        for deliver in due {
            let to = Audience {
                node,
                incarnation: Some(run),
            };
            self.send_to(to, &Message::Deliver(deliver));
        }
    }

    pub(super) fn send(&mut self, node: NodeId, message: Message) {
        let to = Audience {
            node,
            incarnation: None,
        };
        self.send_to(to, &message);
    }

    pub(super) fn send_to(&mut self, to: Audience, message: &Message) {
        let Some(key) = self.curve(&to.node) else {
            return;
        };
        if let Some(frame) = self.seal(Some(to), message) {
            self.order(Command::SendTo { to: key, frame });
        }
    }

    /// Stamps and signs. Without reserved time nothing is said: gossip comes
    /// again by itself, commands are retried.
    pub(super) fn seal(&mut self, to: Option<Audience>, message: &Message) -> Option<Arc<[u8]>> {
        let Ok(lamport) = self.a.clock.tick() else {
            self.count("unreserved");
            return None;
        };
        let stamp = Stamp {
            incarnation: self.a.incarnation,
            lamport,
        };
        self.twins.said = stamp;
        let frame = wire::seal(&self.a.identity, &self.a.mesh, stamp, to, message);
        Some(frame.into())
    }

    /// Asks for more Lamport time before it runs out.
    pub(super) fn reserve(&mut self, myself: &ActorRef<ToTransport>) {
        let Some(upto) = self.a.clock.wants() else {
            return;
        };
        if self.reserve_at.is_none_or(|at| since(self.a.epoch) < at) {
            return;
        }
        self.reserve_at = None;
        let myself = myself.clone();
        let done = move |result: Result<(), String>| {
            let _ = myself.cast(ToTransport::Reserved(result.map(|()| upto)));
        };
        self.a
            .store
            .write(vec![Write::Reserve(upto)], Box::new(done));
    }

    pub(super) fn reserved(&mut self, result: Result<u64, String>) {
        let now = since(self.a.epoch);
        self.reserve_at = Some(match result {
            Ok(upto) => {
                self.a.clock.reserved(upto);
                now
            }
            Err(why) => {
                tracing::error!(why, "Lamport times cannot be reserved");
                now + RESERVE_AGAIN
            }
        });
    }

    pub(super) fn order(&mut self, command: Command) {
        if self.a.sockets.send(command).is_err() {
            self.count("socket_orders_dropped");
        }
    }

    /// Says where we listen.
    pub(super) fn announce(&mut self) -> Result<(), ActorProcessingErr> {
        let Ok(lamport) = self.a.clock.tick() else {
            return Err("no Lamport time is reserved at the start".into());
        };
        let announcement = Announcement {
            node: self.a.identity.id(),
            stamp: Stamp {
                incarnation: self.a.incarnation,
                lamport,
            },
            addresses: self.a.addresses.clone(),
        };
        let claim = Claim::Announcement(Arc::new(announcement));
        let item = Item::seal(&self.a.identity, &self.a.mesh, &claim);
        self.a.ring.directory(ToDirectory::Own(vec![item]))
    }

    pub(super) fn curve(&self, node: &NodeId) -> Option<[u8; 32]> {
        let member = self.a.roster.get(node)?;
        Some(member.entry.curve.0)
    }

    /// The address to dial next: a node with several is tried at each in turn.
    pub(super) fn address(&self, node: &NodeId) -> Option<Address> {
        let addresses = &self.a.roster.address(node)?.addresses;
        let turn = self.dialled.get(node).copied().unwrap_or(1).wrapping_sub(1);
        addresses.get(turn % addresses.len().max(1)).cloned()
    }

    pub(super) fn roster(&mut self, roster: Arc<Roster>, introduction: Items) {
        let (was, allowed) = (
            self.a.roster.allowed_curve_keys(),
            roster.allowed_curve_keys(),
        );
        if was != allowed {
            let now = since(self.a.epoch);
            let allowed = self.leaving.change(&was, allowed, now);
            self.order(Command::Allow(Arc::new(allowed)));
        }
        self.a.roster = roster;
        if !self.is_shut_out() {
            self.backoff = Backoff::default();
        }
        self.a.introduction = introduction;
        self.listen_to(self.wanted.clone());
        // Who fell with its enroller may be adopted; its session then goes on where it was,
        // since neither side was restarted.
        self.drop_deliveries();
    }

    /// A parent refused the link. Once it is known that we were shut out there is nothing to
    /// open anew before the next try.
    pub(super) fn turned_away(&mut self, key: CurveKey) {
        self.introduce(key);
        if self.is_shut_out() {
            self.order(Command::Hangup { key: key.0 });
        }
    }

    /// Ends the connections of those who were revoked a moment ago.
    pub(super) fn shut_out(&mut self) {
        let allowed = || self.a.roster.allowed_curve_keys();
        if let Some(allowed) = self.leaving.end(allowed, since(self.a.epoch)) {
            self.order(Command::Allow(Arc::new(allowed)));
        }
    }
}
