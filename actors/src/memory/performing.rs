//! Performing: the machine's outputs, done in their order.

use std::collections::{BTreeMap, VecDeque};

use chorus_protocol::ids::{Label, NodeId};
use chorus_protocol::memory::parcel::Answer;
use chorus_protocol::memory::record::Record;
use chorus_protocol::memory::replication::{Input, Output};
use chorus_protocol::memory::siblings::Siblings;
use chorus_protocol::wire::codec;
use chorus_storage::store::{Batch, Tree};

use super::actor::State;
use super::ingress::{Given, ToMemory, Waiting};
use super::reading;
use super::realm::{Order, Refused};

impl State {
    /// Feeds the machine and does what it says.
    pub(super) fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now();
            for output in self.machine.handle(input, now) {
                inputs.extend(self.perform(output));
            }
        }
    }

    pub(super) fn perform(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Spread(to, record) => self.spread(to, &record),
            Output::Ask { to, ask, question } => {
                let bytes = codec::encode(&question);
                if !self.order(Order::Ask { id: ask, to, bytes }) {
                    let answer = None;
                    return Some(Input::Answered {
                        from: to,
                        ask,
                        answer,
                    });
                }
            }
            Output::Reply(ticket, answer) => self.reply(ticket, &answer),
            Output::ReplyHeads(ticket, leaves) => self.read_for(ticket, move |reader| {
                let heads = reading::all_heads(reader, &leaves);
                heads.map_or(Answer::Busy, Answer::Heads)
            }),
            Output::ReplyRecords(ticket, positions) => self.read_for(ticket, move |reader| {
                Answer::Records(reading::records(reader, &positions))
            }),
            Output::Merge {
                from,
                records,
                ticket,
            } => {
                let given = Given {
                    from,
                    fresh: false,
                    ticket,
                    waiting: Waiting::Nothing,
                    permit: None,
                };
                self.check(given, records);
            }
            Output::Compare(with, leaves) => self.compare(with, leaves, false),
            Output::Offer(with, leaves) => self.compare(with, leaves, true),
            Output::Holds { look, at, has, dot } => {
                // On the store's thread: only what is durable counts as a copy.
                let myself = self.myself.clone();
                self.store.update(
                    move |store| {
                        let found = match store.get(Tree::Memory, &at.0) {
                            Ok(Some(value)) => reading::holds(&value, &has, dot.as_ref()),
                            Ok(None) => reading::holds_nothing(&has, dot.as_ref()),
                            Err(_) => None,
                        };
                        Ok((Batch::new(), found))
                    },
                    move |found| {
                        let _ = myself.cast(ToMemory::Held(look, found.ok().flatten()));
                    },
                );
            }
            Output::Reached(reached) => self.reached(reached),
            Output::Found(found) => self.found(found),
        }
        None
    }

    /// Reads where our leaves differ from a neighbour's, away from the runtime.
    pub(super) fn compare(&self, with: NodeId, leaves: Vec<(u16, Vec<u8>)>, offer: bool) {
        let (reader, myself) = (self.store.reader().clone(), self.myself.clone());
        tokio::task::spawn_blocking(move || {
            let to_move = reading::compare(&reader, &leaves, offer).ok();
            let _ = myself.cast(ToMemory::Compared(with, to_move));
        });
    }

    /// Gives an order that nobody gives again: where there is no room it waits for some.
    pub(super) fn must(&mut self, order: Order) {
        if matches!(order, Order::Members(_)) {
            // In full, each time.
            self.unsent.retain(|it| !matches!(it, Order::Members(_)));
        }
        self.unsent.push_back(order);
        self.send_unsent();
    }

    /// Gives the orders that wait, in their order. Says whether none is left.
    pub(super) fn send_unsent(&mut self) -> bool {
        let network = &self.network;
        let all_sent = hand_over(&mut self.unsent, |order| match network.order(order) {
            Err(Refused::Full(order)) => Some(*order),
            // Of a thread that has ended the supervisor is told by others.
            Ok(()) | Err(Refused::Stopped(_)) => None,
        });
        self.count("memory_orders_late", u64::from(!all_sent));
        all_sent
    }

    /// Gives an order to the network's thread. False: it has no room for it now.
    pub(super) fn order(&mut self, order: Order) -> bool {
        let taken = self.network.order(order).is_ok();
        self.count("memory_orders_refused", u64::from(!taken));
        taken
    }

    /// Sends a fresh write to neighbours, to each in the realm that both are in.
    pub(super) fn spread(&mut self, to: Vec<NodeId>, record: &Record) {
        let mut set = Siblings::default();
        set.merge(record.clone());
        let value = set.encode();
        let mut by_realm: BTreeMap<Label, Vec<NodeId>> = BTreeMap::new();
        for node in to {
            if let Some(realm) = self.neighbours.realm(&self.roster, &node) {
                by_realm.entry(realm).or_default().push(node);
            }
        }
        for (realm, to) in by_realm {
            let (id, key) = (self.number(), record.key_id().0);
            let value = value.clone();
            self.order(Order::Put {
                id,
                realm,
                key,
                value,
                to,
            });
        }
    }

    pub(super) fn reply(&mut self, ticket: u64, answer: &Answer) {
        if let Some((reply, _)) = self.tickets.remove(&ticket) {
            let bytes = codec::encode(answer);
            self.order(Order::Answer { reply, bytes });
        }
    }

    pub(super) fn read_for(
        &self,
        ticket: u64,
        read: impl FnOnce(&chorus_storage::Reader) -> Answer + Send + 'static,
    ) {
        let (reader, myself) = (self.store.reader().clone(), self.myself.clone());
        tokio::task::spawn_blocking(move || {
            let _ = myself.cast(ToMemory::Answer(ticket, read(&reader)));
        });
    }
}

/// Gives what waits to `send` until that gives one back. Says whether nothing is left.
fn hand_over<T>(waiting: &mut VecDeque<T>, mut send: impl FnMut(T) -> Option<T>) -> bool {
    while let Some(first) = waiting.pop_front() {
        if let Some(back) = send(first) {
            waiting.push_front(back);
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_waits_and_keeps_its_order() {
        let (mut waiting, mut sent) = (VecDeque::from([1, 2, 3]), Vec::new());
        let mut room = 0;
        for rounds in 0..4 {
            let done = hand_over(&mut waiting, |it| {
                if room == 0 {
                    return Some(it);
                }
                room -= 1;
                sent.push(it);
                None
            });
            assert_eq!(done, rounds == 3, "{sent:?}");
            room = 1;
        }
        assert_eq!(sent, [1, 2, 3]);
    }
}
