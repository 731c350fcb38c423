//! `memory`: what outlives the nodes that wrote it. One file for each verb; the others are
//! what several of them need, without a node.

mod batches;
mod export;
mod get;
mod import;
mod json;
mod lines;
pub(super) mod ls;
pub(super) mod names;
pub(super) mod output;
pub(super) mod pages;
mod progress;
pub(super) mod put;
mod rm;
pub(super) mod sorted;
mod verify;

use std::time::Duration;

use chorus_storage::Home;

use crate::cli::Context;
use crate::cli::memory::{MemoryVerb, QuorumArgs};
use crate::control::memory::{Ask, Copies, WITHIN_MAX};
use crate::control::{self, Request};
use crate::error::{Failure, exit};

use super::bad_flag;

/// How much longer a client waits than the node was asked to.
const SLACK: Duration = Duration::from_secs(20);

pub async fn run(ctx: Context, what: MemoryVerb) -> Result<(), Failure> {
    match what {
        MemoryVerb::Put(args) => put::run(ctx, args).await,
        MemoryVerb::Get {
            name,
            local,
            timeout,
        } => get::run(ctx, name, local, &timeout).await,
        MemoryVerb::Rm { name, quorum } => rm::run(ctx, name, quorum).await,
        MemoryVerb::Ls { prefix, all } => ls::run(ctx, prefix, all).await,
        MemoryVerb::Import { file, key } => import::run(ctx, file, key).await,
        MemoryVerb::Export { prefix, out } => export::run(ctx, prefix, out).await,
        MemoryVerb::Verify { key, own } => verify::run(ctx, key, own).await,
    }
}

/// Asks the node of this home, which may take so long for it.
pub(super) async fn ask(
    ctx: &Context,
    ask: Ask,
    within: Duration,
) -> Result<Vec<serde_json::Value>, Failure> {
    let request = Request::Memory { ask };
    control::ask_within(&Home::at(&ctx.dir), &request, within + SLACK).await
}

/// How many copies, and how long they are waited for.
pub(super) fn quorum(args: &QuorumArgs) -> Result<(Option<Copies>, Duration), Failure> {
    let copies = match args.quorum.as_deref() {
        None => None,
        Some("majority") => Some(Copies::Majority),
        Some(text) => {
            let many = text.parse().ok().filter(|many| *many > 0);
            let many = many
                .ok_or_else(|| bad_flag("--quorum", text, "allowed is majority, or 1 and more"))?;
            Some(Copies::Nodes(many))
        }
    };
    Ok((copies, timeout(&args.timeout)?))
}

/// `500ms`, `10s` or `5m`.
fn timeout(text: &str) -> Result<Duration, Failure> {
    span_of("--timeout", text)
}

/// A span of a flag, for how long a node may wait for others.
pub fn span_of(flag: &str, text: &str) -> Result<Duration, Failure> {
    let (number, unit_ms) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1_000),
        (None, None) => (text.strip_suffix('m').unwrap_or(""), 60_000),
    };
    let ms = number.parse::<u64>().ok();
    let ms = ms.and_then(|number| number.checked_mul(unit_ms));
    let within = ms.filter(|ms| *ms > 0).map(Duration::from_millis);
    within.filter(|it| *it <= WITHIN_MAX).ok_or_else(|| {
        let allowed = "allowed is 1ms to 5m, a number and ms, s or m";
        bad_flag(flag, text, allowed)
    })
}

/// What is to be said of a write whose answer did not come.
pub(super) fn unanswered(mut failure: Failure) -> Failure {
    if matches!(failure.code.as_str(), "no_answer" | "answer_cut") {
        failure.message += "; it was asked, and may have done it";
        failure.hint = "look with `chorus memory get`; doing it again does no harm".into();
    }
    failure
}

/// The failure of a write that is on too few nodes.
fn too_few(what: &str, asked: u64, replicas: u64) -> Failure {
    let message = format!(
        "{what}, but in time only {replicas} of the {asked} copies that were asked for were \
         confirmed"
    );
    Failure::new(exit::PARTIAL, "too_few_copies", message).hint(
        "nothing is taken back: it stays on this node's disk and spreads as others can be \
         reached; `chorus peers --all` shows who is missing",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_a_majority_or_a_number() {
        let read = |text: &str, timeout: &str| {
            let quorum = Some(text.to_owned());
            let timeout = timeout.to_owned();
            super::quorum(&QuorumArgs { quorum, timeout })
        };
        let ten = Duration::from_secs(10);
        assert_eq!(read("majority", "10s"), Ok((Some(Copies::Majority), ten)));
        assert_eq!(read("3", "10000ms"), Ok((Some(Copies::Nodes(3)), ten)));
        for bad in ["0", "-1", "most", "", "1.5"] {
            let failure = read(bad, "10s").expect_err("it is none");
            assert!(failure.exit == 2 && failure.message.contains("majority"));
        }
        for bad in ["0s", "10", "s", "301s", "6m", "1h", "-1s", ""] {
            let failure = read("1", bad).expect_err("it is none");
            assert!(failure.exit == 2 && failure.message.contains("1ms to 5m"));
        }
        assert_eq!(timeout("5m"), Ok(WITHIN_MAX));
    }
}
