//! Where members are dialled, and when those are dialled again to whom a connection is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chorus_protocol::ids::Label;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

/// The first pause after a dial that came to nothing.
const FIRST: Duration = Duration::from_millis(300);
/// The longest.
const LONGEST: Duration = Duration::from_secs(5);
/// A connection that stood this long was a good one: the pauses begin anew.
const GOOD: Duration = Duration::from_secs(5);

/// The addresses that the node gave, and no others. The swarm's thread alone uses it; a lock
/// because libp2p wants its parts to be `Send`.
#[derive(Debug, Clone, Default)]
pub struct Addresses(Arc<Mutex<BTreeMap<PeerId, Vec<Multiaddr>>>>);

impl Addresses {
    pub fn set(&self, peer: PeerId, addrs: Vec<Multiaddr>) {
        self.with(|all| all.insert(peer, addrs));
    }

    pub fn are(&self, peer: &PeerId, addrs: &[Multiaddr]) -> bool {
        self.with(|all| all.get(peer).is_some_and(|known| known == addrs))
    }

    pub fn remove(&self, peer: &PeerId) {
        self.with(|all| all.remove(peer));
    }

    /// A dial of this peer: from a port of its own, since two sides that dial each other from
    /// the ports they listen on would be one connection attempt that both refuse.
    pub fn dial(&self, peer: PeerId) -> DialOpts {
        let addrs = self.with(|all| all.get(&peer).cloned()).unwrap_or_default();
        DialOpts::peer_id(peer)
            .allocate_new_port()
            .addresses(addrs)
            .build()
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<PeerId, Vec<Multiaddr>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A peer to whom a connection is kept.
#[derive(Debug)]
struct Kept {
    pause: Duration,
    /// None while a dial is under way or a connection stands.
    due: Option<Instant>,
    since: Option<Instant>,
}

/// Who is in which realm, and who is dialled again.
#[derive(Debug, Default)]
pub struct Book {
    pub addresses: Addresses,
    realms: BTreeMap<PeerId, BTreeSet<Label>>,
    kept: BTreeMap<PeerId, Kept>,
}

impl Book {
    /// `peer` is in `realm`.
    pub fn enter(&mut self, peer: PeerId, realm: Label, addrs: Vec<Multiaddr>) {
        self.realms.entry(peer).or_default().insert(realm);
        self.addresses.set(peer, addrs);
    }

    /// Whether `peer` is known to be in `realm`, at these addresses.
    pub fn is_in(&self, peer: &PeerId, realm: &Label, addrs: &[Multiaddr]) -> bool {
        let realms = self.realms.get(peer);
        realms.is_some_and(|realms| realms.contains(realm)) && self.addresses.are(peer, addrs)
    }

    /// `peer` is in `realm` no longer; if it is in none, it is forgotten.
    pub fn leave(&mut self, peer: &PeerId, realm: &Label) {
        if let Some(realms) = self.realms.get_mut(peer) {
            realms.remove(realm);
        }
        if self.realms.get(peer).is_none_or(BTreeSet::is_empty) {
            self.remove(peer);
        }
    }

    /// Forgets `peer`.
    pub fn remove(&mut self, peer: &PeerId) {
        self.realms.remove(peer);
        self.kept.remove(peer);
        self.addresses.remove(peer);
    }

    /// A connection to `peer` is kept from now on; it is due at once unless one stands.
    pub fn keep(&mut self, peer: PeerId, addrs: Vec<Multiaddr>, connected: bool, now: Instant) {
        self.addresses.set(peer, addrs);
        let kept = Kept {
            pause: FIRST,
            due: (!connected).then_some(now),
            since: connected.then_some(now),
        };
        self.kept.insert(peer, kept);
    }

    /// The first connection to `peer` stands.
    pub fn connected(&mut self, peer: &PeerId, now: Instant) {
        if let Some(kept) = self.kept.get_mut(peer) {
            kept.due = None;
            kept.since = Some(now);
        }
    }

    /// The last connection to `peer` is gone.
    pub fn disconnected(&mut self, peer: &PeerId, now: Instant) {
        if let Some(kept) = self.kept.get_mut(peer) {
            let since = kept.since.take();
            // One that ends at once was refused: it is not to be a loop without pauses.
            if since.is_some_and(|since| now - since >= GOOD) {
                kept.pause = FIRST;
            }
            kept.wait(now);
        }
    }

    /// A dial of `peer` came to nothing. One that stands is not touched.
    pub fn failed(&mut self, peer: &PeerId, now: Instant) {
        if let Some(kept) = self.kept.get_mut(peer)
            && kept.since.is_none()
        {
            kept.wait(now);
        }
    }

    /// Those that are to be dialled now; their dials count as under way.
    pub fn due(&mut self, now: Instant) -> Vec<PeerId> {
        let mut due = Vec::new();
        for (peer, kept) in &mut self.kept {
            if kept.due.is_some_and(|at| at <= now) {
                kept.due = None;
                due.push(*peer);
            }
        }
        due
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.kept.values().filter_map(|kept| kept.due).min()
    }
}

impl Kept {
    /// Sets the time of the next dial: the pause, more or less a quarter, so that those who
    /// lost the same peer do not all return at once.
    fn wait(&mut self, now: Instant) {
        // A machine without randomness gets no spread; nothing secret hangs on it.
        let spread = getrandom::u32().map_or(500, |n| n % 500);
        self.due = Some(now + self.pause * (750 + spread) / 1000);
        self.pause = (self.pause * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PeerId {
        super::super::ids::peer_of(&chorus_protocol::ids::NodeId([3; 32]))
    }

    /// The pauses of a peer that cannot be reached, as the book gives them.
    fn pauses(book: &mut Book, mut now: Instant, times: usize) -> Vec<Duration> {
        let mut pauses = Vec::new();
        for _ in 0..times {
            book.failed(&peer(), now);
            let next = book.next().expect("dialled again");
            pauses.push(next - now);
            now = next;
            assert_eq!(book.due(now), [peer()]);
            assert_eq!(book.next(), None, "its dial is under way");
        }
        pauses
    }

    #[test]
    fn pauses_double_up_to_five_seconds() {
        let mut book = Book::default();
        let now = Instant::now();
        book.keep(peer(), vec![], false, now);
        assert_eq!(book.due(now), [peer()]);
        let pauses = pauses(&mut book, now, 8);
        let expected = [300, 600, 1200, 2400, 4800, 5000, 5000, 5000];
        for (pause, expected) in pauses.iter().zip(expected) {
            let expected = Duration::from_millis(expected);
            assert!(
                (expected * 3 / 4..=expected * 5 / 4).contains(pause),
                "{pause:?}"
            );
        }
    }

    #[test]
    fn only_a_connection_that_lasted_begins_anew() {
        let mut book = Book::default();
        let now = Instant::now();
        book.keep(peer(), vec![], false, now);
        book.due(now);
        pauses(&mut book, now, 6);
        for (stood, most) in [(Duration::ZERO, LONGEST), (GOOD, FIRST)] {
            book.connected(&peer(), now);
            assert_eq!(book.next(), None);
            book.disconnected(&peer(), now + stood);
            let pause = book.next().expect("dialled again") - (now + stood);
            assert!((most * 3 / 4..=most * 5 / 4).contains(&pause), "{pause:?}");
        }
    }

    #[test]
    fn who_is_in_no_realm_is_forgotten() {
        let mut book = Book::default();
        let label = |text| Label::new(text).expect("a label");
        let now = Instant::now();
        book.enter(peer(), label("a"), vec![]);
        book.enter(peer(), label("b"), vec![]);
        book.keep(peer(), vec![], false, now);
        book.leave(&peer(), &label("a"));
        assert!(book.next().is_some());
        book.leave(&peer(), &label("b"));
        assert_eq!(book.next(), None);
    }
}
