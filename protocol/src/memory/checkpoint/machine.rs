//! The machine: inputs to outputs, and who is whose neighbour.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{Digest, Incarnation, MeshId, NodeId, Role};
use crate::membership::topology::{CHILDREN_MAX, may_hang_beneath};
use crate::trust::roster::Roster;
use crate::units::Micros;
use crate::wire::identity::Identity;

use super::chunks::Arriving;
use super::cutting::Cutting;
use super::gather::Gathering;
use super::kept::Shelf;
use super::spread::Spreading;
use super::{
    Around, Certificate, Config, Copy, Event, Input, Kind, Name, Order, Output, Refusal, View,
    What, standing,
};

/// An epoch may be so far above the highest known one: a liar uses up little of the numbers.
pub(super) const JUMP_MAX: u64 = 1 << 32;
/// Nodes below that are remembered: the children, and as many that were or will be.
const TOLD_MAX: usize = 2 * CHILDREN_MAX;
/// Between two times that the same is asked for, or given, again.
const AGAIN: Micros = Micros::from_secs(5);

/// Where a machine stands.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The mesh.
    pub mesh: MeshId,
    /// Signs parts.
    pub identity: Arc<Identity>,
    /// Who belongs.
    pub roster: Arc<Roster>,
    /// The directory's digest.
    pub digest: Digest,
}

/// What a child has said, and was given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    pub durable: u64,
    pub able: bool,
    /// The last checkpoint and the last certificate that it was sent.
    pub copy: Option<Name>,
    pub certificate: Option<Name>,
    /// Not before this is it given the same again.
    again_at: Micros,
}

/// One node's checkpoints.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    pub(super) config: Config,
    pub(super) setting: Setting,
    pub(super) me: NodeId,
    pub(super) around: Around,
    pub(super) told: BTreeMap<NodeId, Told>,
    pub(super) shelf: Shelf,
    /// The highest epoch that was heard of.
    pub(super) newest: u64,
    /// When the next one is opened, where this is the top.
    pub(super) next_open: Micros,
    pub(super) gathering: Option<Gathering>,
    pub(super) spreading: Option<Spreading>,
    /// What was made here and is being cut into fragments.
    pub(super) cutting: Option<Cutting>,
    /// Pieces that have come: of the parent's copy, and of each child's part.
    pub(super) arriving: BTreeMap<NodeId, Arriving>,
    /// To whom it was last said what is held here, and that; and when that may be said again.
    said: Option<(NodeId, Incarnation, u64, bool)>,
    again_at: Micros,
    refused: u64,
    unwritten: u64,
    /// Whether the disk took the last file that it was given.
    pub(super) able: bool,
}

impl Checkpoints {
    /// The machine at its start, with the checkpoints on disk: their bytes, and those of the
    /// certificate where there is one. A copy that does not verify is left out, and which that
    /// are is returned; one without a sound certificate is not known to be durable.
    pub fn new(
        config: Config,
        setting: Setting,
        restored: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        now: Micros,
    ) -> (Self, Vec<usize>) {
        let mut shelf = Shelf::default();
        let mut damaged = Vec::new();
        for (number, (copy, certificate)) in restored.into_iter().enumerate() {
            let Ok(copy) = Copy::open(&copy, &setting.mesh) else {
                damaged.push(number);
                continue;
            };
            let name = shelf.add(&copy);
            shelf.written(&name, What::Copy, true);
            let Some(bytes) = certificate else { continue };
            let certificate = Certificate::open(&bytes, &setting.mesh);
            if certificate.is_ok_and(|it| it.is_of(copy.header())) {
                shelf.certify(&name, bytes.into());
                shelf.written(&name, What::Certificate, true);
            }
        }
        let newest = shelf.last().map_or(0, |kept| kept.header.epoch);
        let this = Self {
            me: setting.identity.id(),
            config,
            setting,
            around: Around::default(),
            told: BTreeMap::new(),
            shelf,
            newest,
            next_open: now + config.period,
            gathering: None,
            spreading: None,
            cutting: None,
            arriving: BTreeMap::new(),
            said: None,
            again_at: Micros::ZERO,
            refused: 0,
            unwritten: 0,
            able: true,
        };
        (this, damaged)
    }

