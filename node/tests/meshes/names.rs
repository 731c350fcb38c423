//! A name that nobody resolves any more cuts nobody off (row E3): when the line is down and
//! with it the resolver, who has an address goes on with the others.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fabric::{Fabric, here};
use crate::support::{BRANCH, Process, enrol, found, until, whole};

const NAME: &str = "op.test";

/// What `ip netns exec` shows in place of files in /etc; taken away with this.
struct Etc(PathBuf);

impl Etc {
    fn of(space: &str) -> Self {
        let etc = Self(PathBuf::from("/etc/netns").join(space));
        std::fs::create_dir_all(&etc.0).unwrap();
        std::fs::write(etc.0.join("resolv.conf"), "nameserver 127.0.0.9\n").unwrap();
        etc.hosts(&format!("127.0.0.1 localhost {NAME}\n"));
        etc
    }

    /// In place: a node has the file mounted.
    fn hosts(&self, text: &str) {
        std::fs::write(self.0.join("hosts"), text).unwrap();
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_name_that_nobody_resolves_cuts_nobody_off() {
    if !here("a_name_that_nobody_resolves_cuts_nobody_off") {
        return;
    }
    let mut fabric = Fabric::new("names", &["line"]);
    let space = fabric.machine("home", &[("line", "10.0.0.1")], None);
    let etc = Etc::of(&space);
    // The resolver hears and never answers.
    fabric.mute(&space, 53);
    let asked = Instant::now();
    let mut look = Command::new("ip");
    look.args(["netns", "exec", &space, "getent", "ahosts", "gone.test"]);
    assert!(!look.output().unwrap().status.success());
    assert!(asked.elapsed() > Duration::from_secs(4), "it did answer");

    let dir = tempfile::tempdir().unwrap();
    let mut nodes: Vec<Process> = Vec::new();
    for (name, post) in BRANCH {
        let mut node = Process::new(dir.path(), name, Some(space.clone()));
        match nodes.first() {
            None => {
                found(&node, "127.0.0.1");
                let config = node.home.join("chorus.toml");
                let text = std::fs::read_to_string(&config).unwrap();
                let named = text.replace("[\"127.0.0.1\"]", &format!("[\"{NAME}\"]"));
                assert_ne!(named, text);
                std::fs::write(&config, named).unwrap();
            }
            Some(operator) => enrol(operator, &node, post, &["127.0.0.1"]),
        }
        node.start();
        nodes.push(node);
    }
    whole(&nodes, "while the name resolves", Duration::from_secs(30));

    nodes.remove(0).kill();
    etc.hosts("127.0.0.1 localhost\n");
    whole(&nodes, "without its operator", Duration::from_secs(20));
    // Longer than the resolver is waited for, several times over. Whoever waits for it is silent
    // for half of the time; on a busy machine somebody may be missed for a moment.
    let end = Instant::now() + Duration::from_secs(25);
    let (mut looks, mut missed) = (0, vec![0; nodes.len()]);
    until("the end of the outage", Duration::from_secs(60), || {
        looks += 1;
        for (node, missed) in nodes.iter().zip(&mut missed) {
            let live = node.status().unwrap()["peers"]["live"].as_u64();
            *missed += u32::from(live != Some(2));
        }
        Instant::now() >= end
    });
    let most = missed.iter().max().unwrap();
    assert!(
        most * 5 < looks,
        "of {looks} looks they missed somebody in {missed:?}"
    );
    whole(&nodes, "after the outage", Duration::from_secs(20));
    // A node that starts anew knows no address of it, and finds the others all the same.
    let last = nodes.len() - 1;
    nodes[last].kill();
    nodes[last].start();
    whole(&nodes, "after a restart", Duration::from_secs(15));
}
