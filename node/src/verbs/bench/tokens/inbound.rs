//! The network that a bench puts in where a frame arrives: seeded loss, one-way delay, a cut.

use std::collections::VecDeque;

use chorus_protocol::units::{Micros, Noise, Seeded};

use super::frame::Frame;

/// Frames that may be on their way to one node: a second of many times what comes.
const ON_THE_WAY_MAX: usize = 16_384;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// The share of frames that are lost, 0 to 1.
    pub loss: f64,
    /// How long each of the others takes.
    pub delay: Micros,
}

/// Frames on their way to one node.
#[derive(Debug)]
pub struct Inbound {
    weather: Weather,
    noise: Seeded,
    on_the_way: VecDeque<(Micros, Frame)>,
    /// Lost by chance.
    pub lost: u64,
    /// Lost for want of room.
    pub overflowed: u64,
}

impl Inbound {
    pub fn new(weather: Weather, seed: u64) -> Self {
        Self {
            weather,
            noise: Seeded::new(seed),
            on_the_way: VecDeque::new(),
            lost: 0,
            overflowed: 0,
        }
    }

    /// A frame was sent at about `now`.
    pub fn take(&mut self, frame: Frame, now: Micros) {
        if self.noise.uniform() < self.weather.loss {
            self.lost += 1;
        } else if self.on_the_way.len() >= ON_THE_WAY_MAX {
            self.overflowed += 1;
        } else {
            self.on_the_way.push_back((now + self.weather.delay, frame));
        }
    }

    /// The next frame that has arrived.
    pub fn arrived(&mut self, now: Micros) -> Option<Frame> {
        let (due, _) = self.on_the_way.front()?;
        (*due <= now)
            .then(|| self.on_the_way.pop_front())?
            .map(|(_, frame)| frame)
    }

    /// When the next frame arrives.
    pub fn next_deadline(&self) -> Micros {
        self.on_the_way
            .front()
            .map_or(Micros::NEVER, |(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Said;
    use super::*;

    fn frame(number: u64) -> Frame {
        let said = Said::Ack { number };
        Frame { from: 0, said }
    }

    #[test]
    fn frames_arrive_late_in_order_and_some_never() {
        let delay = Micros::from_millis(25);
        let mut inbound = Inbound::new(Weather { loss: 0.1, delay }, 3);
        for n in 0..10_000 {
            inbound.take(frame(n), Micros(n));
        }
        assert!((900..1_100).contains(&inbound.lost), "{}", inbound.lost);
        assert_eq!(inbound.arrived(Micros(24_999)), None);
        let (mut last, mut came) = (None, 0);
        while let Some(frame) = inbound.arrived(Micros::from_secs(1)) {
            let Said::Ack { number } = frame.said else {
                panic!("{frame:?}");
            };
            assert!(last < Some(number));
            (last, came) = (Some(number), came + 1);
        }
        assert_eq!(came + inbound.lost, 10_000);
        assert_eq!(inbound.next_deadline(), Micros::NEVER);
    }

    #[test]
    fn it_holds_no_more_than_it_says() {
        let weather = Weather {
            loss: 0.0,
            delay: Micros::ZERO,
        };
        let mut inbound = Inbound::new(weather, 0);
        (0..ON_THE_WAY_MAX as u64 + 5).for_each(|n| inbound.take(frame(n), Micros::ZERO));
        assert_eq!((inbound.overflowed, inbound.lost), (5, 0));
    }
}
