//! What was refused or is silent is tried again: when, and how often.

use std::collections::BTreeSet;

use super::*;
use crate::transport::counters::read;
use crate::transport::endpoint::receive;
use crate::transport::messages::Command;
use crate::transport::reading::tests::{PATIENCE, node};

/// Nobody listens there.
const NOWHERE: &str = "tcp://127.0.0.1:9";

fn outwards(keys: &CurveKeys, counters: &Arc<Counters>) -> Outwards {
    let names = Names::new(|| {});
    Outwards::new(zmq::Context::new(), keys.clone(), counters.clone(), names)
}

#[test]
fn a_sibling_that_refused_us_is_heard_soon_after_it_knows_us_at_any_of_its_addresses() {
    let (mut parent, handle, _up, member) = node();
    let key = parent.config.keys.public;
    let publisher = parent.inward.bound().publisher;
    handle.send(Command::Allow(Arc::default())).unwrap();
    parent.round();

    let counters = Arc::<Counters>::default();
    let mut sibling = outwards(&member, &counters);
    let (began, long) = (Instant::now(), Duration::from_secs(3_600));
    sibling.subscribe(Vec::new(), vec![b"ph".to_vec()]).unwrap();
    sibling.dial_sibling(key, vec![NOWHERE.into(), publisher], began);
    while read(&parent.counters.zap_refused) == 0 {
        assert!(began.elapsed() < PATIENCE, "it is not refused");
        parent.round();
    }
    let allow = Arc::new(BTreeSet::from([member.public]));
    handle.send(Command::Allow(allow)).unwrap();
    while receive(&sibling.siblings[&key].socket).is_none() {
        assert!(began.elapsed() < PATIENCE, "it stays mute");
        let (topic, frame) = (b"ph".to_vec(), b"hello"[..].into());
        handle.send(Command::Publish { topic, frame }).unwrap();
        parent.round();
        sibling.tend(began + siblings::REDIAL, long);
    }
    assert_eq!(read(&counters.redialled), 1);
}

#[test]
fn a_silent_sibling_is_tried_less_and_less_often_and_one_that_was_heard_is_left_alone() {
    let counters = Arc::<Counters>::default();
    let mut sibling = outwards(&CurveKeys::generate().unwrap(), &counters);
    let began = Instant::now();
    sibling.dial_sibling([1; 32], vec![NOWHERE.into()], began);
    let mut tried = Vec::new();
    let mut tend = |outwards: &mut Outwards, seconds| {
        for second in seconds {
            let before = read(&counters.redialled);
            let now = began + Duration::from_secs(second);
            outwards.tend(now, Duration::from_secs(30));
            tried.extend((read(&counters.redialled) > before).then_some(second));
        }
    };
    tend(&mut sibling, 0..=100);
    let heard = began + Duration::from_secs(100);
    sibling.siblings.get_mut(&[1; 32]).unwrap().hear(heard);
    tend(&mut sibling, 101..=132);
    assert_eq!(tried, [2, 6, 14, 30, 60, 90, 130, 132]);
}

#[test]
fn what_was_refused_is_tried_again_at_once_when_the_rest_of_the_link_stands() {
    let (mut parent, handle, _up, member) = node();
    let key = parent.config.keys.public;
    let bound = parent.inward.bound();
    handle.send(Command::Allow(Arc::default())).unwrap();
    parent.round();

    let counters = Arc::<Counters>::default();
    let mut child = outwards(&member, &counters);
    let (began, long) = (Instant::now(), Duration::from_secs(3_600));
    let (publisher, subscriber) = (Some(&*bound.publisher), Some(&*bound.subscriber));
    child.dial(key, &bound.router, publisher, subscriber, began);
    while read(&counters.refused_by_peer) < 3 {
        assert!(began.elapsed() < PATIENCE, "it is not refused");
        parent.round();
        child.tend(Instant::now(), long);
    }
    let allow = Arc::new(BTreeSet::from([member.public]));
    handle.send(Command::Allow(allow)).unwrap();
    parent.round();
    // As if the ROUTER's handshake had been the last of the three.
    let dealer = child.open(zmq::DEALER, &key, &bound.router, &[], began);
    child.links.get_mut(&key).unwrap().dealer = dealer.unwrap();
    let stands = |one: &Option<Outward>| one.as_ref().unwrap().down_since.is_none();
    while !child
        .links
        .values()
        .all(|it| stands(&it.hears) && stands(&it.heard))
    {
        assert!(began.elapsed() < PATIENCE, "it stays mute");
        parent.round();
        child.tend(Instant::now(), long);
    }
}
