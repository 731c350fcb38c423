//! What arrives through loss, restarts and silence, and what a full outbox does.

use super::*;
use crate::ids::NodeId;
use crate::op::census::Census;
use crate::op::order::Ask;
use crate::op::{OperationId, Order, Request, Select};
use crate::units::{Noise, Seeded};

fn command(n: u32) -> Command {
    Command::Pull {
        buckets: n.to_be_bytes().to_vec(),
    }
}

/// Sends 200 commands through loss, duplication and reordering, with the
/// receiver restarted now and then; returns what each run of it applied.
fn exchange(seed: u64, loss: f64, restarts: bool) -> Vec<Vec<Command>> {
    let mut noise = Seeded::new(seed);
    let (mut out, mut inbox) = (Outbox::default(), Inbox::default());
    let mut runs = vec![Vec::new()];
    let mut now = Micros::ZERO;
    let mut to_send = 0..200;
    let mut air: Vec<(Incarnation, Deliver)> = Vec::new();
    let mut receiver = Incarnation(1);
    out.receiver(receiver);
    for _ in 0..100_000 {
        while out.len() < OUTBOX_MAX / 2 {
            match to_send.next() {
                Some(n) => assert!(out.push(command(n), now).is_ok()),
                None => break,
            }
        }
        if out.is_empty() {
            break;
        }
        now = now + Micros::from_millis(50);
        if let Some((to, batch)) = out.poll(now) {
            for deliver in batch {
                for _ in 0..=(noise.uniform() < 0.2) as usize {
                    if noise.uniform() >= loss {
                        air.push((to, deliver.clone()));
                    }
                }
            }
        }
        while !air.is_empty() && noise.uniform() < 0.8 {
            let pick = (noise.uniform() * air.len() as f64) as usize;
            let (to, deliver) = air.swap_remove(pick);
            if to != receiver {
                continue; // refused at the envelope: another run
            }
            let ready = inbox.take(Incarnation(7), deliver, now);
            let ack = inbox.acknowledge(now);
            if let Some(run) = runs.last_mut() {
                run.extend(ready);
            }
            if let Some(ack) = ack.filter(|_| noise.uniform() >= loss) {
                out.acknowledged(receiver, ack.seq);
            }
        }
        if restarts && noise.uniform() < 0.01 {
            receiver = Incarnation(receiver.0 + 1);
            inbox = Inbox::default();
            runs.push(Vec::new());
            out.receiver(receiver);
        }
    }
    assert!(
        out.is_empty(),
        "REPRODUCE WITH seed {seed}: not all was acknowledged"
    );
    runs
}

#[test]
fn every_command_arrives_once_and_in_order_through_loss() {
    for seed in 0..50 {
        for loss in [0.0, 0.1, 0.5] {
            let runs = exchange(seed, loss, false);
            let expected: Vec<_> = (0..200).map(command).collect();
            assert_eq!(runs, [expected], "REPRODUCE WITH seed {seed} loss {loss}");
        }
    }
}

#[test]
fn after_a_restart_what_was_not_acknowledged_comes_again_in_order() {
    for seed in 0..50 {
        let runs = exchange(seed, 0.2, true);
        let mut next = 0;
        for run in &runs {
            for applied in run {
                let n = (0..200)
                    .find(|&n| *applied == command(n))
                    .unwrap_or(u32::MAX);
                assert!(
                    n <= next,
                    "REPRODUCE WITH seed {seed}: {n} came before {next}"
                );
                next = next.max(n + 1);
            }
            let numbers: Vec<_> = run.iter().collect();
            assert!(numbers.windows(2).all(|w| w[0] != w[1]), "twice in one run");
        }
        assert_eq!(next, 200, "REPRODUCE WITH seed {seed}");
    }
}

#[test]
fn a_full_outbox_refuses_and_an_old_session_is_not_heard() {
    let mut out = Outbox::default();
    for n in 0..OUTBOX_MAX as u32 {
        assert!(out.push(command(n), Micros::ZERO).is_ok());
    }
    assert_eq!(out.push(command(0), Micros::ZERO), Err(Full));
    let deliver = |seq| Deliver {
        seq,
        id: seq,
        command: command(1),
        age_ms: 0,
    };
    let mut inbox = Inbox::default();
    let now = Micros::ZERO;
    assert_eq!(inbox.take(Incarnation(5), deliver(1), now).len(), 1);
    assert!(inbox.acknowledge(now).is_some());
    assert_eq!(inbox.take(Incarnation(4), deliver(2), now), []);
    assert_eq!(inbox.acknowledge(now), None);
    assert_eq!(inbox.take(Incarnation(5), deliver(u64::MAX), now), []);
}

