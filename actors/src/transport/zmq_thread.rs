//! The one OS thread that owns every ZeroMQ socket of a node, the ZAP handler among them.
//!
//! A round: wait for sockets or to be woken, judge handshakes, read what came (a bounded
//! number of messages for each socket), perform commands, and twice a second look after
//! connections, questions at doors, and the wrong-key probe. No send ever blocks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use super::config::{Bound, SocketsConfig};
use super::counters::{Counters, count};
use super::door::Questions;
use super::endpoint;
use super::error::Error;
use super::gathering::Gathering;
use super::inbox::Inbox;
use super::inward::{Inward, MESH_SOCKETS, Which};
use super::keys::Key;
use super::messages::{Command, Event, GOSSIP_SHARE, Lanes};
use super::names::Names;
use super::outward::Outwards;
use super::readiness::Source;
use super::selftest::{self, Probe};
use super::shares::Shares;

use super::limiter::DoorLimiter;
use super::zap::Zap;

/// Commands performed before the sockets have their turn.
const COMMANDS_BURST: usize = 512;
const TICK: Duration = Duration::from_millis(500);
/// How soon to look again while an address is not free or no link permit is left.
const RETRY: Duration = Duration::from_millis(5);

/// Body of the thread: reports once through `started` whether it listens, then serves until
/// it is told to stop.
pub fn run(
    config: SocketsConfig,
    context: zmq::Context,
    inbox: Inbox,
    lanes: Lanes,
    counters: Arc<Counters>,
    started: &SyncSender<Result<Bound, Error>>,
) {
    match Thread::start(config, context, inbox, lanes, counters) {
        Ok(mut thread) => {
            let bound = thread.inward.bound();
            if started.send(Ok(bound)).is_ok() {
                while thread.round() == Next::Again {}
            }
        }
        Err(error) => {
            // Nobody waits only if the starter has died, and then nothing is to be said.
            let _ = started.send(Err(error));
        }
    }
}

/// Whether another round follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Again,
    Stop,
}

/// The thread's state: every socket, and the ends of every queue.
pub(super) struct Thread {
    pub(super) config: SocketsConfig,
    context: zmq::Context,
    pub(super) inbox: Inbox,
    pub(super) lanes: Lanes,
    pub(super) counters: Arc<Counters>,
    pub(super) zap: Zap,
    pub(super) inward: Inward,
    pub(super) outward: Outwards,
    pub(super) questions: Questions,
    pub(super) names: Names,
    pub(super) door_limiter: DoorLimiter,
    pub(super) gathering: Gathering,
    pub(super) shares: Shares,
    /// The link sockets are left alone until permits return: that is the back-pressure.
    pub(super) link_paused: bool,
    /// Whose turn it was when no permit was left.
    pub(super) link_turn: Option<Source>,
    /// Some socket cannot be waited for; each tick looks at all and tries again.
    unwatched: bool,
    probe: Option<Probe>,
    next_probe: Instant,
    next_tick: Instant,
    /// Some listening socket waits for its address.
    pub(super) closed: bool,
    /// Commands were left when their turn was over.
    backlog: bool,
    pub(super) next: Next,
}

impl Thread {
    /// Brings everything up, in the order that keeps a half-started node closed.
    pub(super) fn start(
        config: SocketsConfig,
        context: zmq::Context,
        inbox: Inbox,
        lanes: Lanes,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let mut zap =
            Zap::start(&context).map_err(|source| Error::zmq("the ZAP handler", source))?;
        selftest::run(&context, &mut zap)?;
        zap.go_live(config.allow.clone(), counters.clone());
        let inward = Inward::start(context.clone(), &config, counters.clone())?;
        let now = Instant::now();
        let waker = inbox.waker.clone();
        let names = Names::new(move || waker.wake());
        let (keys, counted) = (config.keys.clone(), counters.clone());
        Ok(Self {
            outward: Outwards::new(context.clone(), keys.clone(), counted, names.clone()),
            questions: Questions::new(context.clone(), keys, names.clone()),
            names,
            door_limiter: DoorLimiter::new(config.door_rate),
            gathering: Gathering::default(),
            shares: Shares::new(GOSSIP_SHARE),
            link_paused: false,
            link_turn: None,
            unwatched: false,
            probe: None,
            next_probe: now + config.probe_interval,
            next_tick: now + TICK,
            closed: false,
            backlog: false,
            next: Next::Again,
            config,
            context,
            inbox,
            lanes,
            counters,
            zap,
            inward,
        })
    }

