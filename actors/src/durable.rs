//! Durable: the directory's writes, what follows each, and what becomes of those
//! that the disk did not take.
//!
//! A neighbour's word counts whether or not our disk takes it; what we say ourselves
//! waits until it is durable. Either is tried again. Of failed writes [`FAILED_MAX`]
//! wait: the oldest that a neighbour gave is dropped for a newer one, since after a
//! restart, which is when it would be missed, a neighbour gives it again. What was
//! signed here is never dropped, for nobody else has it; it is as little as people sign.

use std::collections::VecDeque;

use chorus_protocol::ids::{CurveKey, Digest, NodeId};
use chorus_protocol::trust::directory::Output;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::{Message, Refused};
use ractor::{ActorProcessingErr, ActorRef};

use crate::directory::State;
use crate::gossip::since;
use crate::messages::ToDirectory;
use crate::store::Write;
use crate::transport::sockets::DoorReply;

/// How long after a failed write it is tried again.
const RETRY_AFTER: Micros = Micros::from_secs(2);
/// Most failed writes that wait, beside those that were signed here.
const FAILED_MAX: usize = 64;

/// A write, and what follows.
#[derive(Debug)]
pub(crate) struct Pending {
    writes: Vec<Write>,
    then: Vec<Then>,
    /// Whether it was made here.
    own: bool,
    /// Whether the disk has refused it once.
    again: bool,
}

/// A step after persistence.
#[derive(Debug)]
pub(crate) enum Then {
    Output(Output),
    /// Take what makes a newcomer a member and welcome it.
    Admit(Vec<Vec<u8>>, NodeId, DoorReply),
    /// The items that were made durable are the newcomer's: let it in.
    Welcome(NodeId, DoorReply),
    /// The items that this key showed at the door, over this link, are taken as far as
    /// they can be.
    Introduced(NodeId, CurveKey, DoorReply),
}

impl Then {
    /// Whether a write that failed, made here or not, keeps it back.
    fn waits(&self, own: bool) -> bool {
        own || matches!(self, Then::Admit(..) | Then::Welcome(..))
    }
}

impl Write {
    /// Whether it makes an item durable.
    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        matches!(self, Write::Items(items) if items.iter().any(|(it, _)| it == digest))
    }
}

impl State {
    pub(crate) fn persist(
        &mut self,
        myself: &ActorRef<ToDirectory>,
        writes: Vec<Write>,
        then: Vec<Then>,
        own: bool,
    ) {
        self.writes += 1;
        let write = self.writes;
        let pending = Pending {
            writes: writes.clone(),
            then,
            own,
            again: false,
        };
        self.pending.insert(write, pending);
        let myself = myself.clone();
        self.arguments.store.write(
            writes,
            Box::new(move |result| {
                let _ = myself.cast(ToDirectory::Durable(write, result));
            }),
        );
    }

    /// Does a step once the write that it rests on is durable: now, where none such is
    /// under way, and as a failed one where the disk did not take it.
    pub(crate) fn follow(
        &mut self,
        myself: &ActorRef<ToDirectory>,
        step: Then,
        rests_on: impl Fn(&Write) -> bool,
    ) -> Result<(), ActorProcessingErr> {
        let is_it = |it: &Pending| it.writes.iter().any(&rests_on);
        if let Some(pending) = self.pending.values_mut().find(|it| is_it(it)) {
            pending.then.push(step);
            return Ok(());
        }
        match self.failed.iter().find(|it| is_it(it)) {
            Some(failed) if step.waits(failed.own) => self.refuse(step).map(drop),
            _ => self.go_on(myself, step),
        }
    }

    /// A write came to its end.
    pub(crate) fn written(
        &mut self,
        myself: &ActorRef<ToDirectory>,
        write: u64,
        result: Result<(), String>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(pending) = self.pending.remove(&write) else {
            return Ok(());
        };
        match result {
            Ok(()) => self.go_on_all(myself, pending.then),
            Err(why) => self.not_durable(myself, pending, &why),
        }
    }

    /// Writes that failed and wait, and those under way of what was made here.
    pub(crate) fn unwritten(&self) -> u64 {
        let under_way = self.pending.values().filter(|it| it.own).count();
        (self.failed.len() + under_way) as u64
    }

    /// Writes that the disk has refused and has not taken since.
    pub(crate) fn refused(&self) -> u64 {
        let again = self.pending.values().filter(|it| it.again).count();
        (self.failed.len() + again) as u64
    }

    /// The disk did not take it. Whoever stands at the door is told at once.
    fn not_durable(
        &mut self,
        myself: &ActorRef<ToDirectory>,
        mut pending: Pending,
        why: &str,
    ) -> Result<(), ActorProcessingErr> {
        tracing::error!(why, "not durable, so not acknowledged; tried again");
        let now = since(self.arguments.epoch);
        self.retry_at = now + RETRY_AFTER;
        for step in std::mem::take(&mut pending.then) {
            if !step.waits(pending.own) {
                self.go_on(myself, step)?;
            } else if let Some(step) = self.refuse(step)? {
                pending.then.push(step);
            }
        }
        for write in &pending.writes {
            match write {
                Write::Use(it) => self.arguments.door.forget(it),
                Write::Mirror(_) => self.mirror_at = Some(self.retry_at),
                _ => {}
            }
        }
        // A mirror is made anew: this one would take the place of a newer one.
        pending
            .writes
            .retain(|write| !matches!(write, Write::Use(_) | Write::Mirror(_)));
        if !pending.writes.is_empty() {
            self.dropped += u64::from(keep(&mut self.failed, pending));
        }
        Ok(())
    }

    /// Tells whoever waits for this step at the door that the disk takes nothing; another
    /// step is given back.
    fn refuse(&self, step: Then) -> Result<Option<Then>, ActorProcessingErr> {
        let (Then::Admit(_, node, reply)
        | Then::Welcome(node, reply)
        | Then::Introduced(node, _, reply)) = step
        else {
            return Ok(Some(step));
        };
        let refused = Refused {
            code: "cannot_store".into(),
            reason: "the enroller's disk takes nothing now; ask again later".into(),
        };
        self.answer(reply, node, Message::Refused(refused))?;
        Ok(None)
    }

    /// Tries again what the disk did not take.
    pub(crate) fn retry(&mut self, myself: &ActorRef<ToDirectory>) {
        if self.failed.is_empty() || since(self.arguments.epoch) < self.retry_at {
            return;
        }
        for pending in std::mem::take(&mut self.failed) {
            self.persist(myself, pending.writes, pending.then, pending.own);
            let again = self.pending.get_mut(&self.writes);
            again.into_iter().for_each(|it| it.again = true);
        }
    }

    /// Keeps what a node needs first beside the keys, at most once a second.
    pub(crate) fn mirror(&mut self, myself: &ActorRef<ToDirectory>) {
        let now = since(self.arguments.epoch);
        if self.mirror_at.is_none_or(|at| now < at) {
            return;
        }
        self.mirror_at = None;
        let own = self.arguments.identity.id();
        let items = self.arguments.directory.welcome(&own);
        self.persist(myself, vec![Write::Mirror(items)], Vec::new(), false);
    }
}

/// Keeps a failed write for later. True when one was dropped for it.
fn keep(failed: &mut VecDeque<Pending>, pending: Pending) -> bool {
    failed.push_back(pending);
    if failed.iter().filter(|it| !it.own).count() <= FAILED_MAX {
        return false;
    }
    let oldest = failed.iter().position(|it| !it.own);
    oldest.and_then(|at| failed.remove(at)).is_some()
}

#[cfg(test)]
pub(crate) mod tests;
