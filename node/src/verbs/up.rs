//! `up`: a node in one command, for containers and service managers. The first start makes
//! the home, every start runs the node, and tokens for others are kept fresh in files.

use std::convert::Infallible;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chorus_storage::Home;
use chorus_storage::home::{make_dir, write_atomic};

use super::run::Interrupts;
use super::{bad_flag, init, invite, join, run};
use crate::cli::{Context, InitArgs, InviteArgs, JoinArgs, NetArgs, UpArgs};
use crate::error::{Failure, exit};
use crate::settings::Settings;
use crate::{notify, telemetry};

/// Homes below one folder, at most.
const HOMES_MAX: u32 = 10_000;
/// Between two looks for a token, and between two knocks at a door that nobody opens.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two lines in the log that say what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Between two looks whether a token's file is there and fresh.
const INVITE_EVERY: Duration = Duration::from_secs(1);

pub async fn run(mut ctx: Context, args: UpArgs) -> Result<(), Failure> {
    let invitations = args.invite.iter().map(|text| invitation(text));
    let invitations = invitations.collect::<Result<Vec<_>, _>>()?;
    add_overrides(&mut ctx, &args)?;
    telemetry::start(&Settings::load(&ctx)?);
    // Held as long as the process lives.
    let _claim = match &args.homes {
        Some(root) => Some(take_home(root, &ctx.dir)?),
        None => None,
    };
    if !Home::at(&ctx.dir).is_used() && !first_start(&ctx, &args).await? {
        return Ok(());
    }
    tokio::select! {
        ended = run::run(ctx.clone(), None) => ended,
        never = keep_invitations(&ctx, invitations) => match never {},
    }
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

/// Makes `dir` a link to the first home below `root` that no other process has.
fn take_home(root: &Path, dir: &Path) -> Result<File, Failure> {
    let failed = |path: &Path, why: io::Error| {
        let message = format!("{}: {why}", path.display());
        Failure::failed("no_home", message)
            .hint("--homes needs a folder that this user may write, and --dir a place for a link")
    };
    make_dir(root).map_err(crate::home::broken)?;
    for n in 1..=HOMES_MAX {
        let path = root.join(format!("{n}.lock"));
        let file = File::create(&path).map_err(|why| failed(&path, why))?;
        match file.try_lock() {
            Ok(()) => {
                let home = root.join(n.to_string());
                make_dir(&home).map_err(crate::home::broken)?;
                link(&home, dir).map_err(|why| failed(dir, why))?;
                tracing::info!(home = %home.display(), "this process's home");
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(why)) => return Err(failed(&path, why)),
        }
    }
    let message = format!("all {HOMES_MAX} homes below {} are in use", root.display());
    Err(Failure::refused("no_home", message))
}

fn link(home: &Path, dir: &Path) -> io::Result<()> {
    match fs::symlink_metadata(dir) {
        Ok(there) if there.is_symlink() => fs::remove_file(dir)?,
        Ok(_) => return Err(io::Error::other("it is there already, and no link")),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => return Err(why),
    }
    if let Some(above) = dir.parent() {
        fs::create_dir_all(above)?;
    }
    std::os::unix::fs::symlink(std::path::absolute(home)?, dir)
}

/// Makes the home. False when the process was told to stop while it waited.
async fn first_start(ctx: &Context, args: &UpArgs) -> Result<bool, Failure> {
    let net = NetArgs::default();
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
        let why = match fs::read_to_string(file) {
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
    why.exit == exit::UNREACHABLE || why.code == "cannot_store"
}

/// A token that is kept in a file.
#[derive(Debug)]
struct Invitation {
    file: PathBuf,
    args: InviteArgs,
    /// When the token in the file was made here.
    made: Option<Instant>,
    ttl: Duration,
    /// What kept it from being made, so that it is said once.
    trouble: String,
}

/// Reads `file=F,role=R,sector=S,cluster=C[,name=N][,uses=N][,ttl=T][,cap=V]…`.
fn invitation(text: &str) -> Result<Invitation, Failure> {
    let allowed = "allowed is file=F,role=R,sector=S,cluster=C and, if wanted, name=N, uses=N, \
                   ttl=T, and cap=V once or more";
    let refuse = || bad_flag("--invite", text, allowed);
    let mut file = None;
    let mut args = InviteArgs {
        name: None,
        role: "agent".into(),
        sector: String::new(),
        cluster: String::new(),
        cap: Vec::new(),
        uses: 1,
        ttl: "24h".into(),
    };
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').ok_or_else(refuse)?;
        let value = value.to_owned();
        match key {
            "file" => file = Some(PathBuf::from(value)),
            "role" => args.role = value,
            "sector" => args.sector = value,
            "cluster" => args.cluster = value,
            "name" => args.name = Some(value),
            "uses" => args.uses = value.parse().map_err(|_| refuse())?,
            "ttl" => args.ttl = value,
            "cap" => args.cap.push(value),
            _ => return Err(refuse()),
        }
    }
    if args.sector.is_empty() || args.cluster.is_empty() {
        return Err(refuse());
    }
    Ok(Invitation {
        file: file.ok_or_else(refuse)?,
        ttl: invite::ttl(&args.ttl)?,
        args,
        made: None,
        trouble: String::new(),
    })
}

/// Keeps each file's token younger than half its time. What was there before this start is
/// replaced: the door may have other ports or names now.
async fn keep_invitations(ctx: &Context, mut wanted: Vec<Invitation>) -> Infallible {
    loop {
        let running = run::addresses(&Home::at(&ctx.dir))
            .is_some_and(|it| it["pid"].as_u64() == Some(std::process::id().into()));
        for it in wanted.iter_mut().filter(|_| running) {
            it.renew(ctx);
        }
        tokio::time::sleep(INVITE_EVERY).await;
    }
}

impl Invitation {
    fn renew(&mut self, ctx: &Context) {
        let is_fresh = self.made.is_some_and(|at| at.elapsed() < self.ttl / 2);
        if is_fresh && self.file.exists() {
            return;
        }
        let written = invite::issue(ctx, &self.args).and_then(|(_, text)| {
            let line = format!("{text}\n");
            write_atomic(&self.file, line.as_bytes(), 0o600).map_err(crate::home::broken)
        });
        match written {
            Ok(()) => {
                self.made = Some(Instant::now());
                self.trouble.clear();
                tracing::info!(file = %self.file.display(), "a token is kept here");
            }
            Err(why) => {
                let trouble = why.to_string();
                if trouble != self.trouble {
                    tracing::warn!(file = %self.file.display(), why = trouble, "no token yet");
                    self.trouble = trouble;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_pairs_of_known_keys() {
        let it = invitation("file=/i/a,role=lead,sector=s1,cluster=c1,uses=7,cap=x,cap=y").unwrap();
        assert_eq!(it.file, Path::new("/i/a"));
        assert_eq!((it.args.role.as_str(), it.args.uses), ("lead", 7));
        assert_eq!(it.args.cap, ["x", "y"]);
        for bad in [
            "",
            "file=/i/a",
            "file=/i/a,sector=s1",
            "sector=s1,cluster=c1",
            "file=/i/a,sector=s1,cluster=c1,uses=many",
            "file=/i/a,sector=s1,cluster=c1,ttl=soon",
            "file=/i/a,sector=s1,cluster=c1,colour=red",
        ] {
            assert_eq!(invitation(bad).unwrap_err().exit, exit::USAGE, "{bad}");
        }
    }

    #[test]
    fn each_process_takes_a_home_that_no_other_has_and_the_first_that_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("homes");
        let link = |name: &str| dir.path().join(name);
        let first = take_home(&root, &link("a")).unwrap();
        let _second = take_home(&root, &link("b")).unwrap();
        assert_eq!(fs::read_link(link("b")).unwrap(), root.join("2"));
        drop(first);
        let _again = take_home(&root, &link("c")).unwrap();
        assert_eq!(fs::read_link(link("c")).unwrap(), root.join("1"));
        // A folder is never replaced by a link.
        fs::create_dir(link("d")).unwrap();
        assert!(take_home(&root, &link("d")).is_err());
    }
}
