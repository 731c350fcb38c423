//! The table under hearsay, restarts, evictions and time.

use super::*;
use crate::ids::Incarnation;

const A: NodeId = NodeId([1; 32]);
const PARENT: NodeId = NodeId([9; 32]);

fn stamp(lamport: u64) -> Stamp {
    Stamp {
        incarnation: Incarnation(1),
        lamport,
    }
}
fn entry(lamport: u64, state: PeerState) -> PeerEntry {
    PeerEntry {
        node: A,
        stamp: stamp(lamport),
        state,
        theta: Some(1.0),
        age_ms: 0,
    }
}
fn secs(s: u64) -> Micros {
    Micros::from_secs(s)
}

#[test]
fn of_two_words_with_one_stamp_the_worse_is_believed_and_a_newer_one_undoes_it() {
    let mut peers = Peers::new(secs(30));
    assert!(
        peers
            .told(PARENT, &entry(5, PeerState::Live), secs(1))
            .is_some()
    );
    assert!(
        peers
            .told(PARENT, &entry(5, PeerState::Evicted), secs(2))
            .is_some()
    );
    assert!(
        peers
            .told(PARENT, &entry(5, PeerState::Live), secs(3))
            .is_none()
    );
    assert!(
        peers
            .told(PARENT, &entry(4, PeerState::Evicted), secs(3))
            .is_none()
    );
    let back = peers.told(PARENT, &entry(6, PeerState::Live), secs(4));
    assert_eq!(
        back.map(|change| (change.from, change.to)),
        Some((Some(PeerState::Evicted), PeerState::Live))
    );
}

#[test]
fn what_an_earlier_run_knew_is_no_word_about_anybodys_life() {
    let mut peers = Peers::new(secs(30));
    peers.restore(A, stamp(5), secs(0));
    peers.repeat_all();
    assert_eq!(peers.news(secs(1), 0.0), [], "it would say that A is dead");
    // Who lives is taken from others at once, also where nothing has come since.
    assert!(
        peers
            .told(PARENT, &entry(5, PeerState::Live), secs(1))
            .is_some()
    );
    assert_eq!(peers.news(secs(1), 0.0).len(), 1);
    let mut peers = Peers::new(secs(30));
    peers.restore(A, stamp(5), secs(0));
    peers.heard(A, stamp(6), None, secs(2));
    assert_eq!(peers.news(secs(2), 0.0).len(), 1);
}

#[test]
fn the_node_itself_outweighs_any_word_about_it() {
    let mut peers = Peers::new(secs(30));
    peers.told(PARENT, &entry(1 << 63, PeerState::Evicted), secs(1));
    assert!(
        peers
            .heard(A, stamp(7), Some((2.0, secs(2))), secs(2))
            .is_some()
    );
    assert_eq!(peers.get(&A).map(|peer| peer.state), Some(PeerState::Live));
}

#[test]
fn what_is_told_is_kept_apart_from_what_was_heard() {
    let mut peers = Peers::new(secs(30));
    peers.told(PARENT, &entry(u64::MAX, PeerState::Live), secs(1));
    assert_eq!(peers.get(&A).and_then(|peer| peer.heard), None);
    // Its own frame is news, though its stamp is far below the one that was told.
    peers.heard(A, stamp(7), Some((2.0, secs(2))), secs(2));
    let known = |peers: &Peers| {
        let peer = peers.get(&A).unwrap();
        (peer.heard, peer.stamp, peer.seen, peer.state)
    };
    let first_hand = (Some(stamp(7)), stamp(7), secs(2), PeerState::Live);
    assert_eq!(known(&peers), first_hand);
    // What is older than its own frames is never news.
    peers.told(PARENT, &entry(6, PeerState::Evicted), secs(20));
    assert_eq!(known(&peers), first_hand);
    peers.told(PARENT, &entry(u64::MAX, PeerState::Evicted), secs(20));
    assert_eq!(known(&peers).0, Some(stamp(7)));
}

#[test]
fn a_later_sighting_undoes_a_lie_whatever_its_stamp() {
    for lie in [PeerState::Live, PeerState::Evicted] {
        let mut peers = Peers::new(secs(30));
        peers.told(NodeId([8; 32]), &entry(u64::MAX, lie), secs(10));
        for (now, state) in [(14, lie), (16, PeerState::Live)] {
            peers.told(PARENT, &entry(5, PeerState::Live), secs(now));
            assert_eq!(peers.get(&A).map(|peer| peer.state), Some(state));
        }
        assert_eq!(peers.get(&A).map(|peer| peer.stamp), Some(stamp(5)));
        // An echo of an old sighting is as old as that, and undoes nothing.
        let late = PeerEntry {
            age_ms: 20_000,
            ..entry(4, PeerState::Evicted)
        };
        assert!(peers.told(PARENT, &late, secs(30)).is_none());
    }
}

#[test]
fn the_time_that_we_slept_makes_no_word_younger() {
    let mut peers = Peers::new(secs(30));
    peers.told(PARENT, &entry(5, PeerState::Live), secs(1));
    peers.forgive(secs(60));
    assert!(
        peers
            .expire(secs(62), |_| false, [].into_iter(), None)
            .is_empty()
    );
    let ages: Vec<u32> = peers
        .news(secs(62), 0.0)
        .iter()
        .map(|it| it.age_ms)
        .collect();
    assert_eq!(ages, [61_000]);
}

