//! Detector: from silence over probes to eviction, cheap and reversible
//! (mathematics §5; seed "heartbeat 5 s, crash known within 30 s").
//!
//! Every authentic frame is a sign of life. Where phases flow, suspicion starts
//! after one second of silence; where only heartbeats do, after two of them are
//! missed. Then come rounds of probes: the first direct, the others direct and
//! over other nodes. Silence through all rounds evicts; the next authentic frame
//! undoes that. A node that was itself asleep forgives: it cannot tell a silent
//! peer from its own deafness.
//!
//! Where packets are lost, TCP is silent for seconds and then says everything at once. So
//! suspicion waits for longer than the silences of late that were none in the end, by
//! [`STRETCH`], but never longer than where only heartbeats flow.

use crate::units::Micros;

/// When silence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Silence that makes a peer suspect where phases flow, at least: more after
    /// bursts. Default 1 s: ten gossip periods.
    pub silence: Micros,
    /// Silence that makes a peer suspect where only heartbeats flow. Default
    /// 10.2 s: two heartbeats and their jitter.
    pub silence_heartbeat: Micros,
    /// Length of one round of probes. Default 0.5 s.
    pub round: Micros,
    /// Rounds before eviction. Default 3.
    pub rounds: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            silence: Micros::from_secs(1),
            silence_heartbeat: Micros::from_millis(10_200),
            round: Micros::from_millis(500),
            rounds: 3,
        }
    }
}

/// How much longer a silence may be than those before it: TCP doubles its wait with each
/// loss, so this allows for two more in a row.
const STRETCH: u64 = 4;
/// A silence that was none counts half after so long.
const GAP_HALVES: Micros = Micros::from_secs(15);

/// What flows from a peer in good times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Phases or sums, ten a second.
    Phases,
    /// Heartbeats alone.
    Heartbeats,
}

/// How a watched peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Heard lately.
    Live,
    /// Silent; this many rounds of probes have been sent, the last at `asked`.
    Suspect {
        /// Rounds sent.
        rounds: u8,
        /// When the last one was.
        asked: Micros,
    },
    /// Silent through all rounds.
    Evicted,
}

/// The watch over one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    flow: Flow,
    heard: Micros,
    standing: Standing,
    /// The longest silence of late that a frame ended in time, and when that was.
    gap: (Micros, Micros),
}

/// What a look at the watch asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Nothing,
    /// A round of probes: the first is direct, later ones also go over others.
    Probe {
        /// 1 for the first.
        round: u8,
    },
    /// It has just been evicted.
    Evict,
}

impl Watch {
    /// Begins to watch a peer that was heard `now`.
    pub fn new(flow: Flow, now: Micros) -> Self {
        Self {
            flow,
            heard: now,
            standing: Standing::Live,
            gap: (Micros::ZERO, now),
        }
    }

    /// How the peer stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// When it was last heard.
    pub fn heard_at(&self) -> Micros {
        self.heard
    }

    /// An authentic frame came. True when that undid an eviction.
    pub fn heard(&mut self, flow: Option<Flow>, now: Micros) -> bool {
        let returned = self.standing == Standing::Evicted;
        let gap = now.since(self.heard);
        if !returned && gap > self.gap_at(now) {
            self.gap = (gap, now);
        }
        self.heard = self.heard.max(now);
        self.standing = Standing::Live;
        self.flow = flow.unwrap_or(self.flow);
        returned
    }

    /// We were deaf for `span`: what was not heard in it counts for nothing.
    pub fn forgive(&mut self, span: Micros) {
        self.heard = self.heard + span;
        if let Standing::Suspect { asked, .. } = &mut self.standing {
            *asked = *asked + span;
        }
    }

    fn gap_at(&self, now: Micros) -> Micros {
        let (gap, ended) = self.gap;
        let halves = now.since(ended).0 / GAP_HALVES.0;
        Micros(gap.0 >> halves.min(63))
    }

