//! Between: what comes from other nodes, through the checks and the store to the machine.

use chorus_protocol::ids::NodeId;
use chorus_protocol::memory::parcel::{Answer, PARCEL_BYTES_MAX, Question};
use chorus_protocol::memory::replication::Input;
use chorus_protocol::wire::codec;
use ractor::ActorProcessingErr;

use super::actor::State;
use super::ingress::{Given, Permit, ToMemory, Waiting};
use super::reading::Bad;
use super::realm::{Event, Order};
use super::writing::Took;
use super::{reading, writing};
use crate::messages::ToTransport;

impl State {
    /// Something happened between nodes.
    pub(super) fn event(&mut self, event: Event, permit: Permit) {
        match event {
            Event::Connected(node) => {
                self.neighbours.connected(node);
                self.input(Input::Connected(node));
            }
            Event::Disconnected(node) => {
                self.neighbours.disconnected(&node);
                self.rounds.remove(&node);
                self.input(Input::Disconnected(node));
            }
            Event::Put { from, value, .. } => {
                let Ok(records) = reading::unpack(&value) else {
                    self.count("records_malformed", 1);
                    return;
                };
                let given = Given {
                    from,
                    fresh: true,
                    ticket: None,
                    waiting: Waiting::Nothing,
                    permit: Some(permit),
                };
                self.check(given, records);
            }
            Event::PutDone { failed, .. } => {
                self.count("memory_puts_failed", failed.len() as u64);
            }
            Event::Asked { from, bytes, reply } => {
                let question: Option<Question> = match bytes.len() <= PARCEL_BYTES_MAX {
                    true => codec::decode(&bytes).ok(),
                    false => None,
                };
                let Some(question) = question else {
                    self.count("memory_questions_malformed", 1);
                    // Unanswered it would take one of the asker's places for its whole time.
                    let bytes = codec::encode(&Answer::Busy);
                    self.order(Order::Answer { reply, bytes });
                    return;
                };
                let ticket = self.number();
                let now = self.now();
                self.tickets.insert(ticket, (reply, now));
                self.input(Input::Asked {
                    from,
                    question,
                    ticket,
                });
            }
            Event::Answered { id, from, result } => {
                let answer = result.ok().map(|bytes| codec::decode(&bytes).ok());
                let malformed = answer.as_ref().is_some_and(Option::is_none);
                self.count("memory_answers_malformed", u64::from(malformed));
                let answer = answer.flatten();
                match self.moves.remove(&id) {
                    Some(with) => self.moved(with, answer, permit),
                    None => self.input(Input::Answered {
                        from,
                        ask: id,
                        answer,
                    }),
                }
            }
            Event::Got { id, from, value } => self.got(id, from, &value),
            Event::GetDone { id } => self.get_done(id),
        }
    }

    /// Checks records that somebody gave, away from the runtime, and gives them to the store.
    pub(super) fn check(&mut self, given: Given, records: Vec<Vec<u8>>) {
        let (mesh, roster) = (self.writer.mesh, self.roster.clone());
        let lamport = self.ring.lamport();
        let (store, bytes_max) = (self.store.clone(), self.writer.bytes_max);
        let (myself, to) = (self.myself.clone(), self.myself.clone());
        let passed_on = (given.fresh && self.machine.carries()).then_some(given.from);
        tokio::task::spawn_blocking(move || {
            let opened = reading::open(&records, &mesh, &roster, lamport);
            let (records, bad) = (opened.records, opened.bad);
            store.update(
                move |store| {
                    let (batch, took) = writing::take(bytes_max, store, records)?;
                    if let Some(from) = passed_on {
                        let new = took.done.iter().filter(|it| it.change.is_some());
                        let new = new.map(|it| it.record.clone()).collect();
                        let _ = to.cast(ToMemory::Arrived(from, new));
                    }
                    Ok((batch, took))
                },
                move |result| {
                    let _ = myself.cast(ToMemory::Took(Box::new(given), bad, result));
                },
            );
        });
    }

    /// Records of others are durable here, or are not.
    pub(super) fn took(
        &mut self,
        given: Given,
        bad: Bad,
        result: Result<Took, String>,
    ) -> Result<(), ActorProcessingErr> {
        for (name, many) in bad {
            self.count(name, many);
        }
        let mut new = 0;
        match result {
            Ok(took) => {
                self.count("siblings_refused", took.full);
                self.count("records_over_quota", took.over_quota);
                self.mend(took.damaged);
                let latest = took.done.iter().map(|it| it.record.dot().lamport).max();
                if let Some(latest) = latest {
                    self.ring.transport(ToTransport::Observe(latest))?;
                }
                let known = took.done.iter().filter(|it| it.change.is_none());
                self.count("records_known", known.count() as u64);
                for done in took.done {
                    new += u32::from(done.change.is_some());
                    self.log_conflict(done.conflict);
                    self.input(Input::Merged {
                        from: Some(given.from),
                        fresh: given.fresh,
                        record: done.record,
                        change: done.change,
                    });
                }
            }
            Err(why) => {
                self.count("memory_writes_refused", 1);
                tracing::debug!(why, "records of others were not written");
            }
        }
        if let Some(ticket) = given.ticket {
            self.reply(ticket, &Answer::Taken(new));
        }
        match given.waiting {
            Waiting::Nothing => {}
            Waiting::Comparison => self.round(given.from, new as usize),
            Waiting::Get(get) => self.look_again(get),
        }
        Ok(())
    }

    /// What differs from a neighbour is fetched and pushed.
    pub(super) fn compared(&mut self, with: NodeId, to_move: Option<reading::ToMove>) {
        let alike = to_move.as_ref().is_some_and(reading::ToMove::is_empty);
        let to_move = to_move.unwrap_or_default();
        let mut questions = Vec::new();
        if !to_move.fetch.is_empty() {
            questions.push(Question::Fetch(to_move.fetch.into()));
        }
        if !to_move.push.is_empty() {
            questions.push(Question::Push(to_move.push));
        }
        // One more than there are answers: the last step below.
        self.rounds.insert(with, (questions.len() + 1, 0, alike));
        for question in questions {
            let ask = self.machine.ask_number();
            self.moves.insert(ask, with);
            let bytes = codec::encode(&question);
            let order = Order::Ask {
                id: ask,
                to: with,
                bytes,
            };
            if !self.order(order) {
                self.moves.remove(&ask);
                self.round(with, 0);
            }
        }
        self.round(with, 0);
    }

    /// An answer to a fetch or a push of a comparison.
    pub(super) fn moved(&mut self, with: NodeId, answer: Option<Answer>, permit: Permit) {
        match answer {
            Some(Answer::Records(records)) if !records.is_empty() => {
                let given = Given {
                    from: with,
                    fresh: false,
                    ticket: None,
                    waiting: Waiting::Comparison,
                    permit: Some(permit),
                };
                let records = records.into_iter().map(|it| it.into_vec());
                self.check(given, records.collect());
            }
            Some(Answer::Taken(new)) => self.round(with, new as usize),
            _ => self.round(with, 0),
        }
    }

    /// A step of the comparison with a neighbour is done; after the last the next may begin.
    pub(super) fn round(&mut self, with: NodeId, moved: usize) {
        let Some((left, all, alike)) = self.rounds.get_mut(&with) else {
            return;
        };
        *left = left.saturating_sub(1);
        *all += moved;
        if *left == 0 {
            let (moved, alike) = (*all, *alike);
            self.rounds.remove(&with);
            self.input(Input::Compared { with, moved, alike });
        }
    }
}
