//! Spread: a checkpoint goes down the tree, and who has it on disk is told upward.

use std::sync::Arc;

use crate::ids::NodeId;
use crate::membership::topology::may_hang_beneath;
use crate::units::Micros;

use super::cutting::Fragments;
use super::kept::What;
use super::machine::{Checkpoints, JUMP_MAX};
use super::order::{Chunk, Order};
use super::{
    BYTES_MAX, COPY_BYTES_MAX, Certificate, Copy, Event, Kind, Name, Output, Part, Refusal, Row,
    Whole, chunks, standing,
};

/// Between two words to the parent about who holds a copy.
const ACKNOWLEDGE_EVERY: Micros = Micros::from_millis(250);

/// The newest checkpoint, on its way down and acknowledged upward.
#[derive(Debug, Clone)]
pub(super) struct Spreading {
    pub copy: Copy,
    pub name: Name,
    /// What those beneath get in place of the whole.
    pub fragments: Fragments,
    /// Where the top stands: until when it may become durable, while that is open.
    until: Option<Micros>,
    /// Who has it on disk, as far as is known here; in the order of its members. Of a fragment:
    /// whether this node has it.
    held: Vec<bool>,
    /// Whether more is known than was said upward, and when it may be said.
    unsaid: bool,
    say_at: Micros,
}

impl Spreading {
    /// One that begins; `until` only at the top that made it.
    pub fn new(copy: Copy, fragments: Fragments, until: Option<Micros>) -> Self {
        Self {
            name: Name::of(copy.header()),
            held: vec![false; copy.whole().map_or(1, |it| it.part().members().len())],
            copy,
            fragments,
            until,
            unsaid: false,
            say_at: Micros::ZERO,
        }
    }

    fn part(&self) -> Option<&Part> {
        self.copy.whole().map(Whole::part)
    }

    /// None of a fragment.
    fn members(&self) -> &[Row] {
        self.part().map_or(&[], Part::members)
    }

    fn is_by(&self, node: &NodeId) -> bool {
        self.copy.header().signer == *node
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Micros> {
        let say = self.unsaid.then_some(self.say_at);
        [self.until, say].into_iter().flatten().min()
    }

    /// Another parent has been told nothing.
    pub fn begins_anew(&mut self) {
        self.until = None;
        self.unsaid = self.held.contains(&true);
        self.say_at = Micros::ZERO;
    }

    /// Notes one that has it on disk.
    fn note(&mut self, node: &NodeId) {
        let place = self.part().map_or(Some(0), |part| part.place(node));
        if let Some(at) = place
            && !std::mem::replace(&mut self.held[at], true)
        {
            self.unsaid = true;
        }
    }

    /// The holders that have not said that they have it.
    fn missing(&self) -> Vec<NodeId> {
        let members = self.members().iter().zip(&self.held);
        let missing = members.filter(|(row, held)| row.holds && !**held);
        missing.map(|(row, _)| row.node).collect()
    }

    /// As [`Order::Held`] has it.
    fn who(&self) -> Vec<u8> {
        if self.part().is_none() {
            return Vec::new();
        }
        let bit = |(at, held): (usize, &bool)| u8::from(*held) << at;
        let byte = |eight: &[bool]| eight.iter().enumerate().map(bit).sum();
        self.held.chunks(8).map(byte).collect()
    }
}

impl Checkpoints {
    /// Whether the last one that was made here may still become durable.
    pub(super) fn awaits(&self) -> bool {
        let spreading = self.spreading.as_ref();
        spreading.is_some_and(|it| it.until.is_some())
    }

    /// Has it written down.
    pub(super) fn keep(&mut self, spreading: Spreading, out: &mut Vec<Output>) -> Name {
        let name = self.shelf.add(&spreading.copy);
        let bytes = spreading.copy.bytes().clone();
        self.spreading = Some(spreading);
        out.push(Output::Persist(name, What::Copy, bytes));
        name
    }

