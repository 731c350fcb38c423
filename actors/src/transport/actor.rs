//! The transport actor: owns the node's keys, its Lamport clock and its links.
//!
//! It opens every frame that comes in and signs every one that goes out, so
//! nothing unsigned passes it in either direction. A frame must come over the
//! link of the very node that signed it: gossip is first hand, and a recorded
//! frame is of no use to anybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use chorus_protocol::causality::lamport::{Clock, Observed};
use chorus_protocol::delivery::{Inbox, Outbox};
use chorus_protocol::gossip::Input;
use chorus_protocol::ids::{CurveKey, Incarnation, MeshId, NodeId};
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::envelope::{Receiver, Refusal};
use chorus_protocol::wire::message::{Command as Order, Items, Message};
use chorus_protocol::wire::{self, Audience, Channel, Identity, Topic, Verified};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::gossip::since;
use crate::memory::ToMemory;
use crate::messages::{
    Arrived, Ring, ToCheckpoints, ToDirectory, ToGossip, ToOperations, ToTransport,
};
use crate::store::StoreHandle;
use crate::transport::backoff::Backoff;
use crate::transport::counters::Counters;
use crate::transport::leaving::Leaving;
use crate::transport::owing::Owing;
use crate::transport::sockets::{Command, Event, Handle, Incoming, Lane, LinkState};
use crate::transport::tally::Tally;
use crate::transport::twins::Twins;

/// What the actor needs.
#[derive(Debug)]
pub struct Arguments {
    /// The mesh.
    pub mesh: MeshId,
    /// Signs what goes out.
    pub identity: Arc<Identity>,
    /// This run.
    pub incarnation: Incarnation,
    /// The clock; what it may use is durable.
    pub clock: Clock,
    /// Who belongs.
    pub roster: Arc<Roster>,
    /// What introduces us at a door.
    pub introduction: Items,
    /// Where we listen, to be announced; empty: outward only.
    pub addresses: Vec<chorus_protocol::trust::item::Address>,
    /// The socket thread.
    pub sockets: Handle,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// The origin of the monotonic clock.
    pub epoch: Instant,
    /// Where Lamport times are reserved.
    pub store: StoreHandle,
    /// The other actors.
    pub ring: Arc<Ring>,
}

/// The actor.
#[derive(Debug)]
pub struct TransportActor;

/// What it owns.
#[derive(Debug)]
pub struct State {
    pub(super) a: Arguments,
    /// From when on more Lamport time may be asked for; none while it is asked for.
    pub(super) reserve_at: Option<Micros>,
    /// Who was revoked a moment ago.
    pub(super) leaving: Leaving,
    /// Nodes that run twice.
    pub(super) twins: Twins,
    /// The newest run heard of each node.
    pub(super) runs: BTreeMap<NodeId, Incarnation>,
    pub(super) outboxes: BTreeMap<NodeId, Outbox>,
    pub(super) inboxes: BTreeMap<NodeId, Inbox>,
    pub(super) owing: Owing,
    /// Siblings that are listened to and at which endpoints, and all that should be: some
    /// have not said yet where they are.
    pub(super) siblings: BTreeMap<NodeId, Vec<String>>,
    pub(super) wanted: BTreeSet<NodeId>,
    /// Which of its addresses was dialled last.
    pub(super) dialled: BTreeMap<NodeId, usize>,
    pub(super) doors: BTreeMap<u64, NodeId>,
    pub(super) tickets: u64,
    pub(super) tally: Tally,
    /// Between the tries of a node that was shut out.
    pub(super) backoff: Backoff,
}