    /// One round; waits up to a tick for something to do.
    pub(super) fn round(&mut self) -> Next {
        let readable = self.wait();
        let now = Instant::now();
        let mut links = Vec::new();
        for source in readable {
            match source {
                Source::Dealer(_) | Source::Router => links.push(source),
                _ => self.read(source, now),
            }
        }
        self.read_links(links);
        if let Some(gathered) = self.gathering.take(now) {
            self.read_gossip(gathered, now);
        }
        if self.backlog {
            self.perform_commands(now);
        }
        if self.closed {
            self.closed = !self.inward.reopen();
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now);
        }
        self.next
    }

    /// Waits until a socket can be read, a command comes, or something else is due.
    fn wait(&mut self) -> BTreeSet<Source> {
        self.watch_new();
        self.resume_links();
        let gathered = self.gathering.due();
        let due = gathered.map_or(self.next_tick, |due| due.min(self.next_tick));
        let mut timeout = due.saturating_duration_since(Instant::now());
        if self.closed || self.link_paused {
            timeout = timeout.min(RETRY);
        }
        if self.backlog {
            timeout = Duration::ZERO;
        }
        self.inbox.readiness.wait(timeout)
    }

    /// Begins to wait for the sockets that were made since the last time.
    fn watch_new(&mut self) {
        let made = [
            std::mem::take(&mut self.inward.made),
            std::mem::take(&mut self.outward.made),
            std::mem::take(&mut self.questions.made),
        ];
        if !made.contains(&true) {
            return;
        }
        let zap = std::iter::once((Source::Zap, self.zap.socket()));
        let sockets = zap
            .chain(self.inward.sources())
            .chain(self.outward.sources())
            .chain(self.questions.sources());
        if let Err(error) = self.inbox.readiness.watch(sockets) {
            count(&self.counters.unwatched);
            if !self.unwatched {
                tracing::warn!(%error, "a socket cannot be waited for: is there memory left?");
            }
            self.unwatched = true;
        } else {
            self.unwatched = false;
        }
    }

    pub(super) fn perform_commands(&mut self, now: Instant) {
        self.backlog = false;
        for _ in 0..COMMANDS_BURST {
            match self.inbox.queue.try_recv() {
                Ok(command) => self.perform(command, now),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.next = Next::Stop;
                    return;
                }
            }
        }
        self.backlog = true;
    }

    fn perform(&mut self, command: Command, now: Instant) {
        match command {
            Command::Publish { topic, frame } => self.publish(&topic, &frame),
            Command::SendTo { to, frame } => self.send_to(&to, &frame),
            Command::Dial {
                key,
                router,
                publisher,
                subscriber,
            } => {
                let (publisher, subscriber) = (publisher.as_deref(), subscriber.as_deref());
                self.outward.dial(key, &router, publisher, subscriber, now);
            }
            Command::Hangup { key } => drop(self.outward.links.remove(&key)),
            Command::DialSibling { key, publishers } => {
                self.outward.dial_sibling(key, publishers, now)
            }
            Command::HangupSibling { key } => drop(self.outward.siblings.remove(&key)),
            Command::Subscribe { sub, sib } => self.subscribe(sub, sib),
            Command::Allow(allow) => self.allow(allow),
            Command::AskDoor {
                ticket,
                key,
                endpoint,
                frame,
                within,
            } => {
                let asked = self
                    .questions
                    .ask(ticket, &key, &endpoint, &frame, now + within);
                match asked {
                    Ok(()) => count(&self.counters.sent),
                    Err(error) => self.report(Event::DoorAnswer {
                        ticket,
                        result: Err(error),
                    }),
                }
            }
            Command::AnswerDoor { to, frame } => {
                let sent = send_routed(self.inward.socket(Which::Door), &to.0, &frame);
                self.inbox.readiness.look_again(Source::Door);
                self.count_send(sent);
            }
            Command::Shutdown => self.next = Next::Stop,
        }
    }

    fn send_to(&mut self, to: &Key, frame: &[u8]) {
        let sent = if let Some(link) = self.outward.links.get(to) {
            self.inbox.readiness.look_again(Source::Dealer(*to));
            link.dealer.socket().send(frame, zmq::DONTWAIT)
        } else if let Some(id) = self.inward.routes.find(to) {
            self.inbox.readiness.look_again(Source::Router);
            send_routed(self.inward.socket(Which::Router), id, frame)
        } else {
            Err(zmq::Error::EHOSTUNREACH)
        };
        if sent == Err(zmq::Error::EHOSTUNREACH) {
            self.inward.routes.forget(to);
        }
        self.count_send(sent);
    }

    fn count_send(&self, sent: zmq::Result<()>) {
        count(match sent {
            Ok(()) => &self.counters.sent,
            // A dialled link that is down says the same as one whose queue is full.
            Err(zmq::Error::EAGAIN) => &self.counters.link_full,
            Err(_) => &self.counters.unroutable,
        });
    }

    fn subscribe(&mut self, sub: Vec<Vec<u8>>, sib: Vec<Vec<u8>>) {
        let inward = self.inward.subscribe(sub.clone());
        if let Err(error) = inward.and_then(|()| self.outward.subscribe(sub, sib)) {
            tracing::warn!(%error, "subscriptions were not all taken over");
        }
        // Options were set on every SUB.
        (self.inward.made, self.outward.made) = (true, true);
    }

    fn allow(&mut self, allow: Arc<BTreeSet<Key>>) {
        let (removed, connected) = self.zap.replace_allow(allow);
        for key in &removed {
            self.outward.forget(key);
            self.inward.routes.forget(key);
            self.shares.forget(key);
        }
        if connected {
            tracing::info!(removed = removed.len(), "listening sockets are rebuilt");
            self.inward.rebuild(&MESH_SOCKETS);
            self.zap.forget_admitted();
            self.closed = true;
        }
    }

    /// Sees what became of connections, and makes those that waited for a name.
    pub(super) fn tend(&mut self, now: Instant) {
        for (key, state) in self.outward.tend(now, self.config.redial_after) {
            self.report(Event::Link { key, state });
        }
        self.questions.ask_named();
    }

    fn tick(&mut self, now: Instant) {
        self.tend(now);
        for (ticket, error) in self.questions.expired(now) {
            self.report(Event::DoorAnswer {
                ticket,
                result: Err(error),
            });
        }
        self.inward.made |= self.unwatched;
        self.inward.look_at_gates(now);
        self.inward.mend_door();
        self.zap.forgive(now);
        self.look_at_topics(now);
        // Also finds out that every handle is gone, which wakes nobody.
        self.perform_commands(now);
        self.tend_probe(now);
    }

    fn tend_probe(&mut self, now: Instant) {
        if self.probe.as_ref().is_some_and(|probe| probe.is_over(now)) {
            self.probe = None;
        }
        if now < self.next_probe {
            return;
        }
        self.next_probe = now + self.config.probe_interval;
        let endpoint = endpoint::own(&self.inward.bound().router);
        let server = self.config.keys.public;
        match Probe::knock(&self.context, &mut self.zap, &server, &endpoint, now) {
            Ok(probe) => self.probe = Some(probe),
            Err(error) => tracing::warn!(%error, "the wrong-key probe could not knock"),
        }
    }

    pub(super) fn report(&self, event: Event) {
        if self.lanes.events.try_send(event).is_err() {
            count(&self.counters.events_dropped);
        }
    }
}

fn send_routed(socket: Option<&zmq::Socket>, id: &[u8], frame: &[u8]) -> zmq::Result<()> {
    let socket = socket.ok_or(zmq::Error::EHOSTUNREACH)?;
    socket.send_multipart([id, frame], zmq::DONTWAIT)
}