    /// The node's checkpoints at a glance.
    pub fn view(&self) -> View {
        let glance = |kept: &super::kept::Kept| (kept.header.epoch, kept.members, kept.state());
        View {
            last: self.shelf.last().map(glance),
            durable: self.shelf.durable().map(|name| name.epoch),
            durable_whole: self.shelf.durable_whole().map(|name| name.epoch),
            refused: self.refused,
            unwritten: self.unwritten,
        }
    }

    /// When [`Input::Tick`] is next of use.
    pub fn next_deadline(&self) -> Micros {
        let gathered = self.gathering.as_ref().map(|it| it.deadline);
        let spread = self.spreading.as_ref().and_then(Spreading::deadline);
        let opens = self.is_top().then_some(self.next_open);
        let all = [gathered, spread, opens].into_iter().flatten();
        all.min().unwrap_or(Micros::NEVER)
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input, now: Micros) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Tick => self.tick(now, &mut out),
            Input::Order(from, order) => self.order(from, order, now, &mut out),
            Input::Around(around) => self.stand(around, now, &mut out),
            Input::Cut(epoch, cut) => self.cut(epoch, cut, now, &mut out),
            Input::Coded(name, coded) => self.coded(name, coded, now, &mut out),
            Input::Roster(roster, digest) => {
                self.told.retain(|node, _| roster.get(node).is_some());
                self.setting.roster = roster;
                self.setting.digest = digest;
            }
            Input::Persisted(name, what, done) => {
                self.unwritten += u64::from(!done);
                self.able = done;
                self.persisted(name, what, done, now, &mut out);
            }
        }
        out
    }

    fn tick(&mut self, now: Micros, out: &mut Vec<Output>) {
        self.end_gathering(now, out);
        self.end_spreading(now, out);
        let busy = self.gathering.is_some() || self.cutting.is_some() || self.awaits();
        if self.is_top() && now >= self.next_open && !busy {
            self.open_epoch(now, out);
        }
        self.acknowledge(now, out);
        self.say_have(out);
    }

    fn order(&mut self, from: NodeId, order: Order, now: Micros, out: &mut Vec<Output>) {
        let is_parent = self.parent() == Some(from);
        let done = match order {
            Order::Have {
                durable,
                newest,
                able,
            } => {
                self.child_has(from, (durable, able), newest, now, out);
                Ok(())
            }
            Order::Open { .. } if is_parent => {
                self.asked(order, now, out);
                Ok(())
            }
            Order::Copy(chunk) if is_parent => self.copied(from, chunk, out),
            Order::Durable { certificate } if is_parent => self.certified(certificate, now, out),
            Order::Part(chunk) => self.part(from, chunk, now, out),
            Order::Held { epoch, root, who } => {
                let name = Name { epoch, root };
                self.held(from, name, &who, now, out);
                Ok(())
            }
            // From a parent that was left a moment ago.
            Order::Open { .. } | Order::Copy(_) | Order::Durable { .. } => Ok(()),
        };
        if let Err(why) = done {
            self.refuse(from, why, out);
        }
    }

    pub(super) fn refuse(&mut self, from: NodeId, why: Refusal, out: &mut Vec<Output>) {
        self.refused += 1;
        out.push(Output::Event(Event::Refused(from, why)));
    }

    /// Others stand around it: who has no parent any more is the top of what hangs beneath it.
    fn stand(&mut self, around: Around, now: Micros, out: &mut Vec<Output>) {
        let before = std::mem::replace(&mut self.around, around);
        let gone = |node: &NodeId| !self.around.children.contains(node);
        let lost: Vec<NodeId> = before.children.into_iter().filter(gone).collect();
        lost.iter()
            .for_each(|node| drop(self.arriving.remove(node)));
        if let Some(gathering) = &mut self.gathering {
            lost.iter().for_each(|node| gathering.is_lost(node));
        }
        if before.parent.map(|it| it.0) != self.parent() {
            // What was gathered or acknowledged was for another.
            self.gathering = None;
            self.cutting = None;
            self.next_open = now + self.config.period;
            if let Some((old, _)) = before.parent {
                self.arriving.remove(&old);
            }
            if let Some(spreading) = &mut self.spreading {
                spreading.begins_anew();
            }
        }
        self.close_if_whole(now, out);
        self.say_have(out);
        // Who was taken for dead for a moment may have missed something.
        self.hand_all_down(out);
    }

    /// Says to the parent what is held here, where it has not been said to this run of it.
    pub(super) fn say_have(&mut self, out: &mut Vec<Output>) {
        let Some((parent, run)) = self.around.parent else {
            self.said = None;
            return;
        };
        let durable = self.shelf.durable().map_or(0, |name| name.epoch);
        let saying = Some((parent, run, durable, self.able));
        if self.said != saying {
            self.said = saying;
            let have = Order::Have {
                durable,
                newest: self.newest,
                able: self.able,
            };
            out.push(Output::Send(parent, have));
        }
    }

    /// Says it again: the parent knows something that is not here, or not what is here.
    pub(super) fn say_have_again(&mut self, now: Micros, out: &mut Vec<Output>) {
        if now >= self.again_at {
            self.again_at = now + AGAIN;
            self.said = None;
            self.say_have(out);
        }
    }

    /// A child, or one that is about to be, takes part and says what it has.
    fn child_has(
        &mut self,
        from: NodeId,
        (durable, able): (u64, bool),
        newest: u64,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        if !self.may_be_child(&from) {
            return;
        }
        if self.told.len() >= TOLD_MAX && !self.told.contains_key(&from) {
            let children = &self.around.children;
            self.told.retain(|node, _| children.contains(node));
        }
        let told = self.told.entry(from).or_default();
        if durable <= told.durable && now >= told.again_at {
            // It was restarted, has lost something, or could not write it.
            *told = Told {
                again_at: now + AGAIN,
                ..Told::default()
            };
        }
        (told.durable, told.able) = (durable, able);
        if newest > self.newest && newest - self.newest <= JUMP_MAX {
            self.newest = newest;
            // Numbers were used that those above do not know of: an epoch that is being
            // gathered under one of them would be taken for an old one.
            if self.gathering.as_ref().is_some_and(|it| it.epoch <= newest) && self.is_top() {
                self.gathering = None;
                self.next_open = now;
            }
            self.said = None;
            self.say_have(out);
        }
        self.hand_down(&from, out);
    }

    fn may_be_child(&self, node: &NodeId) -> bool {
        let seat = |node: &NodeId| Some(self.setting.roster.get(node)?.entry.in_tree());
        let (child, me) = (seat(node), seat(&self.me));
        matches!((child, me), (Some(child), Some(me)) if may_hang_beneath(&child, &me))
    }

    /// Children that live and take part.
    pub(super) fn taking_part(&self) -> Vec<NodeId> {
        let children = self.around.children.iter();
        let taking = children.filter(|node| self.told.contains_key(*node));
        taking.copied().collect()
    }

    pub(super) fn parent(&self) -> Option<NodeId> {
        self.around.parent.map(|(node, _)| node)
    }

    /// Whether nobody is above it and others can be beneath it: such a one opens epochs.
    pub(super) fn is_top(&self) -> bool {
        self.around.parent.is_none() && self.can_be_parent()
    }

    pub(super) fn can_be_parent(&self) -> bool {
        let own = self.setting.roster.get(&self.me);
        own.is_some_and(|it| it.entry.role != Role::Agent)
    }

    /// What kind of checkpoint it signs as a top.
    pub(super) fn kind(&self) -> Kind {
        match standing::top(&self.setting.roster) == Some(self.me) {
            true => Kind::Whole,
            false => Kind::Branch,
        }
    }
}
