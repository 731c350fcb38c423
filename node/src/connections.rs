//! Connections: how a local server serves many callers, of whom some may be idle or hostile.
//!
//! Each has a task of its own and a time by which it is over. When all places are taken the
//! oldest makes room, so nobody who only holds connections open keeps others from being
//! served: an honest caller is done in milliseconds. Who has [`Asked`] what takes longer is
//! not sent away for others; where too many have, one more is told so.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Connections served at a time, beside those whose callers wait.
const CONNECTIONS_MAX: usize = 64;
/// Callers that may wait, each for an answer that takes its time: as many as memory takes
/// writes at once. They have places of their own, so that a cut-off node whose writers all wait
/// for a quorum still says how it is.
pub const WAITING_MAX: usize = 256;
/// How long one may take that has not asked for more.
const SERVE_MAX: Duration = Duration::from_secs(5);
/// How much longer one may take that has.
const ASKED_MAX: Duration = Duration::from_secs(330);
/// A breath when the system has nothing left for another connection.
const BREATH: Duration = Duration::from_millis(100);

/// Whether a caller waits for an answer that takes its time.
#[derive(Debug, Clone)]
pub struct Asked(Arc<Place>);

#[derive(Debug)]
struct Place {
    is_said: AtomicBool,
    /// How many wait.
    waiting: Arc<AtomicUsize>,
}

impl Asked {
    fn new(waiting: &Arc<AtomicUsize>) -> Self {
        let (is_said, waiting) = (AtomicBool::new(false), waiting.clone());
        Self(Arc::new(Place { is_said, waiting }))
    }

    /// From now on it does, if there is a place for one more: said once. Whoever says so bounds the
    /// time himself.
    #[must_use]
    pub fn say(&self) -> bool {
        let has_place = self.0.waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX;
        match has_place {
            true => self.0.is_said.store(true, Ordering::Relaxed),
            false => drop(self.0.waiting.fetch_sub(1, Ordering::Relaxed)),
        }
        has_place
    }

    fn is_said(&self) -> bool {
        self.0.is_said.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if *self.is_said.get_mut() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What there is to accept: `what` is named in the log.
pub async fn serve<S, A, F>(what: &str, accept: impl Fn() -> A, one: impl Fn(S, Asked) -> F)
where
    A: Future<Output = io::Result<S>>,
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut oldest: VecDeque<(AbortHandle, Asked)> = VecDeque::new();
    let waiting = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! {
            Some(_) = tasks.join_next() => continue,
            accepted = accept() => accepted,
        };
        oldest.retain(|(task, _)| !task.is_finished());
        match accepted {
            Ok(stream) => {
                while is_full(tasks.len(), &oldest) {
                    let idle = oldest.iter().position(|(_, asked)| !asked.is_said());
                    if let Some((task, _)) = idle.and_then(|at| oldest.remove(at)) {
                        tracing::debug!(what, "the oldest connection makes room");
                        task.abort();
                    }
                    // It ends at its next breath, and only then there is room.
                    tasks.join_next().await;
                }
                let asked = Asked::new(&waiting);
                let served = bounded(one(stream, asked.clone()), asked.clone());
                oldest.push_back((tasks.spawn(served), asked));
            }
            Err(why) => {
                // Out of descriptors, as a rule: let some close.
                tracing::warn!(%why, "{what} cannot accept");
                sleep(BREATH).await;
            }
        }
    }
}

/// Whether no place is left for one more.
fn is_full(all: usize, places: &VecDeque<(AbortHandle, Asked)>) -> bool {
    let waits = |(task, asked): &&(AbortHandle, Asked)| asked.is_said() && !task.is_finished();
    let waiting = places.iter().filter(waits).count();
    all.saturating_sub(waiting) >= CONNECTIONS_MAX
}