    /// A piece of a checkpoint from the parent.
    pub(super) fn copied(
        &mut self,
        from: NodeId,
        chunk: Chunk,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let arriving = self.arriving.entry(from).or_default();
        let Some(bytes) = arriving.take(chunk, COPY_BYTES_MAX)? else {
            return Ok(());
        };
        self.arriving.remove(&from);
        let copy = Copy::open(&bytes, &self.setting.mesh)?;
        let header = copy.header();
        if header.kind == Kind::Part || header.epoch.saturating_sub(self.newest) > JUMP_MAX {
            return Err(Refusal::Malformed("kind or epoch"));
        }
        if copy.whole().is_none() && self.can_be_parent() {
            return Err(Refusal::Malformed("place: a parent holds the whole"));
        }
        standing::check_copy(&copy, &self.setting.roster, standing::From::Parent)?;
        let name = Name::of(header);
        if self.shelf.get(&name).is_some() {
            return Ok(()); // again, after one of us was restarted
        }
        self.newest = self.newest.max(header.epoch);
        let newer = self.spreading.as_ref().is_none_or(|it| it.name <= name);
        if newer {
            let fragments = self.fragments_of(&copy, out);
            self.keep(Spreading::new(copy, fragments, None), out);
            self.hand_all_down(out);
        } else {
            self.shelf.add(&copy);
            out.push(Output::Persist(name, What::Copy, copy.bytes().clone()));
        }
        Ok(())
    }

    /// A file is on disk, or could not be written.
    pub(super) fn persisted(
        &mut self,
        name: Name,
        what: What,
        done: bool,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        self.shelf.written(&name, what, done);
        if !done {
            if what == What::Copy {
                self.spreading.take_if(|it| it.name == name);
            }
            return self.say_have(out);
        }
        if what == What::Copy {
            if let Some(spreading) = self.spreading.as_mut().filter(|it| it.name == name) {
                spreading.note(&self.me);
                self.hand_all_down(out);
                self.certify_if_held(now, out);
            }
        } else if self.shelf.is_certified(&name) {
            let members = self.shelf.get(&name).map_or(0, |kept| kept.members);
            out.push(Output::Event(Event::Durable(name, members)));
            self.hand_all_down(out);
        }
        self.say_have(out);
        let spreading = self.spreading.as_ref().map(|it| it.name);
        let gone = self.shelf.trim(self.config.keep, spreading);
        out.extend(gone.into_iter().map(Output::Forget));
    }

    pub(super) fn hand_all_down(&mut self, out: &mut Vec<Output>) {
        for child in self.taking_part() {
            self.hand_down(&child, out);
        }
    }

    /// Gives a child what it lacks: the newest checkpoint, and the last durable one with its
    /// certificate.
    pub(super) fn hand_down(&mut self, child: &NodeId, out: &mut Vec<Output>) {
        let Some(told) = self.told.get_mut(child) else {
            return;
        };
        // A fragment is its holder's alone: one that was an agent before gives none of its own.
        let durable = self.shelf.durable_whole();
        let durable = durable.filter(|name| told.durable < name.epoch);
        // What was made here is on disk before anybody sees it.
        let ready = |it: &&Spreading| {
            it.part().is_some() && (!it.is_by(&self.me) || self.shelf.holds(&it.name))
        };
        let newest = self.spreading.as_ref().filter(ready);
        for name in durable.into_iter().chain(newest.map(|it| it.name)) {
            let certified = self.shelf.certified(&name);
            let copy = match newest.filter(|it| it.name == name) {
                Some(at_hand) => at_hand.fragments.of(child, at_hand.copy.bytes()),
                None => certified.as_ref().map(|it| it[0].clone()),
            };
            let Some(copy) = copy else { continue };
            if told.copy.is_none_or(|last| last < name) {
                told.copy = Some(name);
                let pieces = chunks::cut(name.epoch, &copy).into_iter();
                out.extend(pieces.map(|piece| Output::Send(*child, Order::Copy(piece))));
            }
            let Some([_, certificate]) = certified else {
                continue;
            };
            if told.certificate.is_none_or(|last| last < name) {
                told.certificate = Some(name);
                let certificate = certificate.to_vec();
                out.push(Output::Send(*child, Order::Durable { certificate }));
            }
        }
    }

