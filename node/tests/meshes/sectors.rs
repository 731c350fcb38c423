//! Real nodes in sectors, each in a namespace of its own; mostly ten in two of them.

use std::time::{Duration, Instant};

use crate::delay::Delay;
use crate::fabric::Fabric;
use crate::support::{Process, enrol, found, until};

/// Nodes on a backbone and on a bridge for each sector.
pub struct Mesh {
    pub fabric: Fabric,
    pub nodes: Vec<Process>,
    addresses: Vec<Vec<&'static str>>,
    _dir: tempfile::TempDir,
}

pub const N: usize = 10;
/// Name; role, sector, cluster; legs as (bridge, address).
pub type Row = (
    &'static str,
    [&'static str; 3],
    &'static [(&'static str, &'static str)],
);
/// Ten nodes in two sectors: the operator and two coordinators on the backbone,
/// each sector's lead and agents on their own bridge.
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
    pub fn start(test: &str) -> Self {
        Self::with(test, "", |_| None)
    }

    /// With these lines in every node's configuration, and these delays (of what a node
    /// sends, and of what it receives) on its legs.
    pub fn with(test: &str, settings: &str, delays: impl Fn(&str) -> Option<[Delay; 2]>) -> Self {
        Self::laid(test, &ROWS, settings, delays)
    }

    /// The same with other nodes; the first is the operator.
    pub fn laid(
        test: &str,
        rows: &[Row],
        settings: &str,
        delays: impl Fn(&str) -> Option<[Delay; 2]>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut fabric = Fabric::new(test, &["back", "bs1", "bs2"]);
        let mut nodes: Vec<Process> = Vec::new();
        let mut addresses = Vec::new();
        for &(name, post, legs) in rows {
            let space = fabric.machine(name, legs, delays(name));
            let mut node = Process::new(dir.path(), name, Some(space));
            let own: Vec<&str> = legs.iter().map(|(_, address)| *address).collect();
            match nodes.first() {
                None => found(&node, own[0]),
                Some(operator) => enrol(operator, &node, post, &own),
            }
            let config = node.home.join("chorus.toml");
            let text = std::fs::read_to_string(&config).unwrap();
            std::fs::write(&config, text + settings).unwrap();
            node.start();
            nodes.push(node);
            // A welcome holds the addresses of parents that the enroller has heard of, and
            // on its own bridge a node can ask nobody else for them.
            if post[0] != "agent" {
                until("the operator knows it", Duration::from_secs(30), || {
                    nodes[0].members() == nodes.len() as u64
                });
            }
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
    pub fn whole(&self, what: &str, limit: Duration) -> Duration {
        let counts = || self.nodes.iter().map(Process::members).collect::<Vec<_>>();
        let mut last = Vec::new();
        let began = Instant::now();
        while began.elapsed() < limit {
            last = counts();
            if last.iter().all(|&members| members == last.len() as u64) {
                return began.elapsed();
            }
        }
        panic!("{what}: not whole within {limit:?}, members seen: {last:?}");
    }

    pub fn cut(&self, node: usize, others: impl Iterator<Item = usize>) {
        let list: Vec<&str> = others.flat_map(|o| self.addresses[o].clone()).collect();
        let space = self.nodes[node].space.as_deref().unwrap();
        self.fabric.cut(space, &list);
    }

    pub fn heal(&self) {
        for node in &self.nodes {
            self.fabric.heal(node.space.as_deref().unwrap());
        }
    }

    pub fn sum(&self, field: &str) -> u64 {
        let of = |node: &Process| node.status().and_then(|s| s["frames"][field].as_u64());
        self.nodes.iter().filter_map(of).sum()
    }
}
