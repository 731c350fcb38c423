//! Human: questions that wait for a person. All people of a node share one inbox, whose numbers
//! are small and never come twice while the node runs; a question leaves it when it is answered
//! or its time is up.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::ids::Label;
use chorus_protocol::op::{Priority, Request, Said};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Words that may be on their way to the inbox; who has more to say waits.
const WORDS_MAX: usize = 64;

/// The way to a node's inbox. It ends when the last of these is dropped.
#[derive(Debug, Clone)]
pub struct Inbox(mpsc::Sender<Word>);

/// A question that waits, as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub number: u64,
    /// Whom it is for.
    pub agent: Label,
    /// What is asked.
    pub question: Arc<str>,
    /// For how long it has waited.
    pub age: Duration,
    /// How long an answer is still of use.
    pub left: Duration,
}

/// Why nothing was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It was there.
    #[error("question {0} is over: it was answered, or its time is up")]
    Over(u64),
    /// It never was, since this node started.
    #[error("there is no question {0}")]
    Unknown(u64),
}

#[derive(Debug)]
enum Word {
    Ask(Asked),
    List(oneshot::Sender<Vec<Waiting>>),
    Answer(u64, Said, oneshot::Sender<Result<Waiting, Unanswered>>),
}

/// A question that waits.
#[derive(Debug)]
struct Asked {
    agent: Label,
    question: Arc<str>,
    priority: Priority,
    /// How many may wait for this agent.
    room: usize,
    since: Instant,
    until: Instant,
    reply: oneshot::Sender<Said>,
}

impl Inbox {
    /// Starts one.
    pub fn start() -> Self {
        let (words, mut said) = mpsc::channel(WORDS_MAX);
        tokio::spawn(async move {
            let mut desk = Desk::default();
            while let Some(word) = said.recv().await {
                desk.take(word, Instant::now());
            }
        });
        Self(words)
    }

    /// Puts a question to a person, of whom `room` questions may wait, and who has so long. It
    /// leaves the inbox when nobody waits for this any more, or to make room for one of a higher
    /// lane.
    pub async fn ask(
        &self,
        agent: Label,
        request: &Request,
        room: usize,
        within: Duration,
    ) -> Said {
        let Ok(question) = std::str::from_utf8(&request.question) else {
            return Said::Lost("the question is no text".into());
        };
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let asked = Asked {
            agent,
            question: question.into(),
            priority: request.priority,
            room,
            since,
            until: since + within,
            reply,
        };
        let gone = || Said::Lost("its inbox is closed".into());
        if self.0.send(Word::Ask(asked)).await.is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }

    /// The questions that wait, the oldest first; `None` when the node is stopping.
    pub async fn list(&self) -> Option<Vec<Waiting>> {
        let (reply, list) = oneshot::channel();
        self.0.send(Word::List(reply)).await.ok()?;
        list.await.ok()
    }

    /// Answers one, and says which it was; `None` when the node is stopping.
    pub async fn answer(&self, number: u64, said: Said) -> Option<Result<Waiting, Unanswered>> {
        let (reply, done) = oneshot::channel();
        self.0.send(Word::Answer(number, said, reply)).await.ok()?;
        done.await.ok()
    }
}

/// What waits. Of each agent that is as much as its questions say it has room for.
#[derive(Debug, Default)]
struct Desk {
    last: u64,
    waiting: BTreeMap<u64, Asked>,
}

impl Desk {
    fn take(&mut self, word: Word, now: Instant) {
        // Who waited for too long has given up.
        self.waiting.retain(|_, asked| !asked.reply.is_closed());
        match word {
            Word::Ask(asked) => {
                let Some(asked) = self.make_room(asked) else {
                    return;
                };
                self.last += 1;
                let (number, agent) = (self.last, asked.agent);
                tracing::info!(%agent, number, "a question waits for a person");
                self.waiting.insert(number, asked);
            }
            Word::List(reply) => {
                let all = self.waiting.iter();
                let all = all
                    .map(|(number, asked)| asked.seen(*number, now))
                    .collect();
                // Who asked may have gone.
                let _ = reply.send(all);
            }
            Word::Answer(number, said, reply) => {
                let _ = reply.send(self.answer(number, said, now));
            }
        }
    }

    /// Gives back the question if it finds room. Where there is none the newest of the lowest lane
    /// makes way, so that a flood of one lane keeps nothing of a higher one out.
    fn make_room(&mut self, asked: Asked) -> Option<Asked> {
        let its = self.waiting.iter().filter(|it| it.1.agent == asked.agent);
        let many = its.clone().count();
        if many < asked.room {
            return Some(asked);
        }
        let lowest = its.min_by_key(|(number, it)| (it.priority, Reverse(**number)));
        let lowest = lowest.filter(|it| it.1.priority < asked.priority);
        let lowest = lowest
            .map(|it| *it.0)
            .and_then(|it| self.waiting.remove(&it));
        let (leaves, stays) = match lowest {
            Some(lowest) => (lowest, Some(asked)),
            None => (asked, None),
        };
        let full = format!("its queue of {} is full", leaves.room);
        // Who asked may have gone.
        let _ = leaves.reply.send(Said::Lost(full));
        stays
    }

