//! The events on their way out, and what becomes of them when nobody takes them.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc::{Sender, error::TrySendError};

use super::counters::{Counters, count};
use super::traffic::Event;

/// Bytes of values found that wait beyond the channel.
const FOUND_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The channel, and behind it those events that must not be lost.
#[derive(Debug)]
pub struct Outbox {
    to: Sender<Event>,
    waiting: VecDeque<Event>,
    found_bytes: usize,
    counters: Arc<Counters>,
}

/// What may happen to an event for which there is no room.
enum Kind {
    /// Dropped.
    Inbound,
    /// Kept while such ones are not too many bytes.
    Found(usize),
    /// Kept.
    Needed,
}

fn kind(event: &Event) -> Kind {
    match event {
        Event::Put { .. } | Event::Asked { .. } => Kind::Inbound,
        Event::Got { value, .. } => Kind::Found(value.len()),
        _ => Kind::Needed,
    }
}

impl Outbox {
    pub fn new(to: Sender<Event>, counters: Arc<Counters>) -> Self {
        Self {
            to,
            waiting: VecDeque::new(),
            found_bytes: 0,
            counters,
        }
    }

    /// Hands an event out, after those that wait. False if it was dropped (and counted).
    pub fn send(&mut self, event: Event) -> bool {
        self.flush();
        let event = if self.waiting.is_empty() {
            match self.to.try_send(event) {
                Ok(()) => return true,
                Err(TrySendError::Full(event)) => event,
                // Nobody will ever take it.
                Err(TrySendError::Closed(_)) => return false,
            }
        } else {
            event
        };
        let keep = match kind(&event) {
            Kind::Inbound => false,
            Kind::Found(bytes) => {
                let fits = self.found_bytes + bytes <= FOUND_BYTES_MAX;
                self.found_bytes += if fits { bytes } else { 0 };
                fits
            }
            Kind::Needed => true,
        };
        if keep {
            self.waiting.push_back(event);
        } else {
            count(&self.counters.events_dropped);
        }
        keep
    }

    /// Whether any wait.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns when the channel has room for one that waits, or nobody reads any more.
    pub async fn room(&self) {
        let _ = self.to.reserve().await;
    }

    /// Hands out what there is room for.
    pub fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if let Kind::Found(bytes) = kind(&event) {
                self.found_bytes -= bytes;
            }
            match self.to.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    if let Kind::Found(bytes) = kind(&event) {
                        self.found_bytes += bytes;
                    }
                    self.waiting.push_front(event);
                    return;
                }
                Err(TrySendError::Closed(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn got(value: Vec<u8>) -> Event {
        let from = chorus_protocol::ids::NodeId([1; 32]);
        Event::Got { id: 1, from, value }
    }

    fn put() -> Event {
        Event::Put {
            from: chorus_protocol::ids::NodeId([1; 32]),
            realm: chorus_protocol::ids::Label::new("a").expect("a label"),
            key: [0; 32],
            value: vec![],
        }
    }

    #[test]
    fn without_a_reader_the_ends_of_orders_are_kept_in_their_order_and_floods_are_not() {
        let (to, mut events) = mpsc::channel(1);
        let counters = Arc::new(Counters::default());
        let mut outbox = Outbox::new(to, counters.clone());
        assert!(outbox.send(put()), "there is room for one");
        assert!(!outbox.send(put()));
        assert!(outbox.send(got(vec![0; FOUND_BYTES_MAX])));
        assert!(!outbox.send(got(vec![0])));
        assert!(outbox.send(Event::GetDone { id: 1 }));
        assert_eq!(
            counters
                .events_dropped
                .load(std::sync::atomic::Ordering::Relaxed),
            2
        );

        let mut taken = Vec::new();
        while let Ok(event) = events.try_recv() {
            taken.push(event);
            outbox.flush();
        }
        assert!(matches!(
            taken[..],
            [
                Event::Put { .. },
                Event::Got { .. },
                Event::GetDone { id: 1 }
            ]
        ));
        assert_eq!((outbox.found_bytes, outbox.is_waiting()), (0, false));
    }
}
