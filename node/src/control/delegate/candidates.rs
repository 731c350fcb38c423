//! Candidates: who could do a task, the best first.

use chorus_protocol::ids::{AgentName, Label};
use chorus_protocol::impedance::{Class, Need, State};
use chorus_protocol::op::readings::Readings;
use chorus_protocol::op::task::ATTEMPTS_MAX;

use super::{Errand, To};

impl Errand {
    /// Those that could do it and have not tried, the best first, and whether others could that are
    /// not there. Who mostly fails comes last.
    pub(super) async fn candidates(&self) -> (Vec<AgentName>, bool) {
        let (to, up_to) = (self.ask.to.clone(), self.ask.up_to_ms);
        let tried = self.task.tried().to_vec();
        let named = match &to {
            To::Agent(node, agent) => {
                let member = self.roster.members().find(|it| it.entry.name == *node);
                member.map(|it| AgentName {
                    node: it.entry.node,
                    agent: *agent,
                })
            }
            _ => None,
        };
        let look = move |readings: &Readings| {
            let registry = readings.registry();
            let able = |capabilities: &[Label], class: Option<Class>| {
                let need = Need {
                    capabilities,
                    class,
                    z_ms_max: up_to,
                };
                let best = registry.best(2 * ATTEMPTS_MAX, need).into_iter();
                let best = best.map(|it| it.agent).filter(|it| !tried.contains(it));
                let mut best: Vec<AgentName> = best.collect();
                let fails = |agent: &AgentName| {
                    let reading = registry.get(agent);
                    reading.is_some_and(|it| it.reliability.is_some_and(|it| it < 0.5))
                };
                best.sort_by_key(fails);
                let away = registry.iter().any(|(agent, it)| {
                    let alike = class.map_or(!it.class.is_human(), |class| class == it.class);
                    let can = |capability| it.capabilities.contains(capability);
                    let able = alike && capabilities.iter().all(can);
                    able && it.state == State::Offline && !tried.contains(agent)
                });
                (best, away)
            };
            match to {
                To::Best => able(&[], None),
                To::Class(class) => able(&[], Some(class)),
                To::Capability(it) => able(&[it], None),
                To::Agent(..) => {
                    let fresh = named.filter(|it| !tried.contains(it));
                    let known = fresh.and_then(|it| Some((it, registry.get(&it)?)));
                    let there = known.filter(|it| it.1.is_live()).map(|it| it.0);
                    let away = known.is_some() && there.is_none();
                    (there.into_iter().collect(), away)
                }
            }
        };
        self.operations.read(look).await.unwrap_or_default()
    }
}
