//! `status`: how the node that runs in this home is.

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
    ctx.answer(status, &report::status_words(status));
    Ok(())
}
