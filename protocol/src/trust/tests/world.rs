//! A small world of directories: links, heartbeats, loss; and that they agree in the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::directory::{directory, heard};
use super::*;
use crate::ids::Digest;
use crate::trust::directory::*;
use crate::trust::item::ITEM_BYTES_MAX;
use crate::trust::pages::PAGE_BYTES_MAX;
use crate::units::{Micros, Noise, Seeded};
use crate::wire::message::Command;

/// Directories with links between them, what each has made durable, and what is
/// under way. Of each hundred messages `lost` are lost.
pub(super) struct World {
    pub nodes: BTreeMap<NodeId, (Directory, BTreeMap<Digest, Vec<u8>>)>,
    links: Vec<(NodeId, NodeId)>,
    queue: VecDeque<(NodeId, NodeId, Command)>,
    noise: Seeded,
    lost: u64,
    now: Micros,
    sent: usize,
    pub pulls: usize,
}

impl World {
    pub fn new(homes: &[(u8, Vec<Vec<u8>>)], links: &[(u8, u8)], lost: u64) -> Self {
        let home = |(n, items): &(u8, Vec<Vec<u8>>)| {
            let set = set_of(items);
            let disk = set
                .items()
                .map(|it| (*it.digest(), it.bytes().to_vec()))
                .collect();
            (key(*n).id(), (directory(*n, items), disk))
        };
        let both = |(a, b): &(u8, u8)| [(key(*a).id(), key(*b).id()), (key(*b).id(), key(*a).id())];
        Self {
            nodes: homes.iter().map(home).collect(),
            links: links.iter().flat_map(both).collect(),
            queue: VecDeque::new(),
            noise: Seeded::new(11),
            lost,
            now: Micros::ZERO,
            sent: 0,
            pulls: 0,
        }
    }

    pub fn give(&mut self, to: NodeId, input: Input) {
        let Some((directory, disk)) = self.nodes.get_mut(&to) else {
            return;
        };
        for output in directory.handle(input, self.now) {
            match output {
                Output::Persist(items) => {
                    disk.extend(items.iter().map(|it| (*it.digest(), it.bytes().to_vec())));
                }
                Output::Forget(digests) => {
                    for digest in digests {
                        assert!(
                            disk.remove(&digest).is_some(),
                            "only what is durable is forgotten"
                        );
                    }
                }
                Output::Send { to: next, command } => {
                    self.sent += 1;
                    self.pulls += usize::from(matches!(command, Command::Pull { .. }));
                    if self.noise.bits() % 100 >= self.lost {
                        self.queue.push_back((to, next, command));
                    }
                }
                Output::Changed { .. } => {}
                Output::Rejected { why, .. } => panic!("{why}"),
            }
        }
    }

    pub fn deliver(&mut self) {
        while let Some((from, to, command)) = self.queue.pop_front() {
            match command {
                Command::Pull { buckets } => self.give(to, Input::Pulled { from, buckets }),
                Command::Page(items) => self.give(to, Input::Page { from, items }),
                other => panic!("{other:?}"),
            }
        }
    }

    /// One second; every fifth, heartbeats.
    pub fn second(&mut self) {
        self.now = self.now + Micros::from_secs(1);
        for (from, to) in self.links.clone() {
            if self.now.0.is_multiple_of(5_000_000) && self.noise.bits() % 100 >= self.lost {
                let it = &self.nodes[&from].0;
                let heard = Input::Heard {
                    from,
                    items: it.items(),
                    digest: *it.digest(),
                };
                self.give(to, heard);
            }
        }
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.give(node, Input::Tick);
        }
        self.deliver();
    }

    /// Runs until all are the same; how many seconds that took.
    pub fn agree(&mut self, most: usize) -> usize {
        let agreed = |this: &Self| {
            let digests: BTreeSet<_> = this.nodes.values().map(|it| *it.0.digest()).collect();
            digests.len() == 1
        };
        for second in 0..most {
            if agreed(self) {
                return second;
            }
            self.second();
        }
        panic!("not the same after {most} s");
    }
}

/// What grew on either side while they were apart.
fn halves() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let common = mesh_with(&[
        enter(&root(), entry(2, 0, 2)),
        delegate(2),
        enter(&root(), entry(3, 0, 3)),
    ]);
    let (mut a, mut b) = (common.clone(), common);
    for n in 20..60 {
        a.push(enter(&key(1), entry(n, 0, n as u64)));
        a.push(announce(n, 1));
        b.push(enter(&key(2), entry(n + 100, 0, n as u64)));
        b.push(announce(n + 100, 1));
    }
    a.push(revocation(3, 1, 0));
    b.push(announce(3, 1));
    (a, b)
}