/// Serves one for as long as it may take.
async fn bounded(one: impl Future<Output = ()>, asked: Asked) {
    let mut one = pin!(one);
    if timeout(SERVE_MAX, &mut one).await.is_err() && asked.is_said() {
        let _ = timeout(ASKED_MAX, one).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{Mutex, mpsc};

    use super::*;

    /// Somebody is served, long before those that idle are over.
    async fn serves(serving: impl Future<Output = ()>, done: &mut mpsc::Receiver<()>) {
        let answered = timeout(SERVE_MAX / 2, async {
            tokio::select! {
                () = serving => None,
                it = done.recv() => it,
            }
        });
        assert_eq!(answered.await.ok().flatten(), Some(()));
    }

    #[tokio::test]
    async fn idle_callers_beyond_the_limit_keep_nobody_waiting_and_their_number_is_bounded() {
        let (call, calls) = mpsc::channel::<bool>(256);
        let (served, mut done) = mpsc::channel::<()>(1);
        let (calls, open) = (Mutex::new(calls), Arc::new(AtomicUsize::new(0)));
        struct Open(Arc<AtomicUsize>);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let most = Arc::new(AtomicUsize::new(0));
        let accept = || async { Ok(calls.lock().await.recv().await.unwrap_or(true)) };
        let one = |is_idle: bool, _: Asked| {
            let (served, most) = (served.clone(), most.clone());
            let now = open.fetch_add(1, Ordering::Relaxed) + 1;
            let mark = Open(open.clone());
            async move {
                let _mark = mark;
                most.fetch_max(now, Ordering::Relaxed);
                if is_idle {
                    std::future::pending::<()>().await;
                }
                let _ = served.send(()).await;
            }
        };
        for _ in 0..3 * CONNECTIONS_MAX {
            call.send(true).await.expect("it is taken");
        }
        call.send(false).await.expect("it is taken");
        serves(serve("test", accept, one), &mut done).await;
        assert!(most.load(Ordering::Relaxed) <= CONNECTIONS_MAX);
    }

    #[tokio::test]
    async fn those_who_wait_for_long_keep_nobody_waiting() {
        let (call, calls) = mpsc::channel::<bool>(512);
        let (served, mut done) = mpsc::channel::<()>(1);
        let turned_away = Arc::new(AtomicUsize::new(0));
        let calls = Mutex::new(calls);
        let accept = || async {
            // The one before has said that it waits.
            tokio::task::yield_now().await;
            match calls.lock().await.recv().await {
                Some(waits) => Ok(waits),
                None => std::future::pending().await,
            }
        };
        let one = |waits: bool, asked: Asked| {
            let (served, turned_away) = (served.clone(), turned_away.clone());
            async move {
                match (waits, waits && asked.say()) {
                    (true, true) => std::future::pending::<()>().await,
                    (true, false) => drop(turned_away.fetch_add(1, Ordering::Relaxed)),
                    (false, _) => drop(served.send(()).await),
                }
            }
        };
        for _ in 0..WAITING_MAX + 2 * CONNECTIONS_MAX {
            call.send(true).await.expect("it is taken");
        }
        call.send(false).await.expect("it is taken");
        serves(serve("test", accept, one), &mut done).await;
        let away = turned_away.load(Ordering::Relaxed);
        assert_eq!(away, 2 * CONNECTIONS_MAX, "as many as there are no places");
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_is_not_sent_away_for_others() {
        #[derive(Clone, Copy, PartialEq)]
        enum Caller {
            Waits,
            Idles,
            Releases,
        }
        let (call, calls) = mpsc::channel::<Caller>(256);
        let (served, mut done) = mpsc::channel::<()>(1);
        let (calls, release) = (Mutex::new(calls), Arc::new(tokio::sync::Notify::new()));
        let accept = || async {
            match calls.lock().await.recv().await {
                Some(caller) => Ok(caller),
                None => std::future::pending().await,
            }
        };
        let one = |caller: Caller, asked: Asked| {
            let (served, release) = (served.clone(), release.clone());
            async move {
                match caller {
                    Caller::Waits => {
                        assert!(asked.say());
                        release.notified().await;
                        let _ = served.send(()).await;
                    }
                    Caller::Idles => std::future::pending().await,
                    Caller::Releases => release.notify_one(),
                }
            }
        };
        let idle = std::iter::repeat_n(Caller::Idles, 2 * CONNECTIONS_MAX);
        let all = [Caller::Waits].into_iter().chain(idle);
        for caller in all.chain([Caller::Releases]) {
            call.send(caller).await.expect("it is taken");
        }
        serves(serve("test", accept, one), &mut done).await;
    }
}
