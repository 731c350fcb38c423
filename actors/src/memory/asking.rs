//! Asking: gets and lists. A get reads what stands here, asks the others who has the same,
//! and takes what is newer there before it answers. So does a write to a key that others
//! hold: it could not say it had seen what stands there, and would be in conflict with it.

use std::collections::BTreeMap;
use std::time::Duration;

use chorus_protocol::ids::{Digest, NodeId};
use chorus_protocol::memory::key::{Key, Position};
use chorus_protocol::memory::replication::{Found, Input};
use chorus_protocol::memory::siblings::Siblings;
use chorus_protocol::units::Micros;
use tokio::sync::oneshot;

use super::actor::State;
use super::ingress::{Given, Listed, PAGE_MAX, Waiting};
use super::reading;
use super::realm::Order;
use super::{Got, MemoryError, ToMemory};
use crate::messages::ToTransport;

/// Gets under way at once.
const GETS_MAX: usize = 256;
/// How often a get looks again because others had something newer.
const LOOKS: usize = 3;
/// How many holders a get asks Kademlia for, where no neighbour had anything.
const WANTED: usize = 3;

/// The gets under way.
#[derive(Debug, Default)]
pub struct Gets(BTreeMap<u64, Get>);

#[derive(Debug)]
struct Get {
    key: Key,
    until: Option<Micros>,
    then: Then,
    /// What stands here, as far as it has been read.
    held: Option<(Digest, Siblings)>,
    looks: usize,
    nodes: usize,
    /// Whether everybody that was asked has answered.
    answered: bool,
    /// Whether all who should hold the key have exactly what stands here.
    all_heard: bool,
    asked_kademlia: bool,
    /// Kademlia found something, and what that comes to is looked at when it is in the store.
    given: bool,
}

/// What a get is for.
#[derive(Debug)]
pub(super) enum Then {
    /// Somebody wants to know.
    Tell(oneshot::Sender<Result<Got, MemoryError>>),
    /// This write, which is to have seen what stands there.
    Write(Box<ToMemory>),
}

impl State {
    pub(super) fn get(&mut self, key: Key, within: Option<Duration>, then: Then) {
        if self.gets.0.len() >= GETS_MAX {
            return self.go_on_with(then, Err(MemoryError::Busy));
        }
        let span = within.map(|it| Micros(u64::try_from(it.as_micros()).unwrap_or(0)));
        let number = self.number();
        let get = Get {
            key,
            until: span.map(|span| self.now() + span),
            then,
            held: None,
            looks: 0,
            nodes: 0,
            answered: true,
            all_heard: false,
            asked_kademlia: false,
            given: false,
        };
        self.gets.0.insert(number, get);
        self.read_here(number);
    }

    fn read_here(&self, number: u64) {
        let Some(get) = self.gets.0.get(&number) else {
            return;
        };
        let at = get.key.id().position();
        let (reader, myself) = (self.store.reader().clone(), self.myself.clone());
        tokio::task::spawn_blocking(move || {
            let found = reading::siblings(&reader, &at).map_err(unread);
            let _ = myself.cast(ToMemory::Read(number, found));
        });
    }

    /// What stands here has been read: answer, or ask the others.
    pub(super) fn read(
        &mut self,
        number: u64,
        found: Result<Option<(Digest, Siblings)>, MemoryError>,
    ) {
        let alone = self.machine.neighbours().next().is_none();
        let now = self.now();
        let Some(get) = self.gets.0.get_mut(&number) else {
            return;
        };
        let damaged = found == Err(MemoryError::Damaged);
        let at = get.key.id().position();
        match found {
            // What is damaged here may be whole elsewhere.
            Err(MemoryError::Damaged) if !alone => get.held = None,
            Err(why) => {
                if let Some(get) = self.gets.0.remove(&number) {
                    self.go_on_with(get.then, Err(why));
                }
                return;
            }
            Ok(found) => get.held = found,
        }
        let over = get.until.is_none_or(|until| now >= until);
        if (over && !damaged) || alone || get.looks >= LOOKS {
            return self.answer_get(number);
        }
        get.looks += 1;
        let until = get.until.unwrap_or(now + Micros::from_secs(1));
        let has = get.held.as_ref().map_or(Digest([0; 32]), |(it, _)| *it);
        if damaged {
            self.mend(vec![at]);
        }
        self.input(Input::Look {
            look: number,
            at,
            has,
            until,
        });
    }