#[test]
fn two_halves_that_grew_apart_become_one_whatever_is_lost() {
    let (a, b) = halves();
    let whole = set_of(&[a.as_slice(), &b].concat());
    for lost in [0, 30, 60] {
        let mut world = World::new(&[(1, a.clone()), (2, b.clone())], &[(1, 2)], lost);
        world.agree(600);
        for (directory, disk) in world.nodes.values() {
            assert!(
                directory
                    .set()
                    .items()
                    .map(|it| it.digest())
                    .eq(whole.items().map(|it| it.digest()))
            );
            assert!(directory.roster().is_revoked(&key(3).id()));
            assert_eq!(directory.roster().len(), 82);
            // What is durable is what there is: a restart begins with the same.
            let durable: Vec<Vec<u8>> = disk.values().cloned().collect();
            let (again, outputs) = Directory::new(mesh(), root().id(), key(1).id(), &durable);
            assert_eq!((again.digest(), outputs.len()), (directory.digest(), 0));
        }
        world.lost = 0;
        for _ in 0..5 {
            world.second();
        }
        assert!(
            world
                .nodes
                .values()
                .all(|it| it.0.waiting_on().count() == 0)
        );
    }
}

#[test]
fn a_revocation_crosses_the_tree_without_waiting_for_heartbeats() {
    let items = mesh_with(
        &(2..6)
            .map(|n| enter(&key(1), entry(n, 0, n as u64)))
            .collect::<Vec<_>>(),
    );
    let homes: Vec<_> = (1..6).map(|n| (n, items.clone())).collect();
    let mut world = World::new(&homes, &[(1, 2), (2, 3), (3, 4)], 0);
    world.now = Micros::from_secs(4);
    world.second();
    world.sent = 0;
    world.give(key(1).id(), Input::Own(vec![revocation(5, 1, 0)]));
    world.deliver();
    let knows = |n: u8| {
        world.nodes[&key(n).id()]
            .0
            .roster()
            .is_revoked(&key(5).id())
    };
    assert_eq!(
        [1, 2, 3, 4, 5].map(knows),
        [true, true, true, true, false],
        "5 has no link"
    );
    assert_eq!(world.sent, 3, "one page over each link");
}

#[test]
fn a_newcomer_fetches_a_large_mesh_in_bounded_answers() {
    let node = |n: u32| Identity::from_seed(&std::array::from_fn(|at| (n >> (at % 4 * 8)) as u8));
    let many = (1_000..3_500u32).map(|n| {
        let name = label(&format!("m-{n}"));
        enter(
            &key(1),
            Entry {
                node: node(n).id(),
                name,
                ..entry(2, 0, n as u64)
            },
        )
    });
    let large = mesh_with(&many.collect::<Vec<_>>());
    let mut answering = directory(1, &large);
    let pull = directory(2, &[]).handle(heard(1, &answering), Micros::ZERO);
    let Some(Output::Send {
        command: Command::Pull { buckets },
        ..
    }) = pull.into_iter().next()
    else {
        panic!("no pull")
    };
    let pages = answering.handle(
        Input::Pulled {
            from: key(2).id(),
            buckets,
        },
        Micros::ZERO,
    );
    assert_eq!(pages.len(), PAGES_MAX);
    for it in pages {
        let Output::Send {
            command: Command::Page(items),
            ..
        } = it
        else {
            panic!("{it:?}")
        };
        let bytes: usize = items.items.iter().map(|it| it.len() + 3).sum();
        assert!(bytes <= PAGE_BYTES_MAX && bytes + ITEM_BYTES_MAX > PAGE_BYTES_MAX);
    }
    // One heartbeat is enough for the whole, since each full answer asks on.
    let mut world = World::new(&[(1, large.clone()), (2, vec![])], &[(1, 2)], 0);
    assert_eq!(world.agree(20), 5);
    // Whoever is ahead asks too, is told nothing new, and does not ask on and on.
    let ahead = [
        large.as_slice(),
        &(4..8)
            .map(|n| enter(&key(1), entry(n, 0, 9)))
            .collect::<Vec<_>>(),
    ];
    let mut world = World::new(&[(1, large.clone()), (2, ahead.concat())], &[(1, 2)], 0);
    world.links.retain(|(from, _)| *from == key(1).id());
    for _ in 0..5 {
        world.second();
    }
    assert!(world.sent < 20, "{} messages", world.sent);
}
