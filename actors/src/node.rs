//! A whole node: started in order, supervised, and stopped in order.
//!
//! Order of the start: home locked, boot counted, store and journal opened,
//! directory restored, Lamport time reserved, sockets self-tested and bound,
//! actors. Nothing is said before all of that holds. An actor that fails takes
//! the node with it ([`Node::failed`]): its state cannot be trusted any longer,
//! and a restart is a new incarnation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chorus_protocol::causality::lamport::{BLOCK, Clock};
use chorus_protocol::causality::version::Replica;
use chorus_protocol::gossip::Known;
use chorus_protocol::ids::{Incarnation, Label, NodeId};
use chorus_protocol::membership::topology::Member;
use chorus_protocol::memory::{checkpoint, replication};
use chorus_protocol::trust::directory::{Directory, Output};
use chorus_protocol::trust::door::Door;
use chorus_protocol::trust::item::Entry;
use chorus_protocol::trust::roster::Roster;
use chorus_storage::boot;
use chorus_storage::home::Lock;
use ractor::{Actor, ActorRef};
use tokio::sync::{mpsc, oneshot};

use crate::conflicts::ConflictLog;
use crate::measures::Measures;
use crate::memory::realm::{self, Realms};
use crate::memory::{self, MemoryHandle};
use crate::messages::{Ring, ToDirectory, ToGossip, ToOperations};
use crate::operations::OperationsHandle;
pub use crate::plan::{Plan, StartError};
use crate::restore::{Findings, keep_beside, restore, take};
use crate::snapshot::wait;
use crate::store::StoreHandle;
use crate::supervisor::{Fatal, Supervisor, carry, home_lost, look_for_home, tick};
use crate::transport::actor::TransportActor;
use crate::transport::counters::Counters;
use crate::transport::sockets::{self, Bound, CurveKeys, SocketsConfig};
use crate::{checkpoints, directory, gossip, operations, store, transport};

/// A running node.
#[derive(Debug)]
pub struct Node {
    pub(crate) me: Member,
    pub(crate) name: Label,
    bound: Bound,
    memory_at: Option<SocketAddr>,
    pub(crate) memory: MemoryHandle,
    pub(crate) operations: OperationsHandle,
    pub(crate) started: Instant,
    pub(crate) findings: Findings,
    pub(crate) ring: Arc<Ring>,
    supervisor: ActorRef<()>,
    sockets: sockets::Handle,
    pub(crate) store: StoreHandle,
    threads: Vec<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
    failure: tokio::sync::Mutex<mpsc::Receiver<Fatal>>,
    lock: Arc<Lock>,
}

