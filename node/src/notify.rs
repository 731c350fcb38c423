//! What the service manager is told, where there is one (`Type=notify`): that the node
//! listens, how it is, that it stops, and, as its watchdog wants it, that it still answers.
//! Without `NOTIFY_SOCKET` all of it is nothing.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::live::Live;
use crate::report;

/// Between two looks at the node where no watchdog asks for more.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// What it waits for, in words, before it listens.
pub fn waiting(what: &str) {
    say(&[NotifyState::Status(what)]);
}

/// The node listens, and `addresses.json` says where.
pub fn ready() {
    say(&[NotifyState::Ready, NotifyState::Status("listening")]);
}

/// It was told to stop.
pub fn stopping() {
    say(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Says how the node is twice in each span of the watchdog.
pub async fn keep(live: Live) -> Infallible {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    let every = sd_notify::watchdog_enabled().map_or(LOOK_EVERY, |span| span / 2);
    look(live, every, say).await
}

/// What feeds the watchdog is the node's answer: one whose actors hang is silent, however
/// well the clock goes.
async fn look(live: Live, every: Duration, mut say: impl FnMut(&[NotifyState])) -> Infallible {
    loop {
        let Some(now) = live.snapshot().await else {
            // Too busy to answer, or stopping: asked again in time for the same span.
            tokio::time::sleep(every / 4).await;
            continue;
        };
        let [alive, suspect, _] = now.view.peers;
        let (members, order) = (now.view.members, now.view.order);
        let status = format!(
            "{}: {members} in phase, order {order:.3}; peers: {alive} live, {suspect} suspect; {}",
            now.name,
            report::stands(&now)
        );
        say(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        tokio::time::sleep(every).await;
    }
}

/// A manager that does not listen is no reason to stop: it will do that itself.
fn say(states: &[NotifyState]) {
    if let Err(why) = sd_notify::notify(states) {
        tracing::warn!(%why, "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{self, Ask};

    #[tokio::test]
    async fn a_node_that_does_not_answer_feeds_no_watchdog() {
        let (live, mut asked) = live::channel();
        let mut said = 0;
        // Three times it says that it cannot, and the fourth time nothing.
        let node = async {
            for _ in 0..3 {
                let Some(Ask::Snapshot(reply)) = asked.recv().await else {
                    unreachable!("it is asked how it is, for ever");
                };
                drop(reply.send(None));
            }
            asked.recv().await
        };
        let looks = look(live, Duration::from_millis(4), |_| said += 1);
        let fourth = tokio::select! {
            _ = looks => unreachable!("it looks for ever"),
            fourth = tokio::time::timeout(Duration::from_secs(30), node) => fourth,
        };
        assert!(matches!(fourth, Ok(Some(Ask::Snapshot(_)))));
        assert_eq!(said, 0);
    }
}
