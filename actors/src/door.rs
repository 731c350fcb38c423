//! The enroller's side of the door: a stranger with a token becomes a member.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use chorus_protocol::ids::{CurveKey, NodeId};
use chorus_protocol::trust::directory::Input;
use chorus_protocol::trust::door;
use chorus_protocol::trust::item::{Claim, Item};
use chorus_protocol::wire::message::{Enrol, Items, Message, Refused};
use ractor::{ActorProcessingErr, ActorRef};

use crate::directory::{State, Then};
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
        items: Items,
        reply: DoorReply,
    ) -> Result<(), ActorProcessingErr> {
        let directory = &self.arguments.directory;
        if directory.roster().is_revoked(&key) {
            tracing::warn!(key = %key.short(), "a revoked node was refused at the door");
            let proof = directory.revocation(&key);
            return self.answer(reply, key, Message::Welcome(proof));
        }
        self.handle(myself, Input::Page { from: key, items }, Vec::new())?;
        self.answer(reply, key, Message::Introduced)
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
        let unix_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |span| span.as_secs());
        let roster = self.arguments.directory.roster().clone();
        let outputs = match self.arguments.door.handle(key, enrol, &roster, unix_s) {
            Ok(outputs) => outputs,
            Err(why) => {
                tracing::warn!(key = %key.short(), %why, "refused at the door");
                return self.answer(reply, key, Message::Refused(why.into()));
            }
        };
        let mut writes = Vec::new();
        let mut then = Vec::new();
        for output in outputs {
            match output {
                door::Output::Persist(it) => writes.push(Write::Use(Box::new(it))),
                door::Output::Admit(entry) => {
                    let node = entry.node;
                    let claim = Claim::Entry(Arc::new(entry));
                    let arguments = &self.arguments;
                    let item = Item::seal(&arguments.identity, &arguments.mesh, &claim);
                    then.push(Then::Admit(item, node, reply.clone()));
                }
            }
        }
        if writes.is_empty() {
            return self.go_on_all(myself, then);
        }
        self.persist(myself, writes, then, true);
        Ok(())
    }
}
