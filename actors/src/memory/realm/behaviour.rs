//! The protocols that are spoken: who may connect, how many, signs of life, questions and
//! answers, and one Kademlia for each realm.

use std::sync::Arc;

use chorus_protocol::ids::Label;
use libp2p::PeerId;
use libp2p::allow_block_list::{self, AllowedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p_kad::{BucketInserts, Caching, Mode, StoreInserts};

use super::book::Addresses;
use super::booked::Booked;
use super::codec::Raw;
use super::counters::Counters;
use super::gate::Gate;
use super::ids;
use super::settings::{
    CONNECTIONS_PER_PEER, DIALS_MAX, HANDSHAKES_MAX, PACKET_BYTES_MAX, QUERY_TIMEOUT, Settings,
};
use super::store::Durable;

/// A Kademlia over what is on disk.
pub type Kad = libp2p_kad::Behaviour<Durable>;

/// All that a connection carries. Membership comes first: a stranger is counted as one.
#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub members: allow_block_list::Behaviour<AllowedPeers>,
    gate: Gate,
    limits: connection_limits::Behaviour,
    ping: libp2p_ping::Behaviour,
    pub asks: Booked<request_response::Behaviour<Raw>>,
    first: Booked<Kad>,
    second: Toggle<Booked<Kad>>,
}

impl Behaviour {
    /// For the peer `me`; `settings` names one realm or two.
    pub fn new(
        me: PeerId,
        settings: &Settings,
        addresses: &Addresses,
        counters: &Arc<Counters>,
    ) -> Option<Self> {
        let kad =
            |realm: &Label| Booked::new(kad(me, settings, realm, counters), addresses.clone());
        let asks = asks(settings, counters);
        let silence_max = settings.limits.silence_max;
        Some(Self {
            members: allow_block_list::Behaviour::default(),
            gate: Gate::new(settings.limits.handshakes_per_address),
            limits: connection_limits::Behaviour::new(limits(settings)),
            ping: libp2p_ping::Behaviour::new(
                libp2p_ping::Config::new()
                    .with_interval(silence_max / 4)
                    .with_timeout(silence_max / 2),
            ),
            asks: Booked::new(asks, addresses.clone()),
            first: kad(settings.realms.first()?),
            second: settings.realms.get(1).map(kad).into(),
        })
    }

    /// The Kademlia of the realm in this place.
    pub fn kad(&mut self, place: usize) -> Option<&mut Kad> {
        match place {
            0 => Some(&mut self.first.inner),
            1 => self.second.as_mut().map(|kad| &mut kad.inner),
            _ => None,
        }
    }
}

fn limits(settings: &Settings) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(HANDSHAKES_MAX))
        .with_max_pending_outgoing(Some(DIALS_MAX))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER))
        .with_max_established(Some(settings.limits.connections_max))
}

fn asks(settings: &Settings, counters: &Arc<Counters>) -> request_response::Behaviour<Raw> {
    let limits = &settings.limits;
    let codec = Raw {
        bytes_max: limits.ask_bytes_max,
        counters: counters.clone(),
    };
    let protocol = (ids::ask_protocol(&settings.mesh), ProtocolSupport::Full);
    let config = request_response::Config::default()
        .with_request_timeout(limits.ask_timeout)
        // Theirs and ours share it: ours are as few as theirs.
        .with_max_concurrent_streams(2 * limits.asks_per_peer + 2);
    request_response::Behaviour::with_codec(codec, [protocol], config)
}

fn kad(me: PeerId, settings: &Settings, realm: &Label, counters: &Arc<Counters>) -> Kad {
    let mut config = libp2p_kad::Config::new(ids::kad_protocol(&settings.mesh, realm));
    config
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_kbucket_inserts(BucketInserts::Manual)
        .set_caching(Caching::Disabled)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(None)
        .set_record_ttl(None)
        .set_max_packet_size(PACKET_BYTES_MAX)
        .set_query_timeout(QUERY_TIMEOUT)
        .set_substreams_timeout(QUERY_TIMEOUT);
    let store = Durable::new(settings.lookup.clone(), counters.clone());
    let mut kad = Kad::with_config(me, store, config);
    // Said, not guessed: a node that nobody dials is no place to look for a record.
    kad.set_mode(Some(match settings.listen {
        Some(_) => Mode::Server,
        None => Mode::Client,
    }));
    kad
}
