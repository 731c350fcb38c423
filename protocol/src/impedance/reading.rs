//! Reading: what a mesh is told of one agent (seed 2.3, `AgentImpedance`).
//!
//! A profile's windows stay where they were measured; a reading is what travels in a heartbeat
//! and what every coordinator keeps of every agent.

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::profile::Profile;
use super::score::{Flags, Score, State, Weight};
use crate::ids::{Digest, Label, Place};
use crate::units::Micros;

/// One agent, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// What kind of agent it is.
    pub class: Class,
    /// Where it stands.
    pub place: Place,
    /// Whether it is given work.
    pub state: State,
    /// Z in whole milliseconds at weight 1, behind its queue; not capped, so that people can be
    /// told apart too.
    pub z_ms: u32,
    /// One way over the network, ms.
    pub net_ms: f32,
    /// Processing at weight 0, ms.
    pub unit_ms: f32,
    /// Messages that stand before the next one.
    pub queue: u16,
    /// The share of the last hour's operations that went well; `None` when there was none.
    pub reliability: Option<f32>,
    /// The coefficient of variation.
    pub drift: f32,
    /// What is to be noticed.
    pub flags: Flags,
    /// The context that it has loaded, if it said so.
    pub context: Option<Digest>,
    /// What it can do.
    pub capabilities: Vec<Label>,
}

impl Reading {
    /// What `profile` says at `now`; place and capabilities are the roster's.
    pub fn of(profile: &Profile, place: Place, capabilities: Vec<Label>, now: Micros) -> Self {
        let z_ms = profile.base_ms(Weight::STANDARD, profile.queue());
        Self {
            class: profile.class(),
            place,
            state: profile.state(now),
            // Beyond 49 days it is 49 days.
            z_ms: z_ms.round() as u32,
            net_ms: profile.net_ms(),
            unit_ms: profile.unit_ms(),
            queue: profile.queue(),
            reliability: profile.reliability(now),
            drift: profile.drift(),
            flags: profile.flags(),
            context: profile.context(),
            capabilities,
        }
    }

    /// min(1000, Z).
    pub fn score(&self) -> Score {
        Score::of_millis(self.z_ms as f32)
    }

    /// Whether it answers: active or degraded.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Active | State::Degraded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BadLabel;

    #[test]
    fn a_reading_says_what_the_profile_says() -> Result<(), BadLabel> {
        let place = Place {
            sector: Label::new("s1")?,
            cluster: Label::new("c1")?,
        };
        let now = Micros::from_secs(9);
        let mut profile = Profile::new(Class::Human);
        profile.heard(2, now);
        profile.loaded(Some(Digest([1; 32])));
        profile.ended(true, now);
        let reading = Reading::of(&profile, place, vec![Label::new("ethics")?], now);
        assert_eq!((reading.state, reading.queue), (State::Active, 2));
        // 50 + 1.5 · 60,000 + 2 · 6,000.
        assert_eq!((reading.z_ms, reading.score()), (102_050, Score::MAX));
        assert_eq!((reading.net_ms, reading.unit_ms), (50.0, 60_000.0));
        assert_eq!(reading.context, Some(Digest([1; 32])));
        assert_eq!(reading.reliability, Some(1.0));
        assert!(reading.is_live());
        profile.quarantine(true);
        assert!(!Reading::of(&profile, place, Vec::new(), now).is_live());
        let json = serde_json::to_string(&reading).unwrap_or_default();
        assert_eq!(serde_json::from_str(&json).ok(), Some(reading));
        Ok(())
    }
}
