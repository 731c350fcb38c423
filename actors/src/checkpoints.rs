//! The checkpoints' actor: owns the machine that makes, keeps and hands on checkpoints.
//!
//! The phases are gossip's and the Lamport time is the transport's, so a question for them
//! goes round by both and comes back as a message; nothing waits for it, nor for the cutting of
//! a large checkpoint into fragments, which is done on a thread of its own.

use std::sync::Arc;
use std::time::Instant;

use chorus_protocol::memory::checkpoint::{
    Checkpoints, Config, Event, Input, Kind, Name, Output, Refusal, Setting, coding,
};
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::wire::message::Command;
use chorus_storage::checkpoints::Files;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::gossip::since;
use crate::messages::{Ring, ToCheckpoints, ToTransport};
use crate::store::{StoreHandle, Write};

/// What the actor needs.
#[derive(Debug)]
pub struct Arguments {
    /// How often, and how long.
    pub config: Config,
    /// Who this is, and who belongs.
    pub setting: Setting,
    /// What is on disk, unchecked.
    pub restored: Vec<Files>,
    /// The origin of the monotonic clock.
    pub epoch: Instant,
    /// Where checkpoints are written.
    pub store: StoreHandle,
    /// The other actors.
    pub ring: Arc<Ring>,
}

/// The actor.
#[derive(Debug)]
pub struct CheckpointsActor;

/// What it owns.
#[derive(Debug)]
pub struct State {
    machine: Checkpoints,
    /// Who has which name, for the log.
    roster: Arc<Roster>,
    epoch: Instant,
    store: StoreHandle,
    ring: Arc<Ring>,
}

impl Actor for CheckpointsActor {
    type Msg = ToCheckpoints;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<ToCheckpoints>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let roster = arguments.setting.roster.clone();
        let (stems, files): (Vec<_>, Vec<_>) = arguments
            .restored
            .into_iter()
            .map(|it| (it.stem, (it.copy, it.certificate)))
            .unzip();
        let now = since(arguments.epoch);
        let (machine, damaged) = Checkpoints::new(arguments.config, arguments.setting, files, now);
        for number in damaged {
            let file = &stems[number];
            tracing::warn!(file, "a checkpoint is damaged: it is not used, and removed");
            let write = vec![Write::RemoveCheckpoint(file.clone())];
            arguments.store.write(write, Box::new(|_| {}));
        }
        Ok(State {
            machine,
            roster,
            epoch: arguments.epoch,
            store: arguments.store,
            ring: arguments.ring,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ToCheckpoints>,
        message: ToCheckpoints,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let input = match message {
            ToCheckpoints::Order(from, order) => Input::Order(from, order),
            ToCheckpoints::Around(around) => Input::Around(around),
            ToCheckpoints::Cut(epoch, cut) => Input::Cut(epoch, cut),
            ToCheckpoints::Roster(roster, digest) => {
                state.roster = roster.clone();
                Input::Roster(roster, digest)
            }
            ToCheckpoints::Persisted(name, what, result) => {
                if let Err(why) = &result {
                    tracing::warn!(epoch = name.epoch, why, "a checkpoint is not written");
                }
                Input::Persisted(name, what, result.is_ok())
            }
            ToCheckpoints::Coded(name, coded) => Input::Coded(name, coded),
            ToCheckpoints::Tick => Input::Tick,
            ToCheckpoints::Inspect(reply) => {
                let _ = reply.send(state.machine.view());
                return Ok(());
            }
        };
        let outputs = state.machine.handle(input, since(state.epoch));
        outputs
            .into_iter()
            .try_for_each(|output| state.perform(&myself, output))
    }
}

impl State {
    fn perform(
        &self,
        myself: &ActorRef<ToCheckpoints>,
        output: Output,
    ) -> Result<(), ActorProcessingErr> {
        match output {
            Output::Cut(epoch) => self.ring.transport(ToTransport::Cut(epoch))?,
            Output::Persist(name, what, bytes) => {
                let myself = myself.clone();
                let done = move |result| {
                    let _ = myself.cast(ToCheckpoints::Persisted(name, what, result));
                };
                let write = vec![Write::Checkpoint(name, what, bytes)];
                self.store.write(write, Box::new(done));
            }
            Output::Code(name, plan, bytes, numbers) => {
                let myself = myself.clone();
                let cut = move || coding::encode(&bytes, &plan, &numbers);
                let coded = tokio::task::spawn_blocking(cut);
                tokio::spawn(async move {
                    // Whatever happens there: the next epoch waits for an answer.
                    let none = Refusal::Malformed("division into fragments");
                    let coded = coded.await.unwrap_or(Err(none));
                    let _ = myself.cast(ToCheckpoints::Coded(name, coded));
                });
            }
            Output::Forget(name) => {
                let write = vec![Write::ForgetCheckpoint(name)];
                self.store.write(write, Box::new(|_| {}));
            }
            Output::Send(to, order) => {
                let order = Command::Checkpoint(order);
                self.ring.transport(ToTransport::Deliver(to, order))?;
            }
            Output::Event(event) => log(&event, &self.roster),
        }
        Ok(())
    }
}

/// Says what happened.
fn log(event: &Event, roster: &Roster) {
    let name = |node: &chorus_protocol::ids::NodeId| {
        let member = roster.get(node);
        member.map_or_else(|| node.short(), |it| it.entry.name.to_string())
    };
    let names = |nodes: &[_]| nodes.iter().map(name).collect::<Vec<_>>().join(",");
    let root = |name: &Name| name.root.short();
    match event {
        Event::Made(it, Kind::Branch, members) => tracing::info!(
            epoch = it.epoch,
            root = root(it),
            members,
            "a branch: the checkpoint of a side that is cut off from the mesh's root"
        ),
        Event::Made(it, _, members) => {
            tracing::debug!(epoch = it.epoch, root = root(it), members, "checkpoint");
        }
        Event::Durable(it, members) => {
            tracing::debug!(epoch = it.epoch, root = root(it), members, "durable");
        }
        Event::Partial(it, missing) => tracing::warn!(
            epoch = it.epoch,
            root = root(it),
            not_acknowledged_by = names(missing),
            "a checkpoint stays partial: not all who shall hold it said in time that they do"
        ),
        Event::Missing(epoch, nodes) => {
            tracing::debug!(
                epoch,
                of = names(nodes),
                "parts of a checkpoint did not come"
            );
        }
        Event::Refused(from, why) => {
            tracing::debug!(from = name(from), %why, "about checkpoints: not taken");
        }
        Event::TooLarge(members) => tracing::error!(
            members,
            "no checkpoint is made: there are more members than one can hold"
        ),
    }
}
