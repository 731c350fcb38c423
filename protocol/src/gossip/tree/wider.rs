//! The search for a parent whose own chain of parents ends higher.
//!
//! It lets those above do that first: a lead waits until who lost its parent may have found
//! another, an agent until its lead has moved. It is quick at first, since one round knocks
//! at one address of each candidate only, and then ever more seldom: where the root itself is
//! dead nobody has a higher top to offer.

use crate::ids::Role;
use crate::units::Micros;

use super::super::Config;
use super::Tree;

/// A search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wider {
    pub since: Micros,
    /// Rounds in vain.
    pub rounds: u32,
}

/// Of its pauses, the first, which is doubled after each round, and the longest.
const PAUSE: Micros = Micros::from_secs(1);
const PAUSE_MAX: Micros = Micros::from_secs(20);

/// How long a parent with a low top is not believed whom it takes for dead: until an agent's
/// search has had a round or two.
const DISBELIEF: Micros = Micros::from_secs(15);

/// The wait before it, in patiences.
const fn waits(role: Role) -> u64 {
    match role {
        Role::Orchestrator | Role::Coordinator | Role::Lead => 2,
        Role::Agent => 4,
    }
}

impl Tree {
    /// On which tier the chain of parents ends: the own one without a parent, and until the
    /// parent has said where its own ends.
    pub fn top(&self) -> Role {
        self.parents_top.unwrap_or(self.role)
    }

    /// Whether the parent's top is lower than it could be.
    pub fn is_low(&self) -> bool {
        self.parents_top.is_some_and(|top| top > self.highest)
    }

    /// The same, while it is too soon to say that nobody else has a higher one.
    pub fn may_reach_higher(&self, now: Micros) -> bool {
        let begun = |wider: Wider| now.since(wider.since) < DISBELIEF;
        self.is_low() && self.wider.is_none_or(begun)
    }

    /// Begins the search, or ends it.
    pub(super) fn look_wider(&mut self, config: &Config, now: Micros) {
        match (self.is_low(), self.wider) {
            (true, None) => {
                let (since, rounds) = (now, 0);
                self.wider = Some(Wider { since, rounds });
                self.next = 0;
                self.try_at = now + self.longer(config.patience.times(waits(self.role)));
            }
            (false, Some(_)) => {
                self.wider = None;
                self.try_at = self.try_at.min(now + config.retry_better);
            }
            _ => {}
        }
    }

    /// How long nobody is tried after a round in vain, beside a parent.
    pub(super) fn pause(&mut self, config: &Config) -> Micros {
        let Some(wider) = &mut self.wider else {
            return config.retry_better;
        };
        let pause = PAUSE.times(1 << wider.rounds.min(5)).min(PAUSE_MAX);
        wider.rounds = wider.rounds.saturating_add(1);
        self.longer(pause)
    }

    fn longer(&self, span: Micros) -> Micros {
        span + Micros(span.0 / 512 * u64::from(self.jitter))
    }
}
