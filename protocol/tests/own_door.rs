//! A node that can reach its coordinator alone, and was enrolled at that one's own door,
//! learns there whom it belongs to and where that is, and later from whichever parent it
//! reaches where the others have gone. What it lacks, it can name.

use std::sync::Arc;

use chorus_protocol::gossip::{Config, Event, Gossip, Input as GossipInput, Known, Output as Out};
use chorus_protocol::ids::{CurveKey, Incarnation, Label, NodeId, Place, Role, Stamp};
use chorus_protocol::membership::topology::Member;
use chorus_protocol::phase::kuramoto::Phase;
use chorus_protocol::trust::directory::{Input, Output};
use chorus_protocol::trust::door::{self, Closed, Door};
use chorus_protocol::trust::item::{Address, Announcement, Delegation, Entry};
use chorus_protocol::trust::roster::ENROL;
use chorus_protocol::trust::token::nonce;
use chorus_protocol::trust::{Claim, Directory, Item, Token, found, mesh_of};
use chorus_protocol::units::{Micros, Seeded};
use chorus_protocol::wire::Identity;
use chorus_protocol::wire::message::{Command, Enrol};

const NOW_S: u64 = 1_900_000_000;

fn key(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}
fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}
fn place(sector: &str) -> Place {
    let label = label(sector);
    Place {
        sector: label,
        cluster: label,
    }
}
fn seal(by: &Identity, claim: Claim) -> Vec<u8> {
    Item::seal(by, &mesh_of(&key(0).id()), &claim)
}
fn announce(by: &Identity, lamport: u64, host: &str) -> Vec<u8> {
    let address = Address {
        host: host.into(),
        router: 1,
        publisher: 2,
        subscriber: 3,
        door: 4,
        memory: 5,
    };
    seal(
        by,
        Claim::Announcement(Arc::new(Announcement {
            node: by.id(),
            stamp: Stamp {
                incarnation: Incarnation::new(0, 1),
                lamport,
            },
            addresses: vec![address],
        })),
    )
}
fn directory(of: &Identity, items: &[Vec<u8>]) -> Directory {
    Directory::new(mesh_of(&key(0).id()), key(0).id(), of.id(), items).0
}
fn host(of: &Directory, node: &Identity) -> Option<String> {
    let told = of.roster().address(&node.id())?;
    Some(told.addresses[0].host.clone())
}

/// The mesh's first node, and the coordinator that it enrolled and the root lets enrol others.
fn above() -> (Identity, Identity, Vec<Vec<u8>>) {
    let (root, op, coordinator) = (key(0), key(1), key(2));
    let curve = CurveKey([1; 32]);
    let role = Role::Orchestrator;
    let mut items = found(&root, op.id(), curve, label("op"), role, place("hq"));
    let entry = Entry {
        node: coordinator.id(),
        curve: CurveKey([2; 32]),
        name: label("s1"),
        role: Role::Coordinator,
        place: place("s1"),
        caps: vec![label(ENROL)],
        floor: 0,
        issued: 2,
        adopts: None,
    };
    let delegation = Delegation {
        node: coordinator.id(),
        may: vec![label(ENROL)],
    };
    items.push(seal(&op, Claim::Entry(Arc::new(entry))));
    items.push(seal(&root, Claim::Delegation(delegation)));
    (op, coordinator, items)
}

/// What the coordinator's door gives to `agent`.
fn join(coordinator: &Identity, of: &mut Directory, agent: &Identity) -> Vec<Vec<u8>> {
    let mesh = mesh_of(&key(0).id());
    let token = Token {
        mesh,
        root: key(0).id(),
        enroller: coordinator.id(),
        enroller_curve: CurveKey([2; 32]),
        doors: vec!["10.1.0.2:7404".into()],
        role: Role::Agent,
        place: place("s1"),
        name: None,
        caps: Vec::new(),
        expires_s: NOW_S + 1,
        uses: 1,
        nonce: nonce([0; 8], [1; 8]),
    };
    let enrol = Enrol {
        token: token.seal(coordinator).unwrap(),
        curve: CurveKey([3; 32]),
        name: None,
    };
    let mut door = Door::new(mesh, coordinator.id(), [0; 8], Closed::default(), []);
    let outputs = door.handle(agent.id(), &enrol, &of.roster().clone(), NOW_S);
    let Some(door::Output::Admit(entry)) = outputs.unwrap().pop() else {
        panic!("not admitted")
    };
    let entry = seal(coordinator, Claim::Entry(Arc::new(entry)));
    of.handle(Input::Own(vec![entry]), Micros::ZERO);
    let welcome = of.welcome(&agent.id());
    welcome.items.into_iter().map(|it| it.into_vec()).collect()
}

