//! What arrives, where a flood stops, and what is refused at once.

use chorus_actors::transport::counters::read;
use chorus_actors::transport::sockets::{Command, FRAME_BYTES_MAX, SendError};

use crate::nodes::*;

#[tokio::test]
async fn a_child_that_dials_outward_is_heard_and_hears_on_every_lane() {
    let (mut parent, mut children) = family(1);
    let child_key = children[0].keys.public;
    // The parent speaks first: the child's greeting told it the way.
    let child = &mut children[0];
    until(
        &mut child.up.link,
        || parent.tell(child_key, "first"),
        says("first"),
    )
    .await;
    // A frame as long as allowed goes through: CURVE's overhead does not count.
    let longest = "x".repeat(FRAME_BYTES_MAX);
    until(
        &mut child.up.link,
        || parent.tell(child_key, &longest),
        says(&longest),
    )
    .await;
    exchange(&mut parent, child, "again").await;
    assert_eq!(read(&parent.counters.fail_open), 0);
}

#[tokio::test]
async fn siblings_hear_each_other_on_their_own_topics_even_if_refused_at_first() {
    let (a_keys, b_keys) = (keys(), keys());
    let mut a = node(config(&a_keys, &[&b_keys]));
    let b = node(config(&b_keys, &[]));
    a.send(Command::Subscribe {
        sub: vec![b"other".to_vec()],
        sib: vec![b"sib".to_vec()],
    });
    a.send(Command::DialSibling {
        key: b_keys.public,
        publishers: vec![b.bound.publisher.clone()],
    });
    holds("the first handshake is refused", || {
        read(&b.counters.zap_refused) >= 1
    })
    .await;
    b.send(Command::Allow(allow_list(&[&a_keys])));
    let again = || {
        b.publish("other", "not this");
        b.publish("sib", "this");
    };
    let heard = until(&mut a.up.gossip, again, |_| true).await;
    assert_eq!((heard.bytes, heard.peer), (b"this".to_vec(), b_keys.public));
}

#[tokio::test]
async fn a_flood_stops_at_the_permits_and_links_lose_nothing_that_was_sent() {
    let (mut parent, mut children) = family(6);
    for (n, child) in children.iter_mut().enumerate() {
        exchange(&mut parent, child, &format!("first {n}")).await;
    }
    while parent.up.gossip.try_recv().is_ok() || parent.up.link.try_recv().is_ok() {}
    let gossip_before = read(&parent.counters.gossip_received);
    let link_before = read(&parent.counters.link_received);

    holds("one sender fills its share", || {
        (0..500).for_each(|_| children[0].publish("up", "flood"));
        read(&parent.counters.gossip_over_share) > 1000
    })
    .await;
    let received = || read(&parent.counters.gossip_received) - gossip_before;
    assert_eq!(received(), 256);
    holds("another is heard all the same", || {
        children[1].publish("up", "word");
        received() > 256
    })
    .await;
    assert_eq!(read(&parent.counters.gossip_dropped), 0);
    holds("all of them fill the lane", || {
        for child in &children {
            (0..500).for_each(|_| child.publish("up", "flood"));
        }
        read(&parent.counters.gossip_dropped) > 1000
    })
    .await;
    assert_eq!(received(), 1024);
    let child = &children[0];
    holds("the link's sender is held back", || {
        (0..500).for_each(|_| child.tell(parent.keys.public, "flood"));
        read(&child.counters.link_full) > 0
    })
    .await;
    holds("the parent reads no more", || {
        read(&parent.counters.link_paused) > 0
    })
    .await;
    assert_eq!(read(&parent.counters.link_received) - link_before, 1024);

    // As messages are processed the rest comes, every one.
    holds("whatever was sent arrived", || {
        while parent.up.link.try_recv().is_ok() {}
        let sent = children.iter().map(|child| read(&child.counters.sent));
        read(&parent.counters.link_received) == sent.sum::<u64>()
    })
    .await;
    assert!(read(&parent.counters.link_received) > 1024 + link_before);
    assert_eq!(read(&child.counters.unroutable), 0);
}

#[tokio::test]
async fn limits_are_refused_before_anything_is_queued() {
    let node = node(config(&keys(), &[]));
    let long = Command::SendTo {
        to: [0; 32],
        frame: vec![0; FRAME_BYTES_MAX + 1].into(),
    };
    let refused = SendError::TooLong {
        bytes: FRAME_BYTES_MAX + 1,
        limit: FRAME_BYTES_MAX,
    };
    assert_eq!(node.handle.send(long), Err(refused));
    let topics = Command::Subscribe {
        sub: vec![vec![1]; 17],
        sib: Vec::new(),
    };
    assert_eq!(node.handle.send(topics), Err(SendError::TooManyTopics(17)));

    node.tell(node.keys.public, "nobody is there");
    holds("it is counted", || read(&node.counters.unroutable) == 1).await;
    node.send(Command::Shutdown);
    node.thread.join().unwrap();
    assert_eq!(node.handle.send(Command::Shutdown), Err(SendError::Stopped));
}