    /// The others have answered.
    pub(super) fn found(&mut self, found: Found) {
        let Some(get) = self.gets.0.get_mut(&found.look) else {
            return;
        };
        get.nodes = found.nodes.len();
        get.answered = found.complete;
        if get.held.is_none() {
            let leaf = get.key.id().position().leaf();
            let me = self.writer.identity.id();
            let holders = self.machine.placement().holders(leaf);
            let heard = |it: &NodeId| *it == me || found.nodes.contains(it);
            get.all_heard = holders.iter().all(heard);
        }
        let number = found.look;
        let records: Vec<Vec<u8>> = found
            .others
            .iter()
            .filter_map(|set| reading::unpack(set).ok())
            .flatten()
            .collect();
        if !records.is_empty() {
            let given = Given {
                from: self.writer.identity.id(),
                fresh: false,
                ticket: None,
                waiting: Waiting::Get(number),
                permit: None,
            };
            return self.check(given, records);
        }
        if get.held.is_none()
            && !get.asked_kademlia
            && !self.machine.should_hold(get.key.id().position().leaf())
        {
            get.asked_kademlia = true;
            let key = get.key.id().0;
            if let Some(realm) = self.realms.first().copied()
                && self.order(Order::Get {
                    id: number,
                    realm,
                    key,
                    want: WANTED,
                })
            {
                return;
            }
        }
        self.answer_get(number);
    }

    /// A holder that Kademlia found has a value.
    pub(super) fn got(&mut self, number: u64, from: NodeId, value: &[u8]) {
        let Ok(records) = reading::unpack(value) else {
            return self.count("records_malformed", 1);
        };
        let Some(get) = self.gets.0.get_mut(&number) else {
            return;
        };
        get.given = true;
        let given = Given {
            from,
            fresh: false,
            ticket: None,
            waiting: Waiting::Get(number),
            permit: None,
        };
        self.check(given, records);
    }

    /// Kademlia has nobody left to ask. Where it found something, that is on its way.
    pub(super) fn get_done(&mut self, number: u64) {
        let waits = |get: &Get| get.asked_kademlia && get.held.is_none() && !get.given;
        if self.gets.0.get(&number).is_some_and(waits) {
            self.read_here(number);
        }
    }

    /// What others had is here now: see whether that was all.
    pub(super) fn look_again(&mut self, number: u64) {
        self.read_here(number);
    }

    fn answer_get(&mut self, number: u64) {
        let Some(get) = self.gets.0.remove(&number) else {
            return;
        };
        let replicas = match &get.held {
            Some(_) => 1 + get.nodes,
            None => 0,
        };
        // That nothing stands there is known only when all who should hold it have said so.
        let leaf = get.key.id().position().leaf();
        let me = self.writer.identity.id();
        let all_heard = get.all_heard || {
            let holders = self.machine.placement().holders(leaf);
            holders.iter().all(|it| *it == me)
        };
        let got = Got {
            complete: get.answered && (get.held.is_some() || all_heard),
            answered: get.answered,
            siblings: get.held.map(|(_, set)| set).unwrap_or_default(),
            replicas,
        };
        // Others' records are read as soon as they are applied, and the clock hears of them when
        // they are durable: what the reader writes next is to come after them all the same.
        let latest = got.siblings.iter().map(|it| it.dot().lamport).max();
        if let Some(latest) = latest.filter(|it| *it > self.ring.lamport()) {
            // Where nobody has the clock any more the node stops, and writes nothing.
            let _ = self.ring.transport(ToTransport::Observe(latest));
        }
        self.go_on_with(get.then, Ok(got));
    }

    fn go_on_with(&self, then: Then, got: Result<Got, MemoryError>) {
        match then {
            // Whoever asked may have gone.
            Then::Tell(reply) => drop(reply.send(got)),
            // What was found is in the store by now, where the write reads it. It is made too
            // where nobody could be asked: writes go on in a part that is cut off.
            Then::Write(put) => drop(self.myself.cast(*put)),
        }
    }

    pub(super) fn list(
        &mut self,
        from: Option<Position>,
        limit: usize,
        reply: oneshot::Sender<Result<Listed, MemoryError>>,
    ) {
        let reader = self.store.reader().clone();
        let myself = self.myself.clone();
        let limit = limit.clamp(1, PAGE_MAX);
        tokio::task::spawn_blocking(move || {
            let listed = reading::list(&reader, from.as_ref(), limit);
            if let Ok(listed) = &listed {
                if !listed.damaged.is_empty() {
                    let _ = myself.cast(ToMemory::Damaged(listed.damaged.clone()));
                }
                if !listed.gaps.is_empty() {
                    tracing::warn!(
                        places = listed.gaps.len(),
                        "the files of the store are damaged: nothing more is written to them. \
                         The next start keeps what it can still read, if anything, and the others \
                         give back what they hold"
                    );
                }
            }
            let _ = reply.send(listed.map_err(unread));
        });
    }
}

/// Why something could not be read.
fn unread(why: chorus_storage::Error) -> MemoryError {
    match why {
        chorus_storage::Error::Damaged { .. } => MemoryError::Damaged,
        other => MemoryError::Disk(other.to_string()),
    }
}
