//! What a socket thread is started with, and where it listens then.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::trust::item::Address;

use super::keys::{CurveKeys, Key};

/// TCP ports to listen on; 0 lets the system choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports {
    pub router: u16,
    pub publisher: u16,
    pub subscriber: u16,
    pub door: u16,
    /// Memory's: libp2p, not ZeroMQ.
    pub memory: u16,
}

/// What a socket thread is started with.
#[derive(Debug, Clone)]
pub struct SocketsConfig {
    /// Address of the interface to listen on.
    pub host: IpAddr,
    pub ports: Ports,
    pub keys: CurveKeys,
    /// Keys that may shake hands with every socket but the door.
    pub allow: Arc<BTreeSet<Key>>,
    /// Door messages per second beside the first of each connection. At least 1.
    pub door_rate: u32,
    /// How often the node tries a wrong key on itself.
    pub probe_interval: Duration,
    /// A folder of this process alone, for the socket behind the door. Without one, or where
    /// it will not do, one is made among the temporary files.
    pub private: Option<PathBuf>,
    /// An outward connection that is down for so long is opened anew: libzmq itself never
    /// returns after a refused handshake.
    pub redial_after: Duration,
}

impl SocketsConfig {
    /// Listens on every interface with ports chosen by the system. Rates are this design's:
    /// 50 door messages a second beside first ones, a probe each minute, a refused dial again after 30 s.
    pub fn new(keys: CurveKeys, allow: Arc<BTreeSet<Key>>) -> Self {
        Self {
            host: IpAddr::from([0, 0, 0, 0]),
            ports: Ports::default(),
            keys,
            allow,
            door_rate: 50,
            probe_interval: Duration::from_secs(60),
            private: None,
            redial_after: Duration::from_secs(30),
        }
    }
}

/// Where the sockets listen, ports as they are (`tcp://host:port`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub router: String,
    pub publisher: String,
    pub subscriber: String,
    pub door: String,
}

impl Bound {
    /// What is announced: every host with all ports.
    pub(crate) fn addresses(
        &self,
        advertise: &[String],
        memory: Option<SocketAddr>,
    ) -> Vec<Address> {
        let port = |endpoint: &str| {
            let port = endpoint.rsplit(':').next();
            port.and_then(|port| port.parse().ok()).unwrap_or(0)
        };
        let address = |host: &String| Address {
            host: host.clone(),
            router: port(&self.router),
            publisher: port(&self.publisher),
            subscriber: port(&self.subscriber),
            door: port(&self.door),
            memory: memory.map_or(0, |at| at.port()),
        };
        advertise.iter().map(address).collect()
    }
}
