//! Task: one piece of work for one agent, given to another when that one is lost (MESH-30K, 7.1 `delegate`).
//!
//! Each attempt has a number, the *fence*. The answer to the newest attempt becomes the effect,
//! once; an answer to one before it, from an agent that was given up and finished all the same,
//! is late: kept, and without effect.

use crate::ids::AgentName;

/// Attempts of one task.
pub const ATTEMPTS_MAX: usize = 16;

/// A task's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    tried: Vec<AgentName>,
    over: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With an answer.
    Answered,
    /// Without one: the agent is lost, refuses or contradicts.
    Failed,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This answer is the effect.
    Effect,
    /// This answer came from an attempt that was given up, or after the effect.
    Late,
    /// Another agent is to try.
    Again,
    /// Nothing: the attempt was given up before.
    Nothing,
}

impl Task {
    /// The next attempt: the first of `candidates`, best first, that has not tried. Its fence
    /// and who it is; `None` when there is nobody left, or it was tried often enough.
    pub fn attempt(
        &mut self,
        candidates: impl IntoIterator<Item = AgentName>,
    ) -> Option<(u32, AgentName)> {
        if self.over || self.tried.len() >= ATTEMPTS_MAX {
            return None;
        }
        let fresh = candidates.into_iter().find(|it| !self.tried.contains(it));
        let agent = fresh?;
        self.tried.push(agent);
        Some((self.fence(), agent))
    }

    /// An attempt ended.
    pub fn ended(&mut self, fence: u32, how: Ended) -> Verdict {
        let current = fence == self.fence() && fence > 0 && !self.over;
        match (current, how) {
            (true, Ended::Answered) => {
                self.over = true;
                Verdict::Effect
            }
            (true, Ended::Failed) => Verdict::Again,
            (false, Ended::Answered) => Verdict::Late,
            (false, Ended::Failed) => Verdict::Nothing,
        }
    }

    /// It is over, whoever answers yet.
    pub fn close(&mut self) {
        self.over = true;
    }

    /// Who has tried, in order.
    pub fn tried(&self) -> &[AgentName] {
        &self.tried
    }

    /// The number of the newest attempt, from 1.
    fn fence(&self) -> u32 {
        self.tried.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Label, NodeId};

    fn agent(n: u8) -> AgentName {
        AgentName {
            node: NodeId([n; 32]),
            agent: Label::new("e").expect("a name"),
        }
    }

    #[test]
    fn a_lost_agents_task_goes_to_the_next_and_its_answer_is_late() {
        let mut task = Task::default();
        let all = || (1..4).map(agent);
        assert_eq!(task.attempt(all()), Some((1, agent(1))));
        assert_eq!(task.ended(1, Ended::Failed), Verdict::Again);
        assert_eq!(task.attempt(all()), Some((2, agent(2))));
        assert_eq!(
            task.ended(1, Ended::Answered),
            Verdict::Late,
            "it was only cut off"
        );
        assert_eq!(task.ended(2, Ended::Answered), Verdict::Effect);
        assert_eq!(task.ended(2, Ended::Answered), Verdict::Late, "once");
        assert_eq!(task.attempt(all()), None, "it is over");
        assert_eq!(task.ended(0, Ended::Answered), Verdict::Late);
        assert_eq!(task.tried(), [agent(1), agent(2)]);
    }

    #[test]
    fn what_comes_when_it_was_given_up_is_late_and_nobody_tries_again() {
        let mut task = Task::default();
        assert!(task.attempt([agent(1)]).is_some());
        task.close();
        assert_eq!(task.ended(1, Ended::Failed), Verdict::Nothing);
        assert_eq!(task.ended(1, Ended::Answered), Verdict::Late);
        assert_eq!(task.attempt([agent(2)]), None);
    }

    #[test]
    fn nobody_tries_twice_and_it_ends() {
        let mut task = Task::default();
        for n in 1..=ATTEMPTS_MAX as u8 {
            assert!(
                task.attempt((1..99).map(agent))
                    .is_some_and(|it| it.1 == agent(n))
            );
            assert_eq!(task.ended(n.into(), Ended::Failed), Verdict::Again);
        }
        assert_eq!(task.attempt((1..99).map(agent)), None);
        assert_eq!(Task::default().attempt([]), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_there_is_one_effect_at_most_and_it_is_of_the_newest(
            words in prop::collection::vec((0u32..6, any::<bool>(), any::<bool>()), 0..60),
        ) {
            let mut task = Task::default();
            let mut effects = 0;
            for (fence, answered, again) in words {
                if again {
                    task.attempt((1..9).map(agent));
                }
                let newest = task.tried().len() as u32;
                let how = if answered { Ended::Answered } else { Ended::Failed };
                if task.ended(fence, how) == Verdict::Effect {
                    prop_assert_eq!(fence, newest);
                    effects += 1;
                }
            }
            prop_assert!(effects <= 1);
        }
    }
}
