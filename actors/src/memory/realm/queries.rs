//! Puts and gets, ours and those of others.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use chorus_protocol::ids::{Label, NodeId};
use libp2p::PeerId;
use libp2p_kad::{
    Event as KadEvent, GetRecordOk, InboundRequest, PeerRecord, PutRecordError, QueryId,
    QueryResult, Quorum, Record, RecordKey,
};

use super::counters::count;
use super::ids::{node_of, peer_of};
use super::runner::Runner;
use super::settings::VALUE_BYTES_MAX;
use super::traffic::Event;
use crate::transport::Bucket;

/// A realm's place, and the query there.
type Place = (usize, QueryId);

/// What is under way.
#[derive(Debug, Default)]
pub struct Queries {
    puts: HashMap<Place, Put>,
    gets: HashMap<Place, Get>,
}

#[derive(Debug)]
struct Put {
    id: u64,
    to: BTreeSet<NodeId>,
    /// Those that are no members.
    failed: Vec<NodeId>,
}

#[derive(Debug)]
struct Get {
    id: u64,
    key: [u8; 32],
    want: usize,
    got: usize,
}

impl Runner {
    pub(super) fn put(
        &mut self,
        id: u64,
        realm: Label,
        key: [u8; 32],
        value: Vec<u8>,
        to: Vec<NodeId>,
    ) {
        let to: BTreeSet<NodeId> = to.into_iter().collect();
        let is_member = |node: &NodeId| self.members.contains(node);
        let (to, strangers): (BTreeSet<_>, BTreeSet<_>) = to.into_iter().partition(is_member);
        let failed: Vec<NodeId> = strangers.into_iter().collect();
        let room = self.queries.puts.len() < self.limits.under_way_max;
        let place = self.place(&realm);
        let place = place.filter(|_| room && value.len() <= VALUE_BYTES_MAX && !to.is_empty());
        let kad = place.and_then(|place| Some((place, self.swarm.behaviour_mut().kad(place)?)));
        let Some((place, kad)) = kad else {
            count(&self.counters.orders_invalid);
            let failed = to.into_iter().chain(failed).collect();
            let reached = Vec::new();
            self.out.send(Event::PutDone {
                id,
                reached,
                failed,
            });
            return;
        };
        let record = Record::new(key.to_vec(), value);
        let peers: Vec<PeerId> = to.iter().map(peer_of).collect();
        // All: else it would end with the first of them and say no more of the others.
        let query = kad.put_record_to(record, peers.into_iter(), Quorum::All);
        let put = Put { id, to, failed };
        self.queries.puts.insert((place, query), put);
    }

    pub(super) fn get(&mut self, id: u64, realm: Label, key: [u8; 32], want: usize) {
        let room = self.queries.gets.len() < self.limits.under_way_max;
        let place = self.place(&realm).filter(|_| room && want > 0);
        let kad = place.and_then(|place| Some((place, self.swarm.behaviour_mut().kad(place)?)));
        let Some((place, kad)) = kad else {
            count(&self.counters.orders_invalid);
            self.out.send(Event::GetDone { id });
            return;
        };
        kad.store_mut().for_own_get(true);
        let query = kad.get_record(RecordKey::from(key.to_vec()));
        kad.store_mut().for_own_get(false);
        let get = Get {
            id,
            key,
            want,
            got: 0,
        };
        self.queries.gets.insert((place, query), get);
    }

    pub(super) fn kad_event(&mut self, place: usize, event: KadEvent) {
        match event {
            KadEvent::InboundRequest { request } => self.asked_of_kad(place, request),
            KadEvent::OutboundQueryProgressed {
                id, result, step, ..
            } => match result {
                QueryResult::PutRecord(result) => self.put_over((place, id), result),
                QueryResult::GetRecord(result) => {
                    if let Ok(GetRecordOk::FoundRecord(found)) = result {
                        self.found((place, id), found);
                    }
                    if step.last
                        && let Some(get) = self.queries.gets.remove(&(place, id))
                    {
                        self.out.send(Event::GetDone { id: get.id });
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn put_over(&mut self, query: Place, result: libp2p_kad::PutRecordResult) {
        let Some(put) = self.queries.puts.remove(&query) else {
            return;
        };
        let reached: BTreeSet<NodeId> = match result {
            Ok(_) => put.to.clone(),
            Err(
                PutRecordError::QuorumFailed { success, .. }
                | PutRecordError::Timeout { success, .. },
            ) => success.iter().filter_map(node_of).collect(),
        };
        let mut failed = put.failed;
        failed.extend(put.to.difference(&reached));
        self.out.send(Event::PutDone {
            id: put.id,
            reached: reached.into_iter().collect(),
            failed,
        });
    }

    fn found(&mut self, query: Place, found: PeerRecord) {
        let Some(get) = self.queries.gets.get_mut(&query) else {
            return;
        };
        let Some(from) = found.peer.as_ref().and_then(node_of) else {
            return;
        };
        // Kademlia does not compare what it asked for with what it was given.
        if found.record.key.as_ref() != get.key || found.record.value.len() > VALUE_BYTES_MAX {
            return count(&self.counters.values_malformed);
        }
        if get.got == get.want {
            return;
        }
        get.got += 1;
        let (id, enough) = (get.id, get.got == get.want);
        let value = found.record.value;
        self.out.send(Event::Got { id, from, value });
        let kad = self.swarm.behaviour_mut().kad(query.0);
        if let Some(mut running) = kad.and_then(|kad| kad.query_mut(&query.1).filter(|_| enough)) {
            running.finish();
        }
    }

    fn asked_of_kad(&mut self, place: usize, request: InboundRequest) {
        match request {
            InboundRequest::PutRecord {
                source,
                record: Some(record),
                ..
            } => self.given(place, &source, record),
            InboundRequest::AddProvider { .. } => count(&self.counters.providers_refused),
            _ => {}
        }
    }

    /// A peer has put something here.
    fn given(&mut self, place: usize, source: &PeerId, record: Record) {
        let member = node_of(source).filter(|node| self.members.contains(node));
        let (Some(from), Some(realm)) = (member, self.realms.get(place).copied()) else {
            return;
        };
        let rate = self.limits.puts_per_second;
        let bucket = self.puts.entry(from).or_insert_with(|| Bucket::new(rate));
        if !bucket.take(Instant::now()) {
            return count(&self.counters.puts_over_rate);
        }
        let value = record.value;
        let key: Option<[u8; 32]> = record.key.as_ref().try_into().ok();
        let Some(key) = key.filter(|_| value.len() <= VALUE_BYTES_MAX) else {
            return count(&self.counters.values_malformed);
        };
        if self.out.send(Event::Put {
            from,
            realm,
            key,
            value,
        }) {
            count(&self.counters.puts_received);
        }
    }
}