    fn answer(&mut self, number: u64, said: Said, now: Instant) -> Result<Waiting, Unanswered> {
        let over = match (1..=self.last).contains(&number) {
            true => Unanswered::Over(number),
            false => Unanswered::Unknown(number),
        };
        let asked = self.waiting.remove(&number).ok_or(over)?;
        let seen = asked.seen(number, now);
        asked.reply.send(said).map_err(|_| over)?;
        Ok(seen)
    }
}

impl Asked {
    fn seen(&self, number: u64, now: Instant) -> Waiting {
        Waiting {
            number,
            agent: self.agent,
            question: self.question.clone(),
            age: now.duration_since(self.since),
            left: self.until.duration_since(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn asked(inbox: &Inbox, question: &str) -> tokio::task::JoinHandle<Said> {
        asked_on(inbox, question, Priority::default(), 64)
    }

    fn asked_on(
        inbox: &Inbox,
        question: &str,
        priority: Priority,
        room: usize,
    ) -> tokio::task::JoinHandle<Said> {
        let inbox = inbox.clone();
        let agent = Label::new("anna").expect("a name");
        let request = Request {
            priority,
            ..Request::new(question.as_bytes().to_vec())
        };
        tokio::spawn(async move { inbox.ask(agent, &request, room, LONG).await })
    }

    /// The list, once there are so many in it.
    async fn list(inbox: &Inbox, so_many: usize) -> Vec<Waiting> {
        let listed = async {
            loop {
                let list = inbox.list().await.expect("it is there");
                if list.len() == so_many {
                    return list;
                }
                tokio::task::yield_now().await;
            }
        };
        let listed = tokio::time::timeout(LONG, listed).await;
        listed.expect("they come")
    }

    #[tokio::test]
    async fn a_question_waits_with_its_number_until_it_is_answered() {
        let inbox = Inbox::start();
        let one = asked(&inbox, "tea?");
        list(&inbox, 1).await;
        let two = asked(&inbox, "milk?");
        let all = list(&inbox, 2).await;
        let seen: Vec<_> = all.iter().map(|it| (it.number, &*it.question)).collect();
        assert_eq!(seen, [(1, "tea?"), (2, "milk?")]);
        assert!(all[0].age >= all[1].age && all[0].left <= LONG);

        let said = Said::Conflict("no cows".into());
        let done = inbox.answer(2, said.clone()).await.expect("it is there");
        let done = done.map(|it| (it.agent.to_string(), it.question.to_string()));
        assert_eq!(done, Ok(("anna".into(), "milk?".into())));
        assert_eq!(two.await.expect("it ends"), said);
        let said = Said::Ready(b"yes".to_vec());
        let done = inbox.answer(1, said.clone()).await.expect("it is there");
        assert!(done.is_ok());
        assert_eq!(one.await.expect("it ends"), said);
        for (number, why) in [
            (1, Unanswered::Over(1)),
            (0, Unanswered::Unknown(0)),
            (3, Unanswered::Unknown(3)),
        ] {
            let done = inbox.answer(number, said.clone()).await;
            assert_eq!(done, Some(Err(why)));
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_over() {
        let inbox = Inbox::start();
        let gone = asked(&inbox, "tea?");
        list(&inbox, 1).await;
        gone.abort();
        list(&inbox, 0).await;
        let done = inbox.answer(1, Said::Ready(Vec::new())).await;
        assert_eq!(done, Some(Err(Unanswered::Over(1))));
        let agent = Label::new("anna").expect("a name");
        let said = inbox.ask(agent, &Request::new(vec![0xff]), 64, LONG).await;
        assert_eq!(said, Said::Lost("the question is no text".into()));
    }

    #[tokio::test]
    async fn a_flood_of_the_lowest_lane_keeps_nothing_urgent_out() {
        let inbox = Inbox::start();
        let lane = |lane| Priority::try_from(lane).expect("a lane");
        let ask = |question, priority| asked_on(&inbox, question, lane(priority), 2);
        let questions = async || -> Vec<String> {
            tokio::task::yield_now().await;
            let all = inbox.list().await.expect("it is there");
            all.iter().map(|it| it.question.to_string()).collect()
        };
        let full = Said::Lost("its queue of 2 is full".into());
        let _tea = ask("tea?", 0);
        let milk = ask("milk?", 0);
        let sugar = ask("sugar?", 0);
        assert_eq!(sugar.await.expect("it ends"), full, "no room for an equal");
        let _fire = ask("fire!", 3);
        assert_eq!(milk.await.expect("it ends"), full, "the newest makes way");
        assert_eq!(questions().await, ["tea?", "fire!"]);
        let lemon = ask("lemon?", 2);
        assert_eq!(questions().await, ["fire!", "lemon?"]);
        let more = ask("more?", 1);
        assert_eq!(more.await.expect("it ends"), full);
        let _flood = ask("flood!", 3);
        assert_eq!(lemon.await.expect("it ends"), full);
        assert_eq!(questions().await, ["fire!", "flood!"]);
        // Another person's inbox is another.
        let agent = Label::new("berta").expect("a name");
        let request = Request::new(b"hm?".to_vec());
        let other = inbox.ask(agent, &request, 1, LONG);
        let listed = tokio::time::timeout(Duration::from_millis(50), other).await;
        assert!(listed.is_err(), "it waits");
    }
}
