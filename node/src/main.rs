//! The binary `chorus`: reads the command line and gives it to the verb.

mod chance;
mod cli;
mod connections;
mod control;
mod error;
mod home;
mod limits;
mod live;
mod metrics;
mod notify;
mod report;
mod settings;
mod telemetry;
mod verbs;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use tokio::sync::watch;

use cli::{Cli, Context, Verb};
use error::Failure;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("invariant: the system gives what an event loop needs");
    let code = runtime.block_on(chorus());
    // Somebody may still wait for a door that does not open: nobody waits for that.
    runtime.shutdown_background();
    code
}

async fn chorus() -> ExitCode {
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
    settings::refuse_unknown_flags(&ctx.overrides)?;
    // `doctor` says what is wrong there beside all else that is.
    if !matches!(verb, Verb::Doctor) {
        settings::refuse_unknown_variables()?;
    }
    match verb {
        Verb::Init(args) => verbs::init::run(&ctx, &args),
        Verb::Invite(args) => verbs::invite::run(&ctx, &args).await,
        Verb::Join(args) => verbs::join::run(&ctx, &args),
        Verb::Config { what } => verbs::config::run(&ctx, what),
        Verb::Run { above, parent } => {
            parent.map_or(Ok(()), verbs::run::end_with)?;
            limits::raise_open_files();
            verbs::run::run(ctx, above, watch::Sender::new(0)).await
        }
        Verb::Up(args) => {
            limits::raise_open_files();
            verbs::up::run(ctx, args).await
        }
        Verb::Status => verbs::status::run(ctx).await,
        Verb::Peers { all } => verbs::peers::run(ctx, all).await,
        Verb::Revoke {
            node,
            reason,
            force,
        } => verbs::revoke::run(ctx, node, reason, force).await,
        Verb::Memory { what } => verbs::memory::run(ctx, what).await,
        Verb::Checkpoint { what } => verbs::checkpoint::run(ctx, what).await,
        Verb::Gather(args) => verbs::operations::gather(ctx, args).await,
        Verb::Ask(args) => verbs::operations::ask(ctx, args).await,
        Verb::Broadcast(args) => verbs::operations::broadcast(ctx, args).await,
        Verb::Cascade(args) => verbs::operations::cascade(ctx, args).await,
        Verb::Agents(args) => verbs::inbox::run(ctx, args).await,
        Verb::Delegate(args) => verbs::operations::delegate(ctx, args).await,
        Verb::Kpi => verbs::operations::kpi(ctx).await,
        Verb::Conflicts { what } => verbs::conflicts::run(ctx, what).await,
        Verb::Timeline(args) => verbs::timeline::run(ctx, args).await,
        Verb::Bench(what) => verbs::bench::run(ctx, what).await,
        Verb::Doctor => verbs::doctor::run(ctx).await,
        Verb::Demo(args) => {
            let dir = ctx.dir_given.then(|| ctx.dir.clone());
            verbs::demo::run(ctx, dir, args).await
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
        let printed = why.print();
        return match printed {
            Err(why) if asked && why.kind() != std::io::ErrorKind::BrokenPipe => {
                Failure::failed("output_lost", cli::lost(&why)).report(false)
            }
            _ => ExitCode::from(if asked { 0 } else { error::exit::USAGE }),
        };
    }
    let (message, hint) = told(&why.to_string());
    Failure::usage("usage", message).hint(hint).report(true)
}

/// What clap says in several lines, as one: what is wrong with all that is allowed, and the tip.
fn told(text: &str) -> (String, String) {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.take_while(|line| !line.starts_with("Usage:"));
    let lines = lines.filter(|line| !line.starts_with("For more information"));
    let (tips, what): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("tip:"));
    let message = what.join(" ");
    let message = message.trim_start_matches("error: ");
    let tips: Vec<&str> = tips.iter().map(|tip| tip[4..].trim()).collect();
    let hint = [tips.as_slice(), &["see `chorus --help`"]]
        .concat()
        .join("; ");
    match message {
        "" => ("the command line is wrong".into(), hint),
        message => (message.into(), hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(words: &[&str]) -> (String, String) {
        let words = [&["chorus"], words].concat();
        told(
            &Cli::try_parse_from(words)
                .expect_err("it is wrong")
                .to_string(),
        )
    }

    #[test]
    fn a_usage_error_in_one_line_holds_all_that_is_allowed() {
        let (message, _) = usage(&["demo", "--nodes", "99"]);
        assert!(
            message.contains("99") && message.contains("2..=60"),
            "{message}"
        );
        let (message, _) = usage(&["init", "--mesh", "m"]);
        assert!(message.contains("--name"), "{message}");
        let (message, hint) = usage(&["config", "shw"]);
        assert!(message.contains("shw"), "{message}");
        assert!(hint.contains("show") && hint.contains("--help"), "{hint}");
        let (message, _) = usage(&["statu"]);
        assert!(
            message.contains("statu") && !message.contains("Usage"),
            "{message}"
        );
    }
}
