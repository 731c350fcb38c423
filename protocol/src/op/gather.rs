//! Gather: the answers to one operation, each agent counted once, until the outcome is certain or
//! the time is over (MESH-30K, 3.2).
//!
//! Nobody is waited for beyond the window, and nobody is erased: who has not answered by then is
//! in transit, who answers after it is late, and both stay in the count of those expected.
//!
//! A *source* is one agent, or a child of the tree that gathers the answers of all beneath it
//! and says how far it is. What a source says is the whole of what is known there, never a
//! difference, so that a repetition counts nothing twice.

use std::collections::BTreeMap;

use thiserror::Error;

use super::census::AGENTS_MAX;
pub use super::part::Part;
use super::quorum::{Decision, Tally};
use crate::units::Micros;

/// When a gather ends, and what it calls a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How long answers are waited for. Default 500 ms.
    pub window: Micros,
    /// How many of a thousand expected agents must be ready. Default 950.
    pub minimum: u32,
    /// Whether it goes on when the decision is certain, for the answers' own sake. Default no.
    pub patient: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: Micros::from_millis(500),
            minimum: 950,
            patient: false,
        }
    }
}

/// The share of `expected` agents that T leaves time for: as many as a success needs, `minimum` of a
/// thousand, and half of the others, for some of those that could be in time are late.
pub fn share_in_time(expected: u32, minimum: u32) -> f64 {
    let (expected, minimum) = (u64::from(expected), u64::from(minimum.min(1_000)));
    let needed = (expected * minimum).div_ceil(1_000);
    let many = needed + (expected - needed) / 2;
    // So that a rank by this share is that number, however it is rounded.
    (many as f64 - 0.5).max(0.0) / expected.max(1) as f64
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<K> {
    /// A source says for how many agents it answers, and how far it is. Those that it was asked
    /// for and does not know any more are lost: nobody leaves the count who was in it.
    Said(K, u32, Part),
    /// A source is gone: what it has not said it will not say.
    Gone(K),
    /// Time has passed. Due at [`Gather::next_deadline`].
    Tick,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// It is over. Said once.
    Done(Outcome),
    /// So many answers came after that. They are measured and kept, not counted.
    Late(u32),
}

/// Why what a source said is not taken. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// It was not asked.
    #[error("an answer of somebody who was not asked")]
    Stranger,
    /// It takes back what it said, or speaks for more than it was asked for.
    #[error("an answer that contradicts the one before, or of more agents than were asked")]
    Contradiction,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Who was in which state then.
    pub tally: Tally,
    /// What that decides.
    pub decision: Decision,
    /// Whether as many were ready as the configuration asks for.
    pub success: bool,
    /// How long it took.
    pub elapsed: Micros,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    expected: u32,
    gone: bool,
    part: Part,
}

impl Source {
    /// What it has said, and what became of the others when it went.
    fn whole(&self) -> Part {
        let Part {
            ready,
            conflict,
            skipped,
            ..
        } = self.part;
        match self.gone {
            true => Part {
                lost: self.expected - ready - conflict - skipped,
                ..self.part
            },
            false => self.part,
        }
    }

    /// How many may answer yet.
    fn open(&self) -> u64 {
        match self.gone {
            true => 0,
            false => u64::from(self.expected) - self.part.settled(),
        }
    }
}

/// The gathering of one operation.
#[derive(Debug, Clone)]
pub struct Gather<K> {
    config: Config,
    began: Micros,
    sources: BTreeMap<K, Source>,
    /// Of how many agents those were of which only what they said is kept.
    folded: (u64, Part),
    tally: Tally,
    open: u64,
    over: bool,
}

impl<K: Ord + Copy> Gather<K> {
    /// Begins to wait for `sources`, each with how many agents it answers for as far as is
    /// known here.
    pub fn new(config: Config, sources: impl IntoIterator<Item = (K, u32)>, now: Micros) -> Self {
        let sources: BTreeMap<K, Source> = sources
            .into_iter()
            .map(|(key, expected)| {
                let source = Source {
                    expected,
                    gone: false,
                    part: Part::default(),
                };
                (key, source)
            })
            .collect();
        let mut gather = Self {
            config,
            began: now,
            sources,
            folded: (0, Part::default()),
            tally: Tally::default(),
            open: 0,
            over: false,
        };
        gather.open = gather.sources.values().map(Source::open).sum();
        gather.tally.transit = u32::try_from(gather.open).unwrap_or(u32::MAX);
        gather
    }

    /// When [`Input::Tick`] is due; never once it is over.
    pub fn next_deadline(&self) -> Micros {
        match self.over {
            true => Micros::NEVER,
            false => self.began + self.config.window,
        }
    }

    /// Who is in which state so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// All that the sources have said, in time or late; what a source that is gone has not
    /// said is lost.
    pub fn sum(&self) -> Part {
        let parts = self.sources.values().map(Source::whole);
        parts.fold(self.folded.1, |sum, part| sum.and(&part))
    }

    /// How many are still waited for.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Whether nobody is waited for any more.
    pub fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// How many agents all sources answer for.
    pub fn expected(&self) -> u64 {
        let sources = self.sources.values();
        self.folded.0 + sources.map(|it| u64::from(it.expected)).sum::<u64>()
    }

