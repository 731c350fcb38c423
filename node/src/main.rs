//! The binary `chorus`: reads the command line and gives it to the verb.

mod cli;
mod control;
mod error;
mod home;
mod live;
mod metrics;
mod report;
mod settings;
mod telemetry;
mod verbs;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use cli::{Cli, Context, Verb};
use error::Failure;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => return unparsed(&why),
    };
    let json = cli.json;
    let done = match Context::of(&cli) {
        Ok(ctx) => dispatch(ctx, cli.verb).await,
        Err(failure) => Err(failure),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

async fn dispatch(ctx: Context, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Init(args) => verbs::init::run(&ctx, &args),
        Verb::Invite(args) => verbs::invite::run(&ctx, &args),
        Verb::Join(args) => verbs::join::run(&ctx, &args),
        Verb::Config { what } => verbs::config::run(&ctx, what),
        Verb::Run {} => verbs::run::run(ctx).await,
        Verb::Status => verbs::status::run(ctx).await,
        Verb::Peers => verbs::peers::run(ctx).await,
        Verb::Revoke { node, reason } => verbs::revoke::run(ctx, node, reason).await,
        Verb::Doctor => verbs::doctor::run(ctx).await,
        Verb::Demo { keep, nodes } => {
            let dir = ctx.dir_given.then(|| ctx.dir.clone());
            verbs::demo::run(ctx, keep, dir, nodes).await
        }
    }
}

/// A command line that clap refuses, or a question for help, which is none of our failures.
fn unparsed(why: &clap::Error) -> ExitCode {
    let asked = matches!(
        why.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if asked || !std::env::args_os().any(|word| word == "--json") {
        // Help goes to stdout, a usage error to stderr, as clap has it.
        let _ = why.print();
        return ExitCode::from(if asked { 0 } else { error::exit::USAGE });
    }
    let text = why.to_string();
    let first = text.lines().next().unwrap_or("the command line is wrong");
    Failure::usage("usage", first.trim_start_matches("error: "))
        .hint("see `chorus --help`")
        .report(true)
}
