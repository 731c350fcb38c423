//! Connections: made, lost, refused, silent.

use std::io;

use chorus_protocol::ids::NodeId;
use libp2p::allow_block_list::NotAllowed;
use libp2p::swarm::{ConnectionDenied, DialError, ListenError, SwarmEvent};
use tokio::time::Instant;

use super::behaviour::BehaviourEvent;
use super::counters::count;
use super::ids::{node_of, peer_of};
use super::runner::Runner;
use super::traffic::Event;

impl Runner {
    pub(super) fn link_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                num_established,
                ..
            } => {
                count(&self.counters.connections_opened);
                self.heard.insert(connection_id, now);
                if num_established.get() == 1 {
                    self.book.connected(&peer_id, now);
                    self.tell(node_of(&peer_id).map(Event::Connected));
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                cause,
                ..
            } => {
                self.heard.remove(&connection_id);
                tracing::debug!(peer = %peer_id, ?cause, "a memory connection closed");
                if num_established == 0 {
                    self.book.disconnected(&peer_id, now);
                    self.tell(node_of(&peer_id).map(Event::Disconnected));
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. } => match error {
                ListenError::Denied { cause } => self.refused(&cause),
                error => {
                    tracing::debug!(%error, "an inward memory connection came to nothing");
                    count(&self.counters.handshakes_failed);
                }
            },
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } => {
                tracing::debug!(%peer, %error, "a memory dial came to nothing");
                self.dial_failed(&error);
                self.book.failed(&peer, now);
            }
            SwarmEvent::ListenerClosed { reason, .. } => self.deaf(reason),
            _ => {}
        }
    }

    fn tell(&mut self, event: Option<Event>) {
        if let Some(event) = event {
            self.out.send(event);
        }
    }

    fn refused(&self, cause: &ConnectionDenied) {
        count(match cause.downcast_ref::<NotAllowed>() {
            Some(_) => &self.counters.strangers_refused,
            None => &self.counters.connections_over_limit,
        });
    }

    fn dial_failed(&self, error: &DialError) {
        match error {
            DialError::Denied { cause } => self.refused(cause),
            // Another dial of the same peer is under way, or done.
            DialError::DialPeerConditionFalse(_) => {}
            _ => count(&self.counters.dials_failed),
        }
    }

    fn deaf(&self, reason: io::Result<()>) {
        tracing::warn!(?reason, "memory listens no longer: restart the node");
    }

    pub(super) fn ping_over(&mut self, ping: &libp2p_ping::Event) {
        if ping.result.is_ok()
            && let Some(heard) = self.heard.get_mut(&ping.connection)
        {
            *heard = Instant::now();
        }
    }

    /// Cuts the connections that gave no sign of life for too long.
    pub(super) fn cut_silent(&mut self, now: Instant) {
        let most = self.limits.silence_max;
        let silent = |heard: &Instant| now.saturating_duration_since(*heard) >= most;
        let cut: Vec<_> = self
            .heard
            .iter()
            .filter(|(_, heard)| silent(heard))
            .map(|(id, _)| *id)
            .collect();
        for id in cut {
            // Once: how long closing takes is the kernel's to say.
            self.heard.remove(&id);
            count(&self.counters.silent_cut);
            self.swarm.close_connection(id);
        }
    }

    /// Dials those whose pause is over.
    pub(super) fn dial_due(&mut self, now: Instant) {
        for peer in self.book.due(now) {
            if self.swarm.is_connected(&peer) {
                self.book.connected(&peer, now);
                continue;
            }
            let dial = self.book.addresses.dial(peer);
            if let Err(error) = self.swarm.dial(dial) {
                self.dial_failed(&error);
                self.book.failed(&peer, now);
            }
        }
    }

    /// Whether a connection to `node` stands.
    pub(super) fn is_connected(&self, node: &NodeId) -> bool {
        self.swarm.is_connected(&peer_of(node))
    }
}
