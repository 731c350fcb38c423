//! Own: writes that are made here. A job waits for Lamport times, then for the disk, then,
//! where a quorum was asked for, for the others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chorus_protocol::causality::version::Dot;
use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::record::VALUE_BYTES_MAX;
use chorus_protocol::memory::replication::{Input, Reached};
use chorus_protocol::units::Micros;
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::actor::State;
use super::asking::Then;
use super::ingress::BATCH_MAX;
use super::writing::{self, How, Wish, Wrote};
use super::{Imported, MemoryError, Put, PutOptions, ToMemory};
use crate::messages::ToTransport;

/// Jobs under way at once.
const JOBS_MAX: usize = 256;
/// How long a write looks for what others hold under its key.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How many keys of an import are looked for at once: fewer than a neighbour answers at once,
/// so that there is room for gets.
const LOOKS_AT_ONCE: usize = 6;
/// How often one is looked for while a neighbour is busy.
const LOOKS: usize = 3;
/// How long a write waits for Lamport times; a block of them takes one flush.
const UNTIMED_MAX: Micros = Micros::from_secs(5);
/// Places that are mended for one write; a disk that takes no mending is not tried for ever.
const MENDS_MAX: u8 = 3;

/// The writes under way.
#[derive(Debug, Default)]
pub struct Own {
    jobs: BTreeMap<u64, Job>,
    /// Those for which no Lamport time was reserved; they ask again with the next tick.
    untimed: Vec<u64>,
    counting: BTreeMap<u64, (Dot, oneshot::Sender<Result<Put, MemoryError>>)>,
}

#[derive(Debug)]
struct Job {
    /// What is still to be written.
    wishes: Vec<Wish>,
    kind: Kind,
    /// The clock was behind what stands there, and has been told so.
    behind: bool,
    /// How often what stands there had to be mended since something was written.
    mends: u8,
    /// Since when there is no Lamport time for it.
    untimed: Option<Micros>,
}

#[derive(Debug)]
enum Kind {
    Put(PutOptions, oneshot::Sender<Result<Put, MemoryError>>),
    Import(Imported, oneshot::Sender<Result<Imported, MemoryError>>),
}

impl Kind {
    fn fail(self, why: MemoryError) {
        // Whoever asked may have gone.
        match self {
            Kind::Put(_, reply) => drop(reply.send(Err(why))),
            Kind::Import(_, reply) => drop(reply.send(Err(why))),
        }
    }
}

/// Brings here what others hold under these keys. Where nobody answers in time it is not tried
/// with each: writes go on in a part that is cut off.
async fn look_for(memory: &ActorRef<ToMemory>, keys: &[Key]) {
    for keys in keys.chunks(LOOKS_AT_ONCE) {
        let mut unseen: Vec<&Key> = keys.iter().collect();
        for _ in 0..LOOKS {
            let began = Instant::now();
            unseen = look_once(memory, unseen).await;
            if unseen.is_empty() {
                break;
            }
            // Else somebody was busy, and may not be in a moment.
            if began.elapsed() >= LOOK_WITHIN {
                return;
            }
        }
    }
}

/// Looks for each; those of which not everybody who was asked has told.
async fn look_once<'a>(memory: &ActorRef<ToMemory>, keys: Vec<&'a Key>) -> Vec<&'a Key> {
    let look = |key: &'a Key| {
        let (reply, answer) = oneshot::channel();
        // Of a node that stops no answer comes.
        let _ = memory.cast(ToMemory::Get(key.clone(), Some(LOOK_WITHIN), reply));
        (key, answer)
    };
    let looks: Vec<_> = keys.into_iter().map(look).collect();
    let mut unseen = Vec::new();
    for (key, answer) in looks {
        if !matches!(answer.await, Ok(Ok(got)) if got.answered) {
            unseen.push(key);
        }
    }
    unseen
}

fn micros(span: Duration) -> Micros {
    Micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX / 2))
}

