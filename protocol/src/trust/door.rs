//! Door: an enroller's decision whether a stranger with a token comes in.
//!
//! A use is journalled before it is answered, and the entry that it led to is
//! part of it: the same keys asking again get the same entry, and since
//! signatures are deterministic the same bytes, also after a restart and for
//! [`USE_KEPT_S`] after the token has expired. A token names the journal that its
//! uses are counted in: where that is gone, nobody can tell whether the token was
//! used, and it admits nobody any more. A key that belongs already may come with another
//! token: that is how a node whose journal is lost, or that moves, is enrolled
//! again, and it raises the floor of its incarnations.
//!
//! What is absent: how often a stranger may knock (the socket's business), keys
//! (the caller signs the entry) and the disk: where the first asking is not durable
//! yet, the caller keeps the answer to the second back as well.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{CurveKey, Label, MeshId, NodeId, Role};
use crate::membership::topology;
use crate::trust::item::Entry;
use crate::trust::roster::Roster;
use crate::trust::set::ENTRIES_MAX;
use crate::trust::token::{JournalId, Token, TokenError, numbered};
use crate::wire::identity::PublicKey;
use crate::wire::message::{Enrol, Refused};

/// Most uses that a door remembers.
pub const USES_KEPT_MAX: usize = 2 * ENTRIES_MAX;
/// How long after its token's end a use is remembered: a week, in which the same
/// keys may ask again.
pub const USE_KEPT_S: u64 = 7 * 86_400;

/// A token's use, for the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The token's nonce.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 16],
    /// What it led to.
    pub entry: Entry,
    /// The token's end, Unix time in seconds; 0 where that was not written down.
    #[serde(default)]
    pub expires_s: u64,
}

impl Use {
    /// Whether it need not be remembered any longer at `now_unix_s`.
    pub fn is_over(&self, now_unix_s: u64) -> bool {
        self.expires_s > 0 && self.expires_s.saturating_add(USE_KEPT_S) <= now_unix_s
    }
}

/// What is remembered of the uses that are not: it stands for all of them, so
/// that a clock set back makes no old token good again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Tokens that end by then are refused whatever the clock says. Unix time in seconds.
    pub upto_s: u64,
    /// The highest `issued` of their entries.
    pub issued: u64,
}

impl Closed {
    /// With one more use that is over.
    pub fn and(self, it: &Use) -> Self {
        Self {
            upto_s: self.upto_s.max(it.expires_s),
            issued: self.issued.max(it.entry.issued),
        }
    }
}

/// What to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make the use durable.
    Persist(Use),
    /// Sign the entry, take it into the directory, welcome its node with it.
    Admit(Entry),
}

/// Why a stranger stays outside. The door has not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a sound token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// For another mesh.
    #[error("the token is for another mesh")]
    WrongMesh,
    /// Another enroller's; it keeps the count of its uses.
    #[error("another node made this token; ask at the doors that it names")]
    WrongEnroller,
    /// The root did not let this node enrol, or does no more.
    #[error("this node may not enrol")]
    NotAnEnroller,
    /// Past its time.
    #[error("the token has expired; ask for a new one")]
    Expired,
    /// The journal that counted its uses is gone.
    #[error(
        "the token's uses were counted in a journal that the enroller has lost; ask for a new one"
    )]
    Void,
    /// Other keys have used it up.
    #[error("the token has been used up; ask for a new one")]
    Used,
    /// The key was revoked.
    #[error("this key was revoked; a node comes back with new keys")]
    Revoked,
    /// The key must not be trusted.
    #[error("a weak key")]
    WeakKey,
    /// Used before by this key with another link key.
    #[error("this token admitted this node with another link key; ask for a new token")]
    OtherLinkKey,
    /// The link key is another member's.
    #[error("this link key is another member's; make new keys")]
    LinkKeyTaken,
    /// The name is another member's.
    #[error("the name `{0}` is taken")]
    NameTaken(Label),
    /// It would stand at the top, or apart: the mesh has its top from the beginning.
    #[error(
        "nobody in this mesh can be above a {0} at the token's place; ask for a token with a \
         lower role, or for another place"
    )]
    NoParent(Role),
    /// No room.
    #[error("the mesh, or this door, has no room for more")]
    Full,
}

