//! Profile: what was measured of one agent lately, and what follows from it (seed 4.1; F1, F5-F11, F13).
//!
//! | of | kept | gives |
//! |---|---|---|
//! | echoes, their hold subtracted | the last 32 round trips | net = median/2 |
//! | processing ÷ (1 + weight/2) | the last 64 | u = median |
//! | waits, with the queue they were behind | the last 64 | wait = max(0, c0 + c1·queue) |
//! | ρ = ln(actual/base) | the last 100 | how far off base was: [`crate::arrival::predict`] |
//! | operations, well or not | the last hour, by minute | reliability |
//!
//! base = net + u·(1 + weight/2) + wait is the time from sending a message to READY; Z is base at
//! weight 1 behind the present queue. Until 8 samples of a kind are in, its part comes from the
//! class ([`super::class`]).
//!
//! One profile is 1,728 bytes and its capabilities: 52 MB for 30,000 agents, 52 KB for a lead's
//! 30. A sample costs well below a microsecond, and reading any of this a few nanoseconds: see
//! [`super::window`].
//!
//! Absent on purpose: the seed's one-way latency (now − created_at, two clocks apart and with the
//! sender's own hold in it), and its confidence, which weighs milliseconds against shares.

use super::class::{Class, PRIOR_UNTIL};
use super::hour::Hour;
use super::score::{Flags, Score, State, Weight};
use super::waits::Waits;
use super::window::Window;
use crate::ids::Digest;
use crate::units::Micros;

/// Silence after which an agent counts as offline: six heartbeats of 5 s (J1).
pub const OFFLINE_AFTER: Micros = Micros::from_secs(30);
/// A coefficient of variation above this is unstable (seed 4.2).
pub const DRIFT_MAX: f32 = 0.5;
/// More than this times its baseline is a spike (seed 6.1).
pub const SPIKE: f32 = 2.0;
/// And by more than this, ms, a bucket of the schedule: below it the machine's own moods are more.
const SPIKE_MIN_MS: f32 = 10.0;
/// The time over which the baseline forgets: an agent that stays slow is normal after about it.
pub const BASELINE: Micros = Micros::from_secs(3_600);

/// How many of the newest samples tell a spike: the median of fewer would be one bad sample.
const NEWEST: usize = 8;
/// What a queued message costs until waits were measured, in services (seed 3.1: "10 %").
const QUEUED_SERVICES: f32 = 0.1;
/// Nothing takes less, ms; it keeps the ratio ρ finite.
const BASE_MIN_MS: f32 = 0.001;

/// What is known of one agent. See the module's documentation.
#[derive(Debug, Clone)]
pub struct Profile {
    class: Class,
    quarantined: bool,
    ends: u32,
    queue: u16,
    rtt_ms: Window<32>,
    unit_ms: Window<64>,
    waits: Waits,
    ratios: Window<100>,
    hour: Hour,
    baseline_ms: f32,
    /// Since when and until when the baseline was averaged.
    baseline_since: Option<Micros>,
    baseline_at: Micros,
    heard_at: Option<Micros>,
    context: Option<Digest>,
}

impl Profile {
    /// Of an agent of `class` that was neither measured nor heard.
    pub fn new(class: Class) -> Self {
        Self {
            class,
            quarantined: false,
            ends: 0,
            queue: 0,
            rtt_ms: Window::default(),
            unit_ms: Window::default(),
            waits: Waits::default(),
            ratios: Window::default(),
            hour: Hour::default(),
            baseline_ms: 0.0,
            baseline_since: None,
            baseline_at: Micros::ZERO,
            heard_at: None,
            context: None,
        }
    }

    // What is measured.

    /// An authentic sign of life came at `now`; `queue` messages stand before the next one.
    pub fn heard(&mut self, queue: u16, now: Micros) {
        self.heard_at = Some(now);
        self.queue = queue;
        self.follow(now);
    }

    /// The detector evicted it: it is offline at once, whatever was heard before.
    pub fn lost(&mut self) {
        self.heard_at = None;
    }

    /// An echo came back `elapsed` after it was sent, of which the other side says that it held
    /// it for `held`. An echo that was held for longer than it was away is not taken.
    pub fn echoed(&mut self, elapsed: Micros, held: Micros) {
        if held <= elapsed {
            self.rtt_ms.push(millis(elapsed - held));
        }
    }

    /// A message of `weight` took `took` to process, its wait in the queue not counted.
    pub fn processed(&mut self, took: Micros, weight: Weight) {
        self.unit_ms.push(millis(took) / weight.factor());
    }

    /// A message that was sent when `queue` stood before it waited `wait`.
    pub fn waited(&mut self, queue: u16, wait: Micros) {
        self.waits.push(queue, millis(wait));
    }

    /// A message was READY after e^ρ times what was predicted; [`crate::arrival::predict::learn`]
    /// calls this.
    pub fn missed_by(&mut self, rho: f32) {
        self.ratios.push(rho);
    }

    /// An operation with the agent ended at `now`, well or not.
    pub fn ended(&mut self, well: bool, now: Micros) {
        self.hour.record(now, well);
    }

    /// Its command has ended so often without an answer in between.
    pub fn crashed(&mut self, ends: u32) {
        self.ends = ends;
    }

