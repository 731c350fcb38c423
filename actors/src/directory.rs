//! The directory actor: owns who belongs, and answers at the door.
//!
//! Revocations come here over the link lane, where nothing is dropped; gossip comes
//! through the same transport actor, but not into this one's mailbox. What follows of
//! a step waits until what it makes durable is on disk; `durable.rs` says what happens
//! where the disk does not take it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use chorus_protocol::gossip::{self, Known};
use chorus_protocol::ids::{Digest, MeshId, NodeId};
use chorus_protocol::trust::directory::{Directory, Input, Output};
use chorus_protocol::trust::door::Door;
use chorus_protocol::trust::item::digest_of;
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::Identity;
use chorus_protocol::wire::message::{Command, Message};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::durable::{Pending, Then};
use crate::gossip::since;
use crate::memory::ToMemory;
use crate::messages::{DirectoryView, Ring, ToCheckpoints, ToDirectory, ToGossip, ToTransport};
use crate::store::{StoreHandle, Write};
use crate::throttle::LogThrottle;
use crate::transport::sockets::DoorReply;

/// How long after a change the mirror is written: a join changes much at once.
const MIRROR_AFTER: Micros = Micros::from_secs(1);

/// What the actor needs.
#[derive(Debug)]
pub struct Arguments {
    /// The mesh.
    pub mesh: MeshId,
    /// Signs entries of newcomers.
    pub identity: Arc<Identity>,
    /// The mesh's root key, where this home has it: lets newcomers enrol others in turn.
    pub root_key: Option<Identity>,
    /// The machine, restored.
    pub directory: Directory,
    /// Digests of restored items that count no more.
    pub forget: Vec<Digest>,
    /// The door's machine, restored.
    pub door: Door,
    /// The origin of the monotonic clock.
    pub epoch: Instant,
    /// Where items are kept.
    pub store: StoreHandle,
    /// The other actors.
    pub ring: Arc<Ring>,
}

/// The actor.
#[derive(Debug)]
pub struct DirectoryActor;

/// What it owns.
#[derive(Debug)]
pub struct State {
    pub(crate) arguments: Arguments,
    /// Writes under way, and what is to be done once they are durable.
    pub(crate) pending: BTreeMap<u64, Pending>,
    pub(crate) writes: u64,
    /// Writes that failed, to be tried again, and how many were dropped.
    pub(crate) failed: VecDeque<Pending>,
    pub(crate) dropped: u64,
    pub(crate) retry_at: Micros,
    /// The roster that the others were told of: all of it is durable, or a
    /// neighbour's.
    pub(crate) told: Arc<Roster>,
    pub(crate) rejected: u64,
    /// When the mirror beside the keys is due, if it is behind.
    pub(crate) mirror_at: Option<Micros>,
    /// Revoked nodes that knock: how seldom that is logged.
    pub(crate) turned_away: LogThrottle,
}

impl Actor for DirectoryActor {
    type Msg = ToDirectory;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ToDirectory>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let forget = arguments.forget.clone();
        let told = arguments.directory.roster().clone();
        let mut state = State {
            arguments,
            pending: BTreeMap::new(),
            writes: 0,
            failed: VecDeque::new(),
            dropped: 0,
            retry_at: Micros::ZERO,
            told,
            rejected: 0,
            mirror_at: Some(Micros::ZERO),
            turned_away: LogThrottle::default(),
        };
        if !forget.is_empty() {
            state.persist(&myself, vec![Write::Forget(forget)], Vec::new(), false);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ToDirectory>,
        message: ToDirectory,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let input = match message {
            ToDirectory::Compare(from, items, digest) => Input::Heard {
                from,
                items,
                digest,
            },
            ToDirectory::Command(from, Command::Pull { buckets }) => {
                state.handle(&myself, Input::Pulled { from, buckets }, Vec::new())?;
                return state.transport(ToTransport::Answered(from));
            }
            ToDirectory::Command(from, Command::Page(items)) => Input::Page { from, items },
            ToDirectory::Command(..) => return Ok(()),
            ToDirectory::Own(items) => Input::Own(items),
            ToDirectory::Tick => {
                state.mirror(&myself);
                state.retry(&myself);
                Input::Tick
            }
            ToDirectory::Enrol {
                key,
                link,
                enrol,
                reply,
            } => return state.enrol(&myself, key, link, &enrol, reply),
            ToDirectory::Introduce {
                key,
                link,
                items,
                reply,
            } => return state.introduce(&myself, key, link, items, reply),
            ToDirectory::Durable(write, result) => return state.written(&myself, write, result),
            ToDirectory::Inspect(reply) => {
                let _ = reply.send(state.view());
                return Ok(());
            }
        };
        state.handle(&myself, input, Vec::new())
    }
}

