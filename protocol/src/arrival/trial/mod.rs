//! A trial of the prediction in a model of agents: how many messages are READY at T, by each way of choosing when to send.
//!
//! Nothing here is part of a node's work. It is what `chorus bench arrival` prints and what the
//! tests hold to the figures of `tests/vectors/arrival.json`: the right way, the seed's formula,
//! everyone at once, and two wrong ways that a test of the right one must refuse.
//!
//! | file | what it is |
//! |---|---|
//! | [`model`] | agents whose delays drift, queue and spike |
//! | [`chain`] | the whole way through prediction, schedule and outcome: what was promised against what was kept |

pub mod chain;
pub mod model;

use crate::arrival::reliability::NEAR;
use crate::arrival::{Aim, predict};
use crate::impedance::{Class, Profile, Weight};
use crate::units::{Micros, Seeded};
use model::{Agent, Message, Population};

/// Messages of an agent from which its profile only learns.
pub const BURN_IN: usize = 120;
/// T ± 250 ms.
pub const WINDOW: Micros = Micros::from_millis(500);

/// A way of choosing when to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To everyone at the same time, so that half of the messages are READY before T.
    AtOnce,
    /// Seed 3.1: mean RTT/2 and the class's time by weight and queue. (Its buffer is named there
    /// and not given; one of any size only makes it worse.)
    Seed,
    /// The right one, to receivers that cannot hold.
    Unheld,
    /// By who knows everything but chance.
    Oracle,
    /// The right one, to receivers that hold to T; late one time in twenty.
    Held95,
    /// The same, late one time in a hundred.
    Held99,
    /// Wrong: as if no message ever waited; it does learn how far off that is.
    WithoutQueue,
    /// Wrong: a receiver that holds is aimed at as if it did not.
    HeldInTheMiddle,
}

impl Way {
    /// All of them, in the order of the published table; the wrong ones last.
    pub const ALL: [Way; 8] = [
        Way::AtOnce,
        Way::Seed,
        Way::Unheld,
        Way::Oracle,
        Way::Held95,
        Way::Held99,
        Way::WithoutQueue,
        Way::HeldInTheMiddle,
    ];

    /// Its row in the file's `results_percent`; the wrong ones have none.
    pub const fn row(self) -> Option<&'static str> {
        match self {
            Way::AtOnce => Some("at_once"),
            Way::Seed => Some("seed_formula"),
            Way::Unheld => Some("structured_no_hold"),
            Way::Oracle => Some("oracle_no_hold"),
            Way::Held95 => Some("hold_q95"),
            Way::Held99 => Some("hold_q99"),
            Way::WithoutQueue | Way::HeldInTheMiddle => None,
        }
    }

    /// What the receivers do with what comes early.
    pub const fn aim(self) -> Aim {
        match self {
            Way::Held95 => Aim::HELD_95,
            Way::Held99 => Aim::HELD_99,
            Way::HeldInTheMiddle => Aim::Held { quantile: 0.5 },
            _ => Aim::Unheld,
        }
    }
}

/// What a way came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// How many messages.
    pub messages: u64,
    /// READY within 50 ms of T.
    pub near: u64,
    /// READY in the window around T.
    pub inside: u64,
    /// How long receivers held, all together.
    pub idle: Micros,
}

impl Tally {
    fn count(&mut self, way: Way, lead: Micros, delay: Micros) {
        let ready = way.aim().released(delay, lead);
        let off = ready.since(lead).max(lead.since(ready));
        self.messages += 1;
        self.near += u64::from(off <= NEAR);
        self.inside += u64::from(off.times(2) <= WINDOW);
        self.idle = self.idle + ready.since(delay);
    }

    /// Percent of the messages that were READY within 50 ms of T.
    pub fn near_percent(&self) -> f64 {
        self.percent(self.near)
    }

    /// Percent of the messages that were READY in the window.
    pub fn inside_percent(&self) -> f64 {
        self.percent(self.inside)
    }

    /// Mean time that receivers held, in milliseconds: what the hits cost.
    pub fn idle_ms(&self) -> f64 {
        self.idle.as_secs_f64() * 1e3 / self.messages.max(1) as f64
    }

    /// Whether it is what the design asks of a way that holds, or of one that does not.
    pub fn is_accepted(&self, way: Way) -> bool {
        let (near, inside) = (self.near_percent(), self.inside_percent());
        match way.aim() {
            Aim::Held { .. } => near >= 98.0 && inside >= 99.0,
            Aim::Unheld => inside >= 97.5,
        }
    }

    fn percent(&self, part: u64) -> f64 {
        100.0 * part as f64 / self.messages.max(1) as f64
    }
}

/// An agent, and what is known of it by each who predicts.
struct Known {
    agent: Agent,
    class: Class,
    profile: Profile,
    /// By who takes every queue for empty.
    without_queue: Profile,
    rtt_ms: Vec<f64>,
}

