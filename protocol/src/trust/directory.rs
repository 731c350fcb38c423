//! Directory: owns the set of items and keeps it in step with neighbours.
//!
//! Heartbeats carry a digest of the whole. Where a neighbour's differs, it is
//! sent a pull (the digests of our buckets) and answers with pages of what it
//! has in the buckets that differ. Either side pulls for itself, so nothing is
//! ever taken away by an old directory, and a lost message costs a few seconds.
//! New items are passed on at once as well ([`PUSH_ITEMS_MAX`]), so that a
//! revocation crosses the tree in round trips and not in heartbeats.
//!
//! Invariants: two directories that exchange messages, some of which arrive,
//! come to the same digest; a bad item loses no good one; a page answered is
//! bounded and the next answer goes on where it ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{Digest, MeshId, NodeId};
use crate::trust::buckets::Buckets;
use crate::trust::item::{Claim, Item, digest_of};
use crate::trust::neighbour::{Asked, Neighbour};
use crate::trust::pace::Pace;
use crate::trust::pages;
use crate::trust::roster::Roster;
use crate::trust::set::{Delta, Set};
use crate::units::Micros;
use crate::wire::message::{Command, Items};

pub use crate::trust::buckets::{BUCKET_BYTES, BUCKETS};
pub use crate::trust::events::{Input, Output, Rejection};
pub use crate::trust::neighbour::{ASK_AGAIN, PAGES_MAX};
pub use crate::trust::pace::{ANNOUNCE_EVERY, ANNOUNCEMENTS_MAX};

/// Most new items that are passed on unasked, revocations first. A change by
/// hand fits; a newcomer's first download does not flood its neighbours.
pub const PUSH_ITEMS_MAX: usize = 16;
/// A neighbour unheard for this long (six heartbeats) is one no more.
pub const NEIGHBOUR_TTL: Micros = Micros::from_secs(30);
/// Most neighbours: the 100 children of a node, its parents and siblings.
pub const NEIGHBOURS_MAX: usize = 512;

/// The machine.
#[derive(Debug, Clone)]
pub struct Directory {
    mesh: MeshId,
    own: NodeId,
    set: Set,
    buckets: Buckets,
    roster: Arc<Roster>,
    neighbours: BTreeMap<NodeId, Neighbour>,
    pace: Pace,
}

impl Directory {
    /// The directory of node `own` with the items that were durable. The
    /// outputs forget those that do not count and report those that are broken.
    pub fn new(
        mesh: MeshId,
        root: NodeId,
        own: NodeId,
        restored: &[Vec<u8>],
    ) -> (Self, Vec<Output>) {
        let mut set = Set::new(root);
        let mut outputs = Vec::new();
        let mut opened = Vec::new();
        for bytes in restored {
            match Item::open(bytes, &mesh) {
                Ok(item) => opened.push(item),
                Err(why) => outputs.push(Output::Rejected {
                    from: None,
                    why: why.into(),
                }),
            }
        }
        set.apply(opened);
        let restored = restored.iter().map(|bytes| digest_of(bytes));
        let gone: Vec<Digest> = restored.filter(|digest| !set.holds(digest)).collect();
        if !gone.is_empty() {
            outputs.insert(0, Output::Forget(gone));
        }
        let (buckets, roster) = (Buckets::of(&set), Arc::new(Roster::of(&set)));
        let neighbours = BTreeMap::new();
        (
            Self {
                mesh,
                own,
                set,
                buckets,
                roster,
                neighbours,
                pace: Pace::default(),
            },
            outputs,
        )
    }

    /// Who belongs.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }
    /// The items.
    pub fn set(&self) -> &Set {
        &self.set
    }
    /// How many items there are, as a heartbeat says it.
    pub fn items(&self) -> u32 {
        self.set.len() as u32
    }
    /// The digest of all items, as a heartbeat says it.
    pub fn digest(&self) -> &Digest {
        self.buckets.all()
    }
    /// What proves that a node belongs, for `Introduce`.
    pub fn credentials(&self, node: &NodeId) -> Items {
        pages::credentials(&self.set, &self.roster, node)
    }
    /// What proves that a node was revoked, for whoever it is that asks to come in.
    pub fn revocation(&self, node: &NodeId) -> Items {
        pages::revocation(&self.set, node)
    }
    /// What a node needs first, for `Welcome`.
    pub fn welcome(&self, node: &NodeId) -> Items {
        pages::welcome(&self.set, &self.roster, node)
    }
    /// The neighbours whose items we wait for, since when, and how many items
    /// each said that it holds.
    pub fn waiting_on(&self) -> impl Iterator<Item = (NodeId, Micros, u32)> {
        let neighbours = self.neighbours.iter();
        neighbours.filter_map(|(node, it)| Some((*node, it.asked?.since, it.told?.1)))
    }

