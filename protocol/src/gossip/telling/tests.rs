//! Whose word counts: lies from below, from beside and from nowhere.

use std::sync::Arc;

use super::*;
use crate::gossip::{Config, Input, Known};
use crate::ids::{CurveKey, Incarnation, Label, Place, Role, Stamp};
use crate::phase::kuramoto::Phase;
use crate::trust::item::Entry;
use crate::trust::{Claim, Directory, Item, found, mesh_of};
use crate::units::Seeded;
use crate::wire::message::{Heartbeat, Message, StampTold};
use crate::wire::{Identity, Verified};

const ROOT: u8 = 0;
pub(in crate::gossip) const TOP: u8 = 1;
pub(in crate::gossip) const COORDINATOR: u8 = 2;
pub(in crate::gossip) const LEAD: u8 = 3;
pub(in crate::gossip) const OTHER_LEAD: u8 = 4;
pub(in crate::gossip) const AGENT: u8 = 5;
pub(in crate::gossip) const OTHER_AGENT: u8 = 6;
pub(in crate::gossip) const FAR_AGENT: u8 = 7;
/// What a liar would have everybody believe.
const MAX: Stamp = Stamp {
    incarnation: Incarnation(u32::MAX as u64),
    lamport: u64::MAX,
};

pub(in crate::gossip) fn id(n: u8) -> NodeId {
    Identity::from_seed(&[n; 32]).id()
}
fn stamp(lamport: u64) -> Stamp {
    Stamp {
        incarnation: Incarnation(1),
        lamport,
    }
}
pub(in crate::gossip) fn place(sector: &str, cluster: &str) -> Place {
    Place {
        sector: Label::new(sector).unwrap(),
        cluster: Label::new(cluster).unwrap(),
    }
}

/// One of the mesh's nodes, and a clock of its frames' stamps.
pub(in crate::gossip) struct Node {
    pub(in crate::gossip) gossip: Gossip,
    noise: Seeded,
    now: Micros,
    lamport: u64,
}

impl Node {
    pub(in crate::gossip) fn new(at: u8) -> Self {
        let root = Identity::from_seed(&[ROOT; 32]);
        let mesh = mesh_of(&root.id());
        let others = [
            (COORDINATOR, Role::Coordinator, place("s1", "s1")),
            (LEAD, Role::Lead, place("s1", "c1")),
            (OTHER_LEAD, Role::Lead, place("s1", "c2")),
            (AGENT, Role::Agent, place("s1", "c1")),
            (OTHER_AGENT, Role::Agent, place("s1", "c1")),
            (FAR_AGENT, Role::Agent, place("s2", "c1")),
        ];
        let (top, hq) = (Role::Orchestrator, place("hq", "hq"));
        let name = |n: u8| Label::new(&format!("n{n}")).unwrap();
        let mut items = found(&root, id(TOP), CurveKey([TOP; 32]), name(TOP), top, hq);
        for (n, role, place) in others {
            let entry = Entry {
                node: id(n),
                curve: CurveKey([n; 32]),
                name: name(n),
                role,
                place,
                caps: Vec::new(),
                floor: 0,
                issued: n.into(),
                adopts: None,
            };
            items.push(Item::seal(&root, &mesh, &Claim::Entry(Arc::new(entry))));
        }
        let (directory, _) = Directory::new(mesh, root.id(), id(at), &items);
        let known = Known {
            roster: directory.roster().clone(),
            items: directory.items(),
            digest: *directory.digest(),
        };
        assert_eq!(known.roster.len(), 7);
        let me = known.roster.get(&id(at)).unwrap().entry.in_tree();
        let now = Micros::from_secs(100);
        let theta = Phase::new(0.0).unwrap();
        Self {
            gossip: Gossip::new(Config::default(), me, known, theta, now),
            noise: Seeded::new(1),
            now,
            lamport: 10,
        }
    }

    pub(in crate::gossip) fn hear(&mut self, from: u8, message: Message) -> Vec<Output> {
        self.lamport += 1;
        let frame = Verified {
            from: id(from),
            stamp: stamp(self.lamport),
            to: None,
            message,
        };
        let input = Input::Heard(frame);
        self.gossip.handle(input, self.now, &mut self.noise)
    }

    pub(in crate::gossip) fn now(&self) -> Micros {
        self.now
    }

    pub(in crate::gossip) fn tick(&mut self, ms: u64) -> Vec<Output> {
        self.now = self.now + Micros::from_millis(ms);
        self.gossip.handle(Input::Tick, self.now, &mut self.noise)
    }

    /// `from` beats, as a child of `parent`.
    pub(in crate::gossip) fn beat(&mut self, from: u8, parent: Option<u8>) {
        let beat = Heartbeat {
            items: 0,
            digest: self.gossip.digest,
            parent: parent.map(id),
            late_us: 0,
        };
        self.hear(from, Message::Heartbeat(beat));
    }

    fn tell(&mut self, from: u8, of: &[u8], stamp: Stamp, state: PeerState) {
        let entry = |of: &u8| PeerEntry {
            node: id(*of),
            stamp,
            state,
            theta: None,
            age_ms: 0,
        };
        let peers = of.iter().map(entry).collect();
        self.hear(from, Message::Peers(PeerNews { peers }));
    }

    fn state(&self, of: u8) -> Option<PeerState> {
        self.gossip.peers.get(&id(of)).map(|peer| peer.state)
    }

    fn strays(&self) -> u64 {
        self.gossip.counters().not_its_to_tell
    }
}

