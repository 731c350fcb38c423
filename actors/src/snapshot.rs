//! Snapshot: a node as it stands, asked of its actors one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chorus_protocol::gossip as gossip_machine;
use chorus_protocol::ids::{Digest, Incarnation, Label, NodeId};
use chorus_protocol::membership::topology::Member;
use chorus_protocol::memory::checkpoint;
use chorus_protocol::trust::roster::Roster;
use tokio::sync::oneshot;

use crate::memory::MemoryView;
use crate::messages::{ToCheckpoints, ToDirectory, ToGossip, ToOperations, ToTransport};
use crate::node::Node;
use crate::operations::OperationsView;

/// How long an answer of an actor may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A node as it stands.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Who and where.
    pub me: Member,
    /// Its name.
    pub name: Label,
    /// This run.
    pub incarnation: Incarnation,
    /// Its Lamport time.
    pub lamport: u64,
    /// Phase, field, tree.
    pub view: gossip_machine::View,
    /// Everyone it knows.
    pub peers: Vec<gossip_machine::PeerView>,
    /// Who belongs.
    pub roster: Arc<Roster>,
    /// Directory items held.
    pub items: u32,
    /// Their digest.
    pub digest: Digest,
    /// Frames refused, by reason.
    pub refusals: Vec<(&'static str, u64)>,
    /// Sockets, queues, delivery.
    pub counters: Vec<(&'static str, u64)>,
    /// Nodes with whose keys two processes run, as far as is seen here.
    pub twins: Vec<NodeId>,
    /// A run of this node later than this one, if one was told of: its home is an older copy.
    pub later_run: Option<Incarnation>,
    /// Nodes that do not acknowledge what they are sent, and how often it was sent in vain.
    pub unheard: Vec<(NodeId, u32)>,
    /// Its checkpoints.
    pub checkpoints: checkpoint::View,
    /// When this run began.
    pub started: Instant,
    /// Its records.
    pub memory: MemoryView,
    /// The operations, and the agents.
    pub operations: OperationsView,
}

impl Node {
    /// Who belongs; `None` when it is stopping.
    pub async fn roster(&self) -> Option<Arc<Roster>> {
        let (reply, answer) = oneshot::channel();
        self.ring.directory(ToDirectory::Inspect(reply)).ok()?;
        Some(wait(answer).await?.roster)
    }

    /// The node as it stands; `None` when it is stopping.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.ring.transport(ToTransport::Inspect(reply)).ok()?;
        let transport = wait(answer).await?;
        let (reply, answer) = oneshot::channel();
        let inspect = ToGossip::Inspect(transport.lamport, reply);
        self.ring.gossip(inspect).ok()?;
        let (view, peers) = wait(answer).await?;
        let (reply, answer) = oneshot::channel();
        self.ring.directory(ToDirectory::Inspect(reply)).ok()?;
        let directory = wait(answer).await?;
        let (reply, answer) = oneshot::channel();
        self.ring.checkpoints(ToCheckpoints::Inspect(reply)).ok()?;
        let checkpoints = wait(answer).await?;
        let (reply, answer) = oneshot::channel();
        self.ring.operations(ToOperations::Inspect(reply)).ok()?;
        let operations = wait(answer).await?;
        let mut memory = self.memory.view().await.ok()?;
        let mut counters = transport.counters;
        counters.append(&mut memory.counters);
        counters.extend(self.store.disk().counters());
        counters.extend(self.findings.iter().copied());
        counters.extend(directory.counters());
        counters.extend([
            ("checkpoints_refused", checkpoints.refused),
            ("checkpoints_unwritten", checkpoints.unwritten),
            ("operations_refused", operations.refused),
            ("agents_malformed", operations.malformed),
            ("agents_tokens", operations.tokens),
            ("agents_expired", operations.expired),
            ("agents_unlisted", operations.unlisted),
        ]);
        Some(Snapshot {
            me: self.me,
            name: self.name,
            incarnation: transport.incarnation,
            lamport: transport.lamport,
            view,
            peers,
            roster: directory.roster,
            items: directory.items,
            digest: directory.digest,
            refusals: transport.refusals,
            counters,
            twins: transport.twins,
            later_run: transport.later_run,
            unheard: transport.unheard,
            checkpoints,
            started: self.started,
            memory,
            operations,
        })
    }
}

/// The answer, if it comes in time.
pub(crate) async fn wait<T>(answer: oneshot::Receiver<T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
}