    /// How many newer announcements came too soon after others of their issuer.
    pub fn held(&self) -> u64 {
        self.pace.held
    }

    /// When [`Input::Tick`] is next of use.
    pub fn next_deadline(&self) -> Option<Micros> {
        let deadline = |it: &Neighbour| {
            let again = it.asked.map_or(Micros::NEVER, |asked| asked.again());
            again.min(it.heard + NEIGHBOUR_TTL)
        };
        self.neighbours.values().map(deadline).min()
    }

    /// Takes an input.
    pub fn handle(&mut self, input: Input, now: Micros) -> Vec<Output> {
        match input {
            Input::Heard {
                from,
                items,
                digest,
            } => self.heard(from, items, digest, now),
            Input::Pulled { from, buckets } => self.answer(from, &buckets, now),
            Input::Page { from, items } => self.page(from, &items, now),
            Input::Own(items) => self.take(None, items.iter().map(Vec::as_slice), now).0,
            Input::Tick => self.tick(now),
        }
    }

    fn heard(&mut self, from: NodeId, items: u32, digest: Digest, now: Micros) -> Vec<Output> {
        let same = digest == *self.buckets.all();
        let Some(neighbour) = self.neighbour(from, now) else {
            return Vec::new();
        };
        let before = neighbour.told.replace((digest, items));
        if same {
            neighbour.asked = None;
            return Vec::new();
        }
        if let Some(asked) = &mut neighbour.asked {
            if before != neighbour.told {
                asked.times = 1;
            }
            if now < asked.again() {
                return Vec::new();
            }
        }
        self.ask(from, now)
    }

    /// The record of a neighbour that has just been heard.
    fn neighbour(&mut self, node: NodeId, now: Micros) -> Option<&mut Neighbour> {
        let known = self.neighbours.contains_key(&node);
        if node == self.own || (!known && self.neighbours.len() >= NEIGHBOURS_MAX) {
            return None;
        }
        let neighbour = self.neighbours.entry(node).or_default();
        neighbour.heard = now;
        Some(neighbour)
    }

    fn ask(&mut self, node: NodeId, now: Micros) -> Vec<Output> {
        let Some(neighbour) = self.neighbours.get_mut(&node) else {
            return Vec::new();
        };
        let before = neighbour.asked;
        neighbour.asked = Some(Asked {
            since: before.map_or(now, |asked| asked.since),
            at: now,
            pages: 0,
            news: false,
            times: before.map_or(1, |asked| asked.times_after()),
        });
        vec![Output::Send {
            to: node,
            command: Command::Pull {
                buckets: self.buckets.to_bytes(),
            },
        }]
    }

    fn answer(&mut self, from: NodeId, buckets: &[u8], now: Micros) -> Vec<Output> {
        let Some(differing) = self.buckets.differing(buckets) else {
            return vec![Output::Rejected {
                from: Some(from),
                why: Rejection::BadPull,
            }];
        };
        let mut items: Vec<((u8, Digest), &Item)> = Vec::new();
        for bucket in differing {
            items.extend(
                self.set
                    .bucket(bucket)
                    .map(|item| (pages::place(item), item.as_ref())),
            );
        }
        items.sort_unstable_by_key(|(place, _)| *place);
        // An answer that is cut short is not repeated from its beginning, or a
        // large directory would never be seen whole.
        let begin = self.neighbours.get(&from).and_then(|it| it.answered_upto);
        let begin = begin.map_or(0, |last| items.partition_point(|(place, _)| *place <= last));
        items.rotate_left(begin);
        let (pages, taken) = pages::pack(items.iter().map(|(_, item)| *item), PAGES_MAX);
        let cut = taken < items.len();
        let last = items[..taken]
            .last()
            .map(|(place, _)| *place)
            .filter(|_| cut);
        if let Some(neighbour) = self.neighbour(from, now) {
            neighbour.answered_upto = last;
        }
        let send = |page| Output::Send {
            to: from,
            command: Command::Page(page),
        };
        pages.into_iter().map(send).collect()
    }