impl Refusal {
    /// The word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Refusal::Token(TokenError::Altered) => "token_forged",
            Refusal::Token(TokenError::WrongRoot) | Refusal::WrongMesh => "wrong_mesh",
            Refusal::Token(_) => "token_malformed",
            Refusal::WrongEnroller => "wrong_enroller",
            Refusal::NotAnEnroller => "not_an_enroller",
            Refusal::Expired => "token_expired",
            Refusal::Void => "token_void",
            Refusal::Used => "token_used",
            Refusal::Revoked => "revoked",
            Refusal::WeakKey => "weak_key",
            Refusal::OtherLinkKey => "other_link_key",
            Refusal::LinkKeyTaken => "link_key_taken",
            Refusal::NameTaken(_) => "name_taken",
            Refusal::NoParent(_) => "no_parent",
            Refusal::Full => "full",
        }
    }
}

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Refused {
            code: why.code().into(),
            reason: why.to_string(),
        }
    }
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Door {
    mesh: MeshId,
    own: NodeId,
    journal: JournalId,
    closed: Closed,
    uses: BTreeMap<[u8; 16], BTreeMap<NodeId, Entry>>,
    kept: usize,
    /// Who was last given a name or link key here: entries need a moment to
    /// reach the roster.
    names: BTreeMap<Label, NodeId>,
    curves: BTreeMap<CurveKey, NodeId>,
    issued: u64,
}

impl Door {
    /// The door of enroller `own`, with the uses that its `journal` holds, in
    /// order, and what is remembered of those that are over.
    pub fn new(
        mesh: MeshId,
        own: NodeId,
        journal: JournalId,
        closed: Closed,
        uses: impl IntoIterator<Item = Use>,
    ) -> Self {
        let mut this = Self {
            mesh,
            own,
            journal,
            closed,
            uses: BTreeMap::new(),
            kept: 0,
            names: BTreeMap::new(),
            curves: BTreeMap::new(),
            issued: closed.issued,
        };
        for it in uses {
            this.remember(it);
        }
        this
    }

    /// How often a token has been used.
    pub fn used(&self, nonce: &[u8; 16]) -> u32 {
        self.uses.get(nonce).map_or(0, |keys| keys.len() as u32)
    }

    /// A use did not become durable, and nobody was welcomed by it: it did not happen.
    pub fn forget(&mut self, it: &Use) {
        if let Some(keys) = self.uses.get_mut(&it.nonce) {
            self.kept -= usize::from(keys.remove(&it.entry.node).is_some());
        }
        self.names.retain(|_, node| *node != it.entry.node);
        self.curves.retain(|_, node| *node != it.entry.node);
    }

    /// Decides on `enrol`, which `key` signed, at Unix time `now_unix_s`.
    pub fn handle(
        &mut self,
        key: NodeId,
        enrol: &Enrol,
        roster: &Roster,
        now_unix_s: u64,
    ) -> Result<Vec<Output>, Refusal> {
        let token = Token::open(&enrol.token)?;
        if token.mesh != self.mesh {
            return Err(Refusal::WrongMesh);
        }
        if token.enroller != self.own {
            return Err(Refusal::WrongEnroller);
        }
        if !roster.may_enrol(&self.own) {
            return Err(Refusal::NotAnEnroller);
        }
        if PublicKey::new(&key).is_err() || enrol.curve.0 == [0; 32] {
            return Err(Refusal::WeakKey);
        }
        if roster.is_revoked(&key) {
            return Err(Refusal::Revoked);
        }
        if let Some(entry) = self.uses.get(&token.nonce).and_then(|keys| keys.get(&key)) {
            if entry.curve != enrol.curve {
                return Err(Refusal::OtherLinkKey);
            }
            return Ok(vec![Output::Admit(entry.clone())]);
        }
        if now_unix_s.max(self.closed.upto_s) >= token.expires_s {
            return Err(Refusal::Expired);
        }
        if token.journal() != self.journal {
            return Err(Refusal::Void);
        }
        if self.used(&token.nonce) >= token.uses {
            return Err(Refusal::Used);
        }
        let before = roster.get(&key).map(|it| (it.entry.role, it.entry.place));
        let child = topology::Member {
            node: key,
            role: token.role,
            place: token.place,
        };
        // Who comes back as what it was may be the top itself.
        if before != Some((token.role, token.place)) && !roster.has_parent_for(&child) {
            return Err(Refusal::NoParent(token.role));
        }
        let newcomer = before.is_none();
        if self.kept >= USES_KEPT_MAX || (newcomer && roster.len() >= ENTRIES_MAX) {
            return Err(Refusal::Full);
        }
        let entry = self.entry(key, &token, enrol, roster)?;
        let it = Use {
            nonce: token.nonce,
            entry: entry.clone(),
            expires_s: token.expires_s,
        };
        self.remember(it.clone());
        Ok(vec![Output::Persist(it), Output::Admit(entry)])
    }