/// An outbox full of commands for a peer that says nothing for `silence`.
fn left_alone(silence: Micros) -> Outbox {
    let mut out = Outbox::default();
    out.receiver(Incarnation(1));
    for n in 0..OUTBOX_MAX as u32 {
        assert!(out.push(command(n), Micros::ZERO).is_ok());
    }
    for second in 0..=silence.as_millis() / 1_000 {
        out.poll(Micros::from_secs(second));
    }
    out
}

/// What `out` brings to an inbox from then on, everything being acknowledged.
fn brought(out: &mut Outbox, inbox: &mut Inbox, run: Incarnation) -> Vec<Command> {
    let mut applied = Vec::new();
    let mut now = Micros::from_secs(1_000);
    while !out.is_empty() {
        now = now + RETRY_MAX;
        for deliver in out.poll(now).into_iter().flat_map(|(_, batch)| batch) {
            let ready = inbox.take(Incarnation(7), deliver, now);
            applied.extend(ready);
            let ack = inbox.acknowledge(now);
            out.acknowledged(run, ack.map_or(0, |ack| ack.seq));
        }
    }
    applied
}

#[test]
fn who_is_back_within_its_time_gets_everything() {
    let mut out = left_alone(Micros::from_secs(59));
    assert_eq!((out.len(), out.given_up), (OUTBOX_MAX, 0));
    // One word begins its time anew.
    out.receiver(Incarnation(1));
    out.poll(Micros::from_secs(118));
    assert_eq!((out.len(), out.given_up), (OUTBOX_MAX, 0));
    out.receiver(Incarnation(1));
    let all: Vec<_> = (0..OUTBOX_MAX as u32).map(command).collect();
    let run = Incarnation(1);
    assert_eq!(brought(&mut out, &mut Inbox::default(), run), all);
}

#[test]
fn of_what_waits_for_the_departed_only_what_may_be_under_way_stays() {
    for restarted in [false, true] {
        let mut out = left_alone(Micros::from_secs(61));
        let unsent = (OUTBOX_MAX - WINDOW) as u64;
        assert_eq!((out.len(), out.given_up), (WINDOW, unsent));
        // Should it come back, the numbers go on without a gap.
        let run = Incarnation(1 + u64::from(restarted));
        out.receiver(run);
        let mut expected: Vec<_> = (0..WINDOW as u32).map(command).collect();
        for n in 900..1_000 {
            assert!(out.push(command(n), Micros::ZERO).is_ok());
            expected.push(command(n));
        }
        assert_eq!(brought(&mut out, &mut Inbox::default(), run), expected);
    }
}

#[test]
fn for_a_peer_that_asks_and_never_acknowledges_one_answer_waits() {
    let mut out = Outbox::default();
    let run = Incarnation(1);
    out.receiver(run);
    let mut asked = 0;
    let mut ask = |out: &mut Outbox| {
        let answers = out.pulled();
        // Nor while the answer is being made.
        assert!(!answers || !out.pulled());
        for _ in 0..4 * usize::from(answers) {
            asked += 1;
            assert!(out.push(command(asked), Micros::ZERO).is_ok());
        }
        if answers {
            out.answered();
        }
        answers
    };
    for _ in 0..100 {
        ask(&mut out);
        out.poll(Micros::ZERO);
    }
    assert_eq!(out.len(), 4);
    // Nor with a part of it acknowledged, nor in a new session.
    out.acknowledged(run, 3);
    assert!(!ask(&mut out));
    let run = Incarnation(2);
    out.receiver(run);
    assert!(!ask(&mut out));
    out.acknowledged(run, 1);
    assert!(ask(&mut out));
    // What else comes to wait after an answer keeps no other from being given.
    assert!(out.push(command(0), Micros::ZERO).is_ok());
    out.acknowledged(run, 5);
    assert!(ask(&mut out));
    assert_eq!(out.len(), 5);
}

#[test]
fn an_answer_of_nothing_is_an_answer() {
    let mut out = Outbox::default();
    for _ in 0..3 {
        assert!(out.pulled());
        out.answered();
    }
}

