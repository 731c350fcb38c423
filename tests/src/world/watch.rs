//! What is counted in a world, and what must never happen in one.

use std::collections::BTreeMap;

use chorus_protocol::gossip::Event;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::PeerState;

use super::World;
use super::faults::Cut;

/// What was counted since the beginning, or since it was last set to zero.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Frames that arrived, by the message's name.
    pub arrived: BTreeMap<&'static str, u64>,
    /// Frames that a machine has sent or published, by its number.
    pub said: BTreeMap<(usize, &'static str), u64>,
    /// Frames of strangers and revoked members.
    pub strangers: u64,
    /// Frames for another run.
    pub other_run: u64,
    /// Frames refused by the seeds' bound.
    pub locked_out: u64,
    /// Frames that jumped: (at whom, from whom), how often.
    pub jumps: BTreeMap<(usize, usize), u64>,
    /// Commands that found a full outbox.
    pub full: u64,
    /// Items that a directory did not take.
    pub rejected: u64,
    /// What must never happen, in words.
    pub violations: Vec<String>,
}

/// The ways that were cut, since the heal.
#[derive(Debug, Clone)]
pub struct Healing {
    /// When.
    pub since: Micros,
    cuts: Vec<Cut>,
    /// (from, to): authentic frames of state that came, and the first that was applied.
    ways: BTreeMap<(usize, usize), (u32, Option<u32>)>,
}

impl Healing {
    pub(super) fn new(since: Micros, cuts: Vec<Cut>) -> Self {
        Self {
            since,
            cuts,
            ways: BTreeMap::new(),
        }
    }

    /// A frame of state came.
    pub(super) fn came(&mut self, from: usize, to: usize, applied: bool) {
        if !self.cuts.iter().any(|cut| cut.stops(from, to)) {
            return;
        }
        let (frames, first) = self.ways.entry((from, to)).or_default();
        *frames += 1;
        if applied && first.is_none() {
            *first = Some(*frames);
        }
    }

    /// How many ways were heard on.
    pub fn heard(&self) -> usize {
        self.ways.len()
    }

    /// Ways on which the second frame came and none of the two was applied.
    pub fn deaf(&self) -> Vec<(usize, usize)> {
        let deaf = |(_, (frames, first)): &(&(usize, usize), &(u32, Option<u32>))| {
            first.map_or(*frames >= 2, |first| first > 2)
        };
        self.ways.iter().filter(deaf).map(|(way, _)| *way).collect()
    }
}

impl World {
    /// Every eviction so far: when, seen by whom, of whom.
    pub fn evictions(&self) -> Vec<(Micros, usize, usize)> {
        let eviction = |(when, at, event): &(Micros, usize, Event)| match event {
            Event::Peer(change) if change.to == PeerState::Evicted => {
                Some((*when, *at, self.number(&change.node)))
            }
            _ => None,
        };
        self.log.iter().filter_map(eviction).collect()
    }

    /// Whom a running machine does not see live though it runs, and whom it sees
    /// live though it does not: (who sees, of whom).
    pub fn misjudged(&self) -> Vec<(usize, usize)> {
        let mut wrong = Vec::new();
        for (at, machine) in self.machines.iter().enumerate() {
            let Some(run) = &machine.run else { continue };
            let views = run.gossip.peer_views(0, self.now);
            let live: std::collections::BTreeSet<usize> = views
                .iter()
                .filter(|peer| peer.state == PeerState::Live)
                .map(|peer| self.number(&peer.node))
                .collect();
            let differs = |other: &usize| {
                *other != at && live.contains(other) != self.machines[*other].run.is_some()
            };
            wrong.extend(
                (0..self.machines.len())
                    .filter(differs)
                    .map(|other| (at, other)),
            );
        }
        wrong
    }

    /// Fails with the seed when something happened that must never happen.
    pub fn check(&self) -> Result<(), String> {
        match self.counts.violations.first() {
            Some(first) => Err(format!(
                "{} violations, first: {first}",
                self.counts.violations.len()
            )),
            None => Ok(()),
        }
    }
}

/// Runs a test for each seed, and names the seed that fails.
pub fn seeds(
    what: &str,
    seeds: impl Iterator<Item = u64>,
    test: impl Fn(u64) -> Result<(), String>,
) {
    for seed in seeds {
        if let Err(why) = test(seed) {
            panic!("REPRODUCE WITH seed={seed} ({what}): {why}");
        }
    }
}

/// Whether the long forms are asked for: `CHORUS_SOAK=1`.
pub fn soak() -> bool {
    std::env::var_os("CHORUS_SOAK").is_some()
}

/// So many seeds in the gate, ten times as many when the long forms are asked for.
pub fn many(seeds: u64) -> std::ops::Range<u64> {
    0..if soak() { 10 * seeds } else { seeds }
}
