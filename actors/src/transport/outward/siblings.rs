//! Siblings' publishers: listened to, at every address that they tell.

use std::time::{Duration, Instant};

use super::{Outwards, connect, count};
use crate::transport::keys::Key;

/// How long a sibling that was dialled may be silent; twice as long with each try in vain.
/// Over the slowest links a connection takes this long.
pub(super) const REDIAL: Duration = Duration::from_secs(2);
/// A cluster has at most 100 children.
const SIBLINGS_MAX: usize = 128;

/// A sibling's publisher, listened to.
pub struct Sibling {
    pub socket: zmq::Socket,
    publishers: Vec<Publisher>,
    /// When it last sent something, or was dialled.
    heard: Instant,
    /// How long it may be silent from then on, where it was dialled and has said nothing yet.
    unheard: Option<Duration>,
}

/// Where it publishes.
struct Publisher {
    endpoint: String,
    /// With addresses for a name; none until the name resolves.
    to: Vec<String>,
}

impl Sibling {
    /// It has sent something.
    pub fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.unheard = None;
    }
}

impl Outwards {
    /// Listens to a sibling's publisher, in place of an older connection to it. All its
    /// addresses are listened to at once: which of two networks is cut is known only when
    /// its silence has been taken for its death. What comes over both comes twice; a
    /// sibling of the whole mesh says little.
    pub fn dial_sibling(&mut self, key: Key, publishers: Vec<String>, now: Instant) {
        self.siblings.remove(&key);
        let room = self.siblings.len() < SIBLINGS_MAX;
        let told = publishers.join(", ");
        let sibling = room.then(|| self.sibling(&key, publishers, now));
        if let Some(sibling) = self.dialled(sibling, &told) {
            self.siblings.insert(key, sibling);
        }
    }

    fn sibling(&mut self, key: &Key, endpoints: Vec<String>, now: Instant) -> zmq::Result<Sibling> {
        let topics = self.sib.clone();
        let socket = self.prepare(zmq::SUB, key, &topics)?;
        let resolved = |endpoint: String| Publisher {
            to: self.names.endpoints(&endpoint),
            endpoint,
        };
        let publishers: Vec<Publisher> = endpoints.into_iter().map(resolved).collect();
        let tried = publishers.iter().flat_map(|one| &one.to);
        let tried: Vec<_> = tried.map(|to| connect(&socket, to)).collect();
        if !tried.iter().any(Result::is_ok) {
            tried.into_iter().collect::<zmq::Result<()>>()?;
        }
        Ok(Sibling {
            socket,
            publishers,
            heard: now,
            unheard: Some(REDIAL),
        })
    }

    pub(super) fn tend_siblings(&mut self, now: Instant, redial_after: Duration) {
        let mut siblings = std::mem::take(&mut self.siblings);
        for (key, sibling) in &mut siblings {
            let names =
                |one: &Publisher| one.to.is_empty() && self.names.endpoint(&one.endpoint).is_some();
            let named = sibling.publishers.iter().any(names);
            // No monitor tells of a refusal, and libzmq never comes back after one: while the
            // other side does not know us yet, only trying again finds out when it does.
            let unheard = sibling.unheard.unwrap_or(redial_after);
            let silence = now.saturating_duration_since(sibling.heard);
            if silence < redial_after.min(unheard) && !named {
                continue;
            }
            let endpoints = sibling.publishers.iter().map(|one| one.endpoint.clone());
            match self.sibling(key, endpoints.collect(), now) {
                Ok(fresh) => {
                    count(&self.counters.redialled);
                    let longer = sibling.unheard.map(|it| redial_after.min(2 * it));
                    let unheard = longer.or(fresh.unheard);
                    *sibling = Sibling { unheard, ..fresh };
                }
                Err(error) => tracing::warn!(%error, "cannot redial a sibling"),
            }
        }
        self.siblings = siblings;
    }
}