#[test]
fn further_commands_put_no_retry_off_and_a_lively_peer_is_sent_nothing_twice() {
    let at = |ms: u64| Micros::from_millis(ms);
    let mut out = Outbox::default();
    out.receiver(Incarnation(1));
    // Deaf for half a minute, while there is a new command every 3 s, as of who asks again.
    let mut tries = Vec::new();
    for ms in (0..30_000).step_by(100) {
        if ms % 3_000 == 0 {
            assert!(out.push(command(ms as u32), Micros::ZERO).is_ok());
        }
        let batch = out.poll(at(ms)).map_or(Vec::new(), |(_, batch)| batch);
        tries.extend(batch.iter().any(|it| it.seq == 1).then_some(ms));
    }
    tries.push(30_000);
    let pauses: Vec<u64> = tries.windows(2).map(|two| two[1] - two[0]).collect();
    let longest = pauses.into_iter().max().map(at);
    assert!(longest <= Some(RETRY_MAX + at(100)), "{tries:?}");

    // One is always under way, and each is acknowledged after 200 ms.
    let mut out = Outbox::default();
    out.receiver(Incarnation(1));
    for n in 0..100 {
        assert!(out.push(command(n), Micros::ZERO).is_ok());
        assert_eq!(
            out.poll(at(u64::from(n) * 100)).map(|it| it.1.len()),
            Some(1)
        );
        out.acknowledged(Incarnation(1), u64::from(n.saturating_sub(1)));
    }
    assert_eq!(out.retries, 0);
}

#[test]
fn words_of_operations_are_acknowledged_together_and_whatever_is_waited_for_at_once() {
    let word = |seq| Deliver {
        seq,
        id: seq,
        command: Command::Operation(Order::Have(Census::default())),
        age_ms: 0,
    };
    let session = Incarnation(7);
    let done = |seq| Some(Delivered { session, seq });
    let at = Micros::from_millis;
    let mut inbox = Inbox::default();
    assert_eq!(inbox.take(session, word(1), at(0)).len(), 1);
    assert_eq!(inbox.take(session, word(2), at(15)).len(), 1);
    assert_eq!(inbox.acknowledge(at(19)), None);
    assert_eq!(inbox.next_deadline(), at(20));
    assert_eq!(inbox.acknowledge(at(20)), done(2));
    assert_eq!(inbox.next_deadline(), Micros::NEVER);
    assert_eq!(inbox.acknowledge(at(60)), None, "once");
    // A word that comes again: its acknowledgement was lost.
    assert_eq!(inbox.take(session, word(2), at(61)), []);
    assert_eq!(inbox.acknowledge(at(61)), done(2));
    // Half a window: the sender could soon send no more.
    for seq in 3..=10 {
        assert_eq!(inbox.acknowledge(at(62)), None);
        assert_eq!(inbox.take(session, word(seq), at(62)).len(), 1);
    }
    assert_eq!(inbox.acknowledge(at(62)), done(10));
    // A page may be waited for; what came before it is acknowledged with it.
    assert_eq!(inbox.take(session, word(11), at(63)).len(), 1);
    let page = Deliver {
        command: command(1),
        ..word(12)
    };
    assert_eq!(inbox.take(session, page, at(63)).len(), 1);
    assert_eq!(inbox.acknowledge(at(63)), done(12));
    // Of an earlier run nothing is owed.
    assert_eq!(inbox.take(Incarnation(6), word(13), at(64)), []);
    assert_eq!(inbox.acknowledge(at(99)), None);
}

#[test]
fn a_question_that_is_sent_again_has_less_time_left() {
    let at = Micros::from_millis;
    let operation = OperationId {
        origin: NodeId([1; 32]),
        run: Incarnation(1),
        number: 1,
    };
    let ask = Ask {
        operation,
        select: Select::default(),
        left_us: at(900).0,
        arrive_us: Some(at(200).0),
        request: Request::new(b"?".to_vec()),
    };
    let mut out = Outbox::default();
    out.receiver(Incarnation(7));
    let asked = Command::Operation(Order::Ask(Box::new(ask)));
    assert!(out.push(asked.clone(), at(10)).is_ok());
    let mut sent = |now| {
        let batch = out.poll(at(now)).map(|it| it.1).unwrap_or_default();
        let taken = |it| Inbox::default().take(Incarnation(9), it, at(now));
        batch.into_iter().flat_map(taken).collect::<Vec<_>>()
    };
    assert_eq!(sent(10), [asked], "at once it is what it was");
    // What waits for its acknowledgement is sent again after 250 ms, and 500 ms after that.
    for (now, left, arrive) in [(260, 650, 0), (760, 150, 0)] {
        let again = sent(now);
        let [Command::Operation(Order::Ask(ask))] = &again[..] else {
            panic!("{again:?}");
        };
        let times = (ask.left_us, ask.arrive_us);
        assert_eq!(times, (at(left).0, Some(at(arrive).0)), "at {now} ms");
    }
}