impl Actor for TransportActor {
    type Msg = ToTransport;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<ToTransport>,
        a: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let incarnation = a.incarnation;
        Ok(State {
            a,
            reserve_at: Some(Micros::ZERO),
            leaving: Leaving::default(),
            twins: Twins::new(incarnation),
            runs: BTreeMap::new(),
            outboxes: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            owing: Owing::default(),
            siblings: BTreeMap::new(),
            wanted: BTreeSet::new(),
            dialled: BTreeMap::new(),
            doors: BTreeMap::new(),
            tickets: 0,
            tally: Tally::default(),
            backoff: Backoff::default(),
        })
    }

    async fn post_start(
        &self,
        _: ActorRef<ToTransport>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.announce()
    }

    async fn handle(
        &self,
        myself: ActorRef<ToTransport>,
        message: ToTransport,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToTransport::Incoming(batch) => state.incoming(batch)?,
            ToTransport::Socket(event) => state.socket(event),
            ToTransport::Perform(outputs) => {
                for output in outputs {
                    state.perform(output)?;
                }
            }
            ToTransport::Deliver(to, order) => state.deliver(to, order),
            ToTransport::Answered(to) => {
                if let Some(outbox) = state.outboxes.get_mut(&to) {
                    outbox.answered();
                }
            }
            ToTransport::Roster(roster, introduction) => state.roster(roster, introduction),
            ToTransport::AnswerDoor(reply, node, message) => {
                let to = Audience {
                    node,
                    incarnation: None,
                };
                if let Some(frame) = state.seal(Some(to), &message) {
                    state.order(Command::AnswerDoor { to: reply, frame });
                }
            }
            ToTransport::TickFor(job, many) => {
                let first = state.tick(many);
                state.a.ring.memory(ToMemory::Ticked(job, first))?;
            }
            ToTransport::Observe(lamport) => state.observe(lamport),
            ToTransport::Reserved(result) => state.reserved(result),
            ToTransport::Cut(epoch) => {
                let lamport = state.a.clock.time();
                state.a.ring.gossip(ToGossip::Cut(epoch, lamport))?;
            }
            ToTransport::Tick => {
                state.shut_out();
                state.poll_all();
            }
            ToTransport::Acknowledge => state.acknowledge_all(),
            ToTransport::Inspect(reply) => {
                let _ = reply.send(state.view());
            }
        }
        state.reserve(&myself);
        state.wake(&myself);
        state.a.ring.set_lamport(state.a.clock.time());
        Ok(())
    }
}

impl State {
    /// Opens frames and gives them to whoever they concern.
    fn incoming(&mut self, batch: Vec<Incoming>) -> Result<(), ActorProcessingErr> {
        let mut arrived = Vec::with_capacity(batch.len());
        for incoming in batch {
            self.open(incoming, &mut arrived)?;
        }
        if arrived.is_empty() {
            return Ok(());
        }
        self.a.ring.gossip(ToGossip::Arrived(arrived))
    }

    /// Opens one frame. What is for gossip is added to `arrived`.
    fn open(
        &mut self,
        incoming: Incoming,
        arrived: &mut Vec<Arrived>,
    ) -> Result<(), ActorProcessingErr> {
        let channel = match incoming.lane {
            Lane::Gossip => Channel::Gossip,
            Lane::Link => Channel::Link,
            Lane::Door => Channel::Door,
        };
        let topic = incoming.topic.as_deref().and_then(Topic::parse);
        let frame = match self.opened(&incoming.bytes, channel, topic.as_ref()) {
            Ok(frame) => frame,
            Err(why) => {
                self.refused(why);
                return Ok(());
            }
        };
        if channel == Channel::Door {
            return self.at_the_door(frame, incoming);
        }
        let link = CurveKey(incoming.peer);
        let first_hand = self
            .a
            .roster
            .get(&frame.from)
            .is_some_and(|member| member.entry.curve == link);
        if !first_hand {
            self.count("second_hand");
            return Ok(());
        }
        self.observe(frame.stamp.lamport);
        let run = self.runs.entry(frame.from).or_default();
        *run = (*run).max(frame.stamp.incarnation);
        let run = *run;
        if let Some(outbox) = self.outboxes.get_mut(&frame.from) {
            outbox.receiver(run);
        }
        if let Message::Peers(news) = &frame.message {
            self.told_of_itself(frame.from, news);
        }
        match frame.message {
            Message::Deliver(deliver) => {
                let (from, session) = (frame.from, frame.stamp.incarnation);
                let inbox = self.inboxes.entry(from).or_default();
                for order in inbox.take(session, deliver, since(self.a.epoch)) {
                    self.command(from, order, arrived)?;
                }
                self.acknowledge(from);
            }
            Message::Delivered(delivered) => {
                if delivered.session == self.a.incarnation
                    && let Some(outbox) = self.outboxes.get_mut(&frame.from)
                {
                    outbox.acknowledged(frame.stamp.incarnation, delivered.seq);
                    self.poll(frame.from);
                }
            }
            _ => arrived.push((Input::Heard(frame), Some(incoming))),
        }
        Ok(())
    }

