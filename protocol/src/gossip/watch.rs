//! Detecting loss: a watch over each child, over the parent, and over siblings
//! while there is no parent who could.

use std::collections::BTreeMap;

use crate::ids::{NodeId, Stamp};
use crate::membership::detector::{Config, Flow, Standing, Verdict, Watch};
use crate::units::{Micros, Noise};
use crate::wire::message::{Alive, Echo, Message, PeerState, Probe, ProbeRequest};
use crate::wire::topic::Topic;

use super::Output;
use super::machine::Gossip;

/// Most probes that are passed on at once for others.
const RELAYS_MAX: usize = 64;
/// How long an answer to a relayed probe is waited for.
const RELAY_PATIENCE: Micros = Micros::from_secs(2);
/// Most nodes that are asked to probe for us (mathematics §5).
const INDIRECT_MAX: usize = 3;

/// All watches of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Watches {
    watches: BTreeMap<NodeId, Watch>,
    /// Probes passed on: (target, nonce), until when an answer is passed back.
    relays: BTreeMap<(NodeId, u64), Micros>,
    /// Probes that others make for us: (target, nonce), who was asked, until when.
    asked: BTreeMap<(NodeId, u64), (Vec<NodeId>, Micros)>,
}

impl Watches {
    pub fn begin(&mut self, node: NodeId, flow: Flow, now: Micros) {
        self.watches
            .entry(node)
            .or_insert_with(|| Watch::new(flow, now));
    }

    pub fn end(&mut self, node: &NodeId) {
        self.watches.remove(node);
    }

    pub fn is_watched(&self, node: &NodeId) -> bool {
        self.watches.contains_key(node)
    }

    pub fn is_live(&self, node: &NodeId) -> bool {
        self.watches
            .get(node)
            .is_some_and(|watch| watch.standing() == Standing::Live)
    }

    /// Whether it is watched and not given up.
    pub fn is_kept(&self, node: &NodeId) -> bool {
        self.watches.get(node).is_some_and(is_kept)
    }

    /// All of whom that holds.
    fn kept(&self) -> impl Iterator<Item = NodeId> {
        let kept = self.watches.iter().filter(|(_, watch)| is_kept(watch));
        kept.map(|(node, _)| *node)
    }

    /// An authentic frame, or word of one, ends all suspicion.
    pub fn heard(&mut self, node: &NodeId, flow: Option<Flow>, now: Micros) {
        if let Some(watch) = self.watches.get_mut(node) {
            watch.heard(flow, now);
        }
    }

    pub fn forgive(&mut self, span: Micros) {
        self.watches
            .values_mut()
            .for_each(|watch| watch.forgive(span));
        self.relays
            .values_mut()
            .chain(self.asked.values_mut().map(|(_, until)| until))
            .for_each(|until| *until = *until + span);
    }

    /// Looks at everyone; probes go into `out`, and the verdicts are returned:
    /// (node, true) is evicted now, (node, false) has just become suspect.
    pub fn look(
        &mut self,
        config: &Config,
        helpers: impl Fn(&NodeId) -> Vec<NodeId>,
        noise: &mut dyn Noise,
        now: Micros,
        out: &mut Vec<Output>,
    ) -> Vec<(NodeId, bool)> {
        self.relays.retain(|_, until| *until > now);
        self.asked.retain(|_, (_, until)| *until > now);
        let mut verdicts = Vec::new();
        for (node, watch) in &mut self.watches {
            let round = match watch.look(config, now) {
                Verdict::Nothing => continue,
                Verdict::Evict => {
                    verdicts.push((*node, true));
                    continue;
                }
                Verdict::Probe { round } => round,
            };
            if round == 1 {
                verdicts.push((*node, false));
            }
            let (target, nonce) = (*node, noise.bits());
            out.push(Output::Publish(
                Topic::Heartbeat,
                Message::Probe(Probe { target, nonce }),
            ));
            out.push(Output::Send(target, Message::Echo(Echo { sent_us: now.0 })));
            let via: Vec<NodeId> = helpers(node).into_iter().take(INDIRECT_MAX).collect();
            if round > 1 && !via.is_empty() {
                let open = (via.clone(), now + RELAY_PATIENCE);
                self.asked.insert((target, nonce), open);
                let request = ProbeRequest { target, via, nonce };
                out.push(Output::Publish(
                    Topic::Heartbeat,
                    Message::ProbeRequest(request),
                ));
            }
        }
        verdicts
    }

    /// Someone asks us to probe for them.
    pub fn relay(&mut self, target: NodeId, nonce: u64, now: Micros, out: &mut Vec<Output>) {
        if self.relays.len() >= RELAYS_MAX {
            return;
        }
        self.relays.insert((target, nonce), now + RELAY_PATIENCE);
        out.push(Output::Publish(
            Topic::Heartbeat,
            Message::Probe(Probe { target, nonce }),
        ));
    }

    /// Whether `by` was asked to probe this node for us, with this nonce and not long
    /// ago. Each answers once.
    pub fn vouched(&mut self, node: &NodeId, nonce: u64, by: &NodeId) -> bool {
        let Some((via, _)) = self.asked.get_mut(&(*node, nonce)) else {
            return false;
        };
        let before = via.len();
        via.retain(|asked| asked != by);
        via.len() < before
    }

    /// A node answered a probe itself; if it was one of ours for another, pass it back.
    pub fn answered(&mut self, node: NodeId, stamp: Stamp, nonce: u64, out: &mut Vec<Output>) {
        if self.relays.remove(&(node, nonce)).is_some() {
            let alive = Alive {
                node,
                stamp: Some(stamp),
                nonce,
            };
            out.push(Output::Publish(Topic::Heartbeat, Message::Alive(alive)));
        }
    }
}

fn is_kept(watch: &Watch) -> bool {
    watch.standing() != Standing::Evicted
}

impl Gossip {
    /// Looks for losses.
    pub(super) fn detect(&mut self, now: Micros, noise: &mut dyn Noise, out: &mut Vec<Output>) {
        let live = |child: &&NodeId| self.watches.is_live(child);
        let live: Vec<NodeId> = self.children.iter().filter(live).copied().collect();
        let helpers = |target: &NodeId| -> Vec<NodeId> {
            let place = |node: &NodeId| {
                let entry = &self.roster.get(node)?.entry;
                Some((entry.role, entry.place.sector))
            };
            let near = |node: &&NodeId| **node != *target && place(node) == place(target);
            live.iter().filter(near).copied().collect()
        };
        let mut watches = std::mem::take(&mut self.watches);
        let verdicts = watches.look(&self.config.detector, helpers, noise, now, out);
        self.watches = watches;
        for (node, evicted) in verdicts {
            let state = if evicted {
                PeerState::Evicted
            } else {
                PeerState::Suspect
            };
            let change = self.peers.judge(node, state, now);
            self.peer_changed(change, out);
            if evicted {
                self.field.remove(&node);
                let steps = self.tree.lost(node, "silent", &self.config, now);
                self.climb(steps, now, out);
            }
        }
        if now < self.next_news {
            return; // the backstop is not worth a look at everyone ten times a second
        }
        let expired = self.peers.expire(
            now,
            |node| self.watches.is_watched(node),
            self.watches.kept(),
            self.tree.parent(),
        );
        for change in expired {
            self.peer_changed(Some(change), out);
        }
    }
}
