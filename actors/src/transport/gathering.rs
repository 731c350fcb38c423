//! Gossip that comes as a stream is read together: each reading costs a wake-up of this
//! thread and of the actors, each frame in it next to nothing.
//!
//! What comes alone is read at once. What comes soon after the last reading waits a moment
//! for more, and is then as old as the frames of such a moment are on average: an age that
//! is right in the mean bends no sum of phases, an age that is too small would slow them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::readiness::Source;

/// How long the first frame of a stream waits for others; also, how soon after a reading
/// the next frame makes a stream. A lead of thirty then reads some two frames at a time.
///
/// The age is right in the mean of all meshes, and in one mesh, whose nodes go on speaking in
/// the order in which they began, it may be wrong by half of this for ever; the frequency of
/// all is then wrong by K·ω times that, .025 rad/s for each millisecond.
const MOMENT: Duration = Duration::from_millis(3);

/// The sockets of the gossip lane that wait to be read.
#[derive(Debug, Default)]
pub struct Gathering {
    waiting: Option<Waiting>,
    last_read: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    sources: BTreeSet<Source>,
    since: Instant,
    due: Instant,
}

/// What is to be read now.
#[derive(Debug, PartialEq, Eq)]
pub struct Gathered {
    /// From these.
    pub sources: BTreeSet<Source>,
    /// When the first of it came.
    pub since: Instant,
}

impl Gathering {
    /// `source` has something since `now`.
    pub fn add(&mut self, source: Source, now: Instant) {
        let stream = self
            .last_read
            .is_some_and(|last| now.saturating_duration_since(last) < MOMENT);
        let wait = if stream { MOMENT } else { Duration::ZERO };
        self.wait(source, now, wait);
    }

    /// `source` has more than its share of one round: it waits for nothing.
    pub fn add_rest(&mut self, source: Source, now: Instant) {
        self.wait(source, now, Duration::ZERO);
    }

    fn wait(&mut self, source: Source, now: Instant, wait: Duration) {
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            sources: BTreeSet::new(),
            since: now,
            due: now + wait,
        });
        waiting.due = waiting.due.min(now + wait);
        waiting.sources.insert(source);
    }

    /// When something is to be read.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.due)
    }

    /// What is due at `now`.
    pub fn take(&mut self, now: Instant) -> Option<Gathered> {
        let Waiting { sources, since, .. } = self.waiting.take_if(|one| now >= one.due)?;
        self.last_read = Some(now);
        Some(Gathered { sources, since })
    }
}

/// When each of `count` frames came that were read together: the first at `since`, the
/// others at any time until `now`; in the mean over all of them.
pub fn mean_arrival(since: Instant, now: Instant, count: usize) -> Instant {
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let span = now.saturating_duration_since(since);
    since + span / 2 - span / 2 / count
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_comes_alone_is_read_at_once_and_a_stream_by_the_moment() {
        let mut gathering = Gathering::default();
        let start = Instant::now();
        let sources = |sources: &[Source]| sources.iter().copied().collect::<BTreeSet<_>>();
        gathering.add(Source::Subscriber, start);
        let alone = gathering.take(start).unwrap();
        assert_eq!(alone.sources, sources(&[Source::Subscriber]));
        assert_eq!(gathering.due(), None);

        let first = start + MS;
        gathering.add(Source::Subscriber, first);
        gathering.add(Source::Sibling([1; 32]), first + MS);
        assert_eq!(gathering.due(), Some(first + MOMENT));
        assert_eq!(gathering.take(first + MOMENT - MS), None);
        let stream = gathering.take(first + MOMENT).unwrap();
        assert_eq!(stream.since, first);
        assert_eq!(
            stream.sources,
            sources(&[Source::Subscriber, Source::Sibling([1; 32])])
        );

        let later = first + 2 * MOMENT;
        gathering.add(Source::Subscriber, later);
        assert_eq!(gathering.due(), Some(later), "the stream is over");
    }

    #[test]
    fn what_is_left_over_waits_for_nothing() {
        let mut gathering = Gathering::default();
        let now = Instant::now();
        gathering.add_rest(Source::Subscriber, now);
        assert!(gathering.take(now).is_some());
        gathering.add(Source::Subscriber, now + MS);
        gathering.add_rest(Source::Subscriber, now + MS);
        assert_eq!(gathering.due(), Some(now + MS));
    }

    #[test]
    fn the_age_of_what_was_read_together_is_right_in_the_mean() {
        let since = Instant::now();
        let now = since + 10 * MS;
        let offset = |count| mean_arrival(since, now, count) - since;
        assert_eq!(offset(1), Duration::ZERO);
        // One at 0 ms, three at 5 ms on average.
        assert_eq!(4 * offset(4), 15 * MS);
    }
}
