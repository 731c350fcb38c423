//! A network of namespaces: one bridge for each sector and one for the backbone,
//! all inside a namespace of their own, so that nothing of the host is touched.

use std::process::Command;
use std::sync::LazyLock;

use crate::delay::{Cable, Delay};
use crate::support::succeed;

/// The namespaces of one test; they are deleted with it.
pub struct Fabric {
    prefix: String,
    spaces: Vec<String>,
    cables: Vec<Cable>,
}

/// Whether there can be a fabric here; says so loudly when not, and the gate counts it.
pub fn here(test: &str) -> bool {
    let why = missing();
    if let Some(why) = why {
        println!("skipped: {test} {why}");
    }
    why.is_none()
}

/// Why there can be none, found out once for all tests of the program.
fn missing() -> Option<&'static str> {
    static WHY: LazyLock<Option<&str>> = LazyLock::new(|| {
        let works = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output();
            output.is_ok_and(|output| output.status.success())
        };
        let probe = format!("probe{}", std::process::id());
        if !works("ip", &["netns", "add", &probe]) {
            return Some("needs root and network namespaces (ip netns)");
        }
        let nft = works("ip", &["netns", "exec", &probe, "nft", "list", "ruleset"]);
        works("ip", &["netns", "del", &probe]);
        (!nft).then_some("needs nftables")
    });
    *WHY
}

fn ip(args: &str) {
    succeed(Command::new("ip").args(args.split_whitespace()));
}

impl Fabric {
    /// A switch with these bridges.
    pub fn new(test: &str, bridges: &[&str]) -> Self {
        let prefix = format!("ch{}{test}", std::process::id());
        let mut fabric = Self {
            prefix,
            spaces: Vec::new(),
            cables: Vec::new(),
        };
        let switch = fabric.add("switch");
        for bridge in bridges {
            ip(&format!("-n {switch} link add {bridge} type bridge"));
            ip(&format!("-n {switch} link set {bridge} up"));
        }
        fabric
    }

    fn add(&mut self, name: &str) -> String {
        let space = format!("{}-{name}", self.prefix);
        ip(&format!("netns add {space}"));
        ip(&format!("-n {space} link set lo up"));
        self.spaces.push(space.clone());
        space
    }

    /// A machine with a leg on each of these bridges: (bridge, address). With delays, what
    /// it sends and what it receives takes that long.
    pub fn machine(
        &mut self,
        name: &str,
        legs: &[(&str, &str)],
        delays: Option<[Delay; 2]>,
    ) -> String {
        let space = self.add(name);
        let switch = format!("{}-switch", self.prefix);
        for (n, (bridge, address)) in legs.iter().enumerate() {
            // Interface names have 15 characters: number the machines.
            let port = format!("p{}x{n}", self.spaces.len());
            match delays {
                None => ip(&format!(
                    "-n {switch} link add {port} type veth peer name eth{n} netns {space}"
                )),
                Some([out, into]) => {
                    let (own, seed) = (format!("eth{n}"), self.cables.len() as u64);
                    let ends = ((space.as_str(), own.as_str()), (switch.as_str(), &*port));
                    let cable = Cable::lay(ends.0, ends.1, out, into, seed);
                    self.cables.push(cable);
                }
            }
            ip(&format!("-n {switch} link set {port} master {bridge} up"));
            ip(&format!("-n {space} addr add {address}/24 dev eth{n}"));
            ip(&format!("-n {space} link set eth{n} up"));
        }
        space
    }

    /// Frames that the slow legs carried.
    pub fn carried(&self) -> u64 {
        self.cables.iter().map(Cable::carried).sum()
    }

    /// Drops everything between `space` and these addresses, in both directions.
    pub fn cut(&self, space: &str, from: &[&str]) {
        let list = from.join(", ");
        nft(space, "add table inet cut");
        for (hook, side) in [("input", "saddr"), ("output", "daddr")] {
            let chain = format!("{{ type filter hook {hook} priority 0 ; }}");
            nft(space, &format!("add chain inet cut {hook} {chain}"));
            let rule = format!("add rule inet cut {hook} ip {side} {{ {list} }} drop");
            nft(space, &rule);
        }
    }

    /// Loses this share of what comes in, in percent.
    pub fn lossy(&self, space: &str, percent: u32) {
        nft(space, "add table inet loss");
        let chain = "add chain inet loss input { type filter hook input priority 0 ; }";
        nft(space, chain);
        let rule =
            format!("add rule inet loss input iifname eth* numgen random mod 100 < {percent} drop");
        nft(space, &rule);
    }

    /// Whoever serves UDP on `port` of this machine hears nothing any more, and nobody is told.
    pub fn mute(&self, space: &str, port: u16) {
        nft(space, "add table inet mute");
        let chain = "add chain inet mute input { type filter hook input priority 0 ; }";
        nft(space, chain);
        nft(
            space,
            &format!("add rule inet mute input udp dport {port} drop"),
        );
    }

    /// Undoes all cuts and losses of a machine.
    pub fn heal(&self, space: &str) {
        nft(space, "flush ruleset");
    }
}

fn nft(space: &str, command: &str) {
    let mut run = Command::new("ip");
    run.args(["netns", "exec", space, "nft", command]);
    succeed(&mut run);
}

impl Drop for Fabric {
    fn drop(&mut self) {
        for space in &self.spaces {
            // Best effort: a test that failed should say why, not fail again here.
            let _ = Command::new("ip").args(["netns", "del", space]).output();
        }
    }
}
