//! One node of the bench: its worker, its phase, its barriers, its log. Time and frames come in, frames go out.
//!
//! | way | when a token leaves |
//! |---|---|
//! | [`Way::Asynchronous`] | as soon as it is made; phases are gossiped ten times a second beside it |
//! | [`Way::Blocking`] | when the node has passed so many barriers after it was made; each barrier carries the phase |
//!
//! Tokens themselves travel in the same way in both: each is published when it leaves, and who
//! learns from gossip that it lacks some asks for them.

use chorus_protocol::causality::lamport::Clock;
use chorus_protocol::phase::TokenClock;
use chorus_protocol::units::Micros;
use serde::{Deserialize, Serialize};

use super::barrier::{Barrier, Kind};
use super::frame::{Frame, Said};
use super::inbound::{Inbound, Weather};
use super::log::{Log, Token};
use super::phases::Phases;
use super::watch::{Report, Watch};
use super::worker::Worker;

/// From one gossip of phases to the next, as nodes have it.
const GOSSIP: Micros = Micros::from_millis(100);
/// Where barriers carry the phases, gossip is only for lost tokens: it shall not cost them time.
const GOSSIP_OF_TOKENS: Micros = Micros::from_secs(1);
/// Lamport times that a bench may use up.
const LAMPORT_MAX: u64 = 1 << 40;

/// What a token waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    Asynchronous,
    Blocking { barriers: u32, kind: Kind },
}

/// What one node is told before it begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Its number, from 0.
    pub me: usize,
    pub nodes: usize,
    pub way: Way,
    /// The share of frames that are lost, 0 to 1.
    pub loss: f64,
    /// One way, microseconds: half the round trip.
    pub delay_us: u64,
    pub token_us: u64,
    pub seed: u64,
}

impl Config {
    /// A stream of randomness of this node's own.
    fn seeded(&self, what: u64) -> u64 {
        self.seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(self.me as u64 * 8 + what)
    }

    fn gossip(&self) -> Micros {
        match self.way {
            Way::Asynchronous => GOSSIP,
            Way::Blocking { .. } => GOSSIP_OF_TOKENS,
        }
    }

    /// Whether a cut parts a node from this one.
    fn is_far(&self, node: usize) -> bool {
        (node < self.nodes / 2) != (self.me < self.nodes / 2)
    }
}

/// A frame that leaves.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    All(Frame),
    To(usize, Frame),
}

/// What its one token is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Making {
    /// The worker makes it until then.
    Until(Micros),
    /// It is made, and so many barriers are not passed yet.
    Held(u32),
    Nothing,
}

/// The machine.
#[derive(Debug)]
pub struct Seat {
    config: Config,
    worker: Worker,
    making: Making,
    begun: Micros,
    token_clock: TokenClock,
    lamport: Clock,
    log: Log,
    phases: Phases,
    /// In the blocking way only.
    barrier: Option<(Barrier, u32)>,
    inbound: Inbound,
    gossip_at: Micros,
    is_cut: bool,
    watch: Watch,
}

impl Seat {
    /// Begins its first token.
    pub fn new(config: Config, now: Micros) -> Option<Self> {
        let Config { me, nodes, .. } = config;
        let hz = 1e6 / config.token_us.max(1) as f64;
        let mut lamport = Clock::new(0);
        lamport.reserved(LAMPORT_MAX);
        let phases = Phases::new(me, nodes, config.seeded(1), now);
        let weather = Weather {
            loss: config.loss,
            delay: Micros(config.delay_us),
        };
        let mut seat = Self {
            worker: Worker::new(Micros(config.token_us), config.seeded(0)),
            making: Making::Nothing,
            begun: now,
            token_clock: TokenClock::new(hz, phases.own(now).omega).ok()?,
            lamport,
            log: Log::new(nodes),
            phases,
            barrier: match config.way {
                Way::Asynchronous => None,
                Way::Blocking { barriers, kind } => Some((
                    Barrier::new(me, nodes, kind, weather.delay.times(2)),
                    barriers.max(1),
                )),
            },
            inbound: Inbound::new(weather, config.seeded(2)),
            // Not all at once.
            gossip_at: now + Micros(config.gossip().0 * me as u64 / nodes.max(1) as u64),
            is_cut: false,
            watch: Watch::new(now),
            config,
        };
        seat.begin(now);
        Some(seat)
    }

    /// A frame came to this machine; the network that is put in may lose or delay it.
    pub fn take(&mut self, frame: Frame, now: Micros) {
        if frame.from >= self.config.nodes || frame.from == self.config.me {
            self.watch.malformed += 1;
        } else if self.is_cut && self.config.is_far(frame.from) {
            self.watch.cut_off += 1;
        } else {
            self.inbound.take(frame, now);
        }
    }

    /// The two halves stop hearing each other.
    pub fn cut(&mut self, now: Micros) {
        self.is_cut = true;
        self.watch.cut_at(now);
    }

    /// They hear each other again.
    pub fn heal(&mut self, now: Micros) {
        self.is_cut = false;
        let config = &self.config;
        let far = (0..config.nodes).filter(|node| config.is_far(*node));
        self.watch.healed_at(now, far);
    }

    /// No more tokens are made; what was made goes on to be told.
    pub fn rest(&mut self, now: Micros) {
        self.watch.rested(self.phases.order(now));
        self.making = Making::Nothing;
        if let Some((barrier, _)) = &mut self.barrier {
            barrier.rest();
        }
    }

