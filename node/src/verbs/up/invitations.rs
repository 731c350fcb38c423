//! Invitations: tokens that a running node keeps fresh in files, for whoever mounts them.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chorus_storage::home::write_atomic;
use tokio::sync::watch;

use crate::cli::{Context, InviteArgs};
use crate::error::Failure;
use crate::verbs::{bad_flag, invite};

/// How old a token grows in its file: as long may whoever comes after its last use wait.
const RENEW_AFTER: Duration = Duration::from_secs(60);
/// Between two looks whether a file is there and fresh.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two tries where one failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A token that is kept in a file.
#[derive(Debug, Clone)]
pub struct Invitation {
    file: PathBuf,
    args: InviteArgs,
    ttl: Duration,
}

/// Reads `file=F,role=R,sector=S,cluster=C[,name=N][,uses=N][,ttl=T][,cap=V]…`.
pub fn read(text: &str) -> Result<Invitation, Failure> {
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
        uses: "1".into(),
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
            "uses" => args.uses = value,
            "ttl" => args.ttl = value,
            "cap" => args.cap.push(value),
            _ => return Err(refuse()),
        }
    }
    if args.sector.is_empty() || args.cluster.is_empty() {
        return Err(refuse());
    }
    // Said at the start, not each time that one is to be made.
    invite::role(&args.role)?;
    invite::caps(&args.cap)?;
    invite::uses(&args.uses)?;
    Ok(Invitation {
        file: file.ok_or_else(refuse)?,
        ttl: invite::ttl(&args.ttl)?,
        args,
    })
}

/// Keeps all of them, from when the node listens. Each time that it begins to listen they are
/// made anew: the door may have other ports, names, or another journal.
pub async fn keep(
    ctx: &Context,
    invitations: Vec<Invitation>,
    mut listens: watch::Receiver<u64>,
) -> Infallible {
    let mut kept: Vec<Kept> = invitations.into_iter().map(Kept::new).collect();
    let all_of_them = listens.wait_for(|starts| *starts > 0).await.is_ok();
    while all_of_them && !kept.is_empty() {
        for it in &mut kept {
            it.renew(ctx).await;
        }
        // Nobody sends any more only when the process ends.
        if let Ok(Ok(())) = tokio::time::timeout(LOOK_EVERY, listens.changed()).await {
            kept.iter_mut().for_each(|it| it.due = None);
        }
    }
    std::future::pending().await
}

#[derive(Debug)]
struct Kept {
    invitation: Invitation,
    /// When it is to be made; at once if `None`.
    due: Option<Instant>,
    /// What kept it from being made, so that it is said once.
    trouble: String,
}

impl Kept {
    fn new(invitation: Invitation) -> Self {
        Self {
            invitation,
            due: None,
            trouble: String::new(),
        }
    }

    async fn renew(&mut self, ctx: &Context) {
        let waits = self.due.is_some_and(|due| Instant::now() < due);
        let failed = !self.trouble.is_empty();
        if waits && (failed || self.invitation.file.exists()) {
            return;
        }
        let (ctx, it) = (ctx.clone(), self.invitation.clone());
        // It reads the journal and syncs a file, and gossip shall not wait for that.
        let written = tokio::task::spawn_blocking(move || {
            let (_, text) = invite::issue(&ctx, &it.args)?;
            write_atomic(&it.file, format!("{text}\n").as_bytes(), 0o600)
                .map_err(crate::home::broken)
        });
        let file = self.invitation.file.display();
        match written.await.expect("invariant: inviting does not panic") {
            Ok(()) => {
                let renewed = self.due.is_some() && !failed;
                if !renewed {
                    tracing::info!(%file, "a token is kept here");
                }
                self.trouble.clear();
                self.due = Some(Instant::now() + RENEW_AFTER.min(self.invitation.ttl / 2));
            }
            Err(why) => {
                let trouble = why.to_string();
                if trouble != self.trouble {
                    tracing::warn!(%file, why = trouble, "no token yet");
                }
                self.trouble = trouble;
                self.due = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::exit;

    #[test]
    fn an_invitation_is_pairs_of_known_keys() {
        let it = read("file=/i/a,role=lead,sector=s1,cluster=c1,uses=7,cap=enrol").unwrap();
        assert_eq!(it.file, Path::new("/i/a"));
        assert_eq!(
            (it.args.role.as_str(), it.args.uses.as_str()),
            ("lead", "7")
        );
        assert_eq!(it.args.cap, ["enrol"]);
        for bad in [
            "",
            "file=/i/a",
            "file=/i/a,sector=s1",
            "sector=s1,cluster=c1",
            "file=/i/a,sector=s1,cluster=c1,uses=many",
            "file=/i/a,sector=s1,cluster=c1,uses=10001",
            "file=/i/a,sector=s1,cluster=c1,role=orchestrator",
            "file=/i/a,sector=s1,cluster=c1,ttl=soon",
            "file=/i/a,sector=s1,cluster=c1,colour=red",
            "file=/i/a,sector=s1,cluster=c1,cap=bogus",
        ] {
            assert_eq!(read(bad).unwrap_err().exit, exit::USAGE, "{bad}");
        }
    }
}