impl State {
    pub(super) fn put(
        &mut self,
        key: Key,
        value: Option<Vec<u8>>,
        options: PutOptions,
        looked: bool,
        reply: oneshot::Sender<Result<Put, MemoryError>>,
    ) -> Result<(), ActorProcessingErr> {
        if !looked && !self.machine.should_hold(key.id().position().leaf()) {
            let write = ToMemory::Put {
                key: key.clone(),
                value,
                options,
                looked: true,
                reply,
            };
            self.get(key, Some(LOOK_WITHIN), Then::Write(Box::new(write)));
            return Ok(());
        }
        let expires_s = options.expires_s;
        let wish = Wish {
            key,
            value,
            expires_s,
        };
        self.begin(vec![wish], Kind::Put(options, reply))
    }

    pub(super) fn import(
        &mut self,
        batch: Vec<(Key, Vec<u8>)>,
        looked: bool,
        reply: oneshot::Sender<Result<Imported, MemoryError>>,
    ) -> Result<(), ActorProcessingErr> {
        let elsewhere = |key: &Key| !self.machine.should_hold(key.id().position().leaf());
        if !looked && batch.iter().any(|(key, _)| elsewhere(key)) {
            let keys = batch.iter().map(|(key, _)| key);
            let keys: Vec<Key> = keys.filter(|key| elsewhere(key)).cloned().collect();
            let myself = self.myself.clone();
            tokio::spawn(async move {
                look_for(&myself, &keys).await;
                let _ = myself.cast(ToMemory::Import {
                    batch,
                    looked: true,
                    reply,
                });
            });
            return Ok(());
        }
        let wish = |(key, value)| Wish {
            key,
            value: Some(value),
            expires_s: None,
        };
        let wishes = batch.into_iter().map(wish).collect();
        self.begin(wishes, Kind::Import(Imported::default(), reply))
    }

    fn begin(&mut self, wishes: Vec<Wish>, kind: Kind) -> Result<(), ActorProcessingErr> {
        let own = self.writer.identity.id();
        let foreign = wishes.iter().find(|it| !it.key.may_write(&own));
        let foreign = foreign.and_then(|it| it.key.owner()).map(str::to_owned);
        let bytes = wishes
            .iter()
            .filter_map(|it| Some(it.value.as_ref()?.len()));
        let bytes = bytes.max().unwrap_or(0);
        if self.roster.is_revoked(&own) {
            kind.fail(MemoryError::Revoked);
        } else if let Some(owner) = foreign {
            kind.fail(MemoryError::Foreign(owner));
        } else if bytes > VALUE_BYTES_MAX {
            let max = VALUE_BYTES_MAX;
            kind.fail(MemoryError::TooLarge { bytes, max });
        } else if self.own.jobs.len() >= JOBS_MAX || wishes.len() > BATCH_MAX {
            kind.fail(MemoryError::Busy);
        } else {
            let job = self.number();
            let job_is = Job {
                wishes,
                kind,
                behind: false,
                mends: 0,
                untimed: None,
            };
            self.own.jobs.insert(job, job_is);
            self.go_on(job)?;
        }
        Ok(())
    }

    /// Asks for the Lamport times of what is left.
    fn go_on(&mut self, job: u64) -> Result<(), ActorProcessingErr> {
        let many = self.own.jobs.get(&job).map_or(0, |it| it.wishes.len());
        if many > 0 {
            return self.ring.transport(ToTransport::TickFor(job, many));
        }
        if let Some(job) = self.own.jobs.remove(&job)
            && let Kind::Import(imported, reply) = job.kind
        {
            let now = self.now();
            if imported.written > 0 {
                self.machine.compare_soon(now);
            }
            let _ = reply.send(Ok(imported));
        }
        Ok(())
    }

    /// The times are here: off to the store. Times come in the order in which they were asked
    /// for, and the store keeps that order, so no write of ours is overtaken by a later one.
    pub(super) fn ticked(&mut self, number: u64, first: Option<u64>) {
        let Some(first) = first else {
            return self.no_time(number);
        };
        let Some(job) = self.own.jobs.get(&number) else {
            return;
        };
        let (writer, wishes) = (self.writer.clone(), job.wishes.clone());
        let how = How {
            once: matches!(job.kind, Kind::Import(..)),
            beyond: job.behind,
        };
        let myself = self.myself.clone();
        self.store.update(
            move |store| writing::write(&writer, store, &wishes, first, how),
            move |result| {
                let _ = myself.cast(ToMemory::Wrote(number, result));
            },
        );
    }

