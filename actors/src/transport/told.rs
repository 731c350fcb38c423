//! What a member is told at the door where it introduced itself: as a rule nothing more than
//! that it was heard, but one that was revoked is shown the proof of it.

use chorus_protocol::wire::envelope::Receiver;
use chorus_protocol::wire::message::Command;
use chorus_protocol::wire::{self, Channel, Message};

use super::actor::State;
use crate::messages::ToDirectory;

impl State {
    /// Whether the door's answer says that we are known there. What it proves otherwise is
    /// for the directory, which believes signatures alone.
    pub(super) fn knows_us(&mut self, answer: &[u8]) -> bool {
        let own = self.a.identity.id();
        let receiver = Receiver {
            mesh: &self.a.mesh,
            node: &own,
            incarnation: self.a.incarnation,
        };
        let roster = &self.a.roster;
        let opened = wire::open(answer, Channel::Door, None, receiver, |it| {
            roster.signer(it)
        });
        match opened.map(|frame| (frame.from, frame.message)) {
            Ok((_, Message::Introduced)) => true,
            Ok((from, Message::Welcome(items))) => {
                let page = ToDirectory::Command(from, Command::Page(items));
                // The ring only breaks when the node ends.
                let _ = self.a.ring.directory(page);
                false
            }
            _ => false,
        }
    }
}