/// `child` hears a heartbeat of `parent` and fetches what it lacks.
fn hear(child: (&Identity, &mut Directory), parent: (&Identity, &mut Directory), s: u64) {
    let now = Micros::from_secs(s);
    let beat = Input::Heard {
        from: parent.0.id(),
        items: parent.1.items(),
        digest: *parent.1.digest(),
    };
    for asked in child.1.handle(beat, now) {
        let Output::Send {
            command: Command::Pull { buckets },
            ..
        } = asked
        else {
            continue;
        };
        let from = child.0.id();
        for answer in parent.1.handle(Input::Pulled { from, buckets }, now) {
            if let Output::Send {
                command: Command::Page(items),
                ..
            } = answer
            {
                let from = parent.0.id();
                child.1.handle(Input::Page { from, items }, now);
            }
        }
    }
}

fn gossip(of: &Identity, directory: &Directory) -> Gossip {
    let me = Member {
        node: of.id(),
        role: Role::Agent,
        place: place("s1"),
    };
    let known = Known {
        roster: directory.roster().clone(),
        items: directory.items(),
        digest: *directory.digest(),
    };
    let theta = Phase::new(0.0).unwrap();
    Gossip::new(Config::default(), me, known, theta, Micros::ZERO)
}

#[test]
fn a_coordinators_own_door_gives_all_that_its_agent_needs() {
    let (op, coordinator, mut items) = above();
    items.push(announce(&coordinator, 1, "10.1.0.2"));
    let mut at_coordinator = directory(&coordinator, &items);
    let agent = key(3);
    let welcome = join(&coordinator, &mut at_coordinator, &agent);
    let mut at_agent = directory(&agent, &welcome);
    assert!(at_agent.roster().get(&agent.id()).is_some());
    assert_eq!(host(&at_agent, &coordinator).unwrap(), "10.1.0.2");
    let mut machine = gossip(&agent, &at_agent);
    assert_eq!(machine.candidates(), [coordinator.id(), op.id()]);
    let first = machine.handle(GossipInput::Tick, Micros::ZERO, &mut Seeded::new(1));
    let dialled = |it: &Out| matches!(it, Out::Dial(node) if *node == coordinator.id());
    assert!(first.iter().any(dialled), "{first:?}");

    // The root's node tells where it is; the agent hears of it from its coordinator alone.
    at_coordinator.handle(Input::Own(vec![announce(&op, 1, "10.0.0.1")]), Micros::ZERO);
    hear(
        (&agent, &mut at_agent),
        (&coordinator, &mut at_coordinator),
        5,
    );
    assert_eq!(host(&at_agent, &op).unwrap(), "10.0.0.1");
    // The coordinator moves, and the agent can reach the root's node by now.
    let own: Vec<Vec<u8>> = at_agent
        .set()
        .items()
        .map(|it| it.bytes().to_vec())
        .collect();
    let mut at_op = directory(&op, &own);
    let moved = announce(&coordinator, 2, "10.1.0.9");
    at_op.handle(Input::Own(vec![moved]), Micros::ZERO);
    hear((&agent, &mut at_agent), (&op, &mut at_op), 10);
    assert_eq!(host(&at_agent, &coordinator).unwrap(), "10.1.0.9");
}

/// Its enroller is out of reach, and its other parents had told no address when it joined.
#[test]
fn a_node_names_the_parents_whose_addresses_it_lacks() {
    let (op, coordinator, items) = above();
    let mut at_coordinator = directory(&coordinator, &items);
    let agent = key(3);
    let welcome = join(&coordinator, &mut at_coordinator, &agent);
    let at_agent = directory(&agent, &welcome);
    let mut machine = gossip(&agent, &at_agent);
    let both = vec![coordinator.id(), op.id()];
    assert_eq!(machine.view(Micros::ZERO).nowhere, both);
    let orphaned = |out: &[Out]| -> Option<Vec<NodeId>> {
        out.iter().find_map(|it| match it {
            Out::Event(Event::Orphan(nowhere)) => Some(nowhere.clone()),
            _ => None,
        })
    };
    let mut noise = Seeded::new(1);
    let mut told = None;
    for tick in 0..10 {
        let now = Micros::from_millis(100 * tick);
        let mut out = machine.handle(GossipInput::Tick, now, &mut noise);
        let dialled: Vec<NodeId> = out
            .iter()
            .filter_map(|it| match it {
                Out::Dial(node) => Some(*node),
                _ => None,
            })
            .collect();
        // As the transport answers where there is no address.
        for node in dialled {
            out.extend(machine.handle(GossipInput::Unreachable(node), now, &mut noise));
        }
        told = told.or(orphaned(&out));
    }
    assert_eq!(told, Some(both));
}
