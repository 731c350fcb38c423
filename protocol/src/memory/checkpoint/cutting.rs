//! Cutting: a checkpoint that is too large for everybody goes whole to the parents, and each of
//! them makes the fragments of its agents anew; the top has signed what must come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{NodeId, Role};
use crate::units::Micros;

use super::coding::{Coded, Plan};
use super::copy::{Copy, Whole, numbers, plan};
use super::machine::Checkpoints;
use super::spread::Spreading;
use super::{Event, Name, Output, Part, Refusal, Seal};

/// What those beneath get in place of the whole.
#[derive(Debug, Clone)]
pub(super) enum Fragments {
    /// Nothing: everybody gets the whole.
    None,
    /// Fragments, which are being made for these.
    Coming(BTreeMap<NodeId, u32>),
    /// These fragments. Who is not among them came later and gets the whole.
    Here(BTreeMap<NodeId, Arc<[u8]>>),
}

/// A checkpoint that was made here and is being cut.
#[derive(Debug, Clone)]
pub(super) struct Cutting {
    part: Part,
    plan: Plan,
    whose: BTreeMap<NodeId, u32>,
}

impl Fragments {
    /// What a child gets, where that is known yet.
    pub fn of(&self, child: &NodeId, whole: &Arc<[u8]>) -> Option<Arc<[u8]>> {
        match self {
            Self::Coming(whose) if whose.contains_key(child) => None,
            Self::Here(fragments) => fragments.get(child).or(Some(whole)).cloned(),
            _ => Some(whole.clone()),
        }
    }
}

impl Checkpoints {
    /// How the top cuts what it made, if everybody shall not have the whole of it.
    pub(super) fn plan(&self, part: &Part) -> Option<Plan> {
        let is_large = part.members().len() > self.config.whole_up_to;
        let is_due = part.header().epoch.is_multiple_of(self.config.whole_every);
        (is_large && !is_due).then_some(plan(part, self.config.needed)?)
    }

    /// The top has made one that is to be cut.
    pub(super) fn cut_up(&mut self, part: Part, plan: Plan, out: &mut Vec<Output>) {
        let whose = numbers(&part, &self.agents());
        out.push(code(&part, plan, &whose));
        self.cutting = Some(Cutting { part, plan, whose });
    }

    /// What a copy from the parent means for those beneath.
    pub(super) fn fragments_of(&self, copy: &Copy, out: &mut Vec<Output>) -> Fragments {
        let sealed = copy.whole().and_then(|it| Some((it.part(), it.seal()?)));
        let Some((part, seal)) = sealed else {
            return Fragments::None;
        };
        let whose = numbers(part, &self.agents());
        if whose.is_empty() {
            return Fragments::None;
        }
        out.push(code(part, seal.plan, &whose));
        Fragments::Coming(whose)
    }

    /// Children that hold no whole.
    fn agents(&self) -> BTreeSet<NodeId> {
        let roster = &self.setting.roster;
        let role = |node: &NodeId| roster.get(node).map(|it| it.entry.role);
        let children = self.taking_part().into_iter();
        children
            .filter(|node| role(node) == Some(Role::Agent))
            .collect()
    }

    /// The fragments are made.
    pub(super) fn coded(
        &mut self,
        name: Name,
        coded: Result<Coded, Refusal>,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        let mine = |it: &mut Cutting| Name::of(it.part.header()) == name;
        if let Some(cutting) = self.cutting.take_if(mine) {
            return match coded {
                Ok(coded) => self.cut_is_made(cutting, &coded, now, out),
                Err(why) => self.refuse(self.me, why, out),
            };
        }
        let Some(spreading) = self.spreading.as_mut().filter(|it| it.name == name) else {
            return; // another has come meanwhile
        };
        let (Fragments::Coming(whose), Some(whole)) =
            (&spreading.fragments, spreading.copy.whole())
        else {
            return;
        };
        let made = coded.and_then(|coded| whole.fragments(&coded, whose).ok_or(Refusal::Altered));
        let signer = whole.part().header().signer;
        let (fragments, refused) = match made {
            Ok(made) => (Fragments::Here(made), None),
            // The whole is sound, so they get that.
            Err(why) => (Fragments::None, Some(why)),
        };
        spreading.fragments = fragments;
        if let Some(why) = refused {
            self.refuse(signer, why, out);
        }
        self.hand_all_down(out);
    }

    fn cut_is_made(&mut self, cutting: Cutting, coded: &Coded, now: Micros, out: &mut Vec<Output>) {
        let Cutting { part, plan, whose } = cutting;
        let seal = Seal {
            fragments: coded.root,
            plan,
            members: part.members().len(),
        };
        let sealed = seal.seal(part.signed(), &self.setting.identity, &self.setting.mesh);
        let whole = Whole::sealed(part, seal, sealed);
        let made = whole.fragments(coded, &whose);
        let fragments = made.map_or(Fragments::None, Fragments::Here);
        self.give_out(whole, fragments, now, out);
    }

    /// The top writes down what it made, and then gives it to those beneath.
    pub(super) fn give_out(
        &mut self,
        whole: Whole,
        fragments: Fragments,
        now: Micros,
        out: &mut Vec<Output>,
    ) {
        let (kind, members) = (whole.part().header().kind, whole.part().members().len());
        let deadline = now + self.config.acknowledge;
        let spreading = Spreading::new(Copy::Whole(whole), fragments, Some(deadline));
        let name = self.keep(spreading, out);
        out.push(Output::Event(Event::Made(name, kind, members)));
    }
}

fn code(part: &Part, plan: Plan, whose: &BTreeMap<NodeId, u32>) -> Output {
    let name = Name::of(part.header());
    let numbers = whose.values().copied().collect();
    Output::Code(name, plan, part.bytes().clone(), numbers)
}