    /// Does all that is due.
    pub fn tick(&mut self, now: Micros) -> Vec<Output> {
        let mut out = Vec::new();
        while let Some(frame) = self.inbound.arrived(now) {
            self.hear(frame, now, &mut out);
        }
        if let Making::Until(end) = self.making
            && end <= now
        {
            match self.barrier.as_ref().map(|(_, barriers)| *barriers) {
                None => self.leave(now, &mut out),
                Some(barriers) => {
                    self.making = Making::Held(barriers);
                    self.enter(now, &mut out);
                }
            }
        }
        self.pass(now, &mut out);
        if let Some((barrier, _)) = &mut self.barrier {
            let again = barrier.due(now);
            let phase = self.phases.own(now);
            out.extend(again.into_iter().map(|(to, number)| {
                Output::To(to, self.config.says(Said::Barrier { number, phase }))
            }));
        }
        if self.gossip_at <= now {
            self.gossip_at = (self.gossip_at + self.config.gossip()).max(now);
            self.gossip(now, &mut out);
        }
        out
    }

    /// When something is due.
    pub fn next_deadline(&self) -> Micros {
        let made = match self.making {
            Making::Until(end) => end,
            _ => Micros::NEVER,
        };
        let again = self.barrier.as_ref();
        let again = again.map_or(Micros::NEVER, |(barrier, _)| barrier.next_deadline());
        let arrival = self.inbound.next_deadline();
        made.min(again).min(arrival).min(self.gossip_at)
    }

    /// What came of it.
    pub fn report(&self) -> Report {
        let held = (0..self.config.nodes).map(|node| self.log.held(node));
        Report {
            me: self.config.me,
            held: held.collect(),
            digest: self.log.digest(),
            conflicts: self.log.conflicts(),
            repeats: self.barrier.as_ref().map_or(0, |(it, _)| it.repeats()),
            lost: self.inbound.lost,
            overflowed: self.inbound.overflowed,
            ..self.watch.report()
        }
    }

    fn begin(&mut self, now: Micros) {
        self.begun = now;
        self.making = Making::Until(now + self.worker.next());
    }

    /// The token leaves, and the next is begun.
    fn leave(&mut self, now: Micros, out: &mut Vec<Output>) {
        let me = self.config.me;
        self.token_clock.tick();
        // So much is reserved that it never fails.
        let lamport = self.lamport.tick().unwrap_or(LAMPORT_MAX);
        let token = Token {
            lamport,
            word: self.worker.word(),
        };
        let first = self.log.held(me);
        self.log.merge(me, first, &[token]);
        self.watch.left(self.begun, now);
        let tokens = vec![token];
        out.push(Output::All(
            self.config.says(Said::Tokens { first, tokens }),
        ));
        self.begin(now);
    }

    fn enter(&mut self, now: Micros, out: &mut Vec<Output>) {
        let phase = self.phases.own(now);
        if let Some((barrier, _)) = &mut self.barrier {
            let number = barrier.enter(now);
            out.push(Output::All(
                self.config.says(Said::Barrier { number, phase }),
            ));
        }
    }

    /// Passes as many barriers as can be passed.
    fn pass(&mut self, now: Micros, out: &mut Vec<Output>) {
        while let Making::Held(left) = self.making {
            let is_passed = self.barrier.as_ref().is_some_and(|(it, _)| it.is_passed());
            if !is_passed {
                return;
            }
            self.phases.advance(now);
            if left <= 1 {
                return self.leave(now, out);
            }
            self.making = Making::Held(left - 1);
            self.enter(now, out);
        }
    }

    fn gossip(&mut self, now: Micros, out: &mut Vec<Output>) {
        let phase = (self.config.way == Way::Asynchronous).then(|| {
            self.phases.advance(now);
            self.phases.own(now)
        });
        let made = self.log.held(self.config.me);
        out.push(Output::All(self.config.says(Said::Gossip { made, phase })));
    }

    fn hear(&mut self, frame: Frame, now: Micros, out: &mut Vec<Output>) {
        let Frame { from, said } = frame;
        let age = Micros(self.config.delay_us);
        self.watch.heard += 1;
        let answer = match said {
            Said::Hello { .. } => None,
            Said::Gossip { made, phase } => {
                if phase.is_some_and(|it| !self.phases.heard(from, it, age, now)) {
                    self.watch.malformed += 1;
                }
                let held = self.log.held(from);
                self.watch.has_made(from, made);
                (held < made).then_some(Said::Ask { first: held })
            }
            Said::Barrier { number, phase } => {
                if !self.phases.heard(from, phase, age, now) {
                    self.watch.malformed += 1;
                }
                let barrier = self.barrier.as_mut();
                let is_heard = barrier.is_some_and(|(it, _)| it.heard(from, number));
                is_heard.then_some(Said::Ack { number })
            }
            Said::Ack { number } => {
                if let Some((barrier, _)) = &mut self.barrier {
                    barrier.acknowledged(from, number);
                }
                None
            }
            Said::Tokens { first, tokens } => {
                if let Some(latest) = tokens.iter().map(|it| it.lamport).max() {
                    self.lamport.observe(latest, now);
                }
                self.log.merge(from, first, &tokens);
                None
            }
            Said::Ask { first } => {
                let tokens = self.log.page(self.config.me, first).to_vec();
                Some(Said::Tokens { first, tokens })
            }
        };
        self.watch.caught_up(&self.log, now);
        out.extend(answer.map(|said| Output::To(from, self.config.says(said))));
    }
}

impl Config {
    fn says(&self, said: Said) -> Frame {
        Frame {
            from: self.me,
            said,
        }
    }
}
