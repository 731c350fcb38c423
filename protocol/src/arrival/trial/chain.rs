//! The whole way: profile, prediction, schedule in buckets of 10 ms, outcome, table of reliability (H3, H11).

use super::model::{Agent, Message, Population};
use super::{BURN_IN, WINDOW, micros, weight};
use crate::arrival::reliability::Table;
use crate::arrival::schedule::{Compensation, Schedule, schedule};
use crate::arrival::{Aim, Outcome, Prediction, predict};
use crate::impedance::Profile;
use crate::units::{Micros, Seeded};

/// From one round of messages to the next.
const PERIOD: Micros = Micros::from_secs(10);

/// What came of messages to everybody at once.
#[derive(Debug, Default)]
pub struct Chain {
    /// What was promised of the messages that left, and what was kept.
    pub table: Table,
    /// The same outcomes, promised by the seed's formula.
    pub by_the_seed: Table,
    /// Messages for which it was too late.
    pub skipped: usize,
    /// All messages, the skipped ones among them.
    pub expected: usize,
}

/// How the messages of a chain are sent.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// What receivers do with what comes early.
    pub aim: Aim,
    /// How long before T the messages are thought of.
    pub notice: Micros,
    /// Messages to each agent after its [`BURN_IN`].
    pub messages: usize,
    /// What draws the agents and their delays.
    pub seed: u64,
}

/// Messages to all of the population's agents that are no people, round after round.
pub fn run(population: &Population, config: &Config) -> Chain {
    let mut noise = Seeded::new(config.seed);
    let mut agents = Vec::new();
    for (class, parameters) in population.iter().filter(|(class, _)| !class.is_human()) {
        agents.extend((0..parameters.agents).map(|_| {
            let agent = Agent::new(*class, *parameters, &mut noise);
            (agent, Profile::new(*class))
        }));
    }
    let mut chain = Chain::default();
    for n in 0..BURN_IN + config.messages {
        let now = PERIOD.times(n as u64);
        let messages: Vec<Message> = agents
            .iter_mut()
            .map(|(agent, _)| agent.next(&mut noise))
            .collect();
        let both = agents.iter().map(|(_, profile)| profile).zip(&messages);
        let predictions: Vec<Prediction> = both
            .map(|(profile, message)| {
                predict::predict(profile, weight(message), message.queue, config.aim, WINDOW)
            })
            .collect();
        let targets = predictions.iter().enumerate();
        let targets = targets.map(|(at, prediction)| (at, *prediction));
        let plan = schedule(now + config.notice, now, targets);
        if n >= BURN_IN {
            let profiles = agents.iter().map(|(_, profile)| profile);
            chain.count(&plan, &messages, &profiles.collect::<Vec<_>>());
        }
        for ((_, profile), (message, prediction)) in
            agents.iter_mut().zip(messages.iter().zip(&predictions))
        {
            predict::learn(profile, prediction, micros(message.delay));
            profile.echoed(micros(message.rtt), Micros::ZERO);
            profile.processed(micros(message.processing), weight(message));
            profile.waited(message.queue, micros(message.wait));
        }
    }
    chain
}

impl Chain {
    /// One round: what became of everything that was planned.
    fn count(&mut self, plan: &Schedule<usize>, messages: &[Message], profiles: &[&Profile]) {
        self.expected += plan.expected();
        self.skipped += plan.skipped.len();
        for target in plan.batches.iter().flat_map(|batch| &batch.targets) {
            let at = target.agent;
            let (Some(message), Some(profile)) = (messages.get(at), profiles.get(at)) else {
                continue;
            };
            let sent = target.compensation;
            let delay = micros(message.delay);
            self.table.record(&Outcome::of(&sent, delay, WINDOW));
            let confidence = promised_by_the_seed(profile);
            let sent = Compensation { confidence, ..sent };
            self.by_the_seed.record(&Outcome::of(&sent, delay, WINDOW));
        }
    }
}

/// Seed 3.1, `calculate_confidence`, of an agent that never failed and was just heard.
fn promised_by_the_seed(profile: &Profile) -> f32 {
    (0.5 - 0.3 * profile.drift() + 0.2).clamp(0.0, 1.0)
}
