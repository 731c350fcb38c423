//! Faults: what a link of the simulated world does to frames, and what machines lie.

use std::collections::BTreeSet;

use chorus_protocol::causality::lamport::ADVANCE_MAX;
use chorus_protocol::units::{Micros, Noise};
use chorus_protocol::wire::{Message, Verified};

/// What every link does to frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// One way, at least.
    pub delay: Micros,
    /// Up to so much more, uniformly: frames overtake each other.
    pub jitter: Micros,
    /// The part of frames that is lost.
    pub loss: f64,
    /// The part that comes twice.
    pub duplicates: f64,
    /// The part that is held for up to a second, so that many others overtake it.
    pub held: f64,
    /// What is lost is sent again as TCP does, and all behind it waits: nothing is missing in
    /// the end, but every way is silent for seconds now and then.
    pub stream: bool,
}

/// TCP's first wait before it sends again; doubled each time.
const RETRANSMIT: Micros = Micros::from_millis(200);
/// How often at most: 12.6 s in all.
const RETRANSMITS_MAX: u32 = 6;

impl Link {
    /// A wired bridge: 1 to 3 ms, nothing lost.
    pub const GOOD: Link = Link {
        delay: Micros::from_millis(1),
        jitter: Micros::from_millis(2),
        loss: 0.0,
        duplicates: 0.0,
        held: 0.0,
        stream: false,
    };
    /// 20 to 100 ms, one frame in twenty lost, some twice, some late.
    pub const BAD: Link = Link {
        delay: Micros::from_millis(20),
        jitter: Micros::from_millis(80),
        loss: 0.05,
        duplicates: 0.02,
        held: 0.01,
        stream: false,
    };

    /// When the copies of one frame arrive, from now: none, one or two.
    pub(super) fn travel(&self, noise: &mut dyn Noise) -> Vec<Micros> {
        if self.loss > 0.0 && noise.uniform() < self.loss {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.duplicates > 0.0 && noise.uniform() < self.duplicates);
        let mut one = || {
            let jitter = (self.jitter.0 as f64 * noise.uniform()) as u64;
            let held = self.held > 0.0 && noise.uniform() < self.held;
            let held = if held {
                (1e6 * noise.uniform()) as u64
            } else {
                0
            };
            self.delay + Micros(jitter + held)
        };
        (0..copies).map(|_| one()).collect()
    }

    /// When a frame that is sent `now` arrives over a stream on which the one before it
    /// arrives at `last`.
    pub(super) fn flow(&self, last: Micros, noise: &mut dyn Noise, now: Micros) -> Micros {
        let soon = now + self.delay + Micros((self.jitter.0 as f64 * noise.uniform()) as u64);
        if last > soon {
            return last; // goes with what is sent again
        }
        let lost = (0..RETRANSMITS_MAX).take_while(|_| noise.uniform() < self.loss);
        soon + RETRANSMIT.times((1 << lost.count()) - 1)
    }
}

/// Frames from `from` to `to` are lost; the other way needs another cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// Who is not heard.
    pub from: BTreeSet<usize>,
    /// By whom.
    pub to: BTreeSet<usize>,
}

impl Cut {
    /// Whether a frame on this way is lost.
    pub fn stops(&self, from: usize, to: usize) -> bool {
        self.from.contains(&from) && self.to.contains(&to)
    }
}

/// What a machine with a valid key says that is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Its Lamport time begins at 2^63.
    Lamport,
    /// Each frame is as far ahead of the clocks around as is taken whole.
    Creep,
    /// Its sums weigh a million times what its members can.
    HugeSum,
    /// Its sums are within what can be and turn a hundred times too fast.
    Fast,
}

impl Lie {
    /// Falsifies a frame.
    pub(super) fn tell(self, frame: &mut Verified) {
        match (self, &mut frame.message) {
            (Lie::Lamport, _) => frame.stamp.lamport = frame.stamp.lamport.saturating_add(1 << 63),
            (Lie::Creep, _) => frame.stamp.lamport += ADVANCE_MAX - 4_000,
            (Lie::HugeSum, Message::Sums(news)) => {
                news.own.part.re = 1e6;
                news.own.part.weight *= 1e6;
            }
            (Lie::HugeSum, Message::Phase(news)) => news.omega = 1e12,
            (Lie::Fast, Message::Sums(news)) => news.own.part.sum_omega *= 100.0,
            (Lie::Fast, Message::Phase(news)) => news.omega *= 100.0,
            _ => {}
        }
    }
}
