//! The enroller's side of the door: a stranger with a token becomes a member.

use std::sync::Arc;

use chorus_protocol::ids::{CurveKey, NodeId};
use chorus_protocol::trust::directory::Input;
use chorus_protocol::trust::door;
use chorus_protocol::trust::item::{Claim, Entry, Item, digest_of};
use chorus_protocol::trust::{delegation, enrol};
use chorus_protocol::wire::message::{Enrol, Items, Message, Refused};
use ractor::{ActorProcessingErr, ActorRef};

use crate::directory::State;
use crate::durable::Then;
use crate::gossip::since;
use crate::messages::ToDirectory;
use crate::store::Write;
use crate::transport::sockets::DoorReply;

impl State {
    /// A member whom this node may not know yet shows what proves it. One that was revoked
    /// is shown what proves that: nobody else would tell it, and it would knock for ever.
    pub(crate) fn introduce(
        &mut self,
        myself: &ActorRef<ToDirectory>,
        key: NodeId,
        link: CurveKey,
        items: Items,
        reply: DoorReply,
    ) -> Result<(), ActorProcessingErr> {
        if self.arguments.directory.roster().is_revoked(&key) {
            if let Some(times) = self.turned_away.is_due(key, since(self.arguments.epoch)) {
                tracing::warn!(key = %key.short(), times, "a revoked node was refused at the door");
            }
            let proof = self.arguments.directory.revocation(&key);
            return self.answer(reply, key, Message::Welcome(proof));
        }
        let directory = &self.arguments.directory;
        let introduced = Then::Introduced(key, link, reply);
        let digests: Vec<_> = items.items.iter().map(|it| digest_of(it)).collect();
        if digests.iter().all(|it| directory.set().holds(it)) {
            let shown = |it: &Write| digests.iter().any(|digest| it.holds(digest));
            return self.follow(myself, introduced, shown);
        }
        self.handle(myself, Input::Page { from: key, items }, vec![introduced])
    }

    /// Answers an introduction by what the sockets were told: whoever hears that it is
    /// introduced dials again at once, and must be let in then.
    pub(crate) fn introduced(
        &self,
        key: NodeId,
        link: CurveKey,
        reply: DoorReply,
    ) -> Result<(), ActorProcessingErr> {
        let member = self.told.get(&key);
        if member.is_some_and(|it| it.entry.curve == link) {
            return self.answer(reply, key, Message::Introduced);
        }
        tracing::info!(key = %key.short(), "what was shown at the door makes no member");
        let refused = Refused {
            code: "not_introduced".into(),
            reason: "what was shown does not make this link key a member's".into(),
        };
        self.answer(reply, key, Message::Refused(refused))
    }

    /// A stranger with a token. The use is journaled before anything is signed.
    pub(crate) fn enrol(
        &mut self,
        myself: &ActorRef<ToDirectory>,
        key: NodeId,
        link: CurveKey,
        enrol: &Enrol,
        reply: DoorReply,
    ) -> Result<(), ActorProcessingErr> {
        if enrol.curve != link {
            let refused = Refused {
                code: "other_link_key".into(),
                reason: "the link was made with another key than the one to be enrolled".into(),
            };
            return self.answer(reply, key, Message::Refused(refused));
        }
        let unix_s = chorus_storage::clock::unix_s();
        let roster = self.arguments.directory.roster().clone();
        let outputs = match self.arguments.door.handle(key, enrol, &roster, unix_s) {
            Ok(outputs) => outputs,
            Err(why) => {
                tracing::warn!(key = %key.short(), %why, "refused at the door");
                return self.answer(reply, key, Message::Refused(why.into()));
            }
        };
        let mut uses = Vec::new();
        for output in outputs {
            match output {
                door::Output::Persist(it) => uses.push(Write::Use(Box::new(it))),
                door::Output::Admit(entry) => {
                    let entry = Arc::new(entry);
                    let (arguments, claim) = (&self.arguments, Claim::Entry(entry.clone()));
                    let item = Item::seal(&arguments.identity, &arguments.mesh, &claim);
                    let items = std::iter::once(item).chain(self.delegation(&entry));
                    let admit = Then::Admit(items.collect(), key, reply.clone());
                    if uses.is_empty() {
                        // Asked again: the first answer may still wait for the disk.
                        let same = |it: &Write| matches!(it, Write::Use(it) if it.entry == *entry);
                        return self.follow(myself, admit, same);
                    }
                    self.persist(myself, std::mem::take(&mut uses), vec![admit], true);
                }
            }
        }
        Ok(())
    }

    /// What lets a newcomer enrol others, if its token said so: only the root may say that.
    fn delegation(&self, entry: &Entry) -> Option<Vec<u8>> {
        if !entry.caps.contains(&enrol()) {
            return None;
        }
        let root = self.arguments.root_key.as_ref();
        if root.is_none() {
            tracing::warn!(name = %entry.name, "may not enrol: this home has no root key to let it");
        }
        root.map(|root| delegation(root, entry.node))
    }
}