    /// What context the agent says that it has loaded.
    pub fn loaded(&mut self, context: Option<Digest>) {
        self.context = context;
    }

    /// Sets the agent aside, or releases it.
    pub fn quarantine(&mut self, set_aside: bool) {
        self.quarantined = set_aside;
    }

    // What follows.

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// How many messages it last said to have before the next one.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// The context that it last said to have loaded.
    pub fn context(&self) -> Option<Digest> {
        self.context
    }

    /// Whether enough was measured for [`Profile::base_ms`] to stand without the class's priors.
    pub fn is_measured(&self) -> bool {
        self.rtt_ms.len().min(self.unit_ms.len()) >= PRIOR_UNTIL
    }

    /// One way over the network, ms.
    pub fn net_ms(&self) -> f32 {
        let prior = self.class.traits().rtt_prior_ms as f32;
        settled(&self.rtt_ms).unwrap_or(prior) / 2.0
    }

    /// u: processing at weight 0, ms.
    pub fn unit_ms(&self) -> f32 {
        let prior = self.class.traits().processing_prior_ms as f32;
        settled(&self.unit_ms).unwrap_or(prior)
    }

    /// The wait behind `queue` messages, ms.
    pub fn wait_ms(&self, queue: u16) -> f32 {
        let prior = QUEUED_SERVICES * self.unit_ms();
        self.waits.predict_ms(queue, prior)
    }

    /// From sending a message of `weight` to READY, behind `queue` messages, ms; above 0.
    pub fn base_ms(&self, weight: Weight, queue: u16) -> f32 {
        let base = self.net_ms() + self.unit_ms() * weight.factor() + self.wait_ms(queue);
        base.max(BASE_MIN_MS)
    }

    /// ρ of the last 100 messages: how far off base was.
    pub fn ratios(&self) -> &Window<100> {
        &self.ratios
    }

    /// Z in ms at weight 1, and not above 1,000.
    pub fn score(&self) -> Score {
        Score::of_millis(self.base_ms(Weight::STANDARD, self.queue))
    }

    /// How much of the last hour's operations went well; `None` when there was none.
    pub fn reliability(&self, now: Micros) -> Option<f32> {
        self.hour.rate(now)
    }

    /// The coefficient of variation of net + processing at weight 1 over the windows; 0 until
    /// 8 samples of each are in.
    pub fn drift(&self) -> f32 {
        let moments =
            |(mean, variance): (f64, f64), scale: f64| (mean * scale, variance * scale * scale);
        let (Some(rtt), Some(unit), true) = (
            self.rtt_ms.moments(),
            self.unit_ms.moments(),
            self.is_measured(),
        ) else {
            return 0.0;
        };
        let (net, processing) = (
            moments(rtt, 0.5),
            moments(unit, Weight::STANDARD.factor().into()),
        );
        let mean = (net.0 + processing.0).max(f64::from(BASE_MIN_MS));
        ((net.1 + processing.1).sqrt() / mean) as f32
    }

    /// What is to be noticed. A person is never slow: the scale is not theirs.
    pub fn flags(&self) -> Flags {
        Flags {
            slow: self.score() > Score::SLOW && !self.class.is_human(),
            unstable: self.drift() > DRIFT_MAX,
            spiking: self.newest_ms().is_some_and(|z| {
                let usual = self.baseline_ms;
                self.baseline_since.is_some() && z > SPIKE * usual && z - usual > SPIKE_MIN_MS
            }),
            crashing: self.ends > 1,
        }
    }

    /// Whether it is given work.
    pub fn state(&self, now: Micros) -> State {
        let is_silent = self.heard_at.is_none_or(|at| now.since(at) > OFFLINE_AFTER);
        let flags = self.flags();
        match self.quarantined {
            true => State::Quarantined,
            false if is_silent => State::Offline,
            false if flags.slow || flags.spiking || flags.crashing => State::Degraded,
            false => State::Active,
        }
    }

    /// Z at weight 1 of the newest samples alone, ms.
    fn newest_ms(&self) -> Option<f32> {
        let net = self.rtt_ms.newest_median::<NEWEST>()? / 2.0;
        let unit = self.unit_ms.newest_median::<NEWEST>()?;
        Some(net + unit * Weight::STANDARD.factor() + self.wait_ms(self.queue))
    }

    /// Lets the baseline follow: the plain mean over time in the first hour, and then one that
    /// forgets exponentially.
    fn follow(&mut self, now: Micros) {
        if !self.is_measured() {
            return;
        }
        let z = self.base_ms(Weight::STANDARD, self.queue);
        let Some(since) = self.baseline_since else {
            (self.baseline_since, self.baseline_at, self.baseline_ms) = (Some(now), now, z);
            return;
        };
        let (passed, age) = (now.since(self.baseline_at), now.since(since));
        let span = age.min(BASELINE).max(Micros(1));
        let share = (passed.as_secs_f64() / span.as_secs_f64()).min(1.0) as f32;
        self.baseline_ms += share * (z - self.baseline_ms);
        self.baseline_at = self.baseline_at.max(now);
    }
}

/// The median, once it stands on enough samples.
fn settled<const N: usize>(window: &Window<N>) -> Option<f32> {
    window.median().filter(|_| window.len() >= PRIOR_UNTIL)
}

fn millis(span: Micros) -> f32 {
    (span.0 as f64 / 1e3) as f32
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