    fn page(&mut self, from: NodeId, items: &Items, now: Micros) -> Vec<Output> {
        let bytes = items.items.iter().map(|item| item.as_slice());
        let (mut outputs, news) = self.take(Some(from), bytes, now);
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return outputs;
        };
        if neighbour
            .told
            .is_some_and(|(told, _)| told == *self.buckets.all())
        {
            neighbour.asked = None;
        }
        let Some(asked) = &mut neighbour.asked else {
            return outputs;
        };
        asked.pages += 1;
        asked.news |= news;
        // A full answer means that there is more. One that brought nothing new
        // is not asked for again at once: we may simply be ahead.
        if asked.pages >= PAGES_MAX && asked.news {
            outputs.extend(self.ask(from, now));
        }
        outputs
    }

    fn tick(&mut self, now: Micros) -> Vec<Output> {
        self.neighbours
            .retain(|_, it| now.since(it.heard) < NEIGHBOUR_TTL);
        self.pace.forget(now);
        let digest = *self.buckets.all();
        let mut due = Vec::new();
        for (node, it) in &mut self.neighbours {
            if it.told.is_none_or(|(told, _)| told == digest) {
                it.asked = None;
            } else if it.asked.is_some_and(|asked| now >= asked.again()) {
                due.push(*node);
            }
        }
        due.into_iter()
            .flat_map(|node| self.ask(node, now))
            .collect()
    }

    /// Merges items. Also says whether any was new.
    fn take<'b>(
        &mut self,
        from: Option<NodeId>,
        items: impl Iterator<Item = &'b [u8]>,
        now: Micros,
    ) -> (Vec<Output>, bool) {
        let mut rejected = Vec::new();
        let mut opened = Vec::new();
        for bytes in items {
            // Most of what comes is known, and a digest is a hundred times
            // cheaper than a signature.
            if self.set.holds(&digest_of(bytes)) {
                continue;
            }
            match Item::open(bytes, &self.mesh) {
                Ok(item) if from.is_none() || self.may_come(&item, now) => opened.push(item),
                Ok(_) => {}
                Err(why) => rejected.push(Rejection::Item(why)),
            }
        }
        let delta = self.set.apply(opened);
        if delta.full > 0 {
            rejected.push(Rejection::Full(delta.full));
        }
        if delta.dropped > 0 {
            rejected.push(Rejection::WaitedTooLong(delta.dropped));
        }
        let news = !delta.added.is_empty();
        let mut outputs = self.publish(delta, from);
        outputs.extend(
            rejected
                .into_iter()
                .map(|why| Output::Rejected { from, why }),
        );
        (outputs, news)
    }

    /// Whether an item of another's may be taken now; counted when it may not. Only what
    /// would count, and so be written, takes from what its issuer has left.
    fn may_come(&mut self, item: &Item, now: Micros) -> bool {
        let counts = || self.roster.get(item.issuer()).is_some() && self.set.is_newer(item);
        let announces = matches!(item.claim(), Claim::Announcement(_));
        !announces || !counts() || self.pace.take(*item.issuer(), now)
    }

    /// Brings digests and roster up to date, and says what changed.
    fn publish(&mut self, delta: Delta, from: Option<NodeId>) -> Vec<Output> {
        let Delta { added, removed, .. } = delta;
        if added.is_empty() && removed.is_empty() {
            return Vec::new();
        }
        let changed = added.iter().map(|item| item.digest()).chain(&removed);
        self.buckets.refresh(&self.set, changed);
        let others = |item: &Arc<Item>| !matches!(item.claim(), Claim::Announcement(_));
        // What leaves without anything coming is not an announcement alone.
        let roster = if added.iter().any(others) || added.is_empty() {
            Roster::of(&self.set)
        } else {
            self.roster.with_announcements_of(&self.set)
        };
        let changes = roster.changes_since(&self.roster);
        self.roster = Arc::new(roster);
        let mut outputs = Vec::new();
        // To the revoked too, for the last time: they tell their children, who
        // would else stay with them for want of anybody to hear it from.
        let pushed = self.push(&added, from);
        self.neighbours
            .retain(|node, _| !changes.revoked.contains(node));
        if !added.is_empty() {
            outputs.push(Output::Persist(added));
        }
        if !removed.is_empty() {
            outputs.push(Output::Forget(removed));
        }
        outputs.extend(pushed);
        outputs.push(Output::Changed {
            roster: self.roster.clone(),
            revoked: changes.revoked,
            admitted: changes.admitted,
            altered: changes.altered,
        });
        outputs
    }

    /// Passes new items on to every neighbour but the one they came from.
    fn push(&self, added: &[Arc<Item>], from: Option<NodeId>) -> Vec<Output> {
        let mut news: Vec<&Item> = added.iter().map(Arc::as_ref).collect();
        news.sort_by_key(|item| pages::place(item));
        let (pages, _) = pages::pack(news.into_iter().take(PUSH_ITEMS_MAX), 1);
        let Some(page) = pages.into_iter().next() else {
            return Vec::new();
        };
        let others = self.neighbours.keys().filter(|node| Some(**node) != from);
        let send = |to: &NodeId| Output::Send {
            to: *to,
            command: Command::Page(page.clone()),
        };
        others.map(send).collect()
    }
}
