//! What lies in a home's `checkpoints/`, and whether it is sound.

use chorus_protocol::ids::MeshId;
use chorus_protocol::memory::checkpoint::{Certificate, Copy, Kind, Part, State, standing};
use chorus_protocol::trust::roster::Roster;
use chorus_storage::Home;
use chorus_storage::checkpoints::{Checkpoints, Files, stem_of};

use super::Which;
use crate::error::Failure;
use crate::home;

/// What mends a damaged one.
pub const DAMAGED_HINT: &str = "nothing of it is used; when the node is started again it fetches \
    the last durable one from its parent. `chorus checkpoint show` lists what else is here";

/// One checkpoint on disk.
pub struct Found {
    /// What its files are called.
    pub stem: String,
    /// What of it is here, or what is wrong with that.
    pub copy: Result<Copy, String>,
    /// Whether there is a certificate, sound or not.
    pub certified: bool,
}

impl Found {
    /// The epoch: what was signed or, where that is not sound, what the file's name says.
    pub fn epoch(&self) -> u64 {
        match &self.copy {
            Ok(copy) => copy.header().epoch,
            Err(_) => {
                let number = self.stem.split('-').next();
                number.and_then(|it| it.parse().ok()).unwrap_or(0)
            }
        }
    }

    fn kind(&self) -> Option<Kind> {
        Some(self.copy.as_ref().ok()?.header().kind)
    }

    /// How far it came; none where it is damaged.
    pub fn state(&self) -> Option<State> {
        Some(State::of(self.kind()?, self.certified))
    }
}

/// All of them, the oldest first; each byte is checked.
pub fn all(home: &Home, mesh: &MeshId, roster: &Roster) -> Result<Vec<Found>, Failure> {
    let files = Checkpoints::of(home).read_all().map_err(home::broken)?;
    let found = files.into_iter().map(|files| open(files, mesh, roster));
    Ok(found.collect())
}

/// One, each byte checked.
pub fn open(files: Files, mesh: &MeshId, roster: &Roster) -> Found {
    let copy = Copy::open(&files.copy, mesh).map_err(|why| why.to_string());
    let copy = copy.and_then(|copy| {
        let certificate = files.certificate.as_deref();
        sound(&copy, certificate, &files.stem, mesh, roster)?;
        Ok(copy)
    });
    Found {
        stem: files.stem,
        copy,
        certified: files.certificate.is_some(),
    }
}

/// Whether who signed may, and certificate and name are those of the contents.
fn sound(
    copy: &Copy,
    certificate: Option<&[u8]>,
    stem: &str,
    mesh: &MeshId,
    roster: &Roster,
) -> Result<(), String> {
    standing::check_copy(copy, roster, standing::From::Disk).map_err(|why| why.to_string())?;
    let header = copy.header();
    if header.kind == Kind::Part || stem_of(header) != stem {
        return Err("the file has another's name".into());
    }
    let Some(certificate) = certificate else {
        return Ok(());
    };
    let certificate = Certificate::open(certificate, mesh);
    match certificate.is_ok_and(|it| it.is_of(header)) {
        true => Ok(()),
        false => Err("its certificate is damaged, or another's".into()),
    }
}

/// The one that is meant. The last durable one is refused if it is damaged, and not replaced
/// by an earlier one in silence.
pub fn choose(all: &[Found], which: Which) -> Result<(&Found, &Part), Failure> {
    let fits = |it: &&Found| match (which.epoch, it.kind()) {
        (Some(epoch), kind) => {
            let branch = kind.is_none_or(|kind| (kind == Kind::Branch) == which.branch);
            it.epoch() == epoch && branch
        }
        (None, Some(kind)) if which.branch => kind == Kind::Branch,
        (None, Some(kind)) => kind == Kind::Whole && it.certified,
        (None, None) => it.certified || which.branch,
    };
    let mut newest = all.iter().rev();
    let Some(found) = newest.find(fits) else {
        return Err(none(which));
    };
    match &found.copy {
        Ok(Copy::Whole(whole)) => Ok((found, whole.part())),
        Ok(Copy::Fragment(fragment)) => {
            let plan = fragment.seal.plan;
            let message = format!(
                "of epoch {} there is fragment {} here, and {} of {} give it back",
                found.epoch(),
                fragment.number,
                plan.needed,
                plan.of
            );
            let is_whole = |it: &&Found| matches!(it.copy, Ok(Copy::Whole(_)));
            let durable = |it: &&Found| is_whole(it) && it.state() == Some(State::Durable);
            let last = all.iter().rev().find(durable).map(Found::epoch);
            Err(Failure::failed("only_a_fragment", message).hint(fragments_hint(last)))
        }
        Err(why) => {
            let message = format!(
                "the checkpoint of epoch {} is damaged: {why}",
                found.epoch()
            );
            Err(Failure::failed("checkpoint_damaged", message).hint(DAMAGED_HINT))
        }
    }
}

/// What helps where one is not whole here; `whole` is the last durable epoch that is.
pub fn fragments_hint(whole: Option<u64>) -> String {
    let more = "name the homes that are left, or folders with their `checkpoints/*`: \
        `chorus checkpoint reconstruct --from HOME...`";
    match whole {
        Some(epoch) => format!("{more}; or take --epoch {epoch}, the last durable one whole here"),
        None => more.into(),
    }
}

/// There is no such one.
pub fn none(which: Which) -> Failure {
    let hint = "`chorus checkpoint show` lists what is here; an epoch becomes durable once all who \
        lived at its cut-off have it on disk, memory.checkpoint_s after the start at the soonest";
    match which {
        Which {
            epoch: Some(epoch), ..
        } => Failure::failed(
            "no_such_epoch",
            format!("there is no checkpoint of epoch {epoch} here"),
        ),
        Which { branch: true, .. } => Failure::failed("no_branch", "there is no branch here"),
        _ => Failure::failed("no_durable_epoch", "there is no durable epoch here"),
    }
    .hint(hint)
}