impl Known {
    fn lead(&self, way: Way, message: &Message) -> Micros {
        let by = |profile, queue| {
            predict::predict(profile, weight(message), queue, way.aim(), WINDOW).lead
        };
        match way {
            Way::AtOnce => Micros::ZERO,
            Way::Oracle => micros(message.oracle),
            Way::Seed => {
                let last = &self.rtt_ms[self.rtt_ms.len().saturating_sub(100)..];
                let rtt = last.iter().sum::<f64>() / last.len().max(1) as f64;
                let base = f64::from(self.class.traits().processing_prior_ms);
                let weight = 1.0 + 0.5 * message.weight;
                let queue = 1.0 + 0.1 * f64::from(message.queue);
                micros(rtt / 2.0 + base * weight * queue)
            }
            Way::WithoutQueue => by(&self.without_queue, 0),
            _ => by(&self.profile, message.queue),
        }
    }

    fn learn(&mut self, message: &Message) {
        let Known {
            profile,
            without_queue,
            ..
        } = self;
        for (profile, queue) in [(profile, Some(message.queue)), (without_queue, None)] {
            let weight = weight(message);
            let prediction =
                predict::predict(profile, weight, queue.unwrap_or(0), Aim::Unheld, WINDOW);
            predict::learn(profile, &prediction, micros(message.delay));
            profile.echoed(micros(message.rtt), Micros::ZERO);
            profile.processed(micros(message.processing), weight);
            if let Some(queue) = queue {
                profile.waited(queue, micros(message.wait));
            }
        }
        self.rtt_ms.push(message.rtt);
    }
}

/// The model draws weights from 0 to 2, all of which are allowed.
fn weight(message: &Message) -> Weight {
    Weight::new(message.weight as f32).unwrap_or_default()
}

fn micros(ms: f64) -> Micros {
    Micros((ms * 1e3).round() as u64)
}

/// A message after the burn-in: what it took, and what each way (but at once) led it by.
#[derive(Debug, Clone, Copy)]
struct Sample {
    class: Class,
    delay: Micros,
    leads: [Micros; Way::ALL.len()],
}

/// All messages that count, simulated once for all ways.
#[derive(Debug, Default)]
pub struct Trial {
    samples: Vec<Sample>,
}

impl Trial {
    /// Adds a whole population that `seed` draws, with `messages` to each agent after its
    /// [`BURN_IN`]. The same seed gives the same messages.
    pub fn add(&mut self, population: &Population, messages: usize, seed: u64) {
        let mut noise = Seeded::new(seed);
        for (class, parameters) in population {
            for _ in 0..parameters.agents {
                let known = Known {
                    agent: Agent::new(*class, *parameters, &mut noise),
                    class: *class,
                    profile: Profile::new(*class),
                    without_queue: Profile::new(*class),
                    rtt_ms: Vec::new(),
                };
                self.run(known, messages, &mut noise);
            }
        }
    }

    /// All messages of one agent.
    fn run(&mut self, mut known: Known, messages: usize, noise: &mut Seeded) {
        for n in 0..BURN_IN + messages {
            let message = known.agent.next(noise);
            if n >= BURN_IN {
                self.samples.push(Sample {
                    class: known.class,
                    delay: micros(message.delay),
                    leads: Way::ALL.map(|way| known.lead(way, &message)),
                });
            }
            known.learn(&message);
        }
    }

    /// What a way came to among the classes that `counts` says.
    pub fn tally(&self, way: Way, counts: impl Fn(Class) -> bool) -> Tally {
        let samples = self.samples.iter().filter(|sample| counts(sample.class));
        let mut delays: Vec<Micros> = samples.clone().map(|sample| sample.delay).collect();
        delays.sort_unstable();
        // T is known only when all delays are.
        let middle = delays.get(delays.len() / 2).copied().unwrap_or_default();
        let mut tally = Tally::default();
        for sample in samples {
            let lead = match way {
                Way::AtOnce => middle,
                _ => sample.leads[way as usize],
            };
            tally.count(way, lead, sample.delay);
        }
        tally
    }

    /// The same of classes A to E, without the people.
    pub fn pooled(&self, way: Way) -> Tally {
        self.tally(way, |class| !class.is_human())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_stands_at_its_own_place() {
        for (at, way) in Way::ALL.into_iter().enumerate() {
            assert_eq!(way as usize, at, "{way:?}");
        }
    }

    #[test]
    fn early_counts_as_late_does_unless_it_is_held() {
        let count = |way, lead, delay| {
            let mut tally = Tally::default();
            tally.count(way, Micros::from_millis(lead), Micros::from_millis(delay));
            (tally.near, tally.inside, tally.idle.as_millis())
        };
        assert_eq!(count(Way::Unheld, 300, 250), (1, 1, 0));
        assert_eq!(count(Way::Unheld, 300, 249), (0, 1, 0));
        assert_eq!(count(Way::Unheld, 300, 49), (0, 0, 0));
        assert_eq!(count(Way::Unheld, 300, 551), (0, 0, 0));
        assert_eq!(count(Way::Held95, 300, 49), (1, 1, 251));
        assert_eq!(count(Way::Held95, 300, 551), (0, 0, 0));
    }
}