impl Node {
    /// Starts a node. Call it inside a tokio runtime.
    pub async fn start(plan: Plan) -> Result<Node, StartError> {
        let lock = take(&plan.home).await?;
        let boot = boot::start(&plan.home)?;
        let mut restored = restore(&plan.home, boot)?;
        let own = plan.identity.id();
        let mesh = chorus_protocol::trust::mesh_of(&plan.root);
        let (machine, outputs) = Directory::new(mesh, plan.root, own, &restored.items);
        let forget = outputs
            .into_iter()
            .filter_map(|output| match output {
                Output::Forget(digests) => Some(digests),
                _ => None,
            })
            .flatten()
            .collect();
        let roster = machine.roster().clone();
        let entry = belongs(&roster, &own, &plan.curve)?;
        let me = entry.in_tree();
        let mended = keep_beside(&plan.home, &machine, &own);
        restored.findings.push(("entry_mended", u64::from(mended)));
        let boot = &mut restored.disk.boot;
        let incarnation = Incarnation::new(entry.floor, boot.boot());
        let mut clock = Clock::new(boot.lamport_from());
        let upto = boot.lamport_from().saturating_add(BLOCK);
        boot.reserve(upto)?;
        clock.reserved(upto);
        let memory_since = restored.memory_since(&own, incarnation)?;

        let counters = Arc::new(Counters::default());
        let allow = Arc::new(roster.allowed_curve_keys());
        let config = SocketsConfig {
            host: plan.host,
            ports: plan.ports,
            private: Some(plan.home.dir().join("run")),
            ..SocketsConfig::new(plan.curve, allow)
        };
        let (sockets, bound, upward, zmq_thread) = sockets::start(config, counters.clone())?;
        let (fail, failure) = mpsc::channel(4);
        let reader = restored.disk.store.reader();
        let realms = memory::realms(me.place.sector);
        let settings = realm::Settings {
            seed: plan.identity.seed(),
            mesh,
            realms: realms.clone(),
            listen: Some(SocketAddr::new(plan.host, plan.ports.memory)),
            lookup: memory::lookup(reader),
            limits: realm::Limits::default(),
        };
        // It waits for a runtime of its own, which it may not do on this one.
        let network = tokio::task::spawn_blocking(|| Realms::start(settings)).await;
        let (network, events) = network.map_err(|e| StartError::Spawn(e.to_string()))??;
        let memory_at = network.address();
        let measures = Measures::read(&restored.disk.store.reader());
        let conflicts = ConflictLog::start(&plan.home.conflicts(), &restored.disk.store.reader())?;
        let (store, store_thread) = store::start(restored.disk, fail.clone())
            .map_err(|e| StartError::Spawn(e.to_string()))?;

        let epoch = Instant::now();
        let ring = Arc::new(Ring::default());
        ring.set_lamport(clock.time());
        let identity = Arc::new(plan.identity);
        let introduction = machine.credentials(&own);
        let known = Known {
            roster: roster.clone(),
            items: machine.items(),
            digest: *machine.digest(),
        };
        let supervisor = spawn(Actor::spawn(None, Supervisor, fail.clone()).await)?;
        let cell = supervisor.get_cell();

        let arguments = checkpoints::Arguments {
            config: plan.checkpoints,
            setting: checkpoint::Setting {
                mesh,
                identity: identity.clone(),
                roster: roster.clone(),
                digest: known.digest,
            },
            restored: restored.checkpoints,
            epoch,
            store: store.clone(),
            ring: ring.clone(),
        };
        let actor = checkpoints::CheckpointsActor;
        let checkpoints = spawn(Actor::spawn_linked(None, actor, arguments, cell.clone()).await)?;
        let _ = ring.checkpoints.set(checkpoints);
        let arguments = operations::Arguments {
            me: own,
            run: incarnation,
            place: entry.place,
            agents: plan.agents,
            measures,
            store: store.clone(),
            epoch,
            ring: ring.clone(),
        };
        let actor = operations::OperationsActor;
        let operations = spawn(Actor::spawn_linked(None, actor, arguments, cell.clone()).await)?;
        let _ = ring.operations.set(operations.clone());
        let door = restored.door;
        let arguments = directory::Arguments {
            mesh,
            identity: identity.clone(),
            root_key: plan.root_key,
            directory: machine,
            forget,
            door: Door::new(mesh, own, door.id, door.closed, door.uses),
            epoch,
            store: store.clone(),
            ring: ring.clone(),
        };
        let actor = directory::DirectoryActor;
        let directory = spawn(Actor::spawn_linked(None, actor, arguments, cell.clone()).await)?;
        let _ = ring.directory.set(directory);
        let ticking = Arc::new(AtomicBool::new(false));
        let arguments = gossip::Arguments {
            config: plan.gossip,
            me,
            known,
            stamps: restored.stamps,
            seed: seed()?,
            epoch,
            ring: ring.clone(),
            store: store.clone(),
            ticking: ticking.clone(),
        };
        let gossip =
            spawn(Actor::spawn_linked(None, gossip::GossipActor, arguments, cell.clone()).await)?;
        let _ = ring.gossip.set(gossip);
        let arguments = memory::actor::Arguments {
            mesh,
            identity: identity.clone(),
            replica: Replica {
                node: own,
                since: memory_since,
            },
            run: incarnation,
            config: replication::Config {
                copies: plan.memory.copies,
                run: incarnation.boot().into(),
                ..replication::Config::default()
            },
            bytes_max: plan.memory.bytes_max,
            standing: restored.standing,
            roster: roster.clone(),
            realms,
            network,
            events,
            store: store.clone(),
            conflicts,
            ring: ring.clone(),
            epoch,
        };
        let actor = memory::actor::MemoryActor;
        let memory = spawn(Actor::spawn_linked(None, actor, arguments, cell.clone()).await)?;
        let _ = ring.memory.set(memory.clone());
        let arguments = transport::actor::Arguments {
            mesh,
            identity,
            incarnation,
            clock,
            roster,
            introduction,
            addresses: bound.addresses(&plan.advertise, memory_at),
            sockets: sockets.clone(),
            counters,
            epoch,
            store: store.clone(),
            ring: ring.clone(),
        };
        let transport = spawn(Actor::spawn_linked(None, TransportActor, arguments, cell).await)?;
        let _ = ring.transport.set(transport.clone());
        let stopping = Arc::new(AtomicBool::new(false));
        carry(upward, transport, fail, stopping.clone());
        let ticker = tick(ring.clone(), ticking, stopping.clone())
            .map_err(|e| StartError::Spawn(e.to_string()))?;
        Ok(Node {
            me,
            name: entry.name,
            bound,
            memory_at,
            memory: MemoryHandle(memory),
            operations: OperationsHandle(operations),
            started: epoch,
            findings: restored.findings,
            ring,
            supervisor,
            sockets,
            store,
            threads: vec![ticker, zmq_thread, store_thread],
            stopping,
            failure: tokio::sync::Mutex::new(failure),
            lock: Arc::new(lock),
        })
    }

