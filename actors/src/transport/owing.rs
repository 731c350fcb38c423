//! Owing: acknowledgements that may wait for each other, and when they are due at the latest.

use std::collections::BTreeSet;
use std::time::Duration;

use chorus_protocol::ids::NodeId;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::Message;
use ractor::ActorRef;

use crate::gossip::since;
use crate::messages::ToTransport;
use crate::transport::actor::State;

/// To whom.
#[derive(Debug, Default)]
pub(super) struct Owing {
    nodes: BTreeSet<NodeId>,
    /// Whether somebody comes back when the first is due.
    wakes: bool,
}

impl State {
    /// Acknowledges what came from a node, or remembers to do so when it is due.
    pub(super) fn acknowledge(&mut self, node: NodeId) {
        let Some(inbox) = self.inboxes.get_mut(&node) else {
            return;
        };
        if let Some(ack) = inbox.acknowledge(since(self.a.epoch)) {
            self.owing.nodes.remove(&node);
            self.send(node, Message::Delivered(ack));
        } else if inbox.next_deadline() < Micros::NEVER {
            self.owing.nodes.insert(node);
        }
    }

    /// Acknowledges whatever is due.
    pub(super) fn acknowledge_all(&mut self) {
        self.owing.wakes = false;
        for node in std::mem::take(&mut self.owing.nodes) {
            self.acknowledge(node);
        }
    }

    /// Comes back when the first acknowledgement is due.
    pub(super) fn wake(&mut self, myself: &ActorRef<ToTransport>) {
        if self.owing.wakes {
            return;
        }
        let due = |it: &NodeId| Some(self.inboxes.get(it)?.next_deadline());
        if let Some(due) = self.owing.nodes.iter().filter_map(due).min() {
            self.owing.wakes = true;
            let after = Duration::from_micros(due.since(since(self.a.epoch)).0);
            myself.send_after(after, || ToTransport::Acknowledge);
        }
    }
}