    /// Takes notice of a Lamport time that came from outside.
    fn observe(&mut self, lamport: u64) {
        match self.a.clock.observe(lamport, since(self.a.epoch)) {
            Observed::Within => {}
            Observed::Held => self.count("lamport_held"),
            Observed::Jump => self.count("lamport_jump"),
        }
    }

    /// The first of so many Lamport times in a row, if they are reserved.
    fn tick(&mut self, many: usize) -> Option<u64> {
        let first = self.a.clock.tick().ok()?;
        (1..many)
            .try_for_each(|_| self.a.clock.tick().map(drop))
            .ok()?;
        Some(first)
    }

    fn command(
        &mut self,
        from: NodeId,
        order: Order,
        arrived: &mut Vec<Arrived>,
    ) -> Result<(), ActorProcessingErr> {
        let is_pull = matches!(order, Order::Pull { .. });
        if is_pull && !self.outboxes.entry(from).or_default().pulled() {
            self.count("pulls_dropped");
            return Ok(());
        }
        match order {
            Order::Pull { .. } | Order::Page(_) => {
                self.a.ring.directory(ToDirectory::Command(from, order))
            }
            Order::Checkpoint(order) => {
                let order = ToCheckpoints::Order(from, order);
                self.a.ring.checkpoints(order)
            }
            Order::Operation(order) => self.a.ring.operations(ToOperations::Order(from, order)),
            _ => {
                arrived.push((Input::Command(from, order), None));
                Ok(())
            }
        }
    }

    fn at_the_door(
        &mut self,
        frame: Verified,
        incoming: Incoming,
    ) -> Result<(), ActorProcessingErr> {
        let (key, link) = (frame.from, CurveKey(incoming.peer));
        let Some(reply) = incoming.reply.clone() else {
            return Ok(());
        };
        match frame.message {
            Message::Enrol(enrol) => self.a.ring.directory(ToDirectory::Enrol {
                key,
                link,
                enrol,
                reply,
            }),
            Message::Introduce(items) => {
                let message = ToDirectory::Introduce {
                    key,
                    link,
                    items,
                    reply,
                };
                self.a.ring.directory(message)
            }
            _ => {
                self.count("door_unwanted");
                Ok(())
            }
        }
    }

    fn socket(&mut self, event: Event) {
        match event {
            Event::Link {
                key,
                state: LinkState::Refused,
            } => self.turned_away(CurveKey(key)),
            Event::Link { key, state } => {
                let node = self.a.roster.by_curve(&CurveKey(key));
                let node = node.map(|member| member.entry.node.short());
                tracing::debug!(?node, ?state, "link");
            }
            Event::DoorAnswer { ticket, result } => {
                let Some(node) = self.doors.remove(&ticket) else {
                    return;
                };
                match result {
                    // The parent knows us now: the refused link is opened anew.
                    Ok(answer) if self.knows_us(&answer) => self.dial_now(node),
                    Ok(_) => tracing::debug!(node = %node.short(), "not known at the door"),
                    Err(why) => tracing::debug!(node = %node.short(), %why, "door"),
                }
            }
            Event::Twins { key } => self.has_twin(CurveKey(key)),
            // The node's own task sees this too and ends the process.
            Event::FailOpen => tracing::error!("a stranger's key was let in"),
        }
    }

    /// What the bytes say, if a member that is not revoked said it to this run.
    pub(super) fn opened(
        &self,
        bytes: &[u8],
        channel: Channel,
        topic: Option<&Topic>,
    ) -> Result<Verified, Refusal> {
        let own = self.a.identity.id();
        let receiver = Receiver {
            mesh: &self.a.mesh,
            node: &own,
            incarnation: self.a.incarnation,
        };
        let roster = &self.a.roster;
        wire::open(bytes, channel, topic, receiver, |node| roster.signer(node))
    }
}

#[cfg(test)]
mod tests;
