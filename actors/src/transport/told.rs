//! How a member introduces itself at a door, and what it is told there: as a rule nothing more
//! than that it was heard, but one that was revoked is shown the proof of it.

use std::time::Duration;

use chorus_protocol::ids::CurveKey;
use chorus_protocol::wire::message::Command;
use chorus_protocol::wire::{Audience, Channel, Message};

use super::actor::State;
use super::endpoint_of;
use super::sockets;
use crate::messages::ToDirectory;

/// How long a door may take to answer an introduction.
const DOOR_PATIENCE: Duration = Duration::from_secs(3);

impl State {
    /// A parent does not know us yet: show our entry at its door.
    pub(super) fn introduce(&mut self, key: CurveKey) {
        let Some(member) = self.a.roster.by_curve(&key) else {
            return;
        };
        let node = member.entry.node;
        let Some(address) = self.address(&node) else {
            return;
        };
        let message = Message::Introduce(self.a.introduction.clone());
        let to = Audience {
            node,
            incarnation: None,
        };
        let Some(frame) = self.seal(Some(to), &message) else {
            return;
        };
        self.tickets += 1;
        self.doors.insert(self.tickets, node);
        self.order(sockets::Command::AskDoor {
            ticket: self.tickets,
            key: key.0,
            endpoint: endpoint_of(&address.host, address.door),
            frame,
            within: DOOR_PATIENCE,
        });
    }

    /// Whether the door's answer says that we are known there. What it proves otherwise is
    /// for the directory, which believes signatures alone.
    pub(super) fn knows_us(&mut self, answer: &[u8]) -> bool {
        let opened = self.opened(answer, Channel::Door, None);
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
