//! Recall: a node that has its keys and not its count of starts asks its peers
//! for the highest stamp that they saw from it, and begins above that.
//!
//! Nothing that it signs meanwhile can be taken for another frame of its: the
//! question goes out under boot 0, which no run has. All that can be reached are
//! asked, parents first, and their answers waited for up to [`ROUND`]; of several the
//! second greatest counts, so that one liar decides nothing, and [`BOOT_MARGIN`] above
//! it, for runs that only somebody saw who does not answer now. One answer is enough: a node that admits our key has our entry,
//! and with it, by the same way, what our last runs announced. Without any answer
//! there is no start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chorus_protocol::causality::lamport::{ADVANCE_MAX, BLOCK};
use chorus_protocol::ids::{Incarnation, MeshId, NodeId, Stamp};
use chorus_protocol::membership::topology::{self, Member};
use chorus_protocol::trust::directory::Directory;
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::wire::envelope::{self, Audience, Receiver};
use chorus_protocol::wire::{Channel, Identity, Message, Signer};
use chorus_storage::boot;
use chorus_storage::home::{Home, Lock};

use crate::node::{Plan, StartError, belongs};
use crate::restore;
use crate::transport::ask::{Target, ask_all};
use crate::transport::sockets::CurveKeys;

/// How long one round waits for those who have not answered.
pub const ROUND: Duration = Duration::from_secs(4);
/// Starts that are left out above the highest that was seen.
pub const BOOT_MARGIN: u32 = 1 << 10;
/// What no honest peer tells: a start each second for 68 years. A liar who is believed
/// would use up the counter for good.
const BOOT_MAX: u32 = 1 << 31;
/// The highest Lamport time that is taken over: further ahead honest peers would take
/// every frame for a jump. A new incarnation counts whatever its Lamport time.
const LAMPORT_MAX: u64 = ADVANCE_MAX / 2;
/// Most addresses that are asked.
const ASKED_MAX: usize = 32;
/// Addresses of one node that are tried.
const ADDRESSES_MAX: usize = 2;

/// A node that asks. It holds the home.
#[derive(Debug)]
pub struct Recall {
    home: Home,
    identity: Identity,
    curve: CurveKeys,
    mesh: MeshId,
    roster: std::sync::Arc<Roster>,
    floor: u32,
    asked: Vec<(NodeId, String, Target)>,
    lamport: u64,
    _lock: Lock,
}

/// What a round brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The names of those who answered.
    pub by: BTreeSet<String>,
    /// The highest stamp that they saw, and this home itself: see [`believed`].
    pub highest: Stamp,
}

impl Recall {
    /// Locks the home and looks whom it can ask.
    pub fn new(plan: &Plan) -> Result<Self, StartError> {
        let lock = plan.home.lock()?;
        let own = plan.identity.id();
        let mesh = chorus_protocol::trust::mesh_of(&plan.root);
        let (directory, _) = Directory::new(mesh, plan.root, own, &restore::items(&plan.home)?);
        let roster = directory.roster().clone();
        let entry = belongs(&roster, &own, &plan.curve)?;
        let me = Member {
            node: own,
            role: entry.role,
            place: entry.place,
        };
        Ok(Self {
            home: plan.home.clone(),
            identity: Identity::from_seed(&plan.identity.seed()),
            curve: plan.curve.clone(),
            mesh,
            asked: targets(&me, &roster),
            floor: entry.floor,
            roster,
            lamport: 0,
            _lock: lock,
        })
    }

    /// Whom it asks, by name and address; empty when it knows nobody.
    pub fn asked(&self) -> Vec<String> {
        let name = |(_, name, target): &(_, String, Target)| format!("{name} {}", target.endpoint);
        self.asked.iter().map(name).collect()
    }

    /// Asks everybody once. Blocks for up to [`ROUND`], or until `stop` holds.
    pub fn round(&mut self, stop: impl Fn() -> bool) -> Result<Told, StartError> {
        let frames: Vec<Vec<u8>> = (self.asked.iter())
            .map(|(node, ..)| {
                self.lamport += 1;
                question(&self.identity, &self.mesh, self.floor, self.lamport, *node)
            })
            .collect();
        let targets: Vec<Target> = self.asked.iter().map(|(.., it)| it.clone()).collect();
        let everybody: BTreeSet<&NodeId> = self.asked.iter().map(|(node, ..)| node).collect();
        let mut told = Told::default();
        let mut stamps: BTreeMap<NodeId, Stamp> = BTreeMap::new();
        let asked = ask_all(&targets, &self.curve, &frames, ROUND, stop, |n, frame| {
            let (node, name, _) = &self.asked[n];
            if let Some(stamp) = self.answer(node, frame) {
                told.by.insert(name.clone());
                let known = stamps.entry(*node).or_default();
                *known = higher(*known, stamp);
            }
            stamps.len() == everybody.len()
        });
        asked.map_err(|why| StartError::Spawn(format!("a question to the peers: {why}")))?;
        told.highest = believed(stamps.into_values());
        // What this home itself announced once is a lower bound, never an answer.
        if let Some(own) = self.roster.address(&self.identity.id()) {
            told.highest = higher(told.highest, own.stamp);
        }
        Ok(told)
    }

