//! `memory rm`: deletes what stands under a key.

use super::{ask, names, put, quorum, unanswered};
use crate::cli::Context;
use crate::cli::memory::{NameArgs, QuorumArgs};
use crate::control::memory::Ask;
use crate::error::Failure;

pub async fn run(ctx: Context, name: NameArgs, copies: QuorumArgs) -> Result<(), Failure> {
    let key = names::key(&ctx, &name)?;
    let (want, within) = quorum(&copies)?;
    let delete = Ask::Put {
        key: key.clone(),
        text: None,
        want,
        within_ms: within.as_millis() as u64,
        expires_s: None,
    };
    // It looks first whether there is something, and then waits for the copies.
    let lines = ask(&ctx, delete, within * 2).await.map_err(unanswered)?;
    let done = lines.into_iter().next().unwrap_or_default();
    put::report(&ctx, "chorus.memory_rm/1", key.as_str(), "deleted", done)
}
