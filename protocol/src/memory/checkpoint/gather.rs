//! Gather: an epoch is opened down the tree, and its parts come up.

use std::collections::BTreeSet;

use crate::ids::{Digest, NodeId, Role};
use crate::membership::topology::may_hang_beneath;
use crate::units::Micros;

use super::cutting::Fragments;
use super::machine::{Checkpoints, JUMP_MAX};
use super::order::{Chunk, Order};
use super::{
    BYTES_MAX, Cut, Event, Kind, MEMBERS_MAX, Output, Part, Refusal, Row, Stem, chunks, header,
    part, standing,
};

/// An epoch whose parts are being gathered here.
#[derive(Debug, Clone)]
pub(super) struct Gathering {
    pub epoch: u64,
    parent: Digest,
    durable: u64,
    pub deadline: Micros,
    cut: Option<Cut>,
    /// Children whose parts are still to come.
    waiting: BTreeSet<NodeId>,
    missing: Vec<NodeId>,
    parts: Vec<Part>,
}

impl Gathering {
    /// A child is gone: its part is not waited for.
    pub fn is_lost(&mut self, node: &NodeId) {
        if self.waiting.remove(node) {
            self.missing.push(*node);
        }
    }
}

impl Checkpoints {
    /// The top begins an epoch.
    pub(super) fn open_epoch(&mut self, now: Micros, out: &mut Vec<Output>) {
        self.next_open = now + self.config.period;
        let epoch = self.newest + 1;
        let parent = self.shelf.parent(self.kind());
        let durable = self.shelf.durable().map_or(0, |name| name.epoch);
        self.gather(epoch, parent, durable, self.config.gather, now, out);
    }

    /// The parent asks for this node's part.
    pub(super) fn asked(&mut self, order: Order, now: Micros, out: &mut Vec<Output>) {
        let Order::Open {
            epoch,
            parent,
            durable,
            within_ms,
        } = order
        else {
            return;
        };
        if epoch <= self.newest || epoch - self.newest > JUMP_MAX {
            // Whoever opens it has lost count.
            return self.say_have_again(now, out);
        }
        let within = Micros::from_millis(within_ms.into()).min(self.config.gather);
        self.gather(epoch, parent, durable, within, now, out);
    }

    fn gather(
        &mut self,
        epoch: u64,
        parent: Digest,
        durable: u64,
        within: Micros,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        self.newest = epoch;
        let roster = &self.setting.roster;
        let is_parent = |node: &NodeId| {
            let member = roster.get(node);
            member.is_some_and(|member| member.entry.role != Role::Agent)
        };
        let waiting: BTreeSet<NodeId> = self.taking_part().into_iter().filter(is_parent).collect();
        out.push(Output::Cut(epoch));
        for child in &waiting {
            // A third is left for the way up.
            let within_ms = u32::try_from(within.as_millis() * 2 / 3).unwrap_or(u32::MAX);
            let open = Order::Open {
                epoch,
                parent,
                durable,
                within_ms,
            };
            out.push(Output::Send(*child, open));
        }
        self.gathering = Some(Gathering {
            epoch,
            parent,
            durable,
            deadline: now + within,
            cut: None,
            waiting,
            missing: Vec::new(),
            parts: Vec::new(),
        });
    }

    /// The phases are here.
    pub(super) fn cut(&mut self, epoch: u64, cut: Cut, now: Micros, out: &mut Vec<Output>) {
        if let Some(gathering) = &mut self.gathering
            && gathering.epoch == epoch
        {
            gathering.cut = Some(cut);
        }
        self.close_if_whole(now, out);
    }

    /// A piece of a child's part.
    pub(super) fn part(
        &mut self,
        from: NodeId,
        chunk: Chunk,
        now: Micros,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let Some(gathering) = &mut self.gathering else {
            return Ok(()); // too late
        };
        if gathering.epoch != chunk.epoch || !gathering.waiting.contains(&from) {
            return Ok(());
        }
        let most = match chunk.of as usize > chunks::CHUNK_BYTES_MAX {
            true => self.part_bytes_max(&from),
            false => chunks::CHUNK_BYTES_MAX,
        };
        let taken = match self.arriving.entry(from).or_default().take(chunk, most) {
            Ok(None) => return Ok(()),
            Ok(Some(whole)) => {
                self.arriving.remove(&from);
                self.checked_part(&from, &whole)
            }
            Err(why) => Err(why),
        };
        let gathering = self.gathering.as_mut();
        let done = match (taken, gathering) {
            (Ok(part), Some(gathering)) => {
                gathering.waiting.remove(&from);
                gathering.parts.push(part);
                Ok(())
            }
            (Err(why), Some(gathering)) => {
                // Whoever sends such a thing is not waited for.
                gathering.is_lost(&from);
                Err(why)
            }
            _ => Ok(()),
        };
        self.close_if_whole(now, out);
        done
    }

