//! The record store that libp2p's Kademlia wants: a look into what the node has on disk.
//! Nothing is ever put into it.

use std::borrow::Cow;
use std::iter::{Empty, empty};
use std::sync::Arc;

use libp2p::PeerId;
use libp2p_kad::store::{Error, RecordStore, Result};
use libp2p_kad::{ProviderRecord, Record, RecordKey};

use super::counters::{Counters, count};
use super::settings::{Lookup, VALUE_BYTES_MAX};

/// What is durable, through the node's own eyes.
pub struct Durable {
    lookup: Lookup,
    counters: Arc<Counters>,
    /// Kademlia looks here first for its own node's gets; the node knows what it has.
    own_get: bool,
}

impl Durable {
    pub fn new(lookup: Lookup, counters: Arc<Counters>) -> Self {
        Self {
            lookup,
            counters,
            own_get: false,
        }
    }

    /// Whether the next looks are for this node itself: they find nothing.
    pub fn for_own_get(&mut self, own_get: bool) {
        self.own_get = own_get;
    }
}

impl RecordStore for Durable {
    type RecordsIter<'a> = Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        if self.own_get {
            return None;
        }
        count(&self.counters.gets_received);
        let bytes: [u8; 32] = key.as_ref().try_into().ok()?;
        let value = (self.lookup)(&bytes).filter(|value| value.len() <= VALUE_BYTES_MAX)?;
        count(&self.counters.gets_found);
        Some(Cow::Owned(Record::new(key.clone(), value)))
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        empty()
    }

    fn add_provider(&mut self, _: ProviderRecord) -> Result<()> {
        Err(Error::MaxProvidedKeys)
    }

    fn providers(&self, _: &RecordKey) -> Vec<ProviderRecord> {
        Vec::new()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        empty()
    }

    fn remove_provider(&mut self, _: &RecordKey, _: &PeerId) {}
}