    fn entry(
        &self,
        key: NodeId,
        token: &Token,
        enrol: &Enrol,
        roster: &Roster,
    ) -> Result<Entry, Refusal> {
        let holder = roster
            .by_curve(&enrol.curve)
            .map(|member| member.entry.node);
        let promised = self
            .curves
            .get(&enrol.curve)
            .filter(|node| !roster.is_revoked(node));
        if holder
            .as_ref()
            .into_iter()
            .chain(promised)
            .any(|node| *node != key)
        {
            return Err(Refusal::LinkKeyTaken);
        }
        let before = self.uses.values().filter_map(|keys| keys.get(&key));
        let before = before.chain(roster.get(&key).map(|member| member.entry.as_ref()));
        let floor = before
            .map(|entry| entry.floor.saturating_add(1))
            .max()
            .unwrap_or(0);
        Ok(Entry {
            node: key,
            curve: enrol.curve,
            name: self.name(key, token, enrol, roster)?,
            role: token.role,
            place: token.place,
            caps: token.caps.clone(),
            floor,
            issued: self
                .issued
                .max(roster.last_issued(&self.own))
                .saturating_add(1),
            adopts: None,
        })
    }

    fn name(
        &self,
        key: NodeId,
        token: &Token,
        enrol: &Enrol,
        roster: &Roster,
    ) -> Result<Label, Refusal> {
        let free = |name: &Label| self.is_free(name, key, roster);
        if let Some(stem) = token.name.filter(|_| token.uses > 1) {
            // By use number; a number that somebody has otherwise is left out,
            // so that it does not stop the token for good.
            let first = self.used(&token.nonce) + 1;
            let mut names = (first..first + token.uses).map_while(|n| numbered(stem, n));
            return names.find(free).ok_or(Refusal::NameTaken(stem));
        }
        if let Some(name) = token.name.or(enrol.name) {
            return if free(&name) {
                Ok(name)
            } else {
                Err(Refusal::NameTaken(name))
            };
        }
        if let Some(member) = roster.get(&key) {
            return Ok(member.entry.name);
        }
        let name = Label::new(&format!("n-{}", key.short()));
        Ok(name.expect("invariant: hex digits are a label"))
    }

    /// Whether `key` may have a name: it is nobody else's, on the roster or by a
    /// use that has not reached it yet.
    fn is_free(&self, name: &Label, key: NodeId, roster: &Roster) -> bool {
        let holder = roster.by_name(name).map(|member| member.entry.node);
        let promised = self.names.get(name).copied().filter(|node| {
            let renamed = roster
                .get(node)
                .is_some_and(|member| member.entry.name != *name);
            !renamed && !roster.is_revoked(node)
        });
        holder.into_iter().chain(promised).all(|node| node == key)
    }

    fn remember(&mut self, it: Use) {
        self.issued = self.issued.max(it.entry.issued);
        self.names.insert(it.entry.name, it.entry.node);
        self.curves.insert(it.entry.curve, it.entry.node);
        let keys = self.uses.entry(it.nonce).or_default();
        self.kept += usize::from(keys.insert(it.entry.node, it.entry).is_none());
    }
}