#[test]
fn an_agent_may_tell_of_nobody_neither_from_below_nor_from_beside() {
    let everybody = [TOP, COORDINATOR, OTHER_LEAD, OTHER_AGENT, FAR_AGENT];
    let mut lead = Node::new(LEAD);
    lead.beat(AGENT, Some(LEAD));
    lead.tell(AGENT, &everybody, MAX, PeerState::Live);
    lead.tell(AGENT, &everybody, MAX, PeerState::Evicted);
    assert!(everybody.iter().all(|of| lead.state(*of).is_none()));
    assert_eq!(lead.strays(), 10);
    let mut agent = Node::new(AGENT);
    agent.gossip.orphan = true;
    agent.tell(OTHER_AGENT, &[LEAD, FAR_AGENT], MAX, PeerState::Evicted);
    assert_eq!((agent.state(LEAD), agent.strays()), (None, 2));
}

#[test]
fn a_child_tells_of_those_who_may_be_beneath_it_and_the_parent_of_all_others() {
    let mut node = Node::new(COORDINATOR);
    node.tick(0); // dials its parent
    node.beat(TOP, None);
    node.beat(LEAD, Some(COORDINATOR));
    node.beat(OTHER_LEAD, Some(COORDINATOR));
    let live = PeerState::Live;
    node.tell(LEAD, &[AGENT, FAR_AGENT, OTHER_LEAD], stamp(5), live);
    assert_eq!(node.state(AGENT), Some(live));
    assert_eq!((node.state(FAR_AGENT), node.strays()), (None, 1));
    node.tell(TOP, &[FAR_AGENT], stamp(5), live);
    assert_eq!(node.state(FAR_AGENT), Some(live));
    // An agent may have gone to another lead of its sector.
    node.tell(OTHER_LEAD, &[OTHER_AGENT], stamp(5), live);
    assert_eq!(node.state(OTHER_AGENT), Some(live));
    // The parent has heard of it from here, as long as a child has heard it lately.
    node.tell(TOP, &[AGENT, LEAD], MAX, PeerState::Evicted);
    assert_eq!(
        (node.state(AGENT), node.state(LEAD)),
        (Some(live), Some(live))
    );
    assert_eq!(node.strays(), 2);
    for _ in 0..60 {
        node.tick(100);
        node.beat(TOP, None);
    }
    node.tell(TOP, &[AGENT], stamp(6), PeerState::Evicted);
    assert_eq!(node.state(AGENT), Some(PeerState::Evicted));
}

#[test]
fn a_node_that_asks_for_its_stamp_is_told_what_was_heard_of_itself_alone() {
    let mut node = Node::new(COORDINATOR);
    node.beat(LEAD, Some(COORDINATOR));
    node.tell(LEAD, &[AGENT, OTHER_AGENT], MAX, PeerState::Live);
    node.beat(OTHER_AGENT, None);
    let heard = stamp(node.lamport);
    node.tell(LEAD, &[OTHER_AGENT], MAX, PeerState::Evicted);
    for (asker, stamp) in [(AGENT, None), (OTHER_AGENT, Some(heard))] {
        let told = Output::Send(id(asker), Message::StampTold(StampTold { stamp }));
        assert!(node.hear(asker, Message::StampAsk).contains(&told));
    }
    assert!(node.gossip.stamps().all(|(_, kept)| kept < MAX), "on disk");
}

#[test]
fn alive_counts_only_as_the_answer_of_one_who_was_asked_and_as_a_sign_of_life_alone() {
    let alive = |nonce| Alive {
        node: id(AGENT),
        stamp: Some(MAX),
        nonce,
    };
    let mut node = Node::new(LEAD);
    node.beat(AGENT, Some(LEAD));
    node.beat(OTHER_AGENT, Some(LEAD));
    let mut asked = None;
    for _ in 0..20 {
        for output in node.tick(100) {
            if let Output::Publish(_, Message::ProbeRequest(ask)) = output {
                asked = Some(ask);
            }
        }
        node.beat(OTHER_AGENT, Some(LEAD));
        if asked.is_some() {
            break;
        }
    }
    let asked = asked.unwrap();
    assert_eq!(asked.target, id(AGENT));
    node.hear(OTHER_AGENT, Message::Alive(alive(asked.nonce ^ 1)));
    node.hear(FAR_AGENT, Message::Alive(alive(asked.nonce)));
    assert_eq!(node.state(AGENT), Some(PeerState::Suspect));
    node.hear(OTHER_AGENT, Message::Alive(alive(asked.nonce)));
    assert_eq!(node.state(AGENT), Some(PeerState::Live));
    assert!(node.gossip.stamps().all(|(_, kept)| kept < MAX));
}

#[test]
fn a_child_that_lives_elsewhere_is_not_evicted_by_the_parent_that_it_left() {
    // The coordinator stood in for the agents' lead, and their farewell was lost.
    let mut node = Node::new(COORDINATOR);
    node.beat(AGENT, Some(COORDINATOR));
    node.beat(OTHER_AGENT, Some(COORDINATOR));
    let both = [AGENT, OTHER_AGENT];
    let deadline = node.now + Micros::from_secs(20);
    while both.iter().any(|n| node.state(*n) == Some(PeerState::Live)) {
        assert!(node.now < deadline, "its silence is never seen");
        node.tick(100);
    }
    // The lead is back, and has heard one of them since.
    node.beat(LEAD, Some(COORDINATOR));
    let later = stamp(node.lamport + 100);
    node.tell(LEAD, &[AGENT], later, PeerState::Live);
    for _ in 0..100 {
        node.tick(100);
        node.beat(LEAD, Some(COORDINATOR));
        assert_eq!(node.state(AGENT), Some(PeerState::Live));
    }
    assert_eq!(node.state(OTHER_AGENT), Some(PeerState::Evicted));
}
