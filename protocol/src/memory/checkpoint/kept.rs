//! Kept: which checkpoints are on disk, which of them are durable, and which may be given up.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::Digest;

use super::{Copy, Header, Kind};

/// Which checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its epoch.
    pub epoch: u64,
    /// Its root: a side that was cut off may have used the same epoch.
    pub root: Digest,
}

/// Which file of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The checkpoint itself, or a fragment of it.
    Copy,
    /// Its certificate.
    Certificate,
}

/// How far one has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not all of its holders have acknowledged it, as far as is known here.
    Partial,
    /// All of them have, and the certificate is on this disk.
    Durable,
    /// It is of a side that was cut off from the root.
    Branch,
}

impl State {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Partial => "partial",
            State::Durable => "durable",
            State::Branch => "branch",
        }
    }

    /// The state of one of this kind, with a certificate or without.
    pub const fn of(kind: Kind, certified: bool) -> Self {
        match (kind, certified) {
            (Kind::Branch, _) => State::Branch,
            (_, true) => State::Durable,
            (_, false) => State::Partial,
        }
    }
}

/// One checkpoint on disk.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub header: Header,
    pub members: usize,
    /// Whether it is all of it, and not a fragment.
    pub whole: bool,
    /// Whether the copy, and then the certificate, are on disk.
    on_disk: [bool; 2],
    /// The same bytes at hand, from the last durable one on: newcomers are given them.
    files: [Option<Arc<[u8]>>; 2],
}

impl Kept {
    pub fn state(&self) -> State {
        State::of(self.header.kind, self.on_disk[1])
    }
}

impl Name {
    /// The name of the checkpoint with this header.
    pub fn of(header: &Header) -> Self {
        Self {
            epoch: header.epoch,
            root: header.root,
        }
    }
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    kept: BTreeMap<Name, Kept>,
}

impl Shelf {
    /// Takes one that is to be written down.
    pub fn add(&mut self, copy: &Copy) -> Name {
        let name = Name::of(copy.header());
        self.kept.entry(name).or_insert_with(|| Kept {
            header: *copy.header(),
            members: copy.members(),
            whole: copy.whole().is_some(),
            on_disk: [false; 2],
            files: [Some(copy.bytes().clone()), None],
        });
        name
    }

    /// Takes the certificate of one, which is to be written down.
    pub fn certify(&mut self, name: &Name, certificate: Arc<[u8]>) {
        if let Some(kept) = self.kept.get_mut(name) {
            kept.files[What::Certificate as usize] = Some(certificate);
        }
    }

    /// A file is on disk, or could not be written.
    pub fn written(&mut self, name: &Name, what: What, done: bool) {
        match (self.kept.get_mut(name), done) {
            (Some(kept), true) => kept.on_disk[what as usize] = true,
            (Some(_), false) if what == What::Copy => drop(self.kept.remove(name)),
            _ => {}
        }
        let durable = self.durable();
        let older = self.kept.iter_mut();
        let older = older.filter(|(name, _)| Some(**name) < durable);
        older.for_each(|(_, kept)| kept.files = [None, None]);
    }

    pub fn get(&self, name: &Name) -> Option<&Kept> {
        self.kept.get(name)
    }

    /// Whether the copy is on disk.
    pub fn holds(&self, name: &Name) -> bool {
        self.kept.get(name).is_some_and(|kept| kept.on_disk[0])
    }

    /// Whether both files are on disk.
    pub fn is_certified(&self, name: &Name) -> bool {
        self.kept
            .get(name)
            .is_some_and(|kept| kept.on_disk == [true; 2])
    }

    /// The last one of the mesh's root that is durable.
    pub fn durable(&self) -> Option<Name> {
        self.last_durable(|_| true)
    }

    /// The last durable one of the mesh's root that is here as a whole.
    pub fn durable_whole(&self) -> Option<Name> {
        self.last_durable(|kept| kept.whole)
    }

    fn last_durable(&self, fits: impl Fn(&Kept) -> bool) -> Option<Name> {
        let durable = |kept: &Kept| kept.header.kind == Kind::Whole && kept.on_disk == [true; 2];
        let mut last = self.kept.iter().rev();
        let last = last.find(|(_, kept)| durable(kept) && fits(kept));
        last.map(|(name, _)| *name)
    }

    /// The newest of all.
    pub fn last(&self) -> Option<&Kept> {
        self.kept.values().next_back()
    }

    /// The bytes of one and of its certificate, where both are on disk and at hand.
    pub fn certified(&self, name: &Name) -> Option<[Arc<[u8]>; 2]> {
        let [copy, certificate] = self.kept.get(name)?.files.clone();
        self.is_certified(name).then_some([copy?, certificate?])
    }

    /// Gives up the oldest beyond `keep`: never the last durable one, nor the last of those that
    /// are whole here, nor `not` this.
    pub fn trim(&mut self, keep: usize, not: Option<Name>) -> Vec<Name> {
        let stay = [self.durable(), self.durable_whole(), not];
        let mut gone = Vec::new();
        while self.kept.len() > keep {
            let mut oldest = self.kept.keys();
            let Some(name) = oldest.find(|name| !stay.contains(&Some(**name))) else {
                break;
            };
            let name = *name;
            self.kept.remove(&name);
            gone.push(name);
        }
        gone
    }

    /// The root of the newest one of the mesh's root or, at a top that is cut off, of all.
    pub fn parent(&self, kind: Kind) -> Digest {
        let fits = |kept: &&Kept| kind == Kind::Branch || kept.header.kind == Kind::Whole;
        let last = self.kept.values().rev().find(fits);
        last.map_or(Digest([0; 32]), |kept| kept.header.root)
    }
}
