//! How many handshakes one address may have under way: a stranger on one machine, who
//! connects and says nothing, leaves room for members on others.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::ids::socket_addr;

/// The inward handshakes under way.
#[derive(Debug)]
pub struct Gate {
    most: usize,
    under_way: BTreeMap<ConnectionId, Option<IpAddr>>,
}

/// Why a connection was turned away.
#[derive(Debug, thiserror::Error)]
#[error("too many handshakes of one address")]
struct Crowd;

impl Gate {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            under_way: BTreeMap::new(),
        }
    }

    fn enter(&mut self, id: ConnectionId, from: Option<IpAddr>) -> Result<(), Crowd> {
        let same = self.under_way.values().filter(|other| **other == from);
        if same.count() >= self.most {
            return Err(Crowd);
        }
        self.under_way.insert(id, from);
        Ok(())
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let from = socket_addr(remote).map(|from| from.ip());
        self.enter(id, from).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.under_way.remove(&id);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        if let FromSwarm::ListenFailure(failure) = event {
            self.under_way.remove(&failure.connection_id);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_of_one_address_leaves_others_alone() {
        let mut gate = Gate::new(2);
        let id = ConnectionId::new_unchecked;
        let ip = |n| Some(IpAddr::from([10, 0, 0, n]));
        assert!(gate.enter(id(1), ip(1)).is_ok());
        assert!(gate.enter(id(2), ip(1)).is_ok());
        assert!(gate.enter(id(3), ip(1)).is_err());
        assert!(gate.enter(id(4), ip(2)).is_ok());
        gate.under_way.remove(&id(1));
        assert!(gate.enter(id(5), ip(1)).is_ok());
    }
}
