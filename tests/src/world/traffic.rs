//! Frames from machine to machine.

use std::sync::Arc;

use chorus_protocol::causality::lamport::Observed;
use chorus_protocol::delivery::Outbox;
use chorus_protocol::gossip::Input;
use chorus_protocol::ids::{Incarnation, NodeId, Stamp};
use chorus_protocol::trust::directory;
use chorus_protocol::units::Micros;
use chorus_protocol::wire::message::{Command, Deliver};
use chorus_protocol::wire::{Audience, Message, Topic, Verified};

use super::{Due, World};

/// The seeds' bound at 10 Hz and 0.1 s: min(max(16·10·0.1, 32), 128).
const SEED_BOUND: u64 = 32;
/// TCP tries again to connect after this long.
const RECONNECT: Micros = Micros::from_millis(500);

impl World {
    /// Whether something could go from one machine to the other now.
    fn passable(&self, from: usize, to: usize) -> bool {
        self.machines[to].run.is_some() && !self.cuts.iter().any(|cut| cut.stops(from, to))
    }

    fn opened(&self, child: usize, parent: usize) -> bool {
        let run = self.machines[child].run.as_ref();
        run.and_then(|run| run.dialled.get(&parent))
            .is_some_and(|since| *since <= self.now)
    }

    /// Whether there is a link, opened by either.
    pub(super) fn linked(&self, a: usize, b: usize) -> bool {
        self.opened(a, b) || self.opened(b, a)
    }

    pub(super) fn dial(&mut self, child: usize, parent: usize) {
        let Some(run) = self.machines[child].run.as_mut() else {
            return;
        };
        run.dialled.insert(parent, Micros::NEVER);
        let incarnation = run.incarnation;
        self.machines[parent].inbound.insert(child);
        // A handshake is two round trips.
        let soon = self.now + self.link.delay.times(4);
        self.at(
            soon,
            Due::Open {
                child,
                parent,
                run: incarnation,
            },
        );
    }

    pub(super) fn hang_up(&mut self, child: usize, parent: usize) {
        if let Some(run) = self.machines[child].run.as_mut() {
            run.dialled.remove(&parent);
            self.machines[parent].inbound.remove(&child);
        }
    }

    /// A connection is made, if both ways are open; else it is tried again. A
    /// parent that does not know the child is shown its entry at the door.
    pub(super) fn open(&mut self, child: usize, parent: usize, incarnation: Incarnation) {
        let now = self.now;
        let possible = self.passable(child, parent) && self.passable(parent, child);
        let Some(run) = self.machines[child].run.as_mut() else {
            return;
        };
        if run.incarnation != incarnation || run.dialled.get(&parent) != Some(&Micros::NEVER) {
            return;
        }
        if !possible {
            return self.at(
                now + RECONNECT,
                Due::Open {
                    child,
                    parent,
                    run: incarnation,
                },
            );
        }
        run.dialled.insert(parent, now);
        let node = self.machines[child].me.node;
        let credentials = self.run(child).directory.credentials(&node);
        let known = self.run(parent).directory.roster().get(&node).is_some();
        if !known && !self.options.light {
            self.direct(
                parent,
                directory::Input::Page {
                    from: node,
                    items: credentials,
                },
            );
        }
    }

    /// The next frame of a machine, stamped.
    fn stamp(
        &mut self,
        at: usize,
        to: Option<Audience>,
        message: Message,
    ) -> Option<Arc<Verified>> {
        let machine = &mut self.machines[at];
        let run = machine.run.as_mut()?;
        run.reserve(&mut machine.disk);
        let lamport = match run.clock.tick() {
            Ok(lamport) => lamport,
            Err(why) => {
                self.counts.violations.push(format!("machine {at}: {why}"));
                return None;
            }
        };
        let stamp = Stamp {
            incarnation: run.incarnation,
            lamport,
        };
        // A5: not in any run was this time used, nor a later one.
        if stamp <= machine.said || lamport <= machine.said.lamport {
            let said = machine.said;
            self.counts
                .violations
                .push(format!("machine {at} said {said:?} and then {stamp:?}"));
        }
        machine.said = stamp;
        *self.counts.said.entry((at, message.name())).or_default() += 1;
        let mut frame = Verified {
            from: machine.me.node,
            stamp,
            to,
            message,
        };
        if let Some(lie) = machine.lie {
            lie.tell(&mut frame);
        }
        Some(Arc::new(frame))
    }