    /// How long a child's part can be, bytes: by the members that may stand in it.
    fn part_bytes_max(&self, child: &NodeId) -> usize {
        let roster = &self.setting.roster;
        let Some(child) = roster.get(child).map(|it| it.entry.in_tree()) else {
            return 0;
        };
        let members = roster.members().map(|it| it.entry.in_tree());
        let in_it = members.filter(|it| it.node == child.node || may_hang_beneath(it, &child));
        let bytes = in_it.map(|member| match member.role {
            Role::Agent => part::ROW_BYTES,
            _ => part::ROW_BYTES + header::SIGNED_BYTES,
        });
        bytes.sum::<usize>().min(BYTES_MAX)
    }

    fn checked_part(&self, from: &NodeId, bytes: &[u8]) -> Result<Part, Refusal> {
        let part = Part::open(bytes, &self.setting.mesh)?;
        let header = part.header();
        let asked = self.gathering.as_ref().map(|it| (it.epoch, it.parent));
        if asked != Some((header.epoch, header.parent)) || header.kind != Kind::Part {
            return Err(Refusal::OtherEpoch);
        }
        if header.signer != *from {
            return Err(Refusal::WrongSigner);
        }
        standing::check(&part, &self.setting.roster, standing::From::Child)?;
        Ok(part)
    }

    pub(super) fn end_gathering(&mut self, now: Micros, out: &mut Vec<Output>) {
        let over = |it: &Gathering| now >= it.deadline;
        if let Some(gathering) = self.gathering.as_mut().filter(|it| over(it)) {
            let late = std::mem::take(&mut gathering.waiting);
            gathering.missing.extend(late);
            if gathering.cut.is_none() {
                self.gathering = None;
            }
            self.close_if_whole(now, out);
        }
    }

    /// Signs what has been gathered, once nothing more is waited for.
    pub(super) fn close_if_whole(&mut self, now: Micros, out: &mut Vec<Output>) {
        let whole = |it: &mut Gathering| it.cut.is_some() && it.waiting.is_empty();
        let Some(gathering) = self.gathering.take_if(whole) else {
            return;
        };
        let Gathering {
            epoch,
            parent,
            durable,
            cut,
            missing,
            parts,
            ..
        } = gathering;
        let Some(cut) = cut.filter(|cut| cut.own.is_finite()) else {
            return;
        };
        if !missing.is_empty() {
            out.push(Output::Event(Event::Missing(epoch, missing)));
        }
        let has = self.shelf.durable().map_or(0, |name| name.epoch);
        let own = Row {
            node: self.me,
            holds: self.able && has >= durable,
            record: cut.own,
        };
        let leaves = cut.leaves.iter().filter(|(_, record)| record.is_finite());
        let leaves = leaves.map(|(node, record)| Row {
            node: *node,
            holds: self
                .told
                .get(node)
                .is_some_and(|told| told.able && told.durable >= durable),
            record: *record,
        });
        let rows: Vec<Row> = std::iter::once(own).chain(leaves).collect();
        let stem = Stem {
            kind: if self.is_top() {
                self.kind()
            } else {
                Kind::Part
            },
            epoch,
            parent,
            roster: self.setting.digest,
            live: cut.live,
        };
        let bytes = Part::seal(
            &self.setting.identity,
            &self.setting.mesh,
            stem,
            rows,
            &parts,
        );
        match self.parent() {
            Some(above) => {
                let pieces = chunks::cut(epoch, &bytes).into_iter();
                out.extend(pieces.map(|piece| Output::Send(above, Order::Part(piece))));
            }
            None => self.made(&bytes, now, out),
        }
    }

    /// The top has a checkpoint: it is written down before anybody sees it, or a restart could
    /// make another one of the same epoch.
    fn made(&mut self, bytes: &[u8], now: Micros, out: &mut Vec<Output>) {
        let part = match Part::open(bytes, &self.setting.mesh) {
            Ok(part) if part.members().len() <= MEMBERS_MAX => part,
            Ok(part) => {
                let members = part.members().len();
                return out.push(Output::Event(Event::TooLarge(members)));
            }
            Err(why) => return self.refuse(self.me, why, out),
        };
        match self.plan(&part) {
            Some(plan) => self.cut_up(part, plan, out),
            None => self.give_out(part.into(), Fragments::None, now, out),
        }
    }
}