    /// Lets go the sources that owe nothing and of which `is_final` says that they never speak again:
    /// only the sum of them is kept.
    pub fn fold(&mut self, is_final: impl Fn(&K) -> bool) {
        let folded = &mut self.folded;
        self.sources.retain(|key, source| {
            let is_kept = source.open() > 0 || !is_final(key);
            if !is_kept {
                folded.0 += u64::from(source.expected);
                folded.1 = folded.1.and(&source.whole());
            }
            is_kept
        });
    }

    /// The sources that are gone: of how many agents each was, and what it had said of them.
    pub fn gone(&self) -> impl Iterator<Item = (K, u32, Part)> {
        let gone = self.sources.iter().filter(|(_, it)| it.gone);
        gone.map(|(key, it)| (*key, it.expected, it.part))
    }

    /// The sources that owe an answer, in order: whom one waits for.
    pub fn waited_for(&self) -> impl Iterator<Item = K> {
        let owing = self.sources.iter().filter(|(_, it)| it.open() > 0);
        owing.map(|(key, _)| *key)
    }

    /// Several sources say what they have at once: it is decided when all of them are counted.
    /// What contradicts is left out.
    pub fn said_all(
        &mut self,
        words: impl IntoIterator<Item = (K, u32, Part)>,
        now: Micros,
    ) -> Vec<Output> {
        let in_time = !self.over && now < self.next_deadline();
        let words = words.into_iter();
        let answers =
            words.filter_map(|(key, many, part)| self.said(key, many, part, in_time).ok());
        let answers = answers.fold(0u32, u32::saturating_add);
        let done = self.outcome(now).map(Output::Done);
        let late = (!in_time && answers > 0).then_some(Output::Late(answers));
        done.into_iter().chain(late).collect()
    }

    /// Takes an input; what follows, in this order. Of an operation without agents nothing
    /// does: there is nothing to decide, and whoever asks refuses it first.
    ///
    /// # Errors
    /// When what a source says cannot be so.
    pub fn handle(&mut self, input: Input<K>, now: Micros) -> Result<Vec<Output>, Error> {
        let in_time = !self.over && now < self.next_deadline();
        let mut answers = 0;
        match input {
            Input::Said(key, expected, part) => {
                answers = self.said(key, expected, part, in_time)?;
            }
            Input::Gone(key) => {
                let source = self.sources.get_mut(&key).ok_or(Error::Stranger)?;
                self.open -= source.open();
                source.gone = true;
            }
            Input::Tick => {}
        }
        let done = self.outcome(now).map(Output::Done);
        let late = (!in_time && answers > 0).then_some(Output::Late(answers));
        Ok(done.into_iter().chain(late).collect())
    }

    /// Notes what a source says; counts it if it came in time. How many new answers it has.
    fn said(&mut self, key: K, expected: u32, part: Part, in_time: bool) -> Result<u32, Error> {
        let source = self.sources.get_mut(&key).ok_or(Error::Stranger)?;
        let before = *source;
        let unknown = source.expected.saturating_sub(expected);
        let (expected, part) = (
            expected.max(source.expected),
            Part {
                lost: part.lost.saturating_add(unknown),
                ..part
            },
        );
        let fits = part.settled() <= u64::from(expected) && expected <= AGENTS_MAX;
        if !fits || !part.follows(&before.part) {
            return Err(Error::Contradiction);
        }
        // It speaks, so it is there.
        *source = Source {
            expected,
            gone: false,
            part,
        };
        self.open = self.open - before.open() + source.open();
        if in_time {
            let on_the_way =
                |it: &Source| it.expected - it.part.ready - it.part.conflict - it.part.skipped;
            self.tally.ready += part.ready - before.part.ready;
            self.tally.conflict += part.conflict - before.part.conflict;
            self.tally.skipped += part.skipped - before.part.skipped;
            self.tally.transit += on_the_way(source);
            self.tally.transit -= on_the_way(&before);
        }
        let answers = part.answered() - before.part.answered();
        Ok(u32::try_from(answers).unwrap_or(u32::MAX))
    }

    /// The outcome, if this is the end.
    fn outcome(&mut self, now: Micros) -> Option<Outcome> {
        if self.over {
            return None;
        }
        let decision = match now >= self.next_deadline() {
            true => self.tally.decide().ok(),
            false => self.certain(),
        }?;
        self.over = true;
        Some(Outcome {
            tally: self.tally,
            decision,
            success: self.tally.reaches(self.config.minimum),
            elapsed: now.since(self.began),
        })
    }

    /// The decision, if no answer can change it or the success any more.
    fn certain(&self) -> Option<Decision> {
        if self.config.patient && self.open > 0 {
            return None;
        }
        let open = u32::try_from(self.open).unwrap_or(u32::MAX);
        let decision = self.tally.certain(open)?;
        let best = Tally {
            ready: self.tally.ready + open.min(self.tally.transit),
            transit: self.tally.transit.saturating_sub(open),
            ..self.tally
        };
        let minimum = self.config.minimum;
        (self.tally.reaches(minimum) == best.reaches(minimum)).then_some(decision)
    }
}