    /// What `node` says that it saw; the Lamport time is at least that of its answer.
    fn answer(&self, node: &NodeId, frame: &[u8]) -> Option<Stamp> {
        let own = self.identity.id();
        let receiver = Receiver {
            mesh: &self.mesh,
            node: &own,
            incarnation: Incarnation::new(self.floor, 0),
        };
        let signer = |from: &NodeId| match from == node {
            true => self.roster.signer(from),
            false => Signer::Unknown,
        };
        let frame = envelope::open(frame, Channel::Link, None, receiver, signer).ok()?;
        let Message::StampTold(told) = frame.message else {
            return None;
        };
        let stamp = told.stamp.unwrap_or_default();
        let stamp = Stamp {
            lamport: stamp.lamport.max(frame.stamp.lamport),
            ..stamp
        };
        if !is_plausible(stamp, self.floor) {
            tracing::warn!(by = %node.short(), ?stamp, "what this peer told is not believed");
            return None;
        }
        Some(stamp)
    }

    /// Writes a count above `highest`, with which the node can start.
    pub fn restore(self, highest: Stamp) -> Result<(), StartError> {
        let boot = highest.incarnation.boot();
        let above = Stamp {
            incarnation: Incarnation::new(0, boot.saturating_add(BOOT_MARGIN)),
            lamport: highest.lamport.saturating_add(BLOCK),
        };
        Ok(boot::restore_above(&self.home, above)?)
    }
}

/// Runs under another floor say nothing of this one: `floor` is the own entry's.
fn is_plausible(told: Stamp, floor: u32) -> bool {
    let run = told.incarnation;
    run == Incarnation::default() || (run.floor() == floor && run.boot() < BOOT_MAX)
}

fn higher(one: Stamp, other: Stamp) -> Stamp {
    Stamp {
        incarnation: one.incarnation.max(other.incarnation),
        lamport: one.lamport.max(other.lamport),
    }
}

/// Of what several nodes told the second greatest, of one node what it told. Who saw no
/// run of ours has no say.
fn believed(told: impl Iterator<Item = Stamp>) -> Stamp {
    let (mut runs, mut times): (Vec<_>, Vec<_>) = told
        .filter(|stamp| stamp.incarnation != Incarnation::default())
        .map(|stamp| (stamp.incarnation, stamp.lamport))
        .unzip();
    runs.sort_unstable();
    times.sort_unstable();
    let at = runs.len().saturating_sub(2);
    Stamp {
        incarnation: runs.get(at).copied().unwrap_or_default(),
        lamport: times.get(at).copied().unwrap_or_default().min(LAMPORT_MAX),
    }
}

fn question(identity: &Identity, mesh: &MeshId, floor: u32, lamport: u64, to: NodeId) -> Vec<u8> {
    let stamp = Stamp {
        incarnation: Incarnation::new(floor, 0),
        lamport,
    };
    let to = Audience {
        node: to,
        incarnation: None,
    };
    envelope::seal(identity, mesh, stamp, Some(to), &Message::StampAsk)
}

/// Possible parents, then siblings, then everyone else with an address.
fn targets(me: &Member, roster: &Roster) -> Vec<(NodeId, String, Target)> {
    let members: Vec<Member> = (roster.members())
        .map(|member| Member {
            node: member.entry.node,
            role: member.entry.role,
            place: member.entry.place,
        })
        .collect();
    let mut order = topology::parents(me, members.iter().copied());
    order.extend(topology::siblings(me, members.iter().copied()));
    order.extend(members.iter().map(|member| member.node));
    let mut seen = BTreeSet::from([me.node]);
    let mut found = Vec::new();
    for node in order.into_iter().filter(|node| seen.insert(*node)) {
        let (Some(member), Some(at)) = (roster.get(&node), roster.address(&node)) else {
            continue;
        };
        for address in at
            .addresses
            .iter()
            .filter(|it| it.router != 0)
            .take(ADDRESSES_MAX)
        {
            let target = Target {
                key: member.entry.curve.0,
                endpoint: crate::transport::endpoint_of(&address.host, address.router),
            };
            found.push((node, member.entry.name.to_string(), target));
        }
    }
    found.truncate(ASKED_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(floor: u32, boot: u32, lamport: u64) -> Stamp {
        Stamp {
            incarnation: Incarnation::new(floor, boot),
            lamport,
        }
    }

    #[test]
    fn a_peer_that_would_use_up_the_counter_is_not_believed() {
        assert!(is_plausible(told(3, 1_000_000, 1), 3));
        assert!(is_plausible(Stamp::default(), 3), "it saw nothing of us");
        assert!(!is_plausible(told(3, u32::MAX, 1), 3));
        assert!(!is_plausible(told(u32::MAX, 0, 1), 3));
    }

    #[test]
    fn one_liar_among_several_decides_nothing() {
        let honest = [told(0, 5_000, 70), told(0, 4_990, 90)];
        let lie = told(0, 2_000_000_000, 1 << 63);
        assert_eq!(
            believed([lie].into_iter().chain(honest)),
            told(0, 5_000, 90)
        );
        assert_eq!(believed([honest[0]].into_iter()), honest[0]);
        assert_eq!(believed([lie].into_iter()).lamport, LAMPORT_MAX);
        let saw_nothing = Stamp::default();
        assert_eq!(believed([honest[0], saw_nothing].into_iter()), honest[0]);
        assert_eq!(believed(std::iter::empty()), saw_nothing);
    }
}
