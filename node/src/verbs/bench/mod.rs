//! `bench`: what this build does on this machine, measured; tables on stdout, progress on stderr.

mod agents;
mod arrival;
mod mesh;
mod tokens;

use std::io::Write;

use crate::cli::Context;
use crate::cli::bench::BenchVerb;
use crate::error::Failure;

pub async fn run(ctx: Context, what: BenchVerb) -> Result<(), Failure> {
    match what {
        BenchVerb::Agent(args) => agents::agent(&args).await,
        BenchVerb::Agents(args) => agents::run(&ctx, args).await,
        BenchVerb::Arrival(args) => arrival::run(&ctx, &args),
        BenchVerb::Mesh(args) => mesh::run(&ctx, args).await,
        BenchVerb::Tokens(args) => tokens::run(ctx, args).await,
        BenchVerb::TokenNode => tokens::node(),
    }
}

/// What is going on, for whoever waits.
fn say(what: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "{what}");
}