    fn carry(&mut self, from: usize, to: usize, frame: &Arc<Verified>) {
        if !self.passable(from, to) {
            return;
        }
        if self.link.stream {
            // Publications and what is addressed have connections of their own.
            let way = (from, to, frame.to.is_some());
            let last = self.arrivals.get(&way).copied().unwrap_or_default();
            let at = self.link.flow(last, &mut self.noise, self.now);
            self.arrivals.insert(way, at);
            let frame = frame.clone();
            return self.at(at, Due::Frame { from, to, frame });
        }
        for after in self.link.travel(&mut self.noise) {
            self.at(
                self.now + after,
                Due::Frame {
                    from,
                    to,
                    frame: frame.clone(),
                },
            );
        }
    }

    /// PUB: to everybody who has a link and to siblings, by their subscriptions.
    pub fn publish(&mut self, at: usize, topic: Topic, message: Message) {
        if self.options.light && matches!(message, Message::Peers(_)) {
            return;
        }
        let topic = topic.to_bytes();
        let Some(frame) = self.stamp(at, None, message) else {
            return;
        };
        if self.options.full_mesh {
            for to in (0..self.machines.len()).filter(|to| *to != at) {
                self.carry(at, to, &frame);
            }
            return;
        }
        let machine = &self.machines[at];
        let Some(run) = &machine.run else { return };
        let wants = |to: usize, sibling: bool| {
            self.machines[to]
                .run
                .as_ref()
                .is_some_and(|run| run.wants(&topic, sibling))
        };
        let above = run
            .dialled
            .iter()
            .filter(|(_, since)| **since <= self.now)
            .map(|(to, _)| *to);
        let below = machine
            .inbound
            .iter()
            .copied()
            .filter(|child| self.opened(*child, at));
        let mut to: Vec<usize> = above.chain(below).filter(|to| wants(*to, false)).collect();
        to.extend(
            machine
                .listeners
                .iter()
                .copied()
                .filter(|to| wants(*to, true)),
        );
        for to in to {
            self.carry(at, to, &frame);
        }
    }

    /// ROUTER/DEALER: to one machine, if there is a link.
    pub(super) fn send(
        &mut self,
        at: usize,
        to: &NodeId,
        run: Option<Incarnation>,
        message: Message,
    ) {
        let audience = Audience {
            node: *to,
            incarnation: run,
        };
        let to = self.number(to);
        if !self.linked(at, to) {
            return;
        }
        if let Some(frame) = self.stamp(at, Some(audience), message) {
            self.carry(at, to, &frame);
        }
    }

    /// Takes a command for another machine and sends what may be sent.
    pub(super) fn post(&mut self, at: usize, to: NodeId, command: Command) {
        let Some(run) = self.machines[at].run.as_mut() else {
            return;
        };
        if run
            .outboxes
            .entry(to)
            .or_default()
            .push(command, self.now)
            .is_err()
        {
            self.counts.full += 1;
        }
        self.flush(at, &to);
    }

    fn flush(&mut self, at: usize, to: &NodeId) {
        if !self.linked(at, self.number(to)) {
            return;
        }
        let now = self.now;
        let run = self.machines[at].run.as_mut();
        let batch = run.and_then(|run| run.outboxes.get_mut(to)?.poll(now));
        let Some((incarnation, batch)) = batch else {
            return;
        };
        for deliver in batch {
            self.send(at, to, Some(incarnation), Message::Deliver(deliver));
        }
    }

    pub(super) fn flush_all(&mut self, at: usize) {
        let Some(run) = &self.machines[at].run else {
            return;
        };
        let waiting = run.outboxes.iter().filter(|(_, outbox)| !outbox.is_empty());
        for to in waiting.map(|(to, _)| *to).collect::<Vec<_>>() {
            self.flush(at, &to);
        }
    }

