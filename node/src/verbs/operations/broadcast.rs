//! `broadcast`: a message to all agents, and who acknowledges it.

use chorus_protocol::op::Verb;

use super::{Ask, counts, end, lane, put, span_ms, unready, whom};
use crate::cli::Context;
use crate::cli::operations::BroadcastArgs;
use crate::error::Failure;

pub async fn broadcast(ctx: Context, args: BroadcastArgs) -> Result<(), Failure> {
    let mut ask = Ask::new(args.message);
    ask.window_ms = span_ms("--window", &args.window)?;
    ask.verb = Verb::Sync;
    ask.priority = lane(args.priority)?;
    ask.patient = true;
    ask.only_sent = !args.ack;
    whom(&mut ask, &args.whom)?;
    let mut report = put(&ctx, "chorus.broadcast/1", ask).await?;
    if !args.ack {
        let words = format!(
            "sent to {} agents; --ack waits until they have it",
            report["sent"]
        );
        return ctx.answer(&report, &words);
    }
    // A contradiction is an answer to the message too.
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    let acknowledged = number("ready") + number("conflict");
    report["acknowledged"] = acknowledged.into();
    let words = format!(
        "{acknowledged} of {} agents acknowledge it{}\n{}",
        report["expected"],
        unready(&report),
        counts(&report)
    );
    end(&ctx, &report, &words)
}
