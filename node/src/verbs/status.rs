//! `status`: how the node that runs in this home is. Containers take its exit code for the
//! node's health, so that of one that was shut out is a refusal.

use chorus_storage::Home;

use crate::cli::Context;
use crate::control::{self, Request};
use crate::error::Failure;
use crate::report;

pub async fn run(ctx: Context) -> Result<(), Failure> {
    let answer = control::ask(&Home::at(&ctx.dir), &Request::Status {}).await?;
    let status = answer
        .first()
        .ok_or_else(|| Failure::failed("empty_answer", "the node's answer was empty"))?;
    let words = report::status_words(status);
    if status["revoked"] != true {
        return ctx.answer(status, &words);
    }
    let failure = Failure::refused("revoked", "the mesh's root revoked this node")
        .hint("ask for a token, and join with new keys in a new home");
    ctx.answer_failed(status, &words, failure)
}