    /// Looks at the watch; at most one step is taken each time.
    pub fn look(&mut self, config: &Config, now: Micros) -> Verdict {
        let silence = match self.flow {
            Flow::Phases => self
                .gap_at(now)
                .times(STRETCH)
                .min(config.silence_heartbeat)
                .max(config.silence),
            Flow::Heartbeats => config.silence_heartbeat,
        };
        match self.standing {
            Standing::Live if now.since(self.heard) > silence => {
                self.standing = Standing::Suspect {
                    rounds: 1,
                    asked: now,
                };
                Verdict::Probe { round: 1 }
            }
            Standing::Suspect { rounds, asked } if now.since(asked) >= config.round => {
                if rounds >= config.rounds {
                    self.standing = Standing::Evicted;
                    return Verdict::Evict;
                }
                self.standing = Standing::Suspect {
                    rounds: rounds + 1,
                    asked: now,
                };
                Verdict::Probe { round: rounds + 1 }
            }
            _ => Verdict::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(watch: &mut Watch, from_ms: u64, to_ms: u64) -> Vec<(u64, Verdict)> {
        (from_ms..=to_ms)
            .step_by(100)
            .map(|ms| (ms, watch.look(&Config::default(), Micros::from_millis(ms))))
            .filter(|(_, verdict)| *verdict != Verdict::Nothing)
            .collect()
    }

    #[test]
    fn where_phases_flow_a_crash_is_known_within_three_seconds() {
        let mut watch = Watch::new(Flow::Phases, Micros::ZERO);
        let steps = run(&mut watch, 0, 5_000);
        let expected = [
            (1_100, Verdict::Probe { round: 1 }),
            (1_600, Verdict::Probe { round: 2 }),
            (2_100, Verdict::Probe { round: 3 }),
            (2_600, Verdict::Evict),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn where_frames_come_in_bursts_a_longer_silence_is_given_and_forgotten_again() {
        let mut watch = Watch::new(Flow::Phases, Micros::ZERO);
        watch.heard(None, Micros::from_millis(900));
        let steps = run(&mut watch, 900, 9_000);
        assert_eq!(steps.first(), Some(&(4_600, Verdict::Probe { round: 1 })));
        assert_eq!(steps.last(), Some(&(6_100, Verdict::Evict)));
        watch.heard(None, Micros::from_secs(60));
        let steps = run(&mut watch, 60_000, 65_000);
        assert_eq!(steps.last(), Some(&(62_600, Verdict::Evict)), "no burst");
        // However long they were, a crash is known as soon as where heartbeats flow.
        let mut watch = Watch::new(Flow::Phases, Micros::ZERO);
        watch.heard(None, Micros::from_secs(9));
        let steps = run(&mut watch, 9_000, 30_000);
        assert_eq!(steps.last(), Some(&(20_800, Verdict::Evict)));
    }

    #[test]
    fn bare_heartbeats_are_given_two_misses_and_the_crash_is_known_within_thirty_seconds() {
        let mut watch = Watch::new(Flow::Heartbeats, Micros::ZERO);
        let steps = run(&mut watch, 0, 30_000);
        assert_eq!(steps.first(), Some(&(10_300, Verdict::Probe { round: 1 })));
        assert_eq!(steps.last().map(|step| step.1), Some(Verdict::Evict));
    }

    #[test]
    fn any_frame_in_any_round_ends_the_suspicion_and_even_an_eviction() {
        let mut watch = Watch::new(Flow::Phases, Micros::ZERO);
        run(&mut watch, 0, 2_200);
        assert!(
            !watch.heard(None, Micros::from_millis(2_200)),
            "was not evicted yet"
        );
        assert_eq!(watch.standing(), Standing::Live);
        run(&mut watch, 2_300, 14_500);
        assert_eq!(watch.standing(), Standing::Evicted);
        assert!(watch.heard(None, Micros::from_millis(14_600)), "returned");
        assert_eq!(watch.standing(), Standing::Live);
    }

    #[test]
    fn a_node_that_was_asleep_for_45_seconds_suspects_nobody_at_once() {
        let mut watch = Watch::new(Flow::Phases, Micros::ZERO);
        watch.forgive(Micros::from_secs(45));
        assert!(run(&mut watch, 45_000, 46_000).is_empty());
        assert_eq!(run(&mut watch, 46_100, 46_100).len(), 1, "but soon it does");
    }
}
