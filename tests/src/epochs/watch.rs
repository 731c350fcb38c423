//! What is on the disks; and what must never happen: a certificate of what not all holders
//! have, an epoch made twice.

use chorus_protocol::ids::Role;
use chorus_protocol::memory::checkpoint::{
    Certificate, Copy, Fragment, Kind, Name, Part, What, Whole, copy, standing,
};
use chorus_protocol::units::Micros;

use super::Epochs;

impl Epochs {
    /// The durable ones on a machine's disk, the newest first, read as a verb reads them.
    fn durables(&self, at: usize) -> impl Iterator<Item = Copy> + '_ {
        let disk = &self.machines[at].disk;
        let certified = disk.iter().rev().filter(|((_, what), _)| *what == 1);
        certified.filter_map(|((name, _), certificate)| {
            let copy = Copy::open(disk.get(&(*name, 0))?, &self.fabric.mesh).ok()?;
            let roster = self.fabric.everybody.roster();
            standing::check_copy(&copy, roster, standing::From::Disk).ok()?;
            let certificate = Certificate::open(certificate, &self.fabric.mesh).ok()?;
            let whole = copy.header().kind == Kind::Whole;
            (whole && certificate.is_of(copy.header())).then_some(copy)
        })
    }

    /// The last durable one that is whole on a machine's disk.
    pub fn durable(&self, at: usize) -> Option<Part> {
        let mut durables = self.durables(at);
        durables.find_map(|copy| copy.whole().map(Whole::part).cloned())
    }

    /// The last durable one on a machine's disk, be it whole or a fragment.
    pub fn held(&self, at: usize) -> Option<Copy> {
        self.durables(at).next()
    }

    /// The names of both.
    pub(super) fn last_durable(&self, at: usize) -> [Option<Name>; 2] {
        let whole = self.durable(at);
        let held = self.held(at);
        [
            whole.map(|part| Name::of(part.header())),
            held.map(|copy| Name::of(copy.header())),
        ]
    }

    /// The fragment of `name` on a machine's disk.
    pub fn fragment(&self, at: usize, name: &Name) -> Option<Fragment> {
        let bytes = self.machines[at].disk.get(&(*name, 0))?;
        Fragment::open(bytes, &self.fabric.mesh).ok()
    }

    /// Whether the last durable one is one and the same everywhere, of everybody: whole at the
    /// parents, and a fragment of its own at each agent; and all of these give the whole back.
    pub fn agree_in_pieces(&self) -> bool {
        let Some(first) = self.durable(0) else {
            return false;
        };
        let name = Name::of(first.header());
        let n = self.machines.len();
        let is_whole = |part: Option<Part>| part.is_some_and(|it| it.bytes() == first.bytes());
        let fragments: Vec<Fragment> = (0..n).filter_map(|at| self.fragment(at, &name)).collect();
        let parents = (0..n).filter(|at| !self.is_agent(*at));
        first.holders().count() == n
            && (0..n).all(|at| {
                self.held(at)
                    .is_some_and(|it| it.header() == first.header())
            })
            && parents.clone().all(|at| is_whole(self.durable(at)))
            && fragments.len() + parents.count() == n
            && copy::rebuild(&fragments, &self.fabric.mesh)
                .is_ok_and(|it| it.part().bytes() == first.bytes())
    }

    /// Whether a machine holds fragments where there are some.
    pub fn is_agent(&self, at: usize) -> bool {
        self.fabric.members[at].role == Role::Agent
    }

    /// Whether all of these hold one and the same durable one, of `members` who all hold it.
    pub fn agree(&self, who: impl IntoIterator<Item = usize>, members: usize) -> bool {
        let mut all = who.into_iter().map(|at| self.durable(at));
        let Some(Some(first)) = all.next() else {
            return false;
        };
        let holders = first.members().iter().filter(|row| row.holds).count();
        holders == members
            && first.members().len() == members
            && all.all(|other| other.is_some_and(|other| other.bytes() == first.bytes()))
    }

    /// A certificate is made of what all holders have.
    pub(super) fn watch(&mut self, at: usize, name: Name, what: What) {
        if what != What::Certificate {
            return;
        }
        let copy = self.machines[at].disk.get(&(name, 0)).cloned();
        let copy = copy.and_then(|copy| Copy::open(&copy, &self.fabric.mesh).ok());
        let Some(part) = copy.as_ref().and_then(Copy::whole).map(Whole::part) else {
            // The parent's certificate may overtake the own disk; or it is a fragment.
            return;
        };
        let node = |at: usize| self.fabric.members[at].node;
        for holder in (0..self.machines.len()).filter(|at| part.member(&node(*at)).is_some()) {
            let holds = part.member(&node(holder)).is_some_and(|row| row.holds);
            if holds && !self.written.contains(&(holder, name)) {
                let said = format!("{name:?} is certified, and {holder} never had it");
                self.violations.push(said);
            }
        }
    }

    /// What is on a disk may have been seen by others.
    pub(super) fn seen(&mut self, name: Name, bytes: &[u8]) {
        if let Ok(copy) = Copy::open(bytes, &self.fabric.mesh) {
            let header = copy.header();
            let made = (header.signer, header.epoch);
            let before = self.made.entry(made).or_insert(name);
            if *before != name {
                let said = format!("epoch {} was made twice: {before:?}, {name:?}", name.epoch);
                self.violations.push(said);
            }
        }
    }
}

/// What must hold at this moment of a run.
pub fn expect(holds: bool, what: &str) -> Result<(), String> {
    holds.then_some(()).ok_or_else(|| what.to_owned())
}

impl Epochs {
    /// Waits until this holds; else says what is there.
    pub fn reach(
        &mut self,
        what: &str,
        limit_s: u64,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let reached = self.until(Micros::from_secs(limit_s), holds);
        let views: Vec<_> = (0..3).map(|at| self.view(at)).collect();
        let last = self.log.iter().rev().take(4).collect::<Vec<_>>();
        let none = || format!("no {what}: {views:?}, {last:?}");
        reached.then_some(()).ok_or_else(none)
    }

    /// Whether nothing has happened that must never.
    pub fn sound(&self) -> Result<(), String> {
        match self.violations.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} violations: {first}", self.violations.len())),
        }
    }

    /// Twelve crashes one after another, drawn by `seed` with `stride` between them; each third
    /// takes the disk with it, the root's too in some seeds.
    pub fn restarts(&mut self, seed: u64, stride: usize) {
        for round in 0..12 {
            let at = (seed as usize * 5 + round * stride) % self.machines.len();
            self.crash(at);
            if round % 3 == 2 {
                self.machines[at].disk.clear();
            }
            self.pass(Micros::from_millis(700 * (round as u64 + seed % 7)));
            self.start(at);
            self.pass(Micros::from_millis(2_300));
        }
    }
}
