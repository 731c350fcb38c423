//! A checkpoint of what several homes hold: one that has it whole, or as many of its fragments
//! as give it back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chorus_protocol::ids::{Digest, MeshId};
use chorus_protocol::memory::checkpoint::{
    Copy, Fragment, Kind, Name, Refusal, Whole, copy, standing,
};
use chorus_protocol::trust::roster::Roster;
use chorus_storage::Home;
use chorus_storage::checkpoints::{Checkpoints, stem_of};
use serde_json::{Value, json};

use super::Which;
use super::found::{self, Found, none, open};
use crate::error::Failure;
use crate::home;

/// What was found of all checkpoints.
#[derive(Default)]
struct Gathered {
    whole: BTreeMap<Name, Whole>,
    /// By the root over them and their number.
    fragments: BTreeMap<(Name, Digest), BTreeMap<u32, Fragment>>,
    kinds: BTreeMap<Name, Kind>,
    certified: BTreeSet<Name>,
    /// Files that were refused, and the first reason.
    refused: usize,
    why: Option<String>,
    /// Fragments that another home had already given.
    twice: usize,
}

/// The one that is meant, and how it came to be.
pub fn one(
    home: &Home,
    from: &[PathBuf],
    mesh: &MeshId,
    roster: &Roster,
    which: Which,
) -> Result<(Found, Value), Failure> {
    let mut gathered = Gathered::default();
    gathered.take(&Checkpoints::of(home), mesh, roster)?;
    for dir in from {
        gathered.take(&files_in(dir)?, mesh, roster)?;
    }
    let name = gathered.choose(which).ok_or_else(|| none(which))?;
    let (whole, how) = gathered.whole(&name, mesh, roster)?;
    let found = Found {
        stem: stem_of(whole.part().header()),
        copy: Ok(Copy::Whole(whole)),
        certified: gathered.certified.contains(&name),
    };
    Ok((found, how))
}

/// A home's checkpoints, or those that lie in a folder as they are.
fn files_in(dir: &Path) -> Result<Checkpoints, Failure> {
    let home = Home::at(dir);
    let inside = Checkpoints::of(&home);
    match (inside.is_there(), dir.is_dir()) {
        (true, _) => Ok(inside),
        (false, true) => Ok(Checkpoints::at(dir)),
        (false, false) => {
            let message = format!("{} is no folder that can be read", dir.display());
            Err(Failure::usage("no_such_folder", message)
                .hint("give homes, or folders that hold their `checkpoints/*` files"))
        }
    }
}

impl Gathered {
    fn take(&mut self, files: &Checkpoints, mesh: &MeshId, roster: &Roster) -> Result<(), Failure> {
        for files in files.read_all().map_err(home::broken)? {
            let found = open(files, mesh, roster);
            let copy = match found.copy {
                Ok(copy) => copy,
                Err(why) => {
                    self.refused += 1;
                    self.why.get_or_insert(format!("{}: {why}", found.stem));
                    continue;
                }
            };
            let name = Name::of(copy.header());
            self.kinds.insert(name, copy.header().kind);
            if found.certified {
                self.certified.insert(name);
            }
            match copy {
                Copy::Whole(whole) => drop(self.whole.insert(name, whole)),
                Copy::Fragment(one) => {
                    let all = self.fragments.entry((name, one.seal.fragments));
                    let before = all.or_default().insert(one.number, one);
                    self.twice += usize::from(before.is_some());
                }
            }
        }
        Ok(())
    }

    /// The last durable one is not replaced in silence by an earlier one, of which more is here.
    fn choose(&self, which: Which) -> Option<Name> {
        let fits = |(name, kind): &(&Name, &Kind)| {
            let branch = (**kind == Kind::Branch) == which.branch;
            let meant = match which.epoch {
                Some(epoch) => name.epoch == epoch,
                None => which.branch || self.certified.contains(*name),
            };
            branch && meant
        };
        let mut newest = self.kinds.iter().rev();
        newest.find(fits).map(|(name, _)| *name)
    }

    fn whole(
        &self,
        name: &Name,
        mesh: &MeshId,
        roster: &Roster,
    ) -> Result<(Whole, Value), Failure> {
        let told = |of: &str, used: usize| json!({"of": of, "used": used, "twice": self.twice, "refused": self.refused});
        if let Some(whole) = self.whole.get(name) {
            return Ok((whole.clone(), told("a whole copy", 1)));
        }
        let sets = self.fragments.range((*name, Digest([0; 32]))..);
        let sets = sets.take_while(|((it, _), _)| it == name);
        let most = sets.map(|(_, set)| set).max_by_key(|set| set.len());
        let set = most.into_iter().flat_map(BTreeMap::values);
        let needed = set.clone().map(|it| it.seal.plan.needed).next();
        let rebuilt = copy::rebuild(set, mesh).and_then(|whole| {
            standing::check(whole.part(), roster, standing::From::Disk)?;
            Ok(whole)
        });
        match rebuilt {
            Ok(whole) => Ok((whole, told("fragments", needed.unwrap_or(0)))),
            Err(why) => Err(self.not_rebuilt(name, why)),
        }
    }

    fn not_rebuilt(&self, name: &Name, why: Refusal) -> Failure {
        let mut message = format!("epoch {} is not given back: {why}", name.epoch);
        if let (true, Some(first)) = (self.refused > 0, &self.why) {
            message += &format!("; {} files were refused, the first {first}", self.refused);
        }
        let durable = |it: &&Name| {
            let whole = self.kinds.get(it) == Some(&Kind::Whole);
            whole && self.certified.contains(it)
        };
        let last = self.whole.keys().rev().find(durable);
        let code = match why {
            Refusal::TooFew { .. } => "too_few_fragments",
            _ => "checkpoint_damaged",
        };
        Failure::failed(code, message).hint(found::fragments_hint(last.map(|it| it.epoch)))
    }
}
