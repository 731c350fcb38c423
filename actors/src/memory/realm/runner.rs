//! The loop of the thread: takes orders, lets the swarm work, hands events out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::ids::{Label, NodeId};
use libp2p::Swarm;
use libp2p::futures::StreamExt;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};

use super::asks::Asks;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::book::Book;
use super::counters::Counters;
use super::outbox::Outbox;
use super::queries::Queries;
use super::settings::{Limits, Settings};
use super::traffic::Order;
use crate::transport::Bucket;

/// Silent connections and queries that take too long are looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All that the thread owns.
pub struct Runner {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) me: NodeId,
    /// In the places that [`Behaviour::kad`] knows.
    pub(super) realms: Vec<Label>,
    pub(super) members: BTreeSet<NodeId>,
    pub(super) book: Book,
    pub(super) limits: Limits,
    pub(super) counters: Arc<Counters>,
    pub(super) out: Outbox,
    pub(super) queries: Queries,
    pub(super) asks: Asks,
    /// What each member may still put.
    pub(super) puts: BTreeMap<NodeId, Bucket>,
    /// When each connection gave its last sign of life.
    pub(super) heard: BTreeMap<ConnectionId, Instant>,
    look_at: Instant,
}

impl Runner {
    pub fn new(
        swarm: Swarm<Behaviour>,
        me: NodeId,
        settings: &Settings,
        book: Book,
        counters: Arc<Counters>,
        out: Outbox,
    ) -> Self {
        Self {
            swarm,
            me,
            realms: settings.realms.clone(),
            members: BTreeSet::new(),
            book,
            limits: settings.limits,
            counters,
            out,
            queries: Queries::default(),
            asks: Asks::default(),
            puts: BTreeMap::new(),
            heard: BTreeMap::new(),
            look_at: Instant::now(),
        }
    }

    /// Until it is told to stop, or nobody can give orders any more.
    pub async fn run(mut self, mut orders: Receiver<Order>) {
        loop {
            let next = self.book.next();
            let wake = next.map_or(self.look_at, |next| next.min(self.look_at));
            tokio::select! {
                order = orders.recv() => match order {
                    None | Some(Order::Stop) => return,
                    Some(order) => self.obey(order),
                },
                event = self.swarm.select_next_some() => self.hear(event),
                () = sleep_until(wake) => self.look(),
                () = self.out.room(), if self.out.is_waiting() => self.out.flush(),
            }
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.dial_due(now);
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            self.cut_silent(now);
        }
    }

    fn hear(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping)) => self.ping_over(&ping),
            SwarmEvent::Behaviour(BehaviourEvent::Asks(event)) => self.ask_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::First(event)) => self.kad_event(0, event),
            SwarmEvent::Behaviour(BehaviourEvent::Second(event)) => self.kad_event(1, event),
            event => self.link_event(event),
        }
    }

    /// The place of a realm.
    pub(super) fn place(&self, realm: &Label) -> Option<usize> {
        self.realms.iter().position(|known| known == realm)
    }
}
