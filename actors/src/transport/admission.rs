//! Admission: the queue before the door: connections that wait for their turn to shake hands.
//!
//! Handshakes cost the thread that serves members too, so only so many begin each second.
//! Addresses take turns: whoever comes from another than a crowd does not wait behind it. Of
//! one address the newest is first: in a crowd too large for all, those who have waited long
//! may have left, and who has just come is there.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

/// Connections that wait. One more ends the oldest of the address that has most.
const WAITING_MAX: usize = 64;
/// Addresses whose turns are remembered.
const SERVED_MAX: usize = 256;

/// Who waits, oldest first, and which addresses had a turn, the last one last.
#[derive(Debug)]
pub struct AdmissionQueue<T> {
    waiting: VecDeque<(IpAddr, T)>,
    served: VecDeque<IpAddr>,
}

impl<T> AdmissionQueue<T> {
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            served: VecDeque::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets one wait. Returns the one that lost its place for it.
    pub fn add(&mut self, from: IpAddr, one: T) -> Option<T> {
        let full = self.waiting.len() >= WAITING_MAX;
        let at = full.then(|| oldest_of_most(self.waiting.iter().map(|(from, _)| *from)));
        let lost = at.flatten().and_then(|at| self.waiting.remove(at));
        self.waiting.push_back((from, one));
        lost.map(|(_, one)| one)
    }

    /// Whose turn it is: the newest of the address that had no turn for longest.
    pub fn next(&mut self) -> Option<(IpAddr, T)> {
        let turn = |from: &IpAddr| self.served.iter().position(|it| it == from);
        let waiting = (0..self.waiting.len()).rev();
        let at = waiting.min_by_key(|at| turn(&self.waiting[*at].0))?;
        let (from, one) = self.waiting.remove(at)?;
        self.served.retain(|it| *it != from);
        self.served.push_back(from);
        if self.served.len() > SERVED_MAX {
            self.served.pop_front();
        }
        Some((from, one))
    }
}

/// Where the oldest connection of the address with most of them stands, so that one
/// address that takes all the room loses its own.
pub fn oldest_of_most(addresses: impl Iterator<Item = IpAddr> + Clone) -> Option<usize> {
    let times = |address: IpAddr| addresses.clone().filter(|it| *it == address).count();
    let most = addresses.clone().map(times).max()?;
    addresses.clone().position(|it| times(it) == most)
}

/// What counts as one address: of IPv6 the network, since whoever has one has all of it.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) => Ipv6Addr::from_bits(it.to_bits() & !u128::from(u64::MAX)).into(),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> [IpAddr; 3] {
        [1, 2, 3].map(|n| IpAddr::from([10, 0, 0, n]))
    }

    #[test]
    fn who_takes_all_the_room_loses_its_own() {
        let [a, b, c] = addresses();
        assert_eq!(oldest_of_most([].into_iter()), None);
        assert_eq!(oldest_of_most([a, b, b, c, b].into_iter()), Some(1));
        assert_eq!(oldest_of_most([a, b, c].into_iter()), Some(0));
    }

    #[test]
    fn addresses_take_turns_and_the_newest_of_each_is_first() {
        let [a, b, c] = addresses();
        let mut queue = AdmissionQueue::new();
        for (n, from) in [a, a, a, b, b, c].into_iter().enumerate() {
            assert_eq!(queue.add(from, n), None);
        }
        let order: Vec<usize> = std::iter::from_fn(|| queue.next().map(|(_, n)| n)).collect();
        assert_eq!(order, [5, 4, 2, 3, 1, 0]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_crowd_from_one_address_costs_another_neither_its_place_nor_its_turn() {
        let [a, b, _] = addresses();
        let mut queue = AdmissionQueue::new();
        queue.add(b, 0);
        queue.next();
        queue.add(a, 1);
        queue.next();
        queue.add(b, 2);
        for n in 3..1_000 {
            assert_eq!(queue.add(a, n).is_some(), n >= 2 + WAITING_MAX);
        }
        assert_eq!(queue.waiting.len(), WAITING_MAX);
        assert_eq!(queue.next().map(|(_, n)| n), Some(2));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_itself() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
