//! `up`: a node in one command, for containers and service managers. The first start makes
//! the home, every start runs the node, and tokens for others are kept fresh in files.

mod homes;
mod invitations;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use chorus_storage::Home;
use tokio::sync::watch;

use super::run::Interrupts;
use super::{init, join, run};
use crate::cli::{Context, InitArgs, JoinArgs, NetArgs, UpArgs};
use crate::error::{Failure, exit};
use crate::home::broken;
use crate::settings::Settings;
use crate::{notify, telemetry};

/// Between two looks for a token, and between two knocks at a door that nobody opens.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two lines in the log that say what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(10);

pub async fn run(mut ctx: Context, args: UpArgs) -> Result<(), Failure> {
    let invitations = args.invite.iter().map(|text| invitations::read(text));
    let invitations = invitations.collect::<Result<Vec<_>, _>>()?;
    add_overrides(&mut ctx, &args)?;
    telemetry::start(&Settings::load(&ctx)?);
    // Held as long as the process lives.
    let taken = args
        .homes
        .as_deref()
        .map(|root| homes::take(root, &ctx.dir, args.mesh.is_some()));
    let taken = taken.transpose()?;
    if let Some(taken) = &taken {
        // The home itself: the link is for others, who may put another in its place.
        ctx.dir = taken.home.clone();
    }
    if !Home::at(&ctx.dir).is_used().map_err(broken)? && !first_start(&ctx, &args).await? {
        return Ok(());
    }
    let listens = watch::Sender::new(0);
    let heard = listens.subscribe();
    let ended = tokio::select! {
        ended = run::run(ctx.clone(), args.above, listens) => ended,
        never = invitations::keep(&ctx, invitations, heard) => match never {},
    };
    // Who made the mesh has no token for another home, and would make a second mesh there.
    if let (Err(why), Some(taken), None) = (&ended, &taken, &args.mesh)
        && why.code == run::REVOKED
    {
        taken.set_aside()?;
    }
    ended
}

/// What is said of the net counts for each run: a container's name may change.
fn add_overrides(ctx: &mut Context, args: &UpArgs) -> Result<(), Failure> {
    if let Some(listen) = &args.net.listen {
        ctx.overrides.push(("net.listen".into(), listen.clone()));
    }
    let mut hosts = args.net.advertise.clone();
    if args.advertise_hostname {
        let name = rustix::system::uname();
        hosts.push(name.nodename().to_string_lossy().into_owned());
    }
    if !hosts.is_empty() {
        ctx.overrides
            .push(("net.advertise".into(), hosts.join(",")));
    }
    Ok(())
}

/// What the new home keeps of the flags, as `init` and `join` keep it: later starts need not be
/// told again. A configuration that was there first is its owner's, and stays as it is.
fn kept(ctx: &Context, net: &NetArgs) -> NetArgs {
    match Home::at(&ctx.dir).config().exists() {
        true => NetArgs::default(),
        false => net.clone(),
    }
}

/// Makes the home. False when the process was told to stop while it waited.
async fn first_start(ctx: &Context, args: &UpArgs) -> Result<bool, Failure> {
    let net = kept(ctx, &args.net);
    if let Some(mesh) = &args.mesh {
        let Some(name) = args.name.clone() else {
            return Err(Failure::usage("bad_flag", "--mesh needs --name as well"));
        };
        let init = InitArgs {
            mesh: mesh.clone(),
            name,
            sector: args.sector.clone(),
            cluster: args.cluster.clone(),
            role: args.role.clone(),
            net,
        };
        init::make(ctx, &init)?;
        tracing::info!(mesh, "the mesh is made");
        return Ok(true);
    }
    let Some(file) = &args.token else {
        let message = format!("there is no node in {} yet", ctx.dir.display());
        return Err(Failure::usage("no_node", message)
            .hint("say how it begins: --mesh NAME makes a mesh, --token FILE joins one"));
    };
    let mut interrupts = Interrupts::new()?;
    tokio::select! {
        joined = join_with(ctx, file, args.name.clone(), net) => joined.map(|()| true),
        signal = interrupts.next() => {
            tracing::info!(signal, "stopping before the node has joined");
            Ok(false)
        }
    }
}

/// Waits for the token and for its door, and joins.
async fn join_with(
    ctx: &Context,
    file: &Path,
    name: Option<String>,
    net: NetArgs,
) -> Result<(), Failure> {
    let mut said: Option<Instant> = None;
    loop {
        let path = file.to_owned();
        // A pipe's other end may come late or never, and a signal shall not wait for that.
        let text = tokio::task::spawn_blocking(move || fs::read_to_string(path)).await;
        let why = match text.expect("invariant: reading a file does not panic") {
            // Whoever writes it may have only begun.
            Ok(text) if text.trim().is_empty() => format!("{} is empty", file.display()),
            Ok(text) => {
                let join = JoinArgs {
                    token: text.trim().to_owned(),
                    name: name.clone(),
                    net: net.clone(),
                };
                let ctx = ctx.clone();
                // It waits for the door's answer, and a signal shall not wait for that.
                let knocked = tokio::task::spawn_blocking(move || join::join(&ctx, &join)).await;
                match knocked.expect("invariant: joining does not panic") {
                    Ok((_, own)) => {
                        tracing::info!(name = %own.entry.name, "joined");
                        return Ok(());
                    }
                    Err(why) if may_pass(&why) => why.to_string(),
                    Err(why) => return Err(why),
                }
            }
            Err(why) => format!("{}: {why}", file.display()),
        };
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            tracing::info!(why, "waiting to join");
            notify::waiting(&format!("waiting to join: {why}"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether the same token may do later: nobody opened, or its maker's disk was full.
fn may_pass(why: &Failure) -> bool {
    why.exit == exit::UNREACHABLE || why.code == join::CANNOT_STORE
}
