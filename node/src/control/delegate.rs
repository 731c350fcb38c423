//! Delegating: a task for one agent, given to the next when that one is lost. Each step is a record of this
//! node's own before it is taken, so `chorus timeline own/NAME/task/` tells the story, and the effect is written
//! once.

mod candidates;

use std::sync::Arc;
use std::time::Duration;

use chorus_actors::operations::OperationsHandle;
use chorus_protocol::ids::Label;
use chorus_protocol::impedance::Class;
use chorus_protocol::op::answers::{Answers, Why};
use chorus_protocol::op::census::Census;
use chorus_protocol::op::gather::Config;
use chorus_protocol::op::order::QUESTION_BYTES_MAX;
use chorus_protocol::op::task::{ATTEMPTS_MAX, Ended, Task, Verdict};
use chorus_protocol::op::{
    OperationId, Output, Priority, Question, Refusal, Request, Select, Verb, WINDOW_MAX, When,
};
use chorus_protocol::trust::roster::Roster;
use chorus_protocol::units::Micros;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::hearing::{Newest, pass_on};
use super::memory::name;
use super::operations::refused;
use super::stopping;
use super::story::{Story, answer_row, beginning, fresh};
use crate::error::{Failure, exit};
use crate::live::Live;

/// Words on attempts that may wait.
const WORDS_MAX: usize = 64;
/// Tasks under way.
const TASKS_MAX: usize = 256;
static PLACES: Semaphore = Semaphore::const_new(TASKS_MAX);
/// Between two looks for agents that are not there.
const AWAY: Duration = Duration::from_millis(500);
/// How long agents that were given up are still heard, and of which tasks.
const LATE: Duration = Duration::from_secs(3_600);
static HEARD: Newest = Newest::new();

/// A task, as it crosses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegate {
    /// What is to be done.
    pub task: String,
    /// By whom.
    pub to: To,
    /// The highest impedance that will do.
    pub up_to_ms: Option<u32>,
    /// How long it may take in all.
    pub timeout_ms: u64,
    /// Which lane.
    pub priority: Priority,
    /// The stage before this one, whose answer the task is.
    pub after: Option<After>,
}

/// What a task follows from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// The task before.
    pub task: String,
    /// The first operation of the whole chain.
    pub first: OperationId,
    /// The operation that gave the answer.
    pub last: OperationId,
}

/// Whose task it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// The best of all but people.
    Best,
    /// The best of a class.
    Class(Class),
    /// The best that can do this.
    Capability(Label),
    /// This one: a node's name and the agent's.
    Agent(Label, Label),
}

/// Gives the task to one agent after another until one has done it. Whoever was given up is
/// heard on after that.
pub async fn delegate(
    ask: Delegate,
    live: &Live,
    tell: mpsc::Sender<Value>,
) -> Result<Vec<Value>, Failure> {
    let operations = live.operations().ok_or_else(stopping)?.clone();
    if ask.task.len() > QUESTION_BYTES_MAX {
        let too_large = Refusal::TooLarge(ask.task.len());
        return Err(refused(too_large, &Census::default()));
    }
    let Ok(place) = PLACES.try_acquire() else {
        let message = format!("{TASKS_MAX} tasks are under way");
        return Err(Failure::refused("busy", message).hint("ask again when some are over"));
    };
    let snapshot = live.snapshot().await.ok_or_else(stopping)?;
    let (reply, answer) = oneshot::channel();
    let (words, heard) = mpsc::channel(WORDS_MAX);
    let timeout = Duration::from_millis(ask.timeout_ms).min(Duration::from_micros(WINDOW_MAX.0));
    let began = Instant::now();
    let errand = Errand {
        operations,
        story: Story {
            memory: live.memory().ok_or_else(stopping)?.clone(),
            me: snapshot.me.node,
            kind: "task",
            id: fresh()?,
        },
        roster: snapshot.roster,
        until: began + timeout,
        began,
        task: Task::default(),
        failures: Vec::new(),
        first: ask.after.as_ref().map(|it| it.first),
        last: ask.after.as_ref().map(|it| it.last),
        words: Some(words),
        reply: Some(reply),
        place: Some(place),
        looks_at: None,
        tell,
        ask,
    };
    tokio::spawn(errand.run(heard));
    let effect = answer.await.map_err(|_| stopping())??;
    Ok(vec![effect])
}