impl State {
    /// Feeds the machine; `after` is done when all that it wants durable is.
    pub(crate) fn handle(
        &mut self,
        myself: &ActorRef<ToDirectory>,
        input: Input,
        after: Vec<Then>,
    ) -> Result<(), ActorProcessingErr> {
        let now = since(self.arguments.epoch);
        let own = matches!(input, Input::Own(_));
        let outputs = self.arguments.directory.handle(input, now);
        let mut writes = Vec::new();
        let mut then = Vec::new();
        for output in outputs {
            match output {
                Output::Persist(items) => writes.push(Write::Items(
                    items
                        .iter()
                        .map(|item| (*item.digest(), item.bytes().to_vec()))
                        .collect(),
                )),
                Output::Forget(digests) => writes.push(Write::Forget(digests)),
                other => then.push(Then::Output(other)),
            }
        }
        then.extend(after);
        if writes.is_empty() {
            return self.go_on_all(myself, then);
        }
        self.persist(myself, writes, then, own);
        Ok(())
    }

    pub(crate) fn go_on_all(
        &mut self,
        myself: &ActorRef<ToDirectory>,
        then: Vec<Then>,
    ) -> Result<(), ActorProcessingErr> {
        then.into_iter()
            .try_for_each(|step| self.go_on(myself, step))
    }

    pub(crate) fn go_on(
        &mut self,
        myself: &ActorRef<ToDirectory>,
        step: Then,
    ) -> Result<(), ActorProcessingErr> {
        match step {
            Then::Output(Output::Send { to, command }) => {
                self.transport(ToTransport::Deliver(to, command))?;
            }
            Then::Output(Output::Changed {
                revoked,
                admitted,
                altered,
                ..
            }) => {
                let members = self.arguments.directory.roster().len();
                let [admitted, altered, gone] =
                    [&admitted, &altered, &revoked].map(|nodes| nodes.len());
                // An announcement is nobody's coming or going, and any member may make many.
                if admitted + altered + gone > 0 {
                    tracing::info!(admitted, altered, revoked = gone, members, "roster changed");
                } else {
                    tracing::debug!(members, "roster changed");
                }
                if revoked.contains(&self.arguments.identity.id()) {
                    tracing::error!("this node was revoked; join with new keys, in a new home");
                }
                let soon = since(self.arguments.epoch) + MIRROR_AFTER;
                self.mirror_at.get_or_insert(soon);
                self.tell()?;
            }
            Then::Output(Output::Rejected { from, why }) => {
                self.rejected += 1;
                tracing::debug!(?from, %why, "item not taken");
            }
            Then::Output(_) => {}
            Then::Admit(items, node, reply) => {
                let welcome = Then::Welcome(node, reply);
                let digests: Vec<_> = items.iter().map(|it| digest_of(it)).collect();
                let set = self.arguments.directory.set();
                if digests.iter().all(|it| set.holds(it)) {
                    let same = |it: &Write| digests.iter().any(|digest| it.holds(digest));
                    return self.follow(myself, welcome, same);
                }
                self.handle(myself, Input::Own(items), vec![welcome])?;
            }
            Then::Welcome(node, reply) => {
                let items = self.arguments.directory.welcome(&node);
                self.answer(reply, node, Message::Welcome(items))?;
            }
            Then::Introduced(node, link, reply) => self.introduced(node, link, reply)?,
        }
        Ok(())
    }

    /// Tells the others of the roster.
    fn tell(&mut self) -> Result<(), ActorProcessingErr> {
        self.told = self.arguments.directory.roster().clone();
        let directory = &self.arguments.directory;
        let own = self.arguments.identity.id();
        let introduction = directory.credentials(&own);
        self.transport(ToTransport::Roster(
            directory.roster().clone(),
            introduction,
        ))?;
        let told = ToCheckpoints::Roster(directory.roster().clone(), *directory.digest());
        self.arguments.ring.checkpoints(told)?;
        let known = Known {
            roster: directory.roster().clone(),
            items: directory.items(),
            digest: *directory.digest(),
        };
        let input = gossip::Input::Directory(known);
        self.arguments.ring.gossip(ToGossip::Input(input))?;
        let roster = directory.roster().clone();
        self.arguments.ring.memory(ToMemory::Roster(roster))
    }

    pub(crate) fn answer(
        &self,
        to: DoorReply,
        node: NodeId,
        message: Message,
    ) -> Result<(), ActorProcessingErr> {
        self.transport(ToTransport::AnswerDoor(to, node, message))
    }

    pub(crate) fn transport(&self, message: ToTransport) -> Result<(), ActorProcessingErr> {
        self.arguments.ring.transport(message)
    }

    fn view(&self) -> DirectoryView {
        let directory = &self.arguments.directory;
        DirectoryView {
            roster: self.told.clone(),
            items: directory.items(),
            digest: *directory.digest(),
            unwritten: self.unwritten(),
            refused: self.refused(),
            dropped: self.dropped,
            rejected: self.rejected,
            held: directory.held(),
            waiting_on: directory.waiting_on().map(|(node, ..)| node).collect(),
        }
    }
}