    /// A frame comes to a machine.
    pub(super) fn arrive(&mut self, from: usize, to: usize, frame: Arc<Verified>) {
        let now = self.now;
        let machine = &mut self.machines[to];
        let Some(run) = machine.run.as_mut() else {
            return;
        };
        match machine.asleep {
            Some((until, true)) if until > now => {
                return self.at(until, Due::Frame { from, to, frame });
            }
            Some((until, false)) if until > now => return,
            _ => {}
        }
        if !self.options.light && run.directory.roster().get(&frame.from).is_none() {
            self.counts.strangers += 1;
            return;
        }
        if frame
            .to
            .is_some_and(|to| to.incarnation.is_some_and(|run_| run_ != run.incarnation))
        {
            self.counts.other_run += 1;
            return;
        }
        *self.counts.arrived.entry(frame.message.name()).or_default() += 1;
        let state = matches!(
            frame.message,
            Message::Phase(_) | Message::Sums(_) | Message::Heartbeat(_) | Message::Peers(_)
        );
        if self.options.seed_bound && frame.stamp.lamport.abs_diff(run.clock.time()) > SEED_BOUND {
            self.counts.locked_out += 1;
            if let Some(healing) = self.healing.as_mut().filter(|_| state) {
                healing.came(from, to, false);
            }
            return;
        }
        let observed = run.clock.observe(frame.stamp.lamport, now);
        run.reserve(&mut machine.disk);
        let stale = run.gossip.counters().stale;
        run.outboxes
            .entry(frame.from)
            .or_default()
            .receiver(frame.stamp.incarnation);
        let outputs = run
            .gossip
            .handle(Input::Heard(Verified::clone(&frame)), now, &mut run.noise);
        if let Some(healing) = self.healing.as_mut().filter(|_| state) {
            healing.came(from, to, run.gossip.counters().stale == stale);
        }
        self.perform(to, outputs);
        if observed == Observed::Jump {
            *self.counts.jumps.entry((to, from)).or_default() += 1;
        }
        match &frame.message {
            Message::Deliver(deliver) => self.delivered(to, &frame, deliver.clone()),
            Message::Delivered(done) => {
                let run = self.machines[to].run.as_mut();
                if let Some(run) = run.filter(|run| run.incarnation == done.session) {
                    let outbox = run.outboxes.entry(frame.from).or_default();
                    outbox.acknowledged(frame.stamp.incarnation, done.seq);
                    self.flush(to, &frame.from);
                }
            }
            _ => {}
        }
    }

    fn delivered(&mut self, at: usize, frame: &Verified, deliver: Deliver) {
        let (from, now) = (frame.from, self.now);
        let Some(run) = self.machines[at].run.as_mut() else {
            return;
        };
        let inbox = run.inboxes.entry(from).or_default();
        let ready = inbox.take(frame.stamp.incarnation, deliver, now);
        // Of operations there are none here, so none of them waits.
        let done = inbox.acknowledge(now);
        for command in ready {
            let Some(run) = self.machines[at].run.as_mut() else {
                return;
            };
            match command {
                Command::Pull { buckets } => {
                    if run.outboxes.entry(from).or_default().pulled() {
                        self.direct(at, directory::Input::Pulled { from, buckets });
                        let run = self.machines[at].run.as_mut();
                        let outbox = run.and_then(|run| run.outboxes.get_mut(&from));
                        outbox.into_iter().for_each(Outbox::answered);
                    }
                }
                Command::Page(items) => self.direct(at, directory::Input::Page { from, items }),
                command => {
                    let input = Input::Command(from, command);
                    let outputs = run.gossip.handle(input, now, &mut run.noise);
                    self.perform(at, outputs);
                }
            }
        }
        if let Some(done) = done {
            self.send(
                at,
                &from,
                Some(frame.stamp.incarnation),
                Message::Delivered(done),
            );
        }
    }
}