#[test]
fn of_a_node_whose_phase_is_not_known_none_is_told() {
    let mut peers = Peers::new(secs(30));
    peers.heard(A, stamp(1), None, secs(1));
    let told: Vec<_> = peers.news(secs(2), 0.0).iter().map(|it| it.theta).collect();
    assert_eq!(told, [None]);
}

#[test]
fn the_phase_that_is_told_is_that_of_the_sighting_also_after_a_sleep() {
    let mut peers = Peers::new(secs(30));
    peers.heard(A, stamp(1), Some((0.5, secs(0))), secs(1));
    peers.heard(A, stamp(2), None, secs(2));
    peers.forgive(secs(3));
    let told: Vec<(Option<f64>, u32)> = peers
        .news(secs(5), 0.25)
        .iter()
        .map(|it| (it.theta, it.age_ms))
        .collect();
    assert_eq!(told, [(Some(0.75), 3_000)]);
    assert_eq!(
        peers.get(&A).and_then(|peer| peer.phase(secs(5), 0.25)),
        Some(1.5)
    );
}

#[test]
fn a_phase_from_before_our_clock_began_is_turned_as_far_as_it_is_old() {
    let mut peers = Peers::new(secs(30));
    peers.told(PARENT, &entry(5, PeerState::Live), secs(1));
    peers.phase_told(&A, 0.5, secs(3), secs(1));
    let phase = |at| peers.get(&A).and_then(|peer| peer.phase(secs(at), 0.25));
    assert_eq!((phase(2), phase(9)), (Some(1.5), None));
}

#[test]
fn the_ttl_ends_what_nobody_vouches_for_and_spares_the_watched() {
    let mut peers = Peers::new(secs(30));
    peers.told(PARENT, &entry(5, PeerState::Live), secs(0));
    assert!(
        peers
            .expire(secs(30), |_| false, [].into_iter(), None)
            .is_empty()
    );
    assert!(
        peers
            .expire(secs(31), |_| true, [].into_iter(), None)
            .is_empty()
    );
    assert_eq!(
        peers
            .expire(secs(31), |_| false, [].into_iter(), None)
            .len(),
        1
    );
    assert_eq!(peers.counts(), [0, 0, 1]);
    peers.expire(secs(31 + 3_601), |_| false, [].into_iter(), None);
    assert_eq!(peers.iter().count(), 0, "the dead do not pile up");
}

#[test]
fn news_says_changes_first_and_then_goes_round_at_a_constant_cost() {
    let mut peers = Peers::new(secs(30));
    for n in 0..100u8 {
        peers.heard(NodeId([n; 32]), stamp(1), None, secs(0));
    }
    let mut said = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let news = peers.news(secs(1), 0.0);
        assert!(news.len() <= PEER_NEWS_MAX);
        said.extend(news.iter().map(|entry| entry.node));
    }
    assert_eq!(said.len(), 100);
    assert!(!peers.has_changes());
    peers.judge(NodeId([77; 32]), PeerState::Evicted, secs(2));
    assert_eq!(
        peers.news(secs(2), 0.0).first().map(|e| e.node.0[0]),
        Some(77)
    );
    let mut again = std::collections::BTreeSet::new();
    for _ in 0..4 {
        again.extend(peers.news(secs(3), 0.0).iter().map(|entry| entry.node));
    }
    assert_eq!(again.len(), 100, "the round comes to everybody");
}

#[test]
fn drift_is_told_in_both_directions_without_overflow() {
    let mut peers = Peers::new(secs(30));
    peers.heard(A, stamp(u64::MAX), None, secs(0));
    let drift = peers.drift(&A, 0, secs(100));
    assert_eq!(
        drift.map(|d| (d.lamport_gap, d.lags)),
        Some((i64::MIN, true))
    );
}

#[test]
fn who_was_never_seen_was_in_no_state_before() {
    let first = |peers: &mut Peers| {
        let change = peers.heard(A, stamp(5), None, secs(1));
        change.map(|it| (it.from, it.to))
    };
    let live = Some((None, PeerState::Live));
    assert_eq!(first(&mut Peers::new(secs(30))), live);
    // The gate has a row before the frame is taken.
    let mut gated = Peers::new(secs(30));
    assert!(gated.admit(A, Kind::Heartbeat, stamp(5), secs(1)));
    assert_eq!(first(&mut gated), live);
    // An earlier run knew the stamp, and nothing of how it is now.
    let mut restored = Peers::new(secs(30));
    restored.restore(A, stamp(4), secs(0));
    assert_eq!(first(&mut restored), live);
    let gone = gated.judge(A, PeerState::Evicted, secs(2));
    assert_eq!(gone.and_then(|it| it.from), Some(PeerState::Live));
    let back = gated.heard(A, stamp(6), None, secs(3));
    assert_eq!(back.and_then(|it| it.from), Some(PeerState::Evicted));
}
