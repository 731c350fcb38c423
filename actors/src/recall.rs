//! Recall: a node that has its keys and not its count of starts asks its peers
//! for the highest stamp that they saw from it, and begins above that.
//!
//! Nothing that it signs meanwhile can be taken for another frame of its: the
//! question goes out under boot 0, which no run has. All that can be reached are
//! asked, parents first, and their answers waited for up to [`ROUND`]. The greatest
//! counts, since below it the node would be taken for an earlier run, and [`BOOT_MARGIN`]
//! above it, for runs that only somebody saw who does not answer now. One answer is enough:
//! a node that admits our key has our entry, and with it, by the same way, what our last
//! runs announced. Without any answer there is no start.
//!
//! A liar could use up the counter. So what only one peer tells is believed up to
//! [`ALONE_MAX`] above what another tells or this home itself announced once: a lie costs
//! a small part of the counter, and two honest peers are always believed, however far
//! earlier lies brought it. Where one peer alone is honestly further, the node waits for
//! a second, or for the operator's `run --above N`.

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
/// Starts that one peer alone may tell of: one each second for half a year, and a
/// 256th of the counter.
const ALONE_MAX: u32 = 1 << 24;
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
    /// The names of those who answered and are believed.
    pub by: BTreeSet<String>,
    /// The highest stamp that they saw, and this home itself; see [`believed`] for its
    /// Lamport time.
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
        let me = entry.in_tree();
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
        let mut stamps: BTreeMap<NodeId, Stamp> = BTreeMap::new();
        let asked = ask_all(&targets, &self.curve, &frames, ROUND, stop, |n, frame| {
            let (node, ..) = &self.asked[n];
            if let Some(stamp) = self.answer(node, frame) {
                let known = stamps.entry(*node).or_default();
                *known = higher(*known, stamp);
            }
            stamps.len() == everybody.len()
        });
        asked.map_err(|why| StartError::Spawn(format!("a question to the peers: {why}")))?;
        // What this home itself announced once is a lower bound, never an answer.
        let own = self.roster.address(&self.identity.id());
        let own = own.map(|own| own.stamp).unwrap_or_default();
        while let Some((node, stamp)) = too_far(&stamps, own.incarnation.boot()) {
            tracing::warn!(
                by = %node.short(),
                ?stamp,
                "what this peer alone told is not believed: nobody else saw a run near it"
            );
            stamps.remove(&node);
        }
        let answered = |(node, ..): &&(NodeId, String, Target)| stamps.contains_key(node);
        let names = self.asked.iter().filter(answered);
        Ok(Told {
            by: names.map(|(_, name, _)| name.clone()).collect(),
            highest: higher(believed(stamps.into_values()), own),
        })
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
        if !is_of(stamp, self.floor) {
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
fn is_of(told: Stamp, floor: u32) -> bool {
    let run = told.incarnation;
    run == Incarnation::default() || run.floor() == floor
}

/// Who told of a run more than [`ALONE_MAX`] above what anybody else did, and above `own`
/// starts that this home knows of.
fn too_far(told: &BTreeMap<NodeId, Stamp>, own: u32) -> Option<(NodeId, Stamp)> {
    let boot = |node: &NodeId| told[node].incarnation.boot();
    let first = told.keys().max_by_key(|node| boot(node))?;
    let others = told.keys().filter(|node| *node != first).map(boot);
    let known = others.max().unwrap_or(0).max(own);
    (boot(first) > known.saturating_add(ALONE_MAX)).then(|| (*first, told[first]))
}

fn higher(one: Stamp, other: Stamp) -> Stamp {
    Stamp {
        incarnation: one.incarnation.max(other.incarnation),
        lamport: one.lamport.max(other.lamport),
    }
}

/// The greatest run that was told. Of the Lamport times, for which no start has to wait,
/// the second greatest, or that of the only node that saw a run of ours.
fn believed(told: impl Iterator<Item = Stamp>) -> Stamp {
    let (runs, mut times): (Vec<_>, Vec<_>) = told
        .filter(|stamp| stamp.incarnation != Incarnation::default())
        .map(|stamp| (stamp.incarnation, stamp.lamport))
        .unzip();
    times.sort_unstable();
    let time = times.get(times.len().saturating_sub(2));
    Stamp {
        incarnation: runs.into_iter().max().unwrap_or_default(),
        lamport: time.copied().unwrap_or_default().min(LAMPORT_MAX),
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
        .map(|member| member.entry.in_tree())
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

    fn by(boots: &[u32]) -> BTreeMap<NodeId, Stamp> {
        let node = |n: usize| NodeId([n as u8; 32]);
        let all = boots.iter().enumerate();
        all.map(|(n, boot)| (node(n), told(0, *boot, 1))).collect()
    }

    #[test]
    fn runs_under_another_floor_are_not_ours() {
        assert!(is_of(told(3, 1_000_000, 1), 3));
        assert!(is_of(Stamp::default(), 3), "it saw nothing of us");
        assert!(!is_of(told(u32::MAX, 0, 1), 3));
    }

    #[test]
    fn a_peer_alone_uses_up_a_small_part_of_the_counter_at_most() {
        let far = |boots: &[u32], own| too_far(&by(boots), own).map(|(node, _)| node.0[0]);
        assert_eq!(far(&[], 0), None);
        assert_eq!(far(&[1_000_000], 0), None);
        assert_eq!(far(&[1 << 31], 0), Some(0));
        assert_eq!(far(&[5_000, u32::MAX, 4_990], 0), Some(1));
        // After one was believed, in a home that still knows it and in one that does not.
        let after = ALONE_MAX + BOOT_MARGIN + 5;
        assert_eq!(far(&[after], after - 1), None);
        assert_eq!(far(&[after], 0), Some(0), "waits for another");
        assert_eq!(far(&[after, after - 2], 0), None);
        let late = (1 << 31) + 5;
        assert_eq!(far(&[late, late - 2], 0), None, "two are always believed");
        assert_eq!(far(&[1, late, late - 2], 0), None);
    }

    #[test]
    fn the_greatest_run_counts_and_no_single_lamport_time() {
        let honest = [told(0, 5_000, 70), told(0, 4_990, 90)];
        assert_eq!(believed(honest.into_iter()), told(0, 5_000, 70));
        let low = told(0, 1, 1 << 63);
        assert_eq!(
            believed([low].into_iter().chain(honest)),
            told(0, 5_000, 90)
        );
        assert_eq!(believed([honest[0]].into_iter()), honest[0]);
        assert_eq!(believed([low].into_iter()).lamport, LAMPORT_MAX);
        let saw_nothing = Stamp::default();
        assert_eq!(believed([honest[0], saw_nothing].into_iter()), honest[0]);
        assert_eq!(believed(std::iter::empty()), saw_nothing);
    }
}