/// A task under way.
struct Errand {
    ask: Delegate,
    operations: OperationsHandle,
    story: Story,
    roster: Arc<Roster>,
    began: Instant,
    until: Instant,
    task: Task,
    failures: Vec<Value>,
    /// The first operation of the chain, and the newest.
    first: Option<OperationId>,
    last: Option<OperationId>,
    /// Where what becomes of attempts is said, until there are no more of them.
    words: Option<mpsc::Sender<(u32, Output)>>,
    /// Until it is over.
    reply: Option<oneshot::Sender<Result<Value, Failure>>>,
    place: Option<SemaphorePermit<'static>>,
    /// When it looks again for agents that are not there.
    looks_at: Option<Instant>,
    tell: mpsc::Sender<Value>,
}

impl Errand {
    async fn run(mut self, mut heard: mpsc::Receiver<(u32, Output)>) {
        let mut task = json!({"task": beginning(&self.ask.task), "to": self.ask.to});
        if let Some(after) = &self.ask.after {
            task["after"] = after.task.clone().into();
        }
        if let Err(why) = self.story.write("task", task).await {
            return self.end(Err(why));
        }
        self.next().await;
        while self.reply.is_some() {
            let wakes_at = self.looks_at.unwrap_or(self.until).min(self.until);
            match timeout_at(wakes_at, heard.recv()).await {
                Ok(Some((fence, word))) => self.hear(fence, word).await,
                Ok(None) => return,
                Err(_) if Instant::now() < self.until => self.next().await,
                Err(_) => self.give_up(self.timeout()).await,
            }
        }
        HEARD.add(tokio::spawn(self.hear_on(heard)).abort_handle());
    }

    /// Who was given up may finish all the same. It ends when nobody can any more.
    async fn hear_on(mut self, mut heard: mpsc::Receiver<(u32, Output)>) {
        let until = Instant::now() + LATE;
        while let Ok(Some((fence, word))) = timeout_at(until, heard.recv()).await {
            self.hear(fence, word).await;
        }
    }

    /// Something became of an attempt.
    async fn hear(&mut self, fence: u32, word: Output) {
        let (answers, why) = match word {
            Output::Done(_, report) => {
                let named = report.unready.named.first();
                let why = named.map_or("it is lost".to_owned(), |it| reason(&it.1));
                (report.answers, why)
            }
            Output::Late(_, _, answers) if !answers.groups.is_empty() => (answers, String::new()),
            Output::Began(_, operation, _) => {
                self.first.get_or_insert(operation);
                self.last = Some(operation);
                return;
            }
            // It has gone since it was chosen.
            Output::Refused(_, why @ Refusal::Nobody) => (Answers::default(), why.to_string()),
            // It was not even asked: that is no fault of the agent's.
            Output::Refused(_, why) => {
                return self.give_up(refused(why, &Census::default())).await;
            }
            _ => return,
        };
        let answer = answers.groups.into_iter().next();
        let how = match answer {
            Some(_) => Ended::Answered,
            None => Ended::Failed,
        };
        let verdict = self.task.ended(fence, how);
        let who = self.who(fence);
        match (verdict, answer) {
            (Verdict::Effect, Some(group)) => {
                let mut effect = answer_row(&group.answer);
                effect["attempt"] = fence.into();
                effect["agent"] = who.into();
                // Durable before it is told.
                if let Err(why) = self.story.write("effect", effect.clone()).await {
                    return self.end(Err(why));
                }
                effect["key"] = self.story.key("effect").into();
                effect["elapsed_ms"] = (self.began.elapsed().as_micros() as f64 / 1e3).into();
                effect["failed"] = self.failures.clone().into();
                effect["task"] = self.story.id.clone().into();
                let after = self.first.zip(self.last).map(|(first, last)| After {
                    task: self.story.id.clone(),
                    first,
                    last,
                });
                effect["after"] = json!(after);
                self.end(Ok(effect));
            }
            (Verdict::Late, Some(group)) => {
                let mut late = answer_row(&group.answer);
                late["attempt"] = fence.into();
                late["agent"] = who.into();
                if let Err(why) = self.story.write(&format!("late-{fence}"), late).await {
                    tracing::warn!(why = why.message, "a late answer could not be kept");
                }
            }
            (Verdict::Again, _) => {
                let failed = json!({"attempt": fence, "agent": who, "why": why});
                let step = format!("attempt-{fence}-lost");
                if let Err(why) = self.story.write(&step, failed.clone()).await {
                    return self.end(Err(why));
                }
                self.say(failed.clone());
                self.failures.push(failed);
                self.next().await;
            }
            _ => {}
        }
    }

