//! Outputs of the machines, performed in order as the actors do.

use std::collections::VecDeque;

use chorus_protocol::gossip::{Event, Input, Output};
use chorus_protocol::trust::directory;

use super::World;
use super::machine::known;

impl World {
    /// Performs what gossip asks for.
    pub(super) fn perform(&mut self, at: usize, outputs: Vec<Output>) {
        let mut work: VecDeque<Output> = outputs.into();
        while let Some(output) = work.pop_front() {
            match output {
                Output::Publish(topic, message) => self.publish(at, topic, message),
                Output::Send(to, message) => self.send(at, &to, None, message),
                Output::Deliver(to, command) => self.post(at, to, command),
                Output::Dial(node) => self.dial(at, self.number(&node)),
                // The outbox stays: its session goes on with the next link. A new one
                // would count from 1 again and be taken for repetitions.
                Output::Hangup(node) => self.hang_up(at, self.number(&node)),
                Output::Siblings(siblings) => {
                    let siblings = siblings.iter().map(|node| self.number(node)).collect();
                    let Some(run) = self.machines[at].run.as_mut() else {
                        return;
                    };
                    let before = std::mem::replace(&mut run.siblings, Clone::clone(&siblings));
                    for gone in before.difference(&siblings) {
                        self.machines[*gone].listeners.remove(&at);
                    }
                    for sibling in siblings {
                        self.machines[sibling].listeners.insert(at);
                    }
                }
                Output::Subscribe { tree, siblings } => {
                    let Some(run) = self.machines[at].run.as_mut() else {
                        return;
                    };
                    run.tree_topics = tree;
                    run.sibling_topics = siblings;
                }
                Output::Compare(from, items, digest) => {
                    // Only where there is a link can anything be asked.
                    if !self.options.light && self.linked(at, self.number(&from)) {
                        self.direct(
                            at,
                            directory::Input::Heard {
                                from,
                                items,
                                digest,
                            },
                        );
                    }
                }
                Output::Event(event) => self.note(at, event),
            }
        }
    }

    fn note(&mut self, at: usize, event: Event) {
        if let Event::Incarnation(node, run) = &event {
            self.machines[at].disk.runs.insert(*node, *run);
        }
        self.log.push((self.now, at, event));
    }

    /// Gives an input to a machine's directory and performs what it asks for.
    pub(super) fn direct(&mut self, at: usize, input: directory::Input) {
        let Some(run) = self.machines[at].run.as_mut() else {
            return;
        };
        let outputs = run.directory.handle(input, self.now);
        self.direct_outputs(at, outputs);
    }

    pub(super) fn tick_directory(&mut self, at: usize) {
        let now = self.now;
        let Some(run) = self.machines[at].run.as_mut() else {
            return;
        };
        if run.directory.next_deadline().is_some_and(|due| due <= now) {
            let outputs = run.directory.handle(directory::Input::Tick, now);
            self.direct_outputs(at, outputs);
        }
    }

    fn direct_outputs(&mut self, at: usize, outputs: Vec<directory::Output>) {
        for output in outputs {
            match output {
                directory::Output::Persist(items) => {
                    let kept = items
                        .iter()
                        .map(|item| (*item.digest(), item.bytes().to_vec()));
                    self.machines[at].disk.items.extend(kept);
                }
                directory::Output::Forget(gone) => {
                    let items = &mut self.machines[at].disk.items;
                    gone.iter().for_each(|digest| drop(items.remove(digest)));
                }
                directory::Output::Changed { revoked, .. } => {
                    let now = self.now;
                    let Some(run) = self.machines[at].run.as_mut() else {
                        return;
                    };
                    let input = Input::Directory(known(&run.directory));
                    let outputs = run.gossip.handle(input, now, &mut run.noise);
                    for node in &revoked {
                        run.outboxes.remove(node);
                    }
                    self.perform(at, outputs);
                }
                directory::Output::Send { to, command } => self.post(at, to, command),
                directory::Output::Rejected { .. } => self.counts.rejected += 1,
            }
        }
    }
}
