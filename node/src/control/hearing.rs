//! Hearing: who hears on when a question or a task is over, for those that are late. Only the newest do.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use chorus_protocol::op::Output;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// How many hear on.
const HEARD_MAX: usize = 128;

/// Those that hear on, the oldest first.
pub struct Newest(Mutex<VecDeque<AbortHandle>>);

impl Newest {
    /// Nobody yet.
    pub const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// One more; where that is too many, the oldest hears no longer.
    pub fn add(&self, hearing: AbortHandle) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|it| !it.is_finished());
        heard.push_back(hearing);
        if heard.len() > HEARD_MAX {
            heard.pop_front().inspect(AbortHandle::abort);
        }
    }
}

/// Passes on what becomes of an attempt, as long as anything can and somebody listens.
pub async fn pass_on(
    fence: u32,
    mut told: mpsc::Receiver<Output>,
    words: mpsc::Sender<(u32, Output)>,
) {
    loop {
        let word = tokio::select! {
            word = told.recv() => word,
            () = words.closed() => None,
        };
        let Some(word) = word else { return };
        let is_last = match &word {
            // Only who was lost can be late.
            Output::Done(_, report) => report.outcome.tally.transit == 0,
            Output::Late(..) | Output::Refused(..) => true,
            _ => false,
        };
        if words.send((fence, word)).await.is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use chorus_protocol::ids::{Incarnation, NodeId};
    use chorus_protocol::op::gather::Outcome;
    use chorus_protocol::op::quorum::{Decision, Tally};
    use chorus_protocol::op::{OperationId, Report};
    use chorus_protocol::units::Micros;

    use super::*;

    /// One agent was asked, and this became of it.
    fn done(tally: Tally) -> Output {
        let report = Report {
            operation: OperationId {
                origin: NodeId([1; 32]),
                run: Incarnation::new(0, 1),
                number: 1,
            },
            outcome: Outcome {
                tally,
                decision: Decision::Retry,
                success: false,
                elapsed: Micros::ZERO,
            },
            answers: Default::default(),
            unready: Default::default(),
            arrivals: Default::default(),
        };
        Output::Done(1, Box::new(report))
    }

    #[tokio::test]
    async fn an_attempt_is_heard_until_nothing_can_come_of_it_or_nobody_listens() {
        let (lost, conflict) = (
            Tally {
                transit: 1,
                ..Tally::default()
            },
            Tally {
                conflict: 1,
                ..Tally::default()
            },
        );
        let (words, mut heard) = mpsc::channel(8);
        let mut attempts = Vec::new();
        for (fence, tally) in [(1, lost), (2, conflict), (3, lost)] {
            let (told, tells) = mpsc::channel(8);
            told.send(done(tally)).await.unwrap();
            attempts.push((told, tokio::spawn(pass_on(fence, tells, words.clone()))));
        }
        for _ in 0..3 {
            heard.recv().await.unwrap();
        }
        // Who contradicted says no more.
        let (told, passing) = attempts.remove(1);
        passing.await.unwrap();
        assert!(told.is_closed());
        let (told, passing) = attempts.remove(0);
        let late = Output::Late(1, 1, Default::default());
        told.send(late.clone()).await.unwrap();
        assert_eq!(heard.recv().await, Some((1, late)));
        passing.await.unwrap();
        drop(heard);
        let (told, passing) = attempts.remove(0);
        passing.await.unwrap();
        assert!(told.is_closed());
    }

    #[tokio::test]
    async fn the_newest_hear_on_and_those_that_are_done_take_no_place() {
        let newest = Newest::new();
        let done = tokio::spawn(async {});
        newest.add(done.abort_handle());
        done.await.unwrap();
        let mut hearing: Vec<_> = (0..=HEARD_MAX)
            .map(|_| tokio::spawn(pending::<()>()))
            .collect();
        for it in &hearing[..HEARD_MAX] {
            newest.add(it.abort_handle());
        }
        tokio::task::yield_now().await;
        assert!(hearing.iter().all(|it| !it.is_finished()));
        newest.add(hearing[HEARD_MAX].abort_handle());
        let oldest = hearing.remove(0);
        assert!(oldest.await.unwrap_err().is_cancelled());
        assert!(hearing.iter().all(|it| !it.is_finished()));
    }
}