    /// Gives it to the next best, or looks again soon where that one is not there.
    async fn next(&mut self) {
        self.looks_at = None;
        let (candidates, away) = self.candidates().await;
        let last = candidates.len() < 2 && !away;
        let Some((fence, agent)) = self.task.attempt(candidates) else {
            if !away || self.task.tried().len() == ATTEMPTS_MAX {
                return self.give_up(self.nobody()).await;
            }
            // The others are still heard until then.
            self.looks_at = Some(Instant::now() + AWAY);
            return;
        };
        let given = json!({"attempt": fence, "agent": self.who(fence)});
        if let Err(why) = self
            .story
            .write(&format!("attempt-{fence}"), given.clone())
            .await
        {
            return self.end(Err(why));
        }
        self.say(given);
        // One that hangs leaves time for another, if there is one.
        let left = self.until.saturating_duration_since(Instant::now());
        let left = if last { left } else { left / 2 };
        let question = Question {
            select: Select {
                agent: Some(agent),
                ..Select::default()
            },
            request: Request {
                correlation: self.first,
                causation: self.last,
                priority: self.ask.priority,
                verb: Verb::Act,
                ..Request::new(self.ask.task.clone().into_bytes())
            },
            config: Config {
                window: Micros(u64::try_from(left.as_micros()).unwrap_or(u64::MAX)),
                ..Config::default()
            },
            when: When::Now,
        };
        if let Some(words) = self.words.clone() {
            let told = self.operations.ask(question);
            tokio::spawn(pass_on(fence, told, words));
        }
    }

    /// It failed for good.
    async fn give_up(&mut self, failure: Failure) {
        let failed = json!({"attempts": self.failures, "why": failure.code});
        let written = self.story.write("failed", failed).await;
        self.end(written.and(Err(failure)));
    }

    fn timeout(&self) -> Failure {
        let within = format!("within {} ms", self.ask.timeout_ms);
        let failure = |message| Failure::new(exit::TIMEOUT, "timeout", message);
        if self.task.tried().is_empty() {
            return failure(format!("nobody who could do it came back {within}"))
                .hint("`chorus agents --all` shows who is offline");
        }
        failure(format!("nobody has done it {within}"))
            .hint("give it a larger --timeout; `chorus timeline` tells who tried")
    }

    fn nobody(&self) -> Failure {
        let Some(last) = self.failures.last() else {
            let message = "no agent beneath this node can be given that";
            return Failure::usage("nobody", message).hint("`chorus agents --all` shows them");
        };
        let many = self.failures.len();
        let message = format!(
            "{many} tried, and nobody is left; the last: {}",
            last["why"]
        );
        let story = self.story.key("");
        Failure::failed("lost", message).hint(format!("chorus timeline {story} tells the story"))
    }

    /// Tells whoever asked how it ended. No more attempts are made.
    fn end(&mut self, how: Result<Value, Failure>) {
        self.task.close();
        self.words = None;
        self.place = None;
        if let Some(reply) = self.reply.take() {
            // Whoever asked may have gone; the record stands.
            let _ = reply.send(how);
        }
    }

    fn say(&self, what: Value) {
        // Whoever reads slowly sees less.
        let _ = self.tell.try_send(what);
    }

    /// The name of the agent of an attempt.
    fn who(&self, fence: u32) -> String {
        let tried = self.task.tried().get(fence as usize - 1);
        tried.map_or(String::new(), |it| {
            format!("{}/{}", name(&self.roster, &it.node), it.agent)
        })
    }
}

fn reason(why: &Why) -> String {
    match why {
        Why::Conflict(why) => format!("it contradicts: {why}"),
        Why::Lost(why) => why.clone(),
        Why::Skipped { .. } => "it was skipped".to_owned(),
    }
}