    /// A child says who has the newest checkpoint on disk.
    pub(super) fn held(
        &mut self,
        from: NodeId,
        name: Name,
        who: &[u8],
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        let roster = self.setting.roster.clone();
        let seat = |node: &NodeId| Some(roster.get(node)?.entry.in_tree());
        let (Some(child), true) = (seat(&from), who.len() <= BYTES_MAX) else {
            return;
        };
        let Some(spreading) = self.spreading.as_mut().filter(|it| it.name == name) else {
            return;
        };
        let bit = |at: usize| {
            who.get(at / 8)
                .is_some_and(|byte| byte >> (at % 8) & 1 == 1)
        };
        // An empty word is of its sender alone.
        let own = |row: &Row| who.is_empty() && row.node == from;
        let said = spreading.members().iter().enumerate();
        let said = said.filter(|(at, row)| bit(*at) || own(row));
        let said = said.map(|(_, row)| row.node);
        // It speaks for itself and for those that may be beneath it.
        let may = |node: &NodeId| {
            let member = seat(node);
            *node == from || member.is_some_and(|member| may_hang_beneath(&member, &child))
        };
        let said: Vec<NodeId> = said.filter(may).collect();
        said.iter().for_each(|node| spreading.note(node));
        self.certify_if_held(now, out);
    }

    /// The top certifies what all of its holders have on disk.
    fn certify_if_held(&mut self, now: Micros, out: &mut Vec<Output>) {
        let held = |it: &&mut Spreading| it.until.is_some_and(|until| now < until);
        let Some(spreading) = self.spreading.as_mut().filter(held) else {
            return;
        };
        if !self.shelf.holds(&spreading.name) || !spreading.missing().is_empty() {
            return;
        }
        spreading.until = None;
        let Some(part) = spreading.part() else {
            return;
        };
        let (name, header) = (spreading.name, part.header());
        let certificate = Certificate {
            epoch: header.epoch,
            signer: header.signer,
            root: header.root,
            holders: part.holders().count() as u32,
            members: part.members().len() as u32,
        };
        let bytes = certificate.seal(&self.setting.identity, &self.setting.mesh);
        self.certificate(name, bytes, out);
    }

    fn certificate(&mut self, name: Name, bytes: Vec<u8>, out: &mut Vec<Output>) {
        let bytes: Arc<[u8]> = bytes.into();
        self.shelf.certify(&name, bytes.clone());
        out.push(Output::Persist(name, What::Certificate, bytes));
    }

    /// The parent says that one is durable.
    pub(super) fn certified(
        &mut self,
        bytes: Vec<u8>,
        now: Micros,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let certificate = Certificate::open(&bytes, &self.setting.mesh)?;
        let name = Name {
            epoch: certificate.epoch,
            root: certificate.root,
        };
        let Some(kept) = self.shelf.get(&name) else {
            self.say_have_again(now, out); // it never came, or could not be written
            return Ok(());
        };
        if !certificate.is_of(&kept.header) {
            return Err(Refusal::WrongSigner);
        }
        if !self.shelf.is_certified(&name) {
            self.certificate(name, bytes, out);
        }
        Ok(())
    }

    /// The top gives up waiting for acknowledgements.
    pub(super) fn end_spreading(&mut self, now: Micros, out: &mut Vec<Output>) {
        let over = |it: &&mut Spreading| it.until.is_some_and(|until| now >= until);
        if let Some(spreading) = self.spreading.as_mut().filter(over) {
            spreading.until = None;
            let missing = spreading.missing();
            out.push(Output::Event(Event::Partial(spreading.name, missing)));
        }
    }

    /// Says upward who has it on disk.
    pub(super) fn acknowledge(&mut self, now: Micros, out: &mut Vec<Output>) {
        let Some(parent) = self.parent() else { return };
        let due = |it: &&mut Spreading| it.unsaid && now >= it.say_at;
        if let Some(spreading) = self.spreading.as_mut().filter(due) {
            spreading.unsaid = false;
            spreading.say_at = now + ACKNOWLEDGE_EVERY;
            let Name { epoch, root } = spreading.name;
            let who = spreading.who();
            out.push(Output::Send(parent, Order::Held { epoch, root, who }));
        }
    }
}
