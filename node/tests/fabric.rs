//! The same scenarios on real sockets: node processes in network namespaces, one
//! bridge for each sector, cuts and losses by nft (rows A7, D10, D11, E6, J1, J2).

#[path = "support/fabric.rs"]
mod fabric;
mod support;

use std::time::{Duration, Instant};

use fabric::Fabric;
use support::{Process, enrol, found, hold, until};

/// Ten nodes in two sectors: the operator and two coordinators on the backbone,
/// each sector's lead and agents on their own bridge.
struct Mesh {
    fabric: Fabric,
    nodes: Vec<Process>,
    addresses: Vec<Vec<&'static str>>,
    _dir: tempfile::TempDir,
}

const N: usize = 10;
type Row = (
    &'static str,
    [&'static str; 3],
    &'static [(&'static str, &'static str)],
);
const ROWS: [Row; N] = [
    (
        "operator",
        ["orchestrator", "hq", "hq"],
        &[("back", "10.77.0.1")],
    ),
    (
        "s1",
        ["coordinator", "s1", "s1"],
        &[("back", "10.77.0.11"), ("bs1", "10.77.1.1")],
    ),
    (
        "s2",
        ["coordinator", "s2", "s2"],
        &[("back", "10.77.0.12"), ("bs2", "10.77.2.1")],
    ),
    ("s1-lead", ["lead", "s1", "c1"], &[("bs1", "10.77.1.2")]),
    ("s1-a1", ["agent", "s1", "c1"], &[("bs1", "10.77.1.3")]),
    ("s1-a2", ["agent", "s1", "c1"], &[("bs1", "10.77.1.4")]),
    ("s1-a3", ["agent", "s1", "c1"], &[("bs1", "10.77.1.5")]),
    ("s2-lead", ["lead", "s2", "c1"], &[("bs2", "10.77.2.2")]),
    ("s2-a1", ["agent", "s2", "c1"], &[("bs2", "10.77.2.3")]),
    ("s2-a2", ["agent", "s2", "c1"], &[("bs2", "10.77.2.4")]),
];

impl Mesh {
    fn start(test: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut fabric = Fabric::new(test, &["back", "bs1", "bs2"]);
        let mut nodes: Vec<Process> = Vec::new();
        let mut addresses = Vec::new();
        for (name, post, legs) in ROWS {
            let space = fabric.machine(name, legs);
            let mut node = Process::new(dir.path(), name, Some(space));
            let own: Vec<&str> = legs.iter().map(|(_, address)| *address).collect();
            match nodes.first() {
                None => found(&node, own[0]),
                Some(operator) => enrol(operator, &node, post, &own),
            }
            node.start();
            nodes.push(node);
            addresses.push(own);
        }
        let mesh = Self {
            fabric,
            nodes,
            addresses,
            _dir: dir,
        };
        mesh.whole("whole at first", Duration::from_secs(60));
        mesh
    }

    /// Waits until every node couples to all; returns how long it took.
    fn whole(&self, what: &str, limit: Duration) -> Duration {
        let counts = || self.nodes.iter().map(Process::members).collect::<Vec<_>>();
        let mut last = Vec::new();
        let began = Instant::now();
        while began.elapsed() < limit {
            last = counts();
            if last.iter().all(|&members| members == N as u64) {
                return began.elapsed();
            }
        }
        panic!("{what}: not whole within {limit:?}, members seen: {last:?}");
    }

    fn cut(&self, node: usize, others: impl Iterator<Item = usize>) {
        let list: Vec<&str> = others.flat_map(|o| self.addresses[o].clone()).collect();
        let space = self.nodes[node].space.as_deref().unwrap();
        self.fabric.cut(space, &list);
    }

    fn heal(&self) {
        for node in &self.nodes {
            self.fabric.heal(node.space.as_deref().unwrap());
        }
    }

    fn sum(&self, field: &str) -> u64 {
        let of = |node: &Process| node.status().and_then(|s| s["frames"][field].as_u64());
        self.nodes.iter().filter_map(of).sum()
    }
}

fn soak() -> bool {
    std::env::var_os("CHORUS_SOAK").is_some()
}

/// Whether the fabric can be built; says so loudly when not, and the gate counts it.
fn here(test: &str) -> bool {
    match fabric::missing(test) {
        None => true,
        Some(why) => {
            println!("skipped: {test} {why}");
            false
        }
    }
}

#[test]
fn a_cut_of_any_length_heals_within_ten_seconds() {
    if !here("a_cut_of_any_length_heals_within_ten_seconds") {
        return;
    }
    let mesh = Mesh::start("cut");
    let lengths: &[u64] = if soak() {
        &[1, 5, 30, 120]
    } else {
        &[1, 5, 30]
    };
    for &seconds in lengths {
        let stale = mesh.sum("stale");
        mesh.cut(0, 1..N);
        hold(Duration::from_secs(seconds));
        mesh.heal();
        let took = mesh.whole("after the root was cut off", Duration::from_secs(10));
        println!("root cut for {seconds} s: whole after {took:.1?}");
        // A frame that is refused for its stamp is one that was overtaken; none
        // may be refused because of the cut.
        let refused = mesh.sum("stale") - stale;
        assert!(refused <= N as u64, "{refused} frames refused as stale");
    }
    // Half from half: sector 1 and its coordinator against the rest.
    for node in [1, 3, 4, 5, 6] {
        mesh.cut(node, [0, 2, 7, 8, 9].into_iter());
    }
    until("the operator misses half", Duration::from_secs(20), || {
        mesh.nodes[0].members() <= N as u64 / 2
    });
    hold(Duration::from_secs(55));
    mesh.heal();
    let took = mesh.whole("after half was cut from half", Duration::from_secs(10));
    println!("half from half for 60 s: whole after {took:.1?}");
}

#[test]
fn losses_pauses_and_a_dead_parent_evict_nobody_who_can_be_reached() {
    if !here("losses_pauses_and_a_dead_parent_evict_nobody_who_can_be_reached") {
        return;
    }
    let mut mesh = Mesh::start("ev");
    // 5 % loss for half a minute: nobody is evicted.
    for node in &mesh.nodes {
        mesh.fabric.lossy(node.space.as_deref().unwrap(), 5);
    }
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        let status = mesh.nodes[0].status().unwrap();
        assert_eq!(
            status["peers"]["evicted"], 0,
            "false death under 5 % loss: {status}"
        );
    }
    mesh.heal();
    // A paused agent is missed, and live within 15 s of its return.
    for seconds in [10, 45] {
        mesh.nodes[4].signal("-STOP");
        hold(Duration::from_secs(seconds));
        let status = mesh.nodes[0].status().unwrap();
        assert_eq!(
            status["peers"]["evicted"], 1,
            "only the paused one: {status}"
        );
        mesh.nodes[4].signal("-CONT");
        let took = mesh.whole("after a pause", Duration::from_secs(15));
        println!("paused for {seconds} s: whole after {took:.1?}");
    }
    // The lead of sector 1 dies: its agents find the coordinator.
    mesh.nodes[3].kill();
    let took = until(
        "the orphans counted by the operator",
        Duration::from_secs(20),
        || {
            mesh.nodes[0].members() == N as u64 - 1
                && [4, 5, 6]
                    .iter()
                    .all(|&a| mesh.nodes[a].members() == N as u64 - 1)
        },
    );
    println!("lead killed: its agents are in the root's sum after {took:.1?}");
    let status = mesh.nodes[0].status().unwrap();
    assert_eq!(
        status["peers"]["evicted"], 1,
        "only the dead lead: {status}"
    );
    mesh.nodes[3].start();
    mesh.whole("after the lead's return", Duration::from_secs(15));
}