    /// Times are not reserved on disk yet: others have pushed the clock, or the disk is full.
    fn no_time(&mut self, number: u64) {
        let now = self.now();
        let Some(job) = self.own.jobs.get_mut(&number) else {
            return;
        };
        if now.since(*job.untimed.get_or_insert(now)) >= UNTIMED_MAX {
            let why = "no Lamport time is reserved on disk".into();
            return self.fail(number, MemoryError::Disk(why));
        }
        self.own.untimed.push(number);
    }

    /// Asks again for times that were not there.
    pub(super) fn ask_times(&mut self) -> Result<(), ActorProcessingErr> {
        let waiting = std::mem::take(&mut self.own.untimed);
        waiting.into_iter().try_for_each(|job| self.go_on(job))
    }

    fn fail(&mut self, job: u64, why: MemoryError) {
        if let Some(job) = self.own.jobs.remove(&job) {
            job.kind.fail(why);
        }
    }

    pub(super) fn wrote(
        &mut self,
        number: u64,
        result: Result<Wrote, String>,
    ) -> Result<(), ActorProcessingErr> {
        let (many, all) = match result {
            Ok(Wrote::Some(many, all)) => (many, all),
            Ok(Wrote::Behind(latest)) => {
                if let Some(job) = self.own.jobs.get_mut(&number) {
                    job.behind = true;
                }
                self.ring.transport(ToTransport::Observe(latest))?;
                return self.go_on(number);
            }
            Ok(Wrote::Damaged(at)) => {
                self.mend(vec![at]);
                if let Some(job) = self.own.jobs.get_mut(&number) {
                    job.mends += 1;
                    if job.mends > MENDS_MAX {
                        self.fail(number, MemoryError::Damaged);
                        return Ok(());
                    }
                }
                return self.go_on(number);
            }
            Ok(Wrote::Refused(why)) => {
                self.fail(number, why);
                return Ok(());
            }
            Err(why) => {
                self.fail(number, MemoryError::Disk(why));
                return Ok(());
            }
        };
        let Some(job) = self.own.jobs.get_mut(&number) else {
            return Ok(());
        };
        job.wishes.drain(..many);
        (job.behind, job.mends, job.untimed) = (false, 0, None);
        let fresh = match &mut job.kind {
            Kind::Import(imported, _) => {
                imported.written += all.len();
                imported.unchanged += many - all.len();
                false
            }
            Kind::Put(..) => true,
        };
        let job = match fresh {
            true => self.own.jobs.remove(&number),
            false => None,
        };
        if let (Some(first), Some(job)) = (all.first(), job) {
            let (dot, at) = (*first.record.dot(), first.record.position());
            self.written(dot, at, job.kind);
        }
        for done in all {
            self.log_conflict(done.conflict);
            self.input(Input::Merged {
                from: None,
                fresh,
                record: done.record,
                change: done.change,
            });
        }
        match fresh {
            true => Ok(()),
            false => self.go_on(number),
        }
    }

    /// A put is durable here: that was all, or its copies are counted.
    fn written(&mut self, dot: Dot, at: chorus_protocol::memory::key::Position, kind: Kind) {
        let Kind::Put(options, reply) = kind else {
            return;
        };
        let Some(want) = options.want else {
            let put = Put {
                dot,
                asked: 1,
                replicas: 1,
            };
            let _ = reply.send(Ok(put));
            return;
        };
        let put = self.number();
        self.own.counting.insert(put, (dot, reply));
        let until = self.now() + micros(options.within);
        self.input(Input::Count {
            put,
            dot,
            at,
            want,
            until,
        });
    }

    /// A count came to its end.
    pub(super) fn reached(&mut self, reached: Reached) {
        if let Some((dot, reply)) = self.own.counting.remove(&reached.put) {
            let put = Put {
                dot,
                asked: reached.asked,
                replicas: reached.nodes.len(),
            };
            let _ = reply.send(Ok(put));
        }
    }
}
