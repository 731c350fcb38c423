//! What the transport actor has counted since its start. No count ever falls: what a peer's
//! delivery had counted stays when the peer goes.

use std::collections::BTreeMap;

use chorus_protocol::delivery::{Inbox, Outbox};
use chorus_protocol::ids::NodeId;
use chorus_protocol::wire::envelope::Refusal;

use super::actor::State;
use crate::gossip::since;
use crate::messages::TransportView;

/// Every counter of this actor's, so that one which never rose is shown as 0.
const COUNTS: [&str; 13] = [
    "delivery_duplicates",
    "delivery_given_up",
    "delivery_retries",
    "door_unwanted",
    "lamport_held",
    "lamport_jump",
    "outbox_full",
    "pulls_dropped",
    "rewound",
    "second_hand",
    "socket_orders_dropped",
    "twins",
    "unreserved",
];

/// Counts by name.
type Counts = BTreeMap<&'static str, u64>;

/// The counts, but for what those deliveries have counted that still run.
#[derive(Debug)]
pub(super) struct Tally {
    refusals: Counts,
    counts: Counts,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            refusals: Refusal::COUNTERS.map(|name| (name, 0)).into(),
            counts: COUNTS.map(|name| (name, 0)).into(),
        }
    }
}

fn add_outbox(counts: &mut Counts, outbox: &Outbox) {
    *counts.entry("delivery_given_up").or_default() += outbox.given_up;
    *counts.entry("delivery_retries").or_default() += outbox.retries;
}

fn add_inbox(counts: &mut Counts, inbox: &Inbox) {
    *counts.entry("delivery_duplicates").or_default() += inbox.duplicates;
}

impl State {
    pub(super) fn refused(&mut self, why: Refusal) {
        *self.tally.refusals.entry(why.counter()).or_default() += 1;
        tracing::trace!(%why, "frame refused");
    }

    pub(super) fn count(&mut self, counter: &'static str) {
        debug_assert!(COUNTS.contains(&counter), "{counter} is not in the list");
        *self.tally.counts.entry(counter).or_default() += 1;
    }

    /// Ends the deliveries to and from those who were revoked.
    pub(super) fn drop_deliveries(&mut self) {
        let (roster, counts) = (&self.a.roster, &mut self.tally.counts);
        let gone = |node: &NodeId| roster.is_revoked(node);
        for (_, outbox) in self.outboxes.extract_if(.., |node, _| gone(node)) {
            add_outbox(counts, &outbox);
        }
        for (_, inbox) in self.inboxes.extract_if(.., |node, _| gone(node)) {
            add_inbox(counts, &inbox);
        }
    }

    pub(super) fn view(&self) -> TransportView {
        let mut counts = self.tally.counts.clone();
        for outbox in self.outboxes.values() {
            add_outbox(&mut counts, outbox);
        }
        for inbox in self.inboxes.values() {
            add_inbox(&mut counts, inbox);
        }
        let tries = self.outboxes.iter().map(|(node, it)| (*node, it.tries()));
        let waiting = self.outboxes.values().map(|it| it.len() as u64).sum();
        let mut counters = self.a.counters.snapshot();
        counters.extend(counts);
        counters.push(("delivery_waiting", waiting));
        TransportView {
            incarnation: self.a.incarnation,
            lamport: self.a.clock.time(),
            refusals: self.tally.refusals.clone().into_iter().collect(),
            counters,
            twins: self.twins.present(since(self.a.epoch)),
            later_run: self.twins.later,
            unheard: tries.filter(|it| it.1 > 0).collect(),
        }
    }
}