    /// Its name.
    pub fn name(&self) -> Label {
        self.name
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.me.node
    }

    /// Where it listens, ports as they are.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Where its memory listens, the port as it is.
    pub fn memory_address(&self) -> Option<SocketAddr> {
        self.memory_at
    }

    /// The way to its records.
    pub fn memory(&self) -> MemoryHandle {
        self.memory.clone()
    }

    /// The way to its operations and agents.
    pub fn operations(&self) -> OperationsHandle {
        self.operations.clone()
    }

    /// Takes directory items that were signed here.
    pub fn own(&self, items: Vec<Vec<u8>>) {
        let _ = self.ring.directory(ToDirectory::Own(items));
    }

    /// Resolves, with the reason, when the node cannot go on.
    pub async fn failed(&self) -> Fatal {
        let mut failure = self.failure.lock().await;
        let why = tokio::select! {
            why = failure.recv() => why.unwrap_or(Fatal::Process("the supervisor is gone")),
            lost = home_lost(&self.lock) => return lost,
        };
        // What fails because its files are gone says so in fewer words than why they are.
        look_for_home(&self.lock).await.unwrap_or(why)
    }

    /// The node's actors, for tests that break one on purpose.
    pub fn actors(&self) -> &Ring {
        &self.ring
    }

    /// Stops: stamps and measures are saved, sockets closed, the store flushed.
    pub async fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        let (reply, saved) = oneshot::channel();
        if self.ring.gossip(ToGossip::Save(reply)).is_ok() {
            let _ = wait(saved).await;
        }
        let (reply, saved) = oneshot::channel();
        if self.ring.operations(ToOperations::Save(reply)).is_ok() {
            let _ = wait(saved).await;
        }
        self.supervisor.stop_children(None);
        self.supervisor.stop(None);
        let _ = self.sockets.send(sockets::Command::Shutdown);
        self.store.stop();
        let threads = self.threads;
        let join = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
        let _ = tokio::time::timeout(Duration::from_secs(4), join).await;
    }
}

/// The own entry, where it admits this node with this link key.
pub(crate) fn belongs(
    roster: &Roster,
    own: &NodeId,
    curve: &CurveKeys,
) -> Result<Arc<Entry>, StartError> {
    if roster.is_revoked(own) {
        return Err(StartError::Revoked);
    }
    let entry = roster.get(own).ok_or(StartError::NotAMember)?.entry.clone();
    if entry.curve.0 != curve.public {
        return Err(StartError::OtherLinkKey);
    }
    Ok(entry)
}

fn spawn<M>(
    spawned: Result<(ActorRef<M>, tokio::task::JoinHandle<()>), ractor::SpawnErr>,
) -> Result<ActorRef<M>, StartError> {
    match spawned {
        Ok((actor, _)) => Ok(actor),
        Err(why) => Err(StartError::Spawn(format!("an actor: {why}"))),
    }
}

fn seed() -> Result<u64, StartError> {
    getrandom::u64().map_err(|why| StartError::Spawn(format!("randomness: {why}")))
}
